/*
 * The monitor's half of a split irqchip, over a backend that only writes down what it is asked.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "device/split_irqchip.h"
#include "util/i82093.h"

#define LEVEL  (1u << 15)
#define MASKED (1u << 16)

static struct {
	struct kvm_msi msi;
	unsigned msis, kicks, interrupts, routings;
	int interrupt_result;
	uint32_t vector;
	struct kvm_irq_routing routing;
	struct kvm_irq_routing_entry entries[24];
} record;

static int fake_ioctl(int fd, unsigned long request, void *argument)
{
	const struct kvm_irq_routing *routing = argument;

	(void)fd;
	switch (request) {
	case KVM_SIGNAL_MSI:
		memcpy(&record.msi, argument, sizeof(record.msi));
		record.msis++;
		return 1;
	case KVM_SET_GSI_ROUTING:
		record.routing = *routing;
		memcpy(record.entries, routing->entries, routing->nr * sizeof(record.entries[0]));
		record.routings++;
		return 0;
	case KVM_INTERRUPT:
		record.vector = ((struct kvm_interrupt *)argument)->irq;
		record.interrupts++;
		return record.interrupt_result;
	default:
		return -ENOTTY;
	}
}

static void kick(void *context)
{
	(void)context;
	record.kicks++;
}

static const struct kvm_backend backend = {.name = "fake", .ioctl = fake_ioctl};
static const struct kvm_system kvm = {.backend = &backend};
static const struct kvm_vm vm = {.system = &kvm};
static struct kvm_run run;
static const struct kvm_vcpu vcpu = {.system = &kvm, .run = &run};
static struct event_loop *loop;
static struct gsi_routes *routes;
static struct split_irqchip *chips;

static int setup(void **state)
{
	struct error error;

	(void)state;
	memset(&record, 0, sizeof(record));
	memset(&run, 0, sizeof(run));
	loop = event_loop_create(&error);
	routes = gsi_routes_create(&vm, &error);
	chips = split_irqchip_create(&vm, routes, loop, kick, NULL, &error);
	return loop && chips ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	split_irqchip_device_ops.destroy(chips);
	gsi_routes_destroy(routes);
	event_loop_destroy(loop);
	return 0;
}

static void pic_setup(void)
{
	const struct pio_ops *master = &split_irqchip_master_pio_ops;
	const struct pio_ops *slave = &split_irqchip_slave_pio_ops;

	master->write(chips, 0, 1, 0x11);
	master->write(chips, 1, 1, 0x20);
	master->write(chips, 1, 1, 0x04);
	master->write(chips, 1, 1, 0x01);
	slave->write(chips, 0, 1, 0x11);
	slave->write(chips, 1, 1, 0x28);
	slave->write(chips, 1, 1, 0x02);
	slave->write(chips, 1, 1, 0x01);
}

static void ioapic_write(unsigned index, uint32_t value)
{
	split_irqchip_ioapic_mmio_ops.write(chips, 0x00, 4, index);
	split_irqchip_ioapic_mmio_ops.write(chips, 0x10, 4, value);
}

static uint32_t ioapic_read(unsigned index)
{
	split_irqchip_ioapic_mmio_ops.write(chips, 0x00, 4, index);
	return split_irqchip_ioapic_mmio_ops.read(chips, 0x10, 4);
}

static void test_pic(void **state)
{
	(void)state;
	pic_setup();
	split_irqchip_before_run(chips, &vcpu);
	assert_int_equal(run.request_interrupt_window, 0);
	split_irqchip_set_line(chips, 4, true);
	assert_int_equal(record.kicks, 1);
	/* The guest has interrupts off: wait for the window. */
	split_irqchip_before_run(chips, &vcpu);
	assert_int_equal(record.interrupts, 0);
	assert_int_equal(run.request_interrupt_window, 1);
	run.ready_for_interrupt_injection = 1;
	split_irqchip_before_run(chips, &vcpu);
	assert_int_equal(record.interrupts, 1);
	assert_int_equal(record.vector, 0x24);
	assert_int_equal(run.request_interrupt_window, 0);
	split_irqchip_before_run(chips, &vcpu);
	assert_int_equal(record.interrupts, 1);
	/* Two at once: the second waits for the window after the first. */
	split_irqchip_master_pio_ops.write(chips, 0, 1, 0x20);
	split_irqchip_set_line(chips, 4, false);
	split_irqchip_set_line(chips, 3, true);
	run.ready_for_interrupt_injection = 1;
	split_irqchip_before_run(chips, &vcpu);
	assert_int_equal(record.vector, 0x23);
	split_irqchip_set_line(chips, 1, true);
	split_irqchip_before_run(chips, &vcpu);
	assert_int_equal(record.interrupts, 2);
	assert_int_equal(run.request_interrupt_window, 1);
	/* A refused vector is not lost. */
	record.interrupt_result = -EEXIST;
	run.ready_for_interrupt_injection = 1;
	split_irqchip_before_run(chips, &vcpu);
	assert_int_equal(record.interrupts, 3);
	assert_int_equal(run.request_interrupt_window, 1);
	record.interrupt_result = 0;
	split_irqchip_before_run(chips, &vcpu);
	assert_int_equal(record.interrupts, 4);
	assert_int_equal(record.vector, 0x21);
	assert_int_equal(run.request_interrupt_window, 0);
}

