/*
 * Events that a CPU takes between instructions. All on its own thread, inside cpu_run.
 */
#ifndef KVIK_ENGINE_RUN_EVENTS_H
#define KVIK_ENGINE_RUN_EVENTS_H

#include "engine/x86/cpu.h"

/* Whether STI or MOV SS holds interrupts off at the present instruction. */
bool event_shadow_is_active(const struct cpu *cpu);
/* Whether a maskable interrupt would be taken. */
bool event_interrupts_open(const struct cpu *cpu);

/* Deliver the highest of the events that wait; true when there was one. May unwind. */
bool event_deliver(struct cpu *cpu);
/* An exception ended the delivery that was under way, if one was. */
void event_abandon(struct cpu *cpu);

/* Nothing is open any more of the last instruction's, or delivery's, accesses to devices. */
void event_io_forget(struct cpu *cpu);

/* What a device or user space stored before the interrupt, or before KVM_RUN was called, may be code: tier/code_index.h. */
void event_see_outside_writes(struct cpu *cpu);

#endif
