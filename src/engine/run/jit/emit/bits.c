/*
 * Rotations, shifts and masks that leave the flags alone: BMI2 has them. Without it the same is
 * done around saved flags, more slowly. PEXT and PDEP are also left out where they are loops in
 * microcode (host.h).
 */
#include "engine/run/jit/emit/emitter.h"

#include <assert.h>

#include "engine/run/jit/emit/state.h"
#include "engine/x86/host/host.h"

/* Any register may be used between these two, RAX too, and flags are free. */
static void begin_flags(struct emitter *e)
{
	emit_store_state(e, HOST_RAX, FRAME(bits_spill[0]));
	emit_flags_to_rax(e);
	emit_store_state(e, HOST_RAX, FRAME(bits_spill[1]));
	emit_load_state(e, HOST_RAX, FRAME(bits_spill[0]));
}

static void end_flags(struct emitter *e)
{
	emit_store_state(e, HOST_RAX, FRAME(bits_spill[0]));
	emit_load_state(e, HOST_RAX, FRAME(bits_spill[1]));
	emit_flags_from_rax(e);
	emit_load_state(e, HOST_RAX, FRAME(bits_spill[0]));
}

static void move(struct emitter *e, bool w, unsigned to, unsigned from)
{
	if (to != from || !w)
		emit_move_width(e, w, to, from);
}

/* VEX-encoded RORX */
static void rorx(struct emitter *e, unsigned reg, unsigned source, unsigned count)
{
	emit8(e, 0xc4);
	emit8(e, (reg < 8) << 7 | 1 << 6 | (source < 8) << 5 | 3);
	emit8(e, 0x80 | 0xf << 3 | 3);
	emit8(e, 0xf0);
	emit8(e, 0xc0 | (reg & 7) << 3 | (source & 7));
	emit8(e, count);
}

void emit_rotate_flags(struct emitter *e, unsigned reg, unsigned source, unsigned count)
{
	if (host_has(HOST_BMI2)) {
		rorx(e, reg, source, count);
		return;
	}
	move(e, true, reg, source);
	emit_rex(e, true, 0, 0, reg); /* ror reg, count */
	emit8(e, 0xc1);
	emit8(e, 0xc8 | (reg & 7));
	emit8(e, count);
}

void emit_rotate(struct emitter *e, unsigned reg, unsigned source, unsigned count)
{
	if (host_has(HOST_BMI2)) {
		rorx(e, reg, source, count);
		return;
	}
	begin_flags(e);
	emit_rotate_flags(e, reg, source, count);
	end_flags(e);
}

void emit_shift_signed(struct emitter *e, bool w, unsigned reg, unsigned source)
{
	assert(reg != HOST_RCX);
	if (host_has(HOST_BMI2)) { /* SARX reg, source, rcx */
		emit8(e, 0xc4);
		emit8(e, (reg < 8) << 7 | 1 << 6 | (source < 8) << 5 | 2);
		emit8(e, w << 7 | (~HOST_RCX & 0xf) << 3 | 2);
		emit8(e, 0xf7);
		emit8(e, 0xc0 | (reg & 7) << 3 | (source & 7));
		return;
	}
	begin_flags(e);
	move(e, w, reg, source);
	emit_rex(e, w, 0, 0, reg); /* sar reg, cl */
	emit8(e, 0xd3);
	emit8(e, 0xf8 | (reg & 7));
	end_flags(e);
}

/* PEXT (prefix bits 2) or PDEP (3) reg, source, gs:[mask] */
static void pext(struct emitter *e, unsigned prefix, unsigned reg, unsigned source, int32_t mask)
{
	emit8(e, 0x65);
	emit8(e, 0xc4);
	emit8(e, (reg < 8) << 7 | 1 << 6 | 1 << 5 | 2);
	emit8(e, 0x80 | (~source & 0xf) << 3 | prefix);
	emit8(e, 0xf5);
	emit_gs_modrm(e, reg, HOST_NONE, 0, mask);
}

static void and_state(struct emitter *e, unsigned reg, unsigned source, int32_t mask, unsigned shift)
{
	begin_flags(e);
	move(e, true, reg, source);
	emit_gs_op(e, true, 0x23, reg, HOST_NONE, 0, mask);
	if (shift)
		emit_shift_right_flags(e, true, reg, shift);
	end_flags(e);
}

void emit_any_bits(struct emitter *e, unsigned reg, unsigned source, int32_t mask)
{
	emit_field(e, reg, source, mask, 0);
}

void emit_field(struct emitter *e, unsigned reg, unsigned source, int32_t mask, unsigned shift)
{
	if (host.has_fast_pext)
		pext(e, 2, reg, source, mask);
	else
		and_state(e, reg, source, mask, shift);
}

void emit_keep_bits(struct emitter *e, unsigned reg, int32_t mask)
{
	if (!host.has_fast_pext) {
		and_state(e, reg, reg, mask, 0);
		return;
	}
	pext(e, 2, reg, reg, mask);
	pext(e, 3, reg, reg, mask);
}

void emit_flags_from_rflags(struct emitter *e, unsigned rflags)
{
	/* AH = SF ZF AF PF CF, AL = OF */
	emit_move_width(e, false, HOST_RAX, rflags);
	emit_shift_left_flags(e, HOST_RAX, 8);
	emit_shift_right_flags(e, false, rflags, 11);
	emit_immediate_flags(e, false, 4, rflags, 1); /* and */
	emit_registers_flags(e, false, 0x09, HOST_RAX, rflags); /* or */
	emit_flags_from_rax(e);
}
