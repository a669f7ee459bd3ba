/* IDE and ATAPI by their registers: each way that data goes, what is refused, lists that lie, resets under way, the tray. */
#include "device/storage/ide.h"
#include "pci_rig.h"

#define SECTORS	64
#define CD_BLOCKS 32
#define PORT	0x1f0
#define CONTROL 0x3f6
#define CD_PORT	0x170
#define MASTER	0xc000
#define TABLE	0x1000
#define DATA	0x10000
#define BUSY	0x80
#define DRQ	0x08
#define ERR	0x01

static struct pci_rig rig;
static struct ide *ide;
static int disk_fd, cd_fd;

static struct ide *create(struct pci_rig *at, unsigned slot)
{
	const struct drive_config drives[IDE_DRIVES] = {
		{.is_present = true, .block = pci_rig_image(SECTORS, 512, false, &disk_fd), .number = 1},
		{.is_present = false},
		{.is_present = true, .is_cdrom = true, .block = pci_rig_image(CD_BLOCKS, 2048, true, &cd_fd)},
	};
	struct error error;
	struct ide *made = ide_create(at->bus, slot << 3 | 1, &at->irq, drives, &error);

	assert_non_null(made);
	return made;
}

static int setup(void **state)
{
	struct error error;
	unsigned i;

	(void)state;
	pci_rig_init(&rig);
	ide = create(&rig, 1);
	for (i = 0; i < IDE_CHANNELS; i++) {
		assert_int_equal(pio_bus_add(rig.pio, IDE_FIRST_PORT(i), IDE_PORTS, "IDE", &ide_port_ops,
					     ide_channel(ide, i), &error), 0);
		assert_int_equal(pio_bus_add(rig.pio, IDE_CONTROL_PORT(i), 1, "control",
					     &ide_control_ops, ide_channel(ide, i), &error), 0);
	}
	pci_config_write(rig.bus, 1 << 3 | 1, PCI_BAR(4), 4, MASTER);
	pci_config_write(rig.bus, 1 << 3 | 1, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	ide_device_ops.reset(ide);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ide_device_ops.destroy(ide);
	pci_rig_end(&rig);
	close(disk_fd);
	close(cd_fd);
	return 0;
}

static uint32_t in(uint16_t port, unsigned size)
{
	return pio_bus_read(rig.pio, port, size);
}

static void out(uint16_t port, unsigned size, uint32_t value)
{
	pio_bus_write(rig.pio, port, size, value);
}

static uint8_t settle(uint16_t port)
{
	wait_for(!(in(port + 7, 1) & BUSY));
	return in(port + 7, 1);
}

/* A command of 28 bits. Its status once it is not busy. */
static uint8_t command(uint8_t code, uint32_t lba, uint8_t count)
{
	out(PORT + 2, 1, count);
	out(PORT + 3, 1, lba);
	out(PORT + 4, 1, lba >> 8);
	out(PORT + 5, 1, lba >> 16);
	out(PORT + 6, 1, 0xe0 | lba >> 24);
	out(PORT + 7, 1, code);
	return settle(PORT);
}

static uint32_t take_sector(void)
{
	uint32_t first = in(PORT, 4);
	unsigned i;

	for (i = 4; i < 512; i += 2)
		in(PORT, 2);
	return first;
}

static void test_identify(void **state)
{
	uint16_t words[256];
	unsigned i;

	(void)state;
	assert_int_equal(command(0xec, 0, 0) & (DRQ | ERR), DRQ);
	for (i = 0; i < 256; i++)
		words[i] = in(PORT, 2);
	assert_int_equal(in(PORT + 7, 1) & (DRQ | BUSY | ERR), 0);
	assert_int_equal(words[60] | words[61] << 16, SECTORS);
	assert_int_equal(words[100], SECTORS);
	assert_int_equal(words[10], 's' << 8 | 'e');
	/* Nothing is claimed of what is not there, and it is aborted. */
	assert_int_equal(words[82] & 3, 0);
	assert_int_equal(command(0xb0, 0xc24f00, 0) & ERR, ERR);
	assert_int_equal(in(PORT + 1, 1), 0x04);
	assert_int_equal(command(0xf1, 0, 0) & ERR, ERR);
	/* The slave that is not there reads as nothing. */
	out(PORT + 6, 1, 0xf0);
	assert_int_equal(in(PORT + 7, 1), 0);
	out(PORT + 6, 1, 0xe0);
}

static void test_pio(void **state)
{
	unsigned i, rises, value;

	(void)state;
	rises = rig.rises;
	assert_int_equal(command(0x20, 5, 2) & (DRQ | ERR), DRQ);
	assert_int_equal(take_sector(), 5);
	assert_int_equal(settle(PORT) & DRQ, DRQ);
	assert_int_equal(take_sector(), 6);
	assert_int_equal(settle(PORT) & (DRQ | ERR), 0);
	assert_int_equal(rig.rises - rises, 2);
	/* Several sectors an interrupt. */
	assert_int_equal(command(0xc6, 0, 4) & ERR, 0);
	rises = rig.rises;
	assert_int_equal(command(0xc4, 8, 6) & DRQ, DRQ);
	for (i = 0; i < 6; i++) {
		assert_int_equal(settle(PORT) & DRQ, DRQ);
		assert_int_equal(take_sector(), 8 + i);
	}
	assert_int_equal(rig.rises - rises, 2);
	assert_int_equal(command(0xc6, 0, 3) & ERR, ERR);
	/* Writing, the end by interrupt. */
	assert_int_equal(command(0x30, SECTORS - 1, 1) & DRQ, DRQ);
	for (i = 0; i < 512; i += 4)
		out(PORT, 4, 0x1234);
	assert_int_equal(settle(PORT) & (DRQ | ERR), 0);
	assert_int_equal(pread(disk_fd, &value, 4, (SECTORS - 1) * 512), 4);
	assert_int_equal(value, 0x1234);
	assert_int_equal(command(0xe7, 0, 0) & ERR, 0);
	/* Beyond the end, by LBA and by CHS. */
	assert_int_equal(command(0x20, SECTORS - 1, 2) & (ERR | DRQ), ERR);
	assert_int_equal(in(PORT + 1, 1), 0x10);
	out(PORT + 3, 1, 0);
	out(PORT + 6, 1, 0xa0);
	out(PORT + 7, 1, 0x20);
	assert_int_equal(settle(PORT) & (ERR | DRQ), ERR);
}

static void describe(uint32_t table, uint32_t address, uint32_t size, bool is_last)
{
	uint32_t *entry = pci_rig_at(&rig, table);

	entry[0] = address;
	entry[1] = (size & 0xffff) | (is_last ? 0x80000000u : 0);
}

/* Bus-master DMA; its status at the end. */
static uint8_t dma(uint8_t code, uint32_t lba, uint8_t count, bool to_memory)
{
	out(MASTER, 1, 0);
	out(MASTER + 2, 1, 6);
	out(MASTER + 4, 4, TABLE);
	out(MASTER, 1, to_memory ? 8 : 0);
	command(code, lba, count);
	out(MASTER, 1, to_memory ? 9 : 1);
	wait_for(in(MASTER + 2, 1) & 4);
	out(MASTER, 1, 0);
	return in(MASTER + 2, 1);
}

static void test_dma(void **state)
{
	uint32_t *data = pci_rig_at(&rig, DATA), value;

	(void)state;
	/* Two pieces that are not in order, the second longer than it has to be. */
	describe(TABLE, DATA + 0x1000, 512, false);
	describe(TABLE + 8, DATA, 0, true);
	assert_int_equal(dma(0xc8, 3, 3, true) & 7, 4);
	assert_int_equal(data[0x400], 3);
	assert_int_equal(data[0], 4);
	assert_int_equal(data[128], 5);
	assert_int_equal(settle(PORT) & (ERR | DRQ), 0);
	data[0] = 0x777;
	describe(TABLE, DATA, 512, true);
	assert_int_equal(dma(0xca, 9, 1, false) & 7, 4);
	assert_int_equal(pread(disk_fd, &value, 4, 9 * 512), 4);
	assert_int_equal(value, 0x777);
	/* To a hole, to a device, a list that is too short, in a hole itself, of the other direction. */
	describe(TABLE, 0xfee00000, 512, true);
	assert_int_equal(dma(0xc8, 3, 1, true) & 7, 6);
	assert_int_equal(settle(PORT) & ERR, ERR);
	describe(TABLE, MEMORY_BYTES - 256, 512, true);
	assert_int_equal(dma(0xc8, 3, 1, true) & 7, 6);
	describe(TABLE, DATA, 512, true);
	assert_int_equal(dma(0xc8, 3, 2, true) & 7, 6);
	assert_int_equal(dma(0xc8, 3, 1, false) & 7, 6);
	/* Not while software has not made it a bus master. */
	pci_config_write(rig.bus, 1 << 3 | 1, PCI_COMMAND, 2, PCI_COMMAND_IO);
	assert_int_equal(dma(0xc8, 3, 1, true) & 7, 6);
}

static void test_trim(void **state)
{
	uint64_t *ranges = pci_rig_at(&rig, DATA);
	uint32_t value;

	(void)state;
	memset(ranges, 0, 512);
	ranges[0] = 16 | 8ull << 48;
	ranges[1] = SECTORS | 8ull << 48; /* nothing */
	describe(TABLE, DATA, 512, true);
	out(PORT + 1, 1, 1);
	out(PORT + 2, 1, 0); /* of 48 bits */
	assert_int_equal(dma(0x06, 0, 1, false) & 7, 4);
	assert_int_equal(settle(PORT) & ERR, 0);
	assert_int_equal(pread(disk_fd, &value, 4, 17 * 512), 4);
	assert_int_equal(value, 0);
	assert_int_equal(pread(disk_fd, &value, 4, 24 * 512), 4);
	assert_int_equal(value, 24);
}

/* A reset while the medium works, and one in the midst of PIO. */
static void test_reset(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 50; i++) {
		out(PORT + 2, 1, 4);
		out(PORT + 3, 1, 0);
		out(PORT + 6, 1, 0xe0);
		out(PORT + 7, 1, 0x20);
		if (i & 1)
			settle(PORT);
		out(CONTROL, 1, 4);
		assert_int_equal(in(CONTROL, 1) & BUSY, BUSY);
		out(CONTROL, 1, 0);
		assert_int_equal(settle(PORT), 0x50);
		assert_int_equal(in(PORT + 2, 1) | in(PORT + 3, 1) << 8 | in(PORT + 4, 1) << 16, 0x101);
	}
	command(0x20, 1, 1);
	ide_device_ops.reset(ide);
	assert_int_equal(in(PORT + 7, 1), 0x50);
}

