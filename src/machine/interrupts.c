#include "machine/interrupts.h"

#include <errno.h>
#include <string.h>

#include "device/device.h"
#include "util/i8259.h"

#define PIC_INPUTS  16
#define IOAPIC_PINS 24

/* The PC wires the timer's IRQ 0 to pin 2 of its I/O APIC; the MADT says so to the guest. */
#define TIMER_GSI 0
#define TIMER_PIN 2

/* Where a PC BIOS puts the two PICs' vectors. */
#define BIOS_MASTER_VECTOR 0x08
#define BIOS_SLAVE_VECTOR  0x70
/* IRQ 10 and 11, where the PCI interrupt links are (board_devices.c), are level-triggered. */
#define BIOS_SLAVE_ELCR 0x0c

static void add_route(struct kvm_irq_routing_entry *entry, unsigned gsi, unsigned irqchip,
		      unsigned pin)
{
	entry->gsi = gsi;
	entry->type = KVM_IRQ_ROUTING_IRQCHIP;
	entry->u.irqchip.irqchip = irqchip;
	entry->u.irqchip.pin = pin;
}

/* KVM's default routing, but for the timer. */
static int route_full(struct gsi_routes *routes, struct error *error)
{
	struct kvm_irq_routing_entry entries[PIC_INPUTS + IOAPIC_PINS];
	unsigned gsi, count = 0;
	int result;

	memset(entries, 0, sizeof(entries));
	for (gsi = 0; gsi < IOAPIC_PINS; gsi++) {
		if (gsi < PIC_INPUTS / 2)
			add_route(&entries[count++], gsi, KVM_IRQCHIP_PIC_MASTER, gsi);
		else if (gsi < PIC_INPUTS)
			add_route(&entries[count++], gsi, KVM_IRQCHIP_PIC_SLAVE,
				  gsi - PIC_INPUTS / 2);
		if (gsi == TIMER_GSI)
			add_route(&entries[count++], gsi, KVM_IRQCHIP_IOAPIC, TIMER_PIN);
		else if (gsi != TIMER_PIN)
			add_route(&entries[count++], gsi, KVM_IRQCHIP_IOAPIC, gsi);
	}
	result = gsi_routes_set_chips(routes, entries, count);
	if (result < 0)
		return error_set_errno(error, -result, "cannot route the interrupts");
	return 0;
}

/*
 * What firmware does to the PICs, and a hardware-reduced ACPI guest relies on without knowing: set
 * them up, mask all inputs, and say which are PCI's. An untouched PIC delivers the timer as vector 0, a divide error.
 */
static void mask_pics(struct kvm_irqchip *master, struct kvm_irqchip *slave)
{
	master->chip.pic.irq_base = BIOS_MASTER_VECTOR;
	slave->chip.pic.irq_base = BIOS_SLAVE_VECTOR;
	master->chip.pic.imr = slave->chip.pic.imr = 0xff;
	slave->chip.pic.elcr = BIOS_SLAVE_ELCR;
}

static void mask_split_pics(struct split_irqchip *split)
{
	/* ICW1 to ICW4, then OCW1 (8259A data sheet). */
	static const uint8_t master[] = {0x11, BIOS_MASTER_VECTOR, 0x04, 0x01, 0xff};
	static const uint8_t slave[] = {0x11, BIOS_SLAVE_VECTOR, 0x02, 0x01, 0xff};
	unsigned i;

	for (i = 0; i < sizeof(master); i++) {
		split_irqchip_master_pio_ops.write(split, i != 0, 1, master[i]);
		split_irqchip_slave_pio_ops.write(split, i != 0, 1, slave[i]);
	}
	split_irqchip_elcr_pio_ops.write(split, 1, 1, BIOS_SLAVE_ELCR);
}

static int create_full(struct interrupts *interrupts, struct error *error)
{
	/* Port 0x61 comes with the timer, whose channel 2 it controls. */
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	int result;

	result = kvm_vm_ioctl(interrupts->vm, KVM_CREATE_IRQCHIP, NULL);
	if (result < 0)
		return error_set_errno(error, -result, "cannot create the interrupt controllers");
	result = kvm_vm_ioctl(interrupts->vm, KVM_CREATE_PIT2, &pit);
	if (result < 0)
		return error_set_errno(error, -result, "cannot create the timer");
	result = route_full(interrupts->routes, error);
	if (result < 0)
		return result;
	result = power_on_chips_capture(&interrupts->power_on, interrupts->vm, error);
	mask_pics(&interrupts->power_on.chips[0], &interrupts->power_on.chips[1]);
	return result;
}

