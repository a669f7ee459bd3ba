/*
 * What the contract tests share: a backend chosen on the command line, a small machine with one
 * vCPU, and checks that count.
 *
 * Each test is a program that takes a backend's name ("kvm", "engine", "interp", "jit") and must
 * behave the same on all: what it expects is what Linux's KVM does. Exit status 77 means that the
 * backend is not usable on this host, with the reason on standard output.
 */
#ifndef KVIK_TESTS_CONTRACT_CONTRACT_H
#define KVIK_TESTS_CONTRACT_CONTRACT_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvm/kvm.h"

#define EXIT_SKIPPED 77

/* Guest RAM from gpa 0; code at CODE_GPA in real mode, CS base 0. */
#define RAM_SIZE 0x40000u
#define CODE_GPA 0x1000u

struct machine {
	struct kvm_vm vm;
	struct kvm_vcpu vcpu; /* id 0 */
	uint8_t *ram;         /* RAM_SIZE bytes, slot 0 */
};

enum machine_irqchip { IRQCHIP_NONE, IRQCHIP_FULL };

/* Open the backend that argv names. Exits with a message when it cannot be used. */
void contract_open(int argc, char **argv, struct kvm_system *system);
/* The same with options for the engine. */
void contract_open_with(int argc, char **argv, const struct kvm_options *options,
			struct kvm_system *system);
/* Print the count of checks and failures: the test's exit status. */
int contract_close(struct kvm_system *system);
int contract_finish(void); /* of several systems, or none */
bool contract_is_engine(const struct kvm_system *system);

void check_result(bool is_right, const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
#define check(condition) check_result(condition, __FILE__, __LINE__, "%s", #condition)
#define check_equal(actual, expected)                                                              \
	do {                                                                                       \
		long long actual_ = (long long)(actual), expected_ = (long long)(expected);        \
		check_result(actual_ == expected_, __FILE__, __LINE__,                             \
			     "%s is %lld (%#llx), not %lld (%#llx)", #actual, actual_,             \
			     (unsigned long long)actual_, expected_,                               \
			     (unsigned long long)expected_);                                       \
	} while (0)

/* A machine in real mode whose vCPU is about to execute `code`. Exits on failure. */
void machine_create(struct machine *machine, const struct kvm_system *system,
		    enum machine_irqchip irqchip, const void *code, size_t size);
/* The same, of whose memory others than vCPUs tell what they write: kvm_vm_tell_writes. */
void machine_create_telling(struct machine *machine, const struct kvm_system *system, enum machine_irqchip irqchip,
			    const void *code, size_t size);
void machine_destroy(struct machine *machine);
/* Load code and start it again: registers 0, RIP = CODE_GPA, RSP = 0x8000. */
void machine_load(struct machine *machine, const void *code, size_t size);

/* The same in 32-bit protected mode, flat, CPL 0, without paging. */
void machine_load_flat(struct machine *machine, const void *code, size_t size);

#define LONG_TABLES 0x10000
/* Have the vCPU start at `rip` in 64-bit mode, CPL 0, with the first 2 MiB mapped one to one by
 * three tables from LONG_TABLES on; the stack is 2 KiB behind `rip`. */
void machine_enter_long(struct machine *machine, struct kvm_vcpu *vcpu, uint64_t rip);

int machine_run(struct machine *machine);
/* Run and check that the exit has this reason. */
void machine_expect_at(struct machine *machine, uint32_t reason, const char *file, int line);
#define machine_expect(machine, reason) machine_expect_at(machine, reason, __FILE__, __LINE__)

struct kvm_regs machine_regs(struct machine *machine);

/* A thread that is in KVM_RUN. */
struct vcpu_thread {
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	int result;
	_Atomic bool is_done;
};
#define VCPU_DEADLINE_MS 30000 /* hosts are busy */

/* How many times slower than a real one this host may be (KVIK_TEST_PATIENCE, 1). */
unsigned contract_patience(void);

void vcpu_thread_start(struct vcpu_thread *runner, struct kvm_vcpu *vcpu);
/* Wait until KVM_RUN is back and check why; one that hangs is kicked out. */
void vcpu_thread_finish(struct vcpu_thread *runner, uint32_t reason);

/* Where the bytes of a port exit are. */
static inline void *run_io_data(struct kvm_run *run)
{
	return (uint8_t *)run + run->io.data_offset;
}

uint64_t now_ns(void);
void sleep_ms(unsigned ms);

#endif
