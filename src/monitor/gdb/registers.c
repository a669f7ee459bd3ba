#include "monitor/gdb/registers.h"

#include <errno.h>
#include <string.h>

#include "util/x86_registers.h"

/* The legacy region and header of an XSAVE image (SDM vol. 1 §13.4). */
#define FX_FCW	   0
#define FX_FSW	   2
#define FX_FTW	   4
#define FX_FOP	   6
#define FX_FIP	   8
#define FX_FDP	   16
#define FX_MXCSR   24
#define FX_ST	   32
#define FX_XMM	   160
#define XSTATE_BV  512
#define XSTATE_X87 0x1u
#define XSTATE_SSE 0x2u
#define XSTATE_AVX 0x4u
#define XSTATE_OPMASK	 0x20u
#define XSTATE_ZMM_HIGH	 0x40u
#define XSTATE_ZMM16	 0x80u
#define FCW_INIT   0x37f

/* -- a vCPU's state -- */

int gdb_state_load(struct gdb_state *state, const struct kvm_vcpu *vcpu)
{
	struct kvm_xcrs xcrs = {0};
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msr = {.header.nmsrs = 1, .entry.index = MSR_KERNEL_GS_BASE};
	int result;

	memset(state, 0, sizeof(*state));
	result = kvm_vcpu_ioctl(vcpu, KVM_GET_REGS, &state->regs);
	if (result == 0)
		result = kvm_vcpu_ioctl(vcpu, KVM_GET_SREGS, &state->sregs);
	if (result == 0)
		result = kvm_vcpu_ioctl(vcpu, KVM_GET_XSAVE, &state->xsave);
	if (result == 0)
		result = kvm_vcpu_ioctl(vcpu, KVM_GET_DEBUGREGS, &state->debugregs);
	if (result < 0)
		return result;
	/* What a CPU without it reads as 0. */
	if (kvm_vcpu_ioctl(vcpu, KVM_GET_MSRS, &msr) == 1)
		state->kernel_gs_base = msr.entry.data;
	if (kvm_vcpu_ioctl(vcpu, KVM_GET_XCRS, &xcrs) == 0 && xcrs.nr_xcrs)
		state->xcr0 = xcrs.xcrs[0].value;
	return 0;
}

int gdb_state_store(const struct gdb_state *state, const struct kvm_vcpu *vcpu)
{
	struct gdb_state *written = (struct gdb_state *)state; /* the contract's argument is no const */
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msr = {.header.nmsrs = 1,
		 .entry = {.index = MSR_KERNEL_GS_BASE, .data = state->kernel_gs_base}};
	int result = 0;

	if (state->sregs_changed)
		result = kvm_vcpu_ioctl(vcpu, KVM_SET_SREGS, &written->sregs);
	if (result == 0 && state->regs_changed)
		result = kvm_vcpu_ioctl(vcpu, KVM_SET_REGS, &written->regs);
	if (result == 0 && state->xsave_changed)
		result = kvm_vcpu_ioctl(vcpu, KVM_SET_XSAVE, &written->xsave);
	if (result == 0 && state->debugregs_changed)
		result = kvm_vcpu_ioctl(vcpu, KVM_SET_DEBUGREGS, &written->debugregs);
	if (result == 0 && state->msr_changed)
		result = kvm_vcpu_ioctl(vcpu, KVM_SET_MSRS, &msr) == 1 ? 0 : -EINVAL;
	return result;
}

static bool is_64_bit_code(const struct gdb_state *state)
{
	return (state->sregs.efer & EFER_LMA) && state->sregs.cs.l;
}

/* The linear address of the next instruction. */
static uint64_t program_counter(const struct gdb_state *state)
{
	if (is_64_bit_code(state))
		return state->regs.rip;
	return (uint32_t)(state->sregs.cs.base + state->regs.rip);
}

static uint8_t *image(const struct gdb_state *state)
{
	return (uint8_t *)state->xsave.region;
}

static uint32_t load(const uint8_t *bytes, unsigned size)
{
	uint32_t value = 0;

	memcpy(&value, bytes, size);
	return value;
}

