/*
 * The tier: who may run directly, and what to do when it stops.
 *
 * Whatever a stub stops for, the CPU is brought into the state at that instruction, and then either the
 * guest's page tables are asked (a page fault), or the last tier executes the one instruction, which
 * raises what it raises or is emulated: so the guest sees what the interpreter would have shown it. The
 * kernel's part of a system call is then another tier's, until CPL is 3 again.
 */
#include <errno.h>
#include <linux/audit.h>
#include <signal.h>

#include "engine/run/direct/internal.h"
#include "engine/run/direct/locked.h"
#include "engine/run/direct/look.h"
#include "engine/x86/bytes.h"
#include "engine/x86/exception.h"
#include "engine/x86/host/host.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/mmio.h"
#include "engine/x86/system.h"

/* Pieces of code in one page that the last tier executes before others are asked. */
#define PIECES_MAX 512

/* ... when they have left the page. */
#define LINGER 2
/* ... behind a CPUID that follows another: programs begin with some tens of them. */
#define PIECES_BEHIND_CPUID 32

#define PROBE_CALL 335

#define VSYSCALL_BASE 0xffffffffff600000ull

/* Bits of the kernel's page fault error code in a frame. */
#define ERROR_WRITE 2
#define ERROR_FETCH 16

/* What the kernel tells of a signal: siginfo_t's start. */
struct stop {
	int32_t number, error, code, padding;
	uint64_t address; /* SIGSYS: behind the instruction that made the call, */
	int32_t call;     /* ... its number, */
	uint32_t set;     /* ... and whose table that is of, AUDIT_ARCH_* */
};

/* -- stubs -- */

static void wake(struct cpu *cpu)
{
	const struct direct_process *process = atomic_load(&direct_of(cpu)->running);

	if (process)
		process_kick(process);
}

/* How a stub's turn ended. */
enum turn {
	TURN_STOPPED,
	TURN_NOT_BEGUN, /* it had ended before; the CPU's state is what it was */
	TURN_LOST,      /* it ended amid guest code, whose registers nobody has */
};

/* Something is asked of the CPU that the stub has to stop for. */
static bool is_wanted(const struct cpu *cpu)
{
	return atomic_load(&cpu->requests) & ~(uint32_t)CPU_REQUEST_STOP_BLOCK;
}

/* Let it run until it stops, or ends. */
static enum turn run_process(struct direct *direct, struct direct_process *process)
{
	struct cpu *cpu = direct->cpu;
	uint64_t began = __builtin_ia32_rdtsc(), took;
	int result;

	/* Before it can run: sections that find on record what its commands map stop it then. */
	cpu_go_apart(cpu);
	result = process_resume(process);
	if (result < 0) {
		cpu_come_back(cpu);
		return TURN_NOT_BEGUN;
	}
	atomic_store(&direct->running, process);
	atomic_store(&cpu->wake, wake);
	/* Whoever asked before has not seen the two. */
	if (is_wanted(cpu))
		process_kick(process);
	while (result == 0) {
		result = process_wait(process);
		if (result != -EINTR)
			break;
		if (is_wanted(cpu))
			process_kick(process);
		result = 0;
	}
	atomic_store(&cpu->wake, NULL);
	atomic_store(&direct->running, NULL);
	took = __builtin_ia32_rdtsc() - began;
	cpu->tiers->ticks_elsewhere += took;
	crossing_note(&direct->crossing, took);
	cpu_come_back(cpu);
	return result == 0 ? TURN_STOPPED : TURN_LOST;
}

/* Have the last tier execute up to so many pieces; fewer when it has been outside the page where this
 * begins for `linger` of them. Whether it ended before all were done. May unwind. */
static bool interpret(struct cpu *cpu, unsigned pieces, unsigned linger)
{
	struct direct *direct = direct_of(cpu);
	uint64_t page = cpu->rip >> 12;
	unsigned outside = 0;

	for (unsigned i = 0; i < pieces; i++) {
		tier_last(cpu)->run_piece(cpu);
		direct->counters.pieces++;
		outside = cpu->rip >> 12 == page ? 0 : outside + 1;
		if (cpu->requests || cpu->is_leaving || cpu->cpl != 3 || outside >= linger)
			return true;
	}
	return false;
}

