/*
 * Every device saved and loaded: what a guest sees of it afterwards, and that a stream which is cut
 * short or has a bad value leaves it as it was.
 */
#include <stdlib.h>

#include "device/char/char.h"
#include "device/fw_cfg.h"
#include "device/split_irqchip.h"
#include "device_state.h"

#define BYTES_CHANGED 700
#define SUBJECTS_MAX  64

static const struct subject *subjects[SUBJECTS_MAX];
static unsigned subject_count;

static int gather_subjects(void **state)
{
	static const struct subject *const lists[] = {state_platform_subjects, state_pci_subjects, state_virtio_subjects,
						      state_irqchip_subjects, state_memory_subjects};
	const struct subject *one;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (one = lists[i]; one->name; one++) {
			assert_in_range(subject_count, 0, SUBJECTS_MAX - 1);
			subjects[subject_count++] = one;
		}
	}
	return 0;
}

static const struct subject *find_subject(const char *name)
{
	unsigned i;

	for (i = 0; i < subject_count; i++)
		if (strcmp(subjects[i]->name, name) == 0)
			return subjects[i];
	fail_msg("there is no subject %s", name);
	return NULL;
}

static struct world *world_open(const struct subject *subject)
{
	struct world *world = calloc(1, sizeof(*world));
	struct error error;

	fixture_init(&world->fixture);
	fixture_init(&world->aux);
	world->loop = event_loop_create(&error);
	subject->create(world);
	return world;
}

static void world_close(struct world *world)
{
	if (world->pci && world->device.device != world->pci &&
	    world->device.device != &world->chipset)
		device_destroy(&world->device);
	if (world->pci) {
		i440fx_device_ops.destroy(&world->chipset);
		pci_bus_device_ops.destroy(world->pci);
		pio_bus_destroy(world->pio);
		mmio_bus_destroy(world->mmio);
	} else {
		device_destroy(&world->device);
	}
	if (world->fw_cfg)
		fw_cfg_device_ops.destroy(world->fw_cfg);
	gsi_routes_destroy(world->routes);
	char_destroy(world->stream);
	event_loop_destroy(world->loop);
	free(world);
}

static void save(const struct world *world, struct state_stream *state, const uint8_t **bytes,
                 size_t *size)
{
	const void *saved;

	state_save_begin(state);
	device_save(&world->device, state);
	assert_int_equal(state_saved(state, &saved, size, NULL), 0);
	*bytes = saved;
}

static int load(const struct world *world, const uint8_t *bytes, size_t size, struct error *error)
{
	struct state_stream state;

	state_load_begin(&state, bytes, size);
	device_load(&world->device, &state);
	return state_loaded(&state, error);
}

static void check_subject(const struct subject *subject)
{
	struct world *first = world_open(subject), *second = world_open(subject);
	uint8_t seen_first[SEEN_MAX] = {0}, seen_second[SEEN_MAX] = {0};
	struct state_stream state;
	const uint8_t *bytes;
	size_t size, seen;
	struct error error = {.message = ""};

	subject->stir(first);
	save(first, &state, &bytes, &size);
	if (load(second, bytes, size, &error) < 0)
		fail_msg("%s: %s", subject->name, error.message);
	state_end(&state);
	seen = subject->look(first, seen_first);
	assert_int_equal(subject->look(second, seen_second), seen);
	if (memcmp(seen_first, seen_second, seen))
		print_error("%s differs\n", subject->name);
	assert_memory_equal(seen_first, seen_second, seen);
	/* And it isn't what a new one shows, or the test would show nothing. */
	if (seen) {
		struct world *fresh = world_open(subject);

		subject->look(fresh, seen_second);
		assert_memory_not_equal(seen_first, seen_second, seen);
		world_close(fresh);
	}
	world_close(first);
	world_close(second);
}

static void test_saved_and_loaded(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < subject_count; i++)
		check_subject(subjects[i]);
}

/* Cut short at every place: refused, with the device's name, and the device is what it was. */
static void test_truncated(void **test)
{
	uint8_t seen_fresh[SEEN_MAX] = {0}, seen[SEEN_MAX] = {0}, *cut;
	struct state_stream state;
	struct world *saved, *fresh, *loaded;
	struct error error;
	const uint8_t *bytes;
	size_t size, i;
	unsigned subject;

	(void)test;
	for (subject = 0; subject < subject_count; subject++) {
		saved = world_open(subjects[subject]);
		fresh = world_open(subjects[subject]);
		loaded = world_open(subjects[subject]);
		subjects[subject]->stir(saved);
		save(saved, &state, &bytes, &size);
		for (i = 0; i < size; i += i < BYTES_CHANGED ? 1 : 4099) {
			cut = malloc(i ? i : 1);
			memcpy(cut, bytes, i);
			error.message[0] = 0;
			assert_true(load(loaded, cut, i, &error) < 0);
			if (i > 1 + strlen(saved->device.name))
				assert_non_null(strstr(error.message, saved->device.name));
			free(cut);
		}
		size = subjects[subject]->look(fresh, seen_fresh);
		subjects[subject]->look(loaded, seen);
		assert_memory_equal(seen, seen_fresh, size);
		state_end(&state);
		world_close(saved);
		world_close(fresh);
		world_close(loaded);
	}
}

