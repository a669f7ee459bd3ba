/*
 * KVM_X86_SET_MSR_FILTER: which MSRs guests may read and write (api.rst 4.97, 7.22).
 *
 * Running vCPUs ask without a lock; a filter is replaced as a whole inside an exclusive section.
 */
#ifndef KVIK_ENGINE_VM_X86_MSR_FILTER_H
#define KVIK_ENGINE_VM_X86_MSR_FILTER_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct msr_filter;

/* Copies a filter in from user space, bitmaps included. *filter is NULL when it allows all. 0, -EFAULT,
 * -EINVAL, -ENOMEM. */
int msr_filter_create(const void *user, struct msr_filter **filter);
void msr_filter_destroy(struct msr_filter *filter); /* may be NULL */
/* The local APIC's MSRs (800h to 8FFh) always are. `filter` may be NULL. */
bool msr_filter_allows(const struct msr_filter *filter, uint32_t index, bool is_write);

#endif
