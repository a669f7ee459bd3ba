/*
 * Events between instructions: which comes first, and its delivery (Intel SDM vol. 3 §6.9, table 6-2).
 */
#include "engine/run/events.h"

#include "engine/run/tier/code_outside.h"
#include "engine/x86/exception.h"
#include "engine/x86/platform.h"
#include "engine/x86/mmu/mmio.h"
#include "engine/x86/system.h"
#include "engine/x86/system/transfer.h"

bool event_shadow_is_active(const struct cpu *cpu)
{
	return cpu->interrupt_shadow && cpu->shadow_rip == cpu->rip;
}

bool event_interrupts_open(const struct cpu *cpu)
{
	return (cpu->rflags & RFLAGS_IF) && !event_shadow_is_active(cpu) &&
	       !(cpu->guest_debug & KVM_GUESTDBG_BLOCKIRQ);
}

void event_io_forget(struct cpu *cpu)
{
	io_reset(cpu);
	cpu->io.string_count = 0;
	cpu->io.is_delivery = false;
	cpu->io.is_plain_port = false;
}

static void event_unblock(struct cpu *cpu)
{
	cpu->halted = false;
	cpu->delivering = EVENT_NONE;
	event_io_forget(cpu);
}

static void deliver_exception(struct cpu *cpu)
{
	struct cpu_event event = cpu->exception;
	bool is_soft = event.vector == EXCEPTION_BP || event.vector == EXCEPTION_OF;
	uint64_t return_rip = cpu->rip + (is_soft ? event.instruction_length : 0);

	cpu->delivering = exception_class(event.vector);
	interrupt_deliver(cpu, event.vector, INTERRUPT_EXCEPTION, event.has_error_code,
			  event.error_code, return_rip);
	cpu->exception.pending = false;
	cpu->rip = cpu->next_rip;
	cpu->exceptions_delivered++;
	event_unblock(cpu);
}

void event_see_outside_writes(struct cpu *cpu)
{
	uint32_t count;

	if (cpu->tells_outside_writes) {
		code_see_outside(cpu);
		return;
	}
	if (cpu->outside_interrupts) {
		count = atomic_load(cpu->outside_interrupts);
		if (count == cpu->outside_seen)
			return;
		cpu->outside_seen = count;
	}
	cpu->code_epoch++;
}

static void deliver_interrupt(struct cpu *cpu)
{
	struct cpu_event *event = &cpu->interrupt;
	enum interrupt_source source = event->is_software ? INTERRUPT_SOFTWARE : INTERRUPT_EXTERNAL;
	uint64_t return_rip = cpu->rip + (event->is_software ? event->instruction_length : 0);

	cpu->delivering = EVENT_BENIGN;
	event_see_outside_writes(cpu);
	interrupt_deliver(cpu, event->vector, source, false, 0, return_rip);
	event->pending = false;
	cpu->rip = cpu->next_rip;
	cpu->interrupts_delivered++;
	event_unblock(cpu);
}

static void deliver_nmi(struct cpu *cpu)
{
	cpu->delivering = EVENT_BENIGN;
	event_see_outside_writes(cpu);
	interrupt_deliver(cpu, EXCEPTION_NMI, INTERRUPT_EXTERNAL, false, 0, cpu->rip);
	cpu->nmis_pending--;
	cpu->nmi_blocked = true;
	cpu->rip = cpu->next_rip;
	cpu->interrupts_delivered++;
	event_unblock(cpu);
}

/* An exception ended the delivery of an interrupt or NMI: it is gone (its EXT bit tells). */
void event_abandon(struct cpu *cpu)
{
	if (cpu->delivering == EVENT_BENIGN) {
		if (cpu->interrupt.pending) {
			cpu->interrupt.pending = false;
		} else if (cpu->nmis_pending && !cpu->nmi_blocked) {
			cpu->nmis_pending--;
			cpu->nmi_blocked = true;
		}
	}
	cpu->delivering = EVENT_NONE;
}

/* Events that wait, highest first. True when one was delivered. */
bool event_deliver(struct cpu *cpu)
{
	if (cpu->exception.pending) {
		deliver_exception(cpu);
		return true;
	}
	if (cpu->interrupt.pending) {
		deliver_interrupt(cpu);
		return true;
	}
	if (cpu->nmis_pending && !cpu->nmi_blocked && !event_shadow_is_active(cpu) &&
	    !(cpu->guest_debug & KVM_GUESTDBG_BLOCKIRQ)) {
		deliver_nmi(cpu);
		return true;
	}
	if (cpu->interrupt_waiting && event_interrupts_open(cpu)) {
		int vector;

		if (!platform_interrupt_pending(cpu)) {
			cpu->interrupt_waiting = false;
			return false;
		}
		vector = platform_interrupt_acknowledge(cpu);
		if (vector < 0)
			return false;
		cpu->interrupt = (struct cpu_event){.pending = true, .vector = vector};
		deliver_interrupt(cpu);
		return true;
	}
	return false;
}
