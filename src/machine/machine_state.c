/*
 * Whether a machine runs. Anyone may want it to stand still, to begin anew, to be saved or to end: the wish is
 * noted, the vCPUs park, and the I/O thread carries it out when the last of them has.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "device/acpi_pm.h"
#include "device/pvpanic.h"
#include "machine/inspect.h"
#include "machine/machine_parts.h"
#include "util/log.h"

#define STOP_PATIENCE_S 60 /* vCPUs park within moments; more is a fault of ours */

/* Have all vCPUs park; the I/O thread finds out what for. With the lock held, which is released. */
static void park_and_unlock(struct machine *machine)
{
	unsigned i;

	__atomic_store_n(&machine->state, MACHINE_PAUSED, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&machine->state_changed);
	pthread_mutex_unlock(&machine->lock);
	for (i = 0; i < machine->vcpu_count; i++)
		vcpu_force_exit(&machine->vcpus[i]);
	event_signal_raise(&machine->request_signal);
}

/* Stop the guest for a request. The first one counts, except that the user's end overrides. */
static void post_request(struct machine *machine, enum power_request what, int status, bool is_by_user)
{
	bool is_quit = is_by_user && what == POWER_EXIT;

	pthread_mutex_lock(&machine->lock);
	if (machine->state == MACHINE_ENDED || machine->is_quitting ||
	    (machine->has_request && !is_quit) ||
	    (what == POWER_WAKE && !(machine->pauses & MACHINE_PAUSE_ASLEEP))) {
		pthread_mutex_unlock(&machine->lock);
		return;
	}
	machine->has_request = true;
	machine->is_by_user = is_by_user;
	machine->request = what;
	machine->request_status = status;
	machine->is_quitting = is_quit;
	park_and_unlock(machine);
}

void machine_power_requested(void *context, enum power_request what, int status)
{
	post_request(context, what, status, false);
}

void machine_quit(struct machine *machine, int status)
{
	post_request(machine, POWER_EXIT, status, true);
}

void machine_save(struct machine *machine)
{
	if (machine->config.save_fd < 0) {
		log_warning("nowhere to save the machine: there is no --save FILE");
		return;
	}
	pthread_mutex_lock(&machine->lock);
	if (machine->state == MACHINE_ENDED || machine->is_quitting) {
		pthread_mutex_unlock(&machine->lock);
		return;
	}
	machine->wants_save = true;
	park_and_unlock(machine);
}

void machine_ask_reset(struct machine *machine)
{
	post_request(machine, POWER_RESET, 0, true);
}

void machine_pause(struct machine *machine, enum machine_pause why)
{
	pthread_mutex_lock(&machine->lock);
	machine->pauses |= why;
	if (machine->state == MACHINE_ENDED)
		pthread_mutex_unlock(&machine->lock);
	else
		park_and_unlock(machine);
}

void machine_resume(struct machine *machine, enum machine_pause why)
{
	pthread_mutex_lock(&machine->lock);
	if (machine->pauses == (unsigned)why)
		machine->has_gone_on = true;
	machine->pauses &= ~(unsigned)why;
	/* A saved state may have been loaded, ROMs and displays' memory with it. */
	kvm_vm_written(&machine->vm, 0, KVM_WRITTEN_ALL);
	pthread_mutex_unlock(&machine->lock);
	event_signal_raise(&machine->request_signal);
}

/* vcpu_host.may_run. */
bool machine_may_run(void *context, struct machine_vcpu *vcpu)
{
	struct machine *machine = context;
	bool may_run;

	machine_hold_while_overfull(machine, vcpu);
	if (__atomic_load_n(&machine->state, __ATOMIC_SEQ_CST) == MACHINE_RUNNING &&
	    !__atomic_load_n(&vcpu->is_held, __ATOMIC_SEQ_CST) &&
	    !__atomic_load_n(&vcpu->is_absent, __ATOMIC_SEQ_CST))
		return true;
	vcpu_complete_access(vcpu);
	pthread_mutex_lock(&machine->lock);
	machine->parked++;
	if (machine->parked == machine->vcpu_count) {
		event_signal_raise(&machine->request_signal);
		pthread_cond_broadcast(&machine->state_changed); /* machine_stop */
	}
	while (machine->state == MACHINE_PAUSED ||
	       (machine->state == MACHINE_RUNNING && (vcpu->is_held || vcpu->is_absent)))
		pthread_cond_wait(&machine->state_changed, &machine->lock);
	machine->parked--;
	may_run = machine->state == MACHINE_RUNNING;
	pthread_mutex_unlock(&machine->lock);
	return may_run;
}

