/*
 * What the files of a machine share: machine_life.c makes, runs and ends it, machine_state.c carries out what it is
 * asked for, and the others are parts of these. For this room alone.
 */
#ifndef KVIK_MACHINE_MACHINE_PARTS_H
#define KVIK_MACHINE_MACHINE_PARTS_H

#include <pthread.h>

#include "machine/cpuid.h"
#include "machine/inspect.h"
#include "machine/machine.h"
#include "machine/snapshot.h"
#include "machine/vcpu.h"
#include "util/event_signal.h"

enum machine_state { MACHINE_PAUSED, MACHINE_RUNNING, MACHINE_ENDED };

#define MACHINE_LINES_MAX (BOARD_SERIALS_MAX + 2) /* that a guest writes to */

struct machine {
	struct machine_config config;
	struct kvm_system system;
	struct kvm_vm vm;
	bool has_system, has_vm;
	struct ram ram;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct board *board;
	struct block *disks[BOARD_DISKS_MAX]; /* the board's, media among them; in the order in which they came */
	unsigned disk_count;
	struct boot *boot;
	struct interrupts interrupts;
	struct sandbox_report sandbox;
	int spawner; /* of stubs; -1: none. One thread at a time: */
	pthread_mutex_t spawner_lock;
	struct stub_source stubs;
	struct error no_stubs; /* why there are none, or "" */
	struct machine_vcpu *vcpus; /* all that can be there; created in order */
	unsigned vcpu_count;
	struct cpuid_facts cpuid;
	struct event_signal request_signal; /* a request waits, or all have parked */
	struct event_signal failure_signal; /* something of disks has failed */
	struct event_timer idle_timer;
	struct machine_observer *observers; /* the I/O thread's, and what they were told: */
	bool is_sent; /* all of it: its devices are held */
	bool is_sending;
	bool told_paused;
	enum machine_cause last_cause;
	struct machine_debugger debugger; /* `met` NULL: none */
	struct char_watch line_ready[MACHINE_LINES_MAX]; /* wakes vCPUs that wait in hold_while_overfull */
	uint64_t resets;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t state_changed;
	enum machine_state state; /* also read atomically without the lock, as a hint */
	unsigned parked;	  /* vCPU threads that wait in machine_may_run */
	bool has_request, is_by_user;
	enum power_request request;
	int request_status;
	bool is_idle[MACHINE_MAX_CPUS];
	bool is_quitting; /* the user's wish: wins over the guest's requests */
	bool wants_save;
	unsigned pauses; /* enum machine_pause */
	bool has_gone_on; /* nobody wanted a pause for a moment, although `settle` didn't see it */
};

/* -- machine_state.c -- */

/* A change that does not go by a wish: the beginning, the end. Any thread. */
void machine_set_state(struct machine *machine, enum machine_state state);
/* I/O thread. Nothing is to be carried out: run, unless somebody wants the machine to stand still. */
void machine_settle(struct machine *machine);
/* I/O thread: request_signal.raised. */
void machine_request_ready(void *context);
/* power.request: the guest's wish. Any thread. */
void machine_power_requested(void *context, enum power_request what, int status);
/* I/O thread: have all vCPUs park, and wait until they have; machine_settle lets them go on. Observers are not told. 0, or
 * -EBUSY: nobody waits any more, or the machine has ended. */
int machine_park(struct machine *machine);
/* I/O thread: ask for a pause, and wait until all vCPUs have parked and observers were told. 0, or -EBUSY and `error`:
 * nobody waits any more. */
int machine_stop(struct machine *machine, enum machine_pause why, struct error *error);
/* struct vcpu_host's functions, on the vCPU's thread. */
bool machine_may_run(void *context, struct machine_vcpu *vcpu);
void machine_report_idle(void *context, unsigned id, bool is_idle);
void machine_debug(void *context, struct machine_vcpu *vcpu);

/* -- machine_outputs.c -- */

/* Wake vCPUs that wait in machine_hold_while_overfull; and no more. */
void machine_watch_lines(struct machine *machine);
void machine_unwatch_lines(struct machine *machine);
/* On the vCPU's thread, no locks held: wait while what it has just written to is far behind. */
void machine_hold_while_overfull(struct machine *machine, const struct machine_vcpu *vcpu);

/* -- machine_reset.c -- */

/* Power-on or reset: everything to its first state, the boot image into RAM. vCPUs are parked. 0, or -errno and
 * `error`. */
int machine_reset(struct machine *machine, struct error *error);
/* The same for one that sleeps, by an enum acpi_pm_waker: memory stays, and its software goes on. -EINVAL: it has left
 * no place to go on at. */
int machine_wake(struct machine *machine, int by, struct error *error);
/* One CPU as it is at power-on; it is parked. */
int machine_reset_cpu(struct machine *machine, unsigned cpu, struct error *error);

/* -- machine_failures.c -- */

/* A disk that the board is to get, which is the machine's to look at until it is closed; NULL is none. */
void machine_note_disk(struct machine *machine, struct block *block);
/* What of disks fails wakes the I/O thread from now on. 0 or -errno. */
int machine_watch_failures(struct machine *machine);

/* -- machine_disks.c -- */

/* I/O thread: tell observers of what has failed. */
void machine_tell_failures(struct machine *machine);
/* The machine goes on: what disks hold is tried again. */
void machine_retry_disks(struct machine *machine);
bool machine_holds_requests(const struct machine *machine);
/* What disks hold fails, and nothing is held any more, from the one to the other (!begins): the devices are reset. */
void machine_give_up_disks(struct machine *machine, bool begins);

/* -- machine_cpus.c -- */

/* How many CPUs can be there, and which are from the start, a bit each. */
unsigned machine_most_cpus(const struct machine_config *config);
uint64_t machine_first_cpus(const struct machine_config *config);
/* board_config.cpu_ejected and cpu_reported. */
void machine_cpu_ejected(void *context, unsigned cpu);
void machine_cpu_reported(void *context, unsigned cpu, uint32_t event, uint32_t status);

/* -- machine_memory.c: board_config.memory_may_go, memory_ejected, memory_reported -- */

bool machine_memory_may_go(void *context, unsigned slot);
void machine_memory_ejected(void *context, unsigned slot);
void machine_memory_reported(void *context, unsigned slot, uint32_t event, uint32_t status);

/* -- machine_saved.c -- */

/* To config.save_fd; the vCPUs are parked. Whether it worked; what did not is logged. */
bool machine_save_now(struct machine *machine);
struct snapshot_parts machine_snapshot_parts(struct machine *machine);
/* From config.load_fd, if there is one. 0, or -errno and `error`. */
int machine_load_state(struct machine *machine, struct error *error);

/* -- machine_stubs.c -- */

/* Start the helper that makes stubs, for a backend that runs guest code in processes of their own; without, it
 * does it otherwise. While this process has one thread. */
void machine_start_spawner(struct machine *machine);

#endif
