/*
 * Intel's 82540EM (PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, order number
 * 317453): function 8086:100e, 128 KiB of registers in memory and a window of two registers on ports, one
 * receive and one transmit ring, INTx.
 *
 * Modelled: both rings with legacy, context and data descriptors (e1000_transmit.c: checksums, segmentation, tags); filters by
 * address, hash and VLAN; the EEPROM (e1000_eeprom.c) and the PHY's registers, with a link at
 * 1000 Mbit/s; counters of packets and octets. Not: delays of interrupts (ITR, RDTR, TIDV: at once), wake-up,
 * flow control, checksums of received packets (IXSM is set: the driver sums up itself), a frame's CRC, whose four bytes are zeroes.
 *
 * A packet to be sent is taken when all of its descriptors are there. Frames are handled on a thread of the device's own.
 * A received frame waits for descriptors, and the link behind it; a reset forgets it, and so does saving.
 *
 * Descriptors and what they point to are read once, and written without more.
 */
#include "device/e1000.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "device/e1000_parts.h"

#define VENDOR	  0x8086
#define DEVICE_ID 0x100e
#define CLASS	  0x020000
#define REVISION  3

#define WINDOW_BYTES (128 << 10)
#define PORT_BYTES   64

/* MDIC and the PHY (an M88E1011). */
#define MDIC_READ  0x08000000
#define MDIC_WRITE 0x04000000
#define MDIC_READY 0x10000000
#define MDIC_INTERRUPT 0x20000000
#define MDIC_ERROR 0x40000000
#define PHY_NUMBER 1
#define PHY_CONTROL 0
#define PHY_RESET   0x8000
#define PHY_RESTART 0x0200
#define PHY_STATUS_LINK 0x24 /* link up, negotiation complete */
#define PHY_SPECIFIC_LINK 0x0400

/* What software reads back as it wrote it, and with which bits. Others are below. */
static const struct plain {
	uint16_t first, count;
	uint32_t mask;
} plain[] = {
	{CTRL, 1, ~(CTRL_RST | CTRL_PHY_RST)},
	{CTRL_EXT, 1, ~0u},
	{0x0028, 5, ~0u}, /* FCAL, FCAH, FCT and VET, with one between them */
	{ITR, 1, 0xffff},
	{RCTL, 1, ~0u},
	{0x0170, 1, 0xffff}, /* FCTTV */
	{0x0178, 1, ~0u}, /* TXCW */
	{TCTL, 1, ~0u},
	{0x0410, 1, ~0u}, /* TIPG */
	{0x0458, 1, 0xffff}, /* AIT */
	{0x0e00, 1, ~0u}, /* LEDCTL */
	{0x1000, 1, 0xffff}, /* PBA */
	{0x2160, 1, ~0u}, /* FCRTL, FCRTH */
	{0x2168, 1, ~0u},
	{RDBAL, 1, ~0xfu},
	{RDBAH, 1, ~0u},
	{RDLEN, 1, 0xfff80},
	{RDH, 1, 0xffff},
	{RDT, 1, 0xffff},
	{0x2820, 1, 0xffff}, /* RDTR, RXDCTL, RADV */
	{0x2828, 1, ~0u},
	{0x282c, 1, 0xffff},
	{0x2c00, 1, ~0u}, /* RSRPD */
	{TDBAL, 1, ~0xfu},
	{TDBAH, 1, ~0u},
	{TDLEN, 1, 0xfff80},
	{TDH, 1, 0xffff},
	{TDT, 1, 0xffff},
	{0x3820, 1, 0xffff}, /* TIDV, TXDCTL, TADV, TSPMT */
	{0x3828, 1, ~0u},
	{0x382c, 1, 0xffff},
	{0x3830, 1, ~0u},
	{RXCSUM, 1, 0x7ff},
	{MTA, 128, ~0u},
	{RAL, 32, ~0u},
	{VFTA, 128, ~0u},
	{0x5808, 1, ~0u}, /* WUFC */
	{0x5820, 1, ~0u}, /* MANC */
};

static uint32_t mask_of(unsigned offset)
{
	unsigned i;

	for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (offset >= plain[i].first && offset < plain[i].first + plain[i].count * 4u)
			return plain[i].mask;
	return 0;
}

