/*
 * How KVM_RUN is interrupted: immediate_exit, kicks, signals to the thread, the signal mask; both
 * while the guest executes and while it halts.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "contract.h"

/* Far above what it takes, far below what a hang takes: hosts are busy. */
#define SOON_MS 5000

static const char spin[] = "\xeb\xfe";     /* 1: jmp 1b */
static const char halt[] = "\xf4\xeb\xfd"; /* 1: hlt; jmp 1b */

static _Atomic int handled;

static void count_signal(int number_)
{
	(void)number_;
	atomic_fetch_add(&handled, 1);
}

struct actor {
	struct machine *machine;
	pthread_t target;
	void (*act)(struct actor *actor);
	pthread_t thread;
};

static void *actor_main(void *argument)
{
	struct actor *actor = argument;

	sleep_ms(30);
	actor->act(actor);
	return NULL;
}

static void start_actor(struct actor *actor, struct machine *machine,
			 void (*act)(struct actor *actor))
{
	actor->machine = machine;
	actor->target = pthread_self();
	actor->act = act;
	pthread_create(&actor->thread, NULL, actor_main, actor);
}

static void send_signal(struct actor *actor)
{
	pthread_kill(actor->target, SIGUSR1);
}

static void send_ignored_then_kick(struct actor *actor)
{
	pthread_kill(actor->target, SIGWINCH);
	sleep_ms(30);
	kvm_vcpu_kick(&actor->machine->vcpu, actor->target);
}

static void send_signal_then_kick(struct actor *actor)
{
	send_signal(actor);
	sleep_ms(30);
	kvm_vcpu_kick(&actor->machine->vcpu, actor->target);
}

static void kick(struct actor *actor)
{
	kvm_vcpu_kick(&actor->machine->vcpu, actor->target);
}

/* KVM_RUN until `act`, some 30 ms after; how long it took, in ms. */
static unsigned run_with(struct machine *machine, void (*act)(struct actor *actor))
{
	struct actor actor;
	uint64_t start = now_ns();

	start_actor(&actor, machine, act);
	check_equal(machine_run(machine), -EINTR);
	check_equal(machine->vcpu.run->exit_reason, KVM_EXIT_INTR);
	pthread_join(actor.thread, NULL);
	return (now_ns() - start) / 1000000;
}

static void test_immediate_exit(struct machine *machine)
{
	struct kvm_run *run = machine->vcpu.run;

	machine_load(machine, "\xe4\x10\xe6\x11\xf4", 5); /* in $0x10,%al; out %al,$0x11; hlt */
	run->immediate_exit = 1;
	check_equal(machine_run(machine), -EINTR);
	check_equal(machine_regs(machine).rip, CODE_GPA);
	run->immediate_exit = 0;
	machine_expect(machine, KVM_EXIT_IO);
	*(uint8_t *)run_io_data(run) = 0x77;
	/* The answer is taken over, and nothing else happens. */
	run->immediate_exit = 1;
	check_equal(machine_run(machine), -EINTR);
	check_equal(machine_regs(machine).rip, CODE_GPA + 2);
	check_equal(machine_regs(machine).rax, 0x77);
	run->immediate_exit = 0;
	machine_expect(machine, KVM_EXIT_IO);
	check_equal(run->io.port, 0x11);
	check_equal(*(uint8_t *)run_io_data(run), 0x77);
	machine_expect(machine, KVM_EXIT_HLT);
}

static void test_kick(struct machine *machine)
{
	machine_load(machine, spin, 2);
	check(run_with(machine, kick) < SOON_MS);
	/* A kick before KVM_RUN counts for it, once. */
	kvm_vcpu_kick(&machine->vcpu, pthread_self());
	check_equal(machine_run(machine), -EINTR);
	check(run_with(machine, kick) >= 25);
}

static void test_signals(struct machine *machine)
{
	machine_load(machine, spin, 2);
	atomic_store(&handled, 0);
	check(run_with(machine, send_signal) < SOON_MS);
	/* The handler has run by the time KVM_RUN is back. */
	check_equal(atomic_load(&handled), 1);
	/* A signal that is ignored does not interrupt. */
	check(run_with(machine, send_ignored_then_kick) >= 55);
}

static void set_mask(struct machine *machine, const sigset_t *set)
{
	struct {
		struct kvm_signal_mask header;
		uint8_t bits[8];
	} mask = { .header.len = 8 };

	if (set)
		memcpy(mask.header.sigset, set, 8);
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_SIGNAL_MASK, set ? &mask : NULL), 0);
}

