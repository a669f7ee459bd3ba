/*
 * A system call of the program, whose thread waits for the answer. One thread of ours serves it;
 * what a call's pointers name is the program's memory.
 */
#ifndef KVIK_SUPERVISE_CALL_H
#define KVIK_SUPERVISE_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct supervisor;

struct call {
	struct supervisor *supervisor;
	uint64_t id;
	pid_t thread; /* of the program */
	int number;
	uint64_t arguments[6];
	uint64_t next_instruction;
};

/* The program's memory: 0, or -EFAULT and some of it copied. */
int call_read(const struct call *call, void *to, uint64_t address, size_t size);
int call_write(const struct call *call, uint64_t address, const void *from, size_t size);
/* A string into a buffer; -ENAMETOOLONG when it has no end within `size` bytes. */
int call_read_string(const struct call *call, char *to, uint64_t address, size_t size);

/* Whether the program's thread still waits: else another may have its number. */
bool call_is_waiting(const struct call *call);

/* The answer is a result or -errno; or that the kernel shall do the call as it is. False when
 * nobody waits for it any more. Once for each call. */
bool call_answer(const struct call *call, int64_t result);
bool call_pass(const struct call *call);
/* The answer is a copy of our descriptor in the program. */
bool call_answer_descriptor(const struct call *call, int fd, bool closes_on_exec);
/* Give the program a copy of our descriptor, and its number there; the call waits on. -errno. */
int call_add_descriptor(const struct call *call, int fd);

/* Our copy of the program's descriptor (close it), or -errno. */
int call_take_descriptor(const struct call *call, int fd);

/* The process that a thread belongs to, or -ESRCH. */
pid_t process_of(pid_t thread);

#endif
