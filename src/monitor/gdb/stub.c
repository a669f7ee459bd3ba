/*
 * Between a debugger's session and a machine: who listens, how the machine stops and goes on, and what a
 * vCPU that left the guest for a debugger's sake has met.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "machine/inspect.h"
#include "monitor/gdb/connection.h"
#include "monitor/gdb/gdb.h"
#include "monitor/gdb/listen.h"
#include "monitor/gdb/session.h"
#include "util/log.h"
#include "util/x86_registers.h"

#define EXCEPTION_DB 1
#define EXCEPTION_BP 3
#define PORTION	     256 /* bytes of input that are answered before the peer's reading is looked at */

struct gdb_stub {
	struct gdb_target target; /* first */
	struct gdb_session session;
	struct gdb_connection connection;
	struct event_loop *loop;
	struct event_source listening;
	char *where; /* NULL: */
	struct char_stream *stream; /* which debuggers are on, one after another */
	struct machine *machine;
	struct machine_observer observer;
	uint32_t debug_flags; /* of KVM_SET_GUEST_DEBUG that the backend knows */
	bool is_standing; /* all vCPUs are parked, as far as the machine has told */
	bool asked_stop, is_resetting;
	struct gdb_order orders[GDB_CPUS_MAX]; /* written while all are parked */

	pthread_mutex_t lock; /* guards what follows, which vCPUs write */
	struct gdb_stop stops[GDB_CPUS_MAX];
	int first_stop; /* the CPU that stopped first; -1: none */
};

static struct gdb_stub *stub_of(struct gdb_target *target)
{
	return (struct gdb_stub *)target;
}

/* -- on a vCPU's thread -- */

/* What a vCPU does is told it by this. */
static void fill_debug(const struct gdb_stub *stub, unsigned cpu, struct kvm_guest_debug *debug)
{
	const struct gdb_order *order = &stub->orders[cpu];

	gdb_session_debug(&stub->session, order, debug);
	/* A step is one of the code that is looked at, not of an interrupt's handler. */
	if (order->what == GDB_STEP)
		debug->control |= KVM_GUESTDBG_BLOCKIRQ & stub->debug_flags;
}

/* An exception that is the guest's own business. */
static void inject(struct gdb_stub *stub, unsigned cpu, uint32_t how, uint64_t dr6)
{
	const struct kvm_vcpu *vcpu = stub->target.vcpus[cpu];
	struct kvm_guest_debug debug;
	struct kvm_debugregs registers;

	if (how == KVM_GUESTDBG_INJECT_DB &&
	    kvm_vcpu_ioctl(vcpu, KVM_GET_DEBUGREGS, &registers) == 0) {
		registers.dr6 = dr6;
		kvm_vcpu_ioctl(vcpu, KVM_SET_DEBUGREGS, &registers);
	}
	fill_debug(stub, cpu, &debug);
	debug.control |= KVM_GUESTDBG_ENABLE | how;
	if (kvm_vcpu_ioctl(vcpu, KVM_SET_GUEST_DEBUG, &debug) < 0)
		log_guest_at(LOG_WARNING, "gdb: CPU %u has lost an exception", cpu);
}

static void stop_for(struct gdb_stub *stub, const struct gdb_stop *stop)
{
	pthread_mutex_lock(&stub->lock);
	stub->stops[stop->cpu] = *stop;
	if (stub->first_stop < 0)
		stub->first_stop = (int)stop->cpu;
	pthread_mutex_unlock(&stub->lock);
	machine_pause(stub->machine, MACHINE_PAUSE_DEBUGGER);
}

static void met_int3(struct gdb_stub *stub, unsigned cpu, const struct kvm_debug_exit_arch *what)
{
	struct gdb_stop stop = {.kind = GDB_STOP_SOFTWARE, .cpu = cpu};
	uint64_t gpa;

	if (gdb_memory_translate(&stub->session.memory, cpu, what->pc, &gpa) == 0 &&
	    gdb_memory_is_planted(&stub->session.memory, gpa))
		stop_for(stub, &stop);
	else
		inject(stub, cpu, KVM_GUESTDBG_INJECT_BP, 0);
}

