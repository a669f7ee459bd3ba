/*
 * The interrupt controllers of a VM as one: creation in KVM's steps, dispatch of port and memory
 * accesses, KVM_GET_IRQCHIP and KVM_SET_IRQCHIP (KVM api.rst 4.24-4.27).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/irqchip/x86/internal.h"

struct irqchip *irqchip_create(const struct irqchip_host *host)
{
	struct irqchip *chip = calloc(1, sizeof(*chip));
	pthread_mutexattr_t attributes;

	if (!chip)
		return NULL;
	/* Held for fractions of a microsecond: spinning first beats sleeping. */
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&chip->lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
	chip->host = host;
	chip->ids_are_initial = true;
	timer_queue_init(&chip->timers);
	irqfd_init(&chip->irqfds, &lines_irqfd_host, chip, &chip->lock);
	return chip;
}

void irqchip_stop(struct irqchip *chip)
{
	irqfd_stop(&chip->irqfds);
	timer_queue_stop(&chip->timers);
}

void irqchip_destroy(struct irqchip *chip)
{
	irqchip_stop(chip);
	irqfd_exit(&chip->irqfds);
	if (chip->pit)
		pit_destroy(chip->pit);
	timer_queue_exit(&chip->timers);
	pthread_mutex_destroy(&chip->lock);
	free(chip);
}

int irqchip_enable_full(struct irqchip *chip)
{
	int result = -EEXIST;

	irqchip_lock(chip);
	if (chip->kind != IRQCHIP_NONE)
		goto out_unlock;
	result = timer_queue_start(&chip->timers);
	if (result)
		goto out_unlock;
	lines_set_default(chip);
	pic_create(chip);
	ioapic_create(chip);
	chip->kind = IRQCHIP_FULL;
out_unlock:
	irqchip_unlock(chip);
	return result;
}

int irqchip_enable_split(struct irqchip *chip, unsigned routes)
{
	int result = -EEXIST;

	if (routes > VM_GSI_MAX)
		return -EINVAL;
	irqchip_lock(chip);
	if (chip->kind != IRQCHIP_NONE)
		goto out_unlock;
	result = timer_queue_start(&chip->timers);
	if (result)
		goto out_unlock;
	chip->reserved_routes = routes;
	chip->kind = IRQCHIP_SPLIT;
out_unlock:
	irqchip_unlock(chip);
	return result;
}

bool irqchip_is_full(struct irqchip *chip)
{
	return chip->kind == IRQCHIP_FULL;
}

const _Atomic uint32_t *irqchip_outside_interrupts(struct irqchip *chip)
{
	return &chip->outside_interrupts;
}

bool irqchip_has_lapics(struct irqchip *chip)
{
	return chip_has_lapics(chip);
}

int irqchip_create_pit(struct irqchip *chip, const struct kvm_pit_config *config)
{
	int result;

	irqchip_lock(chip);
	if (chip->pit)
		result = -EEXIST;
	else if (chip->kind != IRQCHIP_FULL)
		result = -ENOENT;
	else
		result = pit_create(chip, config);
	irqchip_unlock(chip);
	return result;
}

void irqchip_set_boot_cpu(struct irqchip *chip, unsigned id)
{
	chip->boot_cpu_id = id;
}

int irqchip_set_x2apic_flags(struct irqchip *chip, uint64_t flags)
{
	if (flags & ~(uint64_t)(KVM_X2APIC_API_USE_32BIT_IDS |
				KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK))
		return -EINVAL;
	atomic_fetch_or(&chip->x2apic_flags, flags);
	return 0;
}

int irqchip_get(struct irqchip *chip, struct kvm_irqchip *state)
{
	int result = 0;

	if (!irqchip_is_full(chip))
		return -ENXIO;
	irqchip_lock(chip);
	switch (state->chip_id) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		memset(&state->chip, 0, sizeof(state->chip));
		state->chip.pic = chip->pic.chip[state->chip_id];
		break;
	case KVM_IRQCHIP_IOAPIC:
		memset(&state->chip, 0, sizeof(state->chip));
		i82093_get_state(&chip->ioapic, &state->chip.ioapic);
		break;
	default:
		result = -EINVAL;
		break;
	}
	irqchip_unlock(chip);
	return result;
}

int irqchip_set(struct irqchip *chip, const struct kvm_irqchip *state)
{
	int result = 0;

	if (!irqchip_is_full(chip))
		return -ENXIO;
	irqchip_lock(chip);
	switch (state->chip_id) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		i8259_set_state(&chip->pic, state->chip_id, &state->chip.pic);
		break;
	case KVM_IRQCHIP_IOAPIC:
		i82093_set_state(&chip->ioapic, &state->chip.ioapic);
		ioapic_note_vectors(chip);
		break;
	default:
		result = -EINVAL;
		break;
	}
	irqchip_unlock(chip);
	return result;
}

/* All of these ports are a byte wide: of a wider access the low byte counts. */
bool irqchip_pio(struct irqchip *chip, uint16_t port, void *data, unsigned size, bool is_write)
{
	struct pit *pit = chip->pit;
	uint8_t *byte = data;
	bool is_pit = pit && pit_has_port(pit, port);

	if (!is_pit && !(i8259_has_port(port) && irqchip_is_full(chip)))
		return false;
	irqchip_lock(chip);
	if (is_write) {
		if (is_pit)
			pit_write(pit, port, *byte);
		else if (size == 1)
			i8259_write(&chip->pic, port, *byte);
	} else {
		memset(data, 0, size);
		if (is_pit)
			*byte = pit_read(pit, port);
		else if (size == 1)
			*byte = i8259_read(&chip->pic, port);
	}
	irqchip_unlock(chip);
	return true;
}

bool irqchip_mmio(struct irqchip *chip, uint64_t gpa, void *data, unsigned size, bool is_write)
{
	uint64_t offset = gpa - I82093_DEFAULT_BASE;

	if (offset >= I82093_MMIO_SIZE || !irqchip_is_full(chip))
		return false;
	irqchip_lock(chip);
	i82093_mmio(&chip->ioapic, offset, data, size, is_write);
	irqchip_unlock(chip);
	return true;
}