/* vcpu_host.report_idle. */
void machine_report_idle(void *context, unsigned id, bool is_idle)
{
	struct machine *machine = context;
	bool all_idle = true;
	unsigned i;

	pthread_mutex_lock(&machine->lock);
	machine->is_idle[id] = is_idle;
	for (i = 0; i < machine->vcpu_count; i++)
		all_idle = all_idle && (machine->is_idle[i] || machine->vcpus[i].is_absent);
	pthread_mutex_unlock(&machine->lock);
	if (all_idle)
		post_request(machine, POWER_OFF, 0, false);
}

/* vcpu_host.debug. */
void machine_debug(void *context, struct machine_vcpu *vcpu)
{
	struct machine *machine = context;

	if (machine->debugger.met)
		machine->debugger.met(machine->debugger.context, vcpu->index,
				      &vcpu->kvm.run->debug.arch);
}

void machine_hold_cpu(struct machine *machine, unsigned cpu, bool is_held)
{
	pthread_mutex_lock(&machine->lock);
	__atomic_store_n(&machine->vcpus[cpu].is_held, is_held, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&machine->state_changed);
	pthread_mutex_unlock(&machine->lock);
}

void machine_set_state(struct machine *machine, enum machine_state state)
{
	pthread_mutex_lock(&machine->lock);
	__atomic_store_n(&machine->state, state, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&machine->state_changed);
	pthread_mutex_unlock(&machine->lock);
}

static void finish(struct machine *machine, int status)
{
	struct machine_observer *observer, *next;

	machine->request_status = status;
	machine_set_state(machine, MACHINE_ENDED);
	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		if (observer->ended)
			observer->ended(observer->context, status);
	}
	event_loop_stop(machine->config.loop);
}

static void tell(struct machine *machine, size_t what)
{
	struct machine_observer *observer, *next;
	void (*function)(void *context);

	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		function = *(void (**)(void *))((char *)observer + what);
		if (function)
			function(observer->context);
	}
}

#define TELL(machine, what) tell(machine, offsetof(struct machine_observer, what))

/* A request that failed since the machine runs is among those that are tried again: then it does not stand still for that. */
static void try_disks_again(struct machine *machine)
{
	bool has_failed;

	machine_retry_disks(machine);
	pthread_mutex_lock(&machine->lock);
	has_failed = machine->pauses & MACHINE_PAUSE_IO_ERROR;
	pthread_mutex_unlock(&machine->lock);
	if (!has_failed)
		return;
	machine_resume(machine, MACHINE_PAUSE_IO_ERROR);
	/* In this order: who fails meanwhile is held first, and has it pause then. */
	if (machine_holds_requests(machine))
		machine_pause(machine, MACHINE_PAUSE_IO_ERROR);
}

/* Nothing is to be carried out: run, unless somebody wants the machine to stand still. */
void machine_settle(struct machine *machine)
{
	bool was_told = machine->told_paused, has_gone_on, runs = false;

	pthread_mutex_lock(&machine->lock);
	if (machine->state == MACHINE_PAUSED && !machine->has_request && !machine->wants_save) {
		machine->told_paused = machine->pauses && machine->parked == machine->vcpu_count;
		if (!machine->pauses) {
			runs = true;
			__atomic_store_n(&machine->state, MACHINE_RUNNING, __ATOMIC_SEQ_CST);
			pthread_cond_broadcast(&machine->state_changed);
		}
	}
	has_gone_on = machine->has_gone_on || !machine->told_paused;
	machine->has_gone_on = false;
	pthread_mutex_unlock(&machine->lock);
	board_stand_still(machine->board, machine->told_paused);
	if (was_told && has_gone_on)
		TELL(machine, resumed);
	if (machine->told_paused && (!was_told || has_gone_on)) {
		machine_tell_failures(machine);
		TELL(machine, paused);
	}
	if (machine->told_paused)
		TELL(machine, stands_still);
	if (runs)
		try_disks_again(machine);
}

