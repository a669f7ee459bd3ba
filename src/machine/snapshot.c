#include "machine/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/inspect.h"
#include "machine/saved_cpu.h"
#include "machine/saved_ram.h"
#include "util/file.h"
#include "util/log.h"

#define STATE_BYTES_MAX	  (1ull << 30) /* more than any machine has beside its RAM */
#define STATE_PIECE_BYTES (1u << 20)
#define CPU_NAME_BYTES	16

struct snapshot_header {
	char magic[16];
	uint32_t version, reserved;
	uint64_t state_bytes, state_checksum;
};

/* --- the state --- */

static void transfer_shape(const struct snapshot_parts *parts, struct state_stream *state)
{
	uint8_t board = parts->board_kind, irqchip = parts->irqchip_kind;
	uint32_t cpus = parts->cpus;
	uint64_t ram_bytes = parts->ram->size_bytes;
	uint32_t pauses = parts->pauses ? *parts->pauses : 0;

	state_section_begin(state, "shape", 2);
	state_u8(state, "board", &board);
	state_u8(state, "irqchip", &irqchip);
	state_u32(state, "cpus", &cpus);
	state_u64(state, "ram_bytes", &ram_bytes);
	if (board != parts->board_kind)
		state_fail(state, "it is of another board (--machine)");
	if (irqchip != parts->irqchip_kind)
		state_fail(state, "its interrupt controllers are elsewhere (--irqchip)");
	if (cpus != parts->cpus)
		state_fail(state, "it has %u CPUs, this machine %u (--cpus)", cpus, parts->cpus);
	if (ram_bytes != parts->ram->size_bytes)
		state_fail(state, "it has %llu MiB of RAM, this machine %llu (--memory)",
			   (unsigned long long)ram_bytes >> 20,
			   (unsigned long long)parts->ram->size_bytes >> 20);
	if (state->version >= 2)
		state_u32(state, "pauses", &pauses);
	state_check(state, "pauses", !(pauses & ~(uint32_t)MACHINE_PAUSES_SENT));
	if (parts->pauses && !state->has_failed)
		*parts->pauses = pauses;
	state_section_end(state);
}

/* What was plugged in has to be there already: its contents come by address. */
static void transfer_dimms(const struct snapshot_parts *parts, struct state_stream *state)
{
	const struct ram_dimm *there;
	uint64_t gpa, size_bytes;
	unsigned i;

	if (!parts->ram->more.slots)
		return;
	state_section_begin(state, "memory", 1);
	for (i = 0; i < parts->ram->more.slots; i++) {
		there = ram_dimm(parts->ram, i);
		gpa = there ? there->gpa : 0;
		size_bytes = there ? there->size_bytes : 0;
		state_u64(state, "gpa", &gpa);
		state_u64(state, "size_bytes", &size_bytes);
		if (gpa != (there ? there->gpa : 0) || size_bytes != (there ? there->size_bytes : 0))
			state_fail(state, "it has %llu MiB at 0x%llx in slot %u of memory, this machine %llu at 0x%llx (pc-dimm)",
				   (unsigned long long)size_bytes >> 20, (unsigned long long)gpa, i,
				   there ? (unsigned long long)there->size_bytes >> 20 : 0ull,
				   there ? (unsigned long long)there->gpa : 0ull);
	}
	state_section_end(state);
}

/*
 * The guest's clocks stand still between saving and loading; the time of day is the RTC's matter. They
 * go on together, and last of all that is loaded: kvm-clock and the time-stamp counters would drift
 * apart by what comes between them, at every loading a little more.
 */
struct saved_clock {
	uint64_t tsc, kvmclock_ns;
	uint32_t tsc_khz;
};

static void transfer_clock(const struct snapshot_parts *parts, struct state_stream *state,
			   struct saved_clock *saved)
{
	struct kvm_clock_data now = {.clock = 0};

