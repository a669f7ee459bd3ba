/*
 * Instructions on segment registers, descriptor tables and selectors (Intel SDM vol. 2: MOV, POP,
 * PUSH, LDS..LSS, LGDT, LIDT, LLDT, LTR, SGDT, SIDT, SLDT, STR, LAR, LSL, VERR, VERW, ARPL).
 */
#include "engine/x86/features.h"
#include "engine/x86/privilege.h"
#include "engine/x86/instructions/stack.h"

enum {
	TYPE_TSS_16 = 1,
	TYPE_LDT = 2,
	TYPE_TSS_16_BUSY = 3,
	TYPE_CALL_16 = 4,
	TYPE_TASK = 5,
	TYPE_TSS = 9,
	TYPE_TSS_BUSY = 11,
	TYPE_CALL = 12,
};

/* -- segment registers -- */

static void load_register(struct cpu *cpu, enum cpu_segment segment, uint16_t selector)
{
	segment_load(cpu, segment, selector);
	/* Nothing may come between a new SS and its new stack pointer. */
	if (segment == CPU_SS)
		cpu_set_interrupt_shadow(cpu, KVM_X86_SHADOW_INT_MOV_SS);
}

static void execute_mov_to_segment(struct cpu *cpu, const struct insn *insn)
{
	load_register(cpu, insn->reg[0], operand_read(cpu, insn, 1, 2));
}

static void execute_mov_from_segment(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector = cpu->segment[insn->reg[1]].selector;

	operand_write(cpu, insn, 0, selector,
		      insn->kind[0] == INSN_OPERAND_MEMORY ? 2 : insn->operand_size);
}

static void execute_push_segment(struct cpu *cpu, const struct insn *insn)
{
	uint64_t sp = stack_wrap(cpu, cpu->gpr[CPU_RSP] - insn->stack_width);

	/* A 32-bit push of a selector writes 16 bits only on Intel's processors (SDM vol. 2, PUSH), and zeroes above
	 * them on AMD's. */
	mem_write(cpu, CPU_SS, sp, cpu->segment[insn->reg[0]].selector,
		  insn->stack_width == 8 || cpu->is_amd ? insn->stack_width : 2);
	stack_set_pointer(cpu, sp);
}

static void execute_pop_segment(struct cpu *cpu, const struct insn *insn)
{
	uint64_t sp = cpu->gpr[CPU_RSP] + insn->stack_width;
	uint16_t selector = stack_top(cpu, 2);
	/* The pop moves the old stack's pointer, by that stack's width. */
	unsigned width = cpu_is_64(cpu) ? 8 : cpu->mode & CPU_MODE_STACK32 ? 4 : 2;

	load_register(cpu, insn->reg[0], selector);
	register_write(&cpu->gpr[CPU_RSP], sp, width);
}

/* LDS, LES, LFS, LGS, LSS: which register a mnemonic loads. */
static enum cpu_segment far_pointer_segment(const struct insn *insn)
{
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_LDS: return CPU_DS;
	case ZYDIS_MNEMONIC_LES: return CPU_ES;
	case ZYDIS_MNEMONIC_LFS: return CPU_FS;
	case ZYDIS_MNEMONIC_LGS: return CPU_GS;
	default: return CPU_SS;
	}
}

static void execute_load_far_pointer(struct cpu *cpu, const struct insn *insn)
{
	uint64_t offset = mem_offset(cpu, insn);
	unsigned size = insn->operand_size;
	uint64_t value = mem_read(cpu, insn->segment, offset, size);
	uint16_t selector = mem_read(cpu, insn->segment, offset + size, 2);

	segment_load(cpu, far_pointer_segment(insn), selector);
	gpr_write(cpu, insn, 0, value, size);
}

/* -- descriptor table registers -- */

static void store_table(struct cpu *cpu, const struct insn *insn, const struct kvm_dtable *table)
{
	uint64_t offset = mem_offset(cpu, insn);
	unsigned size = cpu_is_64(cpu) ? 8 : 4;
	uint64_t gva;

	require_umip(cpu);
	gva = segment_linear(cpu, insn->segment, offset, 2 + size, true);
	lin_write(cpu, gva, table->limit, 2, insn->segment);
	lin_write(cpu, gva + 2, table->base, size, insn->segment);
}

