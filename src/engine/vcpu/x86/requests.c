/*
 * Requests on a vCPU's descriptor that are x86's (KVM api.rst section 4, type "vcpu ioctl").
 *
 * Each row copies its struct in, calls the function that knows it, and copies out; the checks of
 * values are those functions'.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "engine/user.h"
#include "engine/vcpu/x86/pv_clock.h"
#include "engine/vcpu/x86/x86_vcpu.h"
#include "engine/vm/vm.h"
#include "engine/x86/fpu/fpu.h"
#include "engine/x86/mmu/paging.h"
#include "engine/x86/system/cpuid.h"

#define XCRS_MAX KVM_MAX_XCRS

union request_data {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_sregs2 sregs2;
	struct kvm_fpu fpu;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp_state;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debugregs;
	struct kvm_translation translation;
	struct kvm_guest_debug guest_debug;
	struct kvm_interrupt interrupt;
	struct kvm_x86_mce mce;
	uint64_t number;
};

static void get_xcrs(struct x86_vcpu *vcpu, struct kvm_xcrs *xcrs)
{
	memset(xcrs, 0, sizeof(*xcrs));
	xcrs->nr_xcrs = 1;
	xcrs->xcrs[0].value = vcpu->cpu.xcr0;
}

static int set_xcrs(struct x86_vcpu *vcpu, const struct kvm_xcrs *xcrs)
{
	unsigned i;

	if (xcrs->nr_xcrs > XCRS_MAX || xcrs->flags)
		return -EINVAL;
	for (i = 0; i < xcrs->nr_xcrs; i++) {
		if (xcrs->xcrs[i].xcr != 0)
			continue;
		if (!fpu_xcr0_valid(&vcpu->cpu, xcrs->xcrs[i].value))
			return -EINVAL;
		vcpu->cpu.xcr0 = xcrs->xcrs[i].value;
		break;
	}
	return 0;
}

static int translate(struct x86_vcpu *vcpu, struct kvm_translation *translation)
{
	struct paging_result result;
	bool is_valid = paging_translate(&vcpu->cpu, translation->linear_address, &result);

	translation->physical_address = is_valid ? result.gpa : UINT64_MAX;
	translation->valid = is_valid;
	translation->writeable = 1; /* Linux gives these two whatever the tables say */
	translation->usermode = 0;
	return 0;
}

static int nmi(struct x86_vcpu *vcpu)
{
	cpu_post_nmi(&vcpu->cpu, 1);
	cpu_request(&vcpu->cpu, CPU_REQUEST_EVENT);
	return 0;
}

/* Requests that write a struct to user space: its size in `data`, or -errno. */
static int get_state(struct x86_vcpu *vcpu, unsigned long request, union request_data *data)
{
	switch (request) {
	case KVM_GET_REGS: x86_get_regs(vcpu, &data->regs); return 0;
	case KVM_GET_SREGS: x86_get_sregs(vcpu, &data->sregs); return 0;
	case KVM_GET_SREGS2: x86_get_sregs2(vcpu, &data->sregs2); return 0;
	case KVM_GET_FPU: fpu_get_kvm(&vcpu->cpu, &data->fpu); return 0;
	case KVM_GET_XSAVE:
	case KVM_GET_XSAVE2: fpu_get_xsave(&vcpu->cpu, &data->xsave); return 0;
	case KVM_GET_XCRS: get_xcrs(vcpu, &data->xcrs); return 0;
	case KVM_GET_LAPIC:
		return vcpu->lapic ? lapic_get_state(vcpu->lapic, &data->lapic) : -EINVAL;
	case KVM_GET_MP_STATE: return x86_get_mp_state(vcpu, &data->mp_state);
	case KVM_GET_VCPU_EVENTS: x86_get_events(vcpu, &data->events); return 0;
	case KVM_GET_DEBUGREGS: x86_get_debugregs(vcpu, &data->debugregs); return 0;
	default: return -ENOTTY;
	}
}

/* Requests that read a struct from user space. */
static int set_state(struct x86_vcpu *vcpu, unsigned long request, const union request_data *data)
{
	switch (request) {
	case KVM_SET_REGS: x86_set_regs(vcpu, &data->regs); return 0;
	case KVM_SET_SREGS: return x86_set_sregs(vcpu, &data->sregs);
	case KVM_SET_SREGS2: return x86_set_sregs2(vcpu, &data->sregs2);
	case KVM_SET_FPU: fpu_set_kvm(&vcpu->cpu, &data->fpu); return 0;
	case KVM_SET_XSAVE: return fpu_set_xsave(&vcpu->cpu, &data->xsave);
	case KVM_SET_XCRS: return set_xcrs(vcpu, &data->xcrs);
	case KVM_SET_LAPIC:
		return vcpu->lapic ? lapic_set_state(vcpu->lapic, &data->lapic) : -EINVAL;
	case KVM_SET_MP_STATE: return x86_set_mp_state(vcpu, &data->mp_state);
	case KVM_SET_VCPU_EVENTS: return x86_set_events(vcpu, &data->events);
	case KVM_SET_DEBUGREGS: return x86_set_debugregs(vcpu, &data->debugregs);
	case KVM_SET_GUEST_DEBUG: return x86_set_guest_debug(vcpu, &data->guest_debug);
	case KVM_INTERRUPT: return x86_interrupt(vcpu, &data->interrupt);
	case KVM_X86_SET_MCE: return x86_set_mce(vcpu, &data->mce);
	case KVM_X86_SETUP_MCE: return x86_setup_mce(vcpu, data->number);
	/* There is no virtual-APIC page, and so nothing to report (KVM_CAP_VAPIC is 0). */
	case KVM_SET_VAPIC_ADDR: return vcpu->lapic && !data->number ? 0 : -EINVAL;
	/* No capability of a vCPU can be enabled. */
	case KVM_ENABLE_CAP: return -EINVAL;
	default: return -ENOTTY;
	}
}

