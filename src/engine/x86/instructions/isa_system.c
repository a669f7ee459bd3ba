/*
 * System instructions: fast system calls, interrupt flag, hints about caches, time, FS and GS bases,
 * CPUID, and what is undefined here (Intel SDM vol. 2; AMD APM vol. 3 where the vendors differ).
 *
 * SYSCALL and SYSENTER differ between vendors; the guest's CPUID vendor decides (cpu->is_amd).
 */
#include <errno.h>

#include "engine/x86/decode/isa_set.h"
#include "engine/x86/system/cpuid.h"
#include "engine/x86/features.h"
#include "engine/x86/platform.h"
#include "engine/x86/instructions/isa_control.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/mmio.h"
#include "engine/x86/system/msr.h"
#include "engine/x86/privilege.h"
#include "engine/x86/system/system_call.h"
#include "engine/x86/system/transfer.h"

#define MISC_FEATURES_CPUID_FAULT 1

static void execute_undefined(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu_raise(cpu, EXCEPTION_UD);
}

/* Code that changes is found by the stores to it, so that nothing is left but the order of memory accesses. */
static void execute_serialize(struct cpu *cpu, const struct insn *insn)
{
	(void)cpu;
	(void)insn;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void execute_privileged_nothing(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	require_cpl0(cpu);
}

/* -- SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM vol. 3 §5.8.7, §5.8.8) -- */

static void load_segments(struct cpu *cpu, struct system_call_segments segments)
{
	cpu->segment[CPU_CS] = segments.code;
	cpu->segment[CPU_SS] = segments.stack;
	cpu_update_mode(cpu);
}

static void execute_syscall(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (!(cpu->efer & EFER_SCE) || !(cpu->cr0 & CR0_PE) || (cpu->mode & CPU_MODE_VM86) ||
	    (!cpu_is_64(cpu) && !cpu->is_amd))
		cpu_raise(cpu, EXCEPTION_UD);
	cpu->gpr[CPU_RCX] = cpu->next_rip;
	if (cpu_is_long(cpu)) {
		cpu->next_rip = cpu_is_64(cpu) ? cpu->lstar : cpu->cstar;
		cpu->gpr[CPU_R11] = cpu->rflags & ~RFLAGS_RF;
		cpu->rflags &= ~(cpu->fmask | RFLAGS_RF);
		cpu->rflags |= RFLAGS_ONE;
		load_segments(cpu, system_call_entered(cpu));
	} else {
		cpu->next_rip = (uint32_t)cpu->star;
		cpu->rflags &= ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
		load_segments(cpu, system_call_flat(cpu->star >> 32 & 0xfffc, 0, false));
	}
	if (!(cpu->rflags & RFLAGS_TF))
		cpu->single_step_pending = false;
}

static void execute_sysret(struct cpu *cpu, const struct insn *insn)
{
	bool to_64 = insn->operand_size == 8;
	uint64_t target = to_64 ? cpu->gpr[CPU_RCX] : (uint32_t)cpu->gpr[CPU_RCX];

	if (!(cpu->efer & EFER_SCE) || !(cpu->cr0 & CR0_PE) || (cpu->mode & CPU_MODE_VM86) ||
	    (!cpu_is_64(cpu) && !cpu->is_amd))
		cpu_raise(cpu, EXCEPTION_UD);
	require_cpl0(cpu);
	/* Intel checks here, still in ring 0; AMD's fetch at the target faults in ring 3. */
	if (to_64 && !cpu->is_amd && !cpu_is_canonical(target))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);

	cpu->next_rip = target;
	if (cpu_is_long(cpu))
		cpu_write_rflags(cpu, cpu->gpr[CPU_R11],
				 RFLAGS_ALL & ~(RFLAGS_RF | RFLAGS_VM | RFLAGS_ONE));
	else
		cpu_write_rflags(cpu, RFLAGS_IF, RFLAGS_IF);
	cpu->rflags &= ~RFLAGS_RF;
	load_segments(cpu, system_call_returned(cpu, to_64));
	/* IRET and POPF that set TF let the next instruction pass. With SYSRET it is one that SYSCALL
	 * had when it began, and traps behind it: before the next, in ring 3. */
	if (cpu->rflags & RFLAGS_TF) {
		cpu->rip = cpu_wrap_rip(cpu, cpu->next_rip);
		cpu->insn = NULL;
		debug_raise(cpu, cpu->debug_pending | DR6_BS);
	}
}