static void execute_sgdt(struct cpu *cpu, const struct insn *insn)
{
	store_table(cpu, insn, &cpu->gdt);
}

static void execute_sidt(struct cpu *cpu, const struct insn *insn)
{
	store_table(cpu, insn, &cpu->idt);
}

static void load_table(struct cpu *cpu, const struct insn *insn, struct kvm_dtable *table)
{
	uint64_t offset = mem_offset(cpu, insn);
	uint16_t limit;
	uint64_t base;

	require_cpl0(cpu);
	limit = mem_read(cpu, insn->segment, offset, 2);
	base = mem_read(cpu, insn->segment, offset + 2, cpu_is_64(cpu) ? 8 : 4);
	if (cpu_is_64(cpu)) {
		if (!cpu_is_canonical(base))
			cpu_raise_error(cpu, EXCEPTION_GP, 0);
	} else if (insn->operand_size == 2) {
		base &= 0xffffff;
	}
	table->limit = limit;
	table->base = base;
}

static void execute_lgdt(struct cpu *cpu, const struct insn *insn)
{
	load_table(cpu, insn, &cpu->gdt);
}

static void execute_lidt(struct cpu *cpu, const struct insn *insn)
{
	load_table(cpu, insn, &cpu->idt);
}

static void store_selector(struct cpu *cpu, const struct insn *insn, uint16_t selector)
{
	require_protected(cpu);
	require_umip(cpu);
	operand_write(cpu, insn, 0, selector,
		      insn->kind[0] == INSN_OPERAND_MEMORY ? 2 : insn->operand_size);
}

static void execute_sldt(struct cpu *cpu, const struct insn *insn)
{
	store_selector(cpu, insn, cpu->ldt.selector);
}

static void execute_str(struct cpu *cpu, const struct insn *insn)
{
	store_selector(cpu, insn, cpu->tr.selector);
}

/* A system segment's descriptor, of 16 bytes in IA-32e mode, from the GDT. */
static void system_descriptor(struct cpu *cpu, uint16_t selector, struct kvm_segment *segment)
{
	uint32_t error = selector & 0xfffc;
	uint64_t descriptor, high;

	if ((selector & 4) || !descriptor_read(cpu, selector, &descriptor))
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	descriptor_unpack(segment, selector, descriptor);
	if (segment->s)
		cpu_raise_error(cpu, EXCEPTION_GP, error);
	if (cpu_is_long(cpu)) {
		high = descriptor_read_high(cpu, selector);
		segment->base |= high << 32;
		if ((high >> 40 & 0x1f) || !cpu_is_canonical(segment->base))
			cpu_raise_error(cpu, EXCEPTION_GP, error);
	}
}

static void execute_lldt(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector;
	struct kvm_segment ldt;

	require_protected(cpu);
	require_cpl0(cpu);
	selector = operand_read(cpu, insn, 0, 2);
	if (segment_is_null(selector)) {
		cpu->ldt = (struct kvm_segment){
			.selector = selector, .type = TYPE_LDT, .unusable = 1,
		};
		return;
	}
	system_descriptor(cpu, selector, &ldt);
	if (ldt.type != TYPE_LDT)
		cpu_raise_error(cpu, EXCEPTION_GP, selector & 0xfffc);
	if (!ldt.present)
		cpu_raise_error(cpu, EXCEPTION_NP, selector & 0xfffc);
	cpu->ldt = ldt;
}

static void execute_ltr(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector;
	struct kvm_segment tr;

	require_protected(cpu);
	require_cpl0(cpu);
	selector = operand_read(cpu, insn, 0, 2);
	if (segment_is_null(selector))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	system_descriptor(cpu, selector, &tr);
	if (tr.type != TYPE_TSS && (tr.type != TYPE_TSS_16 || cpu_is_long(cpu)))
		cpu_raise_error(cpu, EXCEPTION_GP, selector & 0xfffc);
	if (!tr.present)
		cpu_raise_error(cpu, EXCEPTION_NP, selector & 0xfffc);
	descriptor_set_busy(cpu, selector, true);
	tr.type |= 2;
	cpu->tr = tr;
}

