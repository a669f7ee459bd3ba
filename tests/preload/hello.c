/* The smallest VMM: real-mode code that prints through a port, and halts. */
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* mov $0x3f8,%dx; add %bl,%al; add $'0',%al; out %al,(%dx); mov $'\n',%al; out %al,(%dx); hlt */
static const unsigned char code[] = { 0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, '0',
				      0xee, 0xb0, '\n', 0xee, 0xf4 };

int main(void)
{
	struct kvm_userspace_memory_region region = { .guest_phys_addr = 0x1000,
						      .memory_size = 0x1000 };
	struct kvm_regs regs = { .rip = 0x1000, .rax = 2, .rbx = 2, .rflags = 2 };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu;
	struct kvm_sregs sregs;
	struct kvm_run *run;
	void *memory;

	if (kvm < 0)
		err(1, "/dev/kvm");
	printf("API version %d\n", ioctl(kvm, KVM_GET_API_VERSION, 0));
	vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
	memory = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memcpy(memory, code, sizeof(code));
	region.userspace_addr = (unsigned long)memory;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		err(1, "KVM_SET_USER_MEMORY_REGION");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
	run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL), PROT_READ | PROT_WRITE,
		   MAP_SHARED, vcpu, 0);
	if (vcpu < 0 || run == MAP_FAILED)
		err(1, "KVM_CREATE_VCPU");
	ioctl(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = sregs.cs.selector = 0;
	ioctl(vcpu, KVM_SET_SREGS, &sregs);
	ioctl(vcpu, KVM_SET_REGS, &regs);
	for (;;) {
		if (ioctl(vcpu, KVM_RUN, NULL) < 0)
			err(1, "KVM_RUN");
		switch (run->exit_reason) {
		case KVM_EXIT_HLT: puts("halted"); return 0;
		case KVM_EXIT_IO:
			printf("port %#x: %c\n", run->io.port,
			       *((char *)run + run->io.data_offset));
			break;
		default: errx(1, "exit %u", run->exit_reason);
		}
	}
}