static int map_split(struct split_irqchip *split, const struct interrupts_config *config,
		     struct error *error)
{
	static const struct {
		uint16_t port, count;
		const char *name;
		const struct pio_ops *ops;
	} windows[] = {
		{0x20, SPLIT_IRQCHIP_PIC_PORTS, "PIC", &split_irqchip_master_pio_ops},
		{0xa0, SPLIT_IRQCHIP_PIC_PORTS, "second PIC", &split_irqchip_slave_pio_ops},
		{0x4d0, SPLIT_IRQCHIP_ELCR_PORTS, "ELCR", &split_irqchip_elcr_pio_ops},
		{0x40, SPLIT_IRQCHIP_PIT_PORTS, "PIT", &split_irqchip_pit_pio_ops},
		{0x61, SPLIT_IRQCHIP_PORT_61, "port 0x61", &split_irqchip_port_61_pio_ops},
	};
	unsigned i;
	int result = 0;

	for (i = 0; i < sizeof(windows) / sizeof(windows[0]) && result == 0; i++)
		result = pio_bus_add(config->pio, windows[i].port, windows[i].count,
				     windows[i].name, windows[i].ops, split, error);
	if (result == 0)
		result = mmio_bus_add(config->mmio, 0xfec00000, SPLIT_IRQCHIP_IOAPIC_BYTES,
				      "I/O APIC", &split_irqchip_ioapic_mmio_ops, split, error);
	return result;
}

int interrupts_create(struct interrupts *interrupts, const struct interrupts_config *config,
		      struct error *error)
{
	int result;

	memset(interrupts, 0, sizeof(*interrupts));
	interrupts->vm = config->vm;
	interrupts->routes = gsi_routes_create(config->vm, error);
	if (!interrupts->routes)
		return -ENOMEM;
	if (config->kind == INTERRUPTS_FULL)
		return create_full(interrupts, error);
	result = split_irqchip_enable(config->vm, error);
	if (result < 0)
		return result;
	interrupts->split = split_irqchip_create(config->vm, interrupts->routes, config->loop,
						 config->kick_boot_cpu, config->context, error);
	if (!interrupts->split)
		return -ENOMEM;
	return map_split(interrupts->split, config, error);
}

void interrupts_destroy(struct interrupts *interrupts)
{
	if (interrupts->split)
		split_irqchip_device_ops.destroy(interrupts->split);
	interrupts->split = NULL;
	gsi_routes_destroy(interrupts->routes);
	interrupts->routes = NULL;
}

int interrupts_reset(struct interrupts *interrupts, struct error *error)
{
	if (!interrupts->split)
		return power_on_chips_restore(&interrupts->power_on, interrupts->vm, error);
	split_irqchip_device_ops.reset(interrupts->split);
	mask_split_pics(interrupts->split);
	return 0;
}

static void transfer_ioapic(struct state_stream *state, struct kvm_ioapic_state *ioapic)
{
	uint64_t entry;
	unsigned pin;

	state_u32(state, "ioregsel", &ioapic->ioregsel);
	state_check(state, "ioregsel", ioapic->ioregsel <= 0xff);
	state_u32(state, "id", &ioapic->id);
	state_u32(state, "irr", &ioapic->irr);
	for (pin = 0; pin < IOAPIC_PINS; pin++) {
		entry = ioapic->redirtbl[pin].bits;
		state_u64(state, "redirect", &entry);
		ioapic->redirtbl[pin].bits = entry;
	}
}

/*
 * The contract begins a count anew when it is set (KVM_SET_PIT2): its phase isn't kept. What it can
 * hold is the backend's to know: Linux has mode 255 for a channel that was never programmed.
 */
static void transfer_pit(struct state_stream *state, struct kvm_pit_state2 *pit)
{
	struct kvm_pit_channel_state *channel;
	unsigned i;

	for (i = 0; i < 3; i++) {
		channel = &pit->channels[i];
		state_u32(state, "count", &channel->count);
		state_u16(state, "latched_count", &channel->latched_count);
		state_u8(state, "count_latched", &channel->count_latched);
		state_u8(state, "status_latched", &channel->status_latched);
		state_u8(state, "status", &channel->status);
		state_u8(state, "read_state", &channel->read_state);
		state_u8(state, "write_state", &channel->write_state);
		state_u8(state, "write_latch", &channel->write_latch);
		state_u8(state, "rw_mode", &channel->rw_mode);
		state_u8(state, "mode", &channel->mode);
		state_u8(state, "bcd", &channel->bcd);
		state_u8(state, "gate", &channel->gate);
		channel->count_load_time = 0;
	}
	state_u32(state, "flags", &pit->flags);
}