static void met_debug(struct gdb_stub *stub, unsigned cpu, const struct kvm_debug_exit_arch *what)
{
	const struct gdb_breakpoint *met = gdb_break_met(&stub->session.breakpoints, what->dr6);
	const struct gdb_order *order = &stub->orders[cpu];
	struct gdb_stop stop = {.kind = GDB_STOP_STEP, .cpu = cpu};

	if (met && met->kind > GDB_BREAK_HARDWARE) {
		stop.kind = GDB_STOP_WATCH;
		stop.watch = met->kind;
		stop.address = met->address;
	} else if (met) {
		stop.kind = met->kind == GDB_BREAK_HARDWARE ? GDB_STOP_HARDWARE : GDB_STOP_SOFTWARE;
	} else if (order->what != GDB_STEP) {
		inject(stub, cpu, KVM_GUESTDBG_INJECT_DB, what->dr6);
		return;
	} else if (what->pc >= order->first && what->pc < order->end) {
		return; /* and on */
	}
	stop_for(stub, &stop);
}

/* machine_debugger.met. */
static void met(void *context, unsigned cpu, const struct kvm_debug_exit_arch *what)
{
	struct gdb_stub *stub = context;

	if (what->exception == EXCEPTION_BP)
		met_int3(stub, cpu, what);
	else
		met_debug(stub, cpu, what);
}

/* -- on the I/O thread -- */

/* The stop to tell, or none. What was done behind a watched access would be lost; other breakpoints are
 * met again where they still are. */
static struct gdb_stop take_stop(struct gdb_stub *stub)
{
	struct gdb_stop stop = {.kind = GDB_STOP_NONE};
	unsigned i;

	pthread_mutex_lock(&stub->lock);
	if (stub->first_stop >= 0) {
		stop = stub->stops[stub->first_stop];
		stub->stops[stub->first_stop].kind = GDB_STOP_NONE;
	}
	stub->first_stop = -1;
	for (i = 0; i < stub->target.cpus; i++) {
		if (stub->stops[i].kind == GDB_STOP_WATCH)
			stub->first_stop = (int)i;
		else
			stub->stops[i].kind = GDB_STOP_NONE;
	}
	pthread_mutex_unlock(&stub->lock);
	return stop;
}

static void pump(struct gdb_stub *stub);

/* The machine stands still: is it what the session waits for? */
static void tell_stop(struct gdb_stub *stub)
{
	struct gdb_stop stop = take_stop(stub);

	if (stop.kind == GDB_STOP_NONE && !stub->asked_stop)
		return; /* somebody else paused it */
	if (stop.kind == GDB_STOP_NONE)
		stop = (struct gdb_stop){.kind = GDB_STOP_ASKED, .cpu = stub->session.cpu};
	stub->asked_stop = false;
	gdb_session_stopped(&stub->session, &stop);
}

static void resume(struct gdb_target *target, const struct gdb_order *orders)
{
	struct gdb_stub *stub = stub_of(target);
	struct kvm_guest_debug debug;
	unsigned i;
	bool has_stop;

	memcpy(stub->orders, orders, target->cpus * sizeof(*orders));
	pthread_mutex_lock(&stub->lock);
	has_stop = stub->first_stop >= 0;
	if (stub->session.is_leaving)
		stub->first_stop = -1;
	pthread_mutex_unlock(&stub->lock);
	stub->asked_stop = false;
	if (has_stop && !stub->session.is_leaving) {
		tell_stop(stub);
		return;
	}
	for (i = 0; i < target->cpus; i++) {
		fill_debug(stub, i, &debug);
		if (kvm_vcpu_ioctl(target->vcpus[i], KVM_SET_GUEST_DEBUG, &debug) < 0)
			log_warning("gdb: CPU %u cannot be debugged", i);
		machine_hold_cpu(stub->machine, i, orders[i].what == GDB_STAY);
		/* So that its watchdogs forgive the time that it stood still, if it has kvm-clock. */
		kvm_vcpu_ioctl(target->vcpus[i], KVM_KVMCLOCK_CTRL, NULL);
	}
	machine_resume(stub->machine, MACHINE_PAUSE_DEBUGGER);
}

static void stop(struct gdb_target *target)
{
	struct gdb_stub *stub = stub_of(target);

	stub->asked_stop = true;
	machine_pause(stub->machine, MACHINE_PAUSE_DEBUGGER);
	if (stub->is_standing)
		tell_stop(stub);
}

