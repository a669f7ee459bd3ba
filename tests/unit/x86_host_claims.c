/* What guests are told of the host's flaws: nothing that the host does not say itself. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/x86/host/host_claims.h"
#include "engine/x86/system/msr.h"

#define VULNERABILITIES       "/sys/devices/system/cpu/vulnerabilities"
#define MSR_ARCH_CAPABILITIES 0x10a

static void write_text(const char *directory, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void test_sysfs(void **state)
{
	static const char *const names[] = {"meltdown",   "mds",      "spec_store_bypass",
	                                    "spectre_v2", "retbleed", "spec_rstack_overflow"};
	char directory[] = "/tmp/kvik-claims-XXXXXX", path[256];
	struct host_claims claims;

	(void)state;
	assert_non_null(mkdtemp(directory));
	memset(&claims, 0xff, sizeof(claims));
	host_claims_read_sysfs(directory, &claims);
	assert_int_equal(claims.arch_capabilities, 0);
	assert_int_equal(claims.ext8_ebx | claims.ext21_eax | claims.ext21_ecx, 0);

	write_text(directory, "meltdown", "Not affected\n");
	write_text(directory, "mds", "Mitigation: Clear CPU buffers; SMT vulnerable\n");
	write_text(directory, "spec_store_bypass", "Vulnerable\n");
	write_text(directory, "spectre_v2", "Mitigation: Retpolines; BHI: Retpoline\n");
	write_text(directory, "retbleed", "Not affected\n");
	write_text(directory, "spec_rstack_overflow", "Vulnerable: Safe RET, no microcode\n");
	host_claims_read_sysfs(directory, &claims);
	assert_int_equal(claims.arch_capabilities, 1);
	assert_int_equal(claims.ext8_ebx, 1u << 29);
	assert_int_equal(claims.ext21_eax, 0);

	write_text(directory, "spectre_v2",
	           "Mitigation: Enhanced / Automatic IBRS; BHI: Not affected\n");
	write_text(directory, "spec_store_bypass", "Not affected\n");
	write_text(directory, "spec_rstack_overflow", "Not affected\n");
	host_claims_read_sysfs(directory, &claims);
	assert_int_equal(claims.arch_capabilities, 1 | 1 << 1 | 1 << 4 | 1 << 20);
	assert_int_equal(claims.ext8_ebx, 1u << 29 | 1u << 26);
	assert_int_equal(claims.ext21_eax, 1u << 29);

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	rmdir(directory);
}

/* What this host is affected by, by its kernel's own words, no guest is told to be free of. */
static void test_this_host(void **state)
{
	static const struct {
		const char *name;
		uint64_t bit;
	} flaws[] = {
	    {"meltdown", 1ull << 0},
	    {"spec_store_bypass", 1ull << 4},
	    {"mds", 1ull << 5},
	    {"gather_data_sampling", 1ull << 26},
	    {"reg_file_data_sampling", 1ull << 27},
	    {"indirect_target_selection", 1ull << 62},
	};
	uint64_t value;

	(void)state;
	assert_int_equal(cpu_msr_feature(MSR_ARCH_CAPABILITIES, host_claims(false), &value), 0);
	for (unsigned i = 0; i < sizeof(flaws) / sizeof(flaws[0]); i++) {
		char path[256], text[64] = "";
		int fd;

		snprintf(path, sizeof(path), VULNERABILITIES "/%s", flaws[i].name);
		fd = open(path, O_RDONLY);
		if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
			text[0] = '\0';
		if (fd >= 0)
			close(fd);
		if (text[0] && strncmp(text, "Not affected", 12) != 0)
			assert_int_equal(value & flaws[i].bit, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sysfs),
	    cmocka_unit_test(test_this_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
