/*
 * Emission of x86-64 machine code: a bounded buffer and the few instructions that the translator
 * inserts itself. Copied guest instructions come from reencode.c.
 *
 * Every inserted instruction here leaves RFLAGS alone unless its name says otherwise, because the
 * guest's arithmetic flags live in the host's.
 */
#ifndef KVIK_ENGINE_RUN_JIT_EMIT_EMITTER_H
#define KVIK_ENGINE_RUN_JIT_EMIT_EMITTER_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/run/jit/analyse/registers.h"

/* What jumps depend on, as their opcodes have it (SDM vol. 1 appendix B); EQUAL is ZERO, too, and BELOW
 * CARRY. All 16 are the guest's; those with a name are looked at here. */
enum host_condition {
	HOST_BELOW = 2, HOST_NOT_BELOW, HOST_EQUAL, HOST_NOT_EQUAL, HOST_NOT_ABOVE, HOST_ABOVE,
	HOST_CONDITIONS = 16,
};

static inline enum host_condition condition_not(enum host_condition condition)
{
	return condition ^ 1;
}

/* Where a block's code names stubs, by displacements of 32 bits: what of it depends on its place. */
struct emit_externals {
	unsigned count; /* more than there is room for: not all are here */
	struct { uint16_t at; const uint8_t *target; } list[512];
};

/* A stretch of the code cache under construction, seen through its writable mapping. */
struct emitter {
	uint8_t *base;  /* writable address of byte 0 */
	uint8_t *code;  /* executable address of byte 0 */
	size_t position, size; /* bytes */
	bool overflow;  /* something did not fit: the block must be abandoned */
	unsigned unbound; /* jumps forward whose displacement is still to come */
	struct emit_externals *externals; /* NULL: nobody asks */
};

static inline void emit8(struct emitter *e, uint8_t byte)
{
	if (e->position < e->size)
		e->base[e->position++] = byte;
	else
		e->overflow = true;
}

static inline void emit_bytes(struct emitter *e, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		emit8(e, bytes[i]);
}

static inline void emit32(struct emitter *e, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		emit8(e, value >> (8 * i));
}

static inline void emit64(struct emitter *e, uint64_t value)
{
	emit32(e, value);
	emit32(e, value >> 32);
}

/* REX prefix; always emitted where a byte register may need it (`force`). */
static inline void emit_rex(struct emitter *e, bool w, unsigned reg, unsigned index, unsigned base)
{
	uint8_t rex = 0x40 | w << 3 | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 | (base >> 3 & 1);

	if (rex != 0x40)
		emit8(e, rex);
}

/* ModRM (and SIB) for gs:[index * scale + offset]; index HOST_NONE for none. */
static inline void emit_gs_modrm(struct emitter *e, unsigned reg, unsigned index, unsigned shift,
				 int32_t offset)
{
	emit8(e, (reg & 7) << 3 | 4);
	emit8(e, index == HOST_NONE ? 0x25 : shift << 6 | (index & 7) << 3 | 5);
	emit32(e, offset);
}

/* opcode reg, gs:[index << shift + offset] (or the store direction, by opcode). */
static inline void emit_gs_op(struct emitter *e, bool w, uint8_t opcode, unsigned reg, unsigned index,
			      unsigned shift, int32_t offset)
{
	emit8(e, 0x65);
	emit_rex(e, w, reg, index == HOST_NONE ? 0 : index, 0);
	emit8(e, opcode);
	emit_gs_modrm(e, reg, index, shift, offset);
}

static inline void emit_load_state(struct emitter *e, unsigned reg, int32_t offset)
{
	emit_gs_op(e, true, 0x8b, reg, HOST_NONE, 0, offset);
}

static inline void emit_load_state32(struct emitter *e, unsigned reg, int32_t offset)
{
	emit_gs_op(e, false, 0x8b, reg, HOST_NONE, 0, offset);
}

static inline void emit_store_state(struct emitter *e, unsigned reg, int32_t offset)
{
	emit_gs_op(e, true, 0x89, reg, HOST_NONE, 0, offset);
}

