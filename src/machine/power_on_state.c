#include "machine/power_on_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"
#include "util/x86_registers.h"

/* One request with its reason for a person. */
static int request(const struct kvm_vcpu *vcpu, unsigned long number, void *argument,
		   const char *what, struct error *error)
{
	int result = kvm_vcpu_ioctl(vcpu, number, argument);

	if (result < 0)
		return error_set_errno(error, -result, "CPU %u: %s", vcpu->id, what);
	return 0;
}

/* MTRRs (SDM vol. 3 §12.11.2): Linux's KVM has them, and its list doesn't. */
static const uint32_t mtrrs[] = {
	0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d,
	0x20e, 0x20f, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x2ff,
};
#define MTRRS (sizeof(mtrrs) / sizeof(mtrrs[0]))

static bool is_listed(const struct kvm_msr_list *list, uint32_t index)
{
	unsigned i;

	for (i = 0; i < list->nmsrs; i++)
		if (list->indices[i] == index)
			return true;
	return false;
}

static void read_msr(const struct kvm_vcpu *vcpu, uint32_t index, struct kvm_msrs *msrs)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one = {{.nmsrs = 1}, {.index = index}};

	if (kvm_vcpu_ioctl(vcpu, KVM_GET_MSRS, &one) == 1)
		msrs->entries[msrs->nmsrs++] = one.entry;
}

/*
 * All MSRs that can be saved, with their values. A list may name some that this vCPU hasn't:
 * KVM_GET_MSRS stops at such a one, and it is dropped.
 */
static struct kvm_msrs *read_all_msrs(const struct kvm_vcpu *vcpu)
{
	struct kvm_msr_list probe = {0}, *list;
	struct kvm_msrs *msrs = NULL;
	unsigned i;

	kvm_system_ioctl(vcpu->system, KVM_GET_MSR_INDEX_LIST, &probe); /* E2BIG, with the count */
	list = calloc(1, sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
	if (!list)
		return NULL;
	list->nmsrs = probe.nmsrs;
	if (kvm_system_ioctl(vcpu->system, KVM_GET_MSR_INDEX_LIST, list) < 0)
		list->nmsrs = 0;
	msrs = calloc(1, sizeof(*msrs) + (list->nmsrs + MTRRS) * sizeof(msrs->entries[0]));
	for (i = 0; msrs && i < list->nmsrs; i++) {
		/* Time goes on over a reset, as the host's clock does. */
		if (list->indices[i] == MSR_TSC || list->indices[i] == MSR_TSC_ADJUST)
			continue;
		read_msr(vcpu, list->indices[i], msrs);
	}
	for (i = 0; msrs && i < MTRRS; i++)
		if (!is_listed(list, mtrrs[i]))
			read_msr(vcpu, mtrrs[i], msrs);
	free(list);
	return msrs;
}

int power_on_state_capture(struct power_on_state *state, const struct kvm_vcpu *vcpu,
			   struct error *error)
{
	int size, result;

	memset(state, 0, sizeof(*state));
	/* The backend's timers run on: one that expires meanwhile must be seen armed (IA32_TSC_DEADLINE) or
	 * its interrupt in the local APIC, or both, but never neither. So the local APIC comes last. */
	state->msrs = read_all_msrs(vcpu);
	if (!state->msrs)
		return error_set_errno(error, ENOMEM, "CPU %u: cannot save its state", vcpu->id);
	if ((result = request(vcpu, KVM_GET_REGS, &state->regs, "cannot read registers", error)) ||
	    (result = request(vcpu, KVM_GET_SREGS, &state->sregs, "cannot read system registers",
			      error)) ||
	    (result = request(vcpu, KVM_GET_FPU, &state->fpu, "cannot read the FPU", error)) ||
	    (result = request(vcpu, KVM_GET_LAPIC, &state->lapic, "cannot read the local APIC",
			      error)) ||
	    (result = request(vcpu, KVM_GET_MP_STATE, &state->mp, "cannot read the run state",
			      error)) ||
	    (result = request(vcpu, KVM_GET_VCPU_EVENTS, &state->events, "cannot read events",
			      error)) ||
	    (result = request(vcpu, KVM_GET_DEBUGREGS, &state->debugregs,
			      "cannot read debug registers", error))) {
		power_on_state_free(state);
		return result;
	}
	state->has_xcrs = kvm_vcpu_ioctl(vcpu, KVM_GET_XCRS, &state->xcrs) == 0;
	/* KVM_SET_XSAVE takes as much as KVM_CAP_XSAVE2 says: the struct or more. */
	size = kvm_check_extension(vcpu->system, KVM_CAP_XSAVE2);
	state->xsave_bytes = size > (int)sizeof(struct kvm_xsave) ? (size_t)size
								   : sizeof(struct kvm_xsave);
	state->xsave = calloc(1, state->xsave_bytes);
	if (!state->xsave) {
		power_on_state_free(state);
		return error_set_errno(error, ENOMEM, "CPU %u: cannot save its state", vcpu->id);
	}
	if (kvm_vcpu_ioctl(vcpu, size > 0 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, state->xsave) < 0) {
		free(state->xsave);
		state->xsave = NULL;
	}
	return 0;
}

static void restore_msrs(const struct power_on_state *state, const struct kvm_vcpu *vcpu)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one;
	unsigned i;

