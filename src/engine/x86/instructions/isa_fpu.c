/*
 * Binding x87, MMX, SSE, AVX and AVX-512 instructions: from a decoded instruction to its thunk, the
 * traits that its handler needs (fpu_form.c), and the handler (fpu_execute.c).
 *
 * Most of these instructions need no row: whatever has vector, MMX, x87 or opmask registers as
 * operands is taken, and what the host does not know raises #UD when it runs. What the guest's CPUID
 * hides does not get here (isa_set.h). The few that run in software have rows, and those that are
 * unlike the others of their extension, gathers and other shapes among them.
 */
#include "engine/x86/bytes.h"
#include "engine/x86/exception.h"
#include "engine/x86/instructions/fpu_form.h"

#define ROW(name, argument_, execute_, bind_)                                                      \
	{.mnemonic = ZYDIS_MNEMONIC_##name, .argument = (argument_), .execute = (execute_),        \
	 .bind = (bind_)}
#define ROW_TRAITS(name, argument_, execute_, bind_, traits_)                                      \
	{.mnemonic = ZYDIS_MNEMONIC_##name, .argument = (argument_), .execute = (execute_),        \
	 .bind = (bind_), .traits = (traits_)}
#define ROW_UNMASKS(name, argument_, execute_, bind_)                                              \
	ROW_TRAITS(name, argument_, execute_, bind_, INSN_UNMASKS)

/* What to make of those that have a thunk, but are not like all others: their rows' argument. */
enum fpu_shape {
	SHAPE_ANY,
	SHAPE_GATHER, SHAPE_SCATTER, /* with INDEXES_4 or INDEXES_8: bytes of an index */
	SHAPE_SIGNS,        /* elements of memory are chosen by the signs of a vector register's */
	SHAPE_MASKED_BYTES, /* stores bytes to DS:rDI, chosen likewise */
	SHAPE_ZERO,         /* clears all vector registers that the mode has, */
	SHAPE_KEEP_LOWER,   /* or what of them is above bit 127 */
	SHAPE_MXCSR,        /* loads MXCSR */
	SHAPE_X87_LOAD, SHAPE_X87_STORE, /* of control and status: does not become the last instruction */
	SHAPE_X87_INIT,
	SHAPE_MASK = 15,
	INDEXES_4 = 0 << 4, INDEXES_8 = 1 << 4,
};

