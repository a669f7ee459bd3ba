/*
 * Interrupts from many threads at once: MSIs, IPIs, lines and timers for vCPUs that sleep until they
 * are notified, while the routing and the priorities change. Each sender waits until its interrupt
 * was taken before it sends the next, so one that is lost, or not told, stops it.
 */
#include <pthread.h>
#include <sched.h>

#include "irqchip_fixture.h"

#define ROUNDS    1000
#define TIMER_ROUNDS 1000
#define PATIENCE_S 60
#define RECEIVERS 2
#define SENDER    2 /* the vCPU whose thread sends IPIs */
#define LINE_PIN  20
#define MSI_GSI   30

enum { VECTOR_MSI = 0x31, VECTOR_ROUTED = 0x42, VECTOR_IPI = 0x53, VECTOR_LINE = 0x64,
       VECTOR_TIMER = 0x75, VECTOR_LEVEL = 0x86 };
#define LEVEL_PIN 21

static struct fake_vm vm;
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool is_notified; /* under lock */
	atomic_uint taken[256];
} receivers[VCPUS_MAX];
static atomic_bool must_stop, has_failed;

static void notify(void *context)
{
	unsigned id = (struct fake_vcpu *)context - vm.vcpus;

	pthread_mutex_lock(&receivers[id].lock);
	receivers[id].is_notified = true;
	pthread_cond_signal(&receivers[id].changed);
	pthread_mutex_unlock(&receivers[id].lock);
}

static const struct irqchip_host host = {
	.vcpu_notify = notify,
	.vcpu_read_tsc = fake_read_tsc,
	.vcpu_tsc_khz = fake_tsc_khz,
	.vcpu_eoi_exit = fake_eoi_exit,
};

static void write_register(unsigned cpu, unsigned offset, uint32_t value)
{
	lapic_mmio(vm.vcpus[cpu].lapic, APIC_PAGE + offset, &value, 4, true);
}

static void *receive(void *argument)
{
	unsigned id = (uintptr_t)argument, turn = 0;
	int vector;

	while (!must_stop) {
		pthread_mutex_lock(&receivers[id].lock);
		while (!receivers[id].is_notified && !must_stop)
			pthread_cond_wait(&receivers[id].changed, &receivers[id].lock);
		receivers[id].is_notified = false;
		pthread_mutex_unlock(&receivers[id].lock);
		/* Now and then at a priority that lets nothing through, and back. */
		if (++turn % 3 == 0) {
			write_register(id, 0x80, 0xf0);
			lapic_set_cr8(vm.vcpus[id].lapic, turn % 2 ? 0 : 4);
		}
		while ((vector = lapic_interrupt_acknowledge(vm.vcpus[id].lapic)) >= 0) {
			if (vector == VECTOR_LEVEL)
				irqchip_set_line(vm.chip, IRQCHIP_SOURCE_USER, LEVEL_PIN, 0);
			receivers[id].taken[vector]++;
			write_register(id, 0xb0, 0);
		}
		if (turn % 3 == 0)
			write_register(id, 0x80, 0);
		/* What that let through has notified. */
	}
	return NULL;
}

static void send(uint8_t vector, unsigned to)
{
	struct kvm_msi msi = {.address_lo = 0xfee00000 | to << 12, .data = vector};

	switch (vector) {
	case VECTOR_MSI:
		irqchip_send_msi(vm.chip, &msi);
		break;
	case VECTOR_ROUTED:
		irqchip_set_line(vm.chip, IRQCHIP_SOURCE_USER, MSI_GSI + to, 1);
		break;
	case VECTOR_IPI:
		write_register(SENDER, 0x310, to << 24);
		write_register(SENDER, 0x300, 1 << 14 | vector);
		break;
	case VECTOR_LINE:
		irqchip_set_line(vm.chip, IRQCHIP_SOURCE_USER, LINE_PIN, 1);
		irqchip_set_line(vm.chip, IRQCHIP_SOURCE_USER, LINE_PIN, 0);
		break;
	case VECTOR_LEVEL: /* until it is taken */
		irqchip_set_line(vm.chip, IRQCHIP_SOURCE_USER, LEVEL_PIN, 1);
		break;
	case VECTOR_TIMER:
		write_register(SENDER, 0x380, 1000); /* ns; one shot, to this CPU */
		break;
	}
}

static void *send_many(void *argument)
{
	uint8_t vector = (uintptr_t)argument;
	uint64_t deadline = now_ns() + PATIENCE_S * 1000000000ull;
	unsigned i;

	for (i = 0; i < ROUNDS && !has_failed; i++) {
		bool is_own = vector == VECTOR_TIMER;
		unsigned to = is_own ? SENDER :
			      vector == VECTOR_LINE || vector == VECTOR_LEVEL ? 0 : i % RECEIVERS;
		unsigned before = receivers[to].taken[vector];

		send(vector, to);
		while (receivers[to].taken[vector] == before && !has_failed) {
			if (is_own && lapic_interrupt_acknowledge(vm.vcpus[to].lapic) == vector) {
				receivers[to].taken[vector]++;
				write_register(to, 0xb0, 0);
			}
			if (now_ns() > deadline)
				has_failed = true;
			sched_yield();
		}
	}
	return NULL;
}

