#include "monitor/look/registers.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kvm/kvm.h"
#include "util/x86_registers.h"

/* Offsets of a descriptor's bits in its second half (SDM vol. 3 §3.4.5). */
enum { TYPE_BIT = 8, S_BIT = 12, DPL_BIT = 13, P_BIT = 15, AVL_BIT = 20, L_BIT = 21, DB_BIT = 22, G_BIT = 23 };
#define TYPE_ACCESSED 1
#define TYPE_WRITABLE 2 /* of code: readable */
#define TYPE_EXPANDS  4 /* downwards; of code: conforming */
#define TYPE_CODE     8

struct cpu_values {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
};

static const struct kvm_vcpu *vcpu_of(const struct look *look)
{
	return machine_cpu(look->machine, look->cpu);
}

static bool read_registers(const struct look *look, struct cpu_values *registers)
{
	return kvm_vcpu_ioctl(vcpu_of(look), KVM_GET_REGS, &registers->regs) >= 0 &&
	       kvm_vcpu_ioctl(vcpu_of(look), KVM_GET_SREGS, &registers->sregs) >= 0;
}

/* The manual's order is another than the struct's. */
static const struct {
	char name[4];
	size_t offset;
} general[] = {
#define GENERAL(name) {#name, offsetof(struct kvm_regs, name)}
	GENERAL(rax), GENERAL(rbx), GENERAL(rcx), GENERAL(rdx), GENERAL(rsi), GENERAL(rdi), GENERAL(rbp),
	GENERAL(rsp), GENERAL(r8),  GENERAL(r9),  GENERAL(r10), GENERAL(r11), GENERAL(r12), GENERAL(r13),
	GENERAL(r14), GENERAL(r15),
#undef GENERAL
};
#define GENERAL_COUNT (sizeof(general) / sizeof(general[0]))
#define LEGACY_COUNT  8 /* those that code of 32 bits has */

static uint64_t general_value(const struct cpu_values *registers, unsigned index)
{
	return *(const uint64_t *)((const char *)&registers->regs + general[index].offset);
}

static const struct {
	char name[4];
	size_t offset;
} segments[] = {
#define SEGMENT(name) {#name, offsetof(struct kvm_sregs, name)}
	SEGMENT(es), SEGMENT(cs), SEGMENT(ss), SEGMENT(ds), SEGMENT(fs), SEGMENT(gs), SEGMENT(ldt), SEGMENT(tr),
#undef SEGMENT
};
#define SEGMENT_COUNT (sizeof(segments) / sizeof(segments[0]))

static const struct kvm_segment *segment_at(const struct cpu_values *registers, unsigned index)
{
	return (const struct kvm_segment *)((const char *)&registers->sregs + segments[index].offset);
}

static void print_flags(const struct look *look, uint64_t rflags)
{
	static const struct {
		unsigned bit;
		char name;
	} flags[] = {{10, 'D'}, {11, 'O'}, {7, 'S'}, {6, 'Z'}, {4, 'A'}, {2, 'P'}, {0, 'C'}};
	unsigned i;

	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		hmp_print(look->text, "%c", rflags >> flags[i].bit & 1 ? flags[i].name : '-');
}

static const char *system_type(unsigned type, bool is_long)
{
	static const char *const types[2][16] = {
		{"Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16",
		 "TrapGate16", "Reserved", "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32", "Reserved",
		 "IntGate32", "TrapGate32"},
		{"<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved",
		 "Reserved", "TSS64-avl", "Reserved", "TSS64-busy", "CallGate64", "Reserved", "IntGate64",
		 "TrapGate64"},
	};

	return types[is_long][type & 15];
}

