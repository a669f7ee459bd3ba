/* A device in memory: reads are answered, writes are printed. */
#include "vmm.h"

/* mov $0xf000,%ax; mov %ax,%ds; mov (0x10),%eax; inc %eax; mov %eax,(0x14); movb $7,(0x18); hlt */
static const uint8_t code[] = { 0xb8, 0x00, 0x80, 0x8e, 0xd8, 0x66, 0xa1, 0x10, 0x00,
				0x66, 0x40, 0x66, 0xa3, 0x14, 0x00, 0xc6, 0x06, 0x18,
				0x00, 0x07, 0xf4 };

int main(void)
{
	struct kvm_userspace_memory_region none = { .slot = 0 }, low = { .memory_size = 0x80000 };
	struct vmm vmm;

	vmm_create(&vmm, 0);
	/* Memory ends where the device begins. */
	check("delete", ioctl(vmm.vm, KVM_SET_USER_MEMORY_REGION, &none));
	low.userspace_addr = (uintptr_t)vmm.memory;
	check("create", ioctl(vmm.vm, KVM_SET_USER_MEMORY_REGION, &low));
	memcpy(vmm.memory + 0x1000, code, sizeof(code));
	vmm_start_real(&vmm, 0x1000);
	for (;;) {
		check("KVM_RUN", ioctl(vmm.vcpu, KVM_RUN, 0));
		if (vmm.run->exit_reason == KVM_EXIT_HLT)
			return 0;
		if (vmm.run->exit_reason != KVM_EXIT_MMIO)
			errx(1, "exit %u", vmm.run->exit_reason);
		printf("%s %u bytes at %#llx", vmm.run->mmio.is_write ? "write" : "read",
		       vmm.run->mmio.len, vmm.run->mmio.phys_addr);
		if (vmm.run->mmio.is_write) {
			printf(":");
			for (unsigned i = 0; i < vmm.run->mmio.len; i++)
				printf(" %02x", vmm.run->mmio.data[i]);
		} else {
			memcpy(vmm.run->mmio.data, "\xff\x00\x34\x12", 4);
		}
		printf("\n");
	}
}