/* A packet by PIO; how many bytes came into `data`. */
static unsigned packet(const uint8_t *cdb, uint8_t *data, unsigned limit)
{
	unsigned got = 0, count, i;

	out(CD_PORT + 6, 1, 0xa0);
	out(CD_PORT + 1, 1, 0);
	out(CD_PORT + 4, 1, limit);
	out(CD_PORT + 5, 1, limit >> 8);
	out(CD_PORT + 7, 1, 0xa0);
	assert_int_equal(settle(CD_PORT) & DRQ, DRQ);
	for (i = 0; i < 12; i += 2)
		out(CD_PORT, 2, cdb[i] | cdb[i + 1] << 8);
	while (settle(CD_PORT) & DRQ) {
		count = in(CD_PORT + 4, 1) | in(CD_PORT + 5, 1) << 8;
		assert_in_range(count, 1, limit);
		for (i = 0; i < count; i += 2) {
			uint16_t word = in(CD_PORT, 2);

			memcpy(data + got + i, &word, count - i > 1 ? 2 : 1);
		}
		got += count;
	}
	assert_int_equal(in(CD_PORT + 2, 1), 3);
	return got;
}

static unsigned simple(uint8_t code, uint8_t b1, uint8_t b4, uint8_t b8, uint8_t *data)
{
	const uint8_t cdb[12] = {code, b1, 0, 0, b4, 0, 0, 0, b8};

	return packet(cdb, data, 0xfffe);
}

