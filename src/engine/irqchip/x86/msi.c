/*
 * Message-signalled interrupts: from a PCI function's address and data (SDM vol. 3 §11.11) to a
 * message for the local APICs (KVM_SIGNAL_MSI, and GSI routes of type MSI).
 */
#include <errno.h>

#include "engine/irqchip/x86/internal.h"

/* Address (§11.11.1). With KVM_X2APIC_API_USE_32BIT_IDS the upper half carries id bits 31:8. */
#define ADDRESS_DESTINATION(low)  (((low) >> 12) & 0xff)
#define ADDRESS_REDIRECTION_HINT  (1u << 3)
#define ADDRESS_LOGICAL           (1u << 2)
#define ADDRESS_HIGH_RESERVED     0xffu
/* Data (§11.11.2). */
#define DATA_VECTOR(data) ((data) & 0xff)
#define DATA_MODE(data)   (((data) >> 8) & 7)
#define DATA_LEVEL        (1u << 15)

bool msi_is_valid(const struct irqchip *chip, uint32_t address_high)
{
	return !(chip->x2apic_flags & KVM_X2APIC_API_USE_32BIT_IDS) ||
	       !(address_high & ADDRESS_HIGH_RESERVED);
}

int msi_deliver(struct irqchip *chip, const struct kvm_irq_routing_msi *msi)
{
	struct irq_message message = {
		.destination = ADDRESS_DESTINATION(msi->address_lo),
		.vector = DATA_VECTOR(msi->data),
		.mode = DATA_MODE(msi->data),
		.is_logical = msi->address_lo & ADDRESS_LOGICAL,
		.is_level = msi->data & DATA_LEVEL,
		.is_assert = true,
		.to_lowest = msi->address_lo & ADDRESS_REDIRECTION_HINT,
	};

	if (chip->x2apic_flags & KVM_X2APIC_API_USE_32BIT_IDS)
		message.destination |= msi->address_hi & ~ADDRESS_HIGH_RESERVED;
	return irq_deliver(chip, NULL, &message);
}

int irqchip_send_msi(struct irqchip *chip, const struct kvm_msi *msi)
{
	struct kvm_irq_routing_msi route = {
		.address_lo = msi->address_lo,
		.address_hi = msi->address_hi,
		.data = msi->data,
	};

	if (!chip_has_lapics(chip) || msi->flags || !msi_is_valid(chip, msi->address_hi))
		return -EINVAL;
	atomic_fetch_add(&chip->outside_interrupts, 1);
	return msi_deliver(chip, &route);
}