static inline void emit_store_state32(struct emitter *e, unsigned reg, int32_t offset)
{
	emit_gs_op(e, false, 0x89, reg, HOST_NONE, 0, offset);
}

/* mov dword gs:[offset], value */
static inline void emit_store_state_constant(struct emitter *e, uint32_t value, int32_t offset)
{
	emit8(e, 0x65);
	emit8(e, 0xc7);
	emit_gs_modrm(e, 0, HOST_NONE, 0, offset);
	emit32(e, value);
}

/* mov byte gs:[offset], value */
static inline void emit_store_state_byte(struct emitter *e, uint8_t value, int32_t offset)
{
	emit8(e, 0x65);
	emit8(e, 0xc6);
	emit_gs_modrm(e, 0, HOST_NONE, 0, offset);
	emit8(e, value);
}

/* movzx reg32, byte gs:[offset] */
static inline void emit_load_state_byte(struct emitter *e, unsigned reg, int32_t offset)
{
	emit8(e, 0x65);
	emit_rex(e, false, reg, 0, 0);
	emit8(e, 0x0f);
	emit8(e, 0xb6);
	emit_gs_modrm(e, reg, HOST_NONE, 0, offset);
}

/* movzx reg32, word gs:[offset] */
static inline void emit_load_state16(struct emitter *e, unsigned reg, int32_t offset)
{
	emit8(e, 0x65);
	emit_rex(e, false, reg, 0, 0);
	emit8(e, 0x0f);
	emit8(e, 0xb7);
	emit_gs_modrm(e, reg, HOST_NONE, 0, offset);
}

/* A group-1 operation (emit_immediate_flags) on dword gs:[offset]: sets flags. */
static inline void emit_state_immediate_flags(struct emitter *e, unsigned extension, int32_t offset,
					      uint32_t value)
{
	emit8(e, 0x65);
	emit8(e, 0x81);
	emit_gs_modrm(e, extension, HOST_NONE, 0, offset);
	emit32(e, value);
}

#define EMIT_ADD16_OFFSET_AT 5 /* bytes before the offset */

/* add word gs:[offset], value: sets flags */
static inline void emit_state_add16_flags(struct emitter *e, int32_t offset, uint16_t value)
{
	emit8(e, 0x65);
	emit8(e, 0x66);
	emit8(e, value < 0x80 ? 0x83 : 0x81);
	emit_gs_modrm(e, 0, HOST_NONE, 0, offset);
	emit8(e, value);
	if (value >= 0x80)
		emit8(e, value >> 8);
}

/* test dword gs:[offset], value */
static inline void emit_test_state_immediate_flags(struct emitter *e, int32_t offset, uint32_t value)
{
	emit8(e, 0x65);
	emit8(e, 0xf7);
	emit_gs_modrm(e, 0, HOST_NONE, 0, offset);
	emit32(e, value);
}

/* cmp dword gs:[offset], 0 */
static inline void emit_test_state(struct emitter *e, int32_t offset)
{
	emit8(e, 0x65);
	emit8(e, 0x83);
	emit_gs_modrm(e, 7, HOST_NONE, 0, offset);
	emit8(e, 0);
}

/* cmp byte gs:[offset], 0 */
static inline void emit_test_state_byte(struct emitter *e, int32_t offset)
{
	emit8(e, 0x65);
	emit8(e, 0x80);
	emit_gs_modrm(e, 7, HOST_NONE, 0, offset);
	emit8(e, 0);
}

#define EMIT_CONSTANT_R13_AT 2 /* bytes before one of 32 bits in R13 */

/* reg = value, shortest form. */
static inline void emit_constant(struct emitter *e, unsigned reg, uint64_t value)
{
	if (value <= UINT32_MAX) {
		emit_rex(e, false, 0, 0, reg);
		emit8(e, 0xb8 | (reg & 7));
		emit32(e, value);
	} else if ((int64_t)value == (int32_t)value) {
		emit_rex(e, true, 0, 0, reg);
		emit8(e, 0xc7);
		emit8(e, 0xc0 | (reg & 7));
		emit32(e, value);
	} else {
		emit_rex(e, true, 0, 0, reg);
		emit8(e, 0xb8 | (reg & 7));
		emit64(e, value);
	}
}

