#include "monitor/gdb/registers.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CPUID_AVX	(1u << 28) /* 1.ECX */
#define CPUID_AVX512F	(1u << 16) /* 7.EBX */
#define CPUID_LONG_MODE (1u << 29) /* 8000_0001.EDX */
#define CR0_PE		0x1
#define EFER_LMA	0x400
#define RFLAGS_VM	0x20000
#define MSR_KERNEL_GS_BASE 0xc0000102

/* The legacy region and header of an XSAVE image (SDM vol. 1 §13.4). */
#define FX_FCW	   0
#define FX_FSW	   2
#define FX_FTW	   4
#define FX_FOP	   6
#define FX_FIP	   8
#define FX_FDP	   16
#define FX_MXCSR   24
#define FX_ST	   32
#define FX_XMM	   160
#define XSTATE_BV  512
#define XSTATE_X87 0x1u
#define XSTATE_SSE 0x2u
#define XSTATE_AVX 0x4u
#define XSTATE_OPMASK	 0x20u
#define XSTATE_ZMM_HIGH	 0x40u
#define XSTATE_ZMM16	 0x80u
#define FCW_INIT   0x37f

enum gdb_feature { FEATURE_CORE, FEATURE_SSE, FEATURE_SEGMENTS, FEATURE_AVX, FEATURE_AVX512,
	       FEATURE_SYSTEM, FEATURES };

static const char *const feature_names[FEATURES] = {
	[FEATURE_CORE] = "org.gnu.gdb.i386.core",
	[FEATURE_SSE] = "org.gnu.gdb.i386.sse",
	[FEATURE_SEGMENTS] = "org.gnu.gdb.i386.segments",
	[FEATURE_AVX] = "org.gnu.gdb.i386.avx",
	[FEATURE_AVX512] = "org.gnu.gdb.i386.avx512",
	[FEATURE_SYSTEM] = "org.kvik.x86.system",
};

enum gdb_value {
	VALUE_GPR, VALUE_PC, VALUE_FLAGS, VALUE_SELECTOR, VALUE_ST, VALUE_X87, VALUE_XMM,
	VALUE_MXCSR, VALUE_SEGMENT_BASE, VALUE_YMM_HIGH, VALUE_OPMASK, VALUE_ZMM_HIGH,
	VALUE_ZMM16_LOW, VALUE_ZMM16_MIDDLE, VALUE_ZMM16_HIGH, VALUE_IP, VALUE_CR, VALUE_EFER,
	VALUE_KERNEL_GS_BASE, VALUE_XCR0, VALUE_APIC_BASE, VALUE_TABLE_BASE, VALUE_TABLE_LIMIT,
	VALUE_DR,
};

enum x87 { X87_FCTRL, X87_FSTAT, X87_FTAG, X87_FISEG, X87_FIOFF, X87_FOSEG, X87_FOOFF, X87_FOP };
enum gdb_segment { SEGMENT_CS, SEGMENT_SS, SEGMENT_DS, SEGMENT_ES, SEGMENT_FS, SEGMENT_GS, SEGMENT_TR,
	       SEGMENT_LDT };
enum gdb_table { TABLE_GDT, TABLE_IDT };

/* -- which there are -- */

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

	if (!leaf || leaf->eax < size || leaf->ebx < XSTATE_BV + 64 ||
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
		add(layout, FEATURE_CORE, VALUE_GPR, index, bits,
		    index == RSP_INDEX || index == RBP_INDEX ? "data_ptr" : is_64 ? "int64" : "int32",
		    NULL, is_64 ? names64[index] : names32[index]);
	}
	for (i = 8; i < (is_64 ? 16u : 8u); i++) {
		char name[4];

		snprintf(name, sizeof(name), "r%u", i);
		add(layout, FEATURE_CORE, VALUE_GPR, i, 64, "int64", NULL, name);
	}
	add(layout, FEATURE_CORE, VALUE_PC, 0, bits, "code_ptr", NULL, is_64 ? "rip" : "eip");
	add(layout, FEATURE_CORE, VALUE_FLAGS, 0, 32, "i386_eflags", NULL, "eflags");
	for (i = 0; i < 6; i++)
		add(layout, FEATURE_CORE, VALUE_SELECTOR, i, 32, "int32", NULL, segments[i]);
	add_numbered(layout, FEATURE_CORE, VALUE_ST, 8, 80, "i387_ext", "st", 0, "");
	for (i = 0; i < 8; i++)
		add(layout, FEATURE_CORE, VALUE_X87, i, 32, "int", "float", x87[i]);
}