int machine_park(struct machine *machine)
{
	struct timespec until;
	int result = 0;

	pthread_mutex_lock(&machine->lock);
	if (machine->state == MACHINE_RUNNING) {
		park_and_unlock(machine);
		pthread_mutex_lock(&machine->lock);
	}
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_PATIENCE_S;
	while (machine->state == MACHINE_PAUSED && machine->parked < machine->vcpu_count && result == 0)
		result = pthread_cond_timedwait(&machine->state_changed, &machine->lock, &until);
	result = machine->state == MACHINE_PAUSED && machine->parked == machine->vcpu_count ? 0 : -EBUSY;
	pthread_mutex_unlock(&machine->lock);
	return result;
}

int machine_stop(struct machine *machine, enum machine_pause why, struct error *error)
{
	machine_pause(machine, why);
	machine_park(machine);
	machine_settle(machine);
	if (machine->told_paused)
		return 0;
	/* What the guest has asked for comes first: it begins anew, or ends. */
	machine_resume(machine, why);
	return error_set(error, EBUSY, "the machine does not stand still");
}

/* The guest is off, for good or until the user resets the machine. */
static void power_off(struct machine *machine, enum machine_cause cause, int status)
{
	machine->last_cause = cause;
	TELL(machine, ending);
	if (!machine->config.stays_when_off || cause == MACHINE_GUEST_CRASH) {
		finish(machine, status);
		return;
	}
	pthread_mutex_lock(&machine->lock);
	machine->pauses |= MACHINE_PAUSE_OFF;
	pthread_mutex_unlock(&machine->lock);
}

/* Everything to its first state, by the guest's wish or the user's. */
static void start_anew(struct machine *machine, enum machine_cause cause)
{
	const unsigned ended = MACHINE_PAUSE_OFF | MACHINE_PAUSE_PANICKED | MACHINE_PAUSE_IO_ERROR;
	struct error error;

	if (machine->config.ends_at_reset) {
		power_off(machine, cause, MACHINE_STATUS_OFF);
		return;
	}
	log_guest("the %s reset the machine", cause == MACHINE_BY_USER ? "user" : "guest");
	machine->resets++;
	machine->last_cause = cause;
	TELL(machine, resetting);
	if (machine_reset(machine, &error) < 0) {
		log_error("cannot reset the machine: %s", error.message);
		finish(machine, MACHINE_STATUS_ERROR);
		return;
	}
	/* A machine that was off doesn't start by itself. */
	pthread_mutex_lock(&machine->lock);
	machine->pauses &= ~MACHINE_PAUSE_ASLEEP;
	if (machine->pauses & ended)
		machine->pauses = (machine->pauses & ~ended) | MACHINE_PAUSE_USER;
	pthread_mutex_unlock(&machine->lock);
	TELL(machine, was_reset);
}

static void fall_asleep(struct machine *machine)
{
	log_guest("the guest sleeps");
	board_fall_asleep(machine->board);
	pthread_mutex_lock(&machine->lock);
	machine->pauses |= MACHINE_PAUSE_ASLEEP;
	pthread_mutex_unlock(&machine->lock);
	TELL(machine, fell_asleep);
	board_fell_asleep(machine->board);
}

static void wake_up(struct machine *machine, int by)
{
	struct error error;

	if (machine_wake(machine, by, &error) < 0) {
		log_guest("the guest cannot wake up: %s", error.message);
		start_anew(machine, MACHINE_GUEST_RESET);
		return;
	}
	pthread_mutex_lock(&machine->lock);
	machine->pauses &= ~MACHINE_PAUSE_ASLEEP;
	pthread_mutex_unlock(&machine->lock);
	TELL(machine, woke_up);
}

static const char *const watchdog_names[] = {
	[MACHINE_WATCHDOG_RESET] = "reset",	  [MACHINE_WATCHDOG_SHUTDOWN] = "shutdown",
	[MACHINE_WATCHDOG_POWEROFF] = "poweroff", [MACHINE_WATCHDOG_PAUSE] = "pause",
	[MACHINE_WATCHDOG_NMI] = "inject-nmi",	  [MACHINE_WATCHDOG_DEBUG] = "debug",
	[MACHINE_WATCHDOG_NONE] = "none",
};