	state_section_begin(state, "clock", 1);
	if (!state->is_loading) {
		int khz = kvm_vcpu_ioctl(&parts->vcpus[0].kvm, KVM_GET_TSC_KHZ, NULL);

		saved->tsc_khz = khz > 0 ? khz : 0;
		if (kvm_vm_ioctl(parts->vm, KVM_GET_CLOCK, &now) == 0)
			saved->kvmclock_ns = now.clock;
		saved->tsc = saved_cpu_read_tsc(&parts->vcpus[0].kvm);
	}
	state_u64(state, "tsc", &saved->tsc);
	state_u32(state, "tsc_khz", &saved->tsc_khz);
	state_u64(state, "kvmclock_ns", &saved->kvmclock_ns);
	state_section_end(state);
}

/* Have the counters run as fast as those of the saved machine. */
static void set_tsc_khz(const struct snapshot_parts *parts, uint32_t tsc_khz,
			struct state_stream *state)
{
	int khz = kvm_vcpu_ioctl(&parts->vcpus[0].kvm, KVM_GET_TSC_KHZ, NULL);
	int result = 0;
	unsigned i;

	if (khz <= 0 || tsc_khz == (uint32_t)khz)
		return;
	for (i = 0; i < parts->cpus && result >= 0; i++)
		result = kvm_vcpu_ioctl(&parts->vcpus[i].kvm, KVM_SET_TSC_KHZ,
					(void *)(uintptr_t)tsc_khz);
	if (result < 0)
		state_fail(state,
			   "its time-stamp counter runs at %u kHz, which this host with %d kHz "
			   "cannot do",
			   tsc_khz, khz);
}

/* Paravirtual KVMs may leave the counter as it is: guests stand a jump, but not one into the past. */
static void check_tsc(const struct snapshot_parts *parts, const struct saved_clock *saved,
		      struct state_stream *state)
{
	uint64_t now = saved_cpu_read_tsc(&parts->vcpus[0].kvm);

	if (now < saved->tsc)
		state_fail(state, "its time-stamp counter would go back: this KVM lets nobody set it");
	else if (now - saved->tsc > saved->tsc_khz * 1000ull)
		log_warning("the guest's time-stamp counter jumps: this KVM lets nobody set it");
}

static void start_clocks(const struct snapshot_parts *parts, const struct saved_clock *saved,
			 const uint64_t *deadlines, struct state_stream *state)
{
	struct kvm_clock_data clock = {.clock = saved->kvmclock_ns};
	unsigned i;

	for (i = 0; i < parts->cpus; i++)
		saved_cpu_set_tsc(&parts->vcpus[i].kvm, saved->tsc);
	check_tsc(parts, saved, state);
	if (kvm_vm_ioctl(parts->vm, KVM_SET_CLOCK, &clock) < 0)
		state_fail(state, "the clock cannot be set");
	for (i = 0; i < parts->cpus; i++)
		saved_cpu_arm(&parts->vcpus[i].kvm, deadlines[i]);
}

static void cpu_name(char *name, unsigned i)
{
	snprintf(name, CPU_NAME_BYTES, "cpu%u", i);
}

/*
 * Outputs and the backend's timers run on meanwhile and may raise interrupts. So what is on an
 * interrupt's way is saved in its direction, devices, interrupt controllers, local APICs: it may be seen
 * twice then, which is an interrupt too many, but is never lost.
 */
static void save_state(const struct snapshot_parts *parts, struct state_stream *state)
{
	struct saved_clock clock = {.tsc = 0};
	struct state_stream controllers;
	char name[CPU_NAME_BYTES];
	unsigned i;

	transfer_shape(parts, state);
	transfer_dimms(parts, state);
	transfer_clock(parts, state, &clock);
	board_save(parts->board, state);
	state_save_begin(&controllers);
	interrupts_save(parts->interrupts, &controllers);
	for (i = 0; i < parts->cpus; i++) {
		cpu_name(name, i);
		saved_cpu_save(&parts->vcpus[i], name, state);
	}
	state_append(state, &controllers);
	state_end(&controllers);
}

/* Which CPUs are there is the board's to say. */
static void take_present(const struct snapshot_parts *parts)
{
	uint64_t present = board_present_cpus(parts->board);
	unsigned i;

	for (i = 0; i < parts->cpus; i++)
		__atomic_store_n(&parts->vcpus[i].is_absent, !(present >> i & 1), __ATOMIC_SEQ_CST);
}

/* Devices drive their lines as they are loaded, and interrupt controllers send what they have to local
 * APICs: each is right after those before it, and so the controllers come last. */
