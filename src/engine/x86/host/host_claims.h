/*
 * Which flaws of speculation the host's CPU says that it does not have.
 *
 * Guest code runs on the host's CPU, so a guest may be told that a flaw is absent if, and only if,
 * the host is told so: by its KVM where there is one, else by its kernel. What neither says is not
 * claimed.
 */
#ifndef KVIK_ENGINE_X86_HOST_HOST_CLAIMS_H
#define KVIK_ENGINE_X86_HOST_HOST_CLAIMS_H

#include <stdbool.h>
#include <stdint.h>

struct host_claims {
	uint64_t arch_capabilities; /* IA32_ARCH_CAPABILITIES (Intel SDM vol. 4 table 2-2) */
	uint32_t ext8_ebx;          /* AMD's of CPUID 8000_0008h: SSB_NO, BTC_NO, ... */
	uint32_t ext21_eax;         /* and of 8000_0021h: SRSO_NO, ... */
	uint32_t ext21_ecx;         /* TSA_SQ_NO, TSA_L1_NO */
};

/* Found out at the first call, once with the host's KVM and once without asking that. Constant, and there as
 * long as the process. Any thread. */
const struct host_claims *host_claims(bool avoids_kvm);

/* What sysfs's `directory` of vulnerabilities says, for tests and for hosts without KVM. */
void host_claims_read_sysfs(const char *directory, struct host_claims *claims);

#endif
