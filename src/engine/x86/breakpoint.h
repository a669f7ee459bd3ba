/*
 * Which accesses meet a breakpoint: what DR0 to DR3 and DR7 hold (Intel SDM vol. 3 §17.2), the guest's own,
 * or user space's in their stead (KVM_GUESTDBG_USE_HW_BP). What a hit leads to is the matter of
 * system/debug.c; those who access memory, ports and code only ask here.
 *
 * All on the CPU's own thread, or while it is known to be outside cpu_run.
 */
#ifndef KVIK_ENGINE_X86_BREAKPOINT_H
#define KVIK_ENGINE_X86_BREAKPOINT_H

#include "engine/x86/cpu.h"

/* The DR7 that counts: the guest's, or user space's. */
uint64_t breakpoint_dr7(const struct cpu *cpu);
/* Take over what is armed now into cpu->code_breakpoints and its like; whether it is other than before. */
bool breakpoint_arm(struct cpu *cpu);
/* Code breakpoints (cpu->code_breakpoints): the DR6 bits of those in [gva, gva + size). */
uint64_t breakpoint_code_hits(const struct cpu *cpu, uint64_t gva, unsigned size);
/* Data breakpoints (cpu->data_breakpoints): whether a TLB entry for gva's page must not exist ... */
bool breakpoint_watches_page(const struct cpu *cpu, uint64_t gva);
/* ... and the check that each access of `size` bytes to such a page makes on its slow path. A hit is
 * noted in cpu->debug_pending, and ends the execution behind the instruction. */
void breakpoint_check_access(struct cpu *cpu, uint64_t gva, unsigned size, bool is_write);
/* Likewise of an access to `size` ports (CR4.DE); who executes looks at debug_pending behind each. */
void breakpoint_check_io(struct cpu *cpu, uint16_t port, unsigned size);

#endif
