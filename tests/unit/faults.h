/* Whether an access faults, told by the signal that it raises. */
#ifndef KVIK_TESTS_UNIT_FAULTS_H
#define KVIK_TESTS_UNIT_FAULTS_H

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>

static __thread sigjmp_buf fault_return;

static inline void fault_taken(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	siglongjmp(fault_return, info->si_code);
}

/* The si_code of the SIGSEGV that `access` raises for `address`, or 0. */
static inline int fault_of(void (*access)(uint8_t *address), uint8_t *address)
{
	struct sigaction action = {.sa_sigaction = fault_taken, .sa_flags = SA_SIGINFO}, before;
	int code;

	sigaction(SIGSEGV, &action, &before);
	code = sigsetjmp(fault_return, 1);
	if (!code)
		access(address);
	sigaction(SIGSEGV, &before, NULL);
	return code;
}

static inline void fault_read(uint8_t *address)
{
	(void)*(volatile uint8_t *)address;
}

static inline void fault_write(uint8_t *address)
{
	*(volatile uint8_t *)address = 0xc3; /* RET */
}

static inline void fault_execute(uint8_t *address)
{
	((void (*)(void))(uintptr_t)address)();
}

/* Whether [start, start + size) can be read at its ends, and nothing `distance` bytes beside it. */
static inline int fault_stands_alone(uint8_t *start, size_t size, size_t distance)
{
	return !fault_of(fault_read, start) && !fault_of(fault_read, start + size - 1) &&
	       fault_of(fault_read, start - 1) && fault_of(fault_read, start - distance) &&
	       fault_of(fault_read, start + size) &&
	       fault_of(fault_read, start + size - 1 + distance);
}

#endif
