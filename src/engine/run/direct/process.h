/*
 * A stub from the monitor's side: to make one, to let it run, to wait until it has stopped.
 *
 * It stops by a system call that waits for the monitor's answer (seccomp_unotify(2)), so that nothing of
 * the guest's runs in it from one process_wait to the next process_resume: the kernel says so, whatever
 * the stub's memory holds. Mappings that are asked for in between are made when it goes on, first.
 *
 * All on the vCPU's thread, but for process_kick, with vector registers free.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_PROCESS_H
#define KVIK_ENGINE_RUN_DIRECT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/run/direct/direct.h"
#include "engine/run/direct/layout.h"

/* The kernel's struct ucontext, which a stub's frame begins with (asm/ucontext.h, asm/sigcontext.h; not
 * to be had beside the C library's). */
struct direct_frame {
	uint64_t flags, link, stack[3];
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t error, trap, old_mask, cr2, fpstate, reserved[8];
	uint64_t mask;
};

#define FRAME_FP_MAX 16384 /* bytes of XSAVE's image in a frame: enough for AMX */

struct direct_process {
	struct stub stub;
	uint8_t *page; /* NULL: there is no process */
	int listener;
	int memory, copies; /* the descriptors of guest memory and of copies of code, as the stub has them */
	bool cpuid_faults; /* there */
	struct direct_secret secret;
	uint64_t place; /* where its own pages begin */
	uint64_t notification; /* that waits for an answer */
	/* Where in the page the first signal's frame was, and all later ones are. */
	uint32_t context, info, image, image_size;
	struct direct_frame first; /* that frame */
	uint8_t first_software[48]; /* what the kernel leaves in its XSAVE image */
	uint32_t magic;             /* behind the image */
	unsigned count;             /* of commands so far */
	uint16_t selectors[4];      /* DS, ES, FS, GS that it was entered with last */
	uint64_t bases[2];          /* of FS and GS, where commands set them (process_set_bases) */
};

/* Find out about the kernel, while everything may be called. */
void process_prepare(void);

/* Have CPUID fault on this thread, as it does in stubs: the host's kernel would write an MSR at each switch
 * between the two, which costs microseconds where the host is itself a virtual machine. Once a thread. */
void process_adopt_thread(void);

/* A new one, stopped, with nothing in its address space but its own pages, from `place` on (a multiple of
 * DIRECT_PLACE_ALIGN). It can map what is in `memory`, and in `copies`, which no later mapping may write to
 * (F_SEAL_FUTURE_WRITE). 0 or -errno. */
int process_create(struct direct_process *process, const struct stub_source *stubs, int memory, int copies,
		   uint64_t place);
void process_destroy(struct direct_process *process, const struct stub_source *stubs);

static inline bool process_exists(const struct direct_process *process)
{
	return process->page != NULL;
}

static inline struct direct_control *process_control(const struct direct_process *process)
{
	return (struct direct_control *)(process->page + DIRECT_CONTROL);
}

static inline struct direct_frame *process_frame(const struct direct_process *process)
{
	return (struct direct_frame *)(process->page + process->context);
}

/* Whether its own pages hold any of [gva, gva + size). */
static inline bool process_is_place(const struct direct_process *process, uint64_t gva, uint64_t size)
{
	return gva < process->place + STUB_PAGE_BYTES && process->place < gva + size;
}

/* Whether so many commands more will do. */
static inline bool process_has_room(const struct direct_process *process, unsigned count)
{
	return process->count + count <= DIRECT_COMMANDS - DIRECT_COMMANDS_BASES;
}

/* Commands, in this order, for the next process_resume. Whole pages, outside the stub's own place. */
void process_map(struct direct_process *process, uint64_t gva, uint64_t size, uint64_t offset, int rights);
/* Pages of the copies, to be read and executed. */
void process_map_copy(struct direct_process *process, uint64_t gva, uint64_t size, uint64_t offset);
void process_unmap(struct direct_process *process, uint64_t gva, uint64_t size);
void process_unmap_all(struct direct_process *process);

/* Bases of FS and GS that eligible.c lets pass, for the next process_resume, which has room for the commands they may
 * take. `are_lost`: selectors are loaded with it, or were loaded by the guest. */
void process_set_bases(struct direct_process *process, uint64_t fs, uint64_t gs, bool are_lost);

/* Overwrite all that guest code has left in the stub's own pages. Stopped. */
void process_wipe(struct direct_process *process);

/* Let it go on with the frame that process_frame has. 0 or -errno: it has ended. */
int process_resume(struct direct_process *process);
/* 0: it has stopped. -EINTR: a signal came. Another -errno: it has ended, or done what no stub does. */
int process_wait(struct direct_process *process);
/* Have it stop soon. Any thread. */
void process_kick(const struct direct_process *process);

#endif