static void print_segment(const struct look *look, const struct cpu_values *registers, unsigned index)
{
	const struct kvm_segment *segment = segment_at(registers, index);
	bool is_long = registers->sregs.efer & EFER_LMA;
	uint32_t limit = segment->g ? segment->limit >> 12 : segment->limit;
	uint32_t bits = segment->type << TYPE_BIT | segment->s << S_BIT | segment->dpl << DPL_BIT |
			segment->present << P_BIT | (limit & 0xf0000) | segment->avl << AVL_BIT |
			segment->l << L_BIT | segment->db << DB_BIT | (uint32_t)segment->g << G_BIT;
	char name[4];

	/* "ES ", "LDT" */
	snprintf(name, sizeof(name), "%c%c%c", segments[index].name[0] - 0x20, segments[index].name[1] - 0x20,
		 segments[index].name[2] ? segments[index].name[2] - 0x20 : ' ');
	hmp_print(look->text, "%s=%04x %0*" PRIx64 " %08x %08x", name, segment->selector, is_long ? 16 : 8,
		  (uint64_t)segment->base, segment->limit, bits);
	if ((registers->sregs.cr0 & CR0_PE) && segment->present && !segment->unusable) {
		hmp_print(look->text, " DPL=%u ", segment->dpl);
		if (!segment->s)
			hmp_print(look->text, "%s", system_type(segment->type, is_long));
		else if (segment->type & TYPE_CODE)
			hmp_print(look->text, "%s [%c%c%c]", segment->l ? "CS64" : segment->db ? "CS32" : "CS16",
				  segment->type & TYPE_EXPANDS ? 'C' : '-',
				  segment->type & TYPE_WRITABLE ? 'R' : '-',
				  segment->type & TYPE_ACCESSED ? 'A' : '-');
		else
			hmp_print(look->text, "%s [%c%c%c]", segment->db || is_long ? "DS  " : "DS16",
				  segment->type & TYPE_EXPANDS ? 'E' : '-',
				  segment->type & TYPE_WRITABLE ? 'W' : '-',
				  segment->type & TYPE_ACCESSED ? 'A' : '-');
	}
	hmp_print(look->text, "\n");
}

static void print_table(const struct look *look, const char *name, const struct kvm_dtable *table, bool is_long)
{
	hmp_print(look->text, "%s=     %0*" PRIx64 " %08x\n", name, is_long ? 16 : 8, (uint64_t)table->base,
		  table->limit);
}

static unsigned privilege(const struct cpu_values *registers)
{
	if (!(registers->sregs.cr0 & CR0_PE))
		return 0;
	return registers->regs.rflags & RFLAGS_VM ? 3 : registers->sregs.ss.dpl;
}

static void print_general(const struct look *look, const struct cpu_values *registers)
{
	const struct kvm_sregs *sregs = &registers->sregs;
	bool is_wide = (sregs->efer & EFER_LMA) && sregs->cs.l;
	struct kvm_mp_state mp = {0};
	struct kvm_vcpu_events events = {0};
	unsigned i, row = 0;

	for (i = 0; i < (is_wide ? GENERAL_COUNT : LEGACY_COUNT); i++) {
		const char *name = general[i].name;
		char upper[4] = {name[0] - 0x20, name[1] >= 'a' ? name[1] - 0x20 : name[1],
				 name[2] >= 'a' ? name[2] - 0x20 : name[2] ? name[2] : ' '};

		if (is_wide)
			hmp_print(look->text, "%s=%016" PRIx64, upper, general_value(registers, i));
		else
			hmp_print(look->text, "E%s=%08x", upper + 1, (uint32_t)general_value(registers, i));
		hmp_print(look->text, ++row % 4 ? " " : "\n");
	}
	kvm_vcpu_ioctl(vcpu_of(look), KVM_GET_MP_STATE, &mp);
	kvm_vcpu_ioctl(vcpu_of(look), KVM_GET_VCPU_EVENTS, &events);
	if (is_wide)
		hmp_print(look->text, "RIP=%016" PRIx64 " RFL=%08x [", (uint64_t)registers->regs.rip,
			  (uint32_t)registers->regs.rflags);
	else
		hmp_print(look->text, "EIP=%08x EFL=%08x [", (uint32_t)registers->regs.rip,
			  (uint32_t)registers->regs.rflags);
	print_flags(look, registers->regs.rflags);
	hmp_print(look->text, "] CPL=%u II=%u A20=1 SMM=%u HLT=%u\n", privilege(registers),
		  events.interrupt.shadow != 0, events.smi.smm, mp.mp_state == KVM_MP_STATE_HALTED);
}

static void print_system(const struct look *look, const struct cpu_values *registers)
{
	const struct kvm_sregs *sregs = &registers->sregs;
	bool is_long = sregs->efer & EFER_LMA;
	int width = is_long ? 16 : 8;
	struct kvm_debugregs debug = {0};
	unsigned i;

	for (i = 0; i < SEGMENT_COUNT; i++)
		print_segment(look, registers, i);
	print_table(look, "GDT", &sregs->gdt, is_long);
	print_table(look, "IDT", &sregs->idt, is_long);
	hmp_print(look->text, "CR0=%08x CR2=%0*" PRIx64 " CR3=%0*" PRIx64 " CR4=%08x\n", (uint32_t)sregs->cr0, width,
		  (uint64_t)sregs->cr2, width, (uint64_t)sregs->cr3, (uint32_t)sregs->cr4);
	kvm_vcpu_ioctl(vcpu_of(look), KVM_GET_DEBUGREGS, &debug);
	for (i = 0; i < 4; i++)
		hmp_print(look->text, "DR%u=%0*" PRIx64 "%c", i, width, (uint64_t)debug.db[i], i < 3 ? ' ' : '\n');
	hmp_print(look->text, "DR6=%0*" PRIx64 " DR7=%0*" PRIx64 "\n", width, (uint64_t)debug.dr6, width,
		  (uint64_t)debug.dr7);
	hmp_print(look->text, "EFER=%016" PRIx64 "\n", (uint64_t)sregs->efer);
}

