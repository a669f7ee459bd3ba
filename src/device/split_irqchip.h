/*
 * The monitor's half of a split irqchip (KVM_CAP_SPLIT_IRQCHIP, KVM api.rst 7.5): 8259A pair, I/O
 * APIC and 8254 PIT in user space, local APICs below the contract.
 *
 * The I/O APIC sends its messages with KVM_SIGNAL_MSI, and tells KVM by GSI routes which vectors
 * are level-triggered, so that their EOI comes back as KVM_EXIT_IOAPIC_EOI. The PIC interrupts the
 * boot CPU with KVM_INTERRUPT: that is a request of a vCPU that is outside KVM_RUN, so its thread
 * calls split_irqchip_before_run each time, and is kicked when the PIC has something new.
 */
#ifndef KVIK_DEVICE_SPLIT_IRQCHIP_H
#define KVIK_DEVICE_SPLIT_IRQCHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "device/bus/mmio.h"
#include "device/bus/pio.h"
#include "device/device.h"
#include "device/gsi_routes.h"
#include "kvm/kvm.h"
#include "util/event_loop.h"

/* The windows of the chips on the buses, all with struct split_irqchip as their device. */
#define SPLIT_IRQCHIP_PIC_PORTS    2 /* at 0x20 and 0xa0 */
#define SPLIT_IRQCHIP_ELCR_PORTS   2 /* at 0x4d0 */
#define SPLIT_IRQCHIP_PIT_PORTS    4 /* at 0x40 */
#define SPLIT_IRQCHIP_PORT_61      1 /* at 0x61 */
#define SPLIT_IRQCHIP_IOAPIC_BYTES 0x1000

extern const struct pio_ops split_irqchip_master_pio_ops;
extern const struct pio_ops split_irqchip_slave_pio_ops;
extern const struct pio_ops split_irqchip_elcr_pio_ops;
extern const struct pio_ops split_irqchip_pit_pio_ops;
extern const struct pio_ops split_irqchip_port_61_pio_ops;
extern const struct mmio_ops split_irqchip_ioapic_mmio_ops;

struct split_irqchip;

/* KVM_ENABLE_CAP, before the first vCPU is created. */
int split_irqchip_enable(const struct kvm_vm *vm, struct error *error);

/* `kick` makes the boot CPU leave the guest; called on any thread, with the chips' lock held. */
struct split_irqchip *split_irqchip_create(const struct kvm_vm *vm, struct gsi_routes *routes,
					   struct event_loop *loop, void (*kick)(void *context),
					   void *context, struct error *error);

/* device: struct split_irqchip. Loaded after the devices that drive its lines. */
extern const struct device_ops split_irqchip_device_ops;

/* Drive GSI `gsi` of the PC. Any thread. */
void split_irqchip_set_line(struct split_irqchip *chips, unsigned gsi, bool level);

/* On the boot CPU's thread, before each KVM_RUN. */
void split_irqchip_before_run(struct split_irqchip *chips, const struct kvm_vcpu *vcpu);

/* KVM_EXIT_IOAPIC_EOI. Any vCPU's thread. */
void split_irqchip_eoi(struct split_irqchip *chips, uint8_t vector);

#endif
