/*
 * What the files of the irqchip room share: the state of all controllers and the calls between
 * them.
 *
 * Everything in struct irqchip and struct lapic is guarded by irqchip.lock, except where a field is
 * _Atomic. Functions declared here are called with the lock held, unless they say otherwise.
 *
 * The way of an interrupt: a line (KVM_IRQ_LINE, irqfd, PIT) goes through the routing to PIC and
 * I/O APIC inputs or to an MSI; I/O APIC entries, MSIs, IPIs become a struct irq_message, which
 * irq_deliver takes to the local APICs; lapic_update then decides whether a vCPU is to be told.
 * Back from the guest: an EOI goes from the local APIC to the I/O APIC, from there (and from the
 * PIC's own EOI) to routing_notify_acked, which serves the PIT and resampling irqfds.
 */
#ifndef KVIK_ENGINE_IRQCHIP_INTERNAL_H
#define KVIK_ENGINE_IRQCHIP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "engine/irqchip/irqchip.h"
#include "util/i82093.h"
#include "util/i8254.h"
#include "util/i8259.h"

/* -- timer.c: deadlines on CLOCK_MONOTONIC -- */

struct timer {
	uint64_t deadline_ns;
	void (*expire)(void *context); /* on the timer thread, with the lock held */
	void *context;
	int position; /* in the heap; -1 when not armed */
};

struct timer_queue {
	struct timer **heap; /* the earliest deadline is heap[0]; owned */
	unsigned count;
	unsigned capacity;      /* room for every timer there is: arming cannot fail */
	unsigned reserved;      /* timers that exist */
	int fd;                 /* timerfd; -1 before the thread was started */
	uint64_t programmed_ns; /* when fd expires; UINT64_MAX: never */
	bool stopping;
	pthread_t thread;
};

#define TIMER_NEVER UINT64_MAX

uint64_t timer_now_ns(void); /* any lock */
int timer_queue_start(struct irqchip *chip); /* 0 or -errno; more than once is fine */
void timer_queue_stop(struct irqchip *chip); /* called without the lock; joins the thread */
/* A timer exists from init to exit. -ENOMEM. */
int timer_init(struct irqchip *chip, struct timer *timer, void (*expire)(void *context),
	       void *context);
void timer_exit(struct irqchip *chip, struct timer *timer);
void timer_arm(struct irqchip *chip, struct timer *timer, uint64_t deadline_ns);
void timer_cancel(struct irqchip *chip, struct timer *timer);

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
 * accepted, or -1 when nobody was addressed. */
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
#define LAPIC_ICR_BUSY           (1u << 12)
#define LAPIC_TIMER_MODE_MASK    (3u << 17)
#define LAPIC_TIMER_PERIODIC     (1u << 17)
#define LAPIC_TIMER_TSC_DEADLINE (2u << 17)

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
	_Atomic uint64_t base;        /* IA32_APIC_BASE; written under the lock by the own vCPU */
	_Atomic bool deliverable;     /* lapic_interrupt_pending; written by lapic_update only */
	_Atomic uint32_t events;      /* enum lapic_event */
	_Atomic uint8_t nmis;         /* with LAPIC_EVENT_NMI: how many; added to under the lock */
	uint8_t sipi_vector;
	int16_t external_vector;      /* KVM_INTERRUPT in split mode; -1: none */
	uint32_t regs[LAPIC_REGISTERS];
	uint32_t errors;              /* collected for the next write of ESR */
	uint32_t arbitration;         /* lowest-priority messages taken: ties go to the smaller */
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

/* Recompute PPR and `deliverable`, and notify the vCPU. After every change to what they hang on. */
void lapic_update(struct lapic *lapic);
/* Take a message in one of enum irq_mode: whether it was accepted. */
bool lapic_accept(struct lapic *lapic, const struct irq_message *message);
/* An event on a local vector table entry. */
void lapic_deliver_local(struct lapic *lapic, enum lapic_register entry);
void lapic_raise_error(struct lapic *lapic, uint32_t errors);
void lapic_raise_event(struct lapic *lapic, enum lapic_event event);
/* The PIC's INT pin, wired to every LINT0, changed. */
void lapic_set_lint0(struct irqchip *chip, bool level);
uint32_t lapic_x2apic_ldr(const struct lapic *lapic);

/* One register: 0, or -EINVAL when it does not exist in the present mode (or a value is refused in
 * x2APIC mode). ICR's upper half is LAPIC_ICR2. */
int lapic_register_read(struct lapic *lapic, unsigned number, uint32_t *value);
int lapic_register_write(struct lapic *lapic, unsigned number, uint32_t value);

void lapic_send_ipi(struct lapic *lapic); /* what ICR says now */

