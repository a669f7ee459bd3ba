/*
 * The CPU's registers and pending events as user space sees them (api.rst 4.11-4.14, 4.31-4.34,
 * 4.38, 4.39 and sync_regs). Rules for bad values follow Linux's arch/x86/kvm/x86.c.
 */
#include <errno.h>
#include <string.h>

#include "engine/vcpu/x86/x86_vcpu.h"
#include "engine/vm/vm.h"
#include "engine/x86/exception.h"
#include "engine/x86/system.h"
#include "engine/x86/system/control.h"
#include "engine/x86/system/cpuid.h"

#define VECTORS 256

void x86_get_regs(struct x86_vcpu *vcpu, struct kvm_regs *regs)
{
	const uint64_t *gpr = vcpu->cpu.gpr;

	*regs = (struct kvm_regs){
		.rax = gpr[CPU_RAX], .rbx = gpr[CPU_RBX], .rcx = gpr[CPU_RCX], .rdx = gpr[CPU_RDX],
		.rsi = gpr[CPU_RSI], .rdi = gpr[CPU_RDI], .rsp = gpr[CPU_RSP], .rbp = gpr[CPU_RBP],
		.r8 = gpr[CPU_R8], .r9 = gpr[CPU_R9], .r10 = gpr[CPU_R10], .r11 = gpr[CPU_R11],
		.r12 = gpr[CPU_R12], .r13 = gpr[CPU_R13], .r14 = gpr[CPU_R14], .r15 = gpr[CPU_R15],
		.rip = vcpu->cpu.rip, .rflags = vcpu->cpu.rflags,
	};
}

void x86_set_regs(struct x86_vcpu *vcpu, const struct kvm_regs *regs)
{
	uint64_t *gpr = vcpu->cpu.gpr;

	gpr[CPU_RAX] = regs->rax, gpr[CPU_RBX] = regs->rbx;
	gpr[CPU_RCX] = regs->rcx, gpr[CPU_RDX] = regs->rdx;
	gpr[CPU_RSI] = regs->rsi, gpr[CPU_RDI] = regs->rdi;
	gpr[CPU_RSP] = regs->rsp, gpr[CPU_RBP] = regs->rbp;
	gpr[CPU_R8] = regs->r8, gpr[CPU_R9] = regs->r9;
	gpr[CPU_R10] = regs->r10, gpr[CPU_R11] = regs->r11;
	gpr[CPU_R12] = regs->r12, gpr[CPU_R13] = regs->r13;
	gpr[CPU_R14] = regs->r14, gpr[CPU_R15] = regs->r15;
	vcpu->cpu.rip = regs->rip;
	vcpu->cpu.rflags = regs->rflags | RFLAGS_ONE;
	/* Whoever sets registers does not want an exception that the old ones raised. */
	vcpu->cpu.exception.pending = false;
	cpu_update_mode(&vcpu->cpu);
}

static void get_segment(struct kvm_segment *to, const struct kvm_segment *from)
{
	*to = *from;
	to->padding = 0;
	/* An unusable segment is one that is not present; Linux reports it so. */
	if (to->unusable)
		to->present = 0;
}

