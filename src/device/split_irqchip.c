/*
 * The PC's interrupt controllers in user space, for KVM_CAP_SPLIT_IRQCHIP (KVM api.rst 7.5).
 *
 * The chips are util/i8259.c, i82093.c and i8254.c; here is what lies around them: one lock, the
 * way of their outputs into KVM, their timer on the I/O loop. GSIs are numbered as in the
 * PC: GSI n is PIC input n below 16 and I/O APIC pin n below 24, but for the PIT's GSI 0, which is
 * pin 2.
 *
 * Not modelled: making up for ticks of the PIT that the guest missed.
 */
#include "device/split_irqchip.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "util/i82093.h"
#include "util/i8254.h"
#include "util/i8259.h"
#include "util/log.h"

#define PIC_INPUTS 16
#define TIMER_PIN  2
#define NO_VECTOR  (-1)

/* Port addresses as the chips' models know them. */
enum { MASTER_BASE = 0x20, SLAVE_BASE = 0xa0, ELCR_BASE = 0x4d0, PIT_BASE = 0x40, PORT_61 = 0x61 };

/* An MSI (SDM vol. 3 §11.11). */
#define MSI_ADDRESS           0xfee00000u
#define MSI_DESTINATION_SHIFT 12
#define MSI_LOGICAL           (1u << 2)
#define MSI_ASSERT            (1u << 14)
#define MSI_DATA_MASK         (I82093_VECTOR | I82093_DELIVERY_MODE | I82093_LEVEL)

struct routes {
	struct kvm_irq_routing header;
	struct kvm_irq_routing_entry entries[I82093_PINS];
};

struct split_irqchip {
	pthread_mutex_t lock; /* guards everything below; held while KVM and `kick` are called */
	const struct kvm_vm *vm;
	void (*kick)(void *context);
	void *kick_context;
	struct i8259 pic;
	struct i82093 ioapic;
	struct i8254 pit;
	struct event_timer timer;
	struct routes routes; /* as KVM has them */
	int vector;           /* acknowledged from the PIC, not yet taken by KVM; or NO_VECTOR */
	_Atomic bool wants_cpu; /* the PIC's output, or `vector`: a hint that needs no lock */
};

static struct kvm_msi message_of(uint64_t entry)
{
	uint32_t destination = entry >> I82093_DESTINATION_BITS;

	return (struct kvm_msi){
		.address_lo = MSI_ADDRESS | destination << MSI_DESTINATION_SHIFT |
			      (entry & I82093_LOGICAL ? MSI_LOGICAL : 0),
		.data = (entry & MSI_DATA_MASK) | MSI_ASSERT,
	};
}

static int deliver(void *context, unsigned pin, uint64_t entry)
{
	struct split_irqchip *chips = context;
	struct kvm_msi message = message_of(entry);

	(void)pin;
	return kvm_vm_ioctl(chips->vm, KVM_SIGNAL_MSI, &message);
}

/*
 * KVM reports the EOI of a vector only when a route of a reserved pin names it as level-triggered.
 * Masked entries stay routed: their interrupt may still be in service.
 */
static void update_routes(struct split_irqchip *chips)
{
	struct routes routes;
	struct kvm_irq_routing_entry *route;
	struct kvm_msi message;
	unsigned pin;
	int result;

	memset(&routes, 0, sizeof(routes));
	for (pin = 0; pin < I82093_PINS; pin++) {
		if (!(chips->ioapic.redirect[pin] & I82093_LEVEL))
			continue;
		message = message_of(chips->ioapic.redirect[pin]);
		route = &routes.entries[routes.header.nr++];
		route->gsi = pin;
		route->type = KVM_IRQ_ROUTING_MSI;
		route->u.msi.address_lo = message.address_lo;
		route->u.msi.data = message.data;
	}
	if (!memcmp(&routes, &chips->routes, sizeof(routes)))
		return;
	result = kvm_vm_ioctl(chips->vm, KVM_SET_GSI_ROUTING, &routes);
	if (result < 0)
		log_warning("cannot route the I/O APIC's interrupts: %s", strerror(-result));
	else
		chips->routes = routes;
}

