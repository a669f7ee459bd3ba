/*
 * The controller's registers, and its life. What ports do is in ahci_port.c, how commands go in ahci_command.c.
 *
 * A port that was stopped (PxCMD.ST) runs (CR) until its commands have ended, which then tell nobody; so
 * does a controller that was reset (GHC.HR). After an error nothing begins until software has restarted the port.
 *
 * Not modelled: port multipliers, power management, hot plugging, command completion coalescing, staggered
 * spin-up. They are not claimed.
 */
#include "device/storage/ahci_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VENDOR_INTEL 0x8086
#define DEVICE_ICH9  0x2922
#define CLASS_AHCI   0x010601
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM	 0x1100
#define REGISTER_BAR   5
#define REGISTER_BYTES 0x1000
#define MAP_REGISTER   0x90 /* what the controller is: AHCI */
#define MAP_AHCI       0x40

/* --- registers --- */

static uint32_t port_get(struct ahci_port *port, unsigned offset)
{
	uint32_t running = 0;

	switch (offset) {
	case PORT_CLB: return port->clb;
	case PORT_CLBU: return port->clbu;
	case PORT_FB: return port->fb;
	case PORT_FBU: return port->fbu;
	case PORT_IS: return port->is;
	case PORT_IE: return port->ie;
	case PORT_CMD:
		if (port->cmd & CMD_FIS_RECEIVE)
			running |= CMD_FIS_RUNNING;
		if ((port->cmd & CMD_START) || port->under_way)
			running |= CMD_RUNNING;
		return port->cmd | running;
	case PORT_TFD:
		return port->has_unqueued ? (port->tfd & ~0xffu) | ATA_BUSY | ATA_READY : port->tfd;
	case PORT_SIG: return port->sig;
	case PORT_SSTS: return port->ssts;
	case PORT_SCTL: return port->sctl;
	case PORT_SERR: return port->serr;
	case PORT_SACT: return port->sact;
	case PORT_CI: return port->ci;
	default: return 0;
	}
}

static void write_cmd(struct ahci_port *port, uint32_t value)
{
	uint32_t old = port->cmd;

	if (value & CMD_OVERRIDE)
		port->tfd &= ~(uint32_t)(ATA_BUSY | ATA_DRQ);
	port->cmd = value & CMD_KEPT;
	if ((old & CMD_START) && !(value & CMD_START)) {
		ahci_port_drop_commands(port);
		/* The error has been seen. */
		port->tfd &= ~(uint32_t)ATA_ERR;
	}
	/* Its first frame has waited for that. */
	if (!(old & CMD_FIS_RECEIVE) && (value & CMD_FIS_RECEIVE) && port->sig == AHCI_NO_SIGNATURE)
		ahci_port_greet(port);
	ahci_issue(port);
}

static void write_sctl(struct ahci_port *port, uint32_t value)
{
	uint32_t old = port->sctl & SCTL_DETECT;

	port->sctl = value & 0xfff;
	if (old == 1 && !(value & SCTL_DETECT)) {
		ahci_port_reset_link(port);
	} else if ((value & SCTL_DETECT) == 1) {
		ahci_port_drop_commands(port);
		port->ssts = 0;
	} else if ((value & SCTL_DETECT) == 4) {
		port->ssts = 4; /* offline */
	}
}

static void port_set(struct ahci_port *port, unsigned offset, uint32_t value)
{
	switch (offset) {
	case PORT_CLB: port->clb = value & ~0x3ffu; break;
	case PORT_CLBU: port->clbu = value; break;
	case PORT_FB: port->fb = value & ~0xffu; break;
	case PORT_FBU: port->fbu = value; break;
	case PORT_IS:
		port->is &= ~(value & IS_ALL);
		if (port->is & port->ie)
			port->ahci->is |= 1u << port->index;
		ahci_update_irq(port->ahci);
		break;
	case PORT_IE:
		port->ie = value & IS_READABLE;
		ahci_raise(port, 0);
		break;
	case PORT_CMD: write_cmd(port, value); break;
	case PORT_SCTL: write_sctl(port, value); break;
	case PORT_SERR: port->serr &= ~value; break;
	case PORT_SACT:
		if (port->cmd & CMD_START)
			port->sact |= value;
		break;
	case PORT_CI:
		if (port->cmd & CMD_START) {
			port->ci |= value;
			ahci_issue(port);
		}
		break;
	default: break;
	}
}