/* Components that are not marked as present are in their initial state: zeroes, but for two words. */
static void begin_component(const struct gdb_layout *layout, struct gdb_state *state,
			    uint32_t component)
{
	uint8_t *bytes = image(state);

	if (load(bytes + XSTATE_BV, 4) & component)
		return;
	switch (component) {
	case XSTATE_X87:
		memset(bytes, 0, FX_MXCSR);
		memset(bytes + FX_ST, 0, FX_XMM - FX_ST);
		memcpy(bytes + FX_FCW, &(uint16_t){FCW_INIT}, 2);
		break;
	case XSTATE_SSE: memset(bytes + FX_XMM, 0, 256); break;
	case XSTATE_AVX: memset(bytes + layout->ymm_high, 0, 256); break;
	case XSTATE_OPMASK: memset(bytes + layout->opmask, 0, 64); break;
	case XSTATE_ZMM_HIGH: memset(bytes + layout->zmm_high, 0, 512); break;
	case XSTATE_ZMM16: memset(bytes + layout->zmm16, 0, 1024); break;
	}
	bytes[XSTATE_BV] |= component;
}

/* The tag word of before FXSAVE, which keeps only whether a register is empty (SDM vol. 2, FXSAVE). */
static uint32_t full_tags(const uint8_t *bytes)
{
	unsigned top = load(bytes + FX_FSW, 2) >> 11 & 7, i;
	uint32_t tags = 0;

	for (i = 0; i < 8; i++) {
		const uint8_t *st = bytes + FX_ST + 16 * ((i - top) & 7);
		unsigned exponent = load(st + 8, 2) & 0x7fff, tag = 0;
		uint64_t mantissa;

		memcpy(&mantissa, st, 8);
		if (!(bytes[FX_FTW] >> i & 1))
			tag = 3;
		else if (exponent == 0x7fff || (exponent == 0 && mantissa) ||
			 (exponent && !(mantissa >> 63)))
			tag = 2;
		else if (exponent == 0)
			tag = 1;
		tags |= tag << 2 * i;
	}
	return tags;
}

static uint32_t get_x87(const struct gdb_state *state, enum gdb_x87 which)
{
	const uint8_t *bytes = image(state);
	bool is_initial = !(load(bytes + XSTATE_BV, 4) & XSTATE_X87);

	if (is_initial)
		return which == X87_FCTRL ? FCW_INIT : which == X87_FTAG ? 0xffff : 0;
	switch (which) {
	case X87_FCTRL: return load(bytes + FX_FCW, 2);
	case X87_FSTAT: return load(bytes + FX_FSW, 2);
	case X87_FTAG: return full_tags(bytes);
	case X87_FISEG: return load(bytes + FX_FIP + 4, 2);
	case X87_FIOFF: return load(bytes + FX_FIP, 4);
	case X87_FOSEG: return load(bytes + FX_FDP + 4, 2);
	case X87_FOOFF: return load(bytes + FX_FDP, 4);
	case X87_FOP: return load(bytes + FX_FOP, 2);
	}
	return 0;
}

static void set_x87(struct gdb_state *state, enum gdb_x87 which, uint32_t value)
{
	uint8_t *bytes = image(state);
	unsigned i;

	switch (which) {
	case X87_FCTRL: memcpy(bytes + FX_FCW, &value, 2); break;
	case X87_FSTAT: memcpy(bytes + FX_FSW, &value, 2); break;
	case X87_FTAG:
		bytes[FX_FTW] = 0;
		for (i = 0; i < 8; i++)
			bytes[FX_FTW] |= ((value >> 2 * i & 3) != 3) << i;
		break;
	case X87_FISEG: memcpy(bytes + FX_FIP + 4, &value, 2); break;
	case X87_FIOFF: memcpy(bytes + FX_FIP, &value, 4); break;
	case X87_FOSEG: memcpy(bytes + FX_FDP + 4, &value, 2); break;
	case X87_FOOFF: memcpy(bytes + FX_FDP, &value, 4); break;
	case X87_FOP: memcpy(bytes + FX_FOP, &value, 2); break;
	}
}