	/* One by one: KVM_SET_MSRS stops at the first that it doesn't let us set. */
	for (i = 0; i < state->msrs->nmsrs; i++) {
		memset(&one, 0, sizeof(one));
		one.header.nmsrs = 1;
		one.entry = state->msrs->entries[i];
		if (kvm_vcpu_ioctl(vcpu, KVM_SET_MSRS, &one) != 1)
			log_guest_at(LOG_DEBUG, "CPU %u: MSR 0x%x keeps its value over reset",
				     vcpu->id, one.entry.index);
	}
}

int power_on_state_restore(const struct power_on_state *state, const struct kvm_vcpu *vcpu,
			   struct error *error)
{
	struct power_on_state copy = *state;
	struct kvm_mp_state pending;
	int result;

	/* An INIT or a start-up IPI that waits would come after all of this: asking takes them. */
	result = request(vcpu, KVM_GET_MP_STATE, &pending, "cannot read the run state", error);
	if (result < 0)
		return result;
	/* The system registers first: they carry the APIC base, on which the local APIC depends. */
	if ((result = request(vcpu, KVM_SET_SREGS, &copy.sregs, "cannot set system registers",
			      error)) ||
	    (result = request(vcpu, KVM_SET_REGS, &copy.regs, "cannot set registers", error)))
		return result;
	if (copy.xsave && (result = request(vcpu, KVM_SET_XSAVE, copy.xsave,
					    "cannot set vector registers", error)))
		return result;
	if (!copy.xsave &&
	    (result = request(vcpu, KVM_SET_FPU, &copy.fpu, "cannot set the FPU", error)))
		return result;
	if (copy.has_xcrs &&
	    (result = request(vcpu, KVM_SET_XCRS, &copy.xcrs, "cannot set XCR0", error)))
		return result;
	restore_msrs(state, vcpu);
	if ((result = request(vcpu, KVM_SET_LAPIC, &copy.lapic, "cannot set the local APIC",
			      error)) ||
	    (result = request(vcpu, KVM_SET_VCPU_EVENTS, &copy.events, "cannot set events",
			      error)) ||
	    (result = request(vcpu, KVM_SET_DEBUGREGS, &copy.debugregs,
			      "cannot set debug registers", error)))
		return result;
	return request(vcpu, KVM_SET_MP_STATE, &copy.mp, "cannot set the run state", error);
}

void power_on_state_free(struct power_on_state *state)
{
	free(state->xsave);
	free(state->msrs);
	state->xsave = NULL;
	state->msrs = NULL;
}

int power_on_chips_capture(struct power_on_chips *chips, const struct kvm_vm *vm,
			   struct error *error)
{
	static const unsigned ids[] = {KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
				       KVM_IRQCHIP_IOAPIC};
	unsigned i;
	int result;

	memset(chips, 0, sizeof(*chips));
	for (i = 0; i < 3; i++) {
		chips->chips[i].chip_id = ids[i];
		result = kvm_vm_ioctl(vm, KVM_GET_IRQCHIP, &chips->chips[i]);
		if (result < 0)
			return error_set_errno(error, -result,
					       "cannot read the interrupt controllers");
	}
	result = kvm_vm_ioctl(vm, KVM_GET_PIT2, &chips->pit);
	if (result < 0)
		return error_set_errno(error, -result, "cannot read the timer");
	return 0;
}

int power_on_chips_restore(const struct power_on_chips *chips, const struct kvm_vm *vm,
			   struct error *error)
{
	struct power_on_chips copy = *chips;
	unsigned i;
	int result;

	for (i = 0; i < 3; i++) {
		result = kvm_vm_ioctl(vm, KVM_SET_IRQCHIP, &copy.chips[i]);
		if (result < 0)
			return error_set_errno(error, -result,
					       "cannot set the interrupt controllers");
	}
	result = kvm_vm_ioctl(vm, KVM_SET_PIT2, &copy.pit);
	if (result < 0)
		return error_set_errno(error, -result, "cannot set the timer");
	return 0;
}