static uint32_t hba_get(struct ahci *ahci, unsigned offset)
{
	switch (offset) {
	case HBA_CAP:
		return (AHCI_PORTS - 1) | CAP_SLOTS(SLOTS) | CAP_AHCI_ONLY | CAP_GEN_1 | CAP_OVERRIDE |
		       CAP_QUEUES | CAP_64;
	case HBA_GHC: return ahci->ghc;
	case HBA_IS: return ahci->is;
	case HBA_PI: return (1u << AHCI_PORTS) - 1;
	case HBA_VS: return 0x00010000;
	default: return 0;
	}
}

static void hba_set(struct ahci *ahci, unsigned offset, uint32_t value)
{
	unsigned i;

	if (offset == HBA_GHC) {
		ahci->ghc = (ahci->ghc & GHC_RESET) | GHC_ENABLED | (value & GHC_INTERRUPTS);
		if (value & GHC_RESET) {
			ahci->ghc |= GHC_RESET;
			for (i = 0; i < AHCI_PORTS; i++)
				ahci_port_drop_commands(&ahci->ports[i]);
			if (!ahci->under_way)
				ahci_reset_controller(ahci);
		}
		ahci_update_irq(ahci);
	} else if (offset == HBA_IS) {
		ahci->is &= ~value;
		/* Those whose causes are still there come again. */
		for (i = 0; i < AHCI_PORTS; i++)
			if (ahci->ports[i].is & ahci->ports[i].ie)
				ahci->is |= 1u << i;
		if (ahci->is && (ahci->ghc & GHC_INTERRUPTS) && pci_has_messages(&ahci->function))
			pci_notify(&ahci->function, 0);
		ahci_update_irq(ahci);
	}
}

static struct ahci_port *port_at(struct ahci *ahci, uint64_t offset)
{
	uint64_t index = (offset - HBA_PORT) / PORT_REGISTERS;

	return offset >= HBA_PORT && index < AHCI_PORTS ? &ahci->ports[index] : NULL;
}

static uint32_t get(struct ahci *ahci, uint64_t offset)
{
	struct ahci_port *port = port_at(ahci, offset);

	return port ? port_get(port, (offset - HBA_PORT) % PORT_REGISTERS) : hba_get(ahci, offset);
}

static uint64_t register_read(void *device, uint64_t offset, unsigned size)
{
	struct ahci *ahci = device;
	uint64_t value;

	pthread_mutex_lock(&ahci->lock);
	value = get(ahci, offset & ~3ull);
	if (size == 8 && !(offset & 3))
		value |= (uint64_t)get(ahci, (offset & ~3ull) + 4) << 32;
	pthread_mutex_unlock(&ahci->lock);
	return value >> (8 * (offset & 3));
}

/* Whole registers, or two of them. */
static void register_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ahci *ahci = device;
	struct ahci_port *port;
	unsigned i;

	if (size < 4 || (offset & 3))
		return;
	pthread_mutex_lock(&ahci->lock);
	for (i = 0; i < size; i += 4, value >>= 32) {
		port = port_at(ahci, offset + i);
		/* During a reset there is nothing to write. */
		if (port && !(ahci->ghc & GHC_RESET))
			port_set(port, (offset + i - HBA_PORT) % PORT_REGISTERS, value);
		else if (!port)
			hba_set(ahci, offset + i, value);
	}
	pthread_mutex_unlock(&ahci->lock);
}

static const struct mmio_ops register_ops = {register_read, register_write};

/* --- life --- */

