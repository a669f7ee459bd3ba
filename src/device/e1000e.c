/*
 * Intel's 82574L (82574 GbE Controller Family datasheet, order number 317694): function 8086:10d3 of PCI Express, 128 KiB of
 * registers in memory and a window of two registers on ports, two receive and two transmit rings, INTx, MSI and MSI-X with
 * five vectors. It is of the 82540EM's family: what is the same is in e1000_card.c and e1000_rings.c.
 *
 * Modelled: transmit rings with legacy, context and data descriptors; the first receive ring with legacy, extended and packet
 * split descriptors and checksums (e1000e_receive.c); causes, their vectors and what clears and masks them
 * (e1000e_interrupt.c); filters by address, hash and VLAN; words of the EEPROM by EERD; the semaphores; the PHY's first page,
 * with a link at 1000 Mbit/s; counters of packets and octets; of power management that D-states can be written (registers are
 * kept in all of them). Registers only: receive side scaling (all is in the first queue with a hash of 0), intervals and
 * delays of interrupts (they are sent at once), time stamps, manageability, wake-up, flow control. Not there: the flash,
 * and the EEPROM's wires.
 */
#include "device/e1000e.h"

#include "device/e1000e_parts.h"

#define VENDOR	  0x8086
#define DEVICE_ID 0x10d3
#define CLASS	  0x020000
#define REVISION  0

#define FLASH_BYTES (128 << 10)
#define PORT_BYTES  32
#define TABLE_BAR   3
#define TABLE_BYTES (16 << 10)
#define PBA_OFFSET  0x2000

/* Power management (PCI Power Management 1.2 §3.2). */
#define PM_BYTES       8
#define PM_ID	       0x01
#define PM_CAPABILITIES 2
#define PM_VERSION     2
#define PM_CONTROL     4
#define PM_STATE       0x3
#define PM_KEPT	       0x8 /* registers, from D3hot to D0 */

#define CTRL_FORCED_OFF 0x4 /* no new requests as a bus master */
#define STATUS_MASTER	0x80000
#define EECD_PRESENT	0x100
#define EECD_LOADED	0x200 /* its words are in the registers */
#define EECD_REQUEST	0x40
#define EECD_GRANT	0x80
#define EEWR_DONE	0x2
#define SWSM_SMBI	0x1