/* -- stops -- */

/* Execute the instruction at cpu->rip. May unwind. */
static void emulate(struct direct *direct)
{
	struct cpu *cpu = direct->cpu;

	cpu->insn = NULL;
	cpu->next_rip = cpu->rip;
	tier_last(cpu)->run_one(cpu);
	if (cpu->io.cursor | cpu->io.done)
		io_reset(cpu);
}

static void note_fill(struct direct *direct, uint64_t gva)
{
	direct->fault_rip = direct->cpu->rip;
	direct->fault_gva = gva;
	direct->fault_entry = direct->counters.entries;
}

static void stop_for_fault(struct direct *direct, struct shadow_space *space, uint64_t gva,
			   uint64_t error)
{
	struct cpu *cpu = direct->cpu;
	enum paging_access access = error & ERROR_FETCH ? PAGING_FETCH :
				    error & ERROR_WRITE ? PAGING_WRITE : PAGING_READ;
	bool is_again = direct->fault_rip == cpu->rip && direct->fault_gva == gva &&
			direct->fault_entry + 1 == direct->counters.entries;

	cpu->insn = NULL;
	cpu->next_rip = cpu->rip;
	/* The page of the instruction itself is looked at before each entry, unless it was in vain. */
	if (access == PAGING_FETCH && (gva & ~0xfffull) == (cpu->rip & ~0xfffull)) {
		const struct shadow_page *page = shadow_find(space, gva);

		note_fill(direct, gva);
		if (!is_again || !page || !(page->rights & SHADOW_EXECUTE))
			return;
		shadow_lose_page(&direct->shadow, space, gva);
	}
	/* It was filled, and yet there it is again: the stub could not map it. */
	if (is_again) {
		direct->counters.repeated++;
		emulate(direct);
	} else if (fill_page(direct, space, gva, access) != FILL_DONE) {
		direct->counters.refused++;
		emulate(direct);
	} else {
		note_fill(direct, gva);
		direct->counters.fills++;
	}
}

/* Whether the two bytes before RIP are INT 80h: not SYSENTER, which loses RIP. Where they cannot be read, yes. */
static bool is_interrupt_call(struct cpu *cpu)
{
	uint64_t gpa;
	const uint8_t *bytes = lin_fetch_pointer(cpu, cpu->rip - 2, &gpa);

	return !bytes || (gpa & 0xfff) == 0xfff || (bytes[0] == 0xcd && bytes[1] == 0x80);
}

static void stop_for_call(struct direct *direct, uint64_t address, uint32_t set)
{
	struct cpu *cpu = direct->cpu;

	direct->counters.system_calls++;
	if (set == AUDIT_ARCH_I386 && !is_interrupt_call(cpu))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if (address >> 12 == VSYSCALL_BASE >> 12) {
		/* The host's kernel has emulated a call of its own page, and the return from it. */
		cpu->gpr[CPU_RSP] -= 8;
		cpu->rip = address;
		return;
	}
	cpu->rip -= 2;
	emulate(direct);
}

static void stop_for_breakpoint(struct direct *direct, uint64_t trap)
{
	struct cpu *cpu = direct->cpu;
	uint64_t gpa;
	const uint8_t *byte;

	if (trap == EXCEPTION_DB)
		debug_raise(cpu, DR6_BS);
	byte = lin_fetch_pointer(cpu, cpu->rip - 1, &gpa);
	cpu->rip -= byte && *byte == 0xcc ? 1 : 2;
	emulate(direct);
}

/* The page at RIP is a copy with traps in the stub. */
static bool runs_copy(const struct direct *direct, struct shadow_space *space)
{
	const struct shadow_page *page = shadow_find_small(space, direct->cpu->rip);

	return page && (page->rights & SHADOW_COPY);
}

