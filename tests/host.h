/* What tests ask about the host that they run on. */
#ifndef KVIK_TESTS_HOST_H
#define KVIK_TESTS_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

/* Whether /dev/kvm has a CPU's virtualization under it. */
static inline bool kvm_is_hardware(void)
{
	return access("/sys/module/kvm_intel", F_OK) == 0 || access("/sys/module/kvm_amd", F_OK) == 0;
}

/* Whether its kernel has a segment of 32-bit user code: Linux's descriptor, by LAR (Intel SDM vol. 2). */
static inline bool host_has_code32(void)
{
	uint32_t rights = 0;

	__asm__("lar %1, %0" : "+r"(rights) : "r"(0x23) : "cc");
	return rights & 0x8000; /* present */
}

#endif