static void entry_changed(void *context, unsigned pin, uint64_t old)
{
	(void)pin;
	(void)old;
	update_routes(context);
}

static void output_changed(void *context, bool level)
{
	struct split_irqchip *chips = context;

	chips->wants_cpu = level || chips->vector != NO_VECTOR;
	if (level)
		chips->kick(chips->kick_context);
}

static void schedule(void *context, uint64_t deadline_ns, uint64_t period_ns)
{
	struct split_irqchip *chips = context;

	event_timer_set(&chips->timer, deadline_ns, period_ns);
}

static const struct i8259_host pic_host = {.output = output_changed};
static const struct i82093_host ioapic_host = {.deliver = deliver, .entry_changed = entry_changed};
static const struct i8254_host pit_host = {.schedule = schedule};

/* With the lock held. */
static void set_line(struct split_irqchip *chips, unsigned gsi, bool level)
{
	if (gsi < PIC_INPUTS)
		i8259_set_line(&chips->pic, gsi, level);
	if (gsi == I8254_GSI)
		i82093_set_line(&chips->ioapic, TIMER_PIN, level);
	else if (gsi != TIMER_PIN && gsi < I82093_PINS)
		i82093_set_line(&chips->ioapic, gsi, level);
}

void split_irqchip_set_line(struct split_irqchip *chips, unsigned gsi, bool level)
{
	pthread_mutex_lock(&chips->lock);
	set_line(chips, gsi, level);
	pthread_mutex_unlock(&chips->lock);
}

static void pit_tick(void *context)
{
	struct split_irqchip *chips = context;

	pthread_mutex_lock(&chips->lock);
	set_line(chips, I8254_GSI, true);
	set_line(chips, I8254_GSI, false);
	pthread_mutex_unlock(&chips->lock);
}

void split_irqchip_eoi(struct split_irqchip *chips, uint8_t vector)
{
	pthread_mutex_lock(&chips->lock);
	i82093_eoi(&chips->ioapic, vector, true);
	pthread_mutex_unlock(&chips->lock);
}

void split_irqchip_before_run(struct split_irqchip *chips, const struct kvm_vcpu *vcpu)
{
	struct kvm_interrupt interrupt;

	if (!chips->wants_cpu) {
		vcpu->run->request_interrupt_window = 0;
		return;
	}
	pthread_mutex_lock(&chips->lock);
	if (vcpu->run->ready_for_interrupt_injection) {
		if (chips->vector == NO_VECTOR && chips->pic.output)
			chips->vector = i8259_acknowledge(&chips->pic);
		interrupt.irq = chips->vector;
		/* Refused when one is still to be delivered: then again at the next window. */
		if (chips->vector != NO_VECTOR &&
		    kvm_vcpu_ioctl(vcpu, KVM_INTERRUPT, &interrupt) >= 0) {
			chips->vector = NO_VECTOR;
			/* What kvm_run says is from before this one. */
			vcpu->run->ready_for_interrupt_injection = 0;
		}
	}
	chips->wants_cpu = chips->pic.output || chips->vector != NO_VECTOR;
	vcpu->run->request_interrupt_window = chips->wants_cpu;
	pthread_mutex_unlock(&chips->lock);
}

static uint8_t read_pic(struct split_irqchip *chips, uint16_t port)
{
	uint8_t value;

	pthread_mutex_lock(&chips->lock);
	value = i8259_read(&chips->pic, port);
	pthread_mutex_unlock(&chips->lock);
	return value;
}

static void write_pic(struct split_irqchip *chips, uint16_t port, uint8_t value)
{
	pthread_mutex_lock(&chips->lock);
	i8259_write(&chips->pic, port, value);
	pthread_mutex_unlock(&chips->lock);
}

static uint8_t read_pit(struct split_irqchip *chips, uint16_t port)
{
	uint8_t value;

	pthread_mutex_lock(&chips->lock);
	value = i8254_read(&chips->pit, port, monotonic_ns());
	pthread_mutex_unlock(&chips->lock);
	return value;
}