/* --- on the loop --- */

static void link_ready(void *context)
{
	struct e1000 *e1000 = context;
	unsigned frames;

	pthread_mutex_lock(&e1000->lock);
	if (e1000_is_receiving(e1000)) {
		if (!e1000_receive(e1000))
			event_source_enable(&e1000->source, false);
	} else if (e1000->is_held) {
		event_source_enable(&e1000->source, false);
	} else {
		/* Nobody listens. */
		for (frames = 0; frames < PACKETS_AT_ONCE && e1000_read_frame(e1000); frames++)
			e1000->pending = 0;
		if (!frames)
			event_source_enable(&e1000->source, false);
	}
	pthread_mutex_unlock(&e1000->lock);
}

static void kicked(void *context)
{
	struct e1000 *e1000 = context;
	uint64_t times;

	if (read(e1000->kick.fd, &times, sizeof(times)) < 0)
		return;
	pthread_mutex_lock(&e1000->lock);
	if (e1000_transmit(e1000))
		e1000_kick(e1000);
	if (!e1000->is_held && e1000_receive(e1000))
		event_source_enable(&e1000->source, true);
	pthread_mutex_unlock(&e1000->lock);
}

/* --- registers; with the lock held --- */

/* Whether there is a partner: the MAC's status, and of the PHY status (1) and specific status (17). */
static void show_link(struct e1000 *e1000)
{
	uint16_t status = e1000->is_down ? 0 : PHY_STATUS_LINK, specific = e1000->is_down ? 0 : PHY_SPECIFIC_LINK;

	e1000->phy[1] = (e1000->phy[1] & ~PHY_STATUS_LINK) | status;
	e1000->phy[17] = (e1000->phy[17] & ~PHY_SPECIFIC_LINK) | specific;
	*e1000_at(e1000, STATUS) = (*e1000_at(e1000, STATUS) & ~STATUS_LU) | (e1000->is_down ? 0 : STATUS_LU);
}

static void phy_reset(struct e1000 *e1000)
{
	/* As after negotiation with a partner that can do all (IEEE 802.3 §22.2.4, §40.5). */
	static const uint16_t initial[PHY_REGISTERS] = {
		[0] = 0x1140, [1] = 0x796d, [2] = 0x0141, [3] = 0x0c20, [4] = 0x0de1, [5] = 0x45e1,
		[6] = 0x0001, [9] = 0x0e00, [10] = 0x3c00, [15] = 0x3000, [16] = 0x0360, [17] = 0xac00,
		[20] = 0x0d60,
	};

	memcpy(e1000->phy, initial, sizeof(initial));
	show_link(e1000);
}

static void reset_registers(struct e1000 *e1000)
{
	memset(e1000->registers, 0, sizeof(e1000->registers));
	e1000_eeprom_init(&e1000->eeprom, e1000->mac, DEVICE_ID);
	phy_reset(e1000);
	*e1000_at(e1000, CTRL) = CTRL_FD;
	*e1000_at(e1000, STATUS) = STATUS_UP;
	show_link(e1000);
	*e1000_at(e1000, VET) = 0x8100;
	*e1000_at(e1000, 0x1000) = 0x30; /* PBA: 48 KiB are the receiver's */
	/* The first address comes from the EEPROM. */
	memcpy(e1000_at(e1000, RAL), e1000->mac, 4);
	*e1000_at(e1000, RAL + 4) = RAH_VALID | e1000->mac[4] | e1000->mac[5] << 8;
	e1000->context = (struct e1000_tx_descriptor){0};
	e1000->pending = 0;
	e1000->port_address = 0;
	e1000_update_interrupt(e1000);
	event_source_enable(&e1000->source, true);
}

