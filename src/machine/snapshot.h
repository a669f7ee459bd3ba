/*
 * A machine in a file: all of its state, from which a machine made with the same options goes on, in
 * another process, on another backend or host that has what the guest relies on.
 *
 * The file: SNAPSHOT_MAGIC; the format's version (32 bits); the length of the state (64 bits) and its
 * checksum (64 bits); the state, a stream of sections (util/state.h): the machine's shape, clock, each
 * CPU, the interrupt controllers, each device; then RAM (saved_ram.h). What follows is of no meaning.
 *
 * SNAPSHOT_VERSION_LIVE is of a machine that runs while it is sent: the same header, without a state; RAM, whose
 * pages may come more than once; again a header, and the state. Little-endian.
 */
#ifndef KVIK_MACHINE_SNAPSHOT_H
#define KVIK_MACHINE_SNAPSHOT_H

#include "kvm/kvm.h"
#include "machine/board.h"
#include "machine/interrupts.h"
#include "machine/ram.h"
#include "machine/saved_ram.h"
#include "machine/vcpu.h"
#include "util/state.h"

#define SNAPSHOT_MAGIC	 "kvik machine\n\x1a\r\n" /* 16 bytes with its end */
#define SNAPSHOT_MAGIC_BYTES 16
#define SNAPSHOT_VERSION 1
#define SNAPSHOT_VERSION_LIVE 2

/* The parts of a machine whose vCPUs are parked. */
struct snapshot_parts {
	const struct kvm_vm *vm;
	struct machine_vcpu *vcpus;
	unsigned cpus;
	struct ram *ram;
	struct board *board;
	enum board_kind board_kind;
	enum interrupts_kind irqchip_kind;
	struct interrupts *interrupts;
	uint32_t *pauses; /* what of MACHINE_PAUSES_SENT (inspect.h) goes with it; loading sets it. NULL: nothing */
};

/* Write the file `fd` anew, from its start. Its magic is written last: one that isn't complete is none. Or write to
 * a pipe or a socket. 0 or -errno. */
int snapshot_save(const struct snapshot_parts *parts, int fd, struct error *error);

/* The same to anywhere. */
int snapshot_save_to(const struct snapshot_parts *parts, const struct saved_stream *stream, struct error *error);

/*
 * Bring a machine that was just reset into the saved state. What the file has is checked: a file that
 * is damaged, or of a machine that this one cannot be, is refused with what is wrong. Then the machine
 * must not be run. 0 or -errno.
 */
int snapshot_load(const struct snapshot_parts *parts, int fd, struct error *error);
int snapshot_load_from(const struct snapshot_parts *parts, const struct saved_stream *stream, struct error *error);

/*
 * The same in two steps: read it, with RAM in its place, on any thread while the vCPUs are parked; then have the
 * machine take over the rest. 0, or -errno and `error`.
 */
struct saved_machine {
	uint8_t *state; /* owned */
	size_t state_bytes;
};
int snapshot_read(const struct saved_stream *stream, struct ram *ram, struct saved_machine *machine,
		  struct error *error);
int snapshot_take_over(const struct snapshot_parts *parts, const struct saved_machine *machine, struct error *error);
void saved_machine_free(struct saved_machine *machine);

/*
 * A machine that runs: what comes before its RAM (live_ram, saved_ram.h) and, with the state that it has once it
 * stands still (state_end frees it), what comes after. 0 or -errno.
 */
int snapshot_begin_live(const struct saved_stream *stream);
int snapshot_state(const struct snapshot_parts *parts, struct state_stream *state, struct error *error);
int snapshot_end_live(const struct saved_stream *stream, const struct state_stream *state);

#endif