static void print_fpu(const struct look *look, bool is_wide)
{
	unsigned i, vectors = is_wide ? 16 : 8;
	struct kvm_fpu fpu;
	uint64_t low, high;
	uint16_t exponent;

	if (kvm_vcpu_ioctl(vcpu_of(look), KVM_GET_FPU, &fpu) < 0)
		return;
	hmp_print(look->text, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n", fpu.fcw, fpu.fsw, fpu.fsw >> 11 & 7,
		  fpu.ftwx, fpu.mxcsr);
	for (i = 0; i < 8; i++) {
		memcpy(&low, fpu.fpr[i], 8);
		memcpy(&exponent, fpu.fpr[i] + 8, 2);
		hmp_print(look->text, "FPR%u=%016" PRIx64 " %04x%c", i, low, exponent, i % 2 ? '\n' : ' ');
	}
	for (i = 0; i < vectors; i++) {
		memcpy(&low, fpu.xmm[i], 8);
		memcpy(&high, fpu.xmm[i] + 8, 8);
		hmp_print(look->text, "XMM%02u=%016" PRIx64 "%016" PRIx64 "%c", i, high, low, i % 2 ? '\n' : ' ');
	}
}

void look_registers(const struct look *look, bool has_fpu)
{
	struct cpu_values registers;

	hmp_print(look->text, "\nCPU#%u\n", look->cpu);
	if (!read_registers(look, &registers)) {
		hmp_print(look->text, "its registers cannot be read\n");
		return;
	}
	print_general(look, &registers);
	print_system(look, &registers);
	if (has_fpu)
		print_fpu(look, (registers.sregs.efer & EFER_LMA) && registers.sregs.cs.l);
}

static bool is_name(const char *name, size_t length, const char *wanted)
{
	return strlen(wanted) == length && strncmp(name, wanted, length) == 0;
}

static bool find_segment(const struct cpu_values *registers, const char *name, size_t length, uint64_t *value)
{
	unsigned i;
	size_t own;

	for (i = 0; i < SEGMENT_COUNT; i++) {
		own = strlen(segments[i].name);
		if (strncmp(name, segments[i].name, own) != 0)
			continue;
		if (length == own)
			*value = segment_at(registers, i)->selector;
		else if (is_name(name + own, length - own, ".base"))
			*value = segment_at(registers, i)->base;
		else if (is_name(name + own, length - own, ".limit"))
			*value = segment_at(registers, i)->limit;
		else
			continue;
		return true;
	}
	return false;
}

bool look_register(const struct look *look, const char *name, size_t length, uint64_t *value)
{
	struct cpu_values registers;
	unsigned i;

	if (!length || !read_registers(look, &registers))
		return false;
	for (i = 0; i < GENERAL_COUNT; i++) {
		*value = general_value(&registers, i);
		if (is_name(name, length, general[i].name))
			return true;
		/* The low half: "eax". */
		if (i < LEGACY_COUNT && *name == 'e' && is_name(name + 1, length - 1, general[i].name + 1)) {
			*value = (uint32_t)*value;
			return true;
		}
	}
	const struct {
		const char *name;
		uint64_t value;
	} others[] = {
		{"pc", registers.sregs.cs.base + registers.regs.rip},
		{"eip", registers.sregs.cs.base + registers.regs.rip},
		{"rip", registers.regs.rip},
		{"sp", registers.regs.rsp},
		{"eflags", registers.regs.rflags},
		{"rflags", registers.regs.rflags},
		{"cr0", registers.sregs.cr0},
		{"cr2", registers.sregs.cr2},
		{"cr3", registers.sregs.cr3},
		{"cr4", registers.sregs.cr4},
		{"cr8", registers.sregs.cr8},
		{"efer", registers.sregs.efer},
		{"gdt.base", registers.sregs.gdt.base},
		{"idt.base", registers.sregs.idt.base},
	};
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (is_name(name, length, others[i].name)) {
			*value = others[i].value;
			return true;
		}
	}
	return find_segment(&registers, name, length, value);
}
