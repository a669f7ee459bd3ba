/*
 * Port I/O: IN, OUT, INS, OUTS (Intel SDM vol. 1 §18.5, vol. 2).
 *
 * REP INS and REP OUTS to ports that no device of the engine takes leave for user space with as many
 * elements as lie in one page (KVM_EXIT_IO with count > 1). cpu->io.string_count then says that the
 * next execution of the instruction finds them done: INS stores them first.
 */
#include "engine/x86/breakpoint.h"
#include "engine/x86/platform.h"
#include "engine/x86/mmu/mmio.h"
#include "engine/x86/privilege.h"
#include "util/page.h"

#define IO_MAP_BASE      102 /* in a 32-bit TSS (SDM vol. 3 figure 7-2) */
#define TSS_32           8
#define STRING_DATA_MAX  1024u /* bytes in one exit, as Linux */
#define STRING_BURST     256   /* iterations before pending events get a look */
#define DATA_OFFSET      (KVM_PIO_PAGE_OFFSET * PAGE_SIZE)

/* IOPL, then the I/O permission bitmap of the TSS (SDM vol. 1 §18.5.2). */
static void require_port(struct cpu *cpu, uint16_t port, unsigned size)
{
	uint32_t byte, bits;
	uint16_t map;

	if (!(cpu->cr0 & CR0_PE) || (!(cpu->mode & CPU_MODE_VM86) && cpu->cpl <= cpu_iopl(cpu)))
		return;
	if (cpu->tr.unusable || !(cpu->tr.type & TSS_32) || cpu->tr.limit < IO_MAP_BASE + 1)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	map = sys_read(cpu, cpu->tr.base + IO_MAP_BASE, 2);
	byte = map + port / 8;
	if (byte + 1 > cpu->tr.limit)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	bits = sys_read(cpu, cpu->tr.base + byte, 2);
	if (bits >> port % 8 & ((1u << size) - 1))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

static uint16_t port_operand(const struct cpu *cpu, const struct insn *insn, unsigned n)
{
	if (insn->kind[n] == INSN_OPERAND_IMMEDIATE)
		return (uint8_t)insn->immediate;
	return cpu->gpr[CPU_RDX];
}

static void execute_in(struct cpu *cpu, const struct insn *insn)
{
	uint16_t port = port_operand(cpu, insn, 1);
	unsigned size = insn->operand_size;
	uint32_t value = 0;

	require_port(cpu, port, size);
	if (!pio_plain_access(cpu, port, &value, size, false))
		return;
	register_write(&cpu->gpr[CPU_RAX], value, size);
	breakpoint_check_io(cpu, port, size);
}

static void execute_out(struct cpu *cpu, const struct insn *insn)
{
	uint16_t port = port_operand(cpu, insn, 0);
	unsigned size = insn->operand_size;
	uint32_t value = truncate_to(cpu->gpr[CPU_RAX], size);

	require_port(cpu, port, size);
	if (!pio_plain_access(cpu, port, &value, size, true))
		return;
	breakpoint_check_io(cpu, port, size);
}

/* One string instruction under way. */
struct port_string {
	struct cpu *cpu;
	const struct insn *insn;
	uint64_t *index; /* rDI or rSI */
	enum cpu_segment segment;
	uint16_t port;
	unsigned size;
	bool is_in, is_rep;
};

static unsigned string_size(const struct insn *insn)
{
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_OUTSB:
		return 1;
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_OUTSW:
		return 2;
	default:
		return 4;
	}
}

static uint64_t string_count(const struct port_string *string)
{
	if (!string->is_rep)
		return 1;
	return truncate_to(string->cpu->gpr[CPU_RCX], string->insn->address_size);
}

static uint64_t string_offset(const struct port_string *string)
{
	return truncate_to(*string->index, string->insn->address_size);
}

/* Commit `count` elements: the index and rCX. */
static void string_advance(struct port_string *string, uint64_t count)
{
	struct cpu *cpu = string->cpu;
	unsigned width = string->insn->address_size;
	uint64_t bytes = count * string->size;

	register_write(string->index,
		       cpu->rflags & RFLAGS_DF ? *string->index - bytes : *string->index + bytes,
		       width);
	if (string->is_rep)
		register_write(&cpu->gpr[CPU_RCX], cpu->gpr[CPU_RCX] - count, width);
}

/* What watches instructions or their accesses watches elements. */
static bool is_watched(const struct cpu *cpu)
{
	return cpu->data_breakpoints || debug_is_stepping(cpu);
}

/* How many elements can cross the border at once: forwards, in one page and within the segment. */
static unsigned string_batch(const struct port_string *string)
{
	struct cpu *cpu = string->cpu;
	uint64_t offset = string_offset(string), count = string_count(string), last;
	uint64_t gva = segment_linear(cpu, string->segment, offset, string->size, string->is_in);
	unsigned bytes = PAGE_SIZE - (gva & (PAGE_SIZE - 1));

	if ((cpu->rflags & RFLAGS_DF) || is_watched(cpu))
		return 1;
	if (bytes > STRING_DATA_MAX)
		bytes = STRING_DATA_MAX;
	if (count > bytes / string->size)
		count = bytes / string->size;
	if (!count)
		return 1;
	last = offset + count * string->size - 1;
	if (last != truncate_to(last, string->insn->address_size))
		return 1;
	if (!cpu_is_64(cpu) && last > cpu->segment[string->segment].limit)
		return 1;
	return count;
}

