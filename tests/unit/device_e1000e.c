/*
 * An 82574L by its registers and rings, as far as it isn't an 82540EM (device_e1000.c): its capabilities, words and semaphores,
 * frames in extended descriptors, split and over several, with what is known of their checksums, both queues that send, its three
 * ways to interrupt, what is saved, and descriptors that are none.
 */
#include <sys/socket.h>

#include "device/e1000e.h"
#include "pci_rig.h"

#define REGISTERS 0xd0000000u
#define FLASH	  0xd0020000u
#define TABLE	  0xd0040000u
#define PORTS	  0xc000
#define SLOT	  (4 << 3)
#define RX_RING	  0x10000
#define TX_RING	  0x11000 /* and the second one's behind it */
#define DATA	  0x20000
#define BUFFERS	  0x40000
#define ENTRIES	  16

#define CTRL_EXT 0x18
#define ICR	 0xc0
#define ICS	 0xc8
#define IMS	 0xd0
#define IMC	 0xd8
#define EIAC	 0xdc
#define IAM	 0xe0
#define IVAR	 0xe4
#define RCTL	 0x100
#define PSRCTL	 0x2170
#define RDH	 0x2810
#define RDT	 0x2818
#define RXCSUM	 0x5000
#define RFCTL	 0x5008
#define SWSM	 0x5b50

static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static const struct pci_rom no_rom;
static struct pci_rig rig;
static struct e1000 *card;
static int peer;

static uint32_t get(unsigned offset)
{
	return pci_rig_get(&rig, REGISTERS + offset);
}

static void set(unsigned offset, uint32_t value)
{
	pci_rig_set(&rig, REGISTERS + offset, value);
}

static uint8_t capability(uint8_t id)
{
	uint8_t at = pci_config_read(rig.bus, SLOT, PCI_CAPABILITIES, 1);

	while (at && pci_config_read(rig.bus, SLOT, at, 1) != id)
		at = pci_config_read(rig.bus, SLOT, at + 1, 1);
	return at;
}