static void write_mdic(struct e1000 *e1000, uint32_t value)
{
	unsigned number = value >> 16 & 0x1f;
	uint32_t result = (value & 0x3ffffff) | MDIC_READY;
	bool is_read_only = number == 1 || number == 2 || number == 3 || number == 5 || number == 6 ||
			    number == 10 || number == 15 || number == 17;

	if ((value >> 21 & 0x1f) != PHY_NUMBER) {
		result |= MDIC_ERROR;
	} else if (value & MDIC_READ) {
		result = (result & ~0xffffu) | e1000->phy[number];
	} else if ((value & MDIC_WRITE) && number == PHY_CONTROL) {
		if (value & PHY_RESET)
			phy_reset(e1000);
		else
			e1000->phy[number] = value & 0xffff & ~PHY_RESTART;
		/* The link is there again at once. */
		if ((value & (PHY_RESET | PHY_RESTART)) && !e1000->is_down)
			e1000_raise(e1000, ICR_LSC);
	} else if ((value & MDIC_WRITE) && !is_read_only) {
		e1000->phy[number] = value;
	}
	*e1000_at(e1000, MDIC) = result | (value & (MDIC_READ | MDIC_WRITE | MDIC_INTERRUPT));
	if (value & MDIC_INTERRUPT)
		e1000_raise(e1000, ICR_MDAC);
}

static uint32_t read_register(struct e1000 *e1000, unsigned offset)
{
	uint32_t value;

	if (offset >= REGISTERS_END)
		return 0;
	value = *e1000_at(e1000, offset);
	if (offset == ICR) {
		*e1000_at(e1000, ICR) = 0;
		e1000_update_interrupt(e1000);
	} else if (offset == EECD) {
		value = e1000_eeprom_read_eecd(&e1000->eeprom);
	} else if (offset >= STATS && offset < STATS_END) {
		*e1000_at(e1000, offset) = 0;
	} else if (offset == ICS || offset == IMC) {
		value = 0;
	}
	return value;
}

static void write_register(struct e1000 *e1000, unsigned offset, uint32_t value)
{
	uint32_t mask;

	if (offset >= REGISTERS_END)
		return;
	mask = mask_of(offset);
	if (mask)
		*e1000_at(e1000, offset) = (*e1000_at(e1000, offset) & ~mask) | (value & mask);
	switch (offset) {
	case CTRL:
		if (value & CTRL_PHY_RST)
			phy_reset(e1000);
		if (value & CTRL_RST)
			reset_registers(e1000);
		break;
	case EECD: e1000_eeprom_write_eecd(&e1000->eeprom, value); break;
	case EERD: *e1000_at(e1000, EERD) = e1000_eeprom_eerd(&e1000->eeprom, value); break;
	case MDIC: write_mdic(e1000, value); break;
	case ICR: *e1000_at(e1000, ICR) &= ~value; break;
	case ICS: *e1000_at(e1000, ICR) |= value & ICR_ALL; break;
	case IMS: *e1000_at(e1000, IMS) |= value & ICR_ALL; break;
	case IMC: *e1000_at(e1000, IMS) &= ~value; break;
	case TCTL:
	case TDT:
	case RCTL:
	case RDT: e1000_kick(e1000); break;
	default: break;
	}
	if (offset == ICR || offset == ICS || offset == IMS || offset == IMC)
		e1000_update_interrupt(e1000);
}

/* Registers are dwords (§13.2): a part of one can be read. */
static uint64_t window_read(void *device, uint64_t offset, unsigned size)
{
	struct e1000 *e1000 = device;
	uint64_t value;

	pthread_mutex_lock(&e1000->lock);
	value = (uint64_t)read_register(e1000, offset & ~3u) >> (offset & 3) * 8;
	if (size == 8)
		value |= (uint64_t)read_register(e1000, (offset & ~3u) + 4) << 32;
	pthread_mutex_unlock(&e1000->lock);
	return value;
}

static void window_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct e1000 *e1000 = device;

	if (size < 4 || offset & 3)
		return;
	pthread_mutex_lock(&e1000->lock);
	write_register(e1000, offset, value);
	if (size == 8)
		write_register(e1000, offset + 4, value >> 32);
	pthread_mutex_unlock(&e1000->lock);
}

static const struct mmio_ops window_ops = {window_read, window_write};