static void reset(struct gdb_target *target)
{
	struct gdb_stub *stub = stub_of(target);

	stub->is_resetting = true;
	machine_ask_reset(stub->machine);
}

static void quit(struct gdb_target *target)
{
	machine_quit(stub_of(target)->machine, MACHINE_STATUS_OFF);
}

static const struct gdb_target_ops target_ops = {
	.resume = resume, .stop = stop, .reset = reset, .quit = quit,
};

/* The peer has gone, and what it left is cleared away. */
static void end_session(struct gdb_stub *stub)
{
	gdb_connection_close(&stub->connection);
	gdb_session_end(&stub->session);
	if (stub->listening.fd >= 0)
		event_source_enable(&stub->listening, true);
	log_info("gdb: the debugger has gone");
}

/* While the machine runs, a byte stops it, and what else there is waits for that. */
static void take_interrupt(struct gdb_stub *stub)
{
	const uint8_t *bytes;
	size_t size;

	bytes = gdb_connection_input(&stub->connection, &size);
	if (!size || stub->asked_stop)
		return;
	if (*bytes == '+') { /* of the packet that had it go on */
		gdb_connection_take(&stub->connection, 1);
		take_interrupt(stub);
		return;
	}
	if (*bytes == 3)
		gdb_connection_take(&stub->connection, 1);
	stop(&stub->target);
}

/* Serve what the peer has sent, as far as that can be now. */
static void pump(struct gdb_stub *stub)
{
	struct gdb_session *session = &stub->session;
	struct gdb_connection *connection = &stub->connection;
	const uint8_t *bytes;
	size_t size;

	while (connection->is_open && !connection->is_lost && !session->is_leaving &&
	       stub->is_standing && !session->is_waiting && !stub->is_resetting &&
	       !gdb_connection_is_backed_up(connection)) {
		bytes = gdb_connection_input(connection, &size);
		if (!size)
			break;
		size = gdb_session_receive(session, bytes, size < PORTION ? size : PORTION);
		gdb_connection_take(connection, size);
	}
	if (!connection->is_open)
		return;
	if (connection->is_lost && session->is_waiting && !stub->is_standing)
		stop(&stub->target); /* to clear away */
	else if (connection->is_lost ||
		 (session->is_leaving && gdb_connection_is_drained(connection)))
		end_session(stub);
	else if (session->is_waiting)
		take_interrupt(stub);
}

static void connection_changed(void *context)
{
	pump(context);
}

static void send_bytes(void *context, const uint8_t *bytes, size_t size)
{
	struct gdb_stub *stub = context;

	gdb_connection_send(&stub->connection, bytes, size);
}

/* connection.begun, and of a socket's. */
static void begin_session(void *context)
{
	struct gdb_stub *stub = context;

	log_info("gdb: a debugger is there");
	gdb_session_begin(&stub->session);
	machine_pause(stub->machine, MACHINE_PAUSE_DEBUGGER);
}