/* What software reads back as it wrote it, and with which bits. Others are below. */
static const struct e1000_plain plain[] = {
	{CTRL, 1, ~(CTRL_RST | CTRL_PHY_RST)},
	{CTRL_EXT, 1, ~0x3000u}, /* but for what clears itself */
	{0x0028, 5, ~0u},	 /* FCAL, FCAH, FCT and VET, with one between them */
	{ITR, 1, 0xffff},
	{EIAC, 1, 0x1f00000},
	{IAM, 2, ~0u}, /* and IVAR */
	{EITR, E1000E_VECTORS, 0xffff},
	{RCTL, 1, ~0u},
	{0x0170, 1, 0xffff}, /* FCTTV */
	{TCTL, 1, ~0u},
	{0x0410, 1, ~0u},   /* TIPG */
	{0x0458, 1, 0xffff}, /* AIT */
	{0x0e00, 1, ~0u},   /* LEDCTL */
	{EXTCNF_CTRL, 1, ~0u},
	{0x0f08, 1, ~0u}, /* EXTCNF_SIZE */
	{0x0f10, 1, ~0u}, /* PHY_CTRL */
	{0x1000, 1, ~0u}, /* PBA */
	{0x1008, 1, ~0u}, /* PBS */
	{0x2008, 1, ~0u}, /* ERT */
	{0x2160, 1, ~0u}, /* FCRTL, FCRTH */
	{0x2168, 1, ~0u},
	{PSRCTL, 1, ~0u},
	{RDBAL, 1, ~0xfu},
	{RDBAH, 1, ~0u},
	{RDLEN, 1, 0xfff80},
	{RDH, 1, 0xffff},
	{RDT, 1, 0xffff},
	{0x2820, 1, 0xffff}, /* RDTR, RXDCTL, RADV */
	{0x2828, 1, ~0u},
	{0x282c, 1, 0xffff},
	{RDBAL + QUEUE_BYTES, 1, ~0xfu},
	{RDBAH + QUEUE_BYTES, 1, ~0u},
	{RDLEN + QUEUE_BYTES, 1, 0xfff80},
	{RDH + QUEUE_BYTES, 1, 0xffff},
	{RDT + QUEUE_BYTES, 1, 0xffff},
	{0x2920, 1, 0xffff},
	{0x2928, 1, ~0u},
	{0x292c, 1, 0xffff},
	{0x2c00, 1, 0xfff},  /* RSRPD */
	{0x2c08, 1, 0xffff}, /* RAID */
	{0x2c10, 1, ~0u},    /* CPUVEC */
	{TDBAL, 1, ~0xfu},
	{TDBAH, 1, ~0u},
	{TDLEN, 1, 0xfff80},
	{TDH, 1, 0xffff},
	{TDT, 1, 0xffff},
	{0x3820, 1, 0xffff}, /* TIDV, TXDCTL, TADV, TARC */
	{0x3828, 1, ~0u},
	{0x382c, 1, 0xffff},
	{0x3840, 1, 0x780007ff},
	{TDBAL + QUEUE_BYTES, 1, ~0xfu},
	{TDBAH + QUEUE_BYTES, 1, ~0u},
	{TDLEN + QUEUE_BYTES, 1, 0xfff80},
	{TDH + QUEUE_BYTES, 1, 0xffff},
	{TDT + QUEUE_BYTES, 1, 0xffff},
	{0x3928, 1, ~0u},
	{0x3940, 1, 0x780007ff},
	{RXCSUM, 1, 0xffff},
	{RFCTL, 1, ~0u},
	{0x5010, 4, ~0u}, /* MAVTV */
	{MTA, 128, ~0u},
	{RAL, 32, ~0u},
	{VFTA, 128, ~0u},
	{0x5800, 1, ~0u}, /* WUC, WUFC, WUS */
	{0x5808, 1, ~0u},
	{0x5810, 1, ~0u},
	{0x5818, 1, ~0u}, /* MRQC */
	{0x5820, 3, ~0u}, /* MANC, MFUTP */
	{0x5838, 1, ~0u}, /* IPAV and addresses */
	{0x5840, 7, ~0u},
	{0x5860, 3, ~0u}, /* MANC2H, RSSIM, RSSIR */
	{0x5880, 12, ~0u},
	{0x5b00, 1, ~0u}, /* GCR, FUNCTAG, GSCL, GSCN */
	{0x5b08, 1, ~0u},
	{0x5b10, 8, ~0u},
	{SWSM, 1, 0xf},
	{0x5b58, 1, 0x3}, /* SWSM2 */
	{0x5b64, 1, ~0u}, /* GCR2 */
	{0x5b68, 1, 0x1f}, /* PBACLR */
	{0x5c00, 32, ~0u}, /* RETA */
	{0x5c80, 10, ~0u}, /* RSSRK */
	{0xb600, 20, ~0u}, /* time stamps and their clock */
	{0},
};

/* --- registers; with the lock held --- */

static void reset_model(struct e1000 *e1000)
{
	static const struct {
		uint16_t offset;
		uint32_t value;
	} initial[] = {
		{CTRL, 0x00140241},   /* FD, SLU, 1000 Mbit/s */
		{EECD, EECD_PRESENT | EECD_LOADED},
		{EERD, 0x2},
		{EEWR, EEWR_DONE},
		{0x0e00, 0x00068302}, /* LEDCTL */
		{EXTCNF_CTRL, 0x8},
		{0x1000, 0x00140014}, /* PBA: 20 KiB each */
		{0x1008, 0x28},	      /* PBS */
		{0x1010, 0x80040000}, /* EEMNGCTL: configured */
		{0x0410, 0x00602008}, /* TIPG */
		{PSRCTL, 0x00040402},
		{0x2828, 0x00010000}, /* RXDCTL */
		{0x2928, 0x00010000},
		{0x3840, 0x403},      /* TARC */
		{0x3940, 0x403},
		{RXCSUM, RXCSUM_IPOFL | RXCSUM_TUOFL},
		{0x5b30, 0x20000004}, /* FACTPS: one port, in D0 */
	};
	unsigned i;

	for (i = 0; i < sizeof(initial) / sizeof(initial[0]); i++)
		*e1000_at(e1000, initial[i].offset) = initial[i].value;
	e1000_eeprom_init(&e1000->eeprom, e1000->mac, DEVICE_ID, 0);
}

static uint32_t read_register(struct e1000 *e1000, unsigned offset)
{
	uint32_t value = *e1000_at(e1000, offset);

	if (offset >= STATS && offset < STATS_END) {
		*e1000_at(e1000, offset) = 0;
		return value;
	}
	switch (offset) {
	case CTRL_AGAIN: return *e1000_at(e1000, CTRL);
	case STATUS: return value | (*e1000_at(e1000, CTRL) & CTRL_FORCED_OFF ? 0 : STATUS_MASTER);
	case ICR: return e1000e_read_icr(e1000);
	case ICS: return *e1000_at(e1000, ICR);
	case IMC: return 0;
	case SWSM:
		/* Whoever reads it clear has it (§10.2.8.1). */
		*e1000_at(e1000, SWSM) |= SWSM_SMBI;
		return value;
	default: return value;
	}
}

