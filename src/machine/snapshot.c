#include "machine/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/saved_cpu.h"
#include "util/file.h"
#include "util/log.h"

#define STATE_BYTES_MAX (1ull << 30) /* more than any machine has beside its RAM */
#define RUN_BYTES_MAX	(4ull << 20)
#define PAGE_BYTES	4096ull
#define CPU_NAME_BYTES	16

struct header {
	char magic[16];
	uint32_t version, reserved;
	uint64_t state_bytes, state_checksum;
};

struct run_header {
	uint64_t gpa, size_bytes;
};

/* FNV-1a over 64-bit words: against accidents, not against people. */
#define CHECKSUM_START 0xcbf29ce484222325ull
static uint64_t checksum(uint64_t sum, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	uint64_t word;

	for (; size >= 8; at += 8, size -= 8) {
		memcpy(&word, at, 8);
		sum = (sum ^ word) * 0x100000001b3ull;
		sum ^= sum >> 29;
	}
	while (size--)
		sum = (sum ^ *at++) * 0x100000001b3ull;
	return sum;
}

/* --- the state --- */

static void transfer_shape(const struct snapshot_parts *parts, struct state_stream *state)
{
	uint8_t board = parts->board_kind, irqchip = parts->irqchip_kind;
	uint32_t cpus = parts->cpus;
	uint64_t ram_bytes = parts->ram->size_bytes;

	state_section_begin(state, "shape", 1);
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
		transfer_clock(parts, state, &clock);
	if (!state->has_failed)
		set_tsc_khz(parts, clock.tsc_khz, state);
	if (!state->has_failed)
		board_load(parts->board, state);
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

/* --- RAM --- */

/* 0; -EPIPE when the file ends before. */
static int read_all(int fd, void *bytes, size_t size)
{
	uint8_t *at = bytes;
	ssize_t got;

	while (size) {
		got = read(fd, at, size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EPIPE;
		at += got;
		size -= got;
	}
	return 0;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Write [offset, end) of a region, which the memory file has, without pages of zeroes. */
static int write_range(int fd, const struct guest_region *region, uint64_t offset, uint64_t end,
		       uint64_t *sum)
{
	struct run_header run;
	uint64_t first;
	int result = 0;

	while (offset < end && result == 0) {
		while (offset < end && is_zero(region->hva + offset, PAGE_BYTES))
			offset += PAGE_BYTES;
		first = offset;
		while (offset < end && offset - first < RUN_BYTES_MAX &&
		       !is_zero(region->hva + offset, PAGE_BYTES))
			offset += PAGE_BYTES;
		if (offset == first)
			break;
		run = (struct run_header){region->gpa + first, offset - first};
		*sum = checksum(*sum, region->hva + first, offset - first);
		result = file_write_all(fd, &run, sizeof(run));
		if (result == 0)
			result = file_write_all(fd, region->hva + first, offset - first);
	}
	return result;
}

/* Only what the file behind RAM has: looking at the rest would make it. */
static int write_ram(int fd, const struct ram *ram)
{
	const struct guest_region *region;
	struct run_header end = {.size_bytes = 0};
	uint64_t sum = CHECKSUM_START, base, last;
	off_t data, hole;
	unsigned i;
	int result = 0;

	for (i = 0; i < ram->memory.region_count && result == 0; i++) {
		region = &ram->memory.regions[i];
		base = region->hva - ram->base;
		last = base + region->size_bytes;
		for (data = base; result == 0; data = hole) {
			data = lseek(ram->memfd, data, SEEK_DATA);
			if (data < 0 || (uint64_t)data >= last)
				break;
			hole = lseek(ram->memfd, data, SEEK_HOLE);
			if (hole < 0 || (uint64_t)hole > last)
				hole = last;
			result = write_range(fd, region, data - base, hole - base, &sum);
		}
	}
	end.gpa = sum;
	return result < 0 ? result : file_write_all(fd, &end, sizeof(end));
}

static int read_ram(int fd, struct ram *ram, struct error *error)
{
	uint64_t sum = CHECKSUM_START;
	struct run_header run;
	uint8_t *hva;
	int result;

	/* What the loader put there goes. */
	if (fallocate(ram->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, ram->size_bytes) < 0)
		return error_set_errno(error, errno, "cannot empty the RAM");
	for (;;) {
		result = read_all(fd, &run, sizeof(run));
		if (result < 0 || run.size_bytes == 0)
			break;
		hva = NULL;
		if (run.size_bytes <= RUN_BYTES_MAX && run.gpa % PAGE_BYTES == 0 &&
		    run.size_bytes % PAGE_BYTES == 0)
			hva = guest_memory_for_writing(&ram->memory, run.gpa, run.size_bytes);
		if (!hva)
			return error_set(error, EINVAL,
					 "it has %llu bytes of RAM at 0x%llx, where there is none",
					 (unsigned long long)run.size_bytes,
					 (unsigned long long)run.gpa);
		result = read_all(fd, hva, run.size_bytes);
		if (result < 0)
			break;
		guest_memory_written(&ram->memory, run.gpa, run.size_bytes);
		sum = checksum(sum, hva, run.size_bytes);
	}
	if (result == -EPIPE)
		return error_set(error, EINVAL, "it ends too early");
	if (result < 0)
		return error_set_errno(error, -result, "it cannot be read");
	if (run.gpa != sum)
		return error_set(error, EINVAL, "its RAM is damaged: the checksum is wrong");
	return 0;
}

/* --- the file --- */

static int write_file(const struct snapshot_parts *parts, int fd, const void *state, size_t size)
{
	struct header header = {
		.version = SNAPSHOT_VERSION,
		.state_bytes = size,
		.state_checksum = checksum(CHECKSUM_START, state, size),
	};
	int result = lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
	/* Who reads a stream sees by its end whether it is complete. */
	bool is_stream = result == -ESPIPE;

	if (is_stream) {
		memcpy(header.magic, SNAPSHOT_MAGIC, sizeof(header.magic));
		result = 0;
	}
	if (result == 0)
		result = file_write_all(fd, &header, sizeof(header));
	if (result == 0)
		result = file_write_all(fd, state, size);
	if (result == 0)
		result = write_ram(fd, parts->ram);
	if (is_stream)
		return result;
	if (result == 0 && lseek(fd, 0, SEEK_SET) < 0)
		result = -errno;
	if (result == 0)
		result = file_write_all(fd, SNAPSHOT_MAGIC, sizeof(header.magic));
	return result;
}

int snapshot_save(const struct snapshot_parts *parts, int fd, struct error *error)
{
	struct state_stream state;
	const void *bytes;
	size_t size;
	int result;

	state_save_begin(&state);
	save_state(parts, &state);
	result = state_saved(&state, &bytes, &size, error);
	if (result == 0) {
		result = write_file(parts, fd, bytes, size);
		if (result < 0)
			error_set_errno(error, -result, "cannot save the machine");
	}
	state_end(&state);
	return result;
}

/* The state of a file whose header is good; the caller frees. */
static void *read_state(int fd, size_t *size, struct error *error)
{
	struct header header;
	struct stat status;
	void *bytes;
	int result = read_all(fd, &header, sizeof(header));

	if (result < 0 || memcmp(header.magic, SNAPSHOT_MAGIC, sizeof(header.magic)) != 0) {
		error_set(error, EINVAL, "it is no saved machine");
		return NULL;
	}
	if (header.version != SNAPSHOT_VERSION) {
		error_set(error, EINVAL, "its format has version %u, this kvik knows %u",
			  header.version, SNAPSHOT_VERSION);
		return NULL;
	}
	if (fstat(fd, &status) < 0 || header.state_bytes > STATE_BYTES_MAX ||
	    (S_ISREG(status.st_mode) && header.state_bytes > (uint64_t)status.st_size)) {
		error_set(error, EINVAL, "it ends too early");
		return NULL;
	}
	bytes = malloc(header.state_bytes + 1);
	if (!bytes) {
		error_set_errno(error, ENOMEM, "cannot load it");
		return NULL;
	}
	if (read_all(fd, bytes, header.state_bytes) < 0) {
		error_set(error, EINVAL, "it ends too early");
	} else if (checksum(CHECKSUM_START, bytes, header.state_bytes) != header.state_checksum) {
		error_set(error, EINVAL, "it is damaged: the checksum of its state is wrong");
	} else {
		*size = header.state_bytes;
		return bytes;
	}
	free(bytes);
	return NULL;
}

int snapshot_load(const struct snapshot_parts *parts, int fd, struct error *error)
{
	struct state_stream state;
	size_t size;
	void *bytes = read_state(fd, &size, error);
	int result = bytes ? read_ram(fd, parts->ram, error) : -EINVAL;

	if (result == 0) {
		state_load_begin(&state, bytes, size);
		load_state(parts, &state);
		result = state_loaded(&state, error);
	}
	if (result < 0)
		error_prefix(error, "cannot load the saved machine");
	free(bytes);
	return result;
}
