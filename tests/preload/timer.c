/* Interrupt controllers in the kernel: the guest counts ten ticks of the PIT, then tells. */
#include "vmm.h"

/*
 * Real mode at 0x1000: vector 0x20 at 0:0x80 leads to the handler at 0x1100; the PIC is started with
 * base 0x20 and IRQ 0 alone; PIT channel 0 runs at some 1 kHz. Then hlt until bx is 10.
 */
static const uint8_t start[] = {
	0x31, 0xc0, 0x8e, 0xd8,				/* xor ax,ax; mov ds,ax */
	0xc7, 0x06, 0x80, 0x00, 0x00, 0x11,		/* movw $0x1100,(0x80) */
	0xc7, 0x06, 0x82, 0x00, 0x00, 0x00,		/* movw $0,(0x82) */
	0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x20, 0xe6, 0x21, /* ICW1, ICW2 */
	0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21, /* ICW3, ICW4 */
	0xb0, 0xfe, 0xe6, 0x21,				/* mask all but IRQ 0 */
	0xb0, 0x34, 0xe6, 0x43, 0xb0, 0xa9, 0xe6, 0x40, /* channel 0, mode 2, 1193 */
	0xb0, 0x04, 0xe6, 0x40,
	0x31, 0xdb, 0xfb,				/* xor bx,bx; sti */
	0xf4, 0x83, 0xfb, 0x0a, 0x72, 0xfa,		/* 1: hlt; cmp $10,bx; jb 1b */
	0xfa, 0x89, 0xd8, 0xe6, 0x80,			/* cli; mov bx,ax; out al,$0x80 */
};
/* inc bx; mov $0x20,al; out al,$0x20; iret */
static const uint8_t handler[] = { 0x43, 0xb0, 0x20, 0xe6, 0x20, 0xcf };

int main(void)
{
	struct vmm vmm;
	unsigned ticks;

	vmm_create(&vmm, 1);
	memcpy(vmm.memory + 0x1000, start, sizeof(start));
	memcpy(vmm.memory + 0x1100, handler, sizeof(handler));
	vmm_start_real(&vmm, 0x1000);
	check("KVM_RUN", ioctl(vmm.vcpu, KVM_RUN, 0));
	if (vmm.run->exit_reason != KVM_EXIT_IO)
		errx(1, "exit %u", vmm.run->exit_reason);
	/* A late timer makes up for it, with several ticks in a row. */
	ticks = *((uint8_t *)vmm.run + vmm.run->io.data_offset);
	printf("port %#x: %s ticks\n", vmm.run->io.port, ticks < 10 ? "too few" : "enough");
	return 0;
}