const char *machine_watchdog_name(enum machine_watchdog action)
{
	return watchdog_names[action];
}

int machine_watchdog_parse(const char *name, enum machine_watchdog *action)
{
	unsigned i;

	for (i = 0; i < sizeof(watchdog_names) / sizeof(watchdog_names[0]); i++) {
		if (strcmp(name, watchdog_names[i]) == 0) {
			*action = i;
			return 0;
		}
	}
	return -EINVAL;
}

void machine_set_watchdog_action(struct machine *machine, enum machine_watchdog action)
{
	machine->config.watchdog = action;
}

enum machine_watchdog machine_watchdog_action(const struct machine *machine)
{
	return machine->config.watchdog;
}

void machine_set_panic_action(struct machine *machine, enum machine_panic action)
{
	machine->config.panic = action;
}

void machine_set_end_at_reset(struct machine *machine, bool ends)
{
	machine->config.ends_at_reset = ends;
}

void machine_set_stay_when_off(struct machine *machine, bool stays)
{
	machine->config.stays_when_off = stays;
}

static void send_nmis(struct machine *machine)
{
	unsigned i;

	for (i = 0; i < machine->vcpu_count; i++)
		kvm_vcpu_ioctl(&machine->vcpus[i].kvm, KVM_NMI, NULL);
}

static void watchdog_ran_out(struct machine *machine)
{
	struct error error;

	log_guest("the guest has not answered its watchdog");
	TELL(machine, watchdog);
	switch (machine->config.watchdog) {
	case MACHINE_WATCHDOG_RESET: start_anew(machine, MACHINE_GUEST_RESET); break;
	case MACHINE_WATCHDOG_SHUTDOWN:
		if (machine_press_power_button(machine, &error) < 0)
			log_warning("%s", error.message);
		break;
	case MACHINE_WATCHDOG_POWEROFF:
		power_off(machine, MACHINE_GUEST_SHUTDOWN, MACHINE_STATUS_OFF);
		break;
	case MACHINE_WATCHDOG_PAUSE:
		pthread_mutex_lock(&machine->lock);
		machine->pauses |= MACHINE_PAUSE_USER;
		pthread_mutex_unlock(&machine->lock);
		break;
	case MACHINE_WATCHDOG_NMI: send_nmis(machine); break;
	case MACHINE_WATCHDOG_DEBUG:
	case MACHINE_WATCHDOG_NONE: break;
	}
}

static const char *const panic_names[] = {
	[MACHINE_PANIC_SHUTDOWN] = "shutdown",
	[MACHINE_PANIC_PAUSE] = "pause",
	[MACHINE_PANIC_FAILURE] = "exit-failure",
	[MACHINE_PANIC_NONE] = "none",
};

int machine_panic_parse(const char *name, enum machine_panic *action)
{
	unsigned i;

	for (i = MACHINE_PANIC_SHUTDOWN; i < sizeof(panic_names) / sizeof(panic_names[0]); i++) {
		if (strcmp(name, panic_names[i]) == 0) {
			*action = i;
			return 0;
		}
	}
	return -EINVAL;
}

bool machine_panic_pauses(const struct machine *machine)
{
	return machine->config.panic == MACHINE_PANIC_PAUSE ||
	       (machine->config.panic == MACHINE_PANIC_SHUTDOWN && machine->config.stays_when_off);
}

bool machine_panic_ends(const struct machine *machine)
{
	return !machine_panic_pauses(machine) && machine->config.panic != MACHINE_PANIC_NONE;
}

static void panicked(struct machine *machine, unsigned what)
{
	static const int statuses[] = {
		[MACHINE_PANIC_CRASH] = MACHINE_STATUS_CRASHED,
		[MACHINE_PANIC_SHUTDOWN] = MACHINE_STATUS_OFF,
		[MACHINE_PANIC_FAILURE] = MACHINE_STATUS_ERROR,
	};

	if (!(what & PVPANIC_PANICKED)) {
		log_guest("the guest has panicked, and its crash kernel takes over");
		TELL(machine, crash_loaded);
		return;
	}
	log_guest("the guest has panicked");
	TELL(machine, panicked);
	if (machine_panic_pauses(machine)) {
		pthread_mutex_lock(&machine->lock);
		machine->pauses |= MACHINE_PAUSE_PANICKED;
		pthread_mutex_unlock(&machine->lock);
	} else if (machine_panic_ends(machine)) {
		power_off(machine, MACHINE_GUEST_CRASH, statuses[machine->config.panic]);
	}
}

