/* What tests ask about the host that they run on. */
#ifndef KVIK_TESTS_HOST_H
#define KVIK_TESTS_HOST_H

#include <stdbool.h>
#include <unistd.h>

/* Whether /dev/kvm has a CPU's virtualization under it. */
static inline bool kvm_is_hardware(void)
{
	return access("/sys/module/kvm_intel", F_OK) == 0 || access("/sys/module/kvm_amd", F_OK) == 0;
}

#endif
