/*
 * The classic first program of the KVM API, over the contract: one page of real-mode code that
 * prints byte by byte on a port and halts.
 *
 *   hello kvm|engine
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "kvm/kvm.h"

#define PRINT_PORT 0xf1

/*
 *	mov	$message, %si
 *	mov	$0xf1, %dx
 * 1:	lodsb
 *	test	%al, %al
 *	jz	2f
 *	out	%al, (%dx)
 *	jmp	1b
 * 2:	hlt
 */
static const char code[] = "\xbe\x0f\x10\xba\xf1\x00\xac\x84\xc0\x74\x03\xee\xeb\xf8\xf4"
			   "Hello, world!\n";

int main(int argc, char **argv)
{
	const struct kvm_backend *backend =
		argc > 1 && strcmp(argv[1], "kvm") == 0 ? &kvm_backend_linux : &kvm_backend_engine;
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = 0x1000,
		.memory_size = 0x1000,
	};
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
	struct kvm_system system;
	struct kvm_sregs sregs;
	struct kvm_vcpu vcpu;
	struct error error;
	struct kvm_vm vm;
	unsigned exits = 0;
	void *memory;

	memory = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	memcpy(memory, code, sizeof(code));
	region.userspace_addr = (uintptr_t)memory;

	if (kvm_system_open(&system, backend, NULL, &error) < 0) {
		printf("skipped: %s\n", error.message);
		return 77;
	}
	if (kvm_vm_create(&vm, &system, &error) < 0 ||
	    kvm_vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 ||
	    kvm_vcpu_create(&vcpu, &vm, 0, &error) < 0 ||
	    kvm_vcpu_ioctl(&vcpu, KVM_GET_SREGS, &sregs) < 0)
		return 1;
	sregs.cs.base = sregs.cs.selector = 0;
	if (kvm_vcpu_ioctl(&vcpu, KVM_SET_SREGS, &sregs) < 0 ||
	    kvm_vcpu_ioctl(&vcpu, KVM_SET_REGS, &regs) < 0)
		return 1;

	for (;;) {
		const struct kvm_run *run = vcpu.run;

		if (kvm_vcpu_ioctl(&vcpu, KVM_RUN, NULL) < 0)
			return 1;
		exits++;
		if (run->exit_reason == KVM_EXIT_HLT)
			break;
		if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT ||
		    run->io.port != PRINT_PORT || run->io.size != 1) {
			printf("unexpected exit %u\n", run->exit_reason);
			return 1;
		}
		fwrite((const char *)run + run->io.data_offset, 1, run->io.count, stdout);
	}
	kvm_vcpu_ioctl(&vcpu, KVM_GET_REGS, &regs);
	printf("%u exits, halted before %#llx\n", exits, regs.rip);

	kvm_vcpu_close(&vcpu);
	kvm_vm_close(&vm);
	kvm_system_close(&system);
	munmap(memory, 0x1000);
	return 0;
}
