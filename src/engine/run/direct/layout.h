/*
 * What a stub and its monitor agree on: what is in the stub's own pages. Where they are in its address space is drawn
 * for each, so that a program that maps memory at an address of its choice does not meet them (run.c).
 *
 * The stub's file has STUB_PAGE_BYTES. Its first page is code, the monitor's, which the stub can read and
 * execute. The rest is data that both can write: what they tell each other, and behind it the stack on
 * which signals put the state that guest code was stopped in. All of the stub's data is at the guest's
 * mercy whenever guest code runs; the monitor writes what matters anew before each entry, and believes
 * nothing that it reads.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_LAYOUT_H
#define KVIK_ENGINE_RUN_DIRECT_LAYOUT_H

#include <stdint.h>
#include <sys/syscall.h>

#include "util/stub.h"

#define DIRECT_SPACE_END 0x7ffffffff000ull /* of user addresses, with four levels of page tables */

/* The stub's pages begin at a multiple of this. */
#define DIRECT_PLACE_ALIGN ((uint64_t)2 << 20)
/* ... where none is drawn (KVIK_HOST_WITHOUT=stub-places). */
#define DIRECT_PLACE 0x6aaa00000000ull

#define DIRECT_CONTROL 0x1000 /* offset of struct direct_control */
#define DIRECT_STACK   0x9000 /* ... of the stack for signals, up to the end */

#define DIRECT_COMMANDS 500
/* ... of which the last are for the bases of FS and GS, where the host has no FSGSBASE. */
#define DIRECT_COMMANDS_BASES 2

/* One system call that the stub makes for its monitor: of mapping or unmapping, or of a base. */
struct direct_command {
	uint64_t number, arguments[6];
	uint64_t unused;
};

/* Offsets are known to entry.S's code in stub_code.c. */
struct direct_control {
	uint64_t count;            /* of commands; the stub sets it to 0 */
	uint64_t fs_base, gs_base; /* of guest code, both ways, where the host has FSGSBASE */
	uint64_t context, info;    /* where the kernel put ucontext_t and siginfo_t, at the last signal */
	uint64_t frame;            /* the ucontext_t to go on with */
	uint64_t failure;          /* what a command has failed with (negative errno) */
	uint64_t flags;            /* RFLAGS to return to guest code with, where the frame's are not taken */
	uint64_t pass;             /* what the return asks for; the stub sets it to 0 */
	uint16_t selectors[4];     /* DS, ES, FS, GS at the last signal */
	uint16_t wanted[4];        /* ... to be loaded, if `loads` is not 0 */
	uint64_t loads;
	uint64_t unused[4];
	struct direct_command commands[DIRECT_COMMANDS];
};

_Static_assert(sizeof(struct direct_control) <= DIRECT_STACK - DIRECT_CONTROL, "it has eight pages");

/* The system call by which a stub stops; nobody answers but the monitor. */
#define DIRECT_STOP_CALL SYS_getppid

/* What the monitor's half of commands' fourth and fifth arguments must hold in their upper halves, which
 * the kernel ignores (a mapping's flags and descriptor), and rt_sigreturn's first argument, which it ignores as
 * well, for the stub's filter to let them pass. Only the monitor knows it. */
struct direct_secret {
	uint32_t flags, fd;
	uint64_t pass;
};

/* The monitor's first message, with the descriptors of guest memory, of copies of code, and of the stub's file. */
#define DIRECT_HELLO_FDS 3
struct direct_hello {
	uint64_t place;
	struct direct_secret secret;
};

/* ... and what it answers, with its listener. */
struct direct_greeting {
	uint8_t memory, copies; /* the numbers that these descriptors have there */
	uint8_t cpuid_faults;   /* CPUID raises SIGSEGV */
};

/* The stub's code as it stands in its first page, and offsets in it: behind the syscall instructions
 * that its filter lets pass, and where signals go. */
extern const uint8_t direct_code[], direct_code_handler[], direct_code_stop[], direct_code_map[],
	direct_code_leave[], direct_code_return[], direct_code_end[];
/* From where to where it reads the bases of FS and GS, and writes them. */
extern const uint8_t direct_code_bases_out[], direct_code_bases_seen[], direct_code_bases_in[], direct_code_bases_set[];

#define DIRECT_CODE_OFFSET(label) ((uint32_t)((label) - direct_code))

#endif
