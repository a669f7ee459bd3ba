/*
 * Creation and reset of a CPU (Intel SDM vol. 3 §9.1, table 9-1).
 */
#include "engine/x86/cpu.h"
#include "engine/x86/platform.h"
#include "engine/x86/fpu/fpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/x86/decode/memo.h"
#include "engine/x86/host/host_claims.h"
#include "engine/x86/system/control.h"
#include "engine/x86/system/cpuid.h"
#include "engine/x86/system/msr.h"
#include "engine/x86/system.h"
#include "engine/x86/mmu/tlb.h"

#define PAT_RESET 0x0007040600070406ull /* SDM vol. 3 §11.12.4 */

int cpu_create(struct cpu *cpu, unsigned id, struct kvm_run *run,
	       const struct cpu_platform *platform, void *platform_context)
{
	int result;

	memset(cpu, 0, sizeof(*cpu));
	cpu->id = id;
	cpu->run = run;
	cpu->platform = platform;
	cpu->platform_context = platform_context;
	cpu->host_claims = platform_host_claims(cpu);
	if (!cpu->host_claims)
		cpu->host_claims = host_claims(false);
	cpu->tsc_is_host = !platform_has_tsc(cpu);
	cpu->untold_stays = cpu->told_call = UINT64_MAX;

	result = tlb_create(cpu);
	if (result)
		goto fail;
	result = fpu_create(cpu);
	if (result)
		goto fail_fpu;
	result = msr_create(cpu);
	if (result)
		goto fail_msr;
	cpu->memo = insn_memo_create();
	cpu_set_cpuid(cpu, NULL, 0);
	cpu_reset(cpu, false);
	return 0;

fail_msr:
	fpu_destroy(cpu);
fail_fpu:
	tlb_destroy(cpu);
fail:
	return result;
}

void cpu_destroy(struct cpu *cpu)
{
	free(cpu->cpuid);
	cpu->cpuid = NULL;
	insn_memo_destroy(cpu->memo);
	cpu->memo = cpu->rules.memo = NULL;
	msr_destroy(cpu);
	fpu_destroy(cpu);
	tlb_destroy(cpu);
}

static struct kvm_segment reset_segment(uint8_t type, bool is_system)
{
	return (struct kvm_segment){.limit = 0xffff, .type = type, .present = 1, .s = !is_system};
}

void cpu_reset(struct cpu *cpu, bool is_init)
{
	/* INIT keeps CR0.CD and CR0.NW, the FPU, the TSC and the MSRs. */
	uint64_t cr0_kept = is_init ? cpu->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW;

	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	cpu->gpr[CPU_RDX] = cpu_cpuid(cpu, 1, 0).eax;
	if (!cpu->gpr[CPU_RDX])
		cpu->gpr[CPU_RDX] = 0x600;
	cpu->rip = cpu->next_rip = 0xfff0;
	cpu->rflags = RFLAGS_ONE;

	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		cpu->segment[i] = reset_segment(3, false);
	cpu->segment[CPU_CS] = reset_segment(11, false);
	cpu->segment[CPU_CS].selector = 0xf000;
	cpu->segment[CPU_CS].base = 0xffff0000;
	cpu->ldt = reset_segment(2, true);
	cpu->tr = reset_segment(11, true);
	cpu->gdt = cpu->idt = (struct kvm_dtable){.limit = 0xffff};

	cpu->cr0 = CR0_ET | cr0_kept;
	cpu->cr2 = cpu->cr3 = cpu->cr4 = 0;
	cpu->efer = 0;
	memset(cpu->dr, 0, sizeof(cpu->dr));
	cpu->dr6 = DR6_FIXED;
	cpu->dr7 = DR7_FIXED;

	cpu->halted = false;
	cpu->interrupt_shadow = 0;
	cpu->nmis_pending = 0;
	cpu->nmi_blocked = false;
	cpu->exception = cpu->interrupt = (struct cpu_event){.pending = false};
	cpu->debug_pending = 0;
	memset(&cpu->io, 0, sizeof(cpu->io));
	cpu->interrupt_waiting = true;

	if (!is_init) {
		cpu->xcr0 = 1;
		cpu->xss = 0;
		cpu->star = cpu->lstar = cpu->cstar = cpu->fmask = cpu->kernel_gs_base = 0;
		cpu->tsc_aux = cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = 0;
		cpu->pat = PAT_RESET;
		cpu->tsc_adjust = cpu->debugctl = cpu->spec_ctrl = 0;
		cpu->mtrr_def_type = cpu->mcg_status = 0;
		memset(cpu->mtrr_fixed, 0, sizeof(cpu->mtrr_fixed));
		memset(cpu->mtrr_var, 0, sizeof(cpu->mtrr_var));
		cpu->smbase = 0x30000;
		msr_reset(cpu);
		fpu_reset(cpu);
	}
	debug_update(cpu);
	cpu_update_mode(cpu);
	control_changed(cpu);
}