static bool failed(void)
{
	return in(CD_PORT + 7, 1) & ERR;
}

static void test_cdrom(void **state)
{
	const uint8_t read[12] = {0x28, 0, 0, 0, 0, 7, 0, 0, 3}, beyond[12] = {0xa8, 0, 0, 0, 0, 31, 0, 0, 0, 2};
	static uint8_t data[65536];

	(void)state;
	/* The signature, and that it is no disk. */
	assert_int_equal(in(CD_PORT + 4, 1) | in(CD_PORT + 5, 1) << 8, 0xeb14);
	out(CD_PORT + 7, 1, 0xec);
	assert_int_equal(settle(CD_PORT) & ERR, ERR);
	assert_int_equal(simple(0x12, 0, 36, 0, data), 36);
	assert_int_equal(data[0], 5);
	assert_int_equal(simple(0x12, 0, 5, 0, data), 5);
	assert_int_equal(simple(0x25, 0, 0, 0, data), 8);
	assert_int_equal(data[3], CD_BLOCKS - 1);
	assert_int_equal(data[6], 8);
	/* In blocks that do not divide what is read. */
	assert_int_equal(packet(read, data, 1500), 3 * 2048);
	assert_int_equal(data[0], 7);
	assert_int_equal(data[2048], 8);
	assert_int_equal(data[4096], 9);
	assert_int_equal(packet(beyond, data, 0xfffe), 0);
	assert_true(failed());
	assert_int_equal(in(CD_PORT + 1, 1) >> 4, 5);
	assert_int_equal(simple(0x03, 0, 18, 0, data), 18);
	assert_int_equal(data[2] << 8 | data[12], 0x521);
	assert_int_equal(simple(0x43, 0, 0, 200, data), 20);
	assert_int_equal(data[14], 0xaa);
	assert_int_equal(data[19], CD_BLOCKS);
	assert_int_equal(simple(0x46, 0, 0, 255, data), 8 + 12 + 12 + 8 + 12 + 8 + 8);
	assert_int_equal(data[7], 8);
	assert_true(simple(0x5a, 0, 0, 255, data) == 0 && failed());
	assert_int_equal(simple(0x2a, 0, 0, 1, data), 0);
	assert_true(failed());
}

