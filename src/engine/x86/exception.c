/*
 * Raising exceptions, and what becomes of one that is raised while another event is being delivered
 * (Intel SDM vol. 3 §6.15, table 6-5).
 *
 * cpu_raise* leaves the instruction for cpu->catcher; the exception is in cpu->exception, and is
 * delivered next. While it delivers, cpu->delivering is the first event's class.
 */
#include "engine/x86/exception.h"

#include "engine/x86/cpu.h"

void cpu_unwind(struct cpu *cpu, enum unwind why)
{
	if (cpu->exclusive)
		cpu_exclusive_end(cpu);
	cpu->catcher->caught(cpu->catcher, why);
}

enum event_class exception_class(uint8_t vector)
{
	switch (vector) {
	case EXCEPTION_DE:
	case EXCEPTION_TS:
	case EXCEPTION_NP:
	case EXCEPTION_SS:
	case EXCEPTION_GP:
		return EVENT_CONTRIBUTORY;
	case EXCEPTION_PF:
		return EVENT_PAGE_FAULT;
	case EXCEPTION_DF:
		return EVENT_DOUBLE_FAULT;
	default:
		return EVENT_BENIGN;
	}
}

static _Noreturn void raise_event(struct cpu *cpu, enum exception vector, bool has_error_code,
				  uint32_t error_code)
{
	enum event_class class = exception_class(vector);

	switch (cpu->delivering) {
	case EVENT_DOUBLE_FAULT:
		if (class != EVENT_BENIGN)
			cpu_unwind(cpu, UNWIND_SHUTDOWN);
		break;
	case EVENT_PAGE_FAULT:
		if (class == EVENT_PAGE_FAULT)
			class = EVENT_CONTRIBUTORY;
		/* fall through */
	case EVENT_CONTRIBUTORY:
		if (class == EVENT_CONTRIBUTORY) {
			vector = EXCEPTION_DF;
			has_error_code = true;
			error_code = 0;
		}
		break;
	}
	cpu->exception = (struct cpu_event){
		.pending = true,
		.has_error_code = has_error_code,
		.vector = vector,
		.error_code = error_code,
	};
	cpu_unwind(cpu, UNWIND_EVENT);
}

void cpu_raise(struct cpu *cpu, enum exception vector)
{
	raise_event(cpu, vector, false, 0);
}

void cpu_raise_error(struct cpu *cpu, enum exception vector, uint32_t error_code)
{
	raise_event(cpu, vector, true, error_code);
}

void cpu_raise_page_fault(struct cpu *cpu, uint64_t gva, uint32_t error_code)
{
	/* Delivery always follows, be it as a double fault, so CR2 can change here. */
	cpu->cr2 = gva;
	raise_event(cpu, EXCEPTION_PF, true, error_code);
}

void cpu_exit_to_user(struct cpu *cpu)
{
	cpu_unwind(cpu, UNWIND_EXIT);
}