/* 64 bits, or 32 that are zero-extended. */
static inline void emit_move_width(struct emitter *e, bool w, unsigned to, unsigned from)
{
	emit_rex(e, w, from, 0, to);
	emit8(e, 0x89);
	emit8(e, 0xc0 | (from & 7) << 3 | (to & 7));
}

static inline void emit_move(struct emitter *e, unsigned to, unsigned from)
{
	emit_move_width(e, true, to, from);
}

static inline void emit_exchange(struct emitter *e, unsigned a, unsigned b)
{
	emit_rex(e, true, a, 0, b);
	emit8(e, 0x87);
	emit8(e, 0xc0 | (a & 7) << 3 | (b & 7));
}

/* ModRM, SIB and displacement for [base + index << shift + displacement]; base or index may be
 * HOST_NONE. */
static inline void emit_modrm(struct emitter *e, unsigned reg, unsigned base, unsigned index,
			      unsigned shift, int32_t displacement)
{
	bool short_displacement = displacement == (int8_t)displacement;
	unsigned mod = base == HOST_NONE ? 0 : short_displacement ? 1 : 2;

	if (base != HOST_NONE && displacement == 0 && (base & 7) != HOST_RBP)
		mod = 0;
	if (index == HOST_NONE && base != HOST_NONE && (base & 7) != HOST_RSP) {
		emit8(e, mod << 6 | (reg & 7) << 3 | (base & 7));
	} else {
		emit8(e, mod << 6 | (reg & 7) << 3 | 4);
		emit8(e, shift << 6 | (index == HOST_NONE ? 4 : index & 7) << 3 |
				 (base == HOST_NONE ? 5 : base & 7));
	}
	if (base == HOST_NONE || mod == 2)
		emit32(e, displacement);
	else if (mod == 1)
		emit8(e, displacement);
}

/* movzx reg32, word gs:[base] */
static inline void emit_load16(struct emitter *e, unsigned reg, unsigned base)
{
	emit8(e, 0x65);
	emit_rex(e, false, reg, 0, base);
	emit8(e, 0x0f);
	emit8(e, 0xb7);
	emit_modrm(e, reg, base, HOST_NONE, 0, 0);
}

/* mov gs:[base], reg16 */
static inline void emit_store16(struct emitter *e, unsigned reg, unsigned base)
{
	emit8(e, 0x65);
	emit8(e, 0x66);
	emit_rex(e, false, reg, 0, base);
	emit8(e, 0x89);
	emit_modrm(e, reg, base, HOST_NONE, 0, 0);
}

/* reg = [base + index << shift + displacement] as an address. */
static inline void emit_lea(struct emitter *e, bool w, unsigned reg, unsigned base, unsigned index,
			    unsigned shift, int32_t displacement)
{
	emit_rex(e, w, reg, index == HOST_NONE ? 0 : index, base == HOST_NONE ? 0 : base);
	emit8(e, 0x8d);
	emit_modrm(e, reg, base, index, shift, displacement);
}

/* opcode reg, [memory] */
static inline void emit_memory_op(struct emitter *e, bool w, uint8_t opcode, unsigned reg,
				  const struct host_memory *memory)
{
	emit_rex(e, w, reg, memory->index == HOST_NONE ? 0 : memory->index, memory->base);
	emit8(e, opcode);
	emit_modrm(e, reg, memory->base, memory->index, memory->shift, memory->displacement);
}

/* mov reg, [memory] or the store; 64 bits, or 32 without `w`. */
static inline void emit_memory_move(struct emitter *e, bool w, bool is_store, unsigned reg,
				    const struct host_memory *memory)
{
	emit_memory_op(e, w, is_store ? 0x89 : 0x8b, reg, memory);
}

/* bits.c. Masks are 64 bits at gs:[mask]. */

