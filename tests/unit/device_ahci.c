/* AHCI by its registers and tables: PIO, DMA, queued commands and their errors, packets, lists that lie, restarts. */
#include "device/storage/ahci.h"
#include "pci_rig.h"

#define SECTORS	  256
#define REGISTERS 0xd0000000u
#define SLOT	  (5 << 3)
#define PORT(p)	  (0x100 + 0x80 * (p))
#define LIST(p)	  (0x10000 + 0x1000 * (p))
#define FIS(p)	  (0x20000 + 0x1000 * (p))
/* A table for each of the 32 slots, and behind them a page of data for each. */
#define TABLE	  0x30000
#define DATA	  (TABLE + 32 * 0x1000)
#define DISK	  0
#define CD	  2
#define IS 0x10
#define IE 0x14
#define CMD 0x18
#define TFD 0x20
#define SACT 0x34
#define CI 0x38

static struct pci_rig rig;
static struct ahci *ahci;
static int disk_fd, cd_fd;

static struct ahci *create(struct pci_rig *at)
{
	const struct drive_config drives[AHCI_PORTS] = {
		[DISK] = {.is_present = true, .block = pci_rig_image(SECTORS, 512, false, &disk_fd)},
		[CD] = {.is_present = true, .is_cdrom = true, .block = pci_rig_image(16, 2048, true, &cd_fd)},
	};
	struct error error;
	struct ahci *made = ahci_create(at->bus, SLOT, drives, &error);

	assert_non_null(made);
	return made;
}

static uint32_t get(unsigned offset)
{
	return pci_rig_get(&rig, REGISTERS + offset);
}

static void set(unsigned offset, uint32_t value)
{
	pci_rig_set(&rig, REGISTERS + offset, value);
}

static void start(unsigned port)
{
	set(PORT(port) + CMD, 0x6);
	wait_for(!(get(PORT(port) + CMD) & 0x8000));
	set(PORT(port), LIST(port));
	set(PORT(port) + 4, 0);
	set(PORT(port) + 8, FIS(port));
	set(PORT(port) + 0xc, 0);
	set(PORT(port) + CMD, 0x16);
	set(PORT(port) + IS, 0xffffffff);
	set(PORT(port) + IE, 0x7dc000ff);
	set(PORT(port) + CMD, 0x17);
}