static void execute_sysenter(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector = cpu->sysenter_cs & 0xfffc;
	bool is_long = cpu_is_long(cpu);

	(void)insn;
	if (is_long && cpu->is_amd)
		cpu_raise(cpu, EXCEPTION_UD);
	if (!(cpu->cr0 & CR0_PE) || !selector)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	cpu->rflags &= ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
	cpu->next_rip = is_long ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
	cpu->gpr[CPU_RSP] = is_long ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
	load_segments(cpu, system_call_flat(selector, 0, is_long));
}

static void execute_sysexit(struct cpu *cpu, const struct insn *insn)
{
	bool to_64 = insn->operand_size == 8;
	uint16_t selector = cpu->sysenter_cs & 0xfffc;
	uint64_t rip = cpu->gpr[CPU_RDX], rsp = cpu->gpr[CPU_RCX];

	if (cpu_is_long(cpu) && cpu->is_amd)
		cpu_raise(cpu, EXCEPTION_UD);
	if (!(cpu->cr0 & CR0_PE) || !selector || cpu->cpl)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if (to_64 && (!cpu_is_canonical(rip) || !cpu_is_canonical(rsp)))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	cpu->next_rip = to_64 ? rip : (uint32_t)rip;
	cpu->gpr[CPU_RSP] = to_64 ? rsp : (uint32_t)rsp;
	selector += to_64 ? 32 : 16;
	load_segments(cpu, system_call_flat(selector | 3, 3, to_64));
}

static void execute_swapgs(struct cpu *cpu, const struct insn *insn)
{
	uint64_t base = cpu->segment[CPU_GS].base;

	(void)insn;
	if (!cpu_is_64(cpu))
		cpu_raise(cpu, EXCEPTION_UD);
	require_cpl0(cpu);
	cpu->segment[CPU_GS].base = cpu->kernel_gs_base;
	cpu->kernel_gs_base = base;
}

/* -- FS and GS bases -- */

static void require_fsgsbase(struct cpu *cpu)
{
	if (!cpu_is_64(cpu) || !(cpu->cr4 & CR4_FSGSBASE))
		cpu_raise(cpu, EXCEPTION_UD);
}

/* The prefix 66 makes no difference. */
static unsigned base_size(const struct insn *insn)
{
	return insn->operand_size == 8 ? 8 : 4;
}

static void read_base(struct cpu *cpu, const struct insn *insn, enum cpu_segment segment)
{
	require_fsgsbase(cpu);
	operand_write(cpu, insn, 0, cpu->segment[segment].base, base_size(insn));
}

static void write_base(struct cpu *cpu, const struct insn *insn, enum cpu_segment segment)
{
	uint64_t base = operand_read(cpu, insn, 0, base_size(insn));

	require_fsgsbase(cpu);
	if (!cpu_is_canonical(base))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	cpu->segment[segment].base = base;
}

static void execute_rdfsbase(struct cpu *cpu, const struct insn *insn)
{
	read_base(cpu, insn, CPU_FS);
}

static void execute_rdgsbase(struct cpu *cpu, const struct insn *insn)
{
	read_base(cpu, insn, CPU_GS);
}

static void execute_wrfsbase(struct cpu *cpu, const struct insn *insn)
{
	write_base(cpu, insn, CPU_FS);
}

static void execute_wrgsbase(struct cpu *cpu, const struct insn *insn)
{
	write_base(cpu, insn, CPU_GS);
}

/* -- the interrupt flag (SDM vol. 3 §6.8.1, §20.3, §20.4) -- */

