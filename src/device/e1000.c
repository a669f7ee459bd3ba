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
#include "device/e1000_parts.h"

#define VENDOR	  0x8086
#define DEVICE_ID 0x100e
#define CLASS	  0x020000
#define REVISION  3

#define PORT_BYTES 64

/* What software reads back as it wrote it, and with which bits. Others are below. */
static const struct e1000_plain plain[] = {
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
	{0},
};

/* --- registers; with the lock held --- */

static void reset(struct e1000 *e1000)
{
	e1000_eeprom_init(&e1000->eeprom, e1000->mac, DEVICE_ID, DEVICE_ID);
	*e1000_at(e1000, CTRL) = CTRL_FD;
	*e1000_at(e1000, 0x1000) = 0x30; /* PBA: 48 KiB are the receiver's */
}

static void update_interrupt(struct e1000 *e1000)
{
	pci_set_intx(&e1000->function, *e1000_at(e1000, ICR) & *e1000_at(e1000, IMS));
}

static void raise_causes(struct e1000 *e1000, uint32_t causes, unsigned queue)
{
	(void)queue;
	*e1000_at(e1000, ICR) |= causes;
	update_interrupt(e1000);
}

static uint32_t read_register(struct e1000 *e1000, unsigned offset)
{
	uint32_t value = *e1000_at(e1000, offset);

	if (offset == ICR) {
		*e1000_at(e1000, ICR) = 0;
		update_interrupt(e1000);
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
	e1000_write_plain(e1000, offset, value);
	switch (offset) {
	case CTRL:
		if (value & CTRL_PHY_RST)
			e1000_phy_reset(e1000);
		if (value & CTRL_RST)
			e1000_reset_registers(e1000);
		break;
	case EECD: e1000_eeprom_write_eecd(&e1000->eeprom, value); break;
	case EERD: *e1000_at(e1000, EERD) = e1000_eeprom_eerd(&e1000->eeprom, value, false); break;
	case MDIC: e1000_write_mdic(e1000, value); break;
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
		update_interrupt(e1000);
}

static const struct e1000_model model = {
	.name = "e1000",
	.registers_end = 0x5900,
	.queues = 1,
	.plain = plain,
	/* As after negotiation with a partner that can do all (IEEE 802.3 §22.2.4, §40.5). */
	.phy = {[0] = 0x1140, [1] = 0x796d, [2] = 0x0141, [3] = 0x0c20, [4] = 0x0de1, [5] = 0x45e1,
		[6] = 0x0001, [9] = 0x0e00, [10] = 0x3c00, [15] = 0x3000, [16] = 0x0360, [17] = 0xac00,
		[20] = 0x0d60},
	.reset = reset,
	.read = read_register,
	.write = write_register,
	.raise = raise_causes,
	.update_interrupt = update_interrupt,
	.deliver = e1000_deliver,
};

/* --- life --- */

static void describe(struct e1000 *e1000)
{
	struct pci_function *function = &e1000->function;

	pci_function_init(function, VENDOR, DEVICE_ID, CLASS, REVISION);
	pci_function_set_subsystem(function, 0x1af4, 0x1100);
	pci_function_set_pin(function, 1);
	function->bars[0] = (struct pci_bar){.kind = PCI_BAR_MEMORY32,
					     .size_bytes = E1000_WINDOW_BYTES,
					     .name = "e1000",
					     .mmio = &e1000_window_ops,
					     .device = e1000};
	function->bars[1] = (struct pci_bar){.kind = PCI_BAR_IO,
					     .size_bytes = PORT_BYTES,
					     .name = "e1000",
					     .pio = &e1000_port_ops,
					     .device = e1000};
}

struct e1000 *e1000_create(struct pci_bus *bus, unsigned slot_function, const struct net_link *link,
			   const uint8_t mac[E1000_MAC_BYTES], const struct pci_rom *rom,
			   struct event_loop *loop, struct error *error)
{
	struct e1000 *e1000 = e1000_begin(&model, link, mac, loop, error);

	if (!e1000)
		return NULL;
	describe(e1000);
	return e1000_complete(e1000, bus, slot_function, rom, loop, error);
}