/* -- questions about a selector -- */

static void write_zf(struct cpu *cpu, bool is_set)
{
	cpu->rflags = is_set ? cpu->rflags | RFLAGS_ZF : cpu->rflags & ~RFLAGS_ZF;
}

/* Whether the current privilege and the selector's RPL may see its segment at all. */
static bool is_visible(const struct cpu *cpu, const struct kvm_segment *segment)
{
	bool is_conforming = segment->s && (segment->type & 0xc) == 0xc;

	return is_conforming ||
	       (cpu->cpl <= segment->dpl && (segment->selector & 3) <= segment->dpl);
}

static bool has_access_rights(const struct cpu *cpu, const struct kvm_segment *segment)
{
	if (segment->s)
		return true;
	switch (segment->type) {
	case TYPE_LDT:
	case TYPE_TSS:
	case TYPE_TSS_BUSY:
	case TYPE_CALL:
		return true;
	case TYPE_TSS_16:
	case TYPE_TSS_16_BUSY:
	case TYPE_CALL_16:
	case TYPE_TASK:
		return !cpu_is_long(cpu);
	default:
		return false;
	}
}

static bool has_limit(const struct cpu *cpu, const struct kvm_segment *segment)
{
	return has_access_rights(cpu, segment) &&
	       (segment->s || (segment->type != TYPE_CALL && segment->type != TYPE_CALL_16 &&
			       segment->type != TYPE_TASK));
}

/* What LAR and LSL share: look at the descriptor that operand 1 selects; ZF tells whether it has
 * what the instruction asks for (`is_suitable`) and may be seen. */
static bool inspect_descriptor(struct cpu *cpu, const struct insn *insn,
			       bool (*is_suitable)(const struct cpu *, const struct kvm_segment *),
			       struct kvm_segment *segment, uint64_t *descriptor)
{
	uint16_t selector;
	bool is_valid;

	require_protected(cpu);
	selector = operand_read(cpu, insn, 1, 2);
	is_valid = descriptor_read(cpu, selector, descriptor);
	if (is_valid) {
		descriptor_unpack(segment, selector, *descriptor);
		is_valid = is_suitable(cpu, segment) && is_visible(cpu, segment);
	}
	write_zf(cpu, is_valid);
	return is_valid;
}

static void execute_lar(struct cpu *cpu, const struct insn *insn)
{
	struct kvm_segment segment;
	uint64_t descriptor;

	if (inspect_descriptor(cpu, insn, has_access_rights, &segment, &descriptor))
		gpr_write(cpu, insn, 0, descriptor >> 32 & 0xffff00, insn->operand_size);
}

static void execute_lsl(struct cpu *cpu, const struct insn *insn)
{
	struct kvm_segment segment;
	uint64_t descriptor;

	if (inspect_descriptor(cpu, insn, has_limit, &segment, &descriptor))
		gpr_write(cpu, insn, 0, segment.limit, insn->operand_size);
}

static void verify(struct cpu *cpu, const struct insn *insn, bool is_write)
{
	struct kvm_segment segment;
	uint16_t selector;
	uint64_t descriptor;
	bool is_valid;

	require_protected(cpu);
	selector = operand_read(cpu, insn, 0, 2);
	is_valid = descriptor_read(cpu, selector, &descriptor);
	if (is_valid) {
		descriptor_unpack(&segment, selector, descriptor);
		is_valid = segment.s && is_visible(cpu, &segment);
		if (segment.type & 8)
			is_valid &= !is_write && (segment.type & 2);
		else if (is_write)
			is_valid &= (segment.type & 2) != 0;
	}
	write_zf(cpu, is_valid);
}

static void execute_verr(struct cpu *cpu, const struct insn *insn)
{
	verify(cpu, insn, false);
}

