/*
 * Control transfers that may change privilege: the parts that interrupts, far calls, far returns,
 * IRET and task switches have in common (Intel SDM vol. 3 §5.8, §6.12).
 *
 * A `struct stack_frame` is a stack that is being pushed to or popped from while the CPU still runs on its
 * own; `frame_commit` makes it the CPU's stack once nothing can raise any more.
 */
#ifndef KVIK_ENGINE_X86_SYSTEM_TRANSFER_H
#define KVIK_ENGINE_X86_SYSTEM_TRANSFER_H

#include "engine/x86/system.h"

struct stack_frame {
	struct cpu *cpu;
	struct kvm_segment ss;
	uint64_t sp;
	uint32_t error; /* error code of the #SS that a push or pop beyond the stack raises */
	uint8_t cpl;    /* of the code that the stack is for */
	bool is_64;     /* in 64-bit mode: no segmentation */
};

/* The CPU's present stack. */
void frame_current(struct stack_frame *frame, struct cpu *cpu);
void frame_push(struct stack_frame *frame, uint64_t value, unsigned size);
uint64_t frame_pop(struct stack_frame *frame, unsigned size);
/* Skip bytes, as RET n and IRET's outer return do. */
void frame_add(struct stack_frame *frame, uint64_t bytes);
void frame_commit(const struct stack_frame *frame);
/*
 * The stack that the TSS holds for privilege `cpl`, with its SS checked. In IA-32e mode SS becomes
 * null and `ist` (1..7, 0 for none) chooses an interrupt stack.
 */
void frame_from_tss(struct stack_frame *frame, struct cpu *cpu, unsigned cpl, unsigned ist,
		    uint32_t external);

/*
 * The code segment of a same-privilege or conforming far transfer, checked as JMP and CALL do
 * (SDM vol. 3 §5.8.1). *descriptor is its descriptor.
 */
void transfer_resolve_code(struct cpu *cpu, uint16_t selector, uint64_t descriptor,
			   struct kvm_segment *cs);
/* Raise #GP(0) unless offset may be the instruction pointer in `cs`. */
void transfer_check_offset(struct cpu *cpu, const struct kvm_segment *cs, uint64_t offset,
			   uint32_t error);
/* Commit CS and the instruction pointer; the mode follows. */
void transfer_commit(struct cpu *cpu, const struct kvm_segment *cs, uint64_t offset);
/*
 * The code segment that a far RET or IRET returns to (SDM vol. 2, RET): its RPL is the new privilege.
 */
void transfer_resolve_return(struct cpu *cpu, uint16_t selector, struct kvm_segment *cs);
/* The stack that such a return pops when it leaves for an outer level, or from 64-bit mode. */
void transfer_return_stack(struct cpu *cpu, struct stack_frame *frame, const struct kvm_segment *cs,
			   uint16_t selector, uint64_t sp);
/* After a return to an outer level: data segments that it may not use become null. */
void transfer_drop_segments(struct cpu *cpu);

/* -- interrupt.c -- */

enum interrupt_source {
	INTERRUPT_EXCEPTION, /* a fault, trap or abort of the CPU's own */
	INTERRUPT_EXTERNAL,  /* INTR or NMI */
	INTERRUPT_SOFTWARE,  /* INT n, INT3, INTO: DPL checked, EXT = 0 */
	INTERRUPT_ICEBP,     /* INT1: as an exception, no DPL check */
};

/*
 * Deliver through the IDT or IVT: pushes `return_rip` and makes the handler next_rip. Raises what
 * goes wrong on the way; the caller decides what that makes of the first event.
 */
void interrupt_deliver(struct cpu *cpu, uint8_t vector, enum interrupt_source source,
		       bool has_error_code, uint32_t error_code, uint64_t return_rip);

/* -- task.c -- */

enum task_reason { TASK_JUMP, TASK_CALL, TASK_INTERRUPT, TASK_IRET };

/*
 * Switch to the task whose TSS descriptor `selector` names (SDM vol. 3 §7.3). The old task's TSS gets
 * `return_rip`. `error_code`, when has_error_code, is pushed on the new task's stack.
 */
void task_switch(struct cpu *cpu, uint16_t selector, enum task_reason reason, uint64_t return_rip,
		 bool has_error_code, uint32_t error_code, uint32_t external);

#endif