static void test_tray(void **state)
{
	static uint8_t data[65536];

	(void)state;
	/* A locked tray stays closed. */
	simple(0x1e, 0, 1, 0, data);
	simple(0x1b, 0, 2, 0, data);
	assert_true(failed());
	simple(0x1e, 0, 0, 0, data);
	simple(0x1b, 0, 2, 0, data);
	assert_false(failed());
	assert_int_equal(simple(0x4a, 1, 0x10, 8, data), 8);
	assert_int_equal(data[4] << 8 | data[5], 0x301);
	simple(0x00, 0, 0, 0, data);
	assert_true(failed());
	simple(0x03, 0, 18, 0, data);
	assert_int_equal(data[2] << 16 | data[12] << 8 | data[13], 0x23a02);
	simple(0x1b, 0, 3, 0, data);
	assert_int_equal(simple(0x4a, 1, 0x10, 8, data), 8);
	assert_int_equal(data[4] << 8 | data[5], 0x202);
	/* Once that it may be another one, then it is ready. */
	simple(0x00, 0, 0, 0, data);
	assert_true(failed());
	simple(0x03, 0, 18, 0, data);
	assert_int_equal(data[2] << 8 | data[12], 0x628);
	simple(0x00, 0, 0, 0, data);
	assert_false(failed());
}

/* In the midst of PIO, with the tray open: another controller has the same state. */
static void test_saved(void **state)
{
	static uint8_t data[65536];
	struct pci_rig other_storage;
	int fds[2] = {disk_fd, cd_fd};
	struct ide *other;

	(void)state;
	pci_rig_init(&other_storage);
	other = create(&other_storage, 1);
	simple(0x1b, 0, 2, 0, data);
	out(MASTER + 4, 4, TABLE);
	assert_int_equal(command(0x20, 5, 3) & DRQ, DRQ);
	assert_int_equal(in(PORT, 4), 5);
	pci_rig_check_state(&ide_device_ops, ide, other);
	ide_device_ops.destroy(other);
	pci_rig_end(&other_storage);
	close(disk_fd);
	close(cd_fd);
	disk_fd = fds[0];
	cd_fd = fds[1];
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pio, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dma, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trim, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cdrom, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tray, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