/* reg = source, rotated right. */
void emit_rotate(struct emitter *e, unsigned reg, unsigned source, unsigned count);
/* The same where flags are free; it sets them or not. */
void emit_rotate_flags(struct emitter *e, unsigned reg, unsigned source, unsigned count);
/* reg = source >> RCX, signed; of 32 bits without `w`. */
void emit_shift_signed(struct emitter *e, bool w, unsigned reg, unsigned source);
/* reg = something that is 0 when none of the mask's bits is set in source. */
void emit_any_bits(struct emitter *e, unsigned reg, unsigned source, int32_t mask);
/* reg = the mask's bits of source, which are neighbours from bit `shift` on, moved to bit 0. */
void emit_field(struct emitter *e, unsigned reg, unsigned source, int32_t mask, unsigned shift);
/* reg = its bits in the mask, and 0 elsewhere. */
void emit_keep_bits(struct emitter *e, unsigned reg, int32_t mask);
/* The arithmetic flags become those of RFLAGS in a register. That and RAX are lost. */
void emit_flags_from_rflags(struct emitter *e, unsigned rflags);

static inline void emit_not(struct emitter *e, unsigned reg)
{
	emit_rex(e, true, 0, 0, reg);
	emit8(e, 0xf7);
	emit8(e, 0xd0 | (reg & 7));
}

/* A group-1 operation with a 32-bit immediate: sets flags. `extension`: 0 ADD, 1 OR, 4 AND, 6 XOR,
 * 7 CMP. */
static inline void emit_immediate_flags(struct emitter *e, bool w, unsigned extension, unsigned reg,
					int32_t value)
{
	emit_rex(e, w, 0, 0, reg);
	emit8(e, 0x81);
	emit8(e, 0xc0 | extension << 3 | (reg & 7));
	emit32(e, value);
}

