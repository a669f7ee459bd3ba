/* NVMe by its registers and queues: what IDENTIFY tells, data by PRPs and lists, what is refused, commands that wait. */
#include "device/storage/nvme.h"
#include "pci_rig.h"

#define SECTORS	  4096
#define REGISTERS 0xd0000000u
#define SLOT	  (4 << 3)
#define ASQ	  0x10000
#define ACQ	  0x11000
#define SQ	  0x12000
#define CQ	  0x13000
#define LIST	  0x14000
#define DATA	  0x20000
#define ENTRIES	  8

struct entry {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t namespace, dw2, dw3;
	uint64_t metadata, prp1, prp2;
	uint32_t dw[6];
};

static struct pci_rig rig;
static struct nvme *nvme;
static int fd;
static unsigned tails[2], heads[2];

static struct nvme *create(struct pci_rig *at)
{
	struct error error;
	struct nvme *made = nvme_create(at->bus, SLOT, pci_rig_image(SECTORS, 512, false, &fd), 1, &error);

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

static void enable(void)
{
	memset(pci_rig_at(&rig, ASQ), 0, 0x4000);
	memset(tails, 0, sizeof(tails));
	memset(heads, 0, sizeof(heads));
	set(0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	set(0x28, ASQ);
	set(0x2c, 0);
	set(0x30, ACQ);
	set(0x34, 0);
	set(0x14, 0x460001);
	assert_int_equal(get(0x1c), 1);
}

static int setup(void **state)
{
	(void)state;
	pci_rig_init(&rig);
	nvme = create(&rig);
	pci_config_write(rig.bus, SLOT, PCI_BAR(0), 4, REGISTERS);
	pci_config_write(rig.bus, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	nvme_device_ops.reset(nvme);
	nvme_device_ops.release(nvme);
	enable();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	nvme_device_ops.destroy(nvme);
	pci_rig_end(&rig);
	close(fd);
	return 0;
}

static void submit(unsigned queue, const struct entry *entry)
{
	struct entry *ring = pci_rig_at(&rig, queue ? SQ : ASQ);

	ring[tails[queue]] = *entry;
	tails[queue] = (tails[queue] + 1) % ENTRIES;
	set(0x1000 + 8 * queue, tails[queue]);
}

/* The next completion: its status; the result in `result`. */
static uint16_t take(unsigned queue, uint16_t id, uint32_t *result)
{
	volatile uint32_t *ring = pci_rig_at(&rig, queue ? CQ : ACQ);
	volatile uint32_t *entry = ring + 4 * (heads[queue] % ENTRIES);
	unsigned phase = !(heads[queue] / ENTRIES & 1);

	wait_for((entry[3] >> 16 & 1) == phase);
	assert_int_equal(entry[3] & 0xffff, id);
	if (result)
		*result = entry[0];
	heads[queue]++;
	set(0x1004 + 8 * queue, heads[queue] % ENTRIES);
	return entry[3] >> 17 & 0x7ff;
}

static uint16_t admin(struct entry entry, uint32_t *result)
{
	static uint16_t id;

	entry.id = ++id;
	submit(0, &entry);
	return take(0, id, result);
}

static uint16_t io(struct entry entry)
{
	static uint16_t id = 1000;

	entry.id = ++id;
	entry.namespace = entry.namespace ? entry.namespace : 1;
	submit(1, &entry);
	return take(1, id, NULL);
}

static void create_queues(void)
{
	assert_int_equal(admin((struct entry){.opcode = 5, .prp1 = CQ, .dw = {(ENTRIES - 1) << 16 | 1, 3}}, NULL), 0);
	assert_int_equal(admin((struct entry){.opcode = 1, .prp1 = SQ, .dw = {(ENTRIES - 1) << 16 | 1, 1 << 16 | 1}}, NULL), 0);
}

static void test_admin(void **state)
{
	uint8_t *data = pci_rig_at(&rig, DATA);
	uint32_t result;

	(void)state;
	assert_int_equal(admin((struct entry){.opcode = 6, .prp1 = DATA, .dw = {1}}, NULL), 0);
	assert_memory_equal(data + 4, "serial7             QEMU NVMe Ctrl", 34);
	assert_int_equal(admin((struct entry){.opcode = 6, .prp1 = DATA, .namespace = 1}, NULL), 0);
	assert_int_equal(data[0] | data[1] << 8, SECTORS);
	assert_int_equal(data[130], 9);
	assert_int_equal(admin((struct entry){.opcode = 6, .prp1 = DATA, .namespace = 2}, NULL), 0x00b);
	assert_int_equal(admin((struct entry){.opcode = 6, .prp1 = DATA, .dw = {99}}, NULL), 0x002);
	/* Into a hole, and beyond the end of memory. */
	assert_int_equal(admin((struct entry){.opcode = 6, .prp1 = 0xfee00000, .dw = {1}}, NULL), 0x004);
	assert_int_equal(admin((struct entry){.opcode = 6, .prp1 = MEMORY_BYTES - 16, .prp2 = UINT64_MAX - 4095,
					      .dw = {1}}, NULL), 0x004);
	assert_int_equal(admin((struct entry){.opcode = 9, .dw = {7, 0xff00ff}}, &result), 0);
	assert_int_equal(result, 15 | 15 << 16);
	assert_int_equal(admin((struct entry){.opcode = 0x77}, NULL), 0x001);
	assert_int_equal(admin((struct entry){.opcode = 5, .prp1 = CQ, .dw = {7 << 16 | 99, 1}}, NULL), 0x101);
	assert_int_equal(admin((struct entry){.opcode = 5, .prp1 = CQ, .dw = {0xffff0001, 1}}, NULL), 0x102);
	assert_int_equal(admin((struct entry){.opcode = 5, .prp1 = CQ + 8, .dw = {7 << 16 | 1, 1}}, NULL), 0x013);
	assert_int_equal(admin((struct entry){.opcode = 1, .prp1 = SQ, .dw = {7 << 16 | 1, 1 << 16 | 1}}, NULL), 0x100);
	create_queues();
	assert_int_equal(admin((struct entry){.opcode = 4, .dw = {1}}, NULL), 0x10c);
	assert_int_equal(admin((struct entry){.opcode = 0, .dw = {1}}, NULL), 0);
	assert_int_equal(admin((struct entry){.opcode = 4, .dw = {1}}, NULL), 0);
	assert_int_equal(admin((struct entry){.opcode = 0, .dw = {1}}, NULL), 0x101);
}

static void test_io(void **state)
{
	uint32_t *data = pci_rig_at(&rig, DATA), value;
	uint64_t *list = pci_rig_at(&rig, LIST);
	unsigned i;

	(void)state;
	create_queues();
	/* One piece, two that begin in the midst of a page, a list in reverse order. */
	assert_int_equal(io((struct entry){.opcode = 2, .prp1 = DATA, .dw = {7, 0, 0}}), 0);
	assert_int_equal(data[0], 7);
	assert_int_equal(io((struct entry){.opcode = 2, .prp1 = DATA + 0xe00, .prp2 = DATA + 0x4000,
					   .dw = {20, 0, 1}}), 0);
	assert_int_equal(data[0xe00 / 4], 20);
	assert_int_equal(data[0x1000], 21);
	for (i = 0; i < 15; i++)
		list[i] = DATA + 0x1000 * (20 - i);
	assert_int_equal(io((struct entry){.opcode = 2, .prp1 = DATA, .prp2 = LIST, .dw = {64, 0, 127}}), 0);
	for (i = 1; i < 16; i++)
		assert_int_equal(data[0x400 * (21 - i)], 64 + 8 * i);
	data[0] = 0x4321;
	assert_int_equal(io((struct entry){.opcode = 1, .prp1 = DATA, .dw = {9, 0, 1u << 30}}), 0);
	assert_int_equal(pread(fd, &value, 4, 9 * 512), 4);
	assert_int_equal(value, 0x4321);
	assert_int_equal(io((struct entry){.opcode = 0}), 0);
	assert_int_equal(io((struct entry){.opcode = 8, .dw = {30, 0, 3}}), 0);
	assert_int_equal(pread(fd, &value, 4, 33 * 512), 4);
	assert_int_equal(value, 0);
	/* Two ranges, one of them none. */
	memset(data, 0, 32);
	data[1] = 4;
	data[2] = 40;
	data[5] = 4;
	data[6] = SECTORS;
	assert_int_equal(io((struct entry){.opcode = 9, .prp1 = DATA, .dw = {1, 4}}), 0);
	assert_int_equal(pread(fd, &value, 4, 41 * 512), 4);
	assert_int_equal(value, 0);
	/* Beyond the end, by far, too much, another namespace, lists that lie. */
	assert_int_equal(io((struct entry){.opcode = 2, .prp1 = DATA, .dw = {SECTORS - 1, 0, 1}}), 0x080);
	assert_int_equal(io((struct entry){.opcode = 2, .prp1 = DATA, .dw = {0, 0xffffffff, 0}}), 0x080);
	assert_int_equal(io((struct entry){.opcode = 2, .prp1 = DATA, .dw = {0, 0, 1024}}), 0x002);
	assert_int_equal(io((struct entry){.opcode = 2, .namespace = 2, .prp1 = DATA}), 0x00b);
	assert_int_equal(io((struct entry){.opcode = 2, .prp1 = DATA + 0x200, .prp2 = DATA + 8, .dw = {0, 0, 7}}), 0x013);
	list[3] = 0xfee00000;
	assert_int_equal(io((struct entry){.opcode = 2, .prp1 = DATA, .prp2 = LIST, .dw = {64, 0, 127}}), 0x004);
	assert_int_equal(io((struct entry){.opcode = 2, .prp1 = DATA, .prp2 = LIST + 4, .dw = {64, 0, 127}}), 0x013);
	assert_int_equal(io((struct entry){.opcode = 2, .flags = 0x40, .prp1 = DATA}), 0x002);
}

/* More commands than completions have room for wait for it; a reset among them. */
static void test_room(void **state)
{
	struct entry read = {.opcode = 2, .namespace = 1, .prp1 = DATA};
	unsigned i, round;

	(void)state;
	create_queues();
	for (i = 0; i < ENTRIES - 1; i++) {
		read.id = i;
		submit(1, &read);
	}
	for (i = 0; i < ENTRIES - 1; i++)
		wait_for(((uint32_t *)pci_rig_at(&rig, CQ))[4 * i + 3] >> 16 & 1);
	read.id = 77;
	submit(1, &read);
	usleep(2000);
	assert_int_equal(((uint32_t *)pci_rig_at(&rig, CQ))[4 * (ENTRIES - 1) + 3] >> 16 & 1, 0);
	heads[1] = 1;
	set(0x1004 + 8, 1);
	wait_for(((uint32_t *)pci_rig_at(&rig, CQ))[4 * (ENTRIES - 1) + 3] >> 16 & 1);
	for (round = 0; round < 20; round++) {
		set(0x14, 0);
		wait_for(get(0x1c) == 0);
		enable();
		create_queues();
		submit(1, &read);
		submit(1, &read);
	}
	set(0x14, 0x464001);
	wait_for((get(0x1c) & 0xc) == 8);
	/* Queues in a hole are the controller's end, until it is reset. */
	set(0x14, 0);
	wait_for(get(0x1c) == 0);
	set(0x28, 0xfee00000);
	set(0x14, 0x460001);
	set(0x1000, 1);
	wait_for(get(0x1c) & 2);
}

static void test_saved(void **state)
{
	struct pci_rig other_storage;
	struct nvme *other;
	int own = fd;

	(void)state;
	create_queues();
	assert_int_equal(io((struct entry){.opcode = 2, .prp1 = DATA, .dw = {7, 0, 0}}), 0);
	pci_rig_init(&other_storage);
	other = create(&other_storage);
	nvme_device_ops.hold(nvme);
	pci_rig_check_state(&nvme_device_ops, nvme, other);
	nvme_device_ops.destroy(other);
	pci_rig_end(&other_storage);
	close(fd);
	fd = own;
}

/* Load the controller's own state, with commands that have failed and wait. Whether it was taken. */
static bool load_with(uint32_t count, uint16_t sq, const struct entry *entry)
{
	struct state_stream saved, state;
	struct error error;
	const void *bytes;
	size_t size;
	bool is_good;
	uint32_t i;

	nvme_device_ops.hold(nvme);
	state_save_begin(&saved);
	state_section_begin(&saved, "nvme", nvme_device_ops.version);
	nvme_device_ops.save(nvme, &saved);
	/* The last field, of a tag and 4 bytes, says that there are none. */
	saved.at -= 5;
	state_u32(&saved, "commands", &count);
	for (i = 0; i < count && i < ENTRIES; i++) {
		struct entry one = *entry;

		state_u16(&saved, "command's sq", &sq);
		state_bytes(&saved, "command", &one, sizeof(one));
	}
	state_section_end(&saved);
	assert_int_equal(state_saved(&saved, &bytes, &size, &error), 0);
	state_load_begin(&state, bytes, size);
	state_section_begin(&state, "nvme", nvme_device_ops.version);
	nvme_device_ops.load(nvme, &state);
	is_good = !state.has_failed;
	state_section_end(&state);
	state_end(&saved);
	nvme_device_ops.release(nvme);
	return is_good;
}

static void test_saved_commands(void **state)
{
	const struct entry read = {.opcode = 2, .id = 77, .namespace = 1, .prp1 = DATA, .dw = {7, 0, 0}};
	const struct entry wrong = {.opcode = 2, .id = 78, .namespace = 1, .prp1 = 3, .dw = {7, 0, 0}};
	unsigned i;

	(void)state;
	create_queues();
	/* They begin anew, as often as there is room for their ends. */
	assert_true(load_with(1, 1, &read));
	assert_int_equal(take(1, 77, NULL), 0);
	assert_true(load_with(1, 1, &wrong));
	assert_int_not_equal(take(1, 78, NULL), 0);
	assert_true(load_with(ENTRIES - 1, 1, &read));
	for (i = 0; i < ENTRIES - 1; i++)
		assert_int_equal(take(1, 77, NULL), 0);
	assert_false(load_with(ENTRIES, 1, &read));
	assert_false(load_with(UINT32_MAX, 1, &read));
	/* Of the admin queue, of one that was not made, of one that cannot be. */
	assert_false(load_with(1, 0, &read));
	assert_false(load_with(1, 2, &read));
	assert_false(load_with(1, UINT16_MAX, &read));
	assert_int_equal(io(read), 0);
	/* A reset before they have begun. */
	assert_true(load_with(1, 1, &read));
	nvme_device_ops.reset(nvme);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_admin, setup, teardown),
		cmocka_unit_test_setup_teardown(test_io, setup, teardown),
		cmocka_unit_test_setup_teardown(test_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved_commands, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