static int tpr_access_reporting(void *argument)
{
	struct kvm_tpr_access_ctl control;
	int result = user_read(&control, argument, sizeof(control));

	if (result < 0)
		return result;
	return control.flags || control.enabled ? -EINVAL : 0;
}

/*
 * KVM_HAS_DEVICE_ATTR, KVM_GET_DEVICE_ATTR and KVM_SET_DEVICE_ATTR of a vCPU (Linux
 * Documentation/virt/kvm/devices/vcpu.rst section 4): the TSC's offset.
 */
static int device_attribute(struct x86_vcpu *vcpu, unsigned long request, void *argument)
{
	struct kvm_device_attr attribute;
	void *user;
	uint64_t offset;
	int result = user_read(&attribute, argument, sizeof(attribute));

	if (result < 0)
		return result;
	if (attribute.group != KVM_VCPU_TSC_CTRL || attribute.attr != KVM_VCPU_TSC_OFFSET)
		return -ENXIO;
	user = (void *)(uintptr_t)attribute.addr;
	switch (request) {
	case KVM_GET_DEVICE_ATTR:
		return user_write(user, &vcpu->cpu.tsc_offset, sizeof(vcpu->cpu.tsc_offset));
	case KVM_SET_DEVICE_ATTR:
		result = user_read(&offset, user, sizeof(offset));
		if (result == 0)
			vcpu->cpu.tsc_offset = x86_vcpu_vm(vcpu)->tsc_offset = offset;
		return result;
	default:
		return 0;
	}
}

/* Requests that are no plain copy in one direction; -ENOTTY for those that are. */
static int special_request(struct x86_vcpu *vcpu, unsigned long request, void *argument)
{
	union request_data data;
	int result;

	switch (request) {
	case KVM_GET_MSRS: return x86_get_msrs(vcpu, argument);
	case KVM_SET_MSRS: return x86_set_msrs(vcpu, argument);
	case KVM_GET_CPUID2: return x86_get_cpuid(vcpu, argument);
	case KVM_SET_CPUID2: return x86_set_cpuid(vcpu, argument);
	case KVM_SET_TSC_KHZ: return x86_set_tsc_khz(vcpu, (uintptr_t)argument);
	case KVM_GET_TSC_KHZ: return vcpu->tsc_khz;
	case KVM_NMI: return nmi(vcpu);
	case KVM_HAS_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
	case KVM_SET_DEVICE_ATTR: return device_attribute(vcpu, request, argument);
	case KVM_KVMCLOCK_CTRL: return pv_clock_set_stopped(vcpu);
	case KVM_TPR_ACCESS_REPORTING: return tpr_access_reporting(argument);
	/* System management mode is not modelled (KVM_CAP_X86_SMM is 0). */
	case KVM_SMI: return -EINVAL;
	case KVM_TRANSLATE:
		result = user_read(&data, argument, sizeof(data.translation));
		if (result == 0)
			result = translate(vcpu, &data.translation);
		return result < 0 ? result : user_write(argument, &data, sizeof(data.translation));
	default: return -ENOTTY;
	}
}

bool x86_touches_memory(unsigned long request)
{
	return request == KVM_SET_SREGS || request == KVM_SET_SREGS2 || request == KVM_SET_MSRS ||
	       request == KVM_TRANSLATE || request == KVM_KVMCLOCK_CTRL ||
	       request == KVM_SET_DEVICE_ATTR;
}

int x86_ioctl(struct vcpu *common, unsigned long request, void *argument)
{
	struct x86_vcpu *vcpu = x86_vcpu_of(common);
	union request_data data;
	size_t size = _IOC_SIZE(request);
	int result = special_request(vcpu, request, argument);

	if (result != -ENOTTY)
		return result;
	if (size > sizeof(data))
		return -EINVAL;
	/* An unknown number leads to ENOTTY below, which Linux's vCPUs call EINVAL. */
	if (_IOC_DIR(request) == _IOC_WRITE) {
		result = user_read(&data, argument, size);
		if (result == 0)
			result = set_state(vcpu, request, &data);
	} else {
		result = get_state(vcpu, request, &data);
		if (result == 0)
			result = user_write(argument, &data, size);
	}
	return result == -ENOTTY ? -EINVAL : result;
}
