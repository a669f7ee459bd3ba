/* Promise: -smp's sockets, dies, cores and threads are what CPUID tells, in each leaf that software looks at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "machine/cpu_topology.h"

#define ENTRIES 32
#define ZEN	0x00a10f10
#define OPTERON 0x00100f23
#define SKYLAKE 0x00050654

struct leaves {
	struct kvm_cpuid2 header;
	struct kvm_cpuid_entry2 entries[ENTRIES + CPU_TOPOLOGY_ENTRIES];
};

static void add(struct leaves *leaves, uint32_t function, uint32_t index, uint32_t eax)
{
	leaves->entries[leaves->header.nent++] =
		(struct kvm_cpuid_entry2){.function = function, .index = index, .eax = eax, .ecx = 0xf0ff, .edx = ~0u};
}

/* As a backend and a model leave them: of the host's topology, and with the first level of leaf 0xb. */
static void fill(struct leaves *leaves, uint32_t max_leaf, uint32_t signature)
{
	memset(leaves, 0, sizeof(*leaves));
	add(leaves, 0, 0, max_leaf);
	add(leaves, 1, 0, signature);
	add(leaves, 4, 0, 0xfc004121); /* L1 data, */
	add(leaves, 4, 3, 0xfc1fc163); /* and L3 */
	add(leaves, 0xb, 0, 1);
	add(leaves, 0x80000001, 0, 0);
	add(leaves, 0x80000008, 0, 48);
	add(leaves, 0x8000001d, 0, 0x00004121);
	add(leaves, 0x8000001d, 3, 0x00028163);
	add(leaves, 0x8000001e, 0, 0);
}

static const struct kvm_cpuid_entry2 *leaf(const struct leaves *leaves, uint32_t function, uint32_t index)
{
	static const struct kvm_cpuid_entry2 zeros;
	unsigned i, found = 0, at = 0;

	for (i = 0; i < leaves->header.nent; i++)
		if (leaves->entries[i].function == function && leaves->entries[i].index == index) {
			found++;
			at = i;
		}
	assert_in_range(found, 0, 1);
	return found ? &leaves->entries[at] : &zeros;
}

static void expect(const struct kvm_cpuid_entry2 *entry, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	assert_int_equal(entry->eax, eax);
	assert_int_equal(entry->ebx, ebx);
	assert_int_equal(entry->ecx, ecx);
	assert_int_equal(entry->edx, edx);
}

static void test_ids(void **state)
{
	const struct cpu_topology plain = {0}, flat = cpu_topology_of(&plain, 6), gaps = {1, 3, 2}, dies = {3, 3, 1};
	struct cpu_place place = cpu_topology_place(&dies, 17);
	unsigned i;

	(void)state;
	for (i = 0; i < 6; i++)
		assert_int_equal(cpu_topology_apic_id(&flat, i), i);
	assert_int_equal(cpu_topology_apic_id(&gaps, 5), 5);
	assert_int_equal(cpu_topology_apic_id(&gaps, 6), 8); /* the next socket's first */
	assert_int_equal(cpu_topology_apic_id(&gaps, 11), 13);
	assert_int_equal(place.socket, 1);
	assert_int_equal(place.die, 2);
	assert_int_equal(place.core, 2);
	assert_int_equal(place.thread, 0);
	assert_int_equal(cpu_topology_apic_id(&dies, 17), 1 << 4 | 2 << 2 | 2);
}

/* Two sockets of four cores with two threads each; the second socket's second core's second thread. */
static void test_intel(void **state)
{
	const struct cpu_topology topology = {1, 4, 2};
	struct leaves leaves;

	(void)state;
	fill(&leaves, 0xd, SKYLAKE);
	cpu_topology_describe(&topology, 11, false, &leaves.header);
	assert_int_equal(leaf(&leaves, 1, 0)->ebx >> 16, 11 << 8 | 8);
	assert_true(leaf(&leaves, 1, 0)->edx >> 28 & 1);
	assert_int_equal(leaf(&leaves, 4, 0)->eax, 3u << 26 | 1 << 14 | 0x121);
	assert_int_equal(leaf(&leaves, 4, 3)->eax, 3u << 26 | 7 << 14 | 0x163);
	expect(leaf(&leaves, 0xb, 0), 1, 2, 0x100, 11);
	expect(leaf(&leaves, 0xb, 1), 3, 8, 0x201, 11);
	assert_int_equal(leaf(&leaves, 0, 0)->eax, 0xd);
	assert_int_equal(leaf(&leaves, 0x1f, 0)->ebx, 0);
	assert_false(leaf(&leaves, 0x80000001, 0)->ecx & 2);
}

