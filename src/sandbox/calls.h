/*
 * The system calls that a locked monitor may make: one table, from which the filter is built and
 * against which docs/security.md is checked. Helpers have tables of their own beside their code.
 */
#ifndef KVIK_SANDBOX_CALLS_H
#define KVIK_SANDBOX_CALLS_H

#include <stdint.h>
#include <sys/syscall.h>

#define CALL_CONDITIONS 2

enum call_group {
	CALLS_ALWAYS,
	CALLS_KVM,     /* with the backend kvm */
	CALLS_HELPERS, /* with helpers */
	CALLS_LISTENING, /* with sockets that listen for peers */
};

/*
 * An argument must be `value` where `mask` has bits; no mask ends the list. Masks are of 32 bits
 * where the kernel looks at no more.
 */
struct call_condition {
	uint8_t argument;
	uint8_t is_own_pid; /* the value is this process's id instead */
	uint64_t mask, value;
};

/* A call that is allowed when all conditions hold. Several rows for one call: any of them. */
struct allowed_call {
	int number;
	enum call_group group;
	const char *name;
	const char *when; /* the conditions in words; empty: always */
	struct call_condition conditions[CALL_CONDITIONS];
};

#define THIRTY_TWO_BITS 0xffffffffu

#define CALL(call) {.number = SYS_##call, .name = #call, .when = ""}
#define CALL_IF(call, words, ...)                                                                  \
	{.number = SYS_##call, .name = #call, .when = words, .conditions = {__VA_ARGS__}}
/* Memory, none of it for code. */
#define CALLS_FOR_MEMORY                                                                           \
	CALL(brk), CALL_IF(mmap, "without PROT_EXEC", LACKS(2, PROT_EXEC)),                        \
		CALL_IF(mprotect, "without PROT_EXEC", LACKS(2, PROT_EXEC)), CALL(munmap),         \
		CALL(mremap), CALL(madvise)
#define IS(position, number) {.argument = position, .mask = THIRTY_TWO_BITS, .value = number}
#define LACKS(position, bits) {.argument = position, .mask = bits, .value = 0}
#define IS_SELF(position) {.argument = position, .is_own_pid = 1, .mask = THIRTY_TWO_BITS}

/* The most frequent first, where the filter does not begin with what needs no look at arguments. */
extern const struct allowed_call sandbox_calls[];
extern const unsigned sandbox_call_count;

#endif