static int setup(void **state)
{
	struct error error;
	int ends[2];

	(void)state;
	pci_rig_init(&rig);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	peer = ends[0];
	card = e1000e_create(rig.bus, SLOT, &(struct net_link){.fd = ends[1], .helper = -1}, mac, &no_rom, NULL, &error);
	assert_non_null(card);
	pci_config_write(rig.bus, SLOT, PCI_BAR(0), 4, REGISTERS);
	pci_config_write(rig.bus, SLOT, PCI_BAR(1), 4, FLASH);
	pci_config_write(rig.bus, SLOT, PCI_BAR(2), 4, PORTS);
	pci_config_write(rig.bus, SLOT, PCI_BAR(3), 4, TABLE);
	pci_config_write(rig.bus, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	e1000_device_ops.reset(card);
	e1000_device_ops.release(card);
	set(0x2800, RX_RING);
	set(0x2808, ENTRIES * 16);
	set(0x3800, TX_RING);
	set(0x3808, ENTRIES * 16);
	set(0x3900, TX_RING + 0x800);
	set(0x3908, ENTRIES * 16);
	set(0x400, 0x2);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	e1000_device_ops.destroy(card);
	pci_rig_end(&rig);
	close(peer);
	return 0;
}

/* Extended descriptors, with buffers of 2 KiB. */
static void receive_extended(void)
{
	uint64_t *ring = pci_rig_at(&rig, RX_RING);
	unsigned i;

	for (i = 0; i < ENTRIES; i++) {
		ring[2 * i] = BUFFERS + i * 0x800;
		ring[2 * i + 1] = 0;
	}
	set(RFCTL, 0x8000);
	set(RDT, ENTRIES - 1);
	set(RCTL, 0x04008022); /* EN, LPE, BAM, SECRC */
}

/* The same with four buffers each, of `first`, 1 KiB and twice 2 KiB. */
static void receive_split(unsigned first)
{
	uint64_t *ring = pci_rig_at(&rig, RX_RING);
	unsigned i;

	for (i = 0; i < 2 * ENTRIES; i++)
		ring[i] = BUFFERS + i * 0x1000;
	set(PSRCTL, first / 128 | 1 << 8 | 2 << 16 | 2 << 24);
	set(RFCTL, 0x8000);
	set(RDT, ENTRIES - 2);
	set(RCTL, 0x04008422);
}

static void send_bytes(const void *frame, size_t size)
{
	assert_int_equal(send(peer, frame, size, 0), (ssize_t)size);
}

static void send_frame(unsigned size)
{
	uint8_t frame[10000] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
	unsigned i;

	for (i = 12; i < size; i++)
		frame[i] = i * 7;
	frame[12] = 0x88;
	send_bytes(frame, size);
}

static uint32_t word(uint64_t gpa)
{
	return *(uint32_t *)pci_rig_at(&rig, gpa);
}

static uint16_t half(uint64_t gpa)
{
	return *(uint16_t *)pci_rig_at(&rig, gpa);
}

/* --- tests --- */

static void test_function(void **state)
{
	uint8_t at;

	(void)state;
	assert_int_equal(pci_config_read(rig.bus, SLOT, PCI_VENDOR, 4), 0x10d38086);
	assert_int_equal(pci_config_read(rig.bus, SLOT, PCI_SUBSYSTEM_VENDOR, 4), 0x00008086);
	/* Integrated in the root complex. */
	at = capability(PCI_CAPABILITY_EXPRESS);
	assert_int_equal(pci_config_read(rig.bus, SLOT, at + 2, 2) >> 4 & 0xf, 9);
	assert_int_equal(pci_config_read(rig.bus, SLOT, capability(PCI_CAPABILITY_MSIX) + 2, 2) & 0x7ff, 4);
	assert_true(capability(PCI_CAPABILITY_MSI) != 0);
	/* D3hot, and nothing else of it can be written. */
	at = capability(0x01);
	pci_config_write(rig.bus, SLOT, at + 4, 2, 0xffff);
	assert_int_equal(pci_config_read(rig.bus, SLOT, at + 4, 2), 0x000b);
	/* There is no flash. */
	assert_int_equal(pci_rig_get(&rig, FLASH), 0xffffffff);
}

static void test_words(void **state)
{
	uint16_t sum = 0;
	unsigned i;

	(void)state;
	for (i = 0; i < 64; i++) {
		set(0x14, i << 2 | 1);
		assert_int_equal(get(0x14) & 0xffff, i << 2 | 2);
		sum += get(0x14) >> 16;
		if (i < 3)
			assert_int_equal(get(0x14) >> 16, mac[2 * i] | mac[2 * i + 1] << 8);
	}
	assert_int_equal(sum, 0xbaba);
	set(0x14, 0x3fff << 2 | 1);
	assert_int_equal(get(0x14) >> 16, 0xffff);
	/* They cannot be written. */
	set(0x102c, 0xdead0001);
	assert_int_equal(get(0x102c) & 2, 2);
	set(0x14, 1);
	assert_int_equal(get(0x14) >> 16, 0x5452);
	assert_int_equal(get(0x10) & 0x380, 0x300);
	set(0x10, 0x40);
	assert_int_equal(get(0x10) & 0x3c0, 0x3c0);
}

static unsigned phy(unsigned number)
{
	set(0x20, 0x08000000 | 1 << 21 | number << 16);
	assert_int_equal(get(0x20) & 0x50000000, 0x10000000);
	return get(0x20) & 0xffff;
}

static void set_phy(unsigned number, unsigned value)
{
	set(0x20, 0x04000000 | 1 << 21 | number << 16 | value);
}

static void test_semaphores_and_phy(void **state)
{
	(void)state;
	assert_int_equal(get(SWSM) & 1, 0);
	assert_int_equal(get(SWSM) & 1, 1);
	set(SWSM, 2);
	assert_int_equal(get(SWSM) & 3, 2);
	assert_int_equal(get(SWSM) & 3, 3);
	set(0xf00, get(0xf00) | 0x20);
	assert_int_equal(get(0xf00) & 0x20, 0x20);
	assert_int_equal(get(8) & 0x80283, 0x80283);
	set(0, get(4) | 4);
	assert_int_equal(get(8) & 0x80000, 0);
	assert_int_equal(phy(2) << 16 | phy(3), 0x01410cb1);
	assert_int_equal(phy(1) & 0x24, 0x24);
	/* Other pages have nothing, and the first registers of all are the same. */
	set_phy(16, 0x1234);
	set_phy(22, 2);
	assert_int_equal(phy(16), 0);
	set_phy(16, 0x4321);
	assert_int_equal(phy(3), 0x0cb1);
	set_phy(22, 0);
	assert_int_equal(phy(16), 0x1234);
	/* Tables that only are there, and the registers by ports. */
	set(0x5c7c, 0x81018001);
	set(0x5ca4, 0x12345678);
	assert_int_equal(get(0x5c7c), 0x81018001);
	pio_bus_write(rig.pio, PORTS, 4, 0x5ca4);
	assert_int_equal(pio_bus_read(rig.pio, PORTS + 4, 4), 0x12345678);
	pio_bus_write(rig.pio, PORTS, 4, 0x1fffc);
	assert_int_equal(pio_bus_read(rig.pio, PORTS + 4, 4), 0);
	set(0, 0x04000000);
	assert_int_equal(get(0x5c7c), 0);
	assert_int_equal(phy(16), 0x3360);
}

static void test_both_queues_send(void **state)
{
	uint64_t *second = pci_rig_at(&rig, TX_RING + 0x800), *first = pci_rig_at(&rig, TX_RING);
	uint8_t frame[200];

	(void)state;
	memset(pci_rig_at(&rig, DATA), 0x55, 100);
	second[0] = DATA;
	second[1] = 100 | 0x09000000;
	set(0x3918, 1);
	wait_for(recv(peer, frame, sizeof(frame), MSG_PEEK) == 100);
	recv(peer, frame, sizeof(frame), 0);
	wait_for(get(0x3910) == 1);
	assert_int_equal(second[1] >> 32 & 1, 1);
	assert_int_equal(get(0x3810), 0);
	first[0] = DATA;
	first[1] = 60 | 0x09000000;
	set(0x3818, 1);
	wait_for(recv(peer, frame, sizeof(frame), MSG_PEEK) == 60);
}

/* An IPv4 packet of TCP or UDP, or IPv6 of TCP, whose sums are right. */
static const uint8_t tcp4[60] = {
	0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1, 8, 0,
	0x45, 0, 0, 42, 0, 1, 0, 0, 64, 6, 0x62, 0xbd, 10, 0, 2, 2, 10, 0, 2, 15,
	0, 80, 0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xff, 0xff, 0x1c, 0xd2, 0, 0, 'h', 'i'};
static const uint8_t udp4[60] = {
	0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1, 8, 0,
	0x45, 0, 0, 30, 0, 1, 0, 0, 64, 17, 0x62, 0xbe, 10, 0, 2, 2, 10, 0, 2, 15,
	0, 53, 0x12, 0x34, 0, 10, 0x6c, 0xf7, 'h', 'i'};

static uint32_t status_of(unsigned entry, const uint8_t *frame, size_t size)
{
	send_bytes(frame, size);
	wait_for(get(RDH) == (entry + 1) % ENTRIES);
	return word(RX_RING + entry * 16 + 8);
}

static void test_checksums(void **state)
{
	uint8_t frame[78] = {0}, tagged[64];

	(void)state;
	receive_extended();
	assert_int_equal(status_of(0, tcp4, sizeof(tcp4)), 0x63);
	assert_int_equal(half(RX_RING + 12), 60);
	assert_memory_equal(pci_rig_at(&rig, BUFFERS), tcp4, 60);
	assert_int_equal(status_of(1, udp4, sizeof(udp4)), 0x73);
	memcpy(frame, tcp4, 60);
	frame[54] ^= 1;
	assert_int_equal(status_of(2, frame, 60), 0x20000063);
	frame[54] ^= 1;
	frame[22] ^= 1;
	assert_int_equal(status_of(3, frame, 60), 0x40000063);
	/* A fragment has a header's only; UDP without a sum likewise; lengths that are wrong, nothing. */
	memcpy(frame, udp4, 60);
	frame[40] = frame[41] = 0;
	assert_int_equal(status_of(4, frame, 60), 0x43);
	memcpy(frame, tcp4, 60);
	frame[20] = 0x20;
	frame[24] -= 0x20;
	assert_int_equal(status_of(5, frame, 60), 0x43);
	memcpy(frame, tcp4, 60);
	frame[17] = 200;
	assert_int_equal(status_of(6, frame, 60), 0x07);
	frame[17] = 42;
	frame[14] = 0x4f;
	assert_int_equal(status_of(7, frame, 60), 0x07);
	/* As software wants it. */
	set(RXCSUM, 0x100);
	assert_int_equal(status_of(8, tcp4, sizeof(tcp4)), 0x43);
	set(RXCSUM, 0);
	assert_int_equal(status_of(9, tcp4, sizeof(tcp4)), 0x07);
	set(RXCSUM, 0x300);
	/* IPv6: the same TCP, and one whose payload is not all there. */
	memcpy(frame, tcp4, 12);
	memcpy(frame + 12, "\x86\xdd\x60\0\0\0\0\x16\x06\x40", 10);
	memset(frame + 22, 0, 32);
	frame[37] = frame[53] = 1;
	memcpy(frame + 54, tcp4 + 34, 22);
	frame[70] = 0x34;
	frame[71] = 0xe1;
	assert_int_equal(status_of(10, frame, 76), 0x23);
	frame[19] = 0x40;
	assert_int_equal(status_of(11, frame, 76), 0x07);
	/* With a tag, and without it when it is taken off. */
	memcpy(tagged, tcp4, 12);
	memcpy(tagged + 12, "\x81\0\x20\x05", 4);
	memcpy(tagged + 16, tcp4 + 12, 48);
	assert_int_equal(status_of(12, tagged, 64), 0x63);
	assert_int_equal(half(RX_RING + 12 * 16 + 12), 64);
	set(0, get(0) | 0x40000000);
	assert_int_equal(status_of(13, tagged, 64), 0x6b);
	assert_int_equal(word(RX_RING + 13 * 16 + 12), 0x2005u << 16 | 60);
	assert_memory_equal(pci_rig_at(&rig, BUFFERS + 13 * 0x800), tcp4, 60);
}

static void test_several_descriptors(void **state)
{
	unsigned i;

	(void)state;
	receive_extended();
	send_frame(9000);
	wait_for(get(RDH) == 5);
	for (i = 0; i < 5; i++) {
		assert_int_equal(half(RX_RING + i * 16 + 12), i < 4 ? 2048 : 9000 - 4 * 2048);
		assert_int_equal(word(RX_RING + i * 16 + 8), i < 4 ? 1 : 7);
		assert_int_equal(word(RX_RING + i * 16), 0);
	}
	assert_int_equal(*(uint8_t *)pci_rig_at(&rig, BUFFERS + 4096), (uint8_t)(4096 * 7));
	/* Buffers of 4 KiB by FLXBUF. */
	set(RCTL, 0x04008022 | 4u << 27);
	send_frame(4097);
	wait_for(get(RDH) == 7);
	assert_int_equal(half(RX_RING + 5 * 16 + 12), 4096);
	assert_int_equal(half(RX_RING + 6 * 16 + 12), 1);
	/* It waits for descriptors. */
	set(RCTL, 0x04008022);
	set(RDT, 8);
	send_frame(4000);
	usleep(20000);
	assert_int_equal(get(RDH), 7);
	set(RDT, 6);
	wait_for(get(RDH) == 9);
}

static void test_split(void **state)
{
	const uint8_t *second = pci_rig_at(&rig, BUFFERS + 0x1000);

	(void)state;
	receive_split(256);
	send_frame(1000);
	wait_for(get(RDH) == 2);
	assert_int_equal(word(RX_RING + 8), 7);
	assert_int_equal(half(RX_RING + 12), 256);
	assert_int_equal(half(RX_RING + 18), 744);
	assert_int_equal(half(RX_RING + 20), 0);
	assert_int_equal(half(RX_RING + 16), 0);
	assert_int_equal(second[0], (uint8_t)(256 * 7));
	/* More than one has room for: 256 + 1024 + 2048 + 2048. */
	send_frame(9000);
	wait_for(get(RDH) == 6);
	assert_int_equal(word(RX_RING + 32 + 8), 1);
	assert_int_equal(half(RX_RING + 32 + 22), 2048);
	assert_int_equal(word(RX_RING + 64 + 8), 7);
	assert_int_equal(half(RX_RING + 64 + 12), 256);
	assert_int_equal(half(RX_RING + 64 + 22), 9000 - 5376 - 256 - 1024 - 2048);
}

/* Buffers of no bytes, entries and buffers that are nowhere, half an entry: nothing happens, and it goes on. */
static void test_wrong_descriptors(void **state)
{
	unsigned received = 0;

	(void)state;
	receive_split(128);
	set(PSRCTL, 0);
	send_frame(1000);
	wait_for((received += get(0x4074)) == 1);
	assert_int_equal(get(RDH), 0);
	set(PSRCTL, 1);
	*(uint64_t *)pci_rig_at(&rig, RX_RING) = ~0ull - 50;
	send_frame(100);
	wait_for(get(RDH) == 2);
	set(RDH, ENTRIES - 1);
	set(RDT, ENTRIES - 3);
	send_frame(100);
	wait_for(get(RDH) == 1);
	set(0x2804, 0xffffffff);
	send_frame(100);
	wait_for(get(RDH) == 3);
	set(RDH, 0xffff);
	send_frame(100);
	usleep(20000);
	/* Off meanwhile: the device may come to this frame only now. */
	set(RCTL, 0);
	set(0x2804, 0);
	set(RDH, 0);
	receive_extended();
	wait_for(get(RDH) == 1);
}

static void test_intx(void **state)
{
	(void)state;
	set(ICS, 0x80);
	assert_false(rig.levels[10]);
	assert_int_equal(get(ICR), 0x80);
	assert_int_equal(get(ICR), 0);
	set(IMS, 0x9d);
	set(ICS, 0x80);
	assert_true(rig.levels[10]);
	assert_int_equal(get(ICS), 0x80000080);
	/* Reading masks what IAM says. */
	set(IAM, 0x81);
	set(CTRL_EXT, 0x08000000);
	assert_int_equal(get(ICR), 0x80000080);
	assert_false(rig.levels[10]);
	assert_int_equal(get(IMS), 0x1c);
	set(ICS, 0x80);
	assert_false(rig.levels[10]);
	set(IMS, 0x80);
	assert_true(rig.levels[10]);
	set(IMC, 0xffffffff);
	assert_false(rig.levels[10]);
	assert_int_equal(get(IMS), 0);
}

static void test_msi(void **state)
{
	uint8_t at = capability(PCI_CAPABILITY_MSI);

	(void)state;
	pci_config_write(rig.bus, SLOT, at + PCI_MSI_ADDRESS, 4, 0xfee00000);
	pci_config_write(rig.bus, SLOT, at + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE);
	set(IMS, 0x85);
	set(ICS, 0x80);
	assert_int_equal(rig.messages, 1);
	/* The same again is the same; another, and after a reading the first, are news. */
	set(ICS, 0x80);
	assert_int_equal(rig.messages, 1);
	set(ICS, 0x4);
	assert_int_equal(rig.messages, 2);
	get(ICR);
	set(ICS, 0x80);
	assert_int_equal(rig.messages, 3);
	assert_int_equal(rig.rises, 0);
}

static void use_msix(void)
{
	unsigned i;

	for (i = 0; i < 5; i++) {
		pci_rig_set(&rig, TABLE + i * 16, 0xfee00000);
		pci_rig_set(&rig, TABLE + i * 16 + 8, 0x40 + i);
		pci_rig_set(&rig, TABLE + i * 16 + 12, 0);
	}
	pci_config_write(rig.bus, SLOT, capability(PCI_CAPABILITY_MSIX) + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE);
	/* The first queues' 0 and 1, the second one's that sends 3, others 2. */
	set(IVAR, 0x000ab908);
	set(EIAC, 0x500000);
	set(CTRL_EXT, 0x01000000);
}

static void test_msix(void **state)
{
	uint64_t *ring = pci_rig_at(&rig, TX_RING + 0x800);

	(void)state;
	use_msix();
	receive_extended();
	set(IMS, 0x1f00004);
	send_frame(100);
	wait_for(rig.messages == 1);
	assert_int_equal(rig.last_message, 0x40);
	/* It has gone: its cause is cleared, and masked. */
	assert_int_equal(get(IMS), 0x1e00004);
	assert_int_equal(get(ICS), 0);
	send_frame(100);
	wait_for(get(RDH) == 2);
	wait_for(get(ICS) == 0x100000);
	assert_int_equal(rig.messages, 1);
	set(IMS, 0x100000);
	assert_int_equal(rig.messages, 2);
	ring[0] = DATA;
	ring[1] = 60 | 0x09000000;
	set(0x3918, 1);
	wait_for(rig.messages == 3);
	assert_int_equal(rig.last_message, 0x43);
	/* EIAC does not have this one. */
	assert_int_equal(get(ICS) & 0x800000, 0x800000);
	set(ICR, 0x800000);
	/* A link that goes is another cause, and OTHER with it: both go together. */
	e1000_set_link(card, false);
	assert_int_equal(rig.messages, 4);
	assert_int_equal(rig.last_message, 0x42);
	assert_int_equal(get(ICS) & 0x1000004, 0x1000004);
	set(ICR, 0x1000000);
	assert_int_equal(get(ICS) & 0x1000004, 0);
	/* Without a valid vector, nothing. */
	set(IVAR, 0x00070000);
	set(IMS, 0x1000000);
	e1000_set_link(card, true);
	set(ICR, 0x1000000);
	set(IVAR, 0x000f0000);
	set(IMS, 0x1000000);
	e1000_set_link(card, false);
	assert_int_equal(rig.messages, 4);
	assert_int_equal(rig.rises, 0);
}

static void test_saved(void **state)
{
	struct error error;
	struct e1000 *other;

	(void)state;
	receive_extended();
	set(0x5c00, 0x12345678);
	set(0xb620, 0x10);
	set(IMS, 0x80);
	set(ICS, 0x80);
	set_phy(22, 3);
	e1000_device_ops.hold(card);
	other = e1000e_create(rig.bus, SLOT + 8, &(struct net_link){.fd = dup(peer), .helper = -1}, mac, &no_rom, NULL, &error);
	assert_non_null(other);
	pci_rig_check_state(&e1000_device_ops, card, other);
	e1000_device_ops.destroy(other);
}

/* What is saved with a ring that cannot be written is refused, and nothing has changed. */
static void test_hostile_state(void **state)
{
	struct state_stream stream, loading;
	const void *bytes;
	struct error error;
	uint8_t *copy;
	size_t size, i;

	(void)state;
	set(0x3908, 0x5ab80);
	e1000_device_ops.hold(card);
	state_save_begin(&stream);
	state_section_begin(&stream, "e1000e", 1);
	e1000_device_ops.save(card, &stream);
	state_section_end(&stream);
	assert_int_equal(state_saved(&stream, &bytes, &size, &error), 0);
	copy = malloc(size);
	memcpy(copy, bytes, size);
	for (i = 0; i + 4 <= size && memcmp(copy + i, "\x80\xab\x05\x00", 4) != 0; i++)
		;
	assert_true(i + 4 <= size);
	copy[i]++;
	state_load_begin(&loading, copy, size);
	state_section_begin(&loading, "e1000e", 1);
	e1000_device_ops.load(card, &loading);
	state_section_end(&loading);
	assert_true(state_loaded(&loading, &error) < 0);
	assert_int_equal(get(0x3908), 0x5ab80);
	state_end(&loading);
	state_end(&stream);
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_function, setup, teardown),
		cmocka_unit_test_setup_teardown(test_words, setup, teardown),
		cmocka_unit_test_setup_teardown(test_semaphores_and_phy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_both_queues_send, setup, teardown),
		cmocka_unit_test_setup_teardown(test_checksums, setup, teardown),
		cmocka_unit_test_setup_teardown(test_several_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_split, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_intx, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_state, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
