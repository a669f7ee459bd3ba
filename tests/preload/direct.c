/*
 * A VMM without a C library: it makes its system calls itself, as languages with a runtime of their
 * own do. The guest prints "direct" through a port.
 */
#include <linux/fcntl.h>
#include <linux/kvm.h>
#include <linux/mman.h>
#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

#define PROT_READ_WRITE 3

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return result;
}

static long request(long fd, unsigned long number, const void *argument)
{
	return call(__NR_ioctl, fd, (long)number, (long)argument, 0, 0, 0);
}

static _Noreturn void end(int status)
{
	for (;;)
		call(__NR_exit_group, status, 0, 0, 0, 0, 0);
}

/* Guest memory that is no mapping of its own: mov $0x2000,%si; mov $0x3f8,%dx; mov $7,%cx; rep
 * outsb; hlt */
static uint8_t memory[0x2000] __attribute__((aligned(4096))) = {0xbe, 0x00, 0x20, 0xba, 0xf8, 0x03,
                                                                0xb9, 0x07, 0x00, 0xf3, 0x6e, 0xf4};

void work(void);
void _start(void);

__attribute__((used)) void work(void)
{
	struct kvm_userspace_memory_region region = {.guest_phys_addr = 0x1000,
	                                             .memory_size = sizeof(memory),
	                                             .userspace_addr = (uintptr_t)memory};
	struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};
	static struct kvm_sregs sregs;
	const char *text = "direct\n";
	long kvm, vm, vcpu, size;
	struct kvm_run *run;

	kvm = call(__NR_openat, AT_FDCWD, (long)"/dev/kvm", O_RDWR | O_CLOEXEC, 0, 0, 0);
	vm = request(kvm, KVM_CREATE_VM, NULL);
	for (int i = 0; i < 7; i++)
		memory[0x1000 + i] = (uint8_t)text[i];
	if (vm < 0 || request(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		end(2);
	vcpu = request(vm, KVM_CREATE_VCPU, NULL);
	size = request(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	run = (struct kvm_run *)call(__NR_mmap, 0, size, PROT_READ_WRITE, MAP_SHARED, vcpu, 0);
	if ((unsigned long)run > -4096ul || request(vcpu, KVM_GET_SREGS, &sregs) < 0)
		end(3);
	sregs.cs.base = sregs.cs.selector = 0;
	request(vcpu, KVM_SET_SREGS, &sregs);
	request(vcpu, KVM_SET_REGS, &regs);
	while (request(vcpu, KVM_RUN, NULL) == 0 && run->exit_reason == KVM_EXIT_IO)
		call(__NR_write, 1, (long)run + (long)run->io.data_offset,
		     run->io.size * run->io.count, 0, 0, 0);
	end(run->exit_reason == KVM_EXIT_HLT ? 0 : 4);
}

/* Nothing called this, so the stack is aligned as behind no call. */
__attribute__((naked)) void _start(void)
{
	__asm__("xor %ebp, %ebp\n\tcall work\n\thlt");
}