static void stop_for_protection(struct direct *direct, struct shadow_space *space)
{
	struct cpu *cpu = direct->cpu;
	uint64_t gpa;
	const uint8_t *bytes = lin_fetch_pointer(cpu, cpu->rip, &gpa);
	bool is_cpuid = bytes && (gpa & 0xfff) < 0xfff && bytes[0] == 0x0f && bytes[1] == 0xa2;

	if (!is_cpuid) {
		if (runs_copy(direct, space))
			direct->counters.trapped++;
		else
			direct->counters.exceptions++;
		emulate(direct);
		return;
	}
	direct->counters.cpuids++;
	emulate(direct);
	if (direct->cpuid_entry + 1 >= direct->counters.entries)
		interpret(cpu, PIECES_BEHIND_CPUID, PIECES_BEHIND_CPUID);
	direct->cpuid_entry = direct->counters.entries;
}

/* An interrupt, or somebody else who wants the CPU. */
static void stop_for_kick(struct direct *direct)
{
	struct cpu *cpu = direct->cpu;

	direct->counters.kicks++;
	if (cpu->is_alone && direct->present && !direct->is_always &&
	    !policy_sample(direct->policy, __builtin_ia32_rdtsc(), direct->crossing.ticks,
			   locked_is_behind(cpu)))
		direct->counters.locked++;
}

/* Bytes of the instruction that RIP is behind, having been executed or not; -1: this is another place. */
static int bytes_behind(struct cpu *cpu, const struct stop *stop, uint64_t trap)
{
	uint64_t gpa;
	const uint8_t *byte;

	switch (stop->number) {
	case SIGSYS: return stop->address >> 12 == VSYSCALL_BASE >> 12 ? -1 : 2;
	case SIGILL: return stop->code == SI_KERNEL ? 2 : 0;
	case SIGTRAP:
		if (trap == EXCEPTION_DB)
			return -1;
		byte = lin_fetch_pointer(cpu, cpu->rip - 1, &gpa);
		return byte && *byte == 0xcc ? 1 : 2;
	case SIGSEGV: return trap == EXCEPTION_OF;
	default: return 0;
	}
}

/* For who looks for errors. */
static void compare_stop(struct direct *direct, const struct stop *stop, uint64_t trap)
{
	struct cpu *cpu = direct->cpu;
	int behind = bytes_behind(cpu, stop, trap);

	if (behind < 0)
		return;
	cpu->rip -= (unsigned)behind;
	compare_end(direct, stop->number == SIGSYS || (stop->number == SIGILL && behind), stop->number == DIRECT_KICK);
	cpu->rip += (unsigned)behind;
}

static void look_at_stop(struct direct *direct, struct shadow_space *space)
{
	struct cpu *cpu = direct->cpu;
	const struct direct_process *process = process_of(direct, space);
	struct direct_frame frame;
	struct stop stop;

	bytes_copy(&stop, process->page + process->info, sizeof(stop));
	bytes_copy(&frame, process_frame(process), sizeof(frame));
	state_from_stub(direct, process);
	if (direct->comparison)
		compare_stop(direct, &stop, frame.trap);
	switch (stop.number) {
	case DIRECT_KICK: stop_for_kick(direct); break;
	case SIGSYS: stop_for_call(direct, stop.address, stop.set); break;
	case SIGILL:
		/* Of the kernel's own: two calls for its probes, which no filter sees (uretprobe(2)). The
		 * guest's kernel knows neither. */
		if (stop.code == SI_KERNEL) {
			cpu->gpr[CPU_RAX] = PROBE_CALL;
			stop_for_call(direct, 0, 0);
			break;
		}
		direct->counters.exceptions++;
		emulate(direct);
		break;
	case SIGTRAP: stop_for_breakpoint(direct, frame.trap); break;
	case SIGSEGV:
		if (frame.trap == EXCEPTION_PF) {
			stop_for_fault(direct, space, frame.cr2, frame.error);
			break;
		}
		if (frame.trap == EXCEPTION_GP) {
			stop_for_protection(direct, space);
			break;
		}
		/* INTO, which is a trap. */
		if (frame.trap == EXCEPTION_OF)
			cpu->rip--;
		/* fall through */
	default:
		direct->counters.exceptions++;
		emulate(direct);
		break;
	}
}

/* The page of the next instruction can be executed by the stub. */
static enum fill prepare_code(struct direct *direct, struct shadow_space *space)
{
	struct cpu *cpu = direct->cpu;
	const struct shadow_page *page = shadow_find(space, cpu->rip);