static void load_state(const struct snapshot_parts *parts, struct state_stream *state)
{
	uint64_t *deadlines = calloc(parts->cpus, sizeof(*deadlines));
	struct saved_clock clock = {.tsc = 0};
	char name[CPU_NAME_BYTES];
	unsigned i;

	if (!deadlines) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	transfer_shape(parts, state);
	if (!state->has_failed)
		transfer_dimms(parts, state);
	if (!state->has_failed)
		transfer_clock(parts, state, &clock);
	if (!state->has_failed)
		set_tsc_khz(parts, clock.tsc_khz, state);
	if (!state->has_failed)
		board_load(parts->board, state);
	if (!state->has_failed)
		take_present(parts);
	for (i = 0; i < parts->cpus && !state->has_failed; i++) {
		cpu_name(name, i);
		saved_cpu_load(&parts->vcpus[i], name, &deadlines[i], state);
	}
	if (!state->has_failed)
		interrupts_load(parts->interrupts, state);
	if (!state->has_failed)
		start_clocks(parts, &clock, deadlines, state);
	free(deadlines);
}

/* --- the file --- */

int snapshot_state(const struct snapshot_parts *parts, struct state_stream *state, struct error *error)
{
	const void *bytes;
	size_t size;

	state_save_begin(state);
	save_state(parts, state);
	return state_saved(state, &bytes, &size, error);
}

int snapshot_begin_live(const struct saved_stream *stream)
{
	struct snapshot_header header = {.magic = SNAPSHOT_MAGIC, .version = SNAPSHOT_VERSION_LIVE};

	return stream->write(stream->context, &header, sizeof(header));
}

int snapshot_end_live(const struct saved_stream *stream, const struct state_stream *state)
{
	struct snapshot_header header = {.magic = SNAPSHOT_MAGIC,
				.version = SNAPSHOT_VERSION_LIVE,
				.state_bytes = state->at,
				.state_checksum = saved_checksum(SAVED_CHECKSUM_START, state->saved, state->at)};
	int result = stream->write(stream->context, &header, sizeof(header));

	return result < 0 ? result : stream->write(stream->context, state->saved, state->at);
}

/* With or without its magic. */
static int write_parts(const struct snapshot_parts *parts, const struct saved_stream *stream,
		       const struct state_stream *state, bool has_magic)
{
	struct snapshot_header header = {
		.version = SNAPSHOT_VERSION,
		.state_bytes = state->at,
		.state_checksum = saved_checksum(SAVED_CHECKSUM_START, state->saved, state->at),
	};
	int result;

	if (has_magic)
		memcpy(header.magic, SNAPSHOT_MAGIC, sizeof(header.magic));
	result = stream->write(stream->context, &header, sizeof(header));
	if (result == 0)
		result = stream->write(stream->context, state->saved, state->at);
	return result < 0 ? result : saved_ram_write(stream, parts->ram);
}

static int write_fd(void *context, const void *bytes, size_t size)
{
	return file_write_all(*(const int *)context, bytes, size);
}

static int write_file(const struct snapshot_parts *parts, int fd, const struct state_stream *state)
{
	const struct saved_stream stream = {.write = write_fd, .context = &fd};
	int result = lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;

	/* Who reads a stream sees by its end whether it is complete. */
	if (result == -ESPIPE)
		return write_parts(parts, &stream, state, true);
	if (result == 0)
		result = write_parts(parts, &stream, state, false);
	if (result == 0 && lseek(fd, 0, SEEK_SET) < 0)
		result = -errno;
	if (result == 0)
		result = file_write_all(fd, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_BYTES);
	return result;
}

int snapshot_save(const struct snapshot_parts *parts, int fd, struct error *error)
{
	struct state_stream state;
	int result = snapshot_state(parts, &state, error);

	if (result == 0) {
		result = write_file(parts, fd, &state);
		if (result < 0)
			error_set_errno(error, -result, "cannot save the machine");
	}
	state_end(&state);
	return result;
}