/* Whether a debugger wants to look at what is left of the guest. */
static bool keep_crashed(struct machine *machine)
{
	bool is_kept = false;
	unsigned i;

	for (i = 0; i < machine->vcpu_count; i++) {
		if (!machine->vcpus[i].has_crashed)
			continue;
		machine->vcpus[i].has_crashed = false;
		if (machine->debugger.crashed)
			is_kept |= machine->debugger.crashed(machine->debugger.context, i);
	}
	return is_kept;
}

/* I/O thread: carry out a request once every vCPU has parked. */
void machine_request_ready(void *context)
{
	struct machine *machine = context;
	enum power_request what;
	int status;
	bool is_ready, has_request, is_by_user, wants_save;

	pthread_mutex_lock(&machine->lock);
	is_ready = machine->state == MACHINE_PAUSED && machine->parked == machine->vcpu_count;
	has_request = machine->has_request;
	is_by_user = machine->is_by_user;
	wants_save = machine->wants_save;
	what = machine->request;
	status = machine->request_status;
	if (is_ready)
		machine->has_request = machine->wants_save = false;
	pthread_mutex_unlock(&machine->lock);
	if (!is_ready)
		return;
	/* What the guest asked for comes first: a machine that ends or begins anew isn't saved. */
	if (!has_request) {
		if (wants_save && machine_save_now(machine) && machine->config.ends_when_saved)
			finish(machine, MACHINE_STATUS_OFF);
	} else {
		switch (what) {
		case POWER_OFF: power_off(machine, MACHINE_GUEST_SHUTDOWN, MACHINE_STATUS_OFF); break;
		case POWER_EXIT: finish(machine, status); break;
		case POWER_CRASH:
			if (!keep_crashed(machine))
				power_off(machine, MACHINE_GUEST_CRASH, MACHINE_STATUS_CRASHED);
			break;
		case POWER_WATCHDOG: watchdog_ran_out(machine); break;
		case POWER_PANIC: panicked(machine, status); break;
		case POWER_SLEEP: fall_asleep(machine); break;
		case POWER_WAKE: wake_up(machine, status); break;
		case POWER_RESET:
			start_anew(machine, is_by_user ? MACHINE_BY_USER : MACHINE_GUEST_RESET);
			break;
		}
	}
	machine_settle(machine);
}

void machine_observe(struct machine *machine, struct machine_observer *observer)
{
	observer->next = machine->observers;
	machine->observers = observer;
}

void machine_unobserve(struct machine *machine, struct machine_observer *observer)
{
	struct machine_observer **at = &machine->observers;

	while (*at && *at != observer)
		at = &(*at)->next;
	if (*at)
		*at = observer->next;
}

void machine_set_debugger(struct machine *machine, const struct machine_debugger *debugger)
{
	machine->debugger = debugger ? *debugger : (struct machine_debugger){0};
}

bool machine_has_paused(const struct machine *machine)
{
	return machine->told_paused;
}

unsigned machine_pauses(const struct machine *machine)
{
	return __atomic_load_n(&machine->pauses, __ATOMIC_RELAXED);
}

enum machine_cause machine_last_cause(const struct machine *machine)
{
	return machine->last_cause;
}

int machine_press_power_button(struct machine *machine, struct error *error)
{
	if (machine_pauses(machine) & MACHINE_PAUSE_ASLEEP)
		machine_wake_up(machine, error);
	else if (!board_press_power_button(machine->board))
		return error_set(error, ENOTSUP, "this machine has no power button");
	TELL(machine, power_button);
	return 0;
}

bool machine_can_sleep(const struct machine *machine)
{
	return board_kind_is_pc(machine->config.board) && !machine->config.has_no_sleep;
}

int machine_wake_up(struct machine *machine, struct error *error)
{
	if (!(machine_pauses(machine) & MACHINE_PAUSE_ASLEEP))
		return error_set(error, EINVAL, "Unable to wake up: guest is not in suspended state");
	post_request(machine, POWER_WAKE, ACPI_PM_WOKEN_BY_BUTTON, true);
	return 0;
}