static void test_ioapic(void **state)
{
	unsigned routings;

	(void)state;
	assert_int_equal(ioapic_read(1), 0x170011);
	ioapic_write(0x11 + 2 * 20, 3u << 24);
	ioapic_write(0x10 + 2 * 20, LEVEL | 1 << 11 | 1 << 8 | 0x51);
	assert_int_equal(record.routing.nr, 1);
	assert_int_equal(record.entries[0].gsi, 20);
	assert_int_equal(record.entries[0].type, KVM_IRQ_ROUTING_MSI);
	split_irqchip_set_line(chips, 20, true);
	assert_int_equal(record.msis, 1);
	assert_int_equal(record.msi.address_lo, 0xfee00000 | 3 << 12 | 1 << 2);
	assert_int_equal(record.msi.data, LEVEL | 1 << 14 | 1 << 8 | 0x51);
	assert_int_equal(record.entries[0].u.msi.address_lo, record.msi.address_lo);
	assert_int_equal(record.entries[0].u.msi.data, record.msi.data);
	assert_true(ioapic_read(0x10 + 2 * 20) & 1 << 14);
	/* Masking leaves the route: the EOI is still to come. */
	routings = record.routings;
	ioapic_write(0x10 + 2 * 20, MASKED | LEVEL | 1 << 11 | 1 << 8 | 0x51);
	assert_int_equal(record.routings, routings);
	split_irqchip_eoi(chips, 0x51);
	assert_int_equal(record.msis, 1);
	assert_false(ioapic_read(0x10 + 2 * 20) & 1 << 14);
	/* Unmasked with the line still high: again, and once more at the EOI. */
	ioapic_write(0x10 + 2 * 20, LEVEL | 1 << 11 | 1 << 8 | 0x51);
	assert_int_equal(record.msis, 2);
	split_irqchip_eoi(chips, 0x51);
	assert_int_equal(record.msis, 3);
	/* An edge needs no route. */
	routings = record.routings;
	ioapic_write(0x10 + 2 * 4, 0x41);
	assert_int_equal(record.routings, routings);
	split_irqchip_set_line(chips, 4, true);
	assert_int_equal(record.msi.data, 1 << 14 | 0x41);
	/* Outside of the registers there is nothing. */
	assert_int_equal(split_irqchip_ioapic_mmio_ops.read(chips, 0x100, 4), 0);
	split_irqchip_ioapic_mmio_ops.write(chips, 0xff0, 8, 1);
	split_irqchip_device_ops.reset(chips);
	assert_int_equal(record.routing.nr, 0);
}

static void stop(void *context)
{
	event_loop_stop(context);
}

static void test_pit(void **state)
{
	const struct pio_ops *pit = &split_irqchip_pit_pio_ops;
	struct event_timer end;

	(void)state;
	pic_setup();
	pit->write(chips, 3, 1, 0x34);
	pit->write(chips, 0, 1, 0xa9);
	pit->write(chips, 0, 1, 0x04); /* 1 ms */
	assert_int_equal(event_timer_init(&end, loop, stop, loop), 0);
	event_timer_set(&end, monotonic_ns() + 50000000, 0);
	assert_int_equal(event_loop_run(loop), 0);
	event_timer_destroy(&end);
	assert_int_equal(record.kicks, 1);
	run.ready_for_interrupt_injection = 1;
	split_irqchip_before_run(chips, &vcpu);
	assert_int_equal(record.vector, 0x20);
	assert_int_equal(split_irqchip_port_61_pio_ops.read(chips, 0, 1) & 0x0f, 0);
	split_irqchip_port_61_pio_ops.write(chips, 0, 1, 3);
	assert_int_equal(split_irqchip_port_61_pio_ops.read(chips, 0, 1) & 0x0f, 3);
	split_irqchip_elcr_pio_ops.write(chips, 1, 1, 0xff);
	assert_int_equal(split_irqchip_elcr_pio_ops.read(chips, 1, 1), 0xde);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ioapic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
