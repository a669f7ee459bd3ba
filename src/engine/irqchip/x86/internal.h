/*
 * What the files of this room share: the state of all controllers and the calls between
 * them.
 *
 * Who may touch what:
 *
 *   a local APIC  belongs to who runs its vCPU or holds that vCPU's lock (its owner). Others read
 *                 its registers, which are atomic, to find whom a message addresses, and post:
 *                 they set bits of IRR and TMR, and `events`. No lock.
 *   its timer     timer_lock: the owner and the timer thread
 *   the wires     irqchip.lock: PIC, I/O APIC, PIT, who drives which line, resampling irqfds
 *   GSI routes    written under irqchip.lock, read without (routing.h)
 *   irqfds        irqfds.lock
 *   the timers    timers.lock: which of them are armed
 *
 * Lock order: irqfds.lock, irqchip.lock, timer_lock, timers.lock. Messages to local APICs are posted
 * under any of them. "The lock" is irqchip.lock below.
 *
 * The way of an interrupt: a line (KVM_IRQ_LINE, irqfd, PIT) goes through the routing to PIC and
 * I/O APIC inputs or to an MSI; I/O APIC entries, MSIs, IPIs become a struct irq_message, which
 * irq_deliver takes to the local APICs; lapic_update then decides whether a vCPU is to be told.
 * Back from the guest: an EOI goes from the local APIC to the I/O APIC, from there (and from the
 * PIC's own EOI) by wires.c to the PIT and resampling irqfds. So the files stand on one another in
 * this order: lapic.c, lapic_ipi.c and lapic_timer.c, pic.c, ioapic.c and msi.c, lines.c, pit.c,
 * wires.c, controllers.c; lapic_registers.c on ioapic.c. Below them lie those of the folder around this one.
 */
#ifndef KVIK_ENGINE_IRQCHIP_X86_INTERNAL_H
#define KVIK_ENGINE_IRQCHIP_X86_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "engine/irqchip/irqfd.h"
#include "engine/irqchip/routing.h"
#include "engine/irqchip/timer.h"
#include "engine/irqchip/x86/irqchip.h"
#include "engine/limits.h"
#include "util/clock.h"
#include "util/i82093.h"
#include "util/i8254.h"
#include "util/i8259.h"

/* -- messages between controllers -- */

/* Delivery modes as I/O APIC, MSI, ICR and LVT encode them (SDM vol. 3 §11.5.1, §11.6.1). */
enum irq_mode {
	IRQ_MODE_FIXED = 0,
	IRQ_MODE_LOWEST_PRIORITY = 1,
	IRQ_MODE_SMI = 2,
	IRQ_MODE_NMI = 4,
	IRQ_MODE_INIT = 5,
	IRQ_MODE_STARTUP = 6,
	IRQ_MODE_EXTINT = 7,
};

/* ICR destination shorthands. */
enum irq_shorthand { IRQ_NO_SHORTHAND, IRQ_SELF, IRQ_ALL, IRQ_ALL_BUT_SELF };

struct irq_message {
	uint32_t destination; /* an APIC id, or a logical destination (MDA) */
	uint8_t vector;
	uint8_t mode;         /* enum irq_mode */
	uint8_t shorthand;    /* enum irq_shorthand */
	bool is_logical;
	bool is_level;        /* trigger mode */
	bool is_assert;       /* only INIT knows de-assert */
	bool to_lowest;       /* an MSI's redirection hint: one CPU of those addressed */
};

/* Deliver to the local APICs; `source` is the sender of an IPI or NULL. The number of APICs that
 * accepted, or -1 when nobody was addressed. Any thread, any lock. */
int irq_deliver(struct irqchip *chip, struct lapic *source, const struct irq_message *message);

/* -- lapic*.c -- */

/* Registers by their number: MMIO offset / 16 and MSR 0x800 + number (SDM vol. 3 §11.4.1,
 * §11.12). */
