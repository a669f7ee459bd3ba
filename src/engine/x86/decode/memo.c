#include "engine/x86/decode/memo.h"

#include "engine/x86/bytes.h"
#include "engine/x86/cpu.h"
#include "util/zeroes.h"

#define ENTRIES_BITS 12
#define ENTRIES      (1u << ENTRIES_BITS)

#define WORD_BYTES 16 /* looked at, of an instruction's 15 at most */

/* A value in the instruction's bytes; size 0: none that differs from one instruction to another. */
struct field {
	uint8_t at, size; /* bytes */
	bool is_signed;
};

struct memo_entry {
	/* The instruction's bytes where mask has ones. */
	uint64_t value[2], mask[2];
	uint32_t mode;
	struct field displacement, immediate;
	struct insn insn; /* length 0: nothing is kept here */
	struct insn_form form;
};

struct insn_memo {
	struct memo_entry entries[ENTRIES];
	bool is_touched;
};

struct insn_memo *insn_memo_create(void)
{
	return zeroes_map(sizeof(struct insn_memo));
}

void insn_memo_destroy(struct insn_memo *memo)
{
	zeroes_unmap(memo, sizeof(*memo));
}

void insn_memo_forget(struct insn_memo *memo)
{
	if (!memo || !memo->is_touched)
		return;
	for (unsigned i = 0; i < ENTRIES; i++)
		if (memo->entries[i].insn.length)
			memo->entries[i].insn.length = 0;
}

static bool bit_of(const uint64_t *words, uint8_t byte)
{
	return words[byte / 64] >> byte % 64 & 1;
}

/*
 * How many bytes tell most: prefixes, opcode, ModRM and SIB (SDM vol. 2 §2.1, appendix A). Where this is
 * wrong about an opcode, instructions are only found less often.
 */
static unsigned opening_bytes(const uint8_t *bytes)
{
	static const uint64_t prefixes[4] = { 0x4040404000000000, 0x000000f00000ffff, 0,
					      0x000d000000000000 };
	static const uint64_t with_modrm[4] = { 0x0f0f0f0f0f0f0f0f, 0x00000a0800000000,
						0x000000000000ffff, 0xc0c00000ff0f00f3 };
	static const uint64_t without_modrm_0f[4] = { 0x00ff000000004be0, 0x0080000000000000,
						      0x000007070000ffff, 0x000000000000ff00 };
	unsigned at = 0;
	bool has_modrm;

	while (at < 4 && bit_of(prefixes, bytes[at]))
		at++;
	if (bytes[at] == 0x0f) {
		at++;
		has_modrm = !bit_of(without_modrm_0f, bytes[at]);
		if (bytes[at] == 0x38 || bytes[at] == 0x3a)
			at++;
	} else {
		has_modrm = bit_of(with_modrm, bytes[at]);
	}
	at++;
	if (has_modrm)
		at += bytes[at] < 0xc0 && (bytes[at] & 7) == 4 ? 2 : 1;
	return at;
}

static unsigned entry_number(const uint8_t *bytes, uint32_t mode)
{
	unsigned size = opening_bytes(bytes);
	uint64_t opening = bytes_load64(bytes) & (size < 8 ? (1ull << size * 8) - 1 : UINT64_MAX);

	return (unsigned)((opening ^ (uint64_t)mode << 56) * 0x9e3779b97f4a7c15ull >> (64 - ENTRIES_BITS));
}

static const struct memo_entry *find(const struct insn_memo *memo, const uint8_t *bytes, size_t size,
				     uint32_t mode)
{
	const struct memo_entry *entry;

	if (!memo || size < WORD_BYTES)
		return NULL;
	entry = &memo->entries[entry_number(bytes, mode)];
	if (((bytes_load64(bytes) ^ entry->value[0]) & entry->mask[0]) |
	    ((bytes_load64(bytes + 8) ^ entry->value[1]) & entry->mask[1]))
		return NULL;
	return entry->insn.length && entry->mode == mode ? entry : NULL;
}

/* The field's value; its bytes are among the first 15. */
static int64_t field_read(const struct field *field, const uint8_t *bytes)
{
	const uint8_t *at = bytes + field->at;

	switch (field->size) {
	case 1: return field->is_signed ? (int8_t)*at : *at;
	case 2: return field->is_signed ? (int16_t)bytes_load16(at) : bytes_load16(at);
	case 4: return field->is_signed ? (int64_t)(int32_t)bytes_load32(at) : bytes_load32(at);
	default: return (int64_t)bytes_load64(at);
	}
}