/* Where a vector or x87 register lies in the image, as part of which component. */
static uint32_t vector_place(const struct gdb_layout *layout, const struct gdb_register *which,
			     uint32_t *component)
{
	switch (which->value) {
	case VALUE_ST: *component = XSTATE_X87; return FX_ST + 16 * which->index;
	case VALUE_XMM: *component = XSTATE_SSE; return FX_XMM + 16 * which->index;
	case VALUE_YMM_HIGH: *component = XSTATE_AVX; return layout->ymm_high + 16 * which->index;
	case VALUE_OPMASK: *component = XSTATE_OPMASK; return layout->opmask + 8 * which->index;
	case VALUE_ZMM_HIGH:
		*component = XSTATE_ZMM_HIGH;
		return layout->zmm_high + 32 * which->index;
	case VALUE_ZMM16_LOW: *component = XSTATE_ZMM16; return layout->zmm16 + 64 * which->index;
	case VALUE_ZMM16_MIDDLE:
		*component = XSTATE_ZMM16;
		return layout->zmm16 + 64 * which->index + 16;
	case VALUE_ZMM16_HIGH:
		*component = XSTATE_ZMM16;
		return layout->zmm16 + 64 * which->index + 32;
	default: return 0;
	}
}

static struct kvm_segment *segment_of(const struct gdb_state *state, enum gdb_segment segment)
{
	const struct kvm_sregs *sregs = &state->sregs;
	const struct kvm_segment *segments[] = {&sregs->cs, &sregs->ss, &sregs->ds, &sregs->es,
						&sregs->fs, &sregs->gs, &sregs->tr, &sregs->ldt};

	return (struct kvm_segment *)segments[segment];
}

/* The eighth is CR8; there are none of the other numbers. */
static __u64 *control_register(const struct gdb_state *state, unsigned number)
{
	struct kvm_sregs *sregs = (struct kvm_sregs *)&state->sregs;

	switch (number) {
	case 0: return &sregs->cr0;
	case 2: return &sregs->cr2;
	case 3: return &sregs->cr3;
	case 4: return &sregs->cr4;
	default: return &sregs->cr8;
	}
}

static __u64 *debug_register(const struct gdb_state *state, unsigned number)
{
	struct kvm_debugregs *debugregs = (struct kvm_debugregs *)&state->debugregs;

	return number < 4 ? &debugregs->db[number] : number == 6 ? &debugregs->dr6 : &debugregs->dr7;
}

/* What fits into 64 bits. */
static uint64_t get_word(const struct gdb_state *state, const struct gdb_register *which)
{
	const struct kvm_sregs *sregs = &state->sregs;

	switch (which->value) {
	case VALUE_GPR: return (&state->regs.rax)[which->index];
	case VALUE_PC: return program_counter(state);
	case VALUE_IP: return state->regs.rip;
	case VALUE_FLAGS: return state->regs.rflags;
	case VALUE_SELECTOR: return segment_of(state, which->index)->selector;
	case VALUE_SEGMENT_BASE: return segment_of(state, which->index)->base;
	case VALUE_X87: return get_x87(state, which->index);
	case VALUE_MXCSR: return load(image(state) + FX_MXCSR, 4);
	case VALUE_CR: return *control_register(state, which->index);
	case VALUE_DR: return *debug_register(state, which->index);
	case VALUE_EFER: return sregs->efer;
	case VALUE_KERNEL_GS_BASE: return state->kernel_gs_base;
	case VALUE_XCR0: return state->xcr0;
	case VALUE_APIC_BASE: return sregs->apic_base;
	case VALUE_TABLE_BASE:
		return which->index == TABLE_GDT ? sregs->gdt.base : sregs->idt.base;
	case VALUE_TABLE_LIMIT:
		return which->index == TABLE_GDT ? sregs->gdt.limit : sregs->idt.limit;
	default: return 0;
	}
}

