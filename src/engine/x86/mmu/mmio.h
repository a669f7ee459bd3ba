/*
 * Accesses that are not memory: devices in the engine, or an exit to user space and a restart.
 *
 * An instruction's MMIO and port accesses are its fragments, of at most 8 bytes and within one page
 * (as Linux splits them). A fragment that no device of the engine takes fills cpu->run and unwinds
 * out of cpu_run. At the next cpu_run the instruction executes again from its start and meets its
 * completed fragments in the same order: reads return what was answered, writes are not repeated.
 *
 * What the others do for this:
 * - cpu_run calls io_resume first, and while cpu->io.done is not 0 it delivers no event and obeys
 *   no exit request before one instruction has been executed (api.rst: KVM_RUN with immediate_exit
 *   completes the pending operation).
 * - A fragment that a device of the engine took sets CPU_REQUEST_STOP_BLOCK. Whoever sees that request
 *   after a completed instruction calls io_reset; so instructions without fragments pay nothing.
 *   Whoever calls it after each instruction anyway says so (is_reset_after).
 * - IN and OUT call io_reset themselves, string instructions do after each iteration (its registers
 *   are committed).
 * - After an exception has unwound, cpu_run calls io_reset; not after cpu_exit_to_user.
 */
#ifndef KVIK_ENGINE_X86_MMU_MMIO_H
#define KVIK_ENGINE_X86_MMU_MMIO_H

#include "engine/x86/cpu.h"

/* 1..8 bytes at gpa, within one page; zero-extended. May unwind to user space. */
uint64_t mmio_read(struct cpu *cpu, uint64_t gpa, unsigned size);
void mmio_write(struct cpu *cpu, uint64_t gpa, uint64_t value, unsigned size);

/* Any number of bytes within one page, in fragments of 8. */
void mmio_read_bytes(struct cpu *cpu, uint64_t gpa, uint8_t *buffer, unsigned size);
void mmio_write_bytes(struct cpu *cpu, uint64_t gpa, const uint8_t *buffer, unsigned size);

/* One port access of 1, 2 or 4 bytes; permission has been checked. May unwind to user space. */
uint32_t pio_read(struct cpu *cpu, uint16_t port, unsigned size);
void pio_write(struct cpu *cpu, uint16_t port, uint32_t value, unsigned size);

/*
 * The access that is all of an IN or OUT. False: user space must answer, and the handler returns at
 * once (cpu->is_leaving); or it unwinds, as the others do. Calls io_reset.
 */
bool pio_plain_access(struct cpu *cpu, uint16_t port, uint32_t *value, unsigned size, bool is_write);

/*
 * RDMSR and WRMSR that the guest may not execute, and user space answers. Each begins with
 * msr_take_answer: true when the answer is there, *value for RDMSR, or #GP if that is what it is.
 * msr_ask_user unwinds to user space; `reason` is one of KVM_MSR_EXIT_REASON_*.
 */
bool msr_take_answer(struct cpu *cpu, uint32_t index, uint64_t *value, bool is_write);
_Noreturn void msr_ask_user(struct cpu *cpu, uint32_t index, uint64_t value, bool is_write,
			    uint32_t reason);

/* Entry of cpu_run: take user space's answer out of cpu->run, rewind to the first fragment. */
void io_resume(struct cpu *cpu);

/* The instruction (or string iteration) is complete, or was abandoned: forget its fragments. */
static inline void io_reset(struct cpu *cpu)
{
	cpu->io.done = 0;
	cpu->io.cursor = 0;
}

#endif