static void transfer_full(struct state_stream *state, struct power_on_chips *chips)
{
	unsigned i;

	for (i = 0; i < 2; i++)
		i8259_transfer(&chips->chips[i].chip.pic, state);
	transfer_ioapic(state, &chips->chips[2].chip.ioapic);
	transfer_pit(state, &chips->pit);
}

static struct device split_device(const struct interrupts *interrupts)
{
	return (struct device){"irqchip", &split_irqchip_device_ops, interrupts->split};
}

void interrupts_save(struct interrupts *interrupts, struct state_stream *state)
{
	struct device split = split_device(interrupts);
	struct power_on_chips chips;
	struct error error = {.message = ""};

	if (interrupts->split) {
		device_save(&split, state);
		return;
	}
	state_section_begin(state, "irqchip", 1);
	if (power_on_chips_capture(&chips, interrupts->vm, &error) < 0)
		state_fail(state, "%s", error.message);
	else
		transfer_full(state, &chips);
	state_section_end(state);
}

void interrupts_load(struct interrupts *interrupts, struct state_stream *state)
{
	struct device split = split_device(interrupts);
	struct power_on_chips chips = interrupts->power_on;
	struct error error = {.message = ""};

	if (interrupts->split) {
		device_load(&split, state);
		return;
	}
	state_section_begin(state, "irqchip", 1);
	transfer_full(state, &chips);
	if (state_complete(state) && power_on_chips_restore(&chips, interrupts->vm, &error) < 0)
		state_fail(state, "%s", error.message);
	state_section_end(state);
}

static void set_line(void *context, unsigned gsi, bool level)
{
	struct interrupts *interrupts = context;
	struct kvm_irq_level line = {.irq = gsi, .level = level};

	if (interrupts->split)
		split_irqchip_set_line(interrupts->split, gsi, level);
	else
		kvm_vm_ioctl(interrupts->vm, KVM_IRQ_LINE, &line);
}

struct irq_line interrupts_line(struct interrupts *interrupts)
{
	return (struct irq_line){.set = set_line, .context = interrupts};
}

static void send_message(void *context, uint64_t address, uint32_t data)
{
	struct interrupts *interrupts = context;
	struct kvm_msi message = {
		.address_lo = address,
		.address_hi = address >> 32,
		.data = data,
	};

	/* One to nobody, or to no local APIC at all, is lost as on hardware. */
	kvm_vm_ioctl(interrupts->vm, KVM_SIGNAL_MSI, &message);
}

static int claim_gsi(void *context, struct error *error)
{
	struct interrupts *interrupts = context;
	int gsi = gsi_routes_claim(interrupts->routes);

	if (gsi < 0)
		return error_set_errno(error, -gsi, "cannot route an interrupt");
	return gsi;
}

static void release_gsi(void *context, unsigned gsi)
{
	gsi_routes_release(((struct interrupts *)context)->routes, gsi);
}

static int route_message(void *context, unsigned gsi, uint64_t address, uint32_t data)
{
	return gsi_routes_set_message(((struct interrupts *)context)->routes, gsi, address, data);
}

static int set_irqfd(const struct interrupts *interrupts, unsigned gsi, int eventfd, uint32_t flags)
{
	struct kvm_irqfd irqfd = {.fd = eventfd, .gsi = gsi, .flags = flags};

	return kvm_vm_ioctl(interrupts->vm, KVM_IRQFD, &irqfd);
}

static int connect_eventfd(void *context, unsigned gsi, int eventfd)
{
	return set_irqfd(context, gsi, eventfd, 0);
}

static void disconnect_eventfd(void *context, unsigned gsi, int eventfd)
{
	set_irqfd(context, gsi, eventfd, KVM_IRQFD_FLAG_DEASSIGN);
}

struct msi_target interrupts_msi_target(struct interrupts *interrupts)
{
	return (struct msi_target){
		.send = send_message,
		.claim = claim_gsi,
		.release = release_gsi,
		.route = route_message,
		.connect = connect_eventfd,
		.disconnect = disconnect_eventfd,
		.context = interrupts,
	};
}

void interrupts_before_run(struct interrupts *interrupts, const struct kvm_vcpu *vcpu)
{
	if (interrupts->split && vcpu->id == 0)
		split_irqchip_before_run(interrupts->split, vcpu);
}

void interrupts_eoi(struct interrupts *interrupts, uint8_t vector)
{
	if (interrupts->split)
		split_irqchip_eoi(interrupts->split, vector);
}