/* IOADDR chooses a register, IODATA is it (§13.2.2). */
static uint32_t port_read(void *device, uint16_t offset, unsigned size)
{
	struct e1000 *e1000 = device;
	uint32_t value = 0;

	pthread_mutex_lock(&e1000->lock);
	if (offset == 0 && size == 4)
		value = e1000->port_address;
	else if (offset == 4 && size == 4)
		value = read_register(e1000, e1000->port_address);
	pthread_mutex_unlock(&e1000->lock);
	return value;
}

static void port_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct e1000 *e1000 = device;

	pthread_mutex_lock(&e1000->lock);
	if (offset == 0 && size == 4)
		e1000->port_address = value & (WINDOW_BYTES - 4);
	else if (offset == 4 && size == 4)
		write_register(e1000, e1000->port_address, value);
	pthread_mutex_unlock(&e1000->lock);
}

static const struct pio_ops port_ops = {port_read, port_write, 4};

/* --- life --- */

static void reset(void *device)
{
	struct e1000 *e1000 = device;

	pthread_mutex_lock(&e1000->lock);
	reset_registers(e1000);
	pthread_mutex_unlock(&e1000->lock);
}

static void hold(void *device)
{
	struct e1000 *e1000 = device;

	pthread_mutex_lock(&e1000->lock);
	e1000->is_held = true;
	pthread_mutex_unlock(&e1000->lock);
}

static void release(void *device)
{
	struct e1000 *e1000 = device;

	pthread_mutex_lock(&e1000->lock);
	e1000->is_held = false;
	e1000_kick(e1000);
	pthread_mutex_unlock(&e1000->lock);
	event_source_enable(&e1000->source, true);
}

static void transfer(struct state_stream *state, struct e1000 *e1000)
{
	unsigned i;

	for (i = 0; i < REGISTERS_END / 4; i++)
		state_u32(state, "register", &e1000->registers[i]);
	for (i = 0; i < PHY_REGISTERS; i++)
		state_u16(state, "phy", &e1000->phy[i]);
	state_u8(state, "eeprom wires", &e1000->eeprom.wires);
	state_u8(state, "eeprom bits", &e1000->eeprom.taken);
	state_check(state, "eeprom bits", e1000->eeprom.taken <= 9);
	state_u16(state, "eeprom command", &e1000->eeprom.command);
	state_check(state, "eeprom command", e1000->eeprom.command < 512);
	state_u8(state, "eeprom given", &e1000->eeprom.given);
	state_check(state, "eeprom given", e1000->eeprom.given <= 16);
	state_u32(state, "port address", &e1000->port_address);
	state_check(state, "port address", !(e1000->port_address & ~(WINDOW_BYTES - 4)));
	state_u64(state, "context", &e1000->context.address);
	state_u32(state, "context", &e1000->context.command);
	state_u32(state, "context", &e1000->context.status);
	/* Ring sizes are what can be written: the others are only looked at. */
	state_check(state, "ring", !(*e1000_at(e1000, RDLEN) & ~0xfff80u) && !(*e1000_at(e1000, TDLEN) & ~0xfff80u));
}

static void save(void *device, struct state_stream *state)
{
	struct e1000 *e1000 = device;

	pci_function_save(&e1000->function, state);
	pthread_mutex_lock(&e1000->lock);
	transfer(state, e1000);
	pthread_mutex_unlock(&e1000->lock);
}

static void load(void *device, struct state_stream *state)
{
	struct e1000 *e1000 = device, *loaded = calloc(1, sizeof(*loaded));
	struct pci_function_state saved;

	if (!loaded) {
		state_fail(state, "out of memory");
		return;
	}
	pci_function_transfer(&e1000->function, &saved, state);
	transfer(state, loaded);
	if (state_complete(state)) {
		pci_function_restore(&e1000->function, &saved);
		pthread_mutex_lock(&e1000->lock);
		reset_registers(e1000);
		memcpy(e1000->registers, loaded->registers, sizeof(e1000->registers));
		memcpy(e1000->phy, loaded->phy, sizeof(e1000->phy));
		show_link(e1000);
		e1000->eeprom.wires = loaded->eeprom.wires;
		e1000->eeprom.taken = loaded->eeprom.taken;
		e1000->eeprom.command = loaded->eeprom.command;
		e1000->eeprom.given = loaded->eeprom.given;
		e1000->port_address = loaded->port_address;
		e1000->context = loaded->context;
		e1000_update_interrupt(e1000);
		pthread_mutex_unlock(&e1000->lock);
	}
	pci_function_state_free(&saved);
	free(loaded);
}