/* The classic use: blocked outside KVM_RUN, unblocked inside, eaten with sigtimedwait. */
static void test_signal_mask(struct machine *machine)
{
	static const struct timespec none;
	sigset_t usr1, old, during, pending;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, &old);
	during = old;
	sigdelset(&during, SIGUSR1);
	set_mask(machine, &during);
	machine_load(machine, spin, 2);
	atomic_store(&handled, 0);
	check(run_with(machine, send_signal) < SOON_MS);
	check_equal(atomic_load(&handled), 0);
	sigpending(&pending);
	check_equal(sigismember(&pending, SIGUSR1), 1);
	/* Still pending, so the next KVM_RUN returns at once. */
	check_equal(machine_run(machine), -EINTR);
	check_equal(sigtimedwait(&usr1, NULL, &none), SIGUSR1);
	check(run_with(machine, kick) >= 25);
	set_mask(machine, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void test_halted(const struct kvm_system *system)
{
	struct kvm_mp_state state;
	struct machine machine;

	machine_create(&machine, system, IRQCHIP_FULL, halt, 3);
	check(run_with(&machine, kick) < SOON_MS);
	check_equal(kvm_vcpu_ioctl(&machine.vcpu, KVM_GET_MP_STATE, &state), 0);
	check_equal(state.mp_state, KVM_MP_STATE_HALTED);
	atomic_store(&handled, 0);
	check(run_with(&machine, send_signal) < SOON_MS);
	check_equal(atomic_load(&handled), 1);
	check(run_with(&machine, send_ignored_then_kick) >= 55);
	machine.vcpu.run->immediate_exit = 1;
	check_equal(machine_run(&machine), -EINTR);
	machine.vcpu.run->immediate_exit = 0;
	machine_destroy(&machine);
}

/* Kicks do all that signals would have done. */
static void test_ignored_signals(const struct kvm_system *system)
{
	static const enum machine_irqchip kinds[] = { IRQCHIP_NONE, IRQCHIP_FULL };
	struct machine machine;

	for (unsigned i = 0; i < 2; i++) {
		machine_create(&machine, system, kinds[i], i ? halt : spin, i ? 3 : 2);
		kvm_vcpu_ignore_signals(&machine.vcpu);
		check(run_with(&machine, kick) < SOON_MS);
		kvm_vcpu_kick(&machine.vcpu, pthread_self());
		check_equal(machine_run(&machine), -EINTR);
		machine.vcpu.run->immediate_exit = 1;
		check_equal(machine_run(&machine), -EINTR);
		check(run_with(&machine, kick) >= 25);
		machine_destroy(&machine);
	}
}

/* On the engine KVM_RUN goes on behind the handler. */
static void test_ignored_signals_run(const struct kvm_system *system)
{
	struct machine machine;

	if (system->backend == &kvm_backend_linux)
		return;
	machine_create(&machine, system, IRQCHIP_NONE, spin, 2);
	kvm_vcpu_ignore_signals(&machine.vcpu);
	atomic_store(&handled, 0);
	check(run_with(&machine, send_signal_then_kick) >= 55);
	check_equal(atomic_load(&handled), 1);
	machine_destroy(&machine);
}

#define RIVALS 3

static void *be_busy(void *argument)
{
	const _Atomic bool *must_stop = argument;

	while (!atomic_load(must_stop))
		;
	return NULL;
}

static void send_signal_late(struct actor *actor)
{
	sleep_ms(270);
	send_signal(actor);
}

/* A guest that waits in a loop gives the host's processor to others, who keep it for most of the time:
 * a signal ends its KVM_RUN all the same. */
static void test_waiting_guest(struct machine *machine)
{
	pthread_t rivals[RIVALS];
	_Atomic bool must_stop = false;
	cpu_set_t all, one;
	unsigned i;

	/* 1: pause; jmp 1b */
	machine_load(machine, "\xf3\x90\xeb\xfc", 4);
	check_equal(pthread_getaffinity_np(pthread_self(), sizeof(all), &all), 0);
	CPU_ZERO(&one);
	for (i = 0; !CPU_ISSET(i, &all); i++)
		;
	CPU_SET(i, &one);
	check_equal(pthread_setaffinity_np(pthread_self(), sizeof(one), &one), 0);
	for (i = 0; i < RIVALS; i++)
		pthread_create(&rivals[i], NULL, be_busy, &must_stop);
	for (i = 0; i < 5; i++)
		check(run_with(machine, send_signal_late) < SOON_MS);
	atomic_store(&must_stop, true);
	for (i = 0; i < RIVALS; i++)
		pthread_join(rivals[i], NULL);
	pthread_setaffinity_np(pthread_self(), sizeof(all), &all);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = count_signal };
	struct kvm_system system;
	struct machine machine;

	contract_open(argc, argv, &system);
	sigaction(SIGUSR1, &action, NULL);
	machine_create(&machine, &system, IRQCHIP_NONE, spin, 2);
	test_immediate_exit(&machine);
	test_kick(&machine);
	test_signals(&machine);
	test_waiting_guest(&machine);
	test_signal_mask(&machine);
	machine_destroy(&machine);
	test_halted(&system);
	test_ignored_signals(&system);
	test_ignored_signals_run(&system);
	return contract_close(&system);
}
