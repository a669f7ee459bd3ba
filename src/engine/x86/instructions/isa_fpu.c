/*
 * Binding x87, MMX, SSE, AVX and AVX-512 instructions: from a decoded instruction to its thunk, the
 * traits that its handler needs (fpu_form.c), and the handler (fpu_execute.c).
 *
 * Most of these instructions need no row: whatever has vector, MMX, x87 or opmask registers as
 * operands is taken, and what the host does not know raises #UD when it runs. What the guest's CPUID
 * hides does not get here (isa_set.h). The few that run in software have rows, and those that are
 * unlike the others of their extension; gathers and other special forms are told apart by mnemonic
 * below.
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
/* Those that have a thunk, but are not like all others. */
#define ROW_THUNK(name, class_, traits_)                                                           \
	{.mnemonic = ZYDIS_MNEMONIC_##name, .class = INSN_##class_, .traits = (traits_)}

static const struct isa_row rows[] = {
	ROW(FXSAVE, 0, fpu_run_fxsave, NULL),
	ROW(FXSAVE64, 0, fpu_run_fxsave64, NULL),
	ROW_UNMASKS(FXRSTOR, 0, fpu_run_fxrstor, NULL),
	ROW_UNMASKS(FXRSTOR64, 0, fpu_run_fxrstor64, NULL),
	ROW(XSAVE, 0, fpu_run_xsave, fpu_bind_xsave),
	ROW(XSAVE64, 1, fpu_run_xsave, fpu_bind_xsave),
	ROW(XSAVEOPT, 0, fpu_run_xsaveopt, fpu_bind_xsave),
	ROW(XSAVEOPT64, 1, fpu_run_xsaveopt, fpu_bind_xsave),
	ROW(XSAVEC, 0, fpu_run_xsavec, fpu_bind_xsave),
	ROW(XSAVEC64, 1, fpu_run_xsavec, fpu_bind_xsave),
	ROW_TRAITS(XSAVES, 0, fpu_run_xsaves, fpu_bind_xsave, INSN_RING0),
	ROW_TRAITS(XSAVES64, 1, fpu_run_xsaves, fpu_bind_xsave, INSN_RING0),
	ROW_UNMASKS(XRSTOR, 0, fpu_run_xrstor, fpu_bind_xsave),
	ROW_UNMASKS(XRSTOR64, 1, fpu_run_xrstor, fpu_bind_xsave),
	ROW_TRAITS(XRSTORS, 0, fpu_run_xrstors, fpu_bind_xsave, INSN_UNMASKS | INSN_RING0),
	ROW_TRAITS(XRSTORS64, 1, fpu_run_xrstors, fpu_bind_xsave, INSN_UNMASKS | INSN_RING0),
	ROW(XGETBV, 0, fpu_run_xgetbv, NULL),
	ROW_TRAITS(XSETBV, 0, fpu_run_xsetbv, NULL, INSN_RING0),
	{ZYDIS_MNEMONIC_FWAIT, .execute = fpu_run_fwait, .class = INSN_VECTOR,
	 .traits = INSN_X87_CONTROL},
	ROW(FNSTENV, 0, fpu_run_fnstenv, fpu_bind_environment),
	ROW_UNMASKS(FLDENV, 0, fpu_run_fldenv, fpu_bind_environment),
	ROW_UNMASKS(FNSAVE, 0, fpu_run_fnsave, fpu_bind_environment),
	ROW_UNMASKS(FRSTOR, 0, fpu_run_frstor, fpu_bind_environment),
	/* They change what is masked. */
	ROW_THUNK(LDMXCSR, HANDLED, INSN_UNMASKS),
	ROW_THUNK(VLDMXCSR, HANDLED, INSN_UNMASKS),
	ROW_THUNK(FLDCW, HANDLED, INSN_UNMASKS),
	ROW_THUNK(FNINIT, HANDLED, INSN_UNMASKS | INSN_X87_CONTROL),
	/* To an address that they do not name. */
	ROW_THUNK(MASKMOVQ, HANDLED, 0),
	ROW_THUNK(MASKMOVDQU, HANDLED, 0),
	ROW_THUNK(VMASKMOVDQU, HANDLED, 0),
	ROW_THUNK(FNCLEX, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(FNSTCW, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(FNSTSW, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(FENI8087_NOP, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(FDISI8087_NOP, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(FSETPM287_NOP, VECTOR, INSN_X87_CONTROL),
	ROW_THUNK(MOVUPS, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(MOVUPD, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(MOVDQU, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(LDDQU, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(PCMPESTRI, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(PCMPESTRM, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(PCMPISTRI, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(PCMPISTRM, VECTOR, INSN_UNALIGNED),
	ROW_THUNK(VMOVAPS, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVAPD, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVDQA, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVDQA32, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVDQA64, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVNTPS, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVNTPD, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVNTDQ, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VMOVNTDQA, VECTOR, INSN_ALIGNED),
	ROW_THUNK(VZEROALL, VECTOR, INSN_ALL_VECTORS),
	ROW_THUNK(VZEROUPPER, VECTOR, INSN_ALL_VECTORS),
	ROW_THUNK(DIVPD, VECTOR, INSN_SLOW),
	ROW_THUNK(DIVPS, VECTOR, INSN_SLOW),
	ROW_THUNK(DIVSD, VECTOR, INSN_SLOW),
	ROW_THUNK(DIVSS, VECTOR, INSN_SLOW),
	ROW_THUNK(SQRTPD, VECTOR, INSN_SLOW),
	ROW_THUNK(SQRTPS, VECTOR, INSN_SLOW),
	ROW_THUNK(SQRTSD, VECTOR, INSN_SLOW),
	ROW_THUNK(SQRTSS, VECTOR, INSN_SLOW),
	ROW_THUNK(VDIVPD, VECTOR, INSN_SLOW),
	ROW_THUNK(VDIVPS, VECTOR, INSN_SLOW),
	ROW_THUNK(VDIVSD, VECTOR, INSN_SLOW),
	ROW_THUNK(VDIVSS, VECTOR, INSN_SLOW),
	ROW_THUNK(VSQRTPD, VECTOR, INSN_SLOW),
	ROW_THUNK(VSQRTPS, VECTOR, INSN_SLOW),
	ROW_THUNK(VSQRTSD, VECTOR, INSN_SLOW),
	ROW_THUNK(VSQRTSS, VECTOR, INSN_SLOW),
	ROW_THUNK(VMOVD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPBROADCASTD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPEXTRB, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPEXTRD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPEXTRW, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPINSRB, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPINSRD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VPINSRW, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VEXTRACTPS, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSI2SS, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSI2SD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSI2SH, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTUSI2SS, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTUSI2SD, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTUSI2SH, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSS2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSD2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSH2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSS2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSD2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSH2SI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSS2USI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSD2USI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTSH2USI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSS2USI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSD2USI, VECTOR, INSN_W_IS_SIZE),
	ROW_THUNK(VCVTTSH2USI, VECTOR, INSN_W_IS_SIZE),
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

static bool gather_sizes(ZydisMnemonic mnemonic, uint8_t *index_size, uint8_t *element_size,
			 bool *is_scatter)
{
	*is_scatter = false;
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_VSCATTERDPS:
	case ZYDIS_MNEMONIC_VPSCATTERDD:
		*is_scatter = true;
		/* fall through */
	case ZYDIS_MNEMONIC_VGATHERDPS:
	case ZYDIS_MNEMONIC_VPGATHERDD:
		*index_size = 4;
		*element_size = 4;
		return true;
	case ZYDIS_MNEMONIC_VSCATTERDPD:
	case ZYDIS_MNEMONIC_VPSCATTERDQ:
		*is_scatter = true;
		/* fall through */
	case ZYDIS_MNEMONIC_VGATHERDPD:
	case ZYDIS_MNEMONIC_VPGATHERDQ:
		*index_size = 4;
		*element_size = 8;
		return true;
	case ZYDIS_MNEMONIC_VSCATTERQPS:
	case ZYDIS_MNEMONIC_VPSCATTERQD:
		*is_scatter = true;
		/* fall through */
	case ZYDIS_MNEMONIC_VGATHERQPS:
	case ZYDIS_MNEMONIC_VPGATHERQD:
		*index_size = 8;
		*element_size = 4;
		return true;
	case ZYDIS_MNEMONIC_VSCATTERQPD:
	case ZYDIS_MNEMONIC_VPSCATTERQQ:
		*is_scatter = true;
		/* fall through */
	case ZYDIS_MNEMONIC_VGATHERQPD:
	case ZYDIS_MNEMONIC_VPGATHERQQ:
		*index_size = 8;
		*element_size = 8;
		return true;
	default:
		return false;
	}
}

static insn_handler *bind_gather(struct insn *insn, struct fpu_form *form, struct thunk *slot)
{
	const ZydisDecodedInstruction *instruction = form->instruction;
	struct thunk_traits *traits = &form->traits;
	struct thunk_code *code = &form->code;
	bool is_evex = instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
	int data = fpu_form_vector(form, ZYDIS_OPERAND_ENCODING_MODRM_REG);
	int mask = is_evex ? (int)fpu_form_opmask(form)
			   : fpu_form_vector(form, ZYDIS_OPERAND_ENCODING_NDSNDD);
	int index = ZydisRegisterGetId(form->memory->mem.index);
	bool is_scatter;

	gather_sizes(instruction->mnemonic, &traits->index_size, &traits->element_size, &is_scatter);
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
static insn_handler *bind_zero(struct insn *insn, struct fpu_form *form, struct thunk *slot)
{
	bool is_all = form->instruction->mnemonic == ZYDIS_MNEMONIC_VZEROALL;

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

static insn_handler *bind_x87(struct insn *insn, struct fpu_form *form, struct thunk *slot)
{
	const ZydisDecodedInstruction *instruction = form->instruction;

	insn->immediate2 = (uint16_t)((instruction->opcode & 7) << 8 |
				      form->decoded->bytes[instruction->raw.modrm.offset]);
	if (insn->traits & INSN_X87_CONTROL)
		form->traits.flags = THUNK_X87_CONTROL;
	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_FNINIT: form->traits.flags |= THUNK_X87_INIT; break;
	case ZYDIS_MNEMONIC_FLDCW: return finish(insn, form, fpu_run_load, slot);
	case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FNSTSW:
		if (form->memory != NULL)
			return finish(insn, form, fpu_run_store, slot);
		break;
	default: break;
	}
	if (form->memory == NULL)
		return finish(insn, form, fpu_run_x87_register, slot);
	return finish(insn, form, form->is_store ? fpu_run_x87_store : fpu_run_x87_load, slot);
}

static insn_handler *bind(struct insn *insn, const struct decoded *decoded, struct thunk *slot)
{
	struct fpu_form form = {.decoded = NULL};
	uint8_t index_size, element_size;
	bool is_scatter;

	if (!fpu_form_inspect(&form, decoded) || fpu_form_set_gate(&form) != 0)
		return NULL;
	if (gather_sizes(form.instruction->mnemonic, &index_size, &element_size, &is_scatter) &&
	    form.memory != NULL)
		return bind_gather(insn, &form, slot);
	switch (form.instruction->mnemonic) {
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		return bind_masked_bytes(insn, &form, slot);
	case ZYDIS_MNEMONIC_VZEROALL:
	case ZYDIS_MNEMONIC_VZEROUPPER:
		if ((decoded->mode & CPU_MODE_CODE_MASK) != CPU_MODE_CODE64)
			return bind_zero(insn, &form, slot);
		break;
	default:
		break;
	}

	if (form.memory != NULL &&
	    (form.memory->mem.type != ZYDIS_MEMOP_TYPE_MEM || fpu_form_set_memory(&form, insn) != 0))
		return NULL;
	if (thunk_emit_instruction(&form.code, insn, decoded) != 0)
		return NULL;
	if (form.is_x87)
		return bind_x87(insn, &form, slot);
	if (form.memory == NULL)
		return finish(insn, &form, fpu_run_register, slot);

	switch (form.instruction->mnemonic) {
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
		return finish(insn, &form, fpu_run_ldmxcsr, slot);
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
		fpu_form_set_vector_mask(&form, 4);
		break;
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		fpu_form_set_vector_mask(&form, 8);
		break;
	default:
		/* Stores leave masked-out elements alone in any case. */
		if (fpu_form_opmask(&form) != 0 &&
		    (form.is_store || fpu_form_suppresses_faults(&form)) &&
		    fpu_form_set_opmask(&form) != 0)
			return NULL;
		break;
	}
	if (form.traits.mask == THUNK_MASK_NONE)
		return finish(insn, &form, form.is_store ? fpu_run_store : fpu_run_load, slot);
	return finish(insn, &form, form.is_store ? fpu_run_masked_store : fpu_run_masked_load, slot);
}

insn_handler *fpu_bind(struct insn *insn, const struct decoded *decoded)
{
	return bind(insn, decoded, NULL);
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
		copy.execute = bind(&copy, &decoded, cpu->fpu.slot);
	if (copy.execute == NULL)
		cpu_raise(cpu, EXCEPTION_UD);
	copy.execute(cpu, &copy);
}