/* What is no power of two: ids are kept for four cores. */
static void test_gaps(void **state)
{
	const struct cpu_topology topology = {1, 3, 2};
	struct leaves leaves;

	(void)state;
	fill(&leaves, 0xd, SKYLAKE);
	cpu_topology_describe(&topology, 6, false, &leaves.header);
	assert_int_equal(leaf(&leaves, 1, 0)->ebx >> 16, 8 << 8 | 8);
	assert_int_equal(leaf(&leaves, 4, 0)->eax >> 26, 3);
	expect(leaf(&leaves, 0xb, 1), 3, 6, 0x201, 8);
	fill(&leaves, 0xd, ZEN);
	cpu_topology_describe(&topology, 6, true, &leaves.header);
	assert_int_equal(leaf(&leaves, 1, 0)->ebx >> 16, 8 << 8 | 6);
	assert_int_equal(leaf(&leaves, 0x80000008, 0)->ecx, 3 << 12 | 5);
}

/* Dies have a leaf of their own, which models of before get. */
static void test_dies(void **state)
{
	const struct cpu_topology topology = {2, 2, 2};
	struct leaves leaves;

	(void)state;
	fill(&leaves, 0xd, SKYLAKE);
	cpu_topology_describe(&topology, 7, false, &leaves.header);
	assert_int_equal(leaf(&leaves, 0, 0)->eax, 0x1f);
	expect(leaf(&leaves, 0xb, 1), 3, 8, 0x201, 7);
	expect(leaf(&leaves, 0x1f, 0), 1, 2, 0x100, 7);
	expect(leaf(&leaves, 0x1f, 1), 2, 4, 0x201, 7);
	expect(leaf(&leaves, 0x1f, 2), 3, 8, 0x502, 7);
	assert_int_equal(leaf(&leaves, 4, 3)->eax >> 14 & 0xfff, 3); /* a cache of the die's */
	fill(&leaves, 4, SKYLAKE); /* one without any such leaf */
	cpu_topology_describe(&topology, 7, false, &leaves.header);
	assert_int_equal(leaf(&leaves, 0, 0)->eax, 4);
}

static void test_amd(void **state)
{
	const struct cpu_topology topology = {2, 2, 2}, single = {1, 4, 1};
	struct leaves leaves;

	(void)state;
	fill(&leaves, 0xd, ZEN);
	cpu_topology_describe(&topology, 15, true, &leaves.header);
	assert_int_equal(leaf(&leaves, 0, 0)->eax, 0xd);
	assert_int_equal(leaf(&leaves, 0x80000001, 0)->ecx & (1 << 22 | 2), 1 << 22 | 2);
	assert_int_equal(leaf(&leaves, 0x80000008, 0)->ecx, 3 << 12 | 7);
	assert_int_equal(leaf(&leaves, 0x8000001d, 0)->eax, 1 << 14 | 0x121);
	assert_int_equal(leaf(&leaves, 0x8000001d, 3)->eax, 3 << 14 | 0x163);
	expect(leaf(&leaves, 0x8000001e, 0), 15, 1 << 8 | 3, 1 << 8 | 3, 0);
	/* Before Zen there are no threads to tell of. */
	fill(&leaves, 5, OPTERON);
	leaves.entries[5].ecx = 0;
	cpu_topology_describe(&topology, 1, true, &leaves.header);
	assert_int_equal(leaf(&leaves, 0x80000001, 0)->ecx, 2);
	fill(&leaves, 0xd, ZEN);
	leaves.entries[5].ecx = 0;
	cpu_topology_describe(&single, 1, true, &leaves.header);
	assert_int_equal(leaf(&leaves, 0x80000001, 0)->ecx, 2);
	expect(leaf(&leaves, 0x8000001e, 0), 1, 1, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),  cmocka_unit_test(test_intel), cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_dies), cmocka_unit_test(test_amd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