enum lapic_register {
	LAPIC_ID = 0x02,
	LAPIC_VERSION = 0x03,
	LAPIC_TPR = 0x08,
	LAPIC_APR = 0x09,
	LAPIC_PPR = 0x0a,
	LAPIC_EOI = 0x0b,
	LAPIC_RRD = 0x0c,
	LAPIC_LDR = 0x0d,
	LAPIC_DFR = 0x0e,
	LAPIC_SPIV = 0x0f,
	LAPIC_ISR = 0x10, /* 8 of them */
	LAPIC_TMR = 0x18, /* 8 of them */
	LAPIC_IRR = 0x20, /* 8 of them */
	LAPIC_ESR = 0x28,
	LAPIC_CMCI = 0x2f,
	LAPIC_ICR = 0x30,
	LAPIC_ICR2 = 0x31,
	LAPIC_LVT_TIMER = 0x32,
	LAPIC_LVT_THERMAL = 0x33,
	LAPIC_LVT_PERFORMANCE = 0x34,
	LAPIC_LVT_LINT0 = 0x35,
	LAPIC_LVT_LINT1 = 0x36,
	LAPIC_LVT_ERROR = 0x37,
	LAPIC_TIMER_INITIAL = 0x38,
	LAPIC_TIMER_CURRENT = 0x39,
	LAPIC_TIMER_DIVIDE = 0x3e,
	LAPIC_SELF_IPI = 0x3f,
	LAPIC_REGISTERS = 0x40,
};

#define LAPIC_SPIV_ENABLED       (1u << 8)
#define LAPIC_LVT_MASKED         (1u << 16)
#define LAPIC_LVT_LEVEL          (1u << 15)
#define LAPIC_LVT_MODE           (7u << 8)
#define LAPIC_LVT_EXTINT         ((uint32_t)IRQ_MODE_EXTINT << 8)
#define LAPIC_ICR_BUSY           (1u << 12)
#define LAPIC_TIMER_MODE_MASK    (3u << 17)

/* Error status (SDM vol. 3 §11.5.3). */
#define LAPIC_ERROR_SEND_VECTOR    (1u << 5)
#define LAPIC_ERROR_RECEIVE_VECTOR (1u << 6)
#define LAPIC_ERROR_REGISTER       (1u << 7)

#define LAPIC_BASE_BSP     (1ull << 8)
#define LAPIC_BASE_X2APIC  (1ull << 10)
#define LAPIC_BASE_ENABLED (1ull << 11)

/* struct lapic.events */
enum lapic_event { LAPIC_EVENT_NMI = 1, LAPIC_EVENT_INIT = 2, LAPIC_EVENT_SIPI = 4 };

struct lapic {
	struct irqchip *chip;
	void *vcpu_context;
	unsigned id;                  /* vCPU id: the x2APIC id, and the xAPIC id at reset */
	_Atomic uint64_t base;        /* IA32_APIC_BASE */
	_Atomic uint32_t events;      /* enum lapic_event */
	_Atomic uint8_t nmis;         /* with LAPIC_EVENT_NMI: how many, two at most */
	_Atomic uint8_t sipi_vector;  /* before its event */
	int16_t external_vector;      /* KVM_INTERRUPT in split mode; -1: none */
	/* Whether there may be an interrupt to deliver: see lapic_update. */
	_Atomic bool deliverable;
	_Atomic uint32_t regs[LAPIC_REGISTERS]; /* IRR and TMR are others' to change, too */
	_Atomic uint32_t errors;      /* collected for the next write of ESR */
	_Atomic uint32_t arbitration; /* lowest-priority messages taken: ties go to the smaller */

	/* The timer, and writes of the registers that it hangs on: initial count, divide, LVT. */
	pthread_mutex_t timer_lock;
	struct timer timer;
	uint32_t divide;              /* of the timer's clock: 1..128, from LAPIC_TIMER_DIVIDE */
	uint64_t target_ns;           /* when the count reaches zero; 0: not counting */
	uint64_t tsc_deadline;        /* IA32_TSC_DEADLINE; 0: disarmed */
};