	if (page && (page->rights & SHADOW_EXECUTE))
		return FILL_DONE;
	cpu->insn = NULL;
	cpu->next_rip = cpu->rip;
	return fill_page(direct, space, cpu->rip, PAGING_FETCH);
}

/*
 * Code that is not to be run directly, such as the vDSO's: the last tier runs it until it leaves its
 * page, as it does after some instructions nearly always. False: it stays. May unwind.
 */
static bool run_sensitive(struct cpu *cpu)
{
	struct direct *direct = direct_of(cpu);

	direct->counters.sensitive++;
	if (direct->present && !direct->is_always &&
	    !policy_visit(direct->policy, __builtin_ia32_rdtsc(), direct->crossing.ticks)) {
		direct->counters.holds++;
		return false;
	}
	if (interpret(cpu, PIECES_MAX, LINGER))
		return true;
	direct->counters.stays++;
	return false;
}

/* One more crossing. False: no more of them until the kernel was entered. */
static bool may_cross(struct direct *direct)
{
	uint64_t now;

	if (!direct->present || direct->is_always)
		return true;
	now = __builtin_ia32_rdtsc();
	if (policy_cross(direct->policy, now, now - direct->stay_began, direct->crossing.ticks))
		return true;
	direct->counters.holds++;
	return false;
}

/*
 * Guest code's registers are gone with its stub, which somebody has killed, be it itself. What it did to memory
 * stands, so that it cannot go on from where it was let go: its kernel is told what ends programs. Unwinds.
 */
