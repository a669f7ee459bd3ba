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

/* No count of the PIT lasts longer than a tenth of this; util/i8254.c keeps periods above the minimum. */
#define TICK_MIN_NS 200000
#define TICK_MAX_NS 1000000000

/* Port addresses as the chips' models know them. */
enum { MASTER_BASE = 0x20, SLAVE_BASE = 0xa0, ELCR_BASE = 0x4d0, PIT_BASE = 0x40, PORT_61 = 0x61 };

/* An MSI (SDM vol. 3 §11.11). */
#define MSI_ADDRESS           0xfee00000u
#define MSI_DESTINATION_SHIFT 12
#define MSI_LOGICAL           (1u << 2)
#define MSI_ASSERT            (1u << 14)
#define MSI_DATA_MASK         (I82093_VECTOR | I82093_DELIVERY_MODE | I82093_LEVEL)

struct split_irqchip {
	pthread_mutex_t lock; /* guards everything below; held while KVM and `kick` are called */
	const struct kvm_vm *vm;
	struct gsi_routes *routes;
	void (*kick)(void *context);
	void *kick_context;
	struct i8259 pic;
	struct i82093 ioapic;
	struct i8254 pit;
	struct event_timer timer;
	uint64_t tick_ns, tick_period_ns; /* when the PIT's timer fires, 0: doesn't; and again after */
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
	struct kvm_irq_routing_entry routes[I82093_PINS], *route;
	struct kvm_msi message;
	unsigned pin, count = 0;
	int result;

	memset(routes, 0, sizeof(routes));
	for (pin = 0; pin < I82093_PINS; pin++) {
		if (!(chips->ioapic.redirect[pin] & I82093_LEVEL))
			continue;
		message = message_of(chips->ioapic.redirect[pin]);
		route = &routes[count++];
		route->gsi = pin;
		route->type = KVM_IRQ_ROUTING_MSI;
		route->u.msi.address_lo = message.address_lo;
		route->u.msi.data = message.data;
	}
	result = gsi_routes_set_chips(chips->routes, routes, count);
	if (result < 0)
		log_guest_at(LOG_WARNING, "cannot route the I/O APIC's interrupts: %s",
			     strerror(-result));
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

	chips->tick_ns = deadline_ns;
	chips->tick_period_ns = period_ns;
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
	if (!chips->tick_period_ns)
		chips->tick_ns = 0;
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

static void split_irqchip_reset(void *device)
{
	struct split_irqchip *chips = device;

	pthread_mutex_lock(&chips->lock);
	i8259_init(&chips->pic, &pic_host, chips);
	i82093_init(&chips->ioapic, &ioapic_host, chips);
	i8254_init(&chips->pit, &pit_host, chips, monotonic_ns());
	chips->vector = NO_VECTOR;
	chips->wants_cpu = false;
	update_routes(chips);
	pthread_mutex_unlock(&chips->lock);
}

/*
 * When the PIT's next tick comes. A periodic one keeps its phase; a single one that is due and not
 * yet delivered comes at once after loading. What is loaded is kept from keeping the host busy.
 */
static void transfer_tick(struct state_stream *state, struct split_irqchip *chips, uint64_t now_ns)
{
	bool is_armed = chips->tick_ns != 0;
	uint64_t until_ns = 0;

	if (is_armed && chips->tick_ns > now_ns)
		until_ns = chips->tick_ns - now_ns;
	else if (is_armed && chips->tick_period_ns)
		until_ns = chips->tick_period_ns - (now_ns - chips->tick_ns) % chips->tick_period_ns;
	state_bool(state, "is_tick_armed", &is_armed);
	state_u64(state, "until_tick_ns", &until_ns);
	state_check(state, "until_tick_ns", until_ns <= TICK_MAX_NS);
	state_u64(state, "tick_period_ns", &chips->tick_period_ns);
	state_check(state, "tick_period_ns",
		    !chips->tick_period_ns || (chips->tick_period_ns >= TICK_MIN_NS &&
					       chips->tick_period_ns <= TICK_MAX_NS));
	chips->tick_ns = is_armed ? now_ns + (until_ns ? until_ns : 1) : 0;
}

static void transfer(struct state_stream *state, struct split_irqchip *chips)
{
	uint64_t now_ns = monotonic_ns();
	bool has_vector = chips->vector != NO_VECTOR;
	uint8_t vector = has_vector ? chips->vector : 0;
	unsigned i;

	for (i = 0; i < 2; i++)
		i8259_transfer(&chips->pic.chip[i], state);
	i82093_transfer(&chips->ioapic, state);
	i8254_transfer(&chips->pit, state, now_ns);
	transfer_tick(state, chips, now_ns);
	state_bool(state, "has_vector", &has_vector);
	state_u8(state, "vector", &vector);
	chips->vector = has_vector ? vector : NO_VECTOR;
}

static void split_irqchip_save(void *device, struct state_stream *state)
{
	struct split_irqchip *chips = device;

	pthread_mutex_lock(&chips->lock);
	transfer(state, chips);
	pthread_mutex_unlock(&chips->lock);
}

static void split_irqchip_load(void *device, struct state_stream *state)
{
	struct split_irqchip *chips = device, loaded = {.vector = NO_VECTOR};
	unsigned i;

	transfer(state, &loaded);
	if (!state_complete(state))
		return;
	pthread_mutex_lock(&chips->lock);
	loaded.ioapic.host = &ioapic_host;
	loaded.pit.host = &pit_host;
	loaded.ioapic.context = loaded.pit.context = chips;
	chips->ioapic = loaded.ioapic;
	chips->pit = loaded.pit;
	chips->vector = loaded.vector;
	schedule(chips, loaded.tick_ns, loaded.tick_period_ns);
	for (i = 0; i < 2; i++)
		i8259_set_state(&chips->pic, i, &loaded.pic.chip[i]);
	chips->wants_cpu = chips->pic.output || chips->vector != NO_VECTOR;
	update_routes(chips);
	pthread_mutex_unlock(&chips->lock);
}

static void split_irqchip_destroy(void *device)
{
	struct split_irqchip *chips = device;

	event_timer_destroy(&chips->timer);
	pthread_mutex_destroy(&chips->lock);
	free(chips);
}

const struct device_ops split_irqchip_device_ops = {
	.version = 1,
	.reset = split_irqchip_reset,
	.save = split_irqchip_save,
	.load = split_irqchip_load,
	.destroy = split_irqchip_destroy,
};

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

struct split_irqchip *split_irqchip_create(const struct kvm_vm *vm, struct gsi_routes *routes,
					   struct event_loop *loop, void (*kick)(void *context),
					   void *context, struct error *error)
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
	chips->routes = routes;
	chips->kick = kick;
	chips->kick_context = context;
	split_irqchip_reset(chips);
	return chips;
}
