/* 64-bit code with page tables: computes, stores beyond 32 bits of address, and reports by registers. */
#include "vmm.h"

/*
 *	movabs $0x123456789abcdef0, %rax; movabs $0xffff800000100000, %rbx
 *	mov %rax, (%rbx); mov (%rbx), %rcx; imul $3, %rcx, %rdx; hlt
 */
static const uint8_t code[] = { 0x48, 0xb8, 0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12,
				0x48, 0xbb, 0x00, 0x00, 0x10, 0x00, 0x00, 0x80, 0xff, 0xff,
				0x48, 0x89, 0x03, 0x48, 0x8b, 0x0b, 0x48, 0x6b, 0xd1, 0x03,
				0xf4 };

#define PML4 0x2000
#define PDPT 0x3000
#define PD   0x4000
#define CODE 0x1000

static void set_entry(struct vmm *vmm, uint32_t table, unsigned index, uint64_t value)
{
	memcpy(vmm->memory + table + index * 8, &value, 8);
}

int main(void)
{
	struct kvm_segment code_segment = { .selector = 8, .limit = ~0u, .type = 11, .present = 1,
					    .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .selector = 16, .limit = ~0u, .type = 3, .present = 1, .s = 1,
				    .db = 1, .g = 1 };
	struct kvm_regs regs = { .rip = CODE, .rsp = 0x8000, .rflags = 2 };
	struct kvm_sregs sregs;
	struct vmm vmm;

	vmm_create(&vmm, 0);
	memcpy(vmm.memory + CODE, code, sizeof(code));
	set_entry(&vmm, PML4, 0, PDPT | 3);
	set_entry(&vmm, PML4, 256, PDPT | 3); /* the same at 0xffff800000000000 */
	set_entry(&vmm, PDPT, 0, PD | 3);
	set_entry(&vmm, PD, 0, 0x83); /* a page of 2 MiB */
	check("KVM_GET_SREGS", ioctl(vmm.vcpu, KVM_GET_SREGS, &sregs));
	sregs.cr3 = PML4;
	sregs.cr4 = 0x20;	 /* PAE */
	sregs.cr0 = 0x80000011;	 /* PG, ET, PE */
	sregs.efer = 0x500;	 /* LMA, LME */
	sregs.cs = code_segment;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	check("KVM_SET_SREGS", ioctl(vmm.vcpu, KVM_SET_SREGS, &sregs));
	check("KVM_SET_REGS", ioctl(vmm.vcpu, KVM_SET_REGS, &regs));
	check("KVM_RUN", ioctl(vmm.vcpu, KVM_RUN, 0));
	check("KVM_GET_REGS", ioctl(vmm.vcpu, KVM_GET_REGS, &regs));
	printf("exit %u: rcx %#llx rdx %#llx rip %#llx, memory %#llx\n", vmm.run->exit_reason,
	       regs.rcx, regs.rdx, regs.rip, *(unsigned long long *)(vmm.memory + 0x100000));
	return 0;
}
