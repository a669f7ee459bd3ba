/*
 * Fuzz target: a machine that comes from a hostile hand, by -incoming or --load.
 *
 * Input: a byte, whether the stream is of a live machine; a 16-bit number, how many bytes of a machine that was really
 * saved come first (ffff: all); and the bytes that follow instead. Checksums are made right, as whoever lies makes them.
 * What is refused must say so; what is accepted must be what can be saved and loaded again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "kvm/kvm.h"
#include "machine/machine.h"
#include "machine/machine_parts.h"
#include "util/event_loop.h"
#include "util/log.h"

#define RAM_BYTES   (2u << 20)
#define STREAM_MAX  (1u << 20)
/* The header: magic, version, the state's length and checksum. */
#define VERSION_AT  16
#define LENGTH_AT   24
#define CHECKSUM_AT 32
#define STATE_AT    40

struct bytes {
	uint8_t data[STREAM_MAX];
	size_t size, at;
};

static struct bytes good, mixed, again;
static struct machine *machine;

static int bytes_write(void *context, const void *data, size_t size)
{
	struct bytes *bytes = context;

	if (size > sizeof(bytes->data) - bytes->size)
		return -ENOSPC;
	memcpy(bytes->data + bytes->size, data, size);
	bytes->size += size;
	return 0;
}

static int bytes_read(void *context, void *data, size_t size)
{
	struct bytes *bytes = context;

	if (size > bytes->size - bytes->at)
		return -EPIPE;
	memcpy(data, bytes->data + bytes->at, size);
	bytes->at += size;
	return 0;
}

static int save(struct bytes *bytes, struct error *error)
{
	const struct saved_stream stream = {.write = bytes_write, .context = bytes};
	const struct snapshot_parts parts = machine_snapshot_parts(machine);

	bytes->size = bytes->at = 0;
	return snapshot_save_to(&parts, &stream, error);
}

static int load(struct bytes *bytes, struct error *error)
{
	const struct saved_stream stream = {.read = bytes_read, .context = bytes};
	const struct snapshot_parts parts = machine_snapshot_parts(machine);

	bytes->at = 0;
	fuzz_check(machine_reset(machine, error) == 0);
	return snapshot_load_from(&parts, &stream, error);
}

static struct event_loop *loop;
static struct board_streams streams;

static void end_machine(void)
{
	machine_destroy(machine);
	char_destroy(streams.serial);
	char_destroy(streams.debug_console);
	char_destroy(streams.print);
	event_loop_destroy(loop);
}

/* A machine with one CPU of the engine's, whose program is nothing. */
static void make_machine(void)
{
	struct error error = {""};
	struct machine_config config = {
		.backend = &kvm_backend_engine,
		.board = BOARD_PC,
		.ram_bytes = RAM_BYTES,
		.cpus = 1,
		.boot = {.flat_address = 0x1000},
		.print_port = -1,
		.debug_exit_port = -1,
		.save_fd = -1,
		.load_fd = -1,
	};
	char path[32];
	int fd = memfd_create("flat", 0);

	fuzz_check(fd >= 0 && write(fd, "\xf4", 1) == 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	config.boot.flat = path;
	loop = event_loop_create(&error);
	streams = (struct board_streams){.serial = char_none_create(&error),
					 .debug_console = char_none_create(&error),
					 .print = char_none_create(&error)};
	config.loop = loop;
	config.streams = streams;
	machine = machine_create(&config, &error);
	if (!machine || save(&good, &error) < 0) {
		fprintf(stderr, "%s\n", error.message);
		abort();
	}
	close(fd);
	atexit(end_machine);
}

static void put(uint8_t *to, uint64_t value, unsigned size)
{
	memcpy(to, &value, size);
}

/* So that what is inside is looked at. */
static void mend_header(struct bytes *bytes)
{
	uint64_t length;

	if (bytes->size < STATE_AT)
		return;
	memcpy(&length, bytes->data + LENGTH_AT, sizeof(length));
	if (length > bytes->size - STATE_AT) {
		length = bytes->size - STATE_AT;
		put(bytes->data + LENGTH_AT, length, 8);
	}
	put(bytes->data + CHECKSUM_AT, saved_checksum(SAVED_CHECKSUM_START, bytes->data + STATE_AT, length), 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t choice = fuzz_u8(&input);
	size_t kept = fuzz_u16(&input);
	struct error error = {""};

	log_set_level(LOG_ERROR);
	if (!machine)
		make_machine();
	if (kept > good.size || kept == UINT16_MAX)
		kept = good.size;
	if (input.size > sizeof(mixed.data) - good.size)
		return 0;
	memcpy(mixed.data, good.data, kept);
	memcpy(mixed.data + kept, input.data, input.size);
	mixed.size = kept + input.size;
	/* ... or over what was there. */
	if (choice & 2 && mixed.size < good.size) {
		memcpy(mixed.data + mixed.size, good.data + mixed.size, good.size - mixed.size);
		mixed.size = good.size;
	}
	if (choice & 1 && mixed.size >= STATE_AT) {
		/* Without a state, which comes behind the RAM. */
		memmove(mixed.data + STATE_AT, mixed.data + kept, mixed.size - kept);
		mixed.size -= kept > STATE_AT ? kept - STATE_AT : 0;
		put(mixed.data + VERSION_AT, SNAPSHOT_VERSION_LIVE, 4);
		put(mixed.data + LENGTH_AT, 0, 8);
	}
	if (!(choice & 4))
		mend_header(&mixed);
	if (load(&mixed, &error) < 0) {
		fuzz_check(error.message[0] != 0);
		/* What nobody has changed is taken. */
		fuzz_check(choice || kept != good.size || size > 3);
	} else {
		fuzz_check(save(&again, &error) == 0);
		fuzz_check(load(&again, &error) == 0);
	}
	return 0;
}