static void execute_verw(struct cpu *cpu, const struct insn *insn)
{
	static const uint16_t null_selector;

	verify(cpu, insn, true);
	/* The memory form empties the buffers that MDS and TSA read, at any privilege. */
	if (cpu_has(cpu, FEATURE_MD_CLEAR) || cpu_has(cpu, FEATURE_VERW_CLEAR))
		__asm__ volatile("verw %0" : : "m"(null_selector) : "cc");
}

static void execute_arpl(struct cpu *cpu, const struct insn *insn)
{
	uint16_t destination, source;

	require_protected(cpu);
	destination = operand_read(cpu, insn, 0, 2);
	source = operand_read(cpu, insn, 1, 2);
	if ((destination & 3) < (source & 3)) {
		operand_write(cpu, insn, 0, (destination & ~3) | (source & 3), 2);
		write_zf(cpu, true);
	} else {
		write_zf(cpu, false);
	}
}

static insn_handler *bind_mov_to_segment(struct insn *insn, const struct decoded *decoded,
					 const struct isa_row *row)
{
	(void)decoded;
	(void)row;
	return insn->reg[0] == CPU_CS || insn->reg[0] >= CPU_SEGMENTS ? NULL : execute_mov_to_segment;
}

#define ROW(name, ends, handler) {ZYDIS_MNEMONIC_##name, ends, 0, handler, NULL}
#define ROW_RING0(name, ends, handler)                                                             \
	{ZYDIS_MNEMONIC_##name, ends, .execute = handler, .traits = INSN_RING0}

static const struct isa_row rows[] = {
	{ZYDIS_MNEMONIC_MOV, ISA_ENDS_BY_SEGMENT, .form = ISA_SEGMENT_FIRST, .bind = bind_mov_to_segment,
	 .operation = INSN_MOVES, .traits = INSN_LOADS_SEGMENT | INSN_TELLS_HOST_32},
	{ZYDIS_MNEMONIC_MOV, .form = ISA_SEGMENT_SECOND, .execute = execute_mov_from_segment,
	 .class = INSN_SELECTOR_READ, .operation = INSN_MOVES, .traits = INSN_TELLS_HOST_32},
	{ZYDIS_MNEMONIC_PUSH, .form = ISA_SEGMENT_FIRST, .execute = execute_push_segment,
	 .traits = INSN_TELLS_HOST_32},
	{ZYDIS_MNEMONIC_POP, ISA_ENDS_BY_SEGMENT, .form = ISA_SEGMENT_FIRST,
	 .execute = execute_pop_segment, .traits = INSN_LOADS_SEGMENT | INSN_TELLS_HOST_32},
	ROW(LDS, 1, execute_load_far_pointer),
	ROW(LES, 1, execute_load_far_pointer),
	{ZYDIS_MNEMONIC_LFS, .execute = execute_load_far_pointer, .traits = INSN_LOADS_FS_GS | INSN_TELLS_HOST_32},
	{ZYDIS_MNEMONIC_LGS, .execute = execute_load_far_pointer, .traits = INSN_LOADS_FS_GS | INSN_TELLS_HOST_32},
	ROW(LSS, 1, execute_load_far_pointer),
	ROW(SGDT, 0, execute_sgdt),
	ROW(SIDT, 0, execute_sidt),
	ROW_RING0(LGDT, 0, execute_lgdt),
	ROW_RING0(LIDT, 0, execute_lidt),
	ROW(SLDT, 0, execute_sldt),
	ROW(STR, 0, execute_str),
	ROW_RING0(LLDT, 0, execute_lldt),
	ROW_RING0(LTR, 0, execute_ltr),
	ROW(LAR, 0, execute_lar),
	{ZYDIS_MNEMONIC_LSL, .execute = execute_lsl, .traits = INSN_TELLS_HOST},
	ROW(VERR, 0, execute_verr),
	ROW(VERW, 0, execute_verw),
	ROW(ARPL, 0, execute_arpl),
};

const struct isa_table isa_segment = {rows, sizeof(rows) / sizeof(rows[0])};