static inline bool lapic_is_enabled(const struct lapic *lapic) /* in IA32_APIC_BASE */
{
	return lapic->base & LAPIC_BASE_ENABLED;
}

static inline bool lapic_is_x2apic(const struct lapic *lapic)
{
	uint64_t both = LAPIC_BASE_ENABLED | LAPIC_BASE_X2APIC;

	return (lapic->base & both) == both;
}

static inline bool lapic_is_software_enabled(const struct lapic *lapic)
{
	return lapic->regs[LAPIC_SPIV] & LAPIC_SPIV_ENABLED;
}

/* Recompute PPR and `deliverable`, and notify the vCPU. The owner, after every change of its own to
 * what they hang on. */
void lapic_update(struct lapic *lapic);
/* Take a message in one of enum irq_mode: whether it was accepted. Any thread, as the next three. */
bool lapic_accept(struct lapic *lapic, const struct irq_message *message);
/* An event on a local vector table entry. */
void lapic_deliver_local(struct lapic *lapic, enum lapic_register entry);
void lapic_raise_error(struct lapic *lapic, uint32_t errors);
/* The PIC's INT pin, wired to every LINT0, changed. With the lock held. */
void lapic_set_lint0(struct irqchip *chip, bool level);
uint32_t lapic_x2apic_ldr(const struct lapic *lapic);
/* The owner: the vector in service isn't any more. It, or -1 when there was none. lapic_update follows. */
int lapic_end_service(struct lapic *lapic, bool *is_level);

/* One register: 0, or -EINVAL when it does not exist in the present mode (or a value is refused in
 * x2APIC mode). ICR's upper half is LAPIC_ICR2. */
int lapic_register_read(struct lapic *lapic, unsigned number, uint32_t *value);
int lapic_register_write(struct lapic *lapic, unsigned number, uint32_t value);

void lapic_send_ipi(struct lapic *lapic); /* what ICR says now */

/* The owner; these take timer_lock. */
int lapic_timer_init(struct lapic *lapic);
void lapic_timer_exit(struct lapic *lapic);
void lapic_timer_reset(struct lapic *lapic);
void lapic_timer_write_lvt(struct lapic *lapic, uint32_t value);
void lapic_timer_write_initial(struct lapic *lapic, uint32_t value);
void lapic_timer_write_divide(struct lapic *lapic, uint32_t value);
uint32_t lapic_timer_current(struct lapic *lapic);
/* The same for a saved state: not 0 before it has fired. */
uint32_t lapic_timer_save(struct lapic *lapic);
void lapic_timer_write_deadline(struct lapic *lapic, uint64_t tsc);
uint64_t lapic_timer_read_deadline(struct lapic *lapic);
/* Count on from `current` (LAPIC_TIMER_CURRENT of a saved state), registers being set. */
void lapic_timer_restore(struct lapic *lapic, uint32_t current);

/* -- pit.c -- */

struct pit {
	struct irqchip *chip;
	struct i8254 timer_chip;
	bool has_port_61;        /* KVM_PIT_SPEAKER_DUMMY */
	struct timer timer;      /* channel 0's next rise of OUT */
	uint64_t period_ns;      /* channel 0, periodic modes; 0: one shot */
	bool reinject;           /* ticks that the guest missed are made up for */
	bool acked;              /* the last tick was acknowledged */
	uint32_t pending;        /* ticks not yet acknowledged */
};

bool pit_has_port(const struct pit *pit, uint16_t port); /* without the lock, too */
uint8_t pit_read(struct pit *pit, uint16_t port);
void pit_write(struct pit *pit, uint16_t port, uint8_t value);
void pit_acked(struct pit *pit);    /* GSI 0 was acknowledged */
void pit_unmasked(struct pit *pit); /* GSI 0 was unmasked */
int pit_create(struct irqchip *chip, const struct kvm_pit_config *config);
void pit_destroy(struct pit *pit); /* without the lock */