#define ROW_SHAPE(name, shape, traits_)                                                            \
	{.mnemonic = ZYDIS_MNEMONIC_##name, .argument = (shape), .class = INSN_VECTOR, .traits = (traits_)}
#define ROW_TRAIT(name, traits_) ROW_SHAPE(name, SHAPE_ANY, traits_)
#define ROW_HANDLED(name, shape, traits_)                                                          \
	{.mnemonic = ZYDIS_MNEMONIC_##name, .argument = (shape), .class = INSN_HANDLED,            \
	 .traits = (traits_)}

static const struct isa_row rows[] = {
	ROW(FXSAVE, 0, fpu_run_fxsave, NULL),
	ROW(FXSAVE64, 0, fpu_run_fxsave64, NULL),
	ROW_UNMASKS(FXRSTOR, 0, fpu_run_fxrstor, NULL),
	ROW_UNMASKS(FXRSTOR64, 0, fpu_run_fxrstor64, NULL),
	ROW_TRAITS(XSAVE, 0, fpu_run_xsave, fpu_bind_xsave, INSN_TELLS_HOST),
	ROW_TRAITS(XSAVE64, 1, fpu_run_xsave, fpu_bind_xsave, INSN_TELLS_HOST),
	ROW_TRAITS(XSAVEOPT, 0, fpu_run_xsaveopt, fpu_bind_xsave, INSN_TELLS_HOST),
	ROW_TRAITS(XSAVEOPT64, 1, fpu_run_xsaveopt, fpu_bind_xsave, INSN_TELLS_HOST),
	ROW_TRAITS(XSAVEC, 0, fpu_run_xsavec, fpu_bind_xsave, INSN_TELLS_HOST),
	ROW_TRAITS(XSAVEC64, 1, fpu_run_xsavec, fpu_bind_xsave, INSN_TELLS_HOST),
	ROW_TRAITS(XSAVES, 0, fpu_run_xsaves, fpu_bind_xsave, INSN_RING0),
	ROW_TRAITS(XSAVES64, 1, fpu_run_xsaves, fpu_bind_xsave, INSN_RING0),
	ROW_UNMASKS(XRSTOR, 0, fpu_run_xrstor, fpu_bind_xsave),
	ROW_UNMASKS(XRSTOR64, 1, fpu_run_xrstor, fpu_bind_xsave),
	ROW_TRAITS(XRSTORS, 0, fpu_run_xrstors, fpu_bind_xsave, INSN_UNMASKS | INSN_RING0),
	ROW_TRAITS(XRSTORS64, 1, fpu_run_xrstors, fpu_bind_xsave, INSN_UNMASKS | INSN_RING0),
	ROW_TRAITS(XGETBV, 0, fpu_run_xgetbv, NULL, INSN_TELLS_HOST),
	ROW_TRAITS(XSETBV, 0, fpu_run_xsetbv, NULL, INSN_RING0),
	{ZYDIS_MNEMONIC_FWAIT, .execute = fpu_run_fwait, .class = INSN_VECTOR,
	 .traits = INSN_X87_CONTROL},
	ROW(FNSTENV, 0, fpu_run_fnstenv, fpu_bind_environment),
	ROW_UNMASKS(FLDENV, 0, fpu_run_fldenv, fpu_bind_environment),
	ROW_UNMASKS(FNSAVE, 0, fpu_run_fnsave, fpu_bind_environment),
	ROW_UNMASKS(FRSTOR, 0, fpu_run_frstor, fpu_bind_environment),
	/* They change what is masked. */
	{.mnemonic = ZYDIS_MNEMONIC_LDMXCSR, .argument = SHAPE_MXCSR, .class = INSN_MXCSR_LOADED,
	 .traits = INSN_UNMASKS | INSN_VECTOR_STATE},
	ROW_HANDLED(VLDMXCSR, SHAPE_MXCSR, INSN_UNMASKS | INSN_VECTOR_STATE),
	ROW_HANDLED(FLDCW, SHAPE_X87_LOAD, INSN_UNMASKS),
	ROW_HANDLED(FNINIT, SHAPE_X87_INIT, INSN_UNMASKS | INSN_X87_CONTROL),
	/* To an address that they do not name. */
	ROW_HANDLED(MASKMOVQ, SHAPE_MASKED_BYTES, 0),
	ROW_HANDLED(MASKMOVDQU, SHAPE_MASKED_BYTES, 0),
	ROW_HANDLED(VMASKMOVDQU, SHAPE_MASKED_BYTES, 0),
	ROW_SHAPE(FNSTCW, SHAPE_X87_STORE, INSN_X87_CONTROL),
	ROW_SHAPE(FNSTSW, SHAPE_X87_STORE, INSN_X87_CONTROL),
	ROW_TRAIT(FNCLEX, INSN_X87_CONTROL),
	ROW_TRAIT(FENI8087_NOP, INSN_X87_CONTROL),
	ROW_TRAIT(FDISI8087_NOP, INSN_X87_CONTROL),
	ROW_TRAIT(FSETPM287_NOP, INSN_X87_CONTROL),
	ROW_TRAIT(EMMS, INSN_MMX_STATE),
	ROW_TRAIT(STMXCSR, INSN_VECTOR_STATE),
	ROW_TRAIT(VSTMXCSR, INSN_VECTOR_STATE),
	ROW_SHAPE(VZEROALL, SHAPE_ZERO, INSN_ALL_VECTORS | INSN_VECTOR_STATE),
	ROW_SHAPE(VZEROUPPER, SHAPE_KEEP_LOWER, INSN_ALL_VECTORS | INSN_VECTOR_STATE),
	ROW_TRAIT(MOVUPS, INSN_UNALIGNED),
	ROW_TRAIT(MOVUPD, INSN_UNALIGNED),
	ROW_TRAIT(MOVDQU, INSN_UNALIGNED),
	ROW_TRAIT(LDDQU, INSN_UNALIGNED),
	ROW_TRAIT(PCMPESTRI, INSN_UNALIGNED),
	ROW_TRAIT(PCMPESTRM, INSN_UNALIGNED),
	ROW_TRAIT(PCMPISTRI, INSN_UNALIGNED),
	ROW_TRAIT(PCMPISTRM, INSN_UNALIGNED),
	ROW_TRAIT(VMOVAPS, INSN_ALIGNED),
	ROW_TRAIT(VMOVAPD, INSN_ALIGNED),
	ROW_TRAIT(VMOVDQA, INSN_ALIGNED),
	ROW_TRAIT(VMOVDQA32, INSN_ALIGNED),
	ROW_TRAIT(VMOVDQA64, INSN_ALIGNED),
	ROW_TRAIT(VMOVNTPS, INSN_ALIGNED),
	ROW_TRAIT(VMOVNTPD, INSN_ALIGNED),
	ROW_TRAIT(VMOVNTDQ, INSN_ALIGNED),
	ROW_TRAIT(VMOVNTDQA, INSN_ALIGNED),
	ROW_TRAIT(DIVPD, INSN_SLOW),
	ROW_TRAIT(DIVPS, INSN_SLOW),
	ROW_TRAIT(DIVSD, INSN_SLOW),
	ROW_TRAIT(DIVSS, INSN_SLOW),
	ROW_TRAIT(SQRTPD, INSN_SLOW),
	ROW_TRAIT(SQRTPS, INSN_SLOW),
	ROW_TRAIT(SQRTSD, INSN_SLOW),
	ROW_TRAIT(SQRTSS, INSN_SLOW),
	ROW_TRAIT(VDIVPD, INSN_SLOW),
	ROW_TRAIT(VDIVPS, INSN_SLOW),
	ROW_TRAIT(VDIVSD, INSN_SLOW),
	ROW_TRAIT(VDIVSS, INSN_SLOW),
	ROW_TRAIT(VSQRTPD, INSN_SLOW),
	ROW_TRAIT(VSQRTPS, INSN_SLOW),
	ROW_TRAIT(VSQRTSD, INSN_SLOW),
	ROW_TRAIT(VSQRTSS, INSN_SLOW),
	ROW_TRAIT(VMOVD, INSN_W_IS_SIZE),
	ROW_TRAIT(VPBROADCASTD, INSN_W_IS_SIZE),
	ROW_TRAIT(VPEXTRB, INSN_W_IS_SIZE),
	ROW_TRAIT(VPEXTRD, INSN_W_IS_SIZE),
	ROW_TRAIT(VPEXTRW, INSN_W_IS_SIZE),
	ROW_TRAIT(VPINSRB, INSN_W_IS_SIZE),
	ROW_TRAIT(VPINSRD, INSN_W_IS_SIZE),
	ROW_TRAIT(VPINSRW, INSN_W_IS_SIZE),
	ROW_TRAIT(VEXTRACTPS, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTSI2SS, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTSI2SD, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTSI2SH, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTUSI2SS, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTUSI2SD, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTUSI2SH, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTSS2SI, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTSD2SI, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTSH2SI, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTTSS2SI, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTTSD2SI, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTTSH2SI, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTSS2USI, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTSD2USI, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTSH2USI, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTTSS2USI, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTTSD2USI, INSN_W_IS_SIZE),
	ROW_TRAIT(VCVTTSH2USI, INSN_W_IS_SIZE),
	ROW_TRAIT(MOVAPS, INSN_NEVER_MISALIGNED),
	ROW_TRAIT(MOVAPD, INSN_NEVER_MISALIGNED),
	ROW_TRAIT(MOVDQA, INSN_NEVER_MISALIGNED),
	ROW_TRAIT(MOVNTDQA, INSN_NEVER_MISALIGNED),
	ROW_TRAIT(VCVTNE2PS2BF16, INSN_READS_MASKED),
	ROW_TRAIT(VDBPSADBW, INSN_READS_MASKED),
	ROW_TRAIT(VGF2P8AFFINEQB, INSN_READS_MASKED),
	ROW_TRAIT(VGF2P8AFFINEINVQB, INSN_READS_MASKED),
	ROW_TRAIT(VCOMPRESSPS, INSN_PACKED),
	ROW_TRAIT(VCOMPRESSPD, INSN_PACKED),
	ROW_TRAIT(VPCOMPRESSB, INSN_PACKED),
	ROW_TRAIT(VPCOMPRESSW, INSN_PACKED),
	ROW_TRAIT(VPCOMPRESSD, INSN_PACKED),
	ROW_TRAIT(VPCOMPRESSQ, INSN_PACKED),
	ROW_TRAIT(VEXPANDPS, INSN_PACKED),
	ROW_TRAIT(VEXPANDPD, INSN_PACKED),
	ROW_TRAIT(VPEXPANDB, INSN_PACKED),
	ROW_TRAIT(VPEXPANDW, INSN_PACKED),
	ROW_TRAIT(VPEXPANDD, INSN_PACKED),
	ROW_TRAIT(VPEXPANDQ, INSN_PACKED),
	ROW_TRAIT(VPDPBUSD, INSN_ELEMENTS_4),
	ROW_TRAIT(VPDPBUSDS, INSN_ELEMENTS_4),
	ROW_TRAIT(VPDPWSSD, INSN_ELEMENTS_4),
	ROW_TRAIT(VPDPWSSDS, INSN_ELEMENTS_4),
	ROW_TRAIT(VDPBF16PS, INSN_ELEMENTS_4),
	ROW_TRAIT(VFMADDCPH, INSN_ELEMENTS_4),
	ROW_TRAIT(VFMADDCSH, INSN_ELEMENTS_4),
	ROW_TRAIT(VFCMADDCPH, INSN_ELEMENTS_4),
	ROW_TRAIT(VFCMADDCSH, INSN_ELEMENTS_4),
	ROW_TRAIT(VFMULCPH, INSN_ELEMENTS_4),
	ROW_TRAIT(VFMULCSH, INSN_ELEMENTS_4),
	ROW_TRAIT(VFCMULCPH, INSN_ELEMENTS_4),
	ROW_TRAIT(VFCMULCSH, INSN_ELEMENTS_4),
	ROW_TRAIT(VEXTRACTF32X4, INSN_ELEMENTS_4),
	ROW_TRAIT(VEXTRACTF32X8, INSN_ELEMENTS_4),
	ROW_TRAIT(VEXTRACTI32X4, INSN_ELEMENTS_4),
	ROW_TRAIT(VEXTRACTI32X8, INSN_ELEMENTS_4),
	ROW_TRAIT(VBROADCASTF32X2, INSN_ELEMENTS_4),
	ROW_TRAIT(VBROADCASTF32X4, INSN_ELEMENTS_4),
	ROW_TRAIT(VBROADCASTF32X8, INSN_ELEMENTS_4),
	ROW_TRAIT(VBROADCASTI32X2, INSN_ELEMENTS_4),
	ROW_TRAIT(VBROADCASTI32X4, INSN_ELEMENTS_4),
	ROW_TRAIT(VBROADCASTI32X8, INSN_ELEMENTS_4),
	ROW_TRAIT(VEXTRACTF64X2, INSN_ELEMENTS_8),
	ROW_TRAIT(VEXTRACTF64X4, INSN_ELEMENTS_8),
	ROW_TRAIT(VEXTRACTI64X2, INSN_ELEMENTS_8),
	ROW_TRAIT(VEXTRACTI64X4, INSN_ELEMENTS_8),
	ROW_TRAIT(VBROADCASTF64X2, INSN_ELEMENTS_8),
	ROW_TRAIT(VBROADCASTF64X4, INSN_ELEMENTS_8),
	ROW_TRAIT(VBROADCASTI64X2, INSN_ELEMENTS_8),
	ROW_TRAIT(VBROADCASTI64X4, INSN_ELEMENTS_8),
	ROW_SHAPE(VMASKMOVPS, SHAPE_SIGNS, INSN_ELEMENTS_4),
	ROW_SHAPE(VPMASKMOVD, SHAPE_SIGNS, INSN_ELEMENTS_4),
	ROW_SHAPE(VMASKMOVPD, SHAPE_SIGNS, INSN_ELEMENTS_8),
	ROW_SHAPE(VPMASKMOVQ, SHAPE_SIGNS, INSN_ELEMENTS_8),
	ROW_SHAPE(VGATHERDPS, SHAPE_GATHER | INDEXES_4, INSN_ELEMENTS_4),
	ROW_SHAPE(VPGATHERDD, SHAPE_GATHER | INDEXES_4, INSN_ELEMENTS_4),
	ROW_SHAPE(VGATHERDPD, SHAPE_GATHER | INDEXES_4, INSN_ELEMENTS_8),
	ROW_SHAPE(VPGATHERDQ, SHAPE_GATHER | INDEXES_4, INSN_ELEMENTS_8),
	ROW_SHAPE(VGATHERQPS, SHAPE_GATHER | INDEXES_8, INSN_ELEMENTS_4),
	ROW_SHAPE(VPGATHERQD, SHAPE_GATHER | INDEXES_8, INSN_ELEMENTS_4),
	ROW_SHAPE(VGATHERQPD, SHAPE_GATHER | INDEXES_8, INSN_ELEMENTS_8),
	ROW_SHAPE(VPGATHERQQ, SHAPE_GATHER | INDEXES_8, INSN_ELEMENTS_8),
	ROW_SHAPE(VSCATTERDPS, SHAPE_SCATTER | INDEXES_4, INSN_ELEMENTS_4),
	ROW_SHAPE(VPSCATTERDD, SHAPE_SCATTER | INDEXES_4, INSN_ELEMENTS_4),
	ROW_SHAPE(VSCATTERDPD, SHAPE_SCATTER | INDEXES_4, INSN_ELEMENTS_8),
	ROW_SHAPE(VPSCATTERDQ, SHAPE_SCATTER | INDEXES_4, INSN_ELEMENTS_8),
	ROW_SHAPE(VSCATTERQPS, SHAPE_SCATTER | INDEXES_8, INSN_ELEMENTS_4),
	ROW_SHAPE(VPSCATTERQD, SHAPE_SCATTER | INDEXES_8, INSN_ELEMENTS_4),
	ROW_SHAPE(VSCATTERQPD, SHAPE_SCATTER | INDEXES_8, INSN_ELEMENTS_8),
	ROW_SHAPE(VPSCATTERQQ, SHAPE_SCATTER | INDEXES_8, INSN_ELEMENTS_8),
};

const struct isa_table isa_fpu = {.rows = rows, .count = sizeof(rows) / sizeof(rows[0])};

/* Give the instruction its thunk; what finds no room among them keeps its own bytes instead, and
 * is composed again at each execution. */
static insn_handler run_from_slot;

static insn_handler *finish(struct insn *insn, const struct fpu_form *form, insn_handler *handler,
			    struct thunk *slot)
{
	const struct thunk *thunk;

	if (form->code.length == THUNK_CODE_SIZE)
		return NULL;
	if (slot != NULL) {
		thunk_slot_set(slot, &form->code, &form->traits);
		insn->thunk = slot;
		return handler;
	}
	thunk = thunk_find(&form->code, &form->traits);
	if (thunk != NULL) {
		insn->thunk = (void *)(uintptr_t)thunk;
		return handler;
	}
	uint8_t bytes[16] = {0};

	bytes_copy(bytes, form->decoded->bytes, form->instruction->length);
	bytes_copy(&insn->thunk, bytes, 8);
	bytes_copy(&insn->immediate, bytes + 8, 8);
	return run_from_slot;
}

static insn_handler *bind_gather(struct insn *insn, struct fpu_form *form, unsigned argument,
				 struct thunk *slot)
{
	const ZydisDecodedInstruction *instruction = form->instruction;
	struct thunk_traits *traits = &form->traits;
	struct thunk_code *code = &form->code;
	bool is_evex = instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
	int data = fpu_form_vector(form, ZYDIS_OPERAND_ENCODING_MODRM_REG);
	int mask = is_evex ? (int)fpu_form_opmask(form)
			   : fpu_form_vector(form, ZYDIS_OPERAND_ENCODING_NDSNDD);
	int index = ZydisRegisterGetId(form->memory->mem.index);
	bool is_scatter = (argument & SHAPE_MASK) == SHAPE_SCATTER;

	traits->index_size = argument & INDEXES_8 ? 8 : 4;
	traits->element_size = (uint8_t)fpu_form_element_size(form);
	traits->elements = (uint8_t)(instruction->avx.vector_length / 8 /
				     (traits->index_size > traits->element_size
					      ? traits->index_size
					      : traits->element_size));
	if (data < 0 || mask < 0 || index < 0 || traits->elements == 0)
		return NULL;
	/* Registers must differ, and k0 is no mask (SDM vol. 2, VGATHERDPS and others). */
	if (is_evex ? mask == 0 || (!is_scatter && data == index)
		    : data == index || data == mask || index == mask)
		return NULL;

	if (!is_scatter)
		thunk_emit_move_vector(code, (unsigned)data, is_evex, false, FPU_SCRATCH_DATA);
	if (is_evex)
		thunk_emit_clear_opmask(code, (unsigned)mask);
	else
		thunk_emit_clear_vector(code, (unsigned)mask);
	thunk_emit_return_done(code);
	thunk_emit_second(code);
	thunk_emit_move_vector(code, (unsigned)index, is_evex, true, FPU_SCRATCH_INDEX);
	thunk_emit_move_vector(code, (unsigned)data, is_evex, true, FPU_SCRATCH_DATA);
	if (is_evex)
		thunk_emit_read_opmask(code, (unsigned)mask);
	else
		thunk_emit_read_signs(code, (unsigned)mask, traits->element_size,
				      traits->elements * traits->element_size > 16);
	thunk_emit_return(code);

	insn->index = INSN_REGISTER_NONE;
	insn->scale = (uint8_t)__builtin_ctz(form->memory->mem.scale | 0x100);
	return finish(insn, form, is_scatter ? fpu_run_scatter : fpu_run_gather, slot);
}

/* MASKMOVQ and MASKMOVDQU store to DS:rDI, by bytes. */
static insn_handler *bind_masked_bytes(struct insn *insn, struct fpu_form *form, struct thunk *slot)
{
	struct thunk_code *code = &form->code;
	int data = fpu_form_vector(form, ZYDIS_OPERAND_ENCODING_MODRM_REG);
	int mask = fpu_form_vector(form, ZYDIS_OPERAND_ENCODING_MODRM_RM);
	uint8_t store_modrm = (uint8_t)(0x06 | (data & 7) << 3);

	if (data < 0 || mask < 0)
		return NULL;
	form->traits.mask = THUNK_MASK_ELEMENTS;
	form->traits.element_size = 1;
	form->traits.elements = form->has_mmx ? 8 : 16;
	form->traits.size = form->traits.elements;
	if (form->has_mmx) /* movq %mm, (%rsi) */
		thunk_emit(code, (const uint8_t[]){0x0f, 0x7f, store_modrm}, 3);
	else /* movdqu %xmm, (%rsi) */
		thunk_emit(code,
			   (const uint8_t[]){0xf3, data & 8 ? 0x44 : 0x40, 0x0f, 0x7f, store_modrm},
			   5);
	thunk_emit_return_done(code);
	thunk_emit_second(code);
	/* pmovmskb, %eax */
	if (form->has_mmx)
		thunk_emit(code, (const uint8_t[]){0x0f, 0xd7, (uint8_t)(0xc0 | (mask & 7))}, 3);
	else
		thunk_emit(code,
			   (const uint8_t[]){0x66, mask & 8 ? 0x41 : 0x40, 0x0f, 0xd7,
					     (uint8_t)(0xc0 | (mask & 7))},
			   5);
	thunk_emit_return(code);

	insn->base = CPU_RDI;
	insn->index = INSN_REGISTER_NONE;
	insn->displacement = 0;
	insn->segment = (uint8_t)ZydisRegisterGetId(form->memory->mem.segment);
	return finish(insn, form, fpu_run_masked_bytes, slot);
}

/* VZEROALL and VZEROUPPER outside 64-bit mode: registers 8 and up keep their contents. */
static insn_handler *bind_zero(struct insn *insn, struct fpu_form *form, bool is_all,
			       struct thunk *slot)
{
	for (unsigned n = 0; n < 8; n++) {
		if (is_all)
			thunk_emit_clear_vector(&form->code, n);
		else /* vmovdqa %xmm, %xmm */
			thunk_emit(&form->code,
				   (const uint8_t[]){0xc5, 0xf9, 0x6f, (uint8_t)(0xc0 | n << 3 | n)}, 4);
	}
	thunk_emit_return_done(&form->code);
	return finish(insn, form, fpu_run_register, slot);
}

static insn_handler *bind_x87(struct insn *insn, struct fpu_form *form, enum fpu_shape shape,
			      struct thunk *slot)
{
	const ZydisDecodedInstruction *instruction = form->instruction;

	insn->immediate2 = (uint16_t)((instruction->opcode & 7) << 8 |
				      form->decoded->bytes[instruction->raw.modrm.offset]);
	if (insn->traits & INSN_X87_CONTROL)
		form->traits.flags = THUNK_X87_CONTROL;
	if (shape == SHAPE_X87_INIT)
		form->traits.flags |= THUNK_X87_INIT;
	if (shape == SHAPE_X87_LOAD)
		return finish(insn, form, fpu_run_load, slot);
	/* FNSTSW AX is a register's. */
	if (shape == SHAPE_X87_STORE && form->memory != NULL)
		return finish(insn, form, fpu_run_store, slot);
	if (form->memory == NULL)
		return finish(insn, form, fpu_run_x87_register, slot);
	return finish(insn, form, form->is_store ? fpu_run_x87_store : fpu_run_x87_load, slot);
}

static insn_handler *bind(struct insn *insn, const struct decoded *decoded, const struct isa_row *row,
			  struct thunk *slot)
{
	struct fpu_form form = {.decoded = NULL};
	enum fpu_shape shape = row ? row->argument & SHAPE_MASK : SHAPE_ANY;

	if (!fpu_form_inspect(&form, insn, decoded) || fpu_form_set_gate(&form) != 0)
		return NULL;
	switch (shape) {
	case SHAPE_GATHER:
	case SHAPE_SCATTER: return bind_gather(insn, &form, row->argument, slot);
	case SHAPE_MASKED_BYTES: return bind_masked_bytes(insn, &form, slot);
	case SHAPE_ZERO:
	case SHAPE_KEEP_LOWER:
		if ((decoded->mode & CPU_MODE_CODE_MASK) != CPU_MODE_CODE64)
			return bind_zero(insn, &form, shape == SHAPE_ZERO, slot);
		break;
	default: break;
	}

	if (form.memory != NULL &&
	    (form.memory->mem.type != ZYDIS_MEMOP_TYPE_MEM || fpu_form_set_memory(&form, insn) != 0))
		return NULL;
	if (thunk_emit_instruction(&form.code, insn, decoded) != 0)
		return NULL;
	if (form.is_x87)
		return bind_x87(insn, &form, shape, slot);
	if (form.memory == NULL)
		return finish(insn, &form, fpu_run_register, slot);

	if (shape == SHAPE_MXCSR)
		return finish(insn, &form, fpu_run_ldmxcsr, slot);
	/* Stores leave masked-out elements alone in any case. */
	if (shape == SHAPE_SIGNS)
		fpu_form_set_vector_mask(&form);
	else if (fpu_form_opmask(&form) != 0 && (form.is_store || fpu_form_suppresses_faults(&form)) &&
		 fpu_form_set_opmask(&form) != 0)
		return NULL;
	if (form.traits.mask == THUNK_MASK_NONE)
		return finish(insn, &form, form.is_store ? fpu_run_store : fpu_run_load, slot);
	return finish(insn, &form, form.is_store ? fpu_run_masked_store : fpu_run_masked_load, slot);
}

insn_handler *fpu_bind(struct insn *insn, const struct decoded *decoded, const struct isa_row *row)
{
	return bind(insn, decoded, row, NULL);
}

/* As fpu_bind was given it. */
static const struct isa_row *thunk_row(uint16_t mnemonic)
{
	for (size_t i = 0; i < isa_fpu.count; i++)
		if (rows[i].mnemonic == mnemonic)
			return &rows[i];
	return NULL;
}

/* Compose the thunk again in the CPU's own slot, and run it. */
static void run_from_slot(struct cpu *cpu, const struct insn *insn)
{
	static const ZydisMachineMode modes[] = {
		[CPU_MODE_CODE16] = ZYDIS_MACHINE_MODE_LEGACY_16,
		[CPU_MODE_CODE32] = ZYDIS_MACHINE_MODE_LEGACY_32,
		[CPU_MODE_CODE64] = ZYDIS_MACHINE_MODE_LONG_64,
	};
	static const ZydisStackWidth widths[] = {
		[CPU_MODE_CODE16] = ZYDIS_STACK_WIDTH_16,
		[CPU_MODE_CODE32] = ZYDIS_STACK_WIDTH_32,
		[CPU_MODE_CODE64] = ZYDIS_STACK_WIDTH_64,
	};
	ZydisDecoder decoder;
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	struct insn copy;
	uint8_t bytes[16];
	struct decoded decoded = {
		.instruction = &instruction,
		.operands = operands,
		.bytes = bytes,
		.mode = cpu->mode,
	};
	unsigned mode = cpu->mode & CPU_MODE_CODE_MASK;

	fpu_leave(cpu);
	copy = *insn;
	bytes_copy(bytes, &insn->thunk, 8);
	bytes_copy(bytes + 8, &insn->immediate, 8);
	if (cpu->fpu.slot == NULL)
		cpu->fpu.slot = thunk_slot_create();
	copy.execute = NULL;
	if (cpu->fpu.slot != NULL &&
	    ZYAN_SUCCESS(ZydisDecoderInit(&decoder, modes[mode], widths[mode])) &&
	    ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, insn->length, &instruction,
						operands)))
		copy.execute = bind(&copy, &decoded, thunk_row(insn->mnemonic), cpu->fpu.slot);
	if (copy.execute == NULL)
		cpu_raise(cpu, EXCEPTION_UD);
	copy.execute(cpu, &copy);
}