static void wait_until_idle(struct ahci *ahci)
{
	while (ahci->under_way > ahci->held.count)
		pthread_cond_wait(&ahci->idle, &ahci->lock);
}

static void ahci_reset(void *device)
{
	struct ahci *ahci = device;
	unsigned i;

	pthread_mutex_lock(&ahci->lock);
	for (i = 0; i < AHCI_PORTS; i++)
		ahci_port_drop_commands(&ahci->ports[i]);
	wait_until_idle(ahci);
	ahci_reset_controller(ahci);
	pthread_mutex_unlock(&ahci->lock);
}

static void ahci_hold(void *device)
{
	struct ahci *ahci = device;

	pthread_mutex_lock(&ahci->lock);
	ahci->is_held = true;
	wait_until_idle(ahci);
	pthread_mutex_unlock(&ahci->lock);
}

static void ahci_release(void *device)
{
	struct ahci *ahci = device;
	unsigned i;

	pthread_mutex_lock(&ahci->lock);
	ahci->is_held = false;
	for (i = 0; i < AHCI_PORTS; i++)
		ahci_issue(&ahci->ports[i]);
	pthread_mutex_unlock(&ahci->lock);
}

struct loaded {
	struct pci_function_state function;
	uint32_t ghc, is;
	struct {
		struct ata_drive_state drive;
		struct ahci_port copy;
	} ports[AHCI_PORTS];
};

static void transfer_port(struct ahci_port *port, struct ata_drive_state *drive, struct ahci_port *copy,
			  struct state_stream *state)
{
	uint32_t *const fields[] = {&copy->clb, &copy->clbu, &copy->fb,	  &copy->fbu, &copy->is,
				    &copy->ie,	&copy->cmd,  &copy->tfd,  &copy->sig, &copy->ssts,
				    &copy->sctl, &copy->serr, &copy->sact, &copy->ci};
	unsigned i;

	if (!state->is_loading) {
		*copy = *port;
		/* What has failed and waits is issued anew where it is loaded: its slot is still what software has filled in. */
		copy->ci |= port->begun;
	}
	ata_drive_transfer(&port->drive, drive, state);
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		state_u32(state, "port", fields[i]);
	state_check(state, "port", !(copy->clb & 0x3ff) && !(copy->fb & 0xff) && !(copy->cmd & ~CMD_KEPT));
	state_bool(state, "resetting", &copy->is_resetting);
	state_u8(state, "failed tag", &copy->failed_tag);
	state_u8(state, "failed status", &copy->failed_status);
	state_u8(state, "failed error", &copy->failed_error);
}

static void restore_port(struct ahci_port *port, const struct ata_drive_state *drive, const struct ahci_port *copy)
{
	ata_drive_restore(&port->drive, drive);
	port->clb = copy->clb;
	port->clbu = copy->clbu;
	port->fb = copy->fb;
	port->fbu = copy->fbu;
	port->is = copy->is;
	port->ie = copy->ie;
	port->cmd = copy->cmd;
	port->tfd = copy->tfd;
	port->sig = copy->sig;
	port->ssts = copy->ssts;
	port->sctl = copy->sctl;
	port->serr = copy->serr;
	port->sact = copy->sact;
	port->ci = copy->ci;
	port->is_resetting = copy->is_resetting;
	port->failed_tag = copy->failed_tag;
	port->failed_status = copy->failed_status;
	port->failed_error = copy->failed_error;
}

static void transfer_all(struct ahci *ahci, struct loaded *loaded, struct state_stream *state)
{
	unsigned i;

	pci_function_transfer(&ahci->function, &loaded->function, state);
	pthread_mutex_lock(&ahci->lock);
	if (!state->is_loading) {
		loaded->ghc = ahci->ghc;
		loaded->is = ahci->is;
	}
	state_u32(state, "ghc", &loaded->ghc);
	state_check(state, "ghc", (loaded->ghc & ~GHC_INTERRUPTS) == GHC_ENABLED);
	state_u32(state, "is", &loaded->is);
	state_check(state, "is", !(loaded->is >> AHCI_PORTS));
	for (i = 0; i < AHCI_PORTS; i++)
		transfer_port(&ahci->ports[i], &loaded->ports[i].drive, &loaded->ports[i].copy, state);
	pthread_mutex_unlock(&ahci->lock);
}

