/*
 * The guest's x87, SSE, AVX and AVX-512 state (fpu_state.h): making it, and what the contract loads and
 * stores of it. On the CPU's own thread, or for a CPU that is outside cpu_run.
 */
#ifndef KVIK_ENGINE_X86_FPU_FPU_H
#define KVIK_ENGINE_X86_FPU_FPU_H

#include "engine/x86/cpu.h"

/* Allocate the state, in its reset form. 0, -ENOMEM, or -ENOTSUP on a host without LAHF in 64-bit
 * mode, which the interpreter takes flags with: the first processors of AMD64 and Intel 64. */
int fpu_create(struct cpu *cpu);
void fpu_destroy(struct cpu *cpu);
/* Initial state (as after FNINIT, MXCSR 0x1f80, all registers zero); not for INIT. */
void fpu_reset(struct cpu *cpu);

/* With live state: keep the x87 registers in the area, and take them back from there. */
void fpu_save_x87(struct cpu *cpu);
void fpu_restore_x87(struct cpu *cpu);

/* KVM_GET_FPU, KVM_SET_FPU (api.rst 4.22, 4.23). As Linux's, both leave MXCSR alone. */
void fpu_get_kvm(struct cpu *cpu, struct kvm_fpu *kvm);
void fpu_set_kvm(struct cpu *cpu, const struct kvm_fpu *kvm);

/*
 * KVM_GET_XSAVE, KVM_GET_XSAVE2, KVM_SET_XSAVE (api.rst 4.42, 4.43): the 4,096 bytes of struct
 * kvm_xsave. Set: 0, or -EINVAL for components that the guest's XCR0 could not enable, a bad
 * header or reserved MXCSR bits.
 */
void fpu_get_xsave(struct cpu *cpu, void *region);
int fpu_set_xsave(struct cpu *cpu, const void *region);

/*
 * An image in XSAVE's standard form with the components alone that are not in their initial state: for who loads it by
 * XRSTOR, which goes by the header. `size`: bytes that there are for it, 576 at least. And from such an image, of which
 * `components` are believed, whatever it holds: values that no processor has become some that it has.
 */
void fpu_get_image(struct cpu *cpu, uint8_t *image, uint32_t size);
void fpu_set_image(struct cpu *cpu, const uint8_t *image, uint32_t size, uint64_t components);

/*
 * XSETBV and KVM_SET_XCRS: whether XCR0 may take this value (SDM vol. 1 §13.3), given the guest's
 * CPUID leaf 0xD (any that the host can do, when the guest has no CPUID at all).
 */
bool fpu_xcr0_valid(const struct cpu *cpu, uint64_t value);
/* Take the guest's layout from these entries; the host's, where they have none. */
void fpu_set_guest_layout(struct cpu *cpu, const struct kvm_cpuid_entry2 *entries, unsigned count);

#endif
