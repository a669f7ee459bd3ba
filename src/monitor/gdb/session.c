#include "monitor/gdb/session.h"

#include <errno.h>
#include <string.h>

#define SIGNAL_INT  2  /* gdb's own numbers */
#define SIGNAL_TRAP 5
#define SIGNAL_SEGV 11

/* -- stops -- */

static unsigned stop_signal(const struct gdb_stop *stop)
{
	switch (stop->kind) {
	case GDB_STOP_ASKED: return SIGNAL_INT;
	case GDB_STOP_CRASH: return SIGNAL_SEGV;
	default: return SIGNAL_TRAP;
	}
}

static void reply_stop(struct gdb_session *session)
{
	const struct gdb_stop *stop = &session->last_stop;
	struct gdb_reply *reply = &session->reply;

	gdb_reply_begin(reply);
	gdb_reply_format(reply, "T%02xthread:%x;", stop_signal(stop), stop->cpu + 1);
	if (stop->kind == GDB_STOP_SOFTWARE && session->knows_swbreak)
		gdb_reply_text(reply, "swbreak:;");
	if (stop->kind == GDB_STOP_HARDWARE && session->knows_hwbreak)
		gdb_reply_text(reply, "hwbreak:;");
	if (stop->kind == GDB_STOP_WATCH)
		gdb_reply_format(reply, "%s:%llx;", stop->watch == GDB_WATCH_WRITE ? "watch" : "awatch",
				 (unsigned long long)stop->address);
	gdb_session_send_reply(session);
}

void gdb_session_stopped(struct gdb_session *session, const struct gdb_stop *stop)
{
	session->last_stop = *stop;
	session->cpu = stop->cpu;
	if (!session->is_waiting)
		return;
	session->is_waiting = false;
	reply_stop(session);
}

void gdb_session_exited(struct gdb_session *session, int status)
{
	if (!session->is_there || session->is_leaving)
		return;
	session->is_leaving = true;
	gdb_reply_begin(&session->reply);
	gdb_reply_format(&session->reply, "W%02x", status & 0xff);
	gdb_session_send_reply(session);
}

/* -- going on -- */

void gdb_session_debug(const struct gdb_session *session, const struct gdb_order *order,
		       struct kvm_guest_debug *debug)
{
	gdb_breakpoints_debug(&session->breakpoints, debug);
	if (order->what == GDB_STEP)
		debug->control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
}

static void go_on(struct gdb_session *session)
{
	gdb_breakpoints_refresh(&session->breakpoints, session->cpu);
	session->is_waiting = !session->is_leaving;
	session->target->ops->resume(session->target, session->orders);
}

static void order_all(struct gdb_session *session, int what)
{
	unsigned i;

	for (i = 0; i < session->target->cpus; i++)
		session->orders[i] = (struct gdb_order){.what = what};
}

/* A thread's number in a packet: -1 and 0 are all and any. 0, or -EINVAL: there is no such thread. */
static int take_thread(const struct gdb_session *session, const char **text, int *cpu)
{
	uint64_t number;

	*cpu = -1;
	if (gdb_take(text, '-'))
		return gdb_take(text, '1') ? 0 : -EINVAL;
	if (!gdb_take_number(text, &number) || number > session->target->cpus)
		return -EINVAL;
	*cpu = (int)number - 1;
	return 0;
}

/* One action of vCont, without its thread. */
static int take_action(const char **text, struct gdb_order *order)
{
	uint64_t signal;

	*order = (struct gdb_order){.what = GDB_RUN};
	switch (*(*text)++) {
	case 'c': return 0;
	case 'C': return gdb_take_number(text, &signal) ? 0 : -EINVAL;
	case 's': order->what = GDB_STEP; return 0;
	case 'S':
		order->what = GDB_STEP;
		return gdb_take_number(text, &signal) ? 0 : -EINVAL;
	case 'r':
		order->what = GDB_STEP;
		return gdb_take_number(text, &order->first) && gdb_take(text, ',') &&
				       gdb_take_number(text, &order->end)
			       ? 0
			       : -EINVAL;
	default: return -EINVAL;
	}
}

/* vCont;ACTION[:THREAD]...: the first action that fits a thread is its. */
static int parse_vcont(struct gdb_session *session, const char *text)
{
	bool is_ordered[GDB_CPUS_MAX] = {false};
	struct gdb_order order;
	unsigned i;
	int cpu;

	order_all(session, GDB_STAY);
	while (*text) {
		if (!gdb_take(&text, ';') || !*text || take_action(&text, &order) < 0)
			return -EINVAL;
		cpu = -1;
		if (gdb_take(&text, ':') && take_thread(session, &text, &cpu) < 0)
			return -EINVAL;
		for (i = 0; i < session->target->cpus; i++) {
			if (is_ordered[i] || (cpu >= 0 && (unsigned)cpu != i))
				continue;
			session->orders[i] = order;
			is_ordered[i] = true;
		}
	}
	return 0;
}

