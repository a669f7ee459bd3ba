/* The segments that SYSCALL, SYSRET, SYSENTER and SYSEXIT load without looking at a table (SDM vol. 3 §5.8.7, §5.8.8). */
#ifndef KVIK_ENGINE_X86_SYSTEM_SYSTEM_CALL_H
#define KVIK_ENGINE_X86_SYSTEM_SYSTEM_CALL_H

#include "engine/x86/cpu.h"

/* CS and SS, which are neighbours in cpu->segment, too. */
struct system_call_segments {
	struct kvm_segment code, stack;
};

_Static_assert(CPU_SS == CPU_CS + 1, "CS and SS are copied together");

/* Flat ones: SS is the descriptor behind the code's. */
struct system_call_segments system_call_flat(uint16_t code_selector, unsigned cpl, bool is_64);
/* What SYSCALL makes of IA32_STAR in 64-bit mode and compatibility mode, and SYSRET of it there. */
struct system_call_segments system_call_entered(const struct cpu *cpu);
struct system_call_segments system_call_returned(const struct cpu *cpu, bool to_64);

#endif
