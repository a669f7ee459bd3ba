/*
 * Requests on the system descriptor about x86: which CPUID and MSRs vCPUs can be given (api.rst 4.3, 4.46,
 * 4.88, 4.104).
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/user.h"
#include "engine/vcpu/x86/x86_vcpu.h"
#include "engine/x86/host/host_claims.h"
#include "engine/x86/system/cpuid.h"
#include "engine/x86/system/msr.h"


/* MCG_CTL_P and MCG_SER_P, as Linux's KVM_MCE_CAP_SUPPORTED. */
#define MCE_CAP_SUPPORTED ((UINT64_C(1) << 8) | (UINT64_C(1) << 24))

static int get_msr_list(struct kvm_msr_list *user, const uint32_t *list, unsigned count)
{
	struct kvm_msr_list header;
	unsigned capacity;
	int result = user_read(&header, user, sizeof(header));

	if (result < 0)
		return result;
	capacity = header.nmsrs;
	header.nmsrs = count;
	result = user_write(user, &header, sizeof(header));
	if (result < 0)
		return result;
	if (capacity < count)
		return -E2BIG;
	return user_write(user->indices, list, count * sizeof(*list));
}

/* How many entries there is room for, at least one: 0, -E2BIG, -EFAULT. */
static int read_room(struct kvm_cpuid2 *header, const struct kvm_cpuid2 *user)
{
	int result = user_read(header, user, sizeof(*header));

	if (result < 0)
		return result;
	return header->nent < 1 ? -E2BIG : 0;
}

static int get_supported_cpuid(const struct host_claims *claims, struct kvm_cpuid2 *user)
{
	struct kvm_cpuid_entry2 *entries;
	struct kvm_cpuid2 header;
	int result = read_room(&header, user);

	if (result < 0)
		return result;
	if (header.nent > X86_CPUID_ENTRIES_MAX)
		header.nent = X86_CPUID_ENTRIES_MAX;
	entries = calloc(header.nent, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	result = cpuid_supported(claims, entries, header.nent);
	if (result >= 0) {
		header.nent = result;
		result = user_write(user->entries, entries, header.nent * sizeof(*entries));
		if (result == 0)
			result = user_write(user, &header, sizeof(header));
	}
	free(entries);
	return result;
}

/* Nothing is emulated that GET_SUPPORTED_CPUID does not already list. */
static int get_emulated_cpuid(struct kvm_cpuid2 *user)
{
	struct kvm_cpuid2 header;
	int result = read_room(&header, user);

	if (result < 0)
		return result;
	header.nent = 0;
	return user_write(user, &header, sizeof(header));
}

static int get_feature_msrs(const struct host_claims *claims, struct kvm_msrs *user)
{
	struct kvm_msr_entry entries[USER_MSRS_MAX];
	int count = user_read_msrs(entries, user);
	int i, result;

	if (count < 0)
		return count;
	for (i = 0; i < count; i++) {
		uint64_t value;

		if (cpu_msr_feature(entries[i].index, claims, &value) < 0)
			break;
		entries[i].data = value;
	}
	result = user_write_msrs(user, entries, count);
	return result < 0 ? result : i;
}

static int get_mce_cap(void *user)
{
	uint64_t supported = MCE_CAP_SUPPORTED;

	return user_write(user, &supported, sizeof(supported));
}

int x86_system_ioctl(const struct engine_options *options, unsigned long request, void *argument)
{
	const struct host_claims *claims = host_claims(options->avoids_host_kvm);

	switch (request) {
	case KVM_GET_MSR_INDEX_LIST:
		return get_msr_list(argument, cpu_msr_list, cpu_msr_list_count);
	case KVM_GET_MSR_FEATURE_INDEX_LIST:
		return get_msr_list(argument, cpu_msr_feature_list, cpu_msr_feature_list_count);
	case KVM_GET_MSRS: return get_feature_msrs(claims, argument);
	case KVM_GET_SUPPORTED_CPUID: return get_supported_cpuid(claims, argument);
	case KVM_GET_EMULATED_CPUID: return get_emulated_cpuid(argument);
	case KVM_X86_GET_MCE_CAP_SUPPORTED: return get_mce_cap(argument);
	default: return -EINVAL;
	}
}