static void *change_routes(void *unused)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[RECEIVERS + 2];
	} routes = {.head.nr = RECEIVERS + 2};
	unsigned i, turn = 0;

	(void)unused;
	for (i = 0; i < 2; i++) {
		routes.entries[i].gsi = LINE_PIN + i;
		routes.entries[i].type = KVM_IRQ_ROUTING_IRQCHIP;
		routes.entries[i].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		routes.entries[i].u.irqchip.pin = LINE_PIN + i;
	}
	for (i = 0; i < RECEIVERS; i++) {
		routes.entries[2 + i].gsi = MSI_GSI + i;
		routes.entries[2 + i].type = KVM_IRQ_ROUTING_MSI;
		routes.entries[2 + i].u.msi.address_lo = 0xfee00000 | i << 12;
		routes.entries[2 + i].u.msi.data = VECTOR_ROUTED;
	}
	do {
		if (irqchip_set_routing(vm.chip, &routes.head, routes.entries))
			has_failed = true;
		sched_yield();
	} while (!must_stop && ++turn);
	return NULL;
}

static void test_no_interrupt_is_lost(void **state)
{
	static const uint8_t vectors[] = {VECTOR_MSI, VECTOR_ROUTED, VECTOR_LINE, VECTOR_LEVEL};
	pthread_t receiver[RECEIVERS], sender[sizeof(vectors) + 2], router;
	unsigned i;

	(void)state;
	memset(&vm, 0, sizeof(vm));
	vm.chip = irqchip_create(&host);
	assert_non_null(vm.chip);
	assert_int_equal(irqchip_enable_full(vm.chip), 0);
	for (i = 0; i < VCPUS_MAX; i++) {
		pthread_mutex_init(&receivers[i].lock, NULL);
		pthread_cond_init(&receivers[i].changed, NULL);
	}
	vm_add_vcpus(&vm, VCPUS_MAX);
	write_register(SENDER, 0x320, VECTOR_TIMER);
	write_register(SENDER, 0x3e0, 0xb);
	ioapic_route(&vm, LINE_PIN, VECTOR_LINE, 0);
	ioapic_route(&vm, LEVEL_PIN, VECTOR_LEVEL | 1 << 15, 0);
	must_stop = true;
	change_routes(NULL);
	must_stop = false;

	for (i = 0; i < RECEIVERS; i++)
		pthread_create(&receiver[i], NULL, receive, (void *)(uintptr_t)i);
	pthread_create(&router, NULL, change_routes, NULL);
	for (i = 0; i < sizeof(vectors); i++)
		pthread_create(&sender[i], NULL, send_many, (void *)(uintptr_t)vectors[i]);
	/* Both on the same vCPU's thread. */
	send_many((void *)(uintptr_t)VECTOR_IPI);
	send_many((void *)(uintptr_t)VECTOR_TIMER);
	for (i = 0; i < sizeof(vectors); i++)
		pthread_join(sender[i], NULL);
	must_stop = true;
	pthread_join(router, NULL);
	for (i = 0; i < RECEIVERS; i++) {
		notify(&vm.vcpus[i]);
		pthread_join(receiver[i], NULL);
	}
	assert_false(has_failed);
	for (i = 0; i < sizeof(vectors); i++)
		assert_int_equal(receivers[0].taken[vectors[i]] + receivers[1].taken[vectors[i]],
				 ROUNDS);
	assert_int_equal(receivers[0].taken[VECTOR_IPI] + receivers[1].taken[VECTOR_IPI], ROUNDS);
	assert_int_equal(receivers[SENDER].taken[VECTOR_TIMER], ROUNDS);
	vm_teardown(&vm);
}

/* A timer is cancelled and armed anew while it expires. */
static void test_cancelled_timer_is_silent(void **state)
{
	struct fake_vm small;
	unsigned i, taken = 0;

	(void)state;
	vm_setup(&small, 1);
	apic_write(&small, 0, 0x320, VECTOR_TIMER);
	apic_write(&small, 0, 0x3e0, 0xb);
	for (i = 0; i < TIMER_ROUNDS; i++) {
		apic_write(&small, 0, 0x380, 50000 + i * 31 % 20000);
		while (apic_read(&small, 0, 0x390) > i % 7 * 1000)
			;
		apic_write(&small, 0, 0x380, 0);
		/* From here on there is nothing that could still fire. */
		while (acknowledge(&small, 0) >= 0) {
			end_of_interrupt(&small, 0);
			taken++;
		}
		assert_false(pending(&small, 0));
		if (i % 8 == 0)
			sched_yield();
		assert_false(pending(&small, 0));
	}
	assert_true(taken <= TIMER_ROUNDS);
	vm_teardown(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_interrupt_is_lost),
		cmocka_unit_test(test_cancelled_timer_is_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