bool insn_memo_find(const struct insn_memo *memo, const uint8_t *bytes, size_t size, uint32_t mode,
		    struct insn *insn, struct insn_form *form)
{
	const struct memo_entry *entry = find(memo, bytes, size, mode);

	if (!entry)
		return false;
	*insn = entry->insn;
	if (entry->displacement.size)
		insn->displacement = field_read(&entry->displacement, bytes);
	if (entry->immediate.size)
		insn->immediate = field_read(&entry->immediate, bytes);
	if (form)
		*form = entry->form;
	return true;
}

const struct insn *insn_memo_see(const struct insn_memo *memo, const uint8_t *bytes, size_t size,
				 uint32_t mode)
{
	const struct memo_entry *entry = find(memo, bytes, size, mode);

	return entry ? &entry->insn : NULL;
}

static bool size_is_whole(unsigned bits)
{
	return bits == 8 || bits == 16 || bits == 32 || bits == 64;
}

/* The address's displacement: handlers and forms do not depend on what it is. */
static struct field displacement_of(const struct insn *insn, const struct decoded *decoded)
{
	const ZydisDecodedInstruction *in = decoded->instruction;
	struct field field = { in->raw.disp.offset, in->raw.disp.size / 8, true };

	/* Not those of MOV to and from plain addresses, which are rare. */
	if ((in->raw.disp.size != 8 && in->raw.disp.size != 32) || !(in->attributes & ZYDIS_ATTRIB_HAS_MODRM) ||
	    field_read(&field, decoded->bytes) != insn->displacement)
		return (struct field){ .size = 0 };
	return field;
}

/* Whether the row's handler and what is known of flags are the same for any immediate value. */
static bool immediate_is_free(const struct insn *insn, const ZydisDecodedInstruction *in)
{
	if (in->raw.imm[1].size || !size_is_whole(in->raw.imm[0].size))
		return false;
	if (in->raw.imm[0].is_relative)
		return true;
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_BINARY:
	case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_PUSH: return !(insn->traits & INSN_SHIFTS);
	default: return false;
	}
}

static struct field immediate_of(const struct insn *insn, const struct decoded *decoded)
{
	const ZydisDecodedInstruction *in = decoded->instruction;
	struct field field = { in->raw.imm[0].offset, in->raw.imm[0].size / 8,
			       in->raw.imm[0].is_signed || in->raw.imm[0].is_relative };

	if (!immediate_is_free(insn, in) || field_read(&field, decoded->bytes) != insn->immediate)
		return (struct field){ .size = 0 };
	return field;
}

static void leave_out(struct memo_entry *entry, const struct field *field)
{
	for (unsigned i = field->at; i < (unsigned)field->at + field->size; i++)
		entry->mask[i / 8] &= ~(0xffull << i % 8 * 8);
}

void insn_memo_keep(struct insn_memo *memo, const struct insn *insn, const struct insn_form *form,
		    const struct decoded *decoded)
{
	const ZydisDecodedInstruction *in = decoded->instruction;
	uint8_t bytes[WORD_BYTES] = { 0 };
	struct memo_entry *entry;

	if (!memo || (decoded->mode & CPU_MODE_CODE_MASK) != CPU_MODE_CODE64 || form->encoding != INSN_LEGACY ||
	    insn->thunk || in->attributes & ZYDIS_ATTRIB_HAS_ADDRESSSIZE)
		return;
	/* They are looked at by hash, and soon all of them: of a CPU that runs. */
	if (!memo->is_touched)
		zeroes_touch(memo, sizeof(*memo));
	memo->is_touched = true;
	bytes_copy(bytes, decoded->bytes, insn->length);
	entry = &memo->entries[entry_number(bytes, decoded->mode)];
	*entry = (struct memo_entry){
		.value = { bytes_load64(bytes), bytes_load64(bytes + 8) },
		.mode = decoded->mode,
		.displacement = displacement_of(insn, decoded),
		.immediate = immediate_of(insn, decoded),
		.insn = *insn,
		.form = *form,
	};
	for (unsigned i = 0; i < insn->length; i++)
		entry->mask[i / 8] |= 0xffull << i % 8 * 8;
	leave_out(entry, &entry->displacement);
	leave_out(entry, &entry->immediate);
}
