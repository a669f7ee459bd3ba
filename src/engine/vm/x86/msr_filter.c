/* Filters of MSRs: msr_filter.h; arch/x86/kvm/x86.c, kvm_vm_ioctl_set_msr_filter, for the checks. */
#include "engine/vm/x86/msr_filter.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/user.h"

#define X2APIC_FIRST      0x800u
#define X2APIC_LAST       0x8ffu
#define BITMAP_BYTES_MAX  0x600u /* KVM_MSR_FILTER_MAX_BITMAP_SIZE */
#define RANGE_FLAGS_VALID ((uint32_t)(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE))

struct msr_range {
	uint32_t flags, base, count;
	uint8_t *allowed; /* bit n: base + n; owned */
};

struct msr_filter {
	bool allows_others;
	unsigned range_count;
	struct msr_range ranges[KVM_MSR_FILTER_MAX_RANGES];
};

static int add_range(struct msr_filter *filter, const struct kvm_msr_filter_range *user)
{
	struct msr_range *range = &filter->ranges[filter->range_count];
	size_t bytes = ((size_t)user->nmsrs + 63) / 64 * 8; /* as Linux copies it, in whole words */
	int result;

	if (!user->nmsrs)
		return 0;
	if ((user->flags & ~RANGE_FLAGS_VALID) || !user->flags || bytes > BITMAP_BYTES_MAX)
		return -EINVAL;
	range->allowed = malloc(bytes);
	if (!range->allowed)
		return -ENOMEM;
	result = user_read(range->allowed, user->bitmap, bytes);
	if (result < 0) {
		free(range->allowed);
		return result;
	}
	range->flags = user->flags;
	range->base = user->base;
	range->count = user->nmsrs;
	filter->range_count++;
	return 0;
}

int msr_filter_create(const void *user, struct msr_filter **filter)
{
	struct kvm_msr_filter request;
	struct msr_filter *made;
	bool is_empty = true;
	int result = user_read(&request, user, sizeof(request));

	*filter = NULL;
	if (result < 0)
		return result;
	if (request.flags & ~(uint32_t)KVM_MSR_FILTER_DEFAULT_DENY)
		return -EINVAL;
	for (unsigned i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		is_empty &= !request.ranges[i].nmsrs;
	if (is_empty)
		return request.flags & KVM_MSR_FILTER_DEFAULT_DENY ? -EINVAL : 0;

	made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->allows_others = !(request.flags & KVM_MSR_FILTER_DEFAULT_DENY);
	for (unsigned i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		result = add_range(made, &request.ranges[i]);
		if (result < 0) {
			msr_filter_destroy(made);
			return result;
		}
	}
	*filter = made;
	return 0;
}

void msr_filter_destroy(struct msr_filter *filter)
{
	if (!filter)
		return;
	for (unsigned i = 0; i < filter->range_count; i++)
		free(filter->ranges[i].allowed);
	free(filter);
}

bool msr_filter_allows(const struct msr_filter *filter, uint32_t index, bool is_write)
{
	uint32_t wanted = is_write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ;

	if (!filter || (index >= X2APIC_FIRST && index <= X2APIC_LAST))
		return true;
	for (unsigned i = 0; i < filter->range_count; i++) {
		const struct msr_range *range = &filter->ranges[i];
		uint32_t bit = index - range->base;

		if (index >= range->base && bit < range->count && (range->flags & wanted))
			return range->allowed[bit / 8] >> bit % 8 & 1;
	}
	return filter->allows_others;
}
