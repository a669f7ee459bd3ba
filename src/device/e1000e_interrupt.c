/*
 * An 82574L's interrupts (82574 datasheet §7.4 and §10.2.4): causes in ICR, of which IMS lets some through, by INTx, by
 * MSI or by MSI-X. With MSI-X the queues have causes of their own and all that isn't a queue's is one more; IVAR gives
 * each of these a vector. A message goes when a cause comes that none has gone for. Intervals (ITR, EITR) are not kept.
 */
#include "device/e1000e_parts.h"

/* What the cause `other` stands for. */
#define OTHER_CAUSES (ICR_LSC | ICR_RXO | ICR_MDAC | ICR_SRPD | ICR_ACK | ICR_MNG)
#define VECTOR_CAUSES 0x1f00000u /* the queues' and `other`, from this bit on: */
#define VECTOR_CAUSES_AT 20
#define ALL_CAUSES                                                                                                      \
	(VECTOR_CAUSES | OTHER_CAUSES | ICR_TXDW | ICR_TXQE | ICR_RXSEQ | ICR_RXDMT0 | ICR_RXT0 | ICR_TXD_LOW)

/* IVAR has four bits for each of these causes. */
#define IVAR_BITS   4
#define IVAR_VALID  0x8
#define IVAR_VECTOR 0x7

static bool has_msix(struct e1000 *e1000)
{
	struct pci_function *function = &e1000->function;

	return pci_config_get(function, function->msix + PCI_MSIX_CONTROL, 2) & PCI_MSIX_ENABLE;
}

static uint32_t pending(struct e1000 *e1000)
{
	return *e1000_at(e1000, ICR) & *e1000_at(e1000, IMS) & ~ICR_ASSERTED;
}

/* Send the vector of one cause, and clear and mask what is to be cleared and masked then (EIAC, CTRL_EXT.EIAME). */
static void notify(struct e1000 *e1000, unsigned number)
{
	uint32_t way = *e1000_at(e1000, IVAR) >> number * IVAR_BITS, cause = 1u << (VECTOR_CAUSES_AT + number);

	if ((way & IVAR_VALID) && (way & IVAR_VECTOR) < E1000E_VECTORS)
		pci_notify(&e1000->function, way & IVAR_VECTOR);
	if (*e1000_at(e1000, CTRL_EXT) & CTRL_EXT_EIAME)
		*e1000_at(e1000, IMS) &= ~cause;
	*e1000_at(e1000, ICR) &= ~(cause & *e1000_at(e1000, EIAC));
}

void e1000e_update_interrupt(struct e1000 *e1000)
{
	bool is_msix = has_msix(e1000);
	uint32_t fresh;
	unsigned i;

	if (is_msix && (*e1000_at(e1000, ICR) & OTHER_CAUSES))
		*e1000_at(e1000, ICR) |= ICR_OTHER;
	fresh = pending(e1000) & ~e1000->told;
	for (i = 0; is_msix && i < E1000E_VECTORS; i++)
		if (fresh >> (VECTOR_CAUSES_AT + i) & 1)
			notify(e1000, i);
	if (!is_msix && fresh)
		pci_notify(&e1000->function, 0);
	e1000->told = pending(e1000);
	*e1000_at(e1000, ICR) &= ~ICR_ASSERTED;
	if (e1000->told)
		*e1000_at(e1000, ICR) |= ICR_ASSERTED;
	pci_set_intx(&e1000->function, e1000->told);
}

/* With MSI-X a queue's causes are one. */
void e1000e_raise(struct e1000 *e1000, uint32_t causes, unsigned queue)
{
	if (has_msix(e1000)) {
		if (causes & ICR_TXDW)
			causes |= ICR_TXQ0 << queue;
		if (causes & (ICR_RXT0 | ICR_RXDMT0))
			causes |= ICR_RXQ0 << queue;
		causes &= ~(ICR_TXDW | ICR_RXT0 | ICR_RXDMT0);
	}
	e1000e_set_causes(e1000, causes);
}

/* Reading clears when nothing is let through or an interrupt is there, which is then masked as IAM says, if it is to be. With
 * MSI-X causes may stay. */
uint32_t e1000e_read_icr(struct e1000 *e1000)
{
	uint32_t value = *e1000_at(e1000, ICR);

	if ((value & ICR_ASSERTED) || !*e1000_at(e1000, IMS) || !has_msix(e1000))
		*e1000_at(e1000, ICR) = 0;
	if ((value & ICR_ASSERTED) && (*e1000_at(e1000, CTRL_EXT) & CTRL_EXT_IAME))
		*e1000_at(e1000, IMS) &= ~*e1000_at(e1000, IAM);
	e1000e_update_interrupt(e1000);
	return value;
}

void e1000e_write_icr(struct e1000 *e1000, uint32_t value)
{
	if ((*e1000_at(e1000, ICR) & ICR_ASSERTED) && (*e1000_at(e1000, CTRL_EXT) & CTRL_EXT_IAME))
		*e1000_at(e1000, IMS) &= ~*e1000_at(e1000, IAM);
	/* Else it would be there again at once. */
	if (value & ICR_OTHER)
		value |= OTHER_CAUSES;
	*e1000_at(e1000, ICR) &= ~value;
	e1000e_update_interrupt(e1000);
}

void e1000e_set_causes(struct e1000 *e1000, uint32_t value)
{
	*e1000_at(e1000, ICR) |= value & ALL_CAUSES;
	e1000e_update_interrupt(e1000);
}

void e1000e_set_mask(struct e1000 *e1000, uint32_t value)
{
	*e1000_at(e1000, IMS) |= value & ALL_CAUSES;
	e1000e_update_interrupt(e1000);
}

void e1000e_clear_mask(struct e1000 *e1000, uint32_t value)
{
	*e1000_at(e1000, IMS) &= ~value;
	e1000e_update_interrupt(e1000);
}