/* Every byte changed in turn: loaded or refused, and the device still works either way. */
static void test_corrupted(void **test)
{
	static const uint8_t changes[] = {0x01, 0x80, 0xff};
	struct state_stream state;
	struct world *saved, *loaded;
	uint8_t seen[SEEN_MAX], *copy;
	struct error error;
	const uint8_t *bytes;
	size_t size, i;
	unsigned subject, change, refused;

	(void)test;
	for (subject = 0; subject < subject_count; subject++) {
		saved = world_open(subjects[subject]);
		subjects[subject]->stir(saved);
		save(saved, &state, &bytes, &size);
		copy = malloc(size);
		memcpy(copy, bytes, size);
		/* Of what is mostly memory only the registers. */
		for (i = refused = 0; i < size * 3 && i < BYTES_CHANGED * 3; i += subjects[subject]->is_large ? 7 : 1) {
			change = i % 3;
			copy[i / 3] ^= changes[change];
			loaded = world_open(subjects[subject]);
			refused += load(loaded, copy, size, &error) < 0;
			subjects[subject]->look(loaded, seen);
			device_reset(&loaded->device);
			world_close(loaded);
			copy[i / 3] = bytes[i / 3];
		}
		assert_true(refused > 0);
		free(copy);
		state_end(&state);
		world_close(saved);
	}
}

/* A section of `subject` with one field changed by hand is refused by name. */
static void expect_refused(const char *subject, const char *pattern, size_t pattern_size,
                           size_t offset, uint8_t value, const char *field)
{
	struct world *world = world_open(find_subject(subject));
	struct state_stream state;
	struct error error = {.message = ""};
	const uint8_t *bytes;
	uint8_t *copy, *at;
	size_t size;

	save(world, &state, &bytes, &size);
	copy = malloc(size);
	memcpy(copy, bytes, size);
	at = pattern_size ? memmem(copy, size, pattern, pattern_size) : copy;
	assert_non_null(at);
	at[offset] = value;
	assert_true(load(world, copy, size, &error) < 0);
	assert_non_null(strstr(error.message, field));
	assert_non_null(strstr(error.message, world->device.name));
	free(copy);
	state_end(&state);
	world_close(world);
}

static void test_bad_values(void **state)
{
	(void)state;
	/* The FIFO is the only run of bytes in a serial port: its head and count follow. */
	expect_refused("serial port", "\x40\x10\0\0\0", 5, 5 + 16 + 1, 16, "fifo_head");
	expect_refused("serial port", "\x40\x10\0\0\0", 5, 5 + 16 + 3, 2, "fifo_count"); /* FIFOs are off */
	expect_refused("keyboard controller", "\x40\x10\0\0\0", 5, 5 + 16 + 1, 17, "reply_count");
	expect_refused("keyboard controller", "\x40\x40\0\0\0", 5, 5 + 64 + 1, 64, "head");
	expect_refused("keyboard controller", "\x40\x40\0\0\0", 5, 5 + 64 + 3, 65, "count");
	expect_refused("clock", "\x40\x80\0\0\0", 5, 5 + 128 + 1, 128, "index");
	/* Beyond the item that is selected: "QEMU" has four bytes. */
	expect_refused("fw_cfg", "\x02\0\0\x08", 4, 4, 5, "offset");
	/* A chipset that is another. */
	expect_refused("chipset", "\x86\x80\x37\x12", 4, 2, 0x38, "configuration space");
}

static void stop_loop(void *context)
{
	event_loop_stop(context);
}

/* Run the loop for some milliseconds. */
static void pass_time(struct event_loop *loop, unsigned ms)
{
	struct event_timer timer = {.expired = NULL};

	assert_int_equal(event_timer_init(&timer, loop, stop_loop, loop), 0);
	event_timer_set(&timer, monotonic_ns() + ms * 1000000ull, 0);
	assert_int_equal(event_loop_run(loop), 0);
	event_timer_destroy(&timer);
}

/* Start channel 0 in mode 0 with `count`, let time pass, and tell what is saved of the tick. */
static bool tick_after(uint16_t count, unsigned ms, uint64_t *until_ns)
{
	const struct subject *subject = find_subject("interrupt controllers");
	struct world *first = world_open(subject), *second = world_open(subject);
	const uint8_t writes[][2] = {{3, 0x30}, {0, count & 0xff}, {0, count >> 8}};
	struct state_stream stream;
	const uint8_t *bytes, *tick;
	struct error error;
	size_t size;
	unsigned i;
	bool is_armed;

	for (i = 0; i < 3; i++)
		split_irqchip_pit_pio_ops.write(first->device.device, writes[i][0], 1,
		                                writes[i][1]);
	pass_time(first->loop, ms);
	save(first, &stream, &bytes, &size);
	assert_int_equal(load(second, bytes, size, &error), 0);
	state_end(&stream);
	save(second, &stream, &bytes, &size);
	/* A flag, two numbers of 64 bits, a flag, a byte. */
	tick = bytes + size - 2 - 2 - 9 - 9 - 2;
	assert_int_equal(tick[0], 1);
	is_armed = tick[1];
	memcpy(until_ns, tick + 3, 8);
	state_end(&stream);
	world_close(first);
	world_close(second);
	return is_armed;
}

/* The PIT's next tick keeps its distance; a single one that has come doesn't come again. */
static void test_tick(void **state)
{
	uint64_t until_ns;
	unsigned tries = 1;

	(void)state;
	/* On a busy host the 55 ms may pass before it is saved. */
	while (!tick_after(0xffff, 5, &until_ns))
		assert_true(++tries <= 50);
	assert_in_range(until_ns, 0, 50000000);
	assert_false(tick_after(100, 5, &until_ns));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_saved_and_loaded),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_corrupted),
	    cmocka_unit_test(test_bad_values),
	    cmocka_unit_test(test_tick),
	};

	return cmocka_run_group_tests(tests, gather_subjects, NULL);
}