void e1000_set_link(struct e1000 *e1000, bool is_up)
{
	pthread_mutex_lock(&e1000->lock);
	if (e1000->is_down == is_up) {
		e1000->is_down = !is_up;
		show_link(e1000);
		e1000_raise(e1000, ICR_LSC);
	}
	pthread_mutex_unlock(&e1000->lock);
}

static void destroy(void *device)
{
	struct e1000 *e1000 = device;

	loop_thread_stop(&e1000->thread);
	if (e1000->source.loop)
		event_loop_remove(&e1000->source);
	if (e1000->kick.loop)
		event_loop_remove(&e1000->kick);
	pci_function_destroy(&e1000->function);
	loop_thread_destroy(&e1000->thread);
	if (e1000->kick.fd >= 0)
		close(e1000->kick.fd);
	net_link_close(&e1000->link);
	pthread_mutex_destroy(&e1000->lock);
	free(e1000);
}

const struct device_ops e1000_device_ops = {
	.version = 1,
	.reset = reset,
	.save = save,
	.load = load,
	.destroy = destroy,
	.hold = hold,
	.release = release,
};

static int watch(struct e1000 *e1000, struct event_loop *loop, struct error *error)
{
	int result = e1000->kick.fd < 0 ? -errno : event_loop_add(loop, &e1000->kick);

	if (result == 0)
		result = event_loop_add(loop, &e1000->source);
	if (result < 0)
		return error_set_errno(error, -result, "cannot watch the network's link");
	return e1000->thread.loop ? loop_thread_start(&e1000->thread, error) : 0;
}

static void describe(struct e1000 *e1000)
{
	struct pci_function *function = &e1000->function;

	pci_function_init(function, VENDOR, DEVICE_ID, CLASS, REVISION);
	pci_function_set_subsystem(function, 0x1af4, 0x1100);
	pci_function_set_pin(function, 1);
	function->bars[0] = (struct pci_bar){.kind = PCI_BAR_MEMORY32,
					     .size_bytes = WINDOW_BYTES,
					     .name = "e1000",
					     .mmio = &window_ops,
					     .device = e1000};
	function->bars[1] = (struct pci_bar){.kind = PCI_BAR_IO,
					     .size_bytes = PORT_BYTES,
					     .name = "e1000",
					     .pio = &port_ops,
					     .device = e1000};
}

struct e1000 *e1000_create(struct pci_bus *bus, unsigned slot_function, const struct net_link *link,
			   const uint8_t mac[E1000_MAC_BYTES], const struct pci_rom *rom,
			   struct event_loop *loop, struct error *error)
{
	static const struct net_offloads none;
	struct e1000 *e1000 = calloc(1, sizeof(*e1000));
	struct net_link own = *link;
	int result;

	if (!e1000 || (!loop && loop_thread_create(&e1000->thread, "kvik net", error) < 0)) {
		error_set_errno(error, ENOMEM, "cannot create an e1000");
		net_link_close(&own);
		free(e1000);
		return NULL;
	}
	pthread_mutex_init(&e1000->lock, NULL);
	e1000->link = own;
	e1000->is_held = true;
	memcpy(e1000->mac, mac, E1000_MAC_BYTES);
	e1000->source = (struct event_source){.fd = own.fd, .ready = link_ready, .context = e1000};
	e1000->kick = (struct event_source){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .ready = kicked,
					    .context = e1000};
	describe(e1000);
	result = pci_function_set_rom(&e1000->function, rom, error);
	pci_bus_add(bus, slot_function, &e1000->function);
	reset_registers(e1000);
	/* Frames come as they were sent: whole, and no longer than a frame. */
	if (own.has_header)
		net_tap_set_offloads(&own, &none);
	if (result < 0 || watch(e1000, loop ? loop : e1000->thread.loop, error) < 0) {
		destroy(e1000);
		return NULL;
	}
	return e1000;
}