int snapshot_save_to(const struct snapshot_parts *parts, const struct saved_stream *stream, struct error *error)
{
	struct state_stream state;
	int result = snapshot_state(parts, &state, error);

	if (result == 0) {
		result = write_parts(parts, stream, &state, true);
		if (result < 0)
			error_set_errno(error, -result, "cannot save the machine");
	}
	state_end(&state);
	return result;
}

static int read_header(const struct saved_stream *stream, struct snapshot_header *header, struct error *error)
{
	int result = stream->read(stream->context, header, sizeof(*header));

	if (result == -ECANCELED)
		return error_set_errno(error, ECANCELED, "it was not read");
	if (result < 0 || memcmp(header->magic, SNAPSHOT_MAGIC, sizeof(header->magic)) != 0)
		return error_set(error, EINVAL, "it is no saved machine");
	if (header->version != SNAPSHOT_VERSION && header->version != SNAPSHOT_VERSION_LIVE)
		return error_set(error, EINVAL, "its format has version %u, this kvik knows %u and %u",
				 header->version, SNAPSHOT_VERSION, SNAPSHOT_VERSION_LIVE);
	if (header->state_bytes > STATE_BYTES_MAX)
		return error_set(error, EINVAL, "it ends too early");
	return 0;
}

/* A piece at a time: memory is there for what came, and not for what a header promises. */
static int read_state(const struct saved_stream *stream, const struct snapshot_header *header,
		      struct saved_machine *machine, struct error *error)
{
	size_t size = header->state_bytes, at = 0, piece;
	uint8_t *more;

	while (at < size) {
		piece = size - at < STATE_PIECE_BYTES ? size - at : STATE_PIECE_BYTES;
		more = realloc(machine->state, at + piece);
		if (!more)
			return error_set_errno(error, ENOMEM, "cannot load it");
		machine->state = more;
		if (stream->read(stream->context, more + at, piece) < 0)
			return error_set(error, EINVAL, "it ends too early");
		at += piece;
	}
	machine->state_bytes = size;
	if (saved_checksum(SAVED_CHECKSUM_START, machine->state, size) != header->state_checksum)
		return error_set(error, EINVAL, "it is damaged: the checksum of its state is wrong");
	return 0;
}

int snapshot_read(const struct saved_stream *stream, struct ram *ram, struct saved_machine *machine,
		  struct error *error)
{
	struct snapshot_header header;
	bool is_live;
	int result = read_header(stream, &header, error);

	*machine = (struct saved_machine){NULL, 0};
	if (result < 0)
		goto out;
	is_live = header.version == SNAPSHOT_VERSION_LIVE;
	if (!is_live)
		result = read_state(stream, &header, machine, error);
	if (result == 0)
		result = saved_ram_read(stream, ram, error);
	if (result == 0 && is_live)
		result = read_header(stream, &header, error);
	if (result == 0 && is_live)
		result = read_state(stream, &header, machine, error);
out:
	if (result < 0) {
		error_prefix(error, "cannot load the saved machine");
		saved_machine_free(machine);
	}
	return result;
}

void saved_machine_free(struct saved_machine *machine)
{
	free(machine->state);
	machine->state = NULL;
}

int snapshot_take_over(const struct snapshot_parts *parts, const struct saved_machine *machine, struct error *error)
{
	struct state_stream state;
	int result;

	state_load_begin(&state, machine->state, machine->state_bytes);
	load_state(parts, &state);
	result = state_loaded(&state, error);
	if (result < 0)
		error_prefix(error, "cannot load the saved machine");
	return result;
}

int snapshot_load_from(const struct snapshot_parts *parts, const struct saved_stream *stream, struct error *error)
{
	struct saved_machine machine;
	int result = snapshot_read(stream, parts->ram, &machine, error);

	if (result == 0)
		result = snapshot_take_over(parts, &machine, error);
	saved_machine_free(&machine);
	return result;
}

static int read_fd(void *context, void *bytes, size_t size)
{
	uint8_t *at = bytes;
	ssize_t got;

	while (size) {
		got = read(*(const int *)context, at, size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EPIPE;
		at += got;
		size -= got;
	}
	return 0;
}

int snapshot_load(const struct snapshot_parts *parts, int fd, struct error *error)
{
	const struct saved_stream stream = {.read = read_fd, .context = &fd};

	return snapshot_load_from(parts, &stream, error);
}
