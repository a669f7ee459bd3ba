/*
 * What the host says of its own flaws: KVM's feature MSRs and supported CPUID (api.rst 4.59, 4.46),
 * or /sys/devices/system/cpu/vulnerabilities (Linux Documentation/ABI/testing/
 * sysfs-devices-system-cpu), whose files begin with "Not affected" where a flaw is absent.
 */
#include "engine/x86/host/host_claims.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BIT(n) (1ull << (n))

#define MSR_ARCH_CAPABILITIES 0x10a
#define VULNERABILITIES       "/sys/devices/system/cpu/vulnerabilities"
#define CPUID_ENTRIES         256
#define TEXT_SIZE             256

/* Bits that say that something is absent or safe; others describe registers that guests lack. */
#define ARCH_CAPABILITIES_CLAIMS                                                                   \
	(BIT(0) /* RDCL_NO */ | BIT(1) /* IBRS_ALL */ | BIT(3) /* SKIP_L1DFL_VMENTRY */ |          \
	 BIT(4) /* SSB_NO */ | BIT(5) /* MDS_NO */ | BIT(6) /* PSCHANGE_MC_NO */ |                 \
	 BIT(8) /* TAA_NO */ | BIT(13) /* SBDR_SSDP_NO */ | BIT(14) /* FBSDP_NO */ |               \
	 BIT(15) /* PSDP_NO */ | BIT(20) /* BHI_NO */ | BIT(24) /* PBRSB_NO */ |                   \
	 BIT(26) /* GDS_NO */ | BIT(27) /* RFDS_NO */ | BIT(62) /* ITS_NO */)
/* Bits that say that something is there which guests should guard against. */
#define ARCH_CAPABILITIES_WARNINGS (BIT(2) /* RSBA */ | BIT(19) /* RRSBA */)

#define EXT8_EBX_CLAIMS  (BIT(26) /* SSB_NO */ | BIT(29) /* BTC_NO */)
#define EXT21_EAX_CLAIMS (BIT(29) /* SRSO_NO */ | BIT(30) /* SRSO_USER_KERNEL_NO */)
#define EXT21_ECX_CLAIMS (BIT(1) /* TSA_SQ_NO */ | BIT(2) /* TSA_L1_NO */)

/* What the absence of a flaw allows to claim, by sysfs's name. */
static const struct {
	const char *name;
	struct host_claims claims;
} flaws[] = {
    {"meltdown", {.arch_capabilities = BIT(0)}},
    {"spec_store_bypass", {.arch_capabilities = BIT(4), .ext8_ebx = BIT(26)}},
    {"mds", {.arch_capabilities = BIT(5)}},
    {"itlb_multihit", {.arch_capabilities = BIT(6)}},
    {"tsx_async_abort", {.arch_capabilities = BIT(8)}},
    {"mmio_stale_data", {.arch_capabilities = BIT(13) | BIT(14) | BIT(15)}},
    {"gather_data_sampling", {.arch_capabilities = BIT(26)}},
    {"reg_file_data_sampling", {.arch_capabilities = BIT(27)}},
    {"indirect_target_selection", {.arch_capabilities = BIT(62)}},
    {"retbleed", {.ext8_ebx = BIT(29)}},
    {"spec_rstack_overflow", {.ext21_eax = BIT(29)}},
    {"tsa", {.ext21_ecx = BIT(1) | BIT(2)}},
};

static bool read_text(const char *directory, const char *name, char text[TEXT_SIZE])
{
	char path[512];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	length = read(fd, text, TEXT_SIZE - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	return length > 0;
}

void host_claims_read_sysfs(const char *directory, struct host_claims *claims)
{
	char text[TEXT_SIZE];

	memset(claims, 0, sizeof(*claims));
	for (unsigned i = 0; i < sizeof(flaws) / sizeof(flaws[0]); i++) {
		if (!read_text(directory, flaws[i].name, text) ||
		    strncmp(text, "Not affected", 12) != 0)
			continue;
		claims->arch_capabilities |= flaws[i].claims.arch_capabilities;
		claims->ext8_ebx |= flaws[i].claims.ext8_ebx;
		claims->ext21_eax |= flaws[i].claims.ext21_eax;
		claims->ext21_ecx |= flaws[i].claims.ext21_ecx;
	}
	if (!read_text(directory, "spectre_v2", text))
		return;
	if (strstr(text, "Enhanced"))
		claims->arch_capabilities |= BIT(1);
	if (strstr(text, "BHI: Not affected"))
		claims->arch_capabilities |= BIT(20);
}

/* AMD's bits of the CPUID that KVM supports. */
static void take_cpuid(struct host_claims *claims, const struct kvm_cpuid2 *cpuid)
{
	for (unsigned i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == 0x80000008) {
			claims->ext8_ebx = entry->ebx & EXT8_EBX_CLAIMS;
		} else if (entry->function == 0x80000021) {
			claims->ext21_eax = entry->eax & EXT21_EAX_CLAIMS;
			claims->ext21_ecx = entry->ecx & EXT21_ECX_CLAIMS;
		}
	}
}

static bool read_kvm(struct host_claims *claims)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = {.header.nmsrs = 1, .entry.index = MSR_ARCH_CAPABILITIES};
	struct kvm_cpuid2 *cpuid;
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	bool is_known;

	if (fd < 0)
		return false;
	is_known = ioctl(fd, KVM_GET_MSRS, &msrs) == 1;
	cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	if (is_known && cpuid) {
		memset(claims, 0, sizeof(*claims));
		claims->arch_capabilities =
		    msrs.entry.data & (ARCH_CAPABILITIES_CLAIMS | ARCH_CAPABILITIES_WARNINGS);
		cpuid->nent = CPUID_ENTRIES;
		if (ioctl(fd, KVM_GET_SUPPORTED_CPUID, cpuid) == 0)
			take_cpuid(claims, cpuid);
	}
	is_known = is_known && cpuid;
	free(cpuid);
	close(fd);
	return is_known;
}

static struct host_claims found, found_without_kvm;

static void find_without_kvm(void)
{
	host_claims_read_sysfs(VULNERABILITIES, &found_without_kvm);
}

static void find(void)
{
	if (!read_kvm(&found))
		host_claims_read_sysfs(VULNERABILITIES, &found);
}

const struct host_claims *host_claims(bool avoids_kvm)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT, once_without_kvm = PTHREAD_ONCE_INIT;

	if (avoids_kvm) {
		pthread_once(&once_without_kvm, find_without_kvm);
		return &found_without_kvm;
	}
	pthread_once(&once, find);
	return &found;
}