void gdb_register_get(const struct gdb_layout *layout, const struct gdb_state *state,
		      unsigned number, uint8_t *bytes)
{
	const struct gdb_register *which = &layout->registers[number];
	uint32_t component = 0, place = vector_place(layout, which, &component);
	uint64_t word;

	if (!place) {
		word = get_word(state, which);
		memcpy(bytes, &word, which->bits / 8);
	} else if (load(image(state) + XSTATE_BV, 4) & component) {
		memcpy(bytes, image(state) + place, which->bits / 8);
	} else {
		memset(bytes, 0, which->bits / 8);
	}
}

/* In real and virtual-8086 mode a selector is a base; elsewhere it would take a descriptor. */
static int set_selector(struct gdb_state *state, enum gdb_segment segment, uint64_t value)
{
	struct kvm_segment *changed = segment_of(state, segment);

	if (((state->sregs.cr0 & CR0_PE) && !(state->regs.rflags & RFLAGS_VM)) ||
	    segment > SEGMENT_GS || value > 0xffff)
		return -EINVAL;
	changed->selector = value;
	changed->base = value << 4;
	state->sregs_changed = true;
	return 0;
}

static void set_pc(struct gdb_state *state, uint64_t value)
{
	state->regs.rip = is_64_bit_code(state) ? value : (uint32_t)(value - state->sregs.cs.base);
	state->regs_changed = true;
}

/* A word of kvm_sregs. */
static int set_system(struct gdb_state *state, __u64 *place, uint64_t value)
{
	*place = value;
	state->sregs_changed = true;
	return 0;
}

static int set_table(struct gdb_state *state, const struct gdb_register *which, uint64_t value)
{
	struct kvm_dtable *table =
		which->index == TABLE_GDT ? &state->sregs.gdt : &state->sregs.idt;

	if (which->value == VALUE_TABLE_BASE)
		table->base = value;
	else if (value > 0xffff)
		return -EINVAL;
	else
		table->limit = value;
	state->sregs_changed = true;
	return 0;
}

static int set_word(const struct gdb_layout *layout, struct gdb_state *state,
		    const struct gdb_register *which, uint64_t value)
{
	switch (which->value) {
	case VALUE_GPR:
		(&state->regs.rax)[which->index] = value;
		break;
	case VALUE_PC: set_pc(state, value); break;
	case VALUE_IP: state->regs.rip = value; break;
	case VALUE_FLAGS: state->regs.rflags = value; break;
	case VALUE_SELECTOR: return set_selector(state, which->index, value);
	case VALUE_SEGMENT_BASE: return set_system(state, &segment_of(state, which->index)->base, value);
	case VALUE_X87:
		begin_component(layout, state, XSTATE_X87);
		set_x87(state, which->index, value);
		state->xsave_changed = true;
		return 0;
	case VALUE_MXCSR:
		begin_component(layout, state, XSTATE_SSE);
		memcpy(image(state) + FX_MXCSR, &value, 4);
		state->xsave_changed = true;
		return 0;
	case VALUE_CR: return set_system(state, control_register(state, which->index), value);
	case VALUE_DR:
		*debug_register(state, which->index) = value;
		state->debugregs_changed = true;
		return 0;
	case VALUE_EFER: return set_system(state, &state->sregs.efer, value);
	case VALUE_KERNEL_GS_BASE:
		state->kernel_gs_base = value;
		state->msr_changed = true;
		return 0;
	case VALUE_TABLE_BASE:
	case VALUE_TABLE_LIMIT: return set_table(state, which, value);
	default: return -EINVAL;
	}
	state->regs_changed = true;
	return 0;
}

int gdb_register_set(const struct gdb_layout *layout, struct gdb_state *state, unsigned number,
		     const uint8_t *bytes)
{
	const struct gdb_register *which = &layout->registers[number];
	uint32_t component = 0, place = vector_place(layout, which, &component);
	uint8_t old[GDB_REGISTER_BYTES_MAX];
	uint64_t word = 0;

	gdb_register_get(layout, state, number, old);
	if (memcmp(old, bytes, which->bits / 8) == 0)
		return 0;
	if (!place) {
		memcpy(&word, bytes, which->bits / 8);
		return set_word(layout, state, which, word);
	}
	begin_component(layout, state, component);
	memcpy(image(state) + place, bytes, which->bits / 8);
	state->xsave_changed = true;
	return 0;
}