static void lose_program(struct direct *direct)
{
	struct cpu *cpu = direct->cpu;

	direct->counters.lost++;
	cpu->insn = NULL;
	cpu->next_rip = cpu->rip;
	cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

/* The guest's kernel has changed what its programs may execute: code that came in is looked through again. */
static void see_allowed(struct direct *direct)
{
	unsigned allowed = look_allowed(direct) & (ALLOW_RDTSC | ALLOW_FSGSBASE);

	if (allowed != direct->allowed)
		shadow_doubt_all(&direct->shadow, true);
	direct->allowed = allowed;
}

enum tier_stop direct_run(struct cpu *cpu)
{
	struct direct *direct = direct_of(cpu);

	if (cpu->cpl != 3)
		return TIER_DECLINES;
	/* Code that is another tier's stays there until the kernel has been there. */
	if (direct->declines)
		return TIER_DECLINES;
	fpu_leave(cpu);
	if (!direct->is_looked_at) {
		direct->is_looked_at = true;
		direct->obstacle_of_cpuid = hidden_is_executable(cpu) ? OBSTACLE_HIDDEN : OBSTACLE_NONE;
	}
	if (direct->cpuid_faults)
		process_adopt_thread();
	see_allowed(direct);
	while (!cpu->requests && !cpu->is_leaving) {
		struct shadow_space *space;
		enum direct_obstacle obstacle;
		enum fill fill;
		enum turn turn;

		if (cpu->cpl != 3)
			return TIER_DECLINES;
		fpu_leave(cpu);
		obstacle = direct->obstacle_of_cpuid ? direct->obstacle_of_cpuid : direct_obstacle(cpu);
		space = obstacle ? NULL : supply_space(direct);
		if (!space) {
			direct->counters.obstacles[obstacle ? obstacle : OBSTACLE_PLACE]++;
			direct->declines = true;
			return TIER_DECLINES;
		}
		fill_settle(direct, space);
		fill_compare_copies(direct, space);
		fill = prepare_code(direct, space);
		if (cpu->requests)
			break;
		if (fill != FILL_DONE) {
			if (run_sensitive(cpu))
				continue;
			direct->declines = true;
			return TIER_DECLINES;
		}
		fill_ahead(direct, space);
		if (cpu->requests)
			break;
		/* What the filling has made others drop. */
		fill_settle(direct, space);
		fill_unmap_losses(direct, space);
		if (!may_cross(direct)) {
			direct->declines = true;
			return TIER_DECLINES;
		}
		compare_begin(direct);
		state_to_stub(direct, process_of(direct, space));
		direct->counters.entries++;
		direct->counters.narrow += !cpu_is_64(cpu);
		cpu_begins(cpu, CPU_RUNS_DIRECT);
		turn = run_process(direct, process_of(direct, space));
		cpu_begins(cpu, CPU_DISPATCHES);
		if (turn != TURN_STOPPED) {
			supply_end(direct, space);
			direct->counters.failures++;
			if (turn == TURN_LOST)
				lose_program(direct);
			continue;
		}
		if (process_control(process_of(direct, space))->failure)
			shadow_lose_space(&direct->shadow, space);
		look_at_stop(direct, space);
	}
	return TIER_INTERRUPTED;
}

/* A stay in ring 3 begins. Whether it is to be a direct one. */
static bool begin_stay(struct direct *direct)
{
	direct->present = book_find(&direct->book, direct->cpu, direct->crossing.ticks);
	direct->policy = book_policy(&direct->book, direct->present, direct->cpu);
	direct->is_skipped = !direct->is_always && policy_skips(direct->policy);
	direct->cpu->tells_stay = !direct->is_skipped;
	if (direct->is_skipped) {
		direct->untold = policy_skip_more(direct->policy);
		direct->cpu->untold_stays = direct->untold;
		return false;
	}
	direct->entries_before = direct->counters.entries;
	direct->stay_began = __builtin_ia32_rdtsc();
	return direct->is_always || policy_is_direct(direct->policy, direct->stay_began);
}

/* A SYSCALL of 64-bit code is under way, by which Linux ends a process. */
static bool is_exit(const struct cpu *cpu)
{
	return cpu->delivering == EVENT_NONE && cpu->next_rip == cpu->lstar && cpu->gpr[CPU_RAX] == cpu->told_call;
}

/* What the stay has cost. */
static void note_stay(struct direct *direct, enum policy_end end)
{
	uint64_t ticks = __builtin_ia32_rdtsc() - direct->stay_began;
	uint64_t crossings = direct->counters.entries - direct->entries_before;
	unsigned weight = policy_weight(direct->policy, end);

	if (direct->stay_began >= direct->policy->held_until)
		policy_note(direct->policy, ticks, crossings, direct->crossing.ticks, end);
	book_note(&direct->book, direct->present, direct->policy, ticks * weight, crossings, crossings > 0,
		  direct->crossing.ticks);
}

static void end_stay(struct direct *direct)
{
	bool is_event = direct->cpu->delivering == EVENT_NONE || direct->cpu->delivering == EVENT_PAGE_FAULT;
	enum policy_end end = is_event ? POLICY_EVENT : POLICY_OTHER;

	if (!direct->present)
		return;
	if (direct->is_skipped)
		policy_note_skipped(direct->policy, end);
	else
		note_stay(direct, end);
	if (is_exit(direct->cpu))
		book_end(&direct->book, direct->present, direct->crossing.ticks);
	direct->present = NULL;
}

/* Stays behind one that was skipped, of which nobody told, have begun and ended as parts of that. Those that have not come
 * will be told of. */
static void end_untold(struct direct *direct)
{
	unsigned left = (unsigned)direct->cpu->untold_stays;

	if (!direct->untold)
		return;
	policy_give_back(direct->policy, left);
	direct->counters.translated_stays += direct->untold - left;
	direct->untold = 0;
	direct->cpu->untold_stays = 0;
}

/* CPL is 3 again: have whoever runs hand over. */
void direct_access_changed(struct cpu *cpu)
{
	struct direct *direct = direct_of(cpu);

	end_untold(direct);
	if (cpu->cpl != 3) {
		if (!direct->was_kernel)
			end_stay(direct);
		direct->was_kernel = true;
		return;
	}
	if (!direct->was_kernel) {
		/* Nobody need have told that it was left. */
		if (cpu->tells_stay)
			return;
		direct->present = NULL;
	}
	direct->was_kernel = false;
	/* Such a stay says nothing of what tiers cost. */
	if (supply_rests(direct)) {
		cpu->tells_stay = direct->declines = true;
		return;
	}
	direct->declines = !begin_stay(direct);
	if (direct->declines)
		direct->counters.translated_stays++;
	else
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}