static void write_register(struct e1000 *e1000, unsigned offset, uint32_t value)
{
	if (offset == CTRL_AGAIN)
		offset = CTRL;
	e1000_write_plain(e1000, offset, value);
	switch (offset) {
	case CTRL:
		if (value & CTRL_PHY_RST)
			e1000_phy_reset(e1000);
		if (value & CTRL_RST)
			e1000_reset_registers(e1000);
		break;
	case EECD:
		*e1000_at(e1000, EECD) = EECD_PRESENT | EECD_LOADED |
					 (value & EECD_REQUEST ? EECD_REQUEST | EECD_GRANT : 0);
		break;
	case EERD: *e1000_at(e1000, EERD) = e1000_eeprom_eerd(&e1000->eeprom, value, true); break;
	/* Words are what they are. */
	case EEWR: *e1000_at(e1000, EEWR) = (value & 0xffff) | EEWR_DONE; break;
	case MDIC: e1000_write_mdic(e1000, value); break;
	case ICR: e1000e_write_icr(e1000, value); break;
	case ICS: e1000e_set_causes(e1000, value); break;
	case IMS: e1000e_set_mask(e1000, value); break;
	case IMC: e1000e_clear_mask(e1000, value); break;
	case IVAR: e1000e_update_interrupt(e1000); break;
	case TCTL:
	case TDT:
	case TDT + QUEUE_BYTES:
	case RCTL:
	case RDT: e1000_kick(e1000); break;
	default: break;
	}
}

static const struct e1000_model model = {
	.name = "e1000e",
	.registers_end = REGISTERS_MAX,
	.queues = 2,
	.plain = plain,
	/* A BM, after negotiation with a partner that can do all (IEEE 802.3 §22.2.4, §40.5). */
	.phy = {[0] = 0x1140, [1] = 0x796d, [2] = 0x0141, [3] = 0x0cb1, [4] = 0x0de1, [5] = 0x45e1,
		[6] = 0x0001, [7] = 0x2001, [9] = 0x0e00, [10] = 0x3c00, [15] = 0x3000, [16] = 0x3360, [17] = 0xac08},
	.has_phy_pages = true,
	.has_messages = true,
	.reset = reset_model,
	.read = read_register,
	.write = write_register,
	.raise = e1000e_raise,
	.update_interrupt = e1000e_update_interrupt,
	.deliver = e1000e_deliver,
};

/* --- life --- */

static void add_power_management(struct pci_function *function)
{
	uint8_t at = pci_add_capability(function, PM_ID, PM_BYTES);

	function->config[at + PM_CAPABILITIES] = PM_VERSION;
	function->config[at + PM_CONTROL] = PM_KEPT;
	function->writable[at + PM_CONTROL] = PM_STATE;
}

static int describe(struct e1000 *e1000, struct error *error)
{
	struct pci_function *function = &e1000->function;

	pci_function_init(function, VENDOR, DEVICE_ID, CLASS, REVISION);
	pci_function_set_subsystem(function, VENDOR, 0);
	pci_function_set_pin(function, 1);
	function->is_express = true;
	function->bars[0] = (struct pci_bar){.kind = PCI_BAR_MEMORY32,
					     .size_bytes = E1000_WINDOW_BYTES,
					     .name = "e1000e",
					     .mmio = &e1000_window_ops,
					     .device = e1000};
	function->bars[1] = (struct pci_bar){.kind = PCI_BAR_MEMORY32, .size_bytes = FLASH_BYTES, .name = "e1000e flash"};
	function->bars[2] = (struct pci_bar){.kind = PCI_BAR_IO,
					     .size_bytes = PORT_BYTES,
					     .name = "e1000e",
					     .pio = &e1000_port_ops,
					     .device = e1000};
	function->bars[TABLE_BAR] =
		(struct pci_bar){.kind = PCI_BAR_MEMORY32, .size_bytes = TABLE_BYTES, .name = "e1000e vectors"};
	add_power_management(function);
	pci_add_msi(function, 1);
	return pci_add_msix(function, E1000E_VECTORS, TABLE_BAR, 0, PBA_OFFSET, error);
}

struct e1000 *e1000e_create(struct pci_bus *bus, unsigned slot_function, const struct net_link *link,
			    const uint8_t mac[E1000_MAC_BYTES], const struct pci_rom *rom,
			    struct event_loop *loop, struct error *error)
{
	struct e1000 *e1000 = e1000_begin(&model, link, mac, loop, error);

	if (!e1000)
		return NULL;
	if (describe(e1000, error) < 0) {
		e1000_destroy(e1000);
		return NULL;
	}
	return e1000_complete(e1000, bus, slot_function, rom, loop, error);
}
