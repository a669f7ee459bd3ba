/*
 * An 82540EM by its registers and rings: the EEPROM both ways, frames as they are, with checksums and cut up, what comes
 * in over one descriptor and several, filters, tags, what is saved, and rings that are none.
 */
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "device/e1000.h"
#include "pci_rig.h"

#define REGISTERS 0xd0000000u
#define PORTS	  0xc000
#define SLOT	  (4 << 3)
#define RX_RING	  0x10000
#define TX_RING	  0x11000
#define DATA	  0x20000
#define ENTRIES	  8

#define ICR 0xc0
#define IMS 0xd0

static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static const struct pci_rom no_rom;
static struct pci_rig rig;
static struct e1000 *e1000;
static int peer;
static unsigned tail;

static void create(struct pci_rig *at)
{
	struct error error;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	peer = ends[0];
	e1000 = e1000_create(at->bus, SLOT, &(struct net_link){.fd = ends[1], .helper = -1}, mac, &no_rom, NULL,
			     &error);
	assert_non_null(e1000);
	pci_config_write(at->bus, SLOT, PCI_BAR(0), 4, REGISTERS);
	pci_config_write(at->bus, SLOT, PCI_BAR(1), 4, PORTS);
	pci_config_write(at->bus, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	e1000_device_ops.reset(e1000);
	e1000_device_ops.release(e1000);
	tail = 0;
}

/* Bytes of frames that the device has not looked at. */
static int unread(void)
{
	int bytes;

	assert_int_equal(ioctl(peer, SIOCOUTQ, &bytes), 0);
	return bytes;
}

static uint32_t get(unsigned offset)
{
	return pci_rig_get(&rig, REGISTERS + offset);
}

static void set(unsigned offset, uint32_t value)
{
	pci_rig_set(&rig, REGISTERS + offset, value);
}

/* Both rings, the receiver's with buffers of 2 KiB but for one. */
static void enable(void)
{
	uint64_t *ring = pci_rig_at(&rig, RX_RING);
	unsigned i;

	memset(pci_rig_at(&rig, RX_RING), 0, 0x2000);
	for (i = 0; i < ENTRIES; i++)
		ring[2 * i] = DATA + 0x8000 + i * 0x800;
	set(0x2800, RX_RING);
	set(0x2808, ENTRIES * 16);
	set(0x2818, ENTRIES - 1);
	set(0x3800, TX_RING);
	set(0x3808, ENTRIES * 16);
	set(0x100, 0x8002); /* RCTL: EN, BAM */
	set(0x400, 0x2);
}

static int setup(void **state)
{
	(void)state;
	pci_rig_init(&rig);
	create(&rig);
	enable();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	e1000_device_ops.destroy(e1000);
	pci_rig_end(&rig);
	close(peer);
	return 0;
}

static void submit(uint64_t address, uint32_t command, uint32_t status)
{
	uint8_t *entry = pci_rig_at(&rig, TX_RING + tail * 16);

	memcpy(entry, &address, 8);
	memcpy(entry + 8, &command, 4);
	memcpy(entry + 12, &status, 4);
	tail = (tail + 1) % ENTRIES;
}

static ssize_t receive(uint8_t *frame, size_t room)
{
	wait_for(recv(peer, frame, room, MSG_PEEK) > 0);
	return recv(peer, frame, room, 0);
}

/* --- tests --- */

static unsigned eeprom_by_wires(unsigned word)
{
	unsigned command = 6 << 6 | word, value = 0, i;

	set(0x10, 0x40);
	assert_true(get(0x10) & 0x80);
	set(0x10, 0x42);
	for (i = 9; i--;) {
		unsigned in = command >> i & 1 ? 4 : 0;

		set(0x10, 0x42 | in);
		set(0x10, 0x43 | in);
		set(0x10, 0x42 | in);
	}
	for (i = 0; i < 16; i++) {
		set(0x10, 0x43);
		value = value << 1 | (get(0x10) >> 3 & 1);
		set(0x10, 0x42);
	}
	set(0x10, 0x40);
	set(0x10, 0);
	return value;
}

static void test_eeprom(void **state)
{
	uint16_t sum = 0;
	unsigned i;

	(void)state;
	for (i = 0; i < 64; i++) {
		set(0x14, i << 8 | 1);
		assert_int_equal(get(0x14) & 0x10, 0x10);
		assert_int_equal(get(0x14) >> 16, eeprom_by_wires(i));
		sum += get(0x14) >> 16;
	}
	assert_int_equal(sum, 0xbaba);
	assert_int_equal(eeprom_by_wires(0), 0x5452);
	assert_int_equal(eeprom_by_wires(2), 0x5634);
}

static void test_phy_and_ports(void **state)
{
	uint32_t value;

	(void)state;
	assert_int_equal(get(8) & 0x83, 0x83);
	set(0x20, 0x08000000 | 1 << 21 | 2 << 16);
	assert_int_equal(get(0x20) & 0x5000ffff, 0x10000141);
	set(0x20, 0x08000000 | 2 << 21 | 2 << 16);
	assert_int_equal(get(0x20) & 0x50000000, 0x50000000);
	/* The registers by ports, and a reset by them. */
	pio_bus_write(rig.pio, PORTS, 4, 0x5404);
	assert_int_equal(pio_bus_read(rig.pio, PORTS + 4, 4), 0x80005634);
	pio_bus_write(rig.pio, PORTS, 4, 0x1fffc);
	assert_int_equal(pio_bus_read(rig.pio, PORTS + 4, 4), 0);
	pio_bus_write(rig.pio, PORTS, 4, 0);
	value = get(0x100);
	assert_true(value != 0);
	pio_bus_write(rig.pio, PORTS + 4, 4, 0x04000000);
	assert_int_equal(get(0x100), 0);
}

static void test_plain_frame(void **state)
{
	uint8_t frame[200];

	(void)state;
	memset(pci_rig_at(&rig, DATA), 0x55, 100);
	memset(pci_rig_at(&rig, DATA + 0x1000), 0x66, 50);
	/* The second part goes with a tag: EOP, RS, VLE. */
	submit(DATA, 100, 0);
	submit(DATA + 0x1000, 50 | 0x49000000, 0x1234u << 16);
	set(0x3818, tail);
	assert_int_equal(receive(frame, sizeof(frame)), 154);
	assert_memory_equal(frame + 12, "\x81\x00\x12\x34\x55", 5);
	assert_int_equal(frame[153], 0x66);
	wait_for(get(0x3810) == 2);
	assert_int_equal(*(uint32_t *)pci_rig_at(&rig, TX_RING + 28) & 1, 1);
	assert_int_equal(*(uint32_t *)pci_rig_at(&rig, TX_RING + 12) & 1, 0);
	assert_int_equal(get(ICR) & 3, 3);
	assert_int_equal(get(ICR), 0);
	assert_int_equal(get(0x4080), 1);
	assert_int_equal(get(0x4080), 0);
}

static unsigned sum16(const uint8_t *bytes, size_t size, uint32_t sum)
{
	size_t i;

	for (i = 0; i < size; i++)
		sum += i & 1 ? bytes[i] : bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* 2500 bytes behind 54 of headers, cut up by 1000: every segment has true lengths, numbers and sums. */
static void test_segments(void **state)
{
	static const uint8_t headers[54] = {
		2, 0, 0, 0, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0,
		0x45, 0, 0, 0, 0xff, 0xff, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2,
		0x12, 0x34, 0, 80, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 1, 0x50, 0x99, 0x10, 0, 0, 0, 0, 0};
	uint8_t *data = pci_rig_at(&rig, DATA), frame[2000];
	unsigned i, pseudo, payload = 0, length;

	(void)state;
	memcpy(data, headers, sizeof(headers));
	/* The pseudo-header's sum without a length. */
	pseudo = sum16(data + 26, 8, 6);
	data[50] = pseudo >> 8;
	data[51] = pseudo;
	for (i = 0; i < 2500; i++)
		data[54 + i] = i * 7;
	submit(14 | 24 << 8 | 33 << 16 | (uint64_t)34 << 32 | (uint64_t)50 << 40, 2500 | 0x27000000, 54 << 8 | 1000u << 16);
	submit(DATA, 54 | 0x24100000, 0x300);
	submit(DATA + 54, 2500 | 0x2d100000, 0);
	set(0x3818, tail);
	for (i = 0; i < 3; i++) {
		length = i < 2 ? 1000 : 500;
		assert_int_equal(receive(frame, sizeof(frame)), 54 + length);
		assert_int_equal(frame[16] << 8 | frame[17], 40 + length);
		assert_int_equal((frame[18] << 8 | frame[19]), (0xffff + i) & 0xffff);
		assert_int_equal(sum16(frame + 14, 20, 0), 0xffff);
		assert_int_equal((uint32_t)frame[38] << 24 | frame[39] << 16 | frame[40] << 8 | frame[41],
				 0xffffff00u + payload);
		assert_int_equal(frame[47], i == 0 ? 0x90 : i == 1 ? 0x10 : 0x19);
		assert_int_equal(sum16(frame + 34, 20 + length, sum16(frame + 26, 8, 6 + 20 + length)), 0xffff);
		assert_memory_equal(frame + 54, data + 54 + payload, length);
		payload += length;
	}
}

static void send_frame(unsigned size, uint8_t first)
{
	uint8_t frame[4000] = {first, 0x54, 0x00, 0x12, 0x34, 0x56};
	unsigned i;

	for (i = 12; i < size; i++)
		frame[i] = i;
	assert_int_equal(send(peer, frame, size, 0), size);
}

static void test_received(void **state)
{
	uint8_t *ring = pci_rig_at(&rig, RX_RING), *data;

	(void)state;
	set(IMS, 0x80);
	send_frame(100, 0x52);
	wait_for(get(0x2810) == 1);
	assert_int_equal(*(uint16_t *)(ring + 8), 104);
	assert_int_equal(ring[12], 0x07);
	data = pci_rig_at(&rig, DATA + 0x8000);
	assert_int_equal(data[99], 99);
	assert_int_equal(get(ICR) & 0x80, 0x80);
	/* Not ours, and not for everybody: unless all are wanted. */
	send_frame(100, 0x50);
	send_frame(40, 0x52);
	wait_for(get(0x2810) == 2);
	assert_int_equal(*(uint16_t *)(ring + 16 + 8), 64);
	set(0x100, 0x800a | 3 << 16); /* UPE, buffers of 256 bytes */
	send_frame(600, 0x50);
	wait_for(get(0x2810) == 5);
	assert_int_equal(*(uint16_t *)(ring + 2 * 16 + 8), 256);
	assert_int_equal(ring[2 * 16 + 12] & 3, 1);
	assert_int_equal(*(uint16_t *)(ring + 4 * 16 + 8), 604 - 512);
	assert_int_equal(ring[4 * 16 + 12] & 3, 3);
	/* It waits for descriptors. */
	send_frame(600, 0x52);
	usleep(20000);
	assert_int_equal(get(0x2810), 5);
	set(0x2818, 4);
	wait_for(get(0x2810) == 0);
}

static void test_tag_taken(void **state)
{
	uint8_t frame[100] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 1, 2, 3, 4, 5, 6, 0x81, 0, 0x20, 5, 8, 0, 'x'};
	uint8_t *ring = pci_rig_at(&rig, RX_RING), *data = pci_rig_at(&rig, DATA + 0x8000);

	(void)state;
	set(0, get(0) | 0x40000000);
	assert_int_equal(send(peer, frame, sizeof(frame), 0), (ssize_t)sizeof(frame));
	wait_for(get(0x2810) == 1);
	assert_int_equal(*(uint16_t *)(ring + 8), 100);
	assert_int_equal(ring[12], 0x0f);
	assert_int_equal(*(uint16_t *)(ring + 14), 0x2005);
	assert_memory_equal(data, "\x52\x54\x00\x12\x34\x56\x01\x02\x03\x04\x05\x06\x08\x00x", 15);
}

/* Heads and tails beyond the ring, a ring and data that are nowhere: nothing happens, and it goes on. */
static void test_wrong_rings(void **state)
{
	uint8_t frame[100];

	(void)state;
	set(0x3810, 100);
	set(0x3818, 3);
	set(0x2818, 0xffff);
	send_frame(100, 0x52);
	set(0x3808, 0);
	set(0x3818, 0);
	set(0x3810, 0);
	set(0x3804, 0xffffffff);
	set(0x3808, ENTRIES * 16);
	set(0x3818, 5);
	usleep(20000);
	assert_int_equal(recv(peer, frame, sizeof(frame), 0), -1);
	set(0x3818, 0);
	set(0x3804, 0);
	submit(~0ull - 50, 100 | 0x09000000, 0);
	submit(DATA, 60 | 0x09000000, 0);
	set(0x3818, tail);
	assert_int_equal(receive(frame, sizeof(frame)), 60);
}

static void test_saved(void **state)
{
	struct state_stream stream;
	const void *bytes;
	struct error error;
	size_t size;

	(void)state;
	set(IMS, 0x95);
	set(0x5200, 0x12345678);
	e1000_device_ops.hold(e1000);
	state_save_begin(&stream);
	state_section_begin(&stream, "e1000", 1);
	e1000_device_ops.save(e1000, &stream);
	state_section_end(&stream);
	assert_int_equal(state_saved(&stream, &bytes, &size, &error), 0);
	e1000_device_ops.reset(e1000);
	assert_int_equal(get(0x5200), 0);
	{
		struct state_stream loading;

		state_load_begin(&loading, bytes, size);
		state_section_begin(&loading, "e1000", 1);
		e1000_device_ops.load(e1000, &loading);
		state_section_end(&loading);
		assert_int_equal(state_loaded(&loading, &error), 0);
		state_end(&loading);
	}
	state_end(&stream);
	e1000_device_ops.release(e1000);
	pci_config_write(rig.bus, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	assert_int_equal(get(0x5200), 0x12345678);
	assert_int_equal(get(IMS), 0x95);
	send_frame(100, 0x52);
	wait_for(get(0x2810) == 1);
}

static unsigned phy(unsigned number)
{
	set(0x20, 0x08000000 | 1 << 21 | number << 16);
	return get(0x20) & 0xffff;
}

/* Without a cable: what both status registers say, an interrupt, and frames that are lost, also behind a reset. */
static void test_cable(void **state)
{
	uint8_t frame[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1};
	uint8_t got[64];

	(void)state;
	get(ICR);
	e1000_set_link(e1000, false);
	assert_int_equal(get(ICR) & 4, 4);
	assert_int_equal(get(8) & 2, 0);
	assert_int_equal(phy(1) & 0x24, 0);
	assert_int_equal(phy(17) & 0x400, 0);
	e1000_set_link(e1000, false);
	assert_int_equal(get(ICR) & 4, 0);
	set(0, 0x04000000);
	assert_int_equal(get(8) & 2, 0);
	assert_int_equal(phy(1) & 0x24, 0);
	tail = 0;
	enable();
	submit(DATA, 60 | 0x0b000000, 0);
	set(0x3818, tail);
	wait_for(get(0x3810) == 1);
	assert_int_equal(send(peer, frame, sizeof(frame), 0), sizeof(frame));
	wait_for(unread() == 0);
	assert_int_equal(get(0x2810), 0);
	assert_int_equal(recv(peer, got, sizeof(got), MSG_DONTWAIT), -1);
	e1000_set_link(e1000, true);
	assert_int_equal(get(ICR) & 4, 4);
	assert_int_equal(get(8) & 2, 2);
	assert_int_equal(phy(1) & 0x24, 0x24);
	submit(DATA, 60 | 0x0b000000, 0);
	set(0x3818, tail);
	assert_int_equal(receive(got, sizeof(got)), 60);
	assert_int_equal(send(peer, frame, sizeof(frame), 0), sizeof(frame));
	wait_for(get(0x2810) == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_eeprom, setup, teardown),
		cmocka_unit_test_setup_teardown(test_phy_and_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plain_frame, setup, teardown),
		cmocka_unit_test_setup_teardown(test_segments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_received, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tag_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cable, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
