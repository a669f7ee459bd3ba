/* What the longer samples share: a VM with 2 MiB of memory, and its one vCPU. */
#ifndef KVIK_TESTS_PRELOAD_VMM_H
#define KVIK_TESTS_PRELOAD_VMM_H

#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY_SIZE 0x200000

struct vmm {
	int kvm, vm, vcpu;
	uint8_t *memory;
	struct kvm_run *run;
};

static int check(const char *what, int result)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

static void vmm_create(struct vmm *vmm, int has_irqchip)
{
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY_SIZE };

	vmm->kvm = check("/dev/kvm", open("/dev/kvm", O_RDWR));
	vmm->vm = check("KVM_CREATE_VM", ioctl(vmm->kvm, KVM_CREATE_VM, 0));
	check("KVM_SET_TSS_ADDR", ioctl(vmm->vm, KVM_SET_TSS_ADDR, 0xfffbd000));
	if (has_irqchip) {
		struct kvm_pit_config pit = { 0 };

		check("KVM_CREATE_IRQCHIP", ioctl(vmm->vm, KVM_CREATE_IRQCHIP, 0));
		check("KVM_CREATE_PIT2", ioctl(vmm->vm, KVM_CREATE_PIT2, &pit));
	}
	vmm->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	region.userspace_addr = (uintptr_t)vmm->memory;
	check("KVM_SET_USER_MEMORY_REGION", ioctl(vmm->vm, KVM_SET_USER_MEMORY_REGION, &region));
	vmm->vcpu = check("KVM_CREATE_VCPU", ioctl(vmm->vm, KVM_CREATE_VCPU, 0));
	vmm->run = mmap(NULL, check("mmap size", ioctl(vmm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0)),
			PROT_READ | PROT_WRITE, MAP_SHARED, vmm->vcpu, 0);
	if (vmm->memory == MAP_FAILED || vmm->run == MAP_FAILED)
		err(1, "mmap");
}

/* Start in real mode at `address`, with CS base 0. */
static inline void vmm_start_real(struct vmm *vmm, uint16_t address)
{
	struct kvm_regs regs = { .rip = address, .rsp = 0x8000, .rflags = 2 };
	struct kvm_sregs sregs;

	check("KVM_GET_SREGS", ioctl(vmm->vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = sregs.cs.selector = 0;
	check("KVM_SET_SREGS", ioctl(vmm->vcpu, KVM_SET_SREGS, &sregs));
	check("KVM_SET_REGS", ioctl(vmm->vcpu, KVM_SET_REGS, &regs));
}

#endif