static void packet_vcont(struct gdb_session *session, const char *text)
{
	unsigned i, going = 0;

	if (parse_vcont(session, text) < 0) {
		gdb_session_reply_result(session, -EINVAL);
		return;
	}
	for (i = 0; i < session->target->cpus; i++)
		going += session->orders[i].what != GDB_STAY;
	if (going)
		go_on(session);
	else
		gdb_session_reply_result(session, -EINVAL);
}

static int set_pc(struct gdb_session *session, uint64_t address);

/* c, s and, with a signal that means nothing to a machine, C and S: perhaps at another address. */
static void packet_old_resume(struct gdb_session *session, char kind, const char *text)
{
	unsigned first = session->resumed_cpu < 0 ? session->cpu : (unsigned)session->resumed_cpu;
	bool steps = kind == 's' || kind == 'S';
	uint64_t number;

	if (kind == 'C' || kind == 'S') {
		if (!gdb_take_number(&text, &number) || (*text && !gdb_take(&text, ';'))) {
			gdb_session_reply_result(session, -EINVAL);
			return;
		}
	}
	if (*text && (!gdb_take_number(&text, &number) || set_pc(session, number) < 0)) {
		gdb_session_reply_result(session, -EINVAL);
		return;
	}
	order_all(session, session->resumed_cpu < 0 && !steps ? GDB_RUN : GDB_STAY);
	session->orders[first].what = steps ? GDB_STEP : GDB_RUN;
	go_on(session);
}

/* -- registers -- */

static const struct kvm_vcpu *chosen(const struct gdb_session *session)
{
	return session->target->vcpus[session->cpu];
}

static int load(struct gdb_session *session)
{
	return gdb_state_load(&session->state, chosen(session));
}

static int set_pc(struct gdb_session *session, uint64_t address)
{
	unsigned i;
	int result = load(session);

	for (i = 0; i < session->layout.count && result == 0; i++)
		if (strcmp(session->layout.registers[i].type, "code_ptr") == 0)
			result = gdb_register_set(&session->layout, &session->state, i,
						  (const uint8_t *)&address);
	return result < 0 ? result : gdb_state_store(&session->state, chosen(session));
}

static void packet_read_registers(struct gdb_session *session)
{
	uint8_t bytes[GDB_REGISTER_BYTES_MAX];
	unsigned i;
	int result = load(session);

	if (result < 0) {
		gdb_session_reply_result(session, result);
		return;
	}
	gdb_reply_begin(&session->reply);
	for (i = 0; i < session->layout.count; i++) {
		gdb_register_get(&session->layout, &session->state, i, bytes);
		gdb_reply_hex(&session->reply, bytes, gdb_register_bytes(&session->layout, i));
	}
	gdb_session_send_reply(session);
}

static void packet_write_registers(struct gdb_session *session, const char *text)
{
	uint8_t bytes[GDB_REGISTER_BYTES_MAX];
	unsigned i;
	int result = load(session);

	/* A packet may be shorter than all registers. */
	for (i = 0; i < session->layout.count && *text && result == 0; i++) {
		if (!gdb_take_hex(&text, bytes, gdb_register_bytes(&session->layout, i)))
			result = -EINVAL;
		else
			result = gdb_register_set(&session->layout, &session->state, i, bytes);
	}
	if (result == 0)
		result = gdb_state_store(&session->state, chosen(session));
	gdb_session_reply_result(session, result);
}

static void packet_read_register(struct gdb_session *session, const char *text)
{
	uint8_t bytes[GDB_REGISTER_BYTES_MAX];
	uint64_t number;
	int result;

	if (!gdb_take_number(&text, &number) || number >= session->layout.count)
		result = -EINVAL;
	else
		result = load(session);
	if (result < 0) {
		gdb_session_reply_result(session, result);
		return;
	}
	gdb_register_get(&session->layout, &session->state, number, bytes);
	gdb_reply_begin(&session->reply);
	gdb_reply_hex(&session->reply, bytes, gdb_register_bytes(&session->layout, number));
	gdb_session_send_reply(session);
}