/* Whether CLI and STI act on VIF here: virtual-8086 mode with VME, or ring 3 with PVI. */
static bool uses_virtual_interrupt_flag(const struct cpu *cpu)
{
	if (cpu->mode & CPU_MODE_VM86)
		return cpu->cr4 & CR4_VME;
	return cpu->cpl == 3 && (cpu->cr4 & CR4_PVI);
}

static void execute_cli(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (cpu_iopl(cpu) >= cpu->cpl)
		cpu->rflags &= ~RFLAGS_IF;
	else if (uses_virtual_interrupt_flag(cpu))
		cpu->rflags &= ~RFLAGS_VIF;
	else
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

static void execute_sti(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (cpu_iopl(cpu) >= cpu->cpl) {
		if (!(cpu->rflags & RFLAGS_IF)) {
			cpu_write_rflags(cpu, RFLAGS_IF, RFLAGS_IF);
			cpu_set_interrupt_shadow(cpu, KVM_X86_SHADOW_INT_STI);
		}
	} else if (uses_virtual_interrupt_flag(cpu) && !(cpu->rflags & RFLAGS_VIP)) {
		cpu->rflags |= RFLAGS_VIF;
	} else {
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	}
}

static void execute_clac(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (cpu->cpl || !cpu_has(cpu, FEATURE_SMAP))
		cpu_raise(cpu, EXCEPTION_UD);
	cpu_write_rflags(cpu, 0, RFLAGS_AC);
}

static void execute_stac(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (cpu->cpl || !cpu_has(cpu, FEATURE_SMAP))
		cpu_raise(cpu, EXCEPTION_UD);
	cpu_write_rflags(cpu, RFLAGS_AC, RFLAGS_AC);
}

static void execute_hlt(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	require_cpl0(cpu);
	cpu->halted = true;
	cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}

/* Without the CPUID bit undefined; with it, as Linux's KVM emulates them: no-ops. */
static void execute_monitor(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (cpu->cpl || !cpu_has(cpu, FEATURE_MONITOR))
		cpu_raise(cpu, EXCEPTION_UD);
}

/* -- time -- */

static void write_edx_eax(struct cpu *cpu, uint64_t value)
{
	cpu->gpr[CPU_RAX] = (uint32_t)value;
	cpu->gpr[CPU_RDX] = value >> 32;
}

static void require_tsc(struct cpu *cpu)
{
	if ((cpu->cr4 & CR4_TSD) && cpu->cpl)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

static void execute_rdtsc(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	require_tsc(cpu);
	write_edx_eax(cpu, cpu_read_tsc(cpu));
}

static void execute_rdtscp(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if (!cpu_has(cpu, FEATURE_RDTSCP))
		cpu_raise(cpu, EXCEPTION_UD);
	require_tsc(cpu);
	write_edx_eax(cpu, cpu_read_tsc(cpu));
	cpu->gpr[CPU_RCX] = (uint32_t)cpu->tsc_aux;
}

static void execute_rdpid(struct cpu *cpu, const struct insn *insn)
{
	if (!cpu_has(cpu, FEATURE_RDPID))
		cpu_raise(cpu, EXCEPTION_UD);
	operand_write(cpu, insn, 0, (uint32_t)cpu->tsc_aux, 8);
}

/* There are no performance counters: every index is a bad one. */
static void execute_rdpmc(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

/* -- identification, MSRs, hypercalls -- */

static void execute_cpuid(struct cpu *cpu, const struct insn *insn)
{
	struct cpuid_registers registers;

	(void)insn;
	if (cpu->cpl && (msr_misc_features(cpu) & MISC_FEATURES_CPUID_FAULT))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	registers = cpu_cpuid(cpu, cpu->gpr[CPU_RAX], cpu->gpr[CPU_RCX]);
	cpu->gpr[CPU_RAX] = registers.eax;
	cpu->gpr[CPU_RBX] = registers.ebx;
	cpu->gpr[CPU_RCX] = registers.ecx;
	cpu->gpr[CPU_RDX] = registers.edx;
}

/* Whether user space forbids the access (KVM_X86_SET_MSR_FILTER). */
static bool is_filtered(struct cpu *cpu, uint32_t index, bool is_write)
{
	return cpu->has_msr_filter && !platform_msr_allowed(cpu, index, is_write);
}

/* An access that fails: user space's if it wants it (KVM_CAP_X86_USER_SPACE_MSR), else #GP. */
static _Noreturn void refuse_msr(struct cpu *cpu, uint32_t index, uint64_t value, bool is_write,
				 uint32_t reason)
{
	if (cpu->run && platform_msr_exits(cpu, reason))
		msr_ask_user(cpu, index, value, is_write, reason);
	cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

static uint32_t refusal_reason(int result)
{
	return result == -ENOENT ? KVM_MSR_EXIT_REASON_UNKNOWN : KVM_MSR_EXIT_REASON_INVAL;
}

static void execute_rdmsr(struct cpu *cpu, const struct insn *insn)
{
	uint32_t index = (uint32_t)cpu->gpr[CPU_RCX];
	uint64_t value;
	int result;

	(void)insn;
	require_cpl0(cpu);
	if (!msr_take_answer(cpu, index, &value, false)) {
		if (is_filtered(cpu, index, false))
			refuse_msr(cpu, index, 0, false, KVM_MSR_EXIT_REASON_FILTER);
		result = cpu_msr_read(cpu, index, &value, false);
		if (result)
			refuse_msr(cpu, index, 0, false, refusal_reason(result));
	}
	write_edx_eax(cpu, value);
}

static void execute_wrmsr(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = (uint32_t)cpu->gpr[CPU_RAX] | cpu->gpr[CPU_RDX] << 32;

	uint32_t index = (uint32_t)cpu->gpr[CPU_RCX];
	int result;

	(void)insn;
	require_cpl0(cpu);
	if (msr_take_answer(cpu, index, &value, true))
		return;
	if (is_filtered(cpu, index, true))
		refuse_msr(cpu, index, value, true, KVM_MSR_EXIT_REASON_FILTER);
	result = cpu_msr_write(cpu, index, value, false);
	if (result)
		refuse_msr(cpu, index, value, true, refusal_reason(result));
}

static void execute_vmcall(struct cpu *cpu, const struct insn *insn)
{
	uint64_t mask = cpu_is_64(cpu) ? UINT64_MAX : UINT32_MAX;
	uint64_t arguments[4] = {
		cpu->gpr[CPU_RBX] & mask,
		cpu->gpr[CPU_RCX] & mask,
		cpu->gpr[CPU_RDX] & mask,
		cpu->gpr[CPU_RSI] & mask,
	};
	int64_t result = -1; /* KVM_EPERM: for ring 0 only */

	(void)insn;
	if (!platform_has_hypercalls(cpu))
		cpu_raise(cpu, EXCEPTION_UD);
	if (!cpu->cpl)
		result = (int64_t)platform_hypercall(cpu, cpu->gpr[CPU_RAX] & mask, arguments);
	cpu->gpr[CPU_RAX] = result & mask;
}

/* -- caches: nothing to do, but the operand's faults are real -- */

static void execute_flush_line(struct cpu *cpu, const struct insn *insn)
{
	uint64_t gva = segment_linear(cpu, insn->segment, mem_offset(cpu, insn), 1, false);

	lin_pointer(cpu, gva, 1, false, insn->segment);
}

#define ROW(name, ends, handler) {ZYDIS_MNEMONIC_##name, ends, 0, handler, NULL}
/* With what the translator makes of it, and the privilege that it needs. */
#define ROW_CLASS(name, handler, class_, traits_)                                                  \
	{ZYDIS_MNEMONIC_##name, .execute = handler, .class = class_, .traits = traits_}
#define ROW_TRAITS(name, ends, handler, traits_)                                                   \
	{ZYDIS_MNEMONIC_##name, ends, .execute = handler, .traits = traits_}
#define ROW_RING0(name, ends, handler) ROW_TRAITS(name, ends, handler, INSN_RING0)

#define ROW_MOV(form_, ends, handler)                                                              \
	{ZYDIS_MNEMONIC_MOV, ends, .form = ISA_##form_, .execute = handler, .traits = INSN_RING0}

static const struct isa_row rows[] = {
	ROW_MOV(CONTROL_FIRST, 1, execute_mov_to_control),
	ROW_MOV(CONTROL_SECOND, 0, execute_mov_from_control),
	ROW_MOV(DEBUG_FIRST, 1, execute_mov_to_debug),
	ROW_MOV(DEBUG_SECOND, 0, execute_mov_from_debug),
	ROW_TRAITS(SYSCALL, 1, execute_syscall, INSN_TELLS_HOST_32),
	ROW_RING0(SYSRET, 1, execute_sysret),
	{ZYDIS_MNEMONIC_SYSENTER, 1, .execute = execute_sysenter, .feature = ISA_FEATURE(1_EDX, 11),
	 .traits = INSN_TELLS_HOST_32},
	{ZYDIS_MNEMONIC_SYSEXIT, 1, .execute = execute_sysexit, .feature = ISA_FEATURE(1_EDX, 11),
	 .traits = INSN_RING0},
	ROW_CLASS(SWAPGS, execute_swapgs, INSN_SWAPGS, INSN_RING0),
	ROW_CLASS(RDFSBASE, execute_rdfsbase, INSN_READ_FS_BASE, INSN_TELLS_HOST),
	ROW_CLASS(RDGSBASE, execute_rdgsbase, INSN_READ_GS_BASE, INSN_TELLS_HOST),
	ROW_CLASS(WRFSBASE, execute_wrfsbase, INSN_WRITE_FS_BASE, INSN_TELLS_HOST),
	ROW_CLASS(WRGSBASE, execute_wrgsbase, INSN_WRITE_GS_BASE, INSN_TELLS_HOST),
	ROW_CLASS(CLI, execute_cli, INSN_CLI, INSN_IOPL),
	ROW_CLASS(STI, execute_sti, INSN_STI, INSN_IOPL),
	ROW_CLASS(CLAC, execute_clac, INSN_CLAC, INSN_RING0),
	ROW_CLASS(STAC, execute_stac, INSN_STAC, INSN_RING0),
	ROW_RING0(HLT, 1, execute_hlt),
	ROW_RING0(MONITOR, 0, execute_monitor),
	ROW_RING0(MWAIT, 1, execute_monitor),
	{ZYDIS_MNEMONIC_RDTSC, .execute = execute_rdtsc, .class = INSN_RDTSC,
	 .feature = ISA_FEATURE(1_EDX, 4), .traits = INSN_TELLS_HOST},
	ROW_CLASS(RDTSCP, execute_rdtscp, INSN_RDTSCP, INSN_TELLS_HOST),
	ROW_TRAITS(RDPID, 0, execute_rdpid, INSN_TELLS_HOST),
	ROW(RDPMC, 0, execute_rdpmc),
	ROW_TRAITS(CPUID, 1, execute_cpuid, INSN_TELLS_HOST),
	ROW_TRAITS(VMCALL, 1, execute_vmcall, INSN_TELLS_HOST),
	ROW_TRAITS(VMMCALL, 1, execute_vmcall, INSN_TELLS_HOST),
	ROW_CLASS(SERIALIZE, execute_serialize, INSN_SERIALIZE, 0),
	ROW_RING0(LMSW, 1, execute_lmsw),
	ROW(SMSW, 0, execute_smsw),
	ROW_RING0(CLTS, 0, execute_clts),
	ROW_RING0(INVLPG, 1, execute_invlpg),
	ROW_RING0(INVPCID, 1, execute_invpcid),
	ROW_RING0(INVD, 0, execute_privileged_nothing),
	ROW_RING0(WBINVD, 0, execute_privileged_nothing),
	ROW(CLWB, 0, execute_flush_line),

	/* Not on this CPU: outside SMM, and without VMX, SVM, SMX, SGX and their kin. */
	ROW(UD0, 1, execute_undefined),
	ROW(UD1, 1, execute_undefined),
	ROW(UD2, 1, execute_undefined),
	ROW(RSM, 1, execute_undefined),
	ROW(GETSEC, 1, execute_undefined),
	ROW(ENCLS, 1, execute_undefined),
	ROW(ENCLU, 1, execute_undefined),
	ROW(ENCLV, 1, execute_undefined),
	ROW(PCONFIG, 1, execute_undefined),
	ROW(VMXON, 1, execute_undefined),
	ROW(VMXOFF, 1, execute_undefined),
	ROW(VMCLEAR, 1, execute_undefined),
	ROW(VMPTRLD, 1, execute_undefined),
	ROW(VMPTRST, 1, execute_undefined),
	ROW(VMREAD, 1, execute_undefined),
	ROW(VMWRITE, 1, execute_undefined),
	ROW(VMLAUNCH, 1, execute_undefined),
	ROW(VMRESUME, 1, execute_undefined),
	ROW(VMFUNC, 1, execute_undefined),
	ROW(INVEPT, 1, execute_undefined),
	ROW(INVVPID, 1, execute_undefined),
	ROW(VMRUN, 1, execute_undefined),
	ROW(VMLOAD, 1, execute_undefined),
	ROW(VMSAVE, 1, execute_undefined),
	ROW(STGI, 1, execute_undefined),
	ROW(CLGI, 1, execute_undefined),
	ROW(SKINIT, 1, execute_undefined),
	ROW(INVLPGA, 1, execute_undefined),
	ROW(INVLPGB, 1, execute_undefined),
	ROW(TLBSYNC, 1, execute_undefined),
	ROW(MONITORX, 1, execute_undefined),
	ROW(MWAITX, 1, execute_undefined),
	ROW(UMONITOR, 1, execute_undefined),
	ROW(UMWAIT, 1, execute_undefined),
	ROW(TPAUSE, 1, execute_undefined),
	ROW(RDPRU, 1, execute_undefined),
	ROW(MCOMMIT, 1, execute_undefined),
	ROW(HRESET, 1, execute_undefined),
	ROW(ENQCMD, 1, execute_undefined),
	ROW(ENQCMDS, 1, execute_undefined),
	ROW(PTWRITE, 1, execute_undefined),
	ROW(XSUSLDTRK, 1, execute_undefined),
	ROW(XRESLDTRK, 1, execute_undefined),
	ROW(CLUI, 1, execute_undefined),
	ROW(STUI, 1, execute_undefined),
	ROW(TESTUI, 1, execute_undefined),
	ROW(UIRET, 1, execute_undefined),
	ROW(SENDUIPI, 1, execute_undefined),
	ROW_TRAITS(RDPKRU, 1, execute_undefined, INSN_TELLS_HOST),
	ROW_TRAITS(WRPKRU, 1, execute_undefined, INSN_TELLS_HOST),
	ROW(XBEGIN, 1, execute_undefined),
	ROW(XEND, 1, execute_undefined),
	ROW(XTEST, 1, execute_undefined),
	ROW(TDCALL, 1, execute_undefined),
	ROW(SEAMCALL, 1, execute_undefined),
	ROW(SEAMRET, 1, execute_undefined),
	ROW(SEAMOPS, 1, execute_undefined),
};

const struct isa_table isa_system = {rows, sizeof(rows) / sizeof(rows[0])};

static const struct isa_row msr_rows[] = {
	{ZYDIS_MNEMONIC_RDMSR, .execute = execute_rdmsr, .feature = ISA_FEATURE(1_EDX, 5),
	 .traits = INSN_RING0},
	{ZYDIS_MNEMONIC_WRMSR, 1, .execute = execute_wrmsr, .feature = ISA_FEATURE(1_EDX, 5),
	 .traits = INSN_RING0},
};

const struct isa_table isa_msr = {msr_rows, sizeof(msr_rows) / sizeof(msr_rows[0])};