static int setup(void **state)
{
	(void)state;
	pci_rig_init(&rig);
	ahci = create(&rig);
	pci_config_write(rig.bus, SLOT, PCI_BAR(5), 4, REGISTERS);
	pci_config_write(rig.bus, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	ahci_device_ops.reset(ahci);
	ahci_device_ops.release(ahci);
	set(4, 0x80000002);
	start(DISK);
	start(CD);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ahci_device_ops.destroy(ahci);
	pci_rig_end(&rig);
	close(disk_fd);
	close(cd_fd);
	return 0;
}

/* A slot with a command of 48 bits, and one piece of memory. */
static uint8_t *fill(unsigned port, unsigned slot, uint8_t command, uint64_t lba, uint16_t count, uint64_t gpa,
		     uint32_t size)
{
	uint32_t *header = pci_rig_at(&rig, LIST(port) + 32 * slot);
	uint8_t *table = pci_rig_at(&rig, TABLE + 0x1000 * slot);
	uint32_t entry[4] = {gpa, gpa >> 32, 0, size - 1};

	header[0] = 5 | (size ? 1 << 16 : 0);
	header[1] = 0xffff;
	header[2] = TABLE + 0x1000 * slot;
	header[3] = 0;
	memset(table, 0, 0x80);
	table[0] = 0x27;
	table[1] = 0x80;
	table[2] = command;
	table[7] = 0x40;
	memcpy(table + 4, &lba, 3);
	table[8] = lba >> 24;
	table[9] = lba >> 32;
	table[12] = count;
	table[13] = count >> 8;
	memcpy(table + 0x80, entry, sizeof(entry));
	return table;
}

static uint32_t settle(unsigned port, unsigned slot)
{
	wait_for(!(get(PORT(port) + CI) >> slot & 1) || (get(PORT(port) + TFD) & 1));
	return get(PORT(port) + TFD);
}

static uint32_t run(unsigned port, uint8_t command, uint64_t lba, uint16_t count, uint64_t gpa, uint32_t size)
{
	fill(port, 0, command, lba, count, gpa, size);
	set(PORT(port) + IS, 0xffffffff);
	set(PORT(port) + CI, 1);
	return settle(port, 0);
}

static void test_commands(void **state)
{
	uint32_t *data = pci_rig_at(&rig, DATA), *header = pci_rig_at(&rig, LIST(DISK)), value;
	uint8_t *fis = pci_rig_at(&rig, FIS(DISK));

	(void)state;
	assert_int_equal(get(PORT(DISK) + 0x24), 0x101);
	assert_int_equal(get(PORT(CD) + 0x24), 0xeb140101);
	assert_int_equal(get(PORT(DISK) + 0x28), 0x113);
	assert_int_equal(get(PORT(1) + 0x28), 0);
	/* IDENTIFY's end is a PIO setup frame. */
	assert_int_equal(run(DISK, 0xec, 0, 0, DATA, 512) & 0x89, 0);
	assert_int_equal(get(PORT(DISK) + IS), 2);
	assert_int_equal(fis[0x20], 0x5f);
	assert_int_equal(((uint16_t *)data)[100], SECTORS);
	assert_int_equal(header[1], 512);
	assert_true(rig.levels[10]);
	assert_int_equal(run(DISK, 0x25, 10, 3, DATA, 1536) & 0x89, 0);
	assert_int_equal(get(PORT(DISK) + IS), 1);
	assert_int_equal(data[0], 10);
	assert_int_equal(data[256], 12);
	data[0] = 0x5151;
	assert_int_equal(run(DISK, 0x35, SECTORS - 1, 1, DATA, 512) & 0x89, 0);
	assert_int_equal(pread(disk_fd, &value, 4, (SECTORS - 1) * 512), 4);
	assert_int_equal(value, 0x5151);
	assert_int_equal(run(DISK, 0xea, 0, 0, 0, 0) & 0x89, 0);
}

static void check_error(uint32_t tfd)
{
	assert_int_equal(tfd & 0x81, 1);
	assert_int_equal(get(PORT(DISK) + CI), 1);
	assert_int_equal(get(PORT(DISK) + IS) >> 30 & 1, 1);
	start(DISK);
	assert_int_equal(get(PORT(DISK) + CI), 0);
}

static void test_errors(void **state)
{
	(void)state;
	check_error(run(DISK, 0x25, SECTORS, 1, DATA, 512));
	check_error(run(DISK, 0x25, 0, 1, 0xfee00000, 512));
	check_error(run(DISK, 0x25, 0, 2, DATA, 512));
	check_error(run(DISK, 0x25, 0, 1, UINT64_MAX - 511, 512));
	check_error(run(DISK, 0xb0, 0, 1, DATA, 512));
	/* A header whose table is nowhere, and one that has none. */
	fill(DISK, 0, 0x25, 0, 1, DATA, 512);
	((uint32_t *)pci_rig_at(&rig, LIST(DISK)))[2] = 0xfee00000;
	set(PORT(DISK) + CI, 1);
	check_error(settle(DISK, 0));
	fill(DISK, 0, 0x25, 0, 1, DATA, 512);
	((uint32_t *)pci_rig_at(&rig, LIST(DISK)))[0] = 0x10002;
	set(PORT(DISK) + CI, 1);
	check_error(settle(DISK, 0));
	assert_int_equal(run(DISK, 0x25, 3, 1, DATA, 512) & 1, 0);
}

/* READ FPDMA QUEUED in a slot: the count is in the feature registers. */
static void fill_queued(unsigned slot, uint64_t lba, uint16_t count, uint64_t gpa)
{
	uint8_t *table = fill(DISK, slot, 0x60, lba, slot << 3, gpa, count * 512);

	table[3] = count;
	table[11] = count >> 8;
}

static void test_queued(void **state)
{
	uint32_t *data = pci_rig_at(&rig, DATA);
	uint8_t *log = pci_rig_at(&rig, DATA);
	unsigned i, sum;

	(void)state;
	for (i = 0; i < 32; i++)
		fill_queued(i, 4 * i, 2, DATA + 0x1000 * i);
	set(PORT(DISK) + SACT, 0xffffffff);
	set(PORT(DISK) + CI, 0xffffffff);
	wait_for(get(PORT(DISK) + SACT) == 0);
	assert_int_equal(get(PORT(DISK) + CI), 0);
	for (i = 0; i < 32; i++)
		assert_int_equal(data[0x400 * i + 128], 4 * i + 1);
	/* One that fails: its bit stays, the log names it. */
	fill_queued(7, SECTORS, 1, DATA);
	set(PORT(DISK) + SACT, 1 << 7);
	set(PORT(DISK) + CI, 1 << 7);
	wait_for(get(PORT(DISK) + TFD) & 1);
	assert_int_equal(get(PORT(DISK) + SACT), 1 << 7);
	start(DISK);
	assert_int_equal(get(PORT(DISK) + SACT), 0);
	assert_int_equal(run(DISK, 0x2f, 0x10, 1, DATA, 512) & 1, 0);
	assert_int_equal(log[0], 7);
	assert_int_equal(log[3], 0x10);
	for (sum = 0, i = 0; i < 512; i++)
		sum += log[i];
	assert_int_equal(sum & 0xff, 0);
	/* Stopped while they are under way: CR says for how long, and nothing comes afterwards. */
	for (i = 0; i < 20; i++) {
		fill_queued(1, 4, 2, DATA);
		set(PORT(DISK) + SACT, 2);
		set(PORT(DISK) + CI, 2);
		start(DISK);
		assert_int_equal(get(PORT(DISK) + SACT) | get(PORT(DISK) + CI), 0);
	}
	set(4, 0x80000001);
	wait_for(get(4) == 0x80000000);
}

static void test_packets(void **state)
{
	uint8_t *table, *data = pci_rig_at(&rig, DATA);

	(void)state;
	table = fill(CD, 0, 0xa0, 0, 0, DATA, 4096);
	table[3] = 1;
	memcpy(table + 0x40, "\x28\0\0\0\0\x05\0\0\x02\0\0\0", 12);
	set(PORT(CD) + CI, 1);
	assert_int_equal(settle(CD, 0) & 1, 0);
	assert_int_equal(data[0], 5);
	assert_int_equal(data[2048], 6);
	table = fill(CD, 0, 0xa0, 0, 0, DATA, 4096);
	memcpy(table + 0x40, "\x28\0\0\0\0\x0f\0\0\x02\0\0\0", 12);
	set(PORT(CD) + CI, 1);
	assert_int_equal(settle(CD, 0) & 0xf001, 0x5001);
	start(CD);
	table = fill(CD, 0, 0xa0, 0, 0, DATA, 18);
	memcpy(table + 0x40, "\x03\0\0\0\x12\0\0\0\0\0\0\0", 12);
	set(PORT(CD) + CI, 1);
	assert_int_equal(settle(CD, 0) & 1, 0);
	assert_int_equal(data[2] << 8 | data[12], 0x521);
}

static void test_saved(void **state)
{
	struct pci_rig other_storage;
	int fds[2] = {disk_fd, cd_fd};
	struct ahci *other;

	(void)state;
	run(DISK, 0x25, SECTORS, 1, DATA, 512);
	ahci_device_ops.hold(ahci);
	pci_rig_init(&other_storage);
	other = create(&other_storage);
	pci_rig_check_state(&ahci_device_ops, ahci, other);
	ahci_device_ops.destroy(other);
	pci_rig_end(&other_storage);
	close(disk_fd);
	close(cd_fd);
	disk_fd = fds[0];
	cd_fd = fds[1];
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queued, setup, teardown),
		cmocka_unit_test_setup_teardown(test_packets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