static void packet_write_register(struct gdb_session *session, const char *text)
{
	uint8_t bytes[GDB_REGISTER_BYTES_MAX];
	uint64_t number;
	int result;

	if (!gdb_take_number(&text, &number) || number >= session->layout.count ||
	    !gdb_take(&text, '=') ||
	    !gdb_take_hex(&text, bytes, gdb_register_bytes(&session->layout, number)))
		result = -EINVAL;
	else
		result = load(session);
	if (result == 0)
		result = gdb_register_set(&session->layout, &session->state, number, bytes);
	if (result == 0)
		result = gdb_state_store(&session->state, chosen(session));
	gdb_session_reply_result(session, result);
}

/* session->architecture's registers, or the CPU's. */
static void choose_layout(struct gdb_session *session)
{
	const struct kvm_cpuid2 *cpuid = session->target->cpuid;
	enum gdb_architecture architecture =
		session->architecture >= 0	   ? (enum gdb_architecture)session->architecture
		: gdb_cpuid_has_long_mode(cpuid) ? GDB_X86_64
						   : GDB_I386;

	gdb_layout_make(&session->layout, architecture, cpuid);
}

/* -- memory -- */

/* ADDRESS,LENGTH */
static bool take_range(const char **text, uint64_t *address, uint64_t *length)
{
	return gdb_take_number(text, address) && gdb_take(text, ',') &&
	       gdb_take_number(text, length);
}

static void packet_read_memory(struct gdb_session *session, const char *text)
{
	uint8_t bytes[GDB_PACKET_MAX / 2];
	uint64_t address, length;
	size_t size;

	if (!take_range(&text, &address, &length)) {
		gdb_session_reply_result(session, -EINVAL);
		return;
	}
	size = gdb_memory_read(&session->memory, session->cpu, address, bytes,
			       length < sizeof(bytes) ? length : sizeof(bytes));
	if (!size && length) {
		gdb_session_reply_result(session, -EFAULT);
		return;
	}
	gdb_reply_begin(&session->reply);
	gdb_reply_hex(&session->reply, bytes, size);
	gdb_session_send_reply(session);
}

/* M: in digits; X: as bytes, of which `end` is the end. */
static void packet_write_memory(struct gdb_session *session, const char *text, const char *end,
				bool is_binary)
{
	uint8_t bytes[GDB_PACKET_MAX];
	uint64_t address, length;
	bool is_good = take_range(&text, &address, &length) && gdb_take(&text, ':') &&
		       length <= sizeof(bytes);

	if (is_good && is_binary) {
		is_good = (uint64_t)(end - text) == length;
		if (is_good)
			memcpy(bytes, text, length);
	} else if (is_good) {
		is_good = gdb_take_hex(&text, bytes, length);
	}
	gdb_session_reply_result(session,
				 is_good ? gdb_memory_write(&session->memory, session->cpu, address,
							    bytes, length)
					 : -EINVAL);
}

/* -- breakpoints -- */

static void packet_breakpoint(struct gdb_session *session, const char *text, bool adds)
{
	uint64_t kind, address, length;
	int result;

	if (!gdb_take_number(&text, &kind) || !gdb_take(&text, ',') ||
	    !take_range(&text, &address, &length)) {
		gdb_session_reply_result(session, -EINVAL);
		return;
	}
	/* The CPU watches writes, or both: gdb makes do with that when reads are not known. */
	if (kind > GDB_WATCH_ACCESS || kind == GDB_WATCH_READ) {
		gdb_session_reply(session, "");
		return;
	}
	if (adds)
		result = gdb_break_add(&session->breakpoints, session->cpu, kind, address, length);
	else
		result = gdb_break_remove(&session->breakpoints, kind, address, length);
	/* Its kind may have become another by being added twice: what is gone is gone. */
	gdb_session_reply_result(session, result == -ENOENT ? 0 : result);
}

/* -- threads, and the end -- */

static void packet_choose_thread(struct gdb_session *session, const char *text)
{
	char operation = *text;
	int cpu;

	if (!operation || (text++, take_thread(session, &text, &cpu) < 0)) {
		gdb_session_reply_result(session, -EINVAL);
		return;
	}
	if (operation == 'c')
		session->resumed_cpu = cpu;
	else if (cpu >= 0)
		session->cpu = (unsigned)cpu;
	gdb_session_reply_result(session, 0);
}

static void packet_is_alive(struct gdb_session *session, const char *text)
{
	int cpu;

	gdb_session_reply_result(session,
				 take_thread(session, &text, &cpu) < 0 || cpu < 0 ? -ESRCH : 0);
}

static void leave(struct gdb_session *session)
{
	session->is_leaving = true;
	gdb_breakpoints_lift(&session->breakpoints);
	gdb_breakpoints_free(&session->breakpoints);
}

