#include "monitor/look/chips.h"

#include <inttypes.h>
#include <string.h>

#include "kvm/kvm.h"

/* --- the PICs and the I/O APIC (8259A's and 82093AA's data sheets) --- */

static void print_pic(const struct look *look, unsigned chip)
{
	struct kvm_irqchip chips = {.chip_id = chip};
	const struct kvm_pic_state *pic = &chips.chip.pic;

	if (machine_read_chip(look->machine, &chips) < 0)
		return;
	hmp_print(look->text,
		  "pic%u: irr=%02x imr=%02x isr=%02x hprio=%u irq_base=%02x rr_sel=%u elcr=%02x fnm=%u\n",
		  chip == KVM_IRQCHIP_PIC_SLAVE, pic->irr, pic->imr, pic->isr, pic->priority_add, pic->irq_base,
		  pic->read_reg_select, pic->elcr, pic->special_fully_nested_mode);
}

static const char *const delivery_names[] = {"fixed", "lowest", "SMI", "...", "NMI", "INIT", "...", "ExtINT"};

static void print_ioapic_pin(const struct look *look, const struct kvm_ioapic_state *ioapic, unsigned pin)
{
	uint64_t bits = ioapic->redirtbl[pin].bits;

	hmp_print(look->text, "  pin %-2u 0x%016" PRIx64 " dest=%-3u vec=%-3u %s %-5s %-6s %-6s %s\n", pin, bits,
		  (unsigned)(bits >> 56), (unsigned)(bits & 0xff), bits >> 13 & 1 ? "active-lo" : "active-hi",
		  bits >> 15 & 1 ? "level" : "edge", bits >> 16 & 1 ? "masked" : "",
		  delivery_names[bits >> 8 & 7], bits >> 11 & 1 ? "logical" : "physical");
}

static void print_pins(const struct look *look, const char *name, uint32_t pins)
{
	unsigned pin;

	hmp_print(look->text, "  %-11s", name);
	for (pin = 0; pin < 32; pin++)
		if (pins >> pin & 1)
			hmp_print(look->text, " %u", pin);
	hmp_print(look->text, "%s\n", pins ? "" : " (none)");
}

void look_pic(const struct look *look)
{
	struct kvm_irqchip chips = {.chip_id = KVM_IRQCHIP_IOAPIC};
	const struct kvm_ioapic_state *ioapic = &chips.chip.ioapic;
	uint32_t remote = 0;
	unsigned pin;

	if (machine_read_chip(look->machine, &chips) < 0) {
		hmp_print(look->text, "the interrupt controllers are split: their state is not shown\n");
		return;
	}
	hmp_print(look->text, "ioapic0: ver=0x11 id=0x%02x sel=0x%02x", ioapic->id, ioapic->ioregsel);
	if (ioapic->ioregsel >= 0x10)
		hmp_print(look->text, " (redir[%u])", (ioapic->ioregsel - 0x10) / 2);
	hmp_print(look->text, "\n");
	for (pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++) {
		print_ioapic_pin(look, ioapic, pin);
		remote |= (ioapic->redirtbl[pin].bits >> 14 & 1u) << pin;
	}
	print_pins(look, "IRR", ioapic->irr);
	print_pins(look, "Remote IRR", remote);
	print_pic(look, KVM_IRQCHIP_PIC_SLAVE);
	print_pic(look, KVM_IRQCHIP_PIC_MASTER);
}

/* --- the local APIC (SDM vol. 3 §10.4) --- */

enum {
	TPR = 0x80, APR = 0x90, PPR = 0xa0, LDR = 0xd0, DFR = 0xe0, SPIV = 0xf0, ISR = 0x100, TMR = 0x180,
	IRR = 0x200, ESR = 0x280, ICR = 0x300, ICR2 = 0x310, TIMER = 0x320, THERMAL = 0x330,
	PERFORMANCE = 0x340, LINT0 = 0x350, LINT1 = 0x360, LVT_ERROR = 0x370, INITIAL_COUNT = 0x380,
	CURRENT_COUNT = 0x390, DIVIDE = 0x3e0,
};
#define APIC_BASE_X2APIC (1u << 10)

static uint32_t apic_register(const struct kvm_lapic_state *apic, unsigned offset)
{
	uint32_t value;

	memcpy(&value, apic->regs + offset, sizeof(value));
	return value;
}

