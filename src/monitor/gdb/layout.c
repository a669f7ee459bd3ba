#include "monitor/gdb/layout.h"

#include <stdio.h>
#include <string.h>

#define CPUID_AVX	(1u << 28) /* 1.ECX */
#define CPUID_AVX512F	(1u << 16) /* 7.EBX */
#define CPUID_LONG_MODE (1u << 29) /* 8000_0001.EDX */

#define XSAVE_FIRST_BYTES 576 /* the legacy region and the header of an image (SDM vol. 1 §13.4) */

static const char *const architecture_names[GDB_ARCHITECTURES] = {
	[GDB_X86_64] = "i386:x86-64", [GDB_I386] = "i386", [GDB_I8086] = "i8086",
};

int gdb_architecture_find(const char *name)
{
	int i;

	for (i = 0; i < GDB_ARCHITECTURES; i++)
		if (strcmp(architecture_names[i], name) == 0)
			return i;
	return strcmp(name, "x86-64") == 0 ? (int)GDB_X86_64 : -1;
}

const char *gdb_architecture_name(enum gdb_architecture architecture)
{
	return architecture_names[architecture];
}

static const struct kvm_cpuid_entry2 *find_leaf(const struct kvm_cpuid2 *cpuid, uint32_t function,
						uint32_t index)
{
	unsigned i;

	for (i = 0; cpuid && i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function &&
		    (!(cpuid->entries[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) ||
		     cpuid->entries[i].index == index))
			return &cpuid->entries[i];
	return NULL;
}

bool gdb_cpuid_has_long_mode(const struct kvm_cpuid2 *cpuid)
{
	const struct kvm_cpuid_entry2 *leaf = find_leaf(cpuid, 0x80000001, 0);

	return leaf && (leaf->edx & CPUID_LONG_MODE);
}

/* Where a component of `size` bytes is in the image; 0: the CPU has none. */
static uint32_t find_component(const struct kvm_cpuid2 *cpuid, unsigned number, uint32_t size)
{
	const struct kvm_cpuid_entry2 *leaf = find_leaf(cpuid, 0xd, number);

	if (!leaf || leaf->eax < size || leaf->ebx < XSAVE_FIRST_BYTES ||
	    leaf->ebx > sizeof(struct kvm_xsave) - size)
		return 0;
	return leaf->ebx;
}

static void find_components(struct gdb_layout *layout, const struct kvm_cpuid2 *cpuid)
{
	const struct kvm_cpuid_entry2 *leaf1 = find_leaf(cpuid, 1, 0);
	const struct kvm_cpuid_entry2 *leaf7 = find_leaf(cpuid, 7, 0);

	if (!leaf1 || !(leaf1->ecx & CPUID_AVX))
		return;
	layout->ymm_high = find_component(cpuid, 2, 256);
	if (!layout->ymm_high || !leaf7 || !(leaf7->ebx & CPUID_AVX512F))
		return;
	layout->opmask = find_component(cpuid, 5, 64);
	layout->zmm_high = find_component(cpuid, 6, 512);
	layout->zmm16 = find_component(cpuid, 7, 1024);
	if (!layout->opmask || !layout->zmm_high || !layout->zmm16)
		layout->opmask = layout->zmm_high = layout->zmm16 = 0;
}

static void add(struct gdb_layout *layout, enum gdb_feature feature, enum gdb_value value, unsigned index,
		unsigned bits, const char *type, const char *group, const char *name)
{
	struct gdb_register *added = &layout->registers[layout->count++];

	*added = (struct gdb_register){.feature = feature, .value = value, .index = index,
				       .bits = bits, .type = type, .group = group};
	snprintf(added->name, sizeof(added->name), "%s", name);
}

/* `count` registers whose names are numbered from `first` on. */
static void add_numbered(struct gdb_layout *layout, enum gdb_feature feature, enum gdb_value value,
			 unsigned count, unsigned bits, const char *type, const char *prefix,
			 unsigned first, const char *suffix)
{
	char name[16];
	unsigned i;

	for (i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s%u%s", prefix, first + i, suffix);
		add(layout, feature, value, i, bits, type, NULL, name);
	}
}

/* As struct kvm_regs has them. */
static const char *const names64[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp"};
static const char *const names32[] = {"eax", "ebx", "ecx", "edx", "esi", "edi", "esp", "ebp"};
static const uint8_t order64[] = {0, 1, 2, 3, 4, 5, 7, 6};
static const uint8_t order32[] = {0, 2, 3, 1, 6, 7, 4, 5};
#define RSP_INDEX 6
#define RBP_INDEX 7

static void add_core(struct gdb_layout *layout, bool is_64)
{
	static const char *const segments[] = {"cs", "ss", "ds", "es", "fs", "gs"};
	static const char *const x87[] = {"fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg",
					  "fooff", "fop"};
	unsigned bits = is_64 ? 64 : 32, i, index;

	for (i = 0; i < 8; i++) {
		index = is_64 ? order64[i] : order32[i];
		add(layout, GDB_CORE, VALUE_GPR, index, bits,
		    index == RSP_INDEX || index == RBP_INDEX ? "data_ptr" : is_64 ? "int64" : "int32",
		    NULL, is_64 ? names64[index] : names32[index]);
	}
	for (i = 8; i < (is_64 ? 16u : 8u); i++) {
		char name[4];

		snprintf(name, sizeof(name), "r%u", i);
		add(layout, GDB_CORE, VALUE_GPR, i, 64, "int64", NULL, name);
	}
	add(layout, GDB_CORE, VALUE_PC, 0, bits, "code_ptr", NULL, is_64 ? "rip" : "eip");
	add(layout, GDB_CORE, VALUE_FLAGS, 0, 32, "i386_eflags", NULL, "eflags");
	for (i = 0; i < 6; i++)
		add(layout, GDB_CORE, VALUE_SELECTOR, i, 32, "int32", NULL, segments[i]);
	add_numbered(layout, GDB_CORE, VALUE_ST, 8, 80, "i387_ext", "st", 0, "");
	for (i = 0; i < 8; i++)
		add(layout, GDB_CORE, VALUE_X87, i, 32, "int", "float", x87[i]);
}

static void add_system(struct gdb_layout *layout, bool is_64)
{
	static const char *const crs[] = {"cr0", "", "cr2", "cr3", "cr4", "", "", "", "cr8"};
	static const char *const cr_types[] = {"x86_cr0", "", "int64", "int64", "x86_cr4", "", "", "",
					       "int64"};
	static const char *const bases[] = {"cs_base", "ss_base", "ds_base", "es_base", "fs_base",
					    "gs_base", "tr_base", "ldt_base"};
	unsigned i;

	add(layout, GDB_SYSTEM, VALUE_IP, 0, 64, "int64", "system", "ip");
	for (i = 0; i <= 8; i++)
		if (*crs[i])
			add(layout, GDB_SYSTEM, VALUE_CR, i, 64, cr_types[i], "system", crs[i]);
	add(layout, GDB_SYSTEM, VALUE_EFER, 0, 64, "x86_efer", "system", "efer");
	add(layout, GDB_SYSTEM, VALUE_KERNEL_GS_BASE, 0, 64, "int64", "system", "k_gs_base");
	add(layout, GDB_SYSTEM, VALUE_XCR0, 0, 64, "int64", "system", "xcr0");
	add(layout, GDB_SYSTEM, VALUE_APIC_BASE, 0, 64, "int64", "system", "apic_base");
	for (i = SEGMENT_CS; i <= SEGMENT_LDT; i++)
		if (!is_64 || (i != SEGMENT_FS && i != SEGMENT_GS))
			add(layout, GDB_SYSTEM, VALUE_SEGMENT_BASE, i, 64, "int64", "system",
			    bases[i]);
	add(layout, GDB_SYSTEM, VALUE_SELECTOR, SEGMENT_TR, 32, "int32", "system", "tr");
	add(layout, GDB_SYSTEM, VALUE_SELECTOR, SEGMENT_LDT, 32, "int32", "system", "ldt");
	add(layout, GDB_SYSTEM, VALUE_TABLE_BASE, TABLE_GDT, 64, "int64", "system", "gdt_base");
	add(layout, GDB_SYSTEM, VALUE_TABLE_LIMIT, TABLE_GDT, 32, "int32", "system", "gdt_limit");
	add(layout, GDB_SYSTEM, VALUE_TABLE_BASE, TABLE_IDT, 64, "int64", "system", "idt_base");
	add(layout, GDB_SYSTEM, VALUE_TABLE_LIMIT, TABLE_IDT, 32, "int32", "system", "idt_limit");
	for (i = 0; i < 8; i++) {
		char name[4];

		snprintf(name, sizeof(name), "dr%u", i);
		if (i != 4 && i != 5)
			add(layout, GDB_SYSTEM, VALUE_DR, i, 64, "int64", "system", name);
	}
}

void gdb_layout_make(struct gdb_layout *layout, enum gdb_architecture architecture,
		     const struct kvm_cpuid2 *cpuid)
{
	bool is_64 = architecture == GDB_X86_64;
	unsigned vectors = is_64 ? 16 : 8;

	memset(layout, 0, sizeof(*layout));
	layout->architecture = architecture;
	find_components(layout, cpuid);
	add_core(layout, is_64);
	add_numbered(layout, GDB_SSE, VALUE_XMM, vectors, 128, "vec128", "xmm", 0, "");
	add(layout, GDB_SSE, VALUE_MXCSR, 0, 32, "i386_mxcsr", "vector", "mxcsr");
	if (is_64) {
		add(layout, GDB_SEGMENTS, VALUE_SEGMENT_BASE, SEGMENT_FS, 64, "int", NULL,
		    "fs_base");
		add(layout, GDB_SEGMENTS, VALUE_SEGMENT_BASE, SEGMENT_GS, 64, "int", NULL,
		    "gs_base");
	}
	if (layout->ymm_high)
		add_numbered(layout, GDB_AVX, VALUE_YMM_HIGH, vectors, 128, "uint128", "ymm", 0,
			     "h");
	if (layout->opmask) {
		add_numbered(layout, GDB_AVX512, VALUE_OPMASK, 8, 64, "uint64", "k", 0, "");
		add_numbered(layout, GDB_AVX512, VALUE_ZMM_HIGH, vectors, 256, "v2ui128", "zmm",
			     0, "h");
	}
	if (layout->opmask && is_64) {
		add_numbered(layout, GDB_AVX512, VALUE_ZMM16_LOW, 16, 128, "vec128", "xmm", 16,
			     "");
		add_numbered(layout, GDB_AVX512, VALUE_ZMM16_MIDDLE, 16, 128, "uint128", "ymm",
			     16, "h");
		add_numbered(layout, GDB_AVX512, VALUE_ZMM16_HIGH, 16, 256, "v2ui128", "zmm", 16,
			     "h");
	}
	add_system(layout, is_64);
}