static void packet_detach(struct gdb_session *session)
{
	leave(session);
	gdb_session_reply_result(session, 0);
	order_all(session, GDB_RUN);
	go_on(session);
}

static void kill_target(struct gdb_session *session)
{
	leave(session);
	session->target->ops->quit(session->target);
}

static void packet_v(struct gdb_session *session, const char *text)
{
	if (strncmp(text, "Cont;", 5) == 0) {
		packet_vcont(session, text + 4);
	} else if (strcmp(text, "Cont?") == 0) {
		gdb_session_reply(session, "vCont;c;C;s;S;r");
	} else if (strncmp(text, "Kill;", 5) == 0) {
		gdb_session_reply_result(session, 0);
		kill_target(session);
	} else {
		gdb_session_reply(session, "");
	}
}

static void execute(struct gdb_session *session)
{
	const char *packet = (const char *)session->parser.data, *text = packet + 1;

	switch (*packet) {
	case '?': reply_stop(session); break;
	case '!': gdb_session_reply_result(session, 0); break;
	case 'c':
	case 'C':
	case 's':
	case 'S': packet_old_resume(session, *packet, text); break;
	case 'v': packet_v(session, text); break;
	case 'g': packet_read_registers(session); break;
	case 'G': packet_write_registers(session, text); break;
	case 'p': packet_read_register(session, text); break;
	case 'P': packet_write_register(session, text); break;
	case 'm': packet_read_memory(session, text); break;
	case 'M': packet_write_memory(session, text, NULL, false); break;
	case 'X':
		packet_write_memory(session, text, packet + session->parser.size, true);
		break;
	case 'Z': packet_breakpoint(session, text, true); break;
	case 'z': packet_breakpoint(session, text, false); break;
	case 'H': packet_choose_thread(session, text); break;
	case 'T': packet_is_alive(session, text); break;
	case 'D': packet_detach(session); break;
	case 'k': kill_target(session); break;
	case 'R': session->target->ops->reset(session->target); break;
	case 'q':
	case 'Q':
		if (!gdb_query(session, packet))
			gdb_session_reply(session, "");
		break;
	default: gdb_session_reply(session, ""); break;
	}
}

static void acknowledge(struct gdb_session *session, const char *how)
{
	if (!session->no_ack)
		session->send(session->context, (const uint8_t *)how, 1);
}

size_t gdb_session_receive(struct gdb_session *session, const uint8_t *bytes, size_t size)
{
	size_t taken = 0;

	while (taken < size && !session->is_waiting && !session->is_leaving) {
		switch (gdb_parse(&session->parser, bytes[taken++])) {
		case GDB_PACKET:
			acknowledge(session, "+");
			execute(session);
			break;
		case GDB_BROKEN: acknowledge(session, "-"); break;
		case GDB_RESEND:
			if (!session->no_ack && session->reply.size)
				session->send(session->context, session->reply.bytes,
					      session->reply.size);
			break;
		default: break; /* it stands still already */
		}
	}
	return taken;
}

/* -- life -- */

void gdb_session_init(struct gdb_session *session, struct gdb_target *target)
{
	memset(session, 0, sizeof(*session));
	session->target = target;
	session->architecture = -1;
	session->memory.target = target;
	session->breakpoints.memory = &session->memory;
	choose_layout(session);
}

void gdb_session_free(struct gdb_session *session)
{
	gdb_breakpoints_free(&session->breakpoints);
	gdb_memory_free(&session->memory);
}

void gdb_session_begin(struct gdb_session *session)
{
	session->is_there = true;
	session->is_waiting = session->is_leaving = false;
	session->no_ack = session->knows_swbreak = session->knows_hwbreak = false;
	session->memory.is_physical = false;
	session->cpu = session->listed = 0;
	session->resumed_cpu = -1;
	session->last_stop = (struct gdb_stop){.kind = GDB_STOP_STEP};
	session->parser.state = GDB_BETWEEN;
	session->reply.size = 0;
	choose_layout(session);
}

void gdb_session_end(struct gdb_session *session)
{
	bool goes_on = !session->is_leaving;

	if (!session->is_there)
		return;
	session->is_there = false;
	leave(session);
	if (!goes_on)
		return;
	order_all(session, GDB_RUN);
	go_on(session);
}

void gdb_session_resetting(struct gdb_session *session)
{
	gdb_breakpoints_lift(&session->breakpoints);
}

void gdb_session_was_reset(struct gdb_session *session)
{
	gdb_breakpoints_refresh(&session->breakpoints, session->cpu);
}