/* opcode rm, reg: sets flags. */
static inline void emit_registers_flags(struct emitter *e, bool w, uint8_t opcode, unsigned rm,
					unsigned reg)
{
	emit_rex(e, w, reg, 0, rm);
	emit8(e, opcode);
	emit8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

static inline void emit_shift_right_flags(struct emitter *e, bool w, unsigned reg, uint8_t count)
{
	emit_rex(e, w, 0, 0, reg);
	emit8(e, 0xc1);
	emit8(e, 0xe8 | (reg & 7));
	emit8(e, count);
}

static inline void emit_shift_right_signed_flags(struct emitter *e, unsigned reg, uint8_t count)
{
	emit_rex(e, true, 0, 0, reg);
	emit8(e, 0xc1);
	emit8(e, 0xf8 | (reg & 7));
	emit8(e, count);
}

static inline void emit_test_immediate_flags(struct emitter *e, unsigned reg, int32_t value)
{
	emit_rex(e, true, 0, 0, reg);
	emit8(e, 0xf7);
	emit8(e, 0xc0 | (reg & 7));
	emit32(e, value);
}

static inline void emit_shift_left_flags(struct emitter *e, unsigned reg, uint8_t count)
{
	emit_rex(e, true, 0, 0, reg);
	emit8(e, 0xc1);
	emit8(e, 0xe0 | (reg & 7));
	emit8(e, count);
}

/* imul reg, reg, value */
static inline void emit_multiply_flags(struct emitter *e, unsigned reg, int32_t value)
{
	emit_rex(e, true, reg, 0, reg);
	emit8(e, 0x69);
	emit8(e, 0xc0 | (reg & 7) << 3 | (reg & 7));
	emit32(e, value);
}

/* reg = the smaller of both, unsigned: cmp other, reg; cmovb reg, other */
static inline void emit_minimum_flags(struct emitter *e, unsigned reg, unsigned other)
{
	emit_rex(e, true, reg, 0, other);
	emit8(e, 0x39);
	emit8(e, 0xc0 | (reg & 7) << 3 | (other & 7));
	emit_rex(e, true, reg, 0, other);
	emit8(e, 0x0f);
	emit8(e, 0x42);
	emit8(e, 0xc0 | (reg & 7) << 3 | (other & 7));
}

/* sub reg32, 1 */
static inline void emit_count_down_flags(struct emitter *e, unsigned reg)
{
	emit_rex(e, false, 0, 0, reg);
	emit8(e, 0x83);
	emit8(e, 0xc0 | 5 << 3 | (reg & 7));
	emit8(e, 1);
}

/* NOPs until the next instruction's executable address is a multiple of `alignment`. */
static inline void emit_align(struct emitter *e, unsigned alignment)
{
	unsigned count = -(uintptr_t)(e->code + e->position) % alignment;

	while (count) {
		/* nop [rax + rax + 0] with 32 bits of displacement, nop [rax + 0], nop */
		unsigned least = count >= 8 ? 8 : count >= 4 ? 4 : 1;
		unsigned prefixes = count - least < 3 ? count - least : 3;

		for (unsigned i = 0; i < prefixes; i++)
			emit8(e, 0x66);
		if (least == 8)
			emit_bytes(e, (const uint8_t[]){ 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 }, 8);
		else if (least == 4)
			emit_bytes(e, (const uint8_t[]){ 0x0f, 0x1f, 0x40, 0 }, 4);
		else
			emit8(e, 0x90);
		count -= least + prefixes;
	}
}

/* A place in the code, in front of an instruction: jumps may go there. */
struct code_place {
	size_t at; /* bytes from the start */
};

static inline struct code_place emit_here(const struct emitter *e)
{
	return (struct code_place){ e->position };
}

/*
 * Jumps forward, whose displacement is still to come: of 32 bits, a near jump or call, and of 8, a short
 * jump. Each is bound to its target once. Until then it has a displacement that no jump in a block can
 * have, and the emitter counts it: so neither a second binding nor a jump that was forgotten goes unseen.
 * Behind an overflow nothing of this is looked at.
 */
struct near_jump {
	size_t at; /* position of the displacement; 0: there is no jump */
};

struct short_jump {
	size_t at; /* likewise */
};

#define EMIT_NEAR_UNBOUND  0x80000000u
#define EMIT_SHORT_UNBOUND 0x80u

static inline struct near_jump emit_near_unbound(struct emitter *e)
{
	emit32(e, EMIT_NEAR_UNBOUND);
	e->unbound++;
	return (struct near_jump){ e->position - 4 };
}

/* jmp */
static inline struct near_jump emit_jump(struct emitter *e)
{
	emit8(e, 0xe9);
	return emit_near_unbound(e);
}

/* jcc */
static inline struct near_jump emit_jump_if(struct emitter *e, enum host_condition condition)
{
	emit8(e, 0x0f);
	emit8(e, 0x80 | condition);
	return emit_near_unbound(e);
}

/* call */
static inline struct near_jump emit_call_forward(struct emitter *e)
{
	emit8(e, 0xe8);
	return emit_near_unbound(e);
}

/* JRCXZ over the next bytes. */
static inline struct short_jump emit_jrcxz(struct emitter *e)
{
	emit8(e, 0xe3);
	emit8(e, EMIT_SHORT_UNBOUND);
	e->unbound++;
	return (struct short_jump){ e->position - 1 };
}

/* It goes here. */
static inline void emit_bind_short(struct emitter *e, struct short_jump jump)
{
	size_t distance = e->position - jump.at - 1;

	if (e->overflow)
		return;
	assert(e->base[jump.at] == EMIT_SHORT_UNBOUND && distance <= INT8_MAX);
	e->base[jump.at] = (uint8_t)distance;
	e->unbound--;
}

/* It goes there, which may be behind it or, where code has a second copy, in front. */
static inline void emit_bind_to(struct emitter *e, struct near_jump jump, struct code_place target)
{
	uint32_t displacement = (uint32_t)(target.at - jump.at - 4), old;

	if (e->overflow)
		return;
	memcpy(&old, e->base + jump.at, sizeof(old));
	assert(old == EMIT_NEAR_UNBOUND && displacement != EMIT_NEAR_UNBOUND);
	memcpy(e->base + jump.at, &displacement, sizeof(displacement));
	e->unbound--;
}

/* It goes here. */
static inline void emit_bind(struct emitter *e, struct near_jump jump)
{
	emit_bind_to(e, jump, emit_here(e));
}

/* Jumps from several places to one, which is bound once for all of them. */
struct near_jumps {
	struct near_jump jumps[8];
	unsigned count;
};

static inline void near_jumps_add(struct near_jumps *set, struct near_jump jump)
{
	assert(set->count < sizeof(set->jumps) / sizeof(set->jumps[0]));
	set->jumps[set->count++] = jump;
}

/* They go here. */
static inline void emit_bind_all(struct emitter *e, const struct near_jumps *set)
{
	for (unsigned i = 0; i < set->count; i++)
		emit_bind(e, set->jumps[i]);
}

/* jmp to what was emitted before */
static inline void emit_jump_back(struct emitter *e, struct code_place target)
{
	emit_bind_to(e, emit_jump(e), target);
}

/* jcc to what was emitted before */
static inline void emit_jump_back_if(struct emitter *e, enum host_condition condition, struct code_place target)
{
	emit_bind_to(e, emit_jump_if(e, condition), target);
}

/* A constant of 32 bits in the code, which whoever takes the code into the cache fills in. */
struct constant_place {
	size_t at; /* its position; 0: there is none */
};

/* The displacement of a jump or call to an executable address within 2 GiB. */
static inline void emit_external(struct emitter *e, const uint8_t *target)
{
	struct emit_externals *externals = e->externals;

	if (externals && externals->count < sizeof(externals->list) / sizeof(externals->list[0])) {
		externals->list[externals->count].at = (uint16_t)e->position;
		externals->list[externals->count].target = target;
	}
	if (externals)
		externals->count++;
	emit32(e, (uint32_t)(target - (e->code + e->position + 4)));
}

/* jmp to an executable address within 2 GiB. */
static inline void emit_jump_to(struct emitter *e, const uint8_t *target)
{
	emit8(e, 0xe9);
	emit_external(e, target);
}

/* jmp gs:[index << shift + offset] */
static inline void emit_jump_state(struct emitter *e, unsigned index, unsigned shift, int32_t offset)
{
	emit8(e, 0x65);
	emit_rex(e, false, 0, index == HOST_NONE ? 0 : index, 0);
	emit8(e, 0xff);
	emit_gs_modrm(e, 4, index, shift, offset);
}

/* call gs:[offset] */
static inline void emit_call_state(struct emitter *e, int32_t offset)
{
	emit8(e, 0x65);
	emit8(e, 0xff);
	emit_gs_modrm(e, 2, HOST_NONE, 0, offset);
}

/* call to an executable address within 2 GiB. */
static inline void emit_call_to(struct emitter *e, const uint8_t *target)
{
	emit8(e, 0xe8);
	emit_external(e, target);
}

/* The arithmetic flags: AH = SF ZF AF PF CF, AL = OF. */
static inline void emit_flags_to_rax(struct emitter *e)
{
	emit8(e, 0x9f); /* lahf */
	emit8(e, 0x0f); /* seto al */
	emit8(e, 0x90);
	emit8(e, 0xc0);
}

static inline void emit_flags_from_rax(struct emitter *e)
{
	emit8(e, 0x04); /* add al, 127: OF from AL */
	emit8(e, 0x7f);
	emit8(e, 0x9e); /* sahf */
}

/* The host's stack: in stubs, and for pairs (return.c). */
static inline void emit_push(struct emitter *e, unsigned reg)
{
	emit_rex(e, false, 0, 0, reg);
	emit8(e, 0x50 | (reg & 7));
}

static inline void emit_push_zero(struct emitter *e)
{
	emit8(e, 0x6a);
	emit8(e, 0);
}

static inline void emit_return_host(struct emitter *e)
{
	emit8(e, 0xc3);
}

static inline void emit_pop(struct emitter *e, unsigned reg)
{
	emit_rex(e, false, 0, 0, reg);
	emit8(e, 0x58 | (reg & 7));
}

#endif