static void print_vector_entry(const struct look *look, const char *name, uint32_t value, bool is_timer)
{
	static const char *const modes[] = {"one-shot", "periodic", "tsc-deadline", "..."};

	hmp_print(look->text, "%-9s0x%08x %s %-5s %-6s %-6s %-12s (vec %u)\n", name, value,
		  value >> 13 & 1 ? "active-lo" : "active-hi", value >> 15 & 1 ? "level" : "edge",
		  value >> 16 & 1 ? "masked" : "", value >> 12 & 1 ? "pending" : "",
		  is_timer ? modes[value >> 17 & 3] : delivery_names[value >> 8 & 7], value & 0xff);
}

static void print_vectors(const struct look *look, const struct kvm_lapic_state *apic, const char *name,
			  unsigned offset)
{
	unsigned vector;
	bool is_any = false;

	hmp_print(look->text, "%-9s", name);
	for (vector = 0; vector < 256; vector++) {
		if (!(apic_register(apic, offset + vector / 32 * 16) >> vector % 32 & 1))
			continue;
		hmp_print(look->text, "%u%s ", vector,
			  apic_register(apic, TMR + vector / 32 * 16) >> vector % 32 & 1 ? "(level)" : "");
		is_any = true;
	}
	hmp_print(look->text, "%s\n", is_any ? "" : "(none)");
}

static void print_command(const struct look *look, const struct kvm_lapic_state *apic)
{
	static const char *const shorthands[] = {"no-shorthand", "self", "all-including-self", "all-excluding-self"};
	uint32_t low = apic_register(apic, ICR), high = apic_register(apic, ICR2);

	hmp_print(look->text, "%-9s0x%08x %s %s %s %s %s\n", "ICR", low, delivery_names[low >> 8 & 7],
		  low >> 11 & 1 ? "logical" : "physical", low >> 15 & 1 ? "level" : "edge",
		  low >> 14 & 1 ? "assert" : "de-assert", shorthands[low >> 18 & 3]);
	hmp_print(look->text, "%-9s0x%08x\n", "ICR2", high);
}

void look_lapic(const struct look *look)
{
	static const struct {
		const char *name;
		unsigned offset;
	} entries[] = {{"LVT0", LINT0}, {"LVT1", LINT1}, {"LVTPC", PERFORMANCE}, {"LVTERR", LVT_ERROR},
		       {"LVTTHMR", THERMAL}, {"LVTT", TIMER}};
	const struct kvm_vcpu *vcpu = machine_cpu(look->machine, look->cpu);
	struct kvm_lapic_state apic;
	struct kvm_sregs sregs = {0};
	uint32_t divide, spurious;
	unsigned i;

	if (kvm_vcpu_ioctl(vcpu, KVM_GET_LAPIC, &apic) < 0) {
		hmp_print(look->text, "CPU %u has no local APIC\n", look->cpu);
		return;
	}
	kvm_vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	hmp_print(look->text, "dumping local APIC state for CPU %u\n\n", look->cpu);
	for (i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		print_vector_entry(look, entries[i].name, apic_register(&apic, entries[i].offset),
				   entries[i].offset == TIMER);
	divide = apic_register(&apic, DIVIDE);
	/* Bits 0, 1 and 3: 2 to 128, and 1 (SDM vol. 3 figure 10-10). */
	hmp_print(look->text, "%-9sDCR=0x%x (divide by %u) initial_count = %u current_count = %u\n", "Timer", divide,
		  1u << (((divide & 3) | (divide >> 1 & 4)) + 1) % 8, apic_register(&apic, INITIAL_COUNT),
		  apic_register(&apic, CURRENT_COUNT));
	spurious = apic_register(&apic, SPIV);
	hmp_print(look->text, "%-9s0x%08x APIC %s, focus=%s, spurious vec %u\n", "SPIV", spurious,
		  spurious >> 8 & 1 ? "enabled" : "disabled", spurious >> 9 & 1 ? "on" : "off", spurious & 0xff);
	print_command(look, &apic);
	hmp_print(look->text, "%-9s0x%08x\n", "ESR", apic_register(&apic, ESR));
	print_vectors(look, &apic, "ISR", ISR);
	print_vectors(look, &apic, "IRR", IRR);
	hmp_print(look->text, "\nAPR 0x%02x TPR 0x%02x DFR 0x%02x LDR 0x%02x PPR 0x%02x%s\n",
		  apic_register(&apic, APR), apic_register(&apic, TPR), apic_register(&apic, DFR) >> 28,
		  sregs.apic_base & APIC_BASE_X2APIC ? apic_register(&apic, LDR) : apic_register(&apic, LDR) >> 24,
		  apic_register(&apic, PPR), sregs.apic_base & APIC_BASE_X2APIC ? " x2APIC" : "");
}