static void peer_waits(void *context)
{
	struct gdb_stub *stub = context;
	int fd = accept4(stub->listening.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	/* One at a time. */
	event_source_enable(&stub->listening, false);
	if (gdb_connection_open(&stub->connection, stub->loop, fd) < 0) {
		event_source_enable(&stub->listening, true);
		return;
	}
	begin_session(stub);
	pump(stub);
}

/* -- what the machine tells -- */

static void paused(void *context)
{
	struct gdb_stub *stub = context;

	stub->is_standing = true;
	if (stub->session.is_there)
		tell_stop(stub);
	pump(stub);
}

static void resumed(void *context)
{
	struct gdb_stub *stub = context;

	stub->is_standing = false;
}

static void resetting(void *context)
{
	struct gdb_stub *stub = context;

	gdb_session_resetting(&stub->session);
}

static void was_reset(void *context)
{
	struct gdb_stub *stub = context;
	struct kvm_guest_debug debug;
	unsigned i;

	gdb_session_was_reset(&stub->session);
	for (i = 0; i < stub->target.cpus; i++) {
		fill_debug(stub, i, &debug);
		kvm_vcpu_ioctl(stub->target.vcpus[i], KVM_SET_GUEST_DEBUG, &debug);
	}
	stub->is_resetting = false;
	pump(stub);
}

static void ended(void *context, int status)
{
	struct gdb_stub *stub = context;

	gdb_session_exited(&stub->session, status);
}

/* machine_debugger.crashed. */
static bool crashed(void *context, unsigned cpu)
{
	struct gdb_stub *stub = context;
	struct gdb_stop crash = {.kind = GDB_STOP_CRASH, .cpu = cpu};

	if (!stub->session.is_there || stub->session.is_leaving)
		return false;
	stop_for(stub, &crash);
	return true;
}

/* -- life -- */

static struct gdb_stub *create(struct event_loop *loop, struct error *error)
{
	struct gdb_stub *stub = calloc(1, sizeof(*stub));

	if (!stub) {
		error_set_errno(error, ENOMEM, "cannot create the gdb stub");
		return NULL;
	}
	stub->loop = loop;
	stub->first_stop = -1;
	pthread_mutex_init(&stub->lock, NULL);
	stub->connection.changed = connection_changed;
	stub->connection.begun = begin_session;
	stub->connection.context = stub;
	stub->listening = (struct event_source){.fd = -1, .ready = peer_waits, .context = stub};
	return stub;
}

struct gdb_stub *gdb_stub_create_on(struct char_stream *stream, struct event_loop *loop, struct error *error)
{
	struct gdb_stub *stub = create(loop, error);

	if (stub)
		stub->stream = stream;
	return stub;
}

struct gdb_stub *gdb_stub_create(const char *where, struct event_loop *loop, struct error *error)
{
	struct gdb_stub *stub = create(loop, error);

	if (!stub)
		return NULL;
	stub->listening.fd = gdb_listen(where, error);
	if (stub->listening.fd >= 0)
		stub->where = strdup(where);
	if (stub->where)
		return stub;
	if (stub->listening.fd >= 0)
		error_set_errno(error, ENOMEM, "cannot create the gdb stub");
	gdb_stub_destroy(stub);
	return NULL;
}

int gdb_stub_attach(struct gdb_stub *stub, struct machine *machine, struct error *error)
{
	const struct machine_debugger debugger = {.met = met, .crashed = crashed, .context = stub};
	struct gdb_target *target = &stub->target;
	int flags, result;
	unsigned i;

	stub->machine = machine;
	target->ops = &target_ops;
	target->cpus = machine_cpus(machine);
	for (i = 0; i < target->cpus; i++) {
		target->vcpus[i] = machine_cpu(machine, i);
		stub->orders[i].what = GDB_RUN;
	}
	target->cpuid = machine_cpu_cpuid(machine, 0);
	target->memory = machine_memory(machine);
	target->vm = machine_vm(machine);
	flags = kvm_check_extension(target->vcpus[0]->system, KVM_CAP_SET_GUEST_DEBUG2);
	stub->debug_flags = flags > 0 ? (uint32_t)flags : 0;
	gdb_session_init(&stub->session, target);
	stub->session.send = send_bytes;
	stub->session.context = stub;
	stub->observer = (struct machine_observer){.paused = paused, .resumed = resumed,
						   .resetting = resetting, .was_reset = was_reset,
						   .ended = ended, .context = stub};
	machine_observe(machine, &stub->observer);
	machine_set_debugger(machine, &debugger);
	/* From here on they may come. */
	result = stub->stream ? gdb_connection_await(&stub->connection, stub->loop, stub->stream)
			      : event_loop_add(stub->loop, &stub->listening);
	if (result < 0)
		return error_set_errno(error, -result, "cannot watch for debuggers");
	log_info("gdb: listening at %s", stub->stream ? "a stream" : stub->where);
	return 0;
}

void gdb_stub_destroy(struct gdb_stub *stub)
{
	if (!stub)
		return;
	gdb_connection_ignore(&stub->connection);
	gdb_connection_close(&stub->connection);
	gdb_session_free(&stub->session);
	if (stub->machine) {
		machine_unobserve(stub->machine, &stub->observer);
		machine_set_debugger(stub->machine, NULL);
	}
	event_loop_remove(&stub->listening);
	if (stub->listening.fd >= 0)
		close(stub->listening.fd);
	pthread_mutex_destroy(&stub->lock);
	free(stub->where);
	free(stub);
}
