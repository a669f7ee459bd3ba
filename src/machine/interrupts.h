/*
 * A machine's interrupt controllers: all of them below the contract (full), or only the local APICs
 * there and PIC, I/O APIC and PIT in the monitor (split, device/split_irqchip.h).
 */
#ifndef KVIK_MACHINE_INTERRUPTS_H
#define KVIK_MACHINE_INTERRUPTS_H

#include "device/bus/mmio.h"
#include "device/bus/pci.h"
#include "device/bus/pio.h"
#include "device/gsi_routes.h"
#include "device/irq_line.h"
#include "device/split_irqchip.h"
#include "kvm/kvm.h"
#include "machine/power_on_state.h"

enum interrupts_kind { INTERRUPTS_FULL, INTERRUPTS_SPLIT };

struct interrupts_config {
	enum interrupts_kind kind;
	const struct kvm_vm *vm;
	struct event_loop *loop;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	/* Make the boot CPU leave the guest; for split only. Any thread. */
	void (*kick_boot_cpu)(void *context);
	void *context;
};

struct interrupts {
	const struct kvm_vm *vm;
	struct gsi_routes *routes;       /* owned */
	struct split_irqchip *split;     /* owned; NULL when full */
	struct power_on_chips power_on;  /* when full */
};

/* Before the first vCPU is created. The controllers are in their power-on state. */
int interrupts_create(struct interrupts *interrupts, const struct interrupts_config *config,
		      struct error *error);
void interrupts_destroy(struct interrupts *interrupts); /* fine on a zeroed one */
int interrupts_reset(struct interrupts *interrupts, struct error *error);

/* All controllers but the local APICs, as sections of a stream; loaded after the devices that drive
 * their lines, and after the vCPUs. The vCPUs are parked. */
void interrupts_save(struct interrupts *interrupts, struct state_stream *state);
void interrupts_load(struct interrupts *interrupts, struct state_stream *state);

/* A wire to GSI 0; a device's own is a copy with another gsi. */
struct irq_line interrupts_line(struct interrupts *interrupts);

/* Where messages of PCI functions go, those by eventfd among them. */
struct msi_target interrupts_msi_target(struct interrupts *interrupts);

/* Around KVM_RUN, on each vCPU's thread. */
void interrupts_before_run(struct interrupts *interrupts, const struct kvm_vcpu *vcpu);
void interrupts_eoi(struct interrupts *interrupts, uint8_t vector); /* KVM_EXIT_IOAPIC_EOI */

#endif