static uint8_t *string_data(const struct port_string *string)
{
	return (uint8_t *)string->cpu->run + DATA_OFFSET;
}

/* Leave for user space with a batch; OUTS takes its data along. */
static _Noreturn void string_exit(struct port_string *string, const uint8_t *memory)
{
	struct cpu *cpu = string->cpu;
	struct kvm_run *run = cpu->run;
	unsigned count = string_batch(string), bytes = count * string->size;

	if (!string->is_in)
		for (unsigned i = 0; i < bytes; i++)
			string_data(string)[i] = memory[i];
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = string->is_in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = string->size;
	run->io.port = string->port;
	run->io.count = count;
	run->io.data_offset = DATA_OFFSET;
	cpu->io.string_count = count;
	cpu_exit_to_user(cpu);
}

/* What user space was asked for is there. */
static void string_finish(struct port_string *string)
{
	struct cpu *cpu = string->cpu;
	unsigned count = cpu->io.string_count;

	if (string->is_in) {
		for (unsigned i = 0; i < count; i++) {
			uint64_t offset = truncate_to(*string->index + i * string->size,
						      string->insn->address_size);

			mem_write(cpu, string->segment, offset,
				  load_host(string_data(string) + i * string->size, string->size),
				  string->size);
		}
	}
	cpu->io.string_count = 0;
	string_advance(string, count);
}

/* The element's port access by a device of the engine; false when none takes it. */
static bool string_device(struct port_string *string, uint64_t *value)
{
	return platform_pio(string->cpu, string->port, value, string->size, !string->is_in);
}

/* One element. Where its memory is not plain, through the fragments of mmio.h. */
static void string_element(struct port_string *string)
{
	struct cpu *cpu = string->cpu;
	uint64_t gva = segment_linear(cpu, string->segment, string_offset(string), string->size,
				      string->is_in);
	uint8_t *memory = lin_pointer(cpu, gva, string->size, string->is_in, string->segment);
	uint64_t value = 0;

	if (!memory) {
		if (string->is_in)
			lin_write(cpu, gva, pio_read(cpu, string->port, string->size), string->size,
				  string->segment);
		else
			pio_write(cpu, string->port,
				  lin_read(cpu, gva, string->size, string->segment), string->size);
		io_reset(cpu);
	} else {
		if (!string->is_in)
			value = load_host(memory, string->size);
		if (!string_device(string, &value)) {
			if (cpu->run)
				string_exit(string, memory);
			value = UINT64_MAX;
		}
		lin_pointer_used(cpu); /* the device has not waited */
		if (string->is_in)
			store_host(memory, value, string->size);
	}
	string_advance(string, 1);
}

static void execute_string(struct cpu *cpu, const struct insn *insn, bool is_in)
{
	struct port_string string = {
		.cpu = cpu,
		.insn = insn,
		.index = &cpu->gpr[is_in ? CPU_RDI : CPU_RSI],
		.segment = is_in ? CPU_ES : insn->segment,
		.port = cpu->gpr[CPU_RDX],
		.size = string_size(insn),
		.is_in = is_in,
		.is_rep = insn->prefixes & (INSN_REP | INSN_REPNE),
	};
	unsigned burst = is_watched(cpu) ? 1 : STRING_BURST;

	require_port(cpu, string.port, string.size);
	if (cpu->io.string_count) {
		string_finish(&string);
	} else {
		while (burst-- && string_count(&string)) {
			string_element(&string);
			if (!string.is_rep)
				break;
		}
	}
	breakpoint_check_io(cpu, string.port, string.size);
	if (string.is_rep && string_count(&string))
		cpu->next_rip = cpu->rip;
}

static void execute_ins(struct cpu *cpu, const struct insn *insn)
{
	execute_string(cpu, insn, true);
}

static void execute_outs(struct cpu *cpu, const struct insn *insn)
{
	execute_string(cpu, insn, false);
}

#define ROW(name, ends, handler) {ZYDIS_MNEMONIC_##name, ends, 0, handler, NULL}

static const struct isa_row rows[] = {
	ROW(IN, 0, execute_in),
	ROW(OUT, 0, execute_out),
	ROW(INSB, 1, execute_ins),
	ROW(INSW, 1, execute_ins),
	ROW(INSD, 1, execute_ins),
	ROW(OUTSB, 1, execute_outs),
	ROW(OUTSW, 1, execute_outs),
	ROW(OUTSD, 1, execute_outs),
};

const struct isa_table isa_io = {rows, sizeof(rows) / sizeof(rows[0])};
