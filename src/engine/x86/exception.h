/*
 * Exceptions of the guest's CPU (Intel SDM vol. 3 §6).
 *
 * Instruction handlers call what they need and never look at an error: a guest exception, or an
 * access that user space must answer, unwinds to whoever executes the instruction (cpu->catcher).
 * Hence the rule for every handler: no architectural state changes before the last thing that can
 * raise. An instruction that unwinds is executed again from its start, or not at all.
 */
#ifndef KVIK_ENGINE_X86_EXCEPTION_H
#define KVIK_ENGINE_X86_EXCEPTION_H

#include <stdint.h>

struct cpu;

enum exception {
	EXCEPTION_DE = 0, EXCEPTION_DB = 1, EXCEPTION_NMI = 2, EXCEPTION_BP = 3, EXCEPTION_OF = 4,
	EXCEPTION_BR = 5, EXCEPTION_UD = 6, EXCEPTION_NM = 7, EXCEPTION_DF = 8, EXCEPTION_TS = 10,
	EXCEPTION_NP = 11, EXCEPTION_SS = 12, EXCEPTION_GP = 13, EXCEPTION_PF = 14,
	EXCEPTION_MF = 16, EXCEPTION_AC = 17, EXCEPTION_MC = 18, EXCEPTION_XM = 19,
};

/* #PF error code bits (SDM vol. 3 §4.7). */
enum page_fault_error {
	PAGE_FAULT_PRESENT = 1 << 0, PAGE_FAULT_WRITE = 1 << 1, PAGE_FAULT_USER = 1 << 2,
	PAGE_FAULT_RESERVED = 1 << 3, PAGE_FAULT_FETCH = 1 << 4,
};

/* Why an instruction, or the delivery of an event, ended before its time. */
enum unwind {
	UNWIND_EVENT = 1, /* cpu->exception is to be delivered */
	UNWIND_EXIT,      /* cpu->run is filled for user space */
	UNWIND_SHUTDOWN,  /* triple fault */
};

/*
 * Where unwinding leads. Whoever executes instructions has put one into cpu->catcher before; `caught`
 * leaves everything that was called from there, and does not return.
 */
struct cpu_catcher {
	void (*caught)(struct cpu_catcher *catcher, enum unwind why) __attribute__((noreturn));
};

/* Ends the CPU's exclusive section, if it is in one. */
_Noreturn void cpu_unwind(struct cpu *cpu, enum unwind why);

/* Classes of SDM vol. 3 table 6-5; EVENT_NONE: nothing is being delivered (cpu->delivering). */
enum event_class {
	EVENT_NONE, EVENT_BENIGN, EVENT_CONTRIBUTORY, EVENT_PAGE_FAULT, EVENT_DOUBLE_FAULT,
};

enum event_class exception_class(uint8_t vector);

/* Raise a fault of the current instruction that has no error code (#UD, #DE, #NM, ...). */
_Noreturn void cpu_raise(struct cpu *cpu, enum exception vector);
/* Raise a fault with an error code (#GP, #SS, #NP, #TS, #AC). */
_Noreturn void cpu_raise_error(struct cpu *cpu, enum exception vector, uint32_t error_code);
/* Raise #PF: CR2 becomes gva when it is delivered. */
_Noreturn void cpu_raise_page_fault(struct cpu *cpu, uint64_t gva, uint32_t error_code);
/* Leave cpu_run with cpu->run already filled; the instruction runs again at the next cpu_run. */
_Noreturn void cpu_exit_to_user(struct cpu *cpu);

#endif
