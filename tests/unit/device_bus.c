/* The buses' ranges: many of them, found again after changes, and removed under accesses. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "device/bus/mmio.h"
#include "device/bus/pio.h"

#define RANGES	 1000
#define TURNS	 20000
#define READERS	 2

static uint64_t identify(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return (uintptr_t)device + offset;
}

static void ignore(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)device;
	(void)offset;
	(void)size;
	(void)value;
}

static const struct mmio_ops identify_ops = {.read = identify, .write = ignore};

static uint32_t read32(struct mmio_bus *bus, uint64_t gpa)
{
	uint32_t value;

	mmio_bus_read(bus, gpa, (uint8_t *)&value, 4);
	return value;
}

static void test_many(void **state)
{
	struct mmio_bus *bus = mmio_bus_create();
	struct error error;
	unsigned i, at;

	(void)state;
	/* In an order that is neither rising nor falling. */
	for (i = 0; i < RANGES; i++) {
		at = i * 7 % RANGES;
		assert_int_equal(mmio_bus_add(bus, at * 0x10000ull, 0x100, "many", &identify_ops,
					      (void *)(uintptr_t)(at << 16), &error),
				 0);
	}
	assert_true(mmio_bus_add(bus, 0x500ff, 0x100, "clash", &identify_ops, NULL, &error) < 0);
	assert_string_equal(error.message, "clash: address 0x50000 is already used by many");
	for (i = 0; i < RANGES; i++) {
		assert_int_equal(read32(bus, i * 0x10000ull + 4), (i << 16) + 4);
		assert_int_equal(read32(bus, i * 0x10000ull + 0x100), UINT32_MAX);
	}
	for (i = 0; i < RANGES; i += 2)
		mmio_bus_remove(bus, i * 0x10000ull);
	for (i = 0; i < RANGES; i++)
		assert_int_equal(read32(bus, i * 0x10000ull), i % 2 ? i << 16 : UINT32_MAX);
	mmio_bus_destroy(bus);
}

/* A device in whose accesses one can wait. */
struct slow {
	pthread_barrier_t entered, go_on;
	struct mmio_bus *bus;
	_Atomic bool is_removed, was_removed_inside;
};

static uint64_t slow_read(void *device, uint64_t offset, unsigned size)
{
	struct slow *slow = device;

	(void)offset;
	(void)size;
	pthread_barrier_wait(&slow->entered);
	pthread_barrier_wait(&slow->go_on);
	slow->was_removed_inside = slow->is_removed;
	return 0;
}

static const struct mmio_ops slow_ops = {.read = slow_read, .write = ignore};

static void *read_slowly(void *argument)
{
	read32(((struct slow *)argument)->bus, 0x1000);
	return NULL;
}

static void *remove_slow(void *argument)
{
	struct slow *slow = argument;

	mmio_bus_remove(slow->bus, 0x1000);
	slow->is_removed = true;
	return NULL;
}

static void test_removal_waits(void **state)
{
	struct slow slow = {.bus = mmio_bus_create()};
	struct error error;
	pthread_t reader, remover;

	(void)state;
	pthread_barrier_init(&slow.entered, NULL, 2);
	pthread_barrier_init(&slow.go_on, NULL, 2);
	assert_int_equal(mmio_bus_add(slow.bus, 0x1000, 0x1000, "slow", &slow_ops, &slow, &error),
			 0);
	pthread_create(&reader, NULL, read_slowly, &slow);
	pthread_barrier_wait(&slow.entered);
	pthread_create(&remover, NULL, remove_slow, &slow);
	usleep(20000);
	assert_false(slow.is_removed);
	/* Others are not waited for. */
	assert_int_equal(mmio_bus_add(slow.bus, 0x3000, 0x1000, "quick", &identify_ops, NULL, &error),
			 0);
	mmio_bus_remove(slow.bus, 0x3000);
	pthread_barrier_wait(&slow.go_on);
	pthread_join(reader, NULL);
	pthread_join(remover, NULL);
	assert_true(slow.is_removed);
	assert_false(slow.was_removed_inside);
	mmio_bus_destroy(slow.bus);
}

/* A device that lives only while it is on the bus. */
struct shaky {
	_Atomic bool is_there;
	_Atomic unsigned visits, wrong;
};

static uint32_t shaky_read(void *device, uint16_t offset, unsigned size)
{
	struct shaky *shaky = device;

	(void)offset;
	(void)size;
	shaky->visits++;
	shaky->wrong += !shaky->is_there;
	return 0;
}

static void shaky_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	(void)value;
	shaky_read(device, offset, size);
}

static const struct pio_ops shaky_ops = {shaky_read, shaky_write, 4};

struct race {
	struct pio_bus *bus;
	_Atomic bool is_over;
};

static void *access_ports(void *argument)
{
	struct race *race = argument;
	unsigned i;

	for (i = 0; !race->is_over; i++) {
		pio_bus_read(race->bus, 0x100 + i % 2 * 0x100, 1);
		pio_bus_write(race->bus, 0x200, 4, i);
	}
	return NULL;
}

/* Two devices that move in turn between two places, under accesses to both. */
static void test_moved_under_accesses(void **state)
{
	struct race race = {.bus = pio_bus_create()};
	struct shaky devices[2] = {{.is_there = false}};
	pthread_t readers[READERS];
	struct error error;
	unsigned i;

	(void)state;
	for (i = 0; i < READERS; i++)
		pthread_create(&readers[i], NULL, access_ports, &race);
	for (i = 0; i < TURNS; i++) {
		struct shaky *shaky = &devices[i / 2 % 2];
		uint16_t port = i % 2 ? 0x100 : 0x200;

		shaky->is_there = true;
		assert_int_equal(pio_bus_add(race.bus, port, 8, "shaky", &shaky_ops, shaky, &error),
				 0);
		if (i % 64 == 0)
			usleep(10);
		pio_bus_remove(race.bus, port);
		shaky->is_there = false;
	}
	race.is_over = true;
	for (i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(devices[0].wrong + devices[1].wrong, 0);
	assert_true(devices[0].visits + devices[1].visits > 0);
	pio_bus_destroy(race.bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_removal_waits),
		cmocka_unit_test(test_moved_under_accesses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
