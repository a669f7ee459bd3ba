/*
 * The interrupt controllers of a VM: 8259A PIC pair, I/O APIC, local APICs, 8254 PIT, and the GSI
 * routing between them (KVM api.rst 4.24-4.26, 4.52, 4.57, 4.71, 4.100).
 *
 * Locking: internal.h says it all. Seen from outside the room: its locks are leaves, since under
 * them only vcpu_notify and the TSC callbacks are called; functions of a vCPU's `struct lapic` are
 * for its own thread, or who holds the vCPU's lock, unless they say otherwise; all others are for any
 * thread. The room knows vCPUs only as `struct lapic` and a notifier.
 */
#ifndef KVIK_ENGINE_IRQCHIP_X86_IRQCHIP_H
#define KVIK_ENGINE_IRQCHIP_X86_IRQCHIP_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Who drives a line: a shared line is high while one of them drives it high. */
enum irqchip_source {
	IRQCHIP_SOURCE_USER,     /* KVM_IRQ_LINE, KVM_IRQFD */
	IRQCHIP_SOURCE_RESAMPLE, /* KVM_IRQFD with KVM_IRQFD_FLAG_RESAMPLE */
	IRQCHIP_SOURCE_PIT,
};

struct irqchip; /* of a VM; exists from its creation, the controllers from KVM_CREATE_IRQCHIP */
struct lapic;   /* of a vCPU */

/* What the controllers ask of the VM. `vcpu_context` is lapic_create's. */
struct irqchip_host {
	/* An event for this vCPU became pending (interrupt, NMI, INIT, SIPI, timer): stop its
	 * block, wake it from HLT. Any thread, under any of the irqchip's locks. */
	void (*vcpu_notify)(void *vcpu_context);
	/* The vCPU's guest TSC now, and the frequency in kHz (for TSC-deadline). */
	uint64_t (*vcpu_read_tsc)(void *vcpu_context);
	uint32_t (*vcpu_tsc_khz)(void *vcpu_context);
	/* An EOI for `vector` must be reported to user space (split irqchip:
	 * KVM_EXIT_IOAPIC_EOI). */
	void (*vcpu_eoi_exit)(void *vcpu_context, uint8_t vector);
};

/* -- of a VM -- */
struct irqchip *irqchip_create(const struct irqchip_host *host); /* NULL: out of memory */
/* Stop and join its threads: nothing but its callers touches a local APIC any more. Before the first
 * lapic_destroy. */
void irqchip_stop(struct irqchip *chip);
void irqchip_destroy(struct irqchip *chip); /* after all lapics */

/* KVM_CREATE_IRQCHIP: PIC pair, I/O APIC, default routing. 0, -EEXIST. */
int irqchip_enable_full(struct irqchip *chip);
/* KVM_CAP_SPLIT_IRQCHIP with `routes` reserved pins. 0, -EEXIST, -EINVAL. */
int irqchip_enable_split(struct irqchip *chip, unsigned routes);
bool irqchip_is_full(struct irqchip *chip);
bool irqchip_has_lapics(struct irqchip *chip); /* full or split */
/* KVM_CREATE_PIT2; 0, -EEXIST, -ENOENT without a full irqchip. */
int irqchip_create_pit(struct irqchip *chip, const struct kvm_pit_config *config);

/* KVM_REINJECT_CONTROL: 0, -ENXIO without a PIT. */
int irqchip_pit_reinject(struct irqchip *chip, bool reinject);
/* KVM_SET_BOOT_CPU_ID, before any lapic_create: which vCPU has IA32_APIC_BASE.BSP. Default 0. */
void irqchip_set_boot_cpu(struct irqchip *chip, unsigned id);

/* KVM requests; 0 (or as documented) or -errno as Linux gives. */
int irqchip_get(struct irqchip *chip, struct kvm_irqchip *state);
int irqchip_set(struct irqchip *chip, const struct kvm_irqchip *state);
int irqchip_get_pit2(struct irqchip *chip, struct kvm_pit_state2 *state);
int irqchip_set_pit2(struct irqchip *chip, const struct kvm_pit_state2 *state);
/* KVM_IRQ_LINE: drive GSI `gsi` from source `source`; returns the delivery status as
 * KVM_IRQ_LINE_STATUS wants it (>0 delivered, 0 coalesced, <0 ignored). */
int irqchip_set_line(struct irqchip *chip, unsigned source, uint32_t gsi, int level);
int irqchip_send_msi(struct irqchip *chip, const struct kvm_msi *msi);
int irqchip_set_routing(struct irqchip *chip, const struct kvm_irq_routing *routing,
			const struct kvm_irq_routing_entry *entries);