int lapic_timer_init(struct lapic *lapic);
void lapic_timer_reset(struct lapic *lapic);
void lapic_timer_write_lvt(struct lapic *lapic, uint32_t value);
void lapic_timer_write_initial(struct lapic *lapic, uint32_t value);
void lapic_timer_write_divide(struct lapic *lapic, uint32_t value);
uint32_t lapic_timer_current(const struct lapic *lapic);
void lapic_timer_write_deadline(struct lapic *lapic, uint64_t tsc);
uint64_t lapic_timer_read_deadline(const struct lapic *lapic);
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

bool pit_has_port(const struct pit *pit, uint16_t port); /* any lock */
uint8_t pit_read(struct pit *pit, uint16_t port);
void pit_write(struct pit *pit, uint16_t port, uint8_t value);
void pit_acked(struct pit *pit);    /* GSI 0 was acknowledged */
void pit_unmasked(struct pit *pit); /* GSI 0 was unmasked */
int pit_create(struct irqchip *chip, const struct kvm_pit_config *config);
void pit_destroy(struct pit *pit);

/* -- pic.c, ioapic.c -- */

void pic_create(struct irqchip *chip);
int pic_set_line(struct irqchip *chip, unsigned irq, unsigned source, bool level);
void ioapic_create(struct irqchip *chip);
int ioapic_set_line(struct irqchip *chip, unsigned pin, unsigned source, bool level);
/* An EOI of a local APIC; full: to the I/O APIC, split: to user space when it is routed there. */
void ioapic_eoi(struct lapic *lapic, uint8_t vector, bool is_level);

/* -- routing.c, msi.c -- */

struct route {
	uint32_t gsi;
	uint32_t type;      /* KVM_IRQ_ROUTING_IRQCHIP or _MSI */
	uint8_t controller; /* KVM_IRQCHIP_PIC_MASTER (pin 0..15) or _IOAPIC */
	uint8_t pin;
	struct kvm_irq_routing_msi msi;
};

struct routing {
	struct route *routes; /* sorted by gsi; owned */
	unsigned count;
};

#define ROUTING_GSI_MAX 4096 /* as Linux's KVM_MAX_IRQ_ROUTES */

int routing_set_default(struct irqchip *chip); /* -ENOMEM */
int routing_set_line(struct irqchip *chip, unsigned source, uint32_t gsi, bool level);
/* An input of a controller was acknowledged, or unmasked: tell who listens on its GSI. */
void routing_notify_acked(struct irqchip *chip, unsigned controller, unsigned pin);
void routing_notify_unmasked(struct irqchip *chip, unsigned controller, unsigned pin);
/* Split: whether an EOI of `vector` belongs to a reserved pin of the user-space I/O APIC. */
bool routing_has_reserved_vector(const struct irqchip *chip, uint8_t vector);

bool msi_is_valid(const struct irqchip *chip, uint32_t address_high);
int msi_deliver(struct irqchip *chip, const struct kvm_irq_routing_msi *msi);

/* -- irqfd.c -- */

struct irqfd;

struct irqfd_set {
	struct irqfd *first; /* owned list */
	uint64_t serial;     /* of the newest */
	int epoll_fd;        /* -1 before the thread was started */
	int stop_fd;         /* eventfd: the thread is to end */
	pthread_t thread;
};

void irqfd_notify_acked(struct irqchip *chip, uint32_t gsi); /* resampling ones */
void irqfd_stop(struct irqchip *chip); /* called without the lock; joins the thread */

/* -- the whole -- */

enum irqchip_kind { IRQCHIP_NONE, IRQCHIP_FULL, IRQCHIP_SPLIT };

struct irqchip {
	pthread_mutex_t lock;
	const struct irqchip_host *host;
	_Atomic uint32_t outside_interrupts;
	_Atomic int kind;             /* enum irqchip_kind; changes once */
	unsigned reserved_routes;     /* split: pins of the user-space I/O APIC */
	unsigned boot_cpu_id;
	uint64_t x2apic_flags;        /* KVM_X2APIC_API_* */
	struct lapic **lapics;        /* by vCPU id, with holes; owned array */
	unsigned lapic_slots;         /* length of lapics */
	bool ids_are_initial;         /* no guest has changed an xAPIC id */
	struct i8259 pic;
	uint8_t pic_sources[16];      /* who drives each input, a bit an irqchip_source */
	struct i82093 ioapic;
	uint8_t ioapic_sources[I82093_PINS];
	struct pit *_Atomic pit;      /* NULL before KVM_CREATE_PIT2; owned */
	struct routing routing;
	struct timer_queue timers;
	struct irqfd_set irqfds;
};

static inline void irqchip_lock(struct irqchip *chip)
{
	pthread_mutex_lock(&chip->lock);
}

static inline void irqchip_unlock(struct irqchip *chip)
{
	pthread_mutex_unlock(&chip->lock);
}

#endif