/* -- wires.c -- */

void pic_create(struct irqchip *chip);
void ioapic_create(struct irqchip *chip);

/* -- pic.c, ioapic.c -- */

int pic_set_line(struct irqchip *chip, unsigned irq, unsigned source, bool level);
int ioapic_deliver(struct irqchip *chip, uint64_t entry); /* as irq_deliver */
void ioapic_note_vectors(struct irqchip *chip); /* its entries were set */
int ioapic_set_line(struct irqchip *chip, unsigned pin, unsigned source, bool level);
/* An EOI of a local APIC; full: to the I/O APIC, split: to user space when it is routed there. Its
 * owner, without the lock. */
void ioapic_eoi(struct lapic *lapic, uint8_t vector, bool is_level);

/* -- lines.c, msi.c -- */

enum { GSI_PIC, GSI_IOAPIC }; /* the controllers that a GSI may reach */
enum { GSI_TO_PIC = 1 << GSI_PIC, GSI_TO_IOAPIC = 1 << GSI_IOAPIC };

void lines_set_default(struct irqchip *chip); /* with the lock */
int lines_set(struct irqchip *chip, unsigned source, uint32_t gsi, bool level); /* likewise */
extern const struct irqfd_host lines_irqfd_host; /* of a struct irqchip */

bool msi_is_valid(const struct irqchip *chip, uint32_t address_high);
int msi_deliver(struct irqchip *chip, const struct kvm_irq_routing_msi *msi); /* without the lock */

/* -- the whole -- */

enum irqchip_kind { IRQCHIP_NONE, IRQCHIP_FULL, IRQCHIP_SPLIT };

struct irqchip {
	pthread_mutex_t lock;
	const struct irqchip_host *host;
	_Atomic uint32_t outside_interrupts;
	_Atomic int kind;             /* enum irqchip_kind; changes once */
	unsigned reserved_routes;     /* split: pins of the user-space I/O APIC */
	_Atomic unsigned boot_cpu_id;
	_Atomic uint64_t x2apic_flags; /* KVM_X2APIC_API_* */
	struct lapic *_Atomic lapics[VM_VCPU_ID_MAX]; /* by vCPU id, with holes */
	_Atomic unsigned lapic_slots; /* that are in use, holes included */
	_Atomic bool ids_are_initial; /* no guest has changed an xAPIC id */
	struct i8259 pic;
	_Atomic bool int_pin;         /* pic.output, for who has not the lock */
	uint8_t pic_sources[16];      /* who drives each input, a bit an irqchip_source */
	struct i82093 ioapic;
	uint8_t ioapic_sources[I82093_PINS];
	/* The vectors in ioapic's entries: an EOI of any other is not its business. Set before such a
	 * vector is sent. */
	_Atomic uint64_t ioapic_vectors[4];
	struct pit *_Atomic pit;      /* NULL before KVM_CREATE_PIT2; owned */
	struct routing routing;
	/* Split: vectors of level-triggered entries of the user-space I/O APIC, as MSI routes tell. */
	_Atomic uint64_t reserved_vectors[4];
	struct timer_queue timers;
	struct irqfd_set irqfds;
};

static inline bool chip_has_lapics(const struct irqchip *chip) /* full or split */
{
	return chip->kind != IRQCHIP_NONE;
}

/* Split: whether an EOI of `vector` belongs to a reserved pin of the user-space I/O APIC. Without the
 * lock. */
static inline bool chip_has_reserved_vector(const struct irqchip *chip, uint8_t vector)
{
	return chip->reserved_vectors[vector / 64] & UINT64_C(1) << (vector % 64);
}

static inline void irqchip_lock(struct irqchip *chip)
{
	pthread_mutex_lock(&chip->lock);
}

static inline void irqchip_unlock(struct irqchip *chip)
{
	pthread_mutex_unlock(&chip->lock);
}

#endif