static void add_system(struct gdb_layout *layout, bool is_64)
{
	static const char *const crs[] = {"cr0", "", "cr2", "cr3", "cr4", "", "", "", "cr8"};
	static const char *const cr_types[] = {"x86_cr0", "", "int64", "int64", "x86_cr4", "", "", "",
					       "int64"};
	static const char *const bases[] = {"cs_base", "ss_base", "ds_base", "es_base", "fs_base",
					    "gs_base", "tr_base", "ldt_base"};
	unsigned i;

	add(layout, FEATURE_SYSTEM, VALUE_IP, 0, 64, "int64", "system", "ip");
	for (i = 0; i <= 8; i++)
		if (*crs[i])
			add(layout, FEATURE_SYSTEM, VALUE_CR, i, 64, cr_types[i], "system", crs[i]);
	add(layout, FEATURE_SYSTEM, VALUE_EFER, 0, 64, "x86_efer", "system", "efer");
	add(layout, FEATURE_SYSTEM, VALUE_KERNEL_GS_BASE, 0, 64, "int64", "system", "k_gs_base");
	add(layout, FEATURE_SYSTEM, VALUE_XCR0, 0, 64, "int64", "system", "xcr0");
	add(layout, FEATURE_SYSTEM, VALUE_APIC_BASE, 0, 64, "int64", "system", "apic_base");
	for (i = SEGMENT_CS; i <= SEGMENT_LDT; i++)
		if (!is_64 || (i != SEGMENT_FS && i != SEGMENT_GS))
			add(layout, FEATURE_SYSTEM, VALUE_SEGMENT_BASE, i, 64, "int64", "system",
			    bases[i]);
	add(layout, FEATURE_SYSTEM, VALUE_SELECTOR, SEGMENT_TR, 32, "int32", "system", "tr");
	add(layout, FEATURE_SYSTEM, VALUE_SELECTOR, SEGMENT_LDT, 32, "int32", "system", "ldt");
	add(layout, FEATURE_SYSTEM, VALUE_TABLE_BASE, TABLE_GDT, 64, "int64", "system", "gdt_base");
	add(layout, FEATURE_SYSTEM, VALUE_TABLE_LIMIT, TABLE_GDT, 32, "int32", "system", "gdt_limit");
	add(layout, FEATURE_SYSTEM, VALUE_TABLE_BASE, TABLE_IDT, 64, "int64", "system", "idt_base");
	add(layout, FEATURE_SYSTEM, VALUE_TABLE_LIMIT, TABLE_IDT, 32, "int32", "system", "idt_limit");
	for (i = 0; i < 8; i++) {
		char name[4];

		snprintf(name, sizeof(name), "dr%u", i);
		if (i != 4 && i != 5)
			add(layout, FEATURE_SYSTEM, VALUE_DR, i, 64, "int64", "system", name);
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
	add_numbered(layout, FEATURE_SSE, VALUE_XMM, vectors, 128, "vec128", "xmm", 0, "");
	add(layout, FEATURE_SSE, VALUE_MXCSR, 0, 32, "i386_mxcsr", "vector", "mxcsr");
	if (is_64) {
		add(layout, FEATURE_SEGMENTS, VALUE_SEGMENT_BASE, SEGMENT_FS, 64, "int", NULL,
		    "fs_base");
		add(layout, FEATURE_SEGMENTS, VALUE_SEGMENT_BASE, SEGMENT_GS, 64, "int", NULL,
		    "gs_base");
	}
	if (layout->ymm_high)
		add_numbered(layout, FEATURE_AVX, VALUE_YMM_HIGH, vectors, 128, "uint128", "ymm", 0,
			     "h");
	if (layout->opmask) {
		add_numbered(layout, FEATURE_AVX512, VALUE_OPMASK, 8, 64, "uint64", "k", 0, "");
		add_numbered(layout, FEATURE_AVX512, VALUE_ZMM_HIGH, vectors, 256, "v2ui128", "zmm",
			     0, "h");
	}
	if (layout->opmask && is_64) {
		add_numbered(layout, FEATURE_AVX512, VALUE_ZMM16_LOW, 16, 128, "vec128", "xmm", 16,
			     "");
		add_numbered(layout, FEATURE_AVX512, VALUE_ZMM16_MIDDLE, 16, 128, "uint128", "ymm",
			     16, "h");
		add_numbered(layout, FEATURE_AVX512, VALUE_ZMM16_HIGH, 16, 256, "v2ui128", "zmm", 16,
			     "h");
	}
	add_system(layout, is_64);
}

/* -- the description -- */

struct description {
	char *bytes;
	size_t size, length;
};

static void print(struct description *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(struct description *text, const char *format, ...)
{
	size_t room = text->length < text->size ? text->size - text->length : 0;
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(room ? text->bytes + text->length : NULL, room, format, arguments);
	va_end(arguments);
	text->length += length;
}

/* Bits with names. */
struct flags {
	const char *id;
	unsigned bytes;
	struct {
		const char *name;
		uint8_t first, last;
	} fields[32];
};

static const struct flags eflags = {"i386_eflags", 4, {
	{"CF", 0, 0}, {"", 1, 1}, {"PF", 2, 2}, {"AF", 4, 4}, {"ZF", 6, 6}, {"SF", 7, 7}, {"TF", 8, 8},
	{"IF", 9, 9}, {"DF", 10, 10}, {"OF", 11, 11}, {"IOPL", 12, 13}, {"NT", 14, 14},
	{"RF", 16, 16}, {"VM", 17, 17}, {"AC", 18, 18}, {"VIF", 19, 19}, {"VIP", 20, 20},
	{"ID", 21, 21}}};
static const struct flags mxcsr = {"i386_mxcsr", 4, {
	{"IE", 0, 0}, {"DE", 1, 1}, {"ZE", 2, 2}, {"OE", 3, 3}, {"UE", 4, 4}, {"PE", 5, 5},
	{"DAZ", 6, 6}, {"IM", 7, 7}, {"DM", 8, 8}, {"ZM", 9, 9}, {"OM", 10, 10}, {"UM", 11, 11},
	{"PM", 12, 12}, {"RC", 13, 14}, {"FZ", 15, 15}}};
static const struct flags cr0 = {"x86_cr0", 8, {
	{"PE", 0, 0}, {"MP", 1, 1}, {"EM", 2, 2}, {"TS", 3, 3}, {"ET", 4, 4}, {"NE", 5, 5},
	{"WP", 16, 16}, {"AM", 18, 18}, {"NW", 29, 29}, {"CD", 30, 30}, {"PG", 31, 31}}};
static const struct flags cr4 = {"x86_cr4", 8, {
	{"VME", 0, 0}, {"PVI", 1, 1}, {"TSD", 2, 2}, {"DE", 3, 3}, {"PSE", 4, 4}, {"PAE", 5, 5},
	{"MCE", 6, 6}, {"PGE", 7, 7}, {"PCE", 8, 8}, {"OSFXSR", 9, 9}, {"OSXMMEXCPT", 10, 10},
	{"UMIP", 11, 11}, {"LA57", 12, 12}, {"VMXE", 13, 13}, {"SMXE", 14, 14},
	{"FSGSBASE", 16, 16}, {"PCIDE", 17, 17}, {"OSXSAVE", 18, 18}, {"SMEP", 20, 20},
	{"SMAP", 21, 21}, {"PKE", 22, 22}, {"CET", 23, 23}, {"PKS", 24, 24}}};
static const struct flags efer = {"x86_efer", 8, {
	{"SCE", 0, 0}, {"LME", 8, 8}, {"LMA", 10, 10}, {"NXE", 11, 11}, {"SVME", 12, 12},
	{"LMSLE", 13, 13}, {"FFXSR", 14, 14}, {"TCE", 15, 15}}};

static void print_flags(struct description *text, const struct flags *flags)
{
	unsigned i;

	print(text, "<flags id=\"%s\" size=\"%u\">", flags->id, flags->bytes);
	for (i = 0; i < 32 && flags->fields[i].name; i++)
		print(text, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", flags->fields[i].name,
		      flags->fields[i].first, flags->fields[i].last);
	print(text, "</flags>");
}

static void print_vector(struct description *text, const char *id, const char *type, unsigned count)
{
	print(text, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>", id, type, count);
}

static void print_vec128(struct description *text)
{
	print_vector(text, "v4f", "ieee_single", 4);
	print_vector(text, "v2d", "ieee_double", 2);
	print_vector(text, "v16i8", "int8", 16);
	print_vector(text, "v8i16", "int16", 8);
	print_vector(text, "v4i32", "int32", 4);
	print_vector(text, "v2i64", "int64", 2);
	print(text, "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
		    "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
		    "<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
		    "<field name=\"v2_int64\" type=\"v2i64\"/>"
		    "<field name=\"uint128\" type=\"uint128\"/></union>");
}

static void print_types(struct description *text, enum gdb_feature feature)
{
	switch (feature) {
	case FEATURE_CORE: print_flags(text, &eflags); break;
	case FEATURE_SSE:
		print_vec128(text);
		print_flags(text, &mxcsr);
		break;
	case FEATURE_AVX512:
		print_vec128(text);
		print_vector(text, "v2ui128", "uint128", 2);
		break;
	case FEATURE_SYSTEM:
		print_flags(text, &cr0);
		print_flags(text, &cr4);
		print_flags(text, &efer);
		break;
	default: break;
	}
}

size_t gdb_layout_describe(const struct gdb_layout *layout, char *bytes, size_t size)
{
	struct description text = {.bytes = bytes, .size = size};
	const struct gdb_register *described;
	int feature = -1;
	unsigned i;

	print(&text, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
		     "<target><architecture>%s</architecture>",
	      architecture_names[layout->architecture]);
	for (i = 0; i < layout->count; i++) {
		described = &layout->registers[i];
		if (described->feature != feature) {
			if (feature >= 0)
				print(&text, "</feature>");
			feature = described->feature;
			print(&text, "<feature name=\"%s\">", feature_names[feature]);
			print_types(&text, feature);
		}
		print(&text, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"", described->name,
		      described->bits, described->type);
		if (described->group)
			print(&text, " group=\"%s\"", described->group);
		print(&text, "/>");
	}
	print(&text, "</feature></target>");
	return text.length < size ? text.length : size;
}

/* -- a vCPU's state -- */

int gdb_state_load(struct gdb_state *state, const struct kvm_vcpu *vcpu)
{
	struct kvm_xcrs xcrs = {0};
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msr = {.header.nmsrs = 1, .entry.index = MSR_KERNEL_GS_BASE};
	int result;

	memset(state, 0, sizeof(*state));
	result = kvm_vcpu_ioctl(vcpu, KVM_GET_REGS, &state->regs);
	if (result == 0)
		result = kvm_vcpu_ioctl(vcpu, KVM_GET_SREGS, &state->sregs);
	if (result == 0)
		result = kvm_vcpu_ioctl(vcpu, KVM_GET_XSAVE, &state->xsave);
	if (result == 0)
		result = kvm_vcpu_ioctl(vcpu, KVM_GET_DEBUGREGS, &state->debugregs);
	if (result < 0)
		return result;
	/* What a CPU without it reads as 0. */
	if (kvm_vcpu_ioctl(vcpu, KVM_GET_MSRS, &msr) == 1)
		state->kernel_gs_base = msr.entry.data;
	if (kvm_vcpu_ioctl(vcpu, KVM_GET_XCRS, &xcrs) == 0 && xcrs.nr_xcrs)
		state->xcr0 = xcrs.xcrs[0].value;
	return 0;
}

int gdb_state_store(const struct gdb_state *state, const struct kvm_vcpu *vcpu)
{
	struct gdb_state *written = (struct gdb_state *)state; /* the contract's argument is no const */
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msr = {.header.nmsrs = 1,
		 .entry = {.index = MSR_KERNEL_GS_BASE, .data = state->kernel_gs_base}};
	int result = 0;

	if (state->sregs_changed)
		result = kvm_vcpu_ioctl(vcpu, KVM_SET_SREGS, &written->sregs);
	if (result == 0 && state->regs_changed)
		result = kvm_vcpu_ioctl(vcpu, KVM_SET_REGS, &written->regs);
	if (result == 0 && state->xsave_changed)
		result = kvm_vcpu_ioctl(vcpu, KVM_SET_XSAVE, &written->xsave);
	if (result == 0 && state->debugregs_changed)
		result = kvm_vcpu_ioctl(vcpu, KVM_SET_DEBUGREGS, &written->debugregs);
	if (result == 0 && state->msr_changed)
		result = kvm_vcpu_ioctl(vcpu, KVM_SET_MSRS, &msr) == 1 ? 0 : -EINVAL;
	return result;
}

static bool is_64_bit_code(const struct gdb_state *state)
{
	return (state->sregs.efer & EFER_LMA) && state->sregs.cs.l;
}

/* The linear address of the next instruction. */
static uint64_t program_counter(const struct gdb_state *state)
{
	if (is_64_bit_code(state))
		return state->regs.rip;
	return (uint32_t)(state->sregs.cs.base + state->regs.rip);
}

static uint8_t *image(const struct gdb_state *state)
{
	return (uint8_t *)state->xsave.region;
}

static uint32_t load(const uint8_t *bytes, unsigned size)
{
	uint32_t value = 0;

	memcpy(&value, bytes, size);
	return value;
}

/* Components that are not marked as present are in their initial state: zeroes, but for two words. */
static void begin_component(const struct gdb_layout *layout, struct gdb_state *state,
			    uint32_t component)
{
	uint8_t *bytes = image(state);

	if (load(bytes + XSTATE_BV, 4) & component)
		return;
	switch (component) {
	case XSTATE_X87:
		memset(bytes, 0, FX_MXCSR);
		memset(bytes + FX_ST, 0, FX_XMM - FX_ST);
		memcpy(bytes + FX_FCW, &(uint16_t){FCW_INIT}, 2);
		break;
	case XSTATE_SSE: memset(bytes + FX_XMM, 0, 256); break;
	case XSTATE_AVX: memset(bytes + layout->ymm_high, 0, 256); break;
	case XSTATE_OPMASK: memset(bytes + layout->opmask, 0, 64); break;
	case XSTATE_ZMM_HIGH: memset(bytes + layout->zmm_high, 0, 512); break;
	case XSTATE_ZMM16: memset(bytes + layout->zmm16, 0, 1024); break;
	}
	bytes[XSTATE_BV] |= component;
}

/* The tag word of before FXSAVE, which keeps only whether a register is empty (SDM vol. 2, FXSAVE). */
static uint32_t full_tags(const uint8_t *bytes)
{
	unsigned top = load(bytes + FX_FSW, 2) >> 11 & 7, i;
	uint32_t tags = 0;

	for (i = 0; i < 8; i++) {
		const uint8_t *st = bytes + FX_ST + 16 * ((i - top) & 7);
		unsigned exponent = load(st + 8, 2) & 0x7fff, tag = 0;
		uint64_t mantissa;

		memcpy(&mantissa, st, 8);
		if (!(bytes[FX_FTW] >> i & 1))
			tag = 3;
		else if (exponent == 0x7fff || (exponent == 0 && mantissa) ||
			 (exponent && !(mantissa >> 63)))
			tag = 2;
		else if (exponent == 0)
			tag = 1;
		tags |= tag << 2 * i;
	}
	return tags;
}

static uint32_t get_x87(const struct gdb_state *state, enum x87 which)
{
	const uint8_t *bytes = image(state);
	bool is_initial = !(load(bytes + XSTATE_BV, 4) & XSTATE_X87);

	if (is_initial)
		return which == X87_FCTRL ? FCW_INIT : which == X87_FTAG ? 0xffff : 0;
	switch (which) {
	case X87_FCTRL: return load(bytes + FX_FCW, 2);
	case X87_FSTAT: return load(bytes + FX_FSW, 2);
	case X87_FTAG: return full_tags(bytes);
	case X87_FISEG: return load(bytes + FX_FIP + 4, 2);
	case X87_FIOFF: return load(bytes + FX_FIP, 4);
	case X87_FOSEG: return load(bytes + FX_FDP + 4, 2);
	case X87_FOOFF: return load(bytes + FX_FDP, 4);
	case X87_FOP: return load(bytes + FX_FOP, 2);
	}
	return 0;
}

static void set_x87(struct gdb_state *state, enum x87 which, uint32_t value)
{
	uint8_t *bytes = image(state);
	unsigned i;

	switch (which) {
	case X87_FCTRL: memcpy(bytes + FX_FCW, &value, 2); break;
	case X87_FSTAT: memcpy(bytes + FX_FSW, &value, 2); break;
	case X87_FTAG:
		bytes[FX_FTW] = 0;
		for (i = 0; i < 8; i++)
			bytes[FX_FTW] |= ((value >> 2 * i & 3) != 3) << i;
		break;
	case X87_FISEG: memcpy(bytes + FX_FIP + 4, &value, 2); break;
	case X87_FIOFF: memcpy(bytes + FX_FIP, &value, 4); break;
	case X87_FOSEG: memcpy(bytes + FX_FDP + 4, &value, 2); break;
	case X87_FOOFF: memcpy(bytes + FX_FDP, &value, 4); break;
	case X87_FOP: memcpy(bytes + FX_FOP, &value, 2); break;
	}
}

/* Where a vector or x87 register lies in the image, as part of which component. */
static uint32_t vector_place(const struct gdb_layout *layout, const struct gdb_register *which,
			     uint32_t *component)
{
	switch (which->value) {
	case VALUE_ST: *component = XSTATE_X87; return FX_ST + 16 * which->index;
	case VALUE_XMM: *component = XSTATE_SSE; return FX_XMM + 16 * which->index;
	case VALUE_YMM_HIGH: *component = XSTATE_AVX; return layout->ymm_high + 16 * which->index;
	case VALUE_OPMASK: *component = XSTATE_OPMASK; return layout->opmask + 8 * which->index;
	case VALUE_ZMM_HIGH:
		*component = XSTATE_ZMM_HIGH;
		return layout->zmm_high + 32 * which->index;
	case VALUE_ZMM16_LOW: *component = XSTATE_ZMM16; return layout->zmm16 + 64 * which->index;
	case VALUE_ZMM16_MIDDLE:
		*component = XSTATE_ZMM16;
		return layout->zmm16 + 64 * which->index + 16;
	case VALUE_ZMM16_HIGH:
		*component = XSTATE_ZMM16;
		return layout->zmm16 + 64 * which->index + 32;
	default: return 0;
	}
}

static struct kvm_segment *segment_of(const struct gdb_state *state, enum gdb_segment segment)
{
	const struct kvm_sregs *sregs = &state->sregs;
	const struct kvm_segment *segments[] = {&sregs->cs, &sregs->ss, &sregs->ds, &sregs->es,
						&sregs->fs, &sregs->gs, &sregs->tr, &sregs->ldt};

	return (struct kvm_segment *)segments[segment];
}

/* The eighth is CR8; there are none of the other numbers. */
static __u64 *control_register(const struct gdb_state *state, unsigned number)
{
	struct kvm_sregs *sregs = (struct kvm_sregs *)&state->sregs;

	switch (number) {
	case 0: return &sregs->cr0;
	case 2: return &sregs->cr2;
	case 3: return &sregs->cr3;
	case 4: return &sregs->cr4;
	default: return &sregs->cr8;
	}
}

static __u64 *debug_register(const struct gdb_state *state, unsigned number)
{
	struct kvm_debugregs *debugregs = (struct kvm_debugregs *)&state->debugregs;

	return number < 4 ? &debugregs->db[number] : number == 6 ? &debugregs->dr6 : &debugregs->dr7;
}

/* What fits into 64 bits. */
static uint64_t get_word(const struct gdb_state *state, const struct gdb_register *which)
{
	const struct kvm_sregs *sregs = &state->sregs;

	switch (which->value) {
	case VALUE_GPR: return (&state->regs.rax)[which->index];
	case VALUE_PC: return program_counter(state);
	case VALUE_IP: return state->regs.rip;
	case VALUE_FLAGS: return state->regs.rflags;
	case VALUE_SELECTOR: return segment_of(state, which->index)->selector;
	case VALUE_SEGMENT_BASE: return segment_of(state, which->index)->base;
	case VALUE_X87: return get_x87(state, which->index);
	case VALUE_MXCSR: return load(image(state) + FX_MXCSR, 4);
	case VALUE_CR: return *control_register(state, which->index);
	case VALUE_DR: return *debug_register(state, which->index);
	case VALUE_EFER: return sregs->efer;
	case VALUE_KERNEL_GS_BASE: return state->kernel_gs_base;
	case VALUE_XCR0: return state->xcr0;
	case VALUE_APIC_BASE: return sregs->apic_base;
	case VALUE_TABLE_BASE:
		return which->index == TABLE_GDT ? sregs->gdt.base : sregs->idt.base;
	case VALUE_TABLE_LIMIT:
		return which->index == TABLE_GDT ? sregs->gdt.limit : sregs->idt.limit;
	default: return 0;
	}
}

void gdb_register_get(const struct gdb_layout *layout, const struct gdb_state *state,
		      unsigned number, uint8_t *bytes)
{
	const struct gdb_register *which = &layout->registers[number];
	uint32_t component = 0, place = vector_place(layout, which, &component);
	uint64_t word;

	if (!place) {
		word = get_word(state, which);
		memcpy(bytes, &word, which->bits / 8);
	} else if (load(image(state) + XSTATE_BV, 4) & component) {
		memcpy(bytes, image(state) + place, which->bits / 8);
	} else {
		memset(bytes, 0, which->bits / 8);
	}
}

/* In real and virtual-8086 mode a selector is a base; elsewhere it would take a descriptor. */
static int set_selector(struct gdb_state *state, enum gdb_segment segment, uint64_t value)
{
	struct kvm_segment *changed = segment_of(state, segment);

	if (((state->sregs.cr0 & CR0_PE) && !(state->regs.rflags & RFLAGS_VM)) ||
	    segment > SEGMENT_GS || value > 0xffff)
		return -EINVAL;
	changed->selector = value;
	changed->base = value << 4;
	state->sregs_changed = true;
	return 0;
}

static void set_pc(struct gdb_state *state, uint64_t value)
{
	state->regs.rip = is_64_bit_code(state) ? value : (uint32_t)(value - state->sregs.cs.base);
	state->regs_changed = true;
}

/* A word of kvm_sregs. */
static int set_system(struct gdb_state *state, __u64 *place, uint64_t value)
{
	*place = value;
	state->sregs_changed = true;
	return 0;
}

static int set_table(struct gdb_state *state, const struct gdb_register *which, uint64_t value)
{
	struct kvm_dtable *table =
		which->index == TABLE_GDT ? &state->sregs.gdt : &state->sregs.idt;

	if (which->value == VALUE_TABLE_BASE)
		table->base = value;
	else if (value > 0xffff)
		return -EINVAL;
	else
		table->limit = value;
	state->sregs_changed = true;
	return 0;
}

static int set_word(const struct gdb_layout *layout, struct gdb_state *state,
		    const struct gdb_register *which, uint64_t value)
{
	switch (which->value) {
	case VALUE_GPR:
		(&state->regs.rax)[which->index] = value;
		break;
	case VALUE_PC: set_pc(state, value); break;
	case VALUE_IP: state->regs.rip = value; break;
	case VALUE_FLAGS: state->regs.rflags = value; break;
	case VALUE_SELECTOR: return set_selector(state, which->index, value);
	case VALUE_SEGMENT_BASE: return set_system(state, &segment_of(state, which->index)->base, value);
	case VALUE_X87:
		begin_component(layout, state, XSTATE_X87);
		set_x87(state, which->index, value);
		state->xsave_changed = true;
		return 0;
	case VALUE_MXCSR:
		begin_component(layout, state, XSTATE_SSE);
		memcpy(image(state) + FX_MXCSR, &value, 4);
		state->xsave_changed = true;
		return 0;
	case VALUE_CR: return set_system(state, control_register(state, which->index), value);
	case VALUE_DR:
		*debug_register(state, which->index) = value;
		state->debugregs_changed = true;
		return 0;
	case VALUE_EFER: return set_system(state, &state->sregs.efer, value);
	case VALUE_KERNEL_GS_BASE:
		state->kernel_gs_base = value;
		state->msr_changed = true;
		return 0;
	case VALUE_TABLE_BASE:
	case VALUE_TABLE_LIMIT: return set_table(state, which, value);
	default: return -EINVAL;
	}
	state->regs_changed = true;
	return 0;
}

int gdb_register_set(const struct gdb_layout *layout, struct gdb_state *state, unsigned number,
		     const uint8_t *bytes)
{
	const struct gdb_register *which = &layout->registers[number];
	uint32_t component = 0, place = vector_place(layout, which, &component);
	uint8_t old[GDB_REGISTER_BYTES_MAX];
	uint64_t word = 0;

	gdb_register_get(layout, state, number, old);
	if (memcmp(old, bytes, which->bits / 8) == 0)
		return 0;
	if (!place) {
		memcpy(&word, bytes, which->bits / 8);
		return set_word(layout, state, which, word);
	}
	begin_component(layout, state, component);
	memcpy(image(state) + place, bytes, which->bits / 8);
	state->xsave_changed = true;
	return 0;
}
