/*
 * A VM for the tests of src/engine/irqchip: interrupt controllers with up to three vCPUs that only
 * count what they are told, and a guest TSC that runs at 1 GHz.
 */
#ifndef KVIK_TESTS_UNIT_IRQCHIP_FIXTURE_H
#define KVIK_TESTS_UNIT_IRQCHIP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "engine/irqchip/x86/irqchip.h"

#define VCPUS_MAX 3
#define APIC_PAGE 0xfee00000ull
#define IOAPIC    0xfec00000ull

struct fake_vcpu {
	struct lapic *lapic;
	atomic_uint notified;
	atomic_uint eoi_exits;
	atomic_uint eoi_vector;
};

struct fake_vm {
	struct irqchip *chip;
	struct fake_vcpu vcpus[VCPUS_MAX];
	unsigned count;
};

static inline void fake_notify(void *context)
{
	struct fake_vcpu *vcpu = context;

	vcpu->notified++;
}

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static inline uint64_t fake_read_tsc(void *context)
{
	(void)context;
	return now_ns();
}

static inline uint32_t fake_tsc_khz(void *context)
{
	(void)context;
	return 1000000;
}

static inline void fake_eoi_exit(void *context, uint8_t vector)
{
	struct fake_vcpu *vcpu = context;

	vcpu->eoi_exits++;
	vcpu->eoi_vector = vector;
}

static const struct irqchip_host fake_host = {
	.vcpu_notify = fake_notify,
	.vcpu_read_tsc = fake_read_tsc,
	.vcpu_tsc_khz = fake_tsc_khz,
	.vcpu_eoi_exit = fake_eoi_exit,
};

static inline uint32_t apic_read(struct fake_vm *vm, unsigned cpu, unsigned offset)
{
	uint32_t value = 0;

	assert_true(lapic_mmio(vm->vcpus[cpu].lapic, APIC_PAGE + offset, &value, 4, false));
	return value;
}

static inline void apic_write(struct fake_vm *vm, unsigned cpu, unsigned offset, uint32_t value)
{
	assert_true(lapic_mmio(vm->vcpus[cpu].lapic, APIC_PAGE + offset, &value, 4, true));
}

static inline uint32_t ioapic_read(struct fake_vm *vm, unsigned index)
{
	uint32_t value = index;

	assert_true(irqchip_mmio(vm->chip, IOAPIC, &value, 4, true));
	assert_true(irqchip_mmio(vm->chip, IOAPIC + 0x10, &value, 4, false));
	return value;
}

static inline void ioapic_write(struct fake_vm *vm, unsigned index, uint32_t value)
{
	assert_true(irqchip_mmio(vm->chip, IOAPIC, &index, 4, true));
	assert_true(irqchip_mmio(vm->chip, IOAPIC + 0x10, &value, 4, true));
}

static inline void ioapic_route(struct fake_vm *vm, unsigned pin, uint32_t low, uint8_t destination)
{
	ioapic_write(vm, 0x11 + 2 * pin, (uint32_t)destination << 24);
	ioapic_write(vm, 0x10 + 2 * pin, low);
}

static inline void out(struct fake_vm *vm, uint16_t port, uint8_t value)
{
	assert_true(irqchip_pio(vm->chip, port, &value, 1, true));
}

static inline uint8_t in(struct fake_vm *vm, uint16_t port)
{
	uint8_t value = 0xff;

	assert_true(irqchip_pio(vm->chip, port, &value, 1, false));
	return value;
}

/* Firmware's set-up of the PIC pair: vectors from 0x20 and 0x28, everything unmasked. */
static inline void pic_setup(struct fake_vm *vm, uint8_t icw4)
{
	out(vm, 0x20, 0x11);
	out(vm, 0x21, 0x20);
	out(vm, 0x21, 0x04);
	out(vm, 0x21, icw4);
	out(vm, 0xa0, 0x11);
	out(vm, 0xa1, 0x28);
	out(vm, 0xa1, 0x02);
	out(vm, 0xa1, icw4);
	out(vm, 0x21, 0);
	out(vm, 0xa1, 0);
}

static inline void raise_line(struct fake_vm *vm, unsigned gsi)
{
	irqchip_set_line(vm->chip, IRQCHIP_SOURCE_USER, gsi, 1);
}

static inline void lower_line(struct fake_vm *vm, unsigned gsi)
{
	irqchip_set_line(vm->chip, IRQCHIP_SOURCE_USER, gsi, 0);
}

static inline void pulse_line(struct fake_vm *vm, unsigned gsi)
{
	raise_line(vm, gsi);
	lower_line(vm, gsi);
}

static inline bool pending(struct fake_vm *vm, unsigned cpu)
{
	return lapic_interrupt_pending(vm->vcpus[cpu].lapic);
}

static inline int acknowledge(struct fake_vm *vm, unsigned cpu)
{
	return lapic_interrupt_acknowledge(vm->vcpus[cpu].lapic);
}

static inline void end_of_interrupt(struct fake_vm *vm, unsigned cpu)
{
	apic_write(vm, cpu, 0xb0, 0);
}

/* Wait for a real-time event, five seconds at most. */
static inline bool wait_pending(struct fake_vm *vm, unsigned cpu)
{
	uint64_t deadline = now_ns() + 5000000000ull;
	struct timespec pause = {0, 100000};

	while (!pending(vm, cpu) && now_ns() < deadline)
		nanosleep(&pause, NULL);
	return pending(vm, cpu);
}

static inline void sleep_ms(unsigned ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

static inline void vm_add_vcpus(struct fake_vm *vm, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		vm->vcpus[i].lapic = lapic_create(vm->chip, i, &vm->vcpus[i]);
		assert_non_null(vm->vcpus[i].lapic);
		/* Software-enable, spurious vector 0xff. */
		apic_write(vm, i, 0xf0, 0x1ff);
	}
	vm->count = count;
}

static inline void vm_setup(struct fake_vm *vm, unsigned count)
{
	memset(vm, 0, sizeof(*vm));
	vm->chip = irqchip_create(&fake_host);
	assert_non_null(vm->chip);
	assert_int_equal(irqchip_enable_full(vm->chip), 0);
	vm_add_vcpus(vm, count);
}

static inline void vm_setup_split(struct fake_vm *vm, unsigned count, unsigned routes)
{
	memset(vm, 0, sizeof(*vm));
	vm->chip = irqchip_create(&fake_host);
	assert_non_null(vm->chip);
	assert_int_equal(irqchip_enable_split(vm->chip, routes), 0);
	vm_add_vcpus(vm, count);
}

static inline void vm_teardown(struct fake_vm *vm)
{
	unsigned i;

	irqchip_stop(vm->chip);
	for (i = 0; i < vm->count; i++)
		lapic_destroy(vm->vcpus[i].lapic);
	irqchip_destroy(vm->chip);
}

#endif