static bool is_pae_paging(const struct cpu *cpu)
{
	return (cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !(cpu->efer & EFER_LMA);
}

/* The part that struct kvm_sregs2 begins with, too. */
static void get_common(struct x86_vcpu *vcpu, struct kvm_sregs *sregs)
{
	const struct cpu *cpu = &vcpu->cpu;

	memset(sregs, 0, sizeof(*sregs));
	get_segment(&sregs->cs, &cpu->segment[CPU_CS]);
	get_segment(&sregs->ds, &cpu->segment[CPU_DS]);
	get_segment(&sregs->es, &cpu->segment[CPU_ES]);
	get_segment(&sregs->fs, &cpu->segment[CPU_FS]);
	get_segment(&sregs->gs, &cpu->segment[CPU_GS]);
	get_segment(&sregs->ss, &cpu->segment[CPU_SS]);
	get_segment(&sregs->tr, &cpu->tr);
	get_segment(&sregs->ldt, &cpu->ldt);
	sregs->gdt.base = cpu->gdt.base;
	sregs->gdt.limit = cpu->gdt.limit;
	sregs->idt.base = cpu->idt.base;
	sregs->idt.limit = cpu->idt.limit;
	sregs->cr0 = cpu->cr0;
	sregs->cr2 = cpu->cr2;
	sregs->cr3 = cpu->cr3;
	sregs->cr4 = cpu->cr4;
	sregs->cr8 = x86_get_cr8(vcpu);
	sregs->efer = cpu->efer;
	sregs->apic_base = x86_get_apic_base(vcpu);
}

int x86_set_apic_base(struct x86_vcpu *vcpu, uint64_t base)
{
	if (!x86_apic_base_is_valid(vcpu, base))
		return -EINVAL;
	if (vcpu->lapic)
		return lapic_set_base(vcpu->lapic, base);
	vcpu->apic_base = base;
	return 0;
}

static int set_common(struct x86_vcpu *vcpu, const struct kvm_sregs *sregs)
{
	struct cpu *cpu = &vcpu->cpu;
	int result;

	if (!control_is_valid(cpu, sregs->cr0, sregs->cr3, sregs->cr4, sregs->efer))
		return -EINVAL;
	/* Outside IA-32e mode there is no 64-bit code segment (kvm_is_valid_sregs). */
	if (!((sregs->efer & EFER_LME) && (sregs->cr0 & CR0_PG)) && sregs->cs.l)
		return -EINVAL;
	result = x86_set_apic_base(vcpu, sregs->apic_base);
	if (result < 0)
		return result;
	cpu->idt.base = sregs->idt.base;
	cpu->idt.limit = sregs->idt.limit;
	cpu->gdt.base = sregs->gdt.base;
	cpu->gdt.limit = sregs->gdt.limit;
	cpu->cr0 = sregs->cr0 | CR0_ET;
	cpu->cr2 = sregs->cr2;
	cpu->cr3 = sregs->cr3;
	cpu->cr4 = sregs->cr4;
	cpu->efer = sregs->efer;
	x86_platform.write_cr8(vcpu, sregs->cr8 & 15);
	cpu->segment[CPU_CS] = sregs->cs;
	cpu->segment[CPU_DS] = sregs->ds;
	cpu->segment[CPU_ES] = sregs->es;
	cpu->segment[CPU_FS] = sregs->fs;
	cpu->segment[CPU_GS] = sregs->gs;
	cpu->segment[CPU_SS] = sregs->ss;
	cpu->tr = sregs->tr;
	cpu->ldt = sregs->ldt;
	cpu_update_mode(cpu);
	control_changed(cpu);
	/* Older user space does not set the mp_state of the bootstrap processor (x86.c). */
	if (x86_is_bsp(vcpu) && cpu->rip == 0xfff0 && sregs->cs.selector == 0xf000 &&
	    sregs->cs.base == 0xffff0000 && !(cpu->cr0 & CR0_PE))
		vcpu->common.mp_state = KVM_MP_STATE_RUNNABLE;
	return 0;
}

void x86_get_sregs(struct x86_vcpu *vcpu, struct kvm_sregs *sregs)
{
	const struct cpu_event *interrupt = &vcpu->cpu.interrupt;

	get_common(vcpu, sregs);
	if (interrupt->pending && !interrupt->is_software)
		sregs->interrupt_bitmap[interrupt->vector / 64] |= UINT64_C(1)
								   << interrupt->vector % 64;
}

int x86_set_sregs(struct x86_vcpu *vcpu, const struct kvm_sregs *sregs)
{
	unsigned i;
	int result = set_common(vcpu, sregs);

	if (result < 0)
		return result;
	for (i = 0; i < VECTORS / 64; i++) {
		if (!sregs->interrupt_bitmap[i])
			continue;
		vcpu->cpu.interrupt = (struct cpu_event){
			.pending = true,
			.vector = i * 64 + __builtin_ctzll(sregs->interrupt_bitmap[i]),
		};
		break;
	}
	return 0;
}

void x86_get_sregs2(struct x86_vcpu *vcpu, struct kvm_sregs2 *sregs)
{
	struct kvm_sregs common;

	get_common(vcpu, &common);
	memset(sregs, 0, sizeof(*sregs));
	memcpy(sregs, &common, offsetof(struct kvm_sregs, interrupt_bitmap));
	if (is_pae_paging(&vcpu->cpu)) {
		memcpy(sregs->pdptrs, vcpu->cpu.pdptr, sizeof(sregs->pdptrs));
		sregs->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	}
}

int x86_set_sregs2(struct x86_vcpu *vcpu, const struct kvm_sregs2 *sregs)
{
	bool has_pdptrs = sregs->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID;
	bool is_pae = (sregs->cr0 & CR0_PG) && (sregs->cr4 & CR4_PAE) && !(sregs->efer & EFER_LMA);
	struct kvm_sregs common = { 0 };
	int result;

	if ((sregs->flags & ~(uint64_t)KVM_SREGS2_FLAGS_PDPTRS_VALID) || (has_pdptrs && !is_pae))
		return -EINVAL;
	memcpy(&common, sregs, offsetof(struct kvm_sregs, interrupt_bitmap));
	result = set_common(vcpu, &common);
	if (result == 0 && has_pdptrs)
		memcpy(vcpu->cpu.pdptr, sregs->pdptrs, sizeof(vcpu->cpu.pdptr));
	return result;
}

void x86_get_events(struct x86_vcpu *vcpu, struct kvm_vcpu_events *events)
{
	const struct cpu *cpu = &vcpu->cpu;
	const struct cpu_event *exception = &cpu->exception, *interrupt = &cpu->interrupt;

	memset(events, 0, sizeof(*events));
	/*
	 * An exception waits between being raised and being delivered only across an exit in the
	 * middle of delivery: for user space it is injected. User space that does not know payloads
	 * is told both, as by Linux.
	 */
	events->exception.injected = exception->pending;
	events->exception.pending = exception->pending && !x86_vcpu_vm(vcpu)->exception_payload;
	if (exception->pending) {
		events->exception.nr = exception->vector;
		events->exception.has_error_code = exception->has_error_code;
		events->exception.error_code = exception->error_code;
	}
	events->interrupt.injected = interrupt->pending && !interrupt->is_software;
	events->interrupt.soft = interrupt->pending && interrupt->is_software;
	events->interrupt.nr = interrupt->pending ? interrupt->vector : 0;
	events->interrupt.shadow = cpu->interrupt_shadow;
	events->nmi.pending = cpu->nmis_pending;
	events->nmi.masked = cpu->nmi_blocked;
	events->sipi_vector = 0;
	events->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
			KVM_VCPUEVENT_VALID_SMM;
	if (x86_vcpu_vm(vcpu)->exception_payload)
		events->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	if (x86_vcpu_vm(vcpu)->triple_fault_event) {
		events->triple_fault.pending = vcpu->triple_fault_pending;
		events->flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	}
}

int x86_set_events(struct x86_vcpu *vcpu, const struct kvm_vcpu_events *events)
{
	const uint32_t known = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
			       KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM |
			       KVM_VCPUEVENT_VALID_PAYLOAD | KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	struct cpu *cpu = &vcpu->cpu;
	bool is_raised = events->exception.injected;

	if (events->flags & ~known)
		return -EINVAL;
	if (events->flags & KVM_VCPUEVENT_VALID_PAYLOAD) {
		if (!x86_vcpu_vm(vcpu)->exception_payload ||
		    (events->exception.injected && events->exception.pending))
			return -EINVAL;
		is_raised |= events->exception.pending;
	}
	if (is_raised &&
	    (events->exception.nr > 31 || events->exception.nr == EXCEPTION_NMI))
		return -EINVAL;
	/* System management mode is not modelled: nothing can be in it. */
	if ((events->flags & KVM_VCPUEVENT_VALID_SMM) && (events->smi.smm || events->smi.pending))
		return -EINVAL;
	if ((events->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) && !x86_vcpu_vm(vcpu)->triple_fault_event)
		return -EINVAL;

	cpu->exception = (struct cpu_event){
		.pending = is_raised,
		.vector = is_raised ? events->exception.nr : 0,
		.has_error_code = events->exception.has_error_code,
		.error_code = events->exception.error_code,
		.payload = events->exception_has_payload ? events->exception_payload : cpu->cr2,
	};
	/* Without a payload CR2 stands already, and for #DB so does DR6. */
	if (!events->exception_has_payload && events->exception.nr == EXCEPTION_DB)
		cpu->exception.payload = 0;
	cpu->interrupt = (struct cpu_event){
		.pending = events->interrupt.injected,
		.vector = events->interrupt.nr,
		.is_software = events->interrupt.soft,
	};
	if (events->flags & KVM_VCPUEVENT_VALID_SHADOW) {
		cpu->interrupt_shadow = events->interrupt.shadow &
					(KVM_X86_SHADOW_INT_MOV_SS | KVM_X86_SHADOW_INT_STI);
		cpu->shadow_rip = cpu->rip;
	}
	cpu->nmi_blocked = events->nmi.masked;
	if (events->flags & KVM_VCPUEVENT_VALID_NMI_PENDING) {
		cpu->nmis_pending = 0;
		cpu_post_nmi(cpu, events->nmi.pending);
	}
	if (events->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR)
		vcpu->sipi_vector = events->sipi_vector & 0xff;
	if (events->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT)
		vcpu->triple_fault_pending = events->triple_fault.pending;
	cpu_request(cpu, CPU_REQUEST_EVENT);
	return 0;
}

void x86_get_debugregs(struct x86_vcpu *vcpu, struct kvm_debugregs *regs)
{
	memset(regs, 0, sizeof(*regs));
	memcpy(regs->db, vcpu->cpu.dr, sizeof(regs->db));
	regs->dr6 = vcpu->cpu.dr6;
	regs->dr7 = vcpu->cpu.dr7;
}

int x86_set_debugregs(struct x86_vcpu *vcpu, const struct kvm_debugregs *regs)
{
	if (regs->flags || regs->dr6 >> 32 || regs->dr7 >> 32)
		return -EINVAL;
	memcpy(vcpu->cpu.dr, regs->db, sizeof(vcpu->cpu.dr));
	vcpu->cpu.dr6 = regs->dr6;
	vcpu->cpu.dr7 = regs->dr7;
	debug_update(&vcpu->cpu);
	return 0;
}

int x86_get_mp_state(struct x86_vcpu *vcpu, struct kvm_mp_state *state)
{
	x86_process_events(vcpu);
	state->mp_state = vcpu->common.mp_state;
	if (vcpu->common.mp_state == KVM_MP_STATE_HALTED && atomic_load(&vcpu->pv_unhalted))
		state->mp_state = KVM_MP_STATE_RUNNABLE;
	return 0;
}

int x86_set_mp_state(struct x86_vcpu *vcpu, const struct kvm_mp_state *state)
{
	switch (state->mp_state) {
	case KVM_MP_STATE_RUNNABLE:
		break;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_HALTED:
	case KVM_MP_STATE_INIT_RECEIVED:
	case KVM_MP_STATE_SIPI_RECEIVED:
		if (!vcpu->lapic)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	vcpu->common.mp_state = state->mp_state;
	vcpu->is_sipi_pending = state->mp_state == KVM_MP_STATE_SIPI_RECEIVED;
	if (vcpu->is_sipi_pending)
		vcpu->common.mp_state = KVM_MP_STATE_INIT_RECEIVED;
	cpu_request(&vcpu->cpu, CPU_REQUEST_EVENT);
	return 0;
}
