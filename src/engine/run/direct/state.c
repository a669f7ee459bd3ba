/*
 * A CPU's registers in a stub's frame. What comes back was in the guest's hands: each register is taken
 * for what user code can bring it to, and no more.
 */
#include "engine/run/direct/internal.h"
#include "engine/x86/bytes.h"
#include "engine/x86/fpu/fpu.h"
#include "engine/x86/host/host.h"
#include "engine/x86/system.h"
#include "engine/x86/system/transfer.h"

/* What ring 3 can change without IOPL (Intel SDM vol. 2, POPF): what the kernel takes from a frame, and what
 * the stub's code loads itself. */
#define FRAME_FLAGS (FLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_AC)
#define OTHER_FLAGS (RFLAGS_ID | RFLAGS_NT)

#define SOFTWARE_OFFSET 464

static uint64_t signals_blocked(void)
{
	static const int numbers[] = DIRECT_SIGNALS;
	uint64_t open = 0;

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		open |= 1ull << (numbers[i] - 1);
	return ~open;
}

static void image_to_stub(struct direct *direct, struct direct_process *process)
{
	uint8_t *image = process->page + process->image;

	fpu_get_image(direct->cpu, image, process->image_size);
	bytes_copy(image + SOFTWARE_OFFSET, process->first_software, sizeof(process->first_software));
	bytes_store32(image + process->image_size, process->magic);
}

/* In the order of struct direct_control. */
static const uint8_t data_segments[] = { CPU_DS, CPU_ES, CPU_FS, CPU_GS };

/* What a stub has in its place: eligible.c. */
static uint16_t selector_to_stub(const struct cpu *cpu, enum cpu_segment segment)
{
	if (cpu_is_64(cpu) || segment == CPU_DS || segment == CPU_ES)
		return cpu->segment[segment].selector;
	return cpu->segment[segment].unusable ? 0 : DIRECT_USER_DS;
}

/* Whether any is another. */
static bool selectors_to_stub(const struct cpu *cpu, struct direct_process *process)
{
	struct direct_control *control = process_control(process);
	bool is_other = false;

	for (unsigned i = 0; i < 4; i++) {
		process->selectors[i] = selector_to_stub(cpu, data_segments[i]);
		is_other |= control->selectors[i] != process->selectors[i];
		control->wanted[i] = process->selectors[i];
	}
	control->loads = is_other;
	return is_other;
}

/* Where code has loaded another one, the guest's tables say what that means. */
static void selectors_from_stub(struct cpu *cpu, const struct direct_process *process)
{
	const struct direct_control *control = process_control(process);

	for (unsigned i = 0; i < 4; i++) {
		uint16_t selector = control->selectors[i];

		if (selector != process->selectors[i])
			segment_load(cpu, data_segments[i], selector);
	}
}

/* It has come to other code by a far transfer. */
static void code_segment_from_stub(struct direct *direct, uint16_t selector)
{
	struct cpu *cpu = direct->cpu;
	struct kvm_segment cs;

	if (selector == cpu->segment[CPU_CS].selector)
		return;
	transfer_resolve_return(cpu, selector, &cs);
	direct->counters.widths++;
	cpu->segment[CPU_CS] = cs;
	cpu_update_mode(cpu);
}

void state_to_stub(struct direct *direct, struct direct_process *process)
{
	const struct cpu *cpu = direct->cpu;
	struct direct_control *control = process_control(process);
	struct direct_frame frame = process->first;
	bool are_loaded;

	frame.r8 = cpu->gpr[CPU_R8];
	frame.r9 = cpu->gpr[CPU_R9];
	frame.r10 = cpu->gpr[CPU_R10];
	frame.r11 = cpu->gpr[CPU_R11];
	frame.r12 = cpu->gpr[CPU_R12];
	frame.r13 = cpu->gpr[CPU_R13];
	frame.r14 = cpu->gpr[CPU_R14];
	frame.r15 = cpu->gpr[CPU_R15];
	frame.di = cpu->gpr[CPU_RDI];
	frame.si = cpu->gpr[CPU_RSI];
	frame.bp = cpu->gpr[CPU_RBP];
	frame.bx = cpu->gpr[CPU_RBX];
	frame.dx = cpu->gpr[CPU_RDX];
	frame.ax = cpu->gpr[CPU_RAX];
	frame.cx = cpu->gpr[CPU_RCX];
	frame.sp = cpu->gpr[CPU_RSP];
	frame.ip = cpu->rip;
	frame.cs = cpu->segment[CPU_CS].selector;
	frame.ss = DIRECT_USER_DS;
	frame.eflags = cpu->rflags & (FRAME_FLAGS | RFLAGS_IF | RFLAGS_ONE);
	frame.mask = signals_blocked();
	bytes_copy(process_frame(process), &frame, sizeof(frame));
	control->flags = (cpu->rflags & RFLAGS_ID) | RFLAGS_IF | RFLAGS_ONE;
	are_loaded = selectors_to_stub(cpu, process);
	process_set_bases(process, cpu->segment[CPU_FS].base, cpu->segment[CPU_GS].base, are_loaded);
	image_to_stub(direct, process);
}

static void base_from_stub(struct cpu *cpu, enum cpu_segment segment, uint64_t base)
{
	if (cpu_is_canonical(base))
		cpu->segment[segment].base = base;
}

void state_from_stub(struct direct *direct, const struct direct_process *process)
{
	struct cpu *cpu = direct->cpu;
	const struct direct_control *control = process_control(process);
	struct direct_frame frame;

	bytes_copy(&frame, process_frame(process), sizeof(frame));
	cpu->gpr[CPU_R8] = frame.r8;
	cpu->gpr[CPU_R9] = frame.r9;
	cpu->gpr[CPU_R10] = frame.r10;
	cpu->gpr[CPU_R11] = frame.r11;
	cpu->gpr[CPU_R12] = frame.r12;
	cpu->gpr[CPU_R13] = frame.r13;
	cpu->gpr[CPU_R14] = frame.r14;
	cpu->gpr[CPU_R15] = frame.r15;
	cpu->gpr[CPU_RDI] = frame.di;
	cpu->gpr[CPU_RSI] = frame.si;
	cpu->gpr[CPU_RBP] = frame.bp;
	cpu->gpr[CPU_RBX] = frame.bx;
	cpu->gpr[CPU_RDX] = frame.dx;
	cpu->gpr[CPU_RAX] = frame.ax;
	cpu->gpr[CPU_RCX] = frame.cx;
	cpu->gpr[CPU_RSP] = frame.sp;
	cpu->rip = frame.ip;
	cpu_write_rflags(cpu, frame.eflags, FRAME_FLAGS | OTHER_FLAGS | RFLAGS_RF);
	cpu->rflags &= ~RFLAGS_RF;
	/* Which is all that the host has, too: eligible.c. */
	fpu_set_image(cpu, process->page + process->image, process->image_size, cpu->xcr0);
	cpu->insn = NULL;
	cpu->next_rip = cpu->rip;
	/* Any other is by none of the instructions that a scan lets pass. */
	if ((frame.cs != DIRECT_USER_CS && frame.cs != DIRECT_USER32_CS) || frame.ss != DIRECT_USER_DS)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	code_segment_from_stub(direct, frame.cs);
	selectors_from_stub(cpu, process);
	/* Else no instruction that runs there can change them. */
	if (!host.has_fsgsbase)
		return;
	base_from_stub(cpu, CPU_FS, control->fs_base);
	base_from_stub(cpu, CPU_GS, control->gs_base);
}
