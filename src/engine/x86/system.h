/*
 * Segmentation, protection and system state: what the files of the CPU's system level share, and
 * what other instruction files need of them.
 *
 * The rule of exception.h shapes every function here: checks and loads first, into local copies;
 * the CPU's state changes after the last thing that can raise.
 */
#ifndef KVIK_ENGINE_X86_SYSTEM_H
#define KVIK_ENGINE_X86_SYSTEM_H

#include "engine/x86/cpu.h"
#include "engine/x86/exception.h"
#include "engine/x86/decode/insn.h"
#include "util/x86_registers.h"

/*
 * Set the RFLAGS bits in `mask` to those of `value`, with every consequence: TLB set (AC), mode
 * (VM), and the end of the block where TF is set or an interrupt waits for IF. For POPF and its like.
 */
void cpu_write_rflags(struct cpu *cpu, uint64_t value, uint64_t mask);

/* Interrupts stay off until the instruction after the next one (STI, MOV SS, POP SS). */
static inline void cpu_set_interrupt_shadow(struct cpu *cpu, uint8_t shadow)
{
	cpu->interrupt_shadow = shadow;
	cpu->shadow_rip = cpu->next_rip;
}

/* -- segment.c -- */

/* Whether an access of `size` bytes at offset is within limit, type and rights of the segment. */
bool segment_allows(const struct kvm_segment *segment, uint64_t offset, unsigned size,
		    bool is_write);
/* The descriptor that selector names: false when the selector is null or beyond its table. */
bool descriptor_read(struct cpu *cpu, uint16_t selector, uint64_t *descriptor);
/* Bytes 8..15 of a 16-byte system descriptor (IA-32e mode). Raises #GP(selector) beyond the table. */
uint64_t descriptor_read_high(struct cpu *cpu, uint16_t selector);
void descriptor_unpack(struct kvm_segment *segment, uint16_t selector, uint64_t descriptor);
void descriptor_set_accessed(struct cpu *cpu, uint16_t selector, uint64_t descriptor);
void descriptor_set_busy(struct cpu *cpu, uint16_t selector, bool busy);

/* What real and virtual-8086 mode make of a selector: base = 16 * selector. */
void segment_load_real(struct kvm_segment *segment, uint16_t selector);
void segment_load_vm86(struct kvm_segment *segment, uint16_t selector);
void segment_make_null(struct kvm_segment *segment, uint16_t selector);
/*
 * The segment that `selector` would give a data segment register or SS at privilege `cpl`, after all
 * checks; accessed bit set. Faults: `vector` (#GP or #TS), #NP, #SS with the selector and `external`
 * (bit 0 of the error code).
 */
void segment_resolve_data(struct cpu *cpu, uint16_t selector, unsigned cpl, enum exception vector,
			  uint32_t external, struct kvm_segment *segment);
void segment_resolve_stack(struct cpu *cpu, uint16_t selector, unsigned cpl, enum exception vector,
			   uint32_t external, struct kvm_segment *segment);
/* Load a segment register other than CS, in any mode, as MOV and POP do. */
void segment_load(struct cpu *cpu, enum cpu_segment segment, uint16_t selector);

static inline bool segment_is_null(uint16_t selector)
{
	return (selector & 0xfffc) == 0;
}

/* -- debug.c -- */

/* Whether something has to be looked at before and after the instruction at RIP. */
bool debug_is_stepping(const struct cpu *cpu);
/* DR0 to DR3, DR7, RFLAGS.TF or guest debugging changed. */
void debug_update(struct cpu *cpu);
/* Around an instruction that is watched: raise what its breakpoints and TF ask for. */
void debug_before(struct cpu *cpu);
void debug_after(struct cpu *cpu);
/* Behind an instruction that nobody watched: raise what its accesses met, if they met anything. */
void debug_trap(struct cpu *cpu);
/* KVM_EXIT_DEBUG for `exception` at the current instruction. */
_Noreturn void debug_exit(struct cpu *cpu, enum exception exception, uint64_t dr6);
/* Raise #DB with these DR6 bits; BS, BT, BD and B0-B3 are merged, or go to user space's debugger. */
_Noreturn void debug_raise(struct cpu *cpu, uint64_t dr6);

/* -- cpu state -- */

static inline bool cpu_is_long(const struct cpu *cpu)
{
	return cpu->mode & CPU_MODE_LONG;
}

static inline bool cpu_is_64(const struct cpu *cpu)
{
	return (cpu->mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64;
}

/* An instruction pointer outside 64-bit mode has 32 bits. */
static inline uint64_t cpu_wrap_rip(const struct cpu *cpu, uint64_t rip)
{
	return cpu_is_64(cpu) ? rip : (uint32_t)rip;
}

static inline unsigned cpu_iopl(const struct cpu *cpu)
{
	return (cpu->rflags >> 12) & 3;
}

/* 48-bit linear addresses: bits 63..47 all equal. */
static inline bool cpu_is_canonical(uint64_t gva)
{
	return (uint64_t)((int64_t)(gva << 16) >> 16) == gva;
}

/* The linear address of the current instruction. */
static inline uint64_t cpu_linear_rip(const struct cpu *cpu)
{
	if (cpu_is_64(cpu))
		return cpu->rip;
	return (uint32_t)(cpu->segment[CPU_CS].base + cpu->rip);
}

#endif