static void write_pit(struct split_irqchip *chips, uint16_t port, uint8_t value)
{
	pthread_mutex_lock(&chips->lock);
	i8254_write(&chips->pit, port, value, monotonic_ns());
	pthread_mutex_unlock(&chips->lock);
}

/* One pair of functions a window: a device is told the offset in its range, not the port. */
#define WINDOW(name, base, read_port, write_port)                                                  \
	static uint32_t name##_read(void *device, uint16_t offset, unsigned size)                  \
	{                                                                                          \
		(void)size;                                                                        \
		return read_port(device, (base) + offset);                                         \
	}                                                                                          \
	static void name##_write(void *device, uint16_t offset, unsigned size, uint32_t value)     \
	{                                                                                          \
		(void)size;                                                                        \
		write_port(device, (base) + offset, value);                                        \
	}                                                                                          \
	const struct pio_ops split_irqchip_##name##_pio_ops = {                                    \
		.read = name##_read, .write = name##_write, .widest_access = 1}

WINDOW(master, MASTER_BASE, read_pic, write_pic);
WINDOW(slave, SLAVE_BASE, read_pic, write_pic);
WINDOW(elcr, ELCR_BASE, read_pic, write_pic);
WINDOW(pit, PIT_BASE, read_pit, write_pit);
WINDOW(port_61, PORT_61, read_pit, write_pit);

static uint64_t ioapic_read(void *device, uint64_t offset, unsigned size)
{
	struct split_irqchip *chips = device;
	uint64_t value = 0;

	if (offset >= I82093_MMIO_SIZE)
		return 0;
	pthread_mutex_lock(&chips->lock);
	i82093_mmio(&chips->ioapic, offset, &value, size, false);
	pthread_mutex_unlock(&chips->lock);
	return value;
}

static void ioapic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct split_irqchip *chips = device;

	if (offset >= I82093_MMIO_SIZE)
		return;
	pthread_mutex_lock(&chips->lock);
	i82093_mmio(&chips->ioapic, offset, &value, size, true);
	pthread_mutex_unlock(&chips->lock);
}

const struct mmio_ops split_irqchip_ioapic_mmio_ops = {
	.read = ioapic_read,
	.write = ioapic_write,
};

void split_irqchip_reset(struct split_irqchip *chips)
{
	pthread_mutex_lock(&chips->lock);
	i8259_init(&chips->pic, &pic_host, chips);
	i82093_init(&chips->ioapic, &ioapic_host, chips);
	i8254_init(&chips->pit, &pit_host, chips, monotonic_ns());
	chips->vector = NO_VECTOR;
	chips->wants_cpu = false;
	update_routes(chips);
	pthread_mutex_unlock(&chips->lock);
}

int split_irqchip_enable(const struct kvm_vm *vm, struct error *error)
{
	struct kvm_enable_cap capability = {
		.cap = KVM_CAP_SPLIT_IRQCHIP,
		.args = {I82093_PINS},
	};
	int result = kvm_vm_ioctl(vm, KVM_ENABLE_CAP, &capability);

	if (result < 0)
		return error_set_errno(error, -result, "%s cannot split the interrupt controllers",
				       vm->system->backend->name);
	return 0;
}

struct split_irqchip *split_irqchip_create(const struct kvm_vm *vm, struct event_loop *loop,
					   void (*kick)(void *context), void *context,
					   struct error *error)
{
	struct split_irqchip *chips = calloc(1, sizeof(*chips));
	int result;

	if (!chips) {
		error_set_errno(error, ENOMEM, "cannot create the interrupt controllers");
		return NULL;
	}
	result = event_timer_init(&chips->timer, loop, pit_tick, chips);
	if (result < 0) {
		error_set_errno(error, -result, "cannot create the timer");
		free(chips);
		return NULL;
	}
	pthread_mutex_init(&chips->lock, NULL);
	chips->vm = vm;
	chips->kick = kick;
	chips->kick_context = context;
	split_irqchip_reset(chips);
	return chips;
}

void split_irqchip_destroy(struct split_irqchip *chips)
{
	if (!chips)
		return;
	event_timer_destroy(&chips->timer);
	pthread_mutex_destroy(&chips->lock);
	free(chips);
}
