/*
 * A machine in a file: all of its state, from which a machine made with the same options goes on, in
 * another process, on another backend or host that has what the guest relies on.
 *
 * The file: SNAPSHOT_MAGIC; the format's version (32 bits); the length of the state (64 bits) and its
 * checksum (64 bits); the state, a stream of sections (util/state.h): the machine's shape, clock, each
 * CPU, the interrupt controllers, each device; then RAM, as runs of pages that have been touched: a
 * guest-physical address and a length (64 bits each) and the bytes; a run of length 0 ends it, with the
 * checksum of all bytes of the runs in place of the address. What follows is of no meaning.
 * Little-endian.
 */
#ifndef KVIK_MACHINE_SNAPSHOT_H
#define KVIK_MACHINE_SNAPSHOT_H

#include "kvm/kvm.h"
#include "machine/board.h"
#include "machine/interrupts.h"
#include "machine/ram.h"
#include "machine/vcpu.h"

#define SNAPSHOT_MAGIC	 "kvik machine\n\x1a\r\n" /* 16 bytes with its end */
#define SNAPSHOT_VERSION 1

/* The parts of a machine whose vCPUs are parked. */
struct snapshot_parts {
	const struct kvm_vm *vm;
	struct vcpu *vcpus;
	unsigned cpus;
	struct ram *ram;
	struct board *board;
	enum board_kind board_kind;
	enum irqchip_kind irqchip_kind;
	struct interrupts *interrupts;
};

/* Write the file `fd` anew, from its start. Its magic is written last: one that isn't complete is none. Or write to
 * a pipe or a socket. 0 or -errno. */
int snapshot_save(const struct snapshot_parts *parts, int fd, struct error *error);

/*
 * Bring a machine that was just reset into the saved state. What the file has is checked: a file that
 * is damaged, or of a machine that this one cannot be, is refused with what is wrong. Then the machine
 * must not be run. 0 or -errno.
 */
int snapshot_load(const struct snapshot_parts *parts, int fd, struct error *error);

#endif