static void save_or_load(void *device, struct state_stream *state)
{
	struct ahci *ahci = device;
	struct loaded *loaded = calloc(1, sizeof(*loaded));
	unsigned i;

	if (!loaded) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	transfer_all(ahci, loaded, state);
	if (state->is_loading && state_complete(state)) {
		pci_function_restore(&ahci->function, &loaded->function);
		pthread_mutex_lock(&ahci->lock);
		ahci->ghc = loaded->ghc;
		ahci->is = loaded->is;
		for (i = 0; i < AHCI_PORTS; i++)
			restore_port(&ahci->ports[i], &loaded->ports[i].drive, &loaded->ports[i].copy);
		ahci_update_irq(ahci);
		pthread_mutex_unlock(&ahci->lock);
	}
	pci_function_state_free(&loaded->function);
	free(loaded);
}

static void ahci_destroy(void *device)
{
	struct ahci *ahci = device;
	unsigned i;

	ahci_hold(ahci);
	for (i = 0; i < AHCI_PORTS; i++)
		drive_close(&ahci->ports[i].drive.drive);
	pci_function_destroy(&ahci->function);
	pthread_cond_destroy(&ahci->idle);
	pthread_mutex_destroy(&ahci->lock);
	free(ahci);
}

const struct device_ops ahci_device_ops = {
	.version = 1,
	.reset = ahci_reset,
	.save = save_or_load,
	.load = save_or_load,
	.hold = ahci_hold,
	.release = ahci_release,
	.destroy = ahci_destroy,
};

static void describe(struct ahci *ahci)
{
	struct pci_function *function = &ahci->function;

	pci_function_init(function, VENDOR_INTEL, DEVICE_ICH9, CLASS_AHCI, 2);
	pci_function_set_subsystem(function, SUBSYSTEM_VENDOR, SUBSYSTEM);
	pci_function_set_pin(function, 1);
	function->config[MAP_REGISTER] = MAP_AHCI;
	function->bars[REGISTER_BAR] = (struct pci_bar){.kind = PCI_BAR_MEMORY32,
							.size_bytes = REGISTER_BYTES,
							.name = "AHCI",
							.mmio = &register_ops,
							.device = ahci};
	pci_add_msi(function, 1);
}

struct ahci *ahci_create(struct pci_bus *bus, unsigned slot_function,
			 const struct drive_config drives[AHCI_PORTS], struct error *error)
{
	struct ahci *ahci = calloc(1, sizeof(*ahci));
	unsigned taken = 0;
	int result = ahci ? 0 : error_set_errno(error, ENOMEM, "cannot create an AHCI controller");

	if (result == 0) {
		pthread_mutex_init(&ahci->lock, NULL);
		pthread_cond_init(&ahci->idle, NULL);
		ahci->held = (struct block_held){.lock = &ahci->lock, .changed = &ahci->idle};
		ahci->is_held = true;
		describe(ahci);
	}
	for (; taken < AHCI_PORTS && result == 0; taken++) {
		ahci->ports[taken].ahci = ahci;
		ahci->ports[taken].index = taken;
		result = ata_drive_init(&ahci->ports[taken].drive, &drives[taken], true, error);
	}
	if (result == 0) {
		pci_bus_add(bus, slot_function, &ahci->function);
		ahci_reset_controller(ahci);
		return ahci;
	}
	for (; taken < AHCI_PORTS; taken++)
		block_close(drives[taken].block, NULL);
	if (ahci)
		ahci_destroy(ahci);
	return NULL;
}

struct tray ahci_tray(struct ahci *ahci, unsigned port)
{
	return (struct tray){&ahci->ports[port].drive.unit, &ahci->lock};
}
