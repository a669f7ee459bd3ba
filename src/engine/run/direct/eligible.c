/*
 * Whether what user code can see of the CPU is what it would see of the host's, in a stub: else it is another
 * tier's.
 *
 * 64-bit code has Linux's selectors, and 32-bit code flat segments with the selectors that Linux gives them. FS and
 * GS of 32-bit code may begin anywhere, as thread's storage does: a stub has them with another selector, which only
 * instructions tell that are not run directly (scan.h).
 */
#include "engine/run/direct/internal.h"
#include "engine/x86/host/host.h"
#include "engine/x86/system.h"

static bool is_user_or_null(uint16_t selector)
{
	return selector == 0 || selector == DIRECT_USER_DS;
}

/* Null, or all of 4 GiB from some base on. */
static bool is_wide(const struct kvm_segment *segment)
{
	return segment->unusable || (segment->present && segment->s && (segment->type & 0xe) == 2 &&
				     segment->limit == 0xffffffff && segment->dpl == 3);
}

/* Where the host has no FSGSBASE it is arch_prctl(2)'s, which takes users' addresses. */
static bool is_base(uint64_t base)
{
	return host.has_fsgsbase ? cpu_is_canonical(base) : base < DIRECT_SPACE_END;
}

static bool segments_are_plain_64(const struct cpu *cpu)
{
	const struct kvm_segment *segment = cpu->segment;

	return segment[CPU_CS].selector == DIRECT_USER_CS && segment[CPU_SS].selector == DIRECT_USER_DS &&
	       is_user_or_null(segment[CPU_DS].selector) && is_user_or_null(segment[CPU_ES].selector) &&
	       is_user_or_null(segment[CPU_FS].selector) && is_user_or_null(segment[CPU_GS].selector) &&
	       is_base(segment[CPU_FS].base) && is_base(segment[CPU_GS].base);
}

static bool segments_are_plain_32(const struct cpu *cpu)
{
	const struct kvm_segment *segment = cpu->segment;

	return (cpu->mode & CPU_MODE_FLAT) && (cpu->mode & CPU_MODE_STACK32) &&
	       segment[CPU_CS].selector == DIRECT_USER32_CS && !(segment[CPU_CS].type & 4) &&
	       segment[CPU_SS].selector == DIRECT_USER_DS && segment[CPU_DS].selector == DIRECT_USER_DS &&
	       segment[CPU_ES].selector == DIRECT_USER_DS && is_wide(&segment[CPU_FS]) && is_wide(&segment[CPU_GS]) &&
	       is_base(segment[CPU_FS].base) && is_base(segment[CPU_GS].base);
}

enum direct_obstacle direct_obstacle(const struct cpu *cpu)
{
	/* NT: not every host's kernel returns with it. */
	const uint64_t odd_flags = RFLAGS_TF | RFLAGS_VM | RFLAGS_AC | RFLAGS_IOPL | RFLAGS_NT;
	const uint64_t needed = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	unsigned code = cpu->mode & CPU_MODE_CODE_MASK;

	if (code != CPU_MODE_CODE64 &&
	    (code != CPU_MODE_CODE32 || !(cpu->mode & CPU_MODE_LONG) || !host.has_code32))
		return OBSTACLE_WIDTH;
	if (code == CPU_MODE_CODE64 ? !segments_are_plain_64(cpu) : !segments_are_plain_32(cpu))
		return OBSTACLE_SEGMENTS;
	if ((cpu->rflags & (odd_flags | RFLAGS_IF)) != RFLAGS_IF ||
	    (cpu->interrupt_shadow && cpu->shadow_rip == cpu->rip))
		return OBSTACLE_FLAGS;
	if (cpu->guest_debug || cpu->watch || (cpu->dr7 & 0xff) || cpu->data_breakpoints)
		return OBSTACLE_DEBUGGER;
	/* CR4.FSGSBASE is not among them: kernels that leave it 0 are many, and what it allows is sensitive then. */
	if ((cpu->cr0 & (CR0_TS | CR0_EM)) || (cpu->cr4 & (CR4_TSD | needed)) != needed ||
	    cpu->xcr0 != fpu_layout.components)
		return OBSTACLE_CONTROL;
	return cpu->rip < DIRECT_SPACE_END ? OBSTACLE_NONE : OBSTACLE_PLACE;
}
