/*
 * A CPU's registers in a stub's frame. What comes back was in the guest's hands: each register is taken
 * for what user code can bring it to, and no more.
 */
#include "engine/run/direct/internal.h"
#include "engine/x86/bytes.h"
#include "engine/x86/fpu/fpu_image.h"
#include "engine/x86/fpu/fpu.h"
#include "engine/x86/system.h"

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
	uint32_t size = process->image_size;

	fpu_get_xsave(direct->cpu, direct->image);
	if (size > FPU_AREA_SIZE) {
		bytes_zero(image + FPU_AREA_SIZE, size - FPU_AREA_SIZE);
		size = FPU_AREA_SIZE;
	}
	bytes_copy(image, direct->image, size);
	bytes_copy(image + SOFTWARE_OFFSET, process->first_software, sizeof(process->first_software));
	bytes_store32(process->page + process->image + process->image_size, process->magic);
}

void state_to_stub(struct direct *direct, struct direct_process *process)
{
	const struct cpu *cpu = direct->cpu;
	struct direct_control *control = process_control(process);
	struct direct_frame frame = process->first;

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
	frame.eflags = cpu->rflags & (FRAME_FLAGS | RFLAGS_IF | RFLAGS_ONE);
	frame.mask = signals_blocked();
	bytes_copy(process_frame(process), &frame, sizeof(frame));
	control->fs_base = cpu->segment[CPU_FS].base;
	control->gs_base = cpu->segment[CPU_GS].base;
	control->flags = (cpu->rflags & OTHER_FLAGS) | RFLAGS_IF | RFLAGS_ONE;
	image_to_stub(direct, process);
}

static void image_from_stub(struct direct *direct, const struct direct_process *process)
{
	uint8_t *image = direct->image;
	uint32_t size = process->image_size < FPU_AREA_SIZE ? process->image_size : FPU_AREA_SIZE;
	uint64_t held;

	bytes_copy(image, process->page + process->image, size);
	held = bytes_load64(image + FPU_IMAGE_XSTATE_BV) & fpu_guest_components(direct->cpu);
	bytes_zero(image + FPU_IMAGE_XSTATE_BV, FPU_HEADER_SIZE);
	/* MXCSR is there whether or not the registers are in their initial state. */
	bytes_store64(image + FPU_IMAGE_XSTATE_BV, held | FPU_SSE);
	bytes_store32(image + FPU_IMAGE_MXCSR,
		      bytes_load32(image + FPU_IMAGE_MXCSR) & fpu_layout.mxcsr_mask);
	(void)fpu_set_xsave(direct->cpu, image);
}

static void base_from_stub(struct cpu *cpu, enum cpu_segment segment, uint64_t base)
{
	if (cpu_is_canonical(base))
		cpu->segment[segment].base = base;
}

bool state_from_stub(struct direct *direct, const struct direct_process *process)
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
	base_from_stub(cpu, CPU_FS, control->fs_base);
	base_from_stub(cpu, CPU_GS, control->gs_base);
	image_from_stub(direct, process);
	return frame.cs == process->first.cs && frame.ss == process->first.ss;
}