/* KVM_IRQFD with all of its flags (deassign, resample). Served by the irqchip's own thread. */
int irqchip_irqfd(struct irqchip *chip, const struct kvm_irqfd *irqfd);
/* KVM_CAP_X2APIC_API flags (KVM_X2APIC_API_USE_32BIT_IDS, ..DISABLE_BROADCAST_QUIRK). */
int irqchip_set_x2apic_flags(struct irqchip *chip, uint64_t flags);

/* KVM_HC_SEND_IPI: to each APIC whose physical id is `lowest` plus the number of a bit in `ids`. */
struct irqchip_ipi {
	uint64_t ids[2];
	unsigned ids_in_word; /* of each of the two: 32 or 64 */
	uint64_t lowest;
	uint64_t icr; /* as of ICR: vector and modes; destination and shorthand have to be 0 */
};
/* How many accepted, or -EINVAL. */
int irqchip_send_ipi(struct irqchip *chip, const struct irqchip_ipi *ipi);

/* Port I/O of PIC (0x20,21,a0,a1,4d0,4d1) and PIT (0x40-43, and 0x61 with KVM_PIT_SPEAKER_DUMMY);
 * and the I/O APIC's registers. True when handled. */
bool irqchip_pio(struct irqchip *chip, uint16_t port, void *data, unsigned size, bool is_write);
bool irqchip_mmio(struct irqchip *chip, uint64_t gpa, void *data, unsigned size, bool is_write);

/*
 * Counts interrupts that came from outside the engine (KVM_IRQ_LINE, KVM_SIGNAL_MSI, irqfd). What a
 * device stored in memory before one of them is visible to whoever reads the count after it.
 */
const _Atomic uint32_t *irqchip_outside_interrupts(struct irqchip *chip);

/* -- of a vCPU -- */
/* Ids are below VM_VCPU_ID_MAX. NULL: out of memory, or of ids. Interrupts may reach vcpu_context from now on. */
struct lapic *lapic_create(struct irqchip *chip, unsigned id, void *vcpu_context);
void lapic_destroy(struct lapic *lapic); /* after irqchip_stop */
void lapic_reset(struct lapic *lapic, bool is_init);

/* MMIO inside the APIC page. In x2APIC mode or disabled it reads as ones and ignores writes, like
 * Linux's with KVM_X86_QUIRK_LAPIC_MMIO_HOLE. Without a lock when gpa is elsewhere. */
bool lapic_mmio(struct lapic *lapic, uint64_t gpa, void *data, unsigned size, bool is_write);
/* IA32_APIC_BASE, x2APIC MSRs 0x800-0x8ff, IA32_TSC_DEADLINE: 0, -ENOENT (not one of these),
 * -EINVAL (#GP). These are the guest's accesses; for a host's write of IA32_APIC_BASE, to which the
 * rules about transitions do not apply, there is lapic_set_base. */
int lapic_msr_read(struct lapic *lapic, uint32_t index, uint64_t *value);
int lapic_msr_write(struct lapic *lapic, uint32_t index, uint64_t value);
uint64_t lapic_get_base(struct lapic *lapic);
int lapic_set_base(struct lapic *lapic, uint64_t base); /* 0 or -EINVAL */
uint8_t lapic_get_cr8(struct lapic *lapic);
void lapic_set_cr8(struct lapic *lapic, uint8_t value);

/* Whether a vector is deliverable now (PPR considered; includes the PIC through LINT0/ExtINT).
 * Exact, and one atomic load while there is none: vcpu_notify is called when it becomes true. */
bool lapic_interrupt_pending(struct lapic *lapic);
/* Acknowledge: moves IRR to ISR (or runs the PIC's INTA); the vector or -1. */
int lapic_interrupt_acknowledge(struct lapic *lapic);
/* Take pending NMIs: how many, two at most. */
unsigned lapic_take_nmis(struct lapic *lapic);
/* Take pending INIT / SIPI: each returns true once per event. */
bool lapic_take_init(struct lapic *lapic);
bool lapic_take_sipi(struct lapic *lapic, uint8_t *vector); /* any thread, as the two above */
/* KVM_INTERRUPT with a split irqchip: the user-space PIC's vector. 0, -EEXIST (one waits). */
int lapic_inject_extint(struct lapic *lapic, uint8_t vector);
/* Whether LINT0 would take another such vector (for ready_for_interrupt_injection). */
bool lapic_accepts_extint(struct lapic *lapic);
/* Whether anything could wake a halted vCPU now, other than maskable interrupts. */
bool lapic_event_pending(struct lapic *lapic);

int lapic_get_state(struct lapic *lapic, struct kvm_lapic_state *state); /* KVM_GET_LAPIC */
int lapic_set_state(struct lapic *lapic, const struct kvm_lapic_state *state);

/* CPUID may only advertise what is here: TSC-deadline, x2APIC, ARAT. */

#endif
