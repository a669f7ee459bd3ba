#include "monitor/gdb/description.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const feature_names[GDB_FEATURES] = {
	[GDB_CORE] = "org.gnu.gdb.i386.core",
	[GDB_SSE] = "org.gnu.gdb.i386.sse",
	[GDB_SEGMENTS] = "org.gnu.gdb.i386.segments",
	[GDB_AVX] = "org.gnu.gdb.i386.avx",
	[GDB_AVX512] = "org.gnu.gdb.i386.avx512",
	[GDB_SYSTEM] = "org.kvik.x86.system",
};

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
	case GDB_CORE: print_flags(text, &eflags); break;
	case GDB_SSE:
		print_vec128(text);
		print_flags(text, &mxcsr);
		break;
	case GDB_AVX512:
		print_vec128(text);
		print_vector(text, "v2ui128", "uint128", 2);
		break;
	case GDB_SYSTEM:
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
	      gdb_architecture_name(layout->architecture));
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
