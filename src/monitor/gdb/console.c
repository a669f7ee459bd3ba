/* What a person types behind gdb's `monitor`. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "monitor/gdb/session.h"

#define TEXT_MAX 4096

static void say(struct gdb_session *session, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Console output goes by O packets, before the reply. */
static void say(struct gdb_session *session, const char *format, ...)
{
	char text[TEXT_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	gdb_reply_begin(&session->reply);
	gdb_reply_text(&session->reply, "O");
	gdb_reply_hex(&session->reply, text, strlen(text));
	gdb_session_send_reply(session);
}

static void say_segment(struct gdb_session *session, const char *name,
			const struct kvm_segment *segment)
{
	say(session, "%-3s %04x base %016" PRIx64 " limit %08x type %x s %u dpl %u p %u l %u db %u%s\n",
	    name, segment->selector, (uint64_t)segment->base, segment->limit, segment->type,
	    segment->s, segment->dpl, segment->present, segment->l, segment->db,
	    segment->unusable ? " unusable" : "");
}

static const char *mode(const struct kvm_sregs *sregs, const struct kvm_regs *regs)
{
	if (!(sregs->cr0 & 1))
		return "real mode";
	if (regs->rflags & 0x20000)
		return "virtual-8086 mode";
	if (sregs->efer & 0x400)
		return sregs->cs.l ? "64-bit mode" : "compatibility mode";
	return sregs->cs.db ? "32-bit protected mode" : "16-bit protected mode";
}

static void info_registers(struct gdb_session *session, const char *rest)
{
	static const char *const names[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
					    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
	struct gdb_state *state = &session->state;
	const struct kvm_sregs *sregs = &state->sregs;
	unsigned i;

	(void)rest;
	if (gdb_state_load(state, session->target->vcpus[session->cpu]) < 0) {
		say(session, "the registers cannot be read\n");
		return;
	}
	say(session, "CPU %u in %s, CPL %u\n", session->cpu, mode(sregs, &state->regs),
	    sregs->cr0 & 1 ? sregs->ss.dpl : 0);
	for (i = 0; i < 16; i += 4)
		say(session,
		    "%-3s %016" PRIx64 " %-3s %016" PRIx64 " %-3s %016" PRIx64 " %-3s %016" PRIx64 "\n",
		    names[i], (uint64_t)(&state->regs.rax)[i], names[i + 1],
		    (uint64_t)(&state->regs.rax)[i + 1], names[i + 2],
		    (uint64_t)(&state->regs.rax)[i + 2], names[i + 3],
		    (uint64_t)(&state->regs.rax)[i + 3]);
	say(session, "rip %016" PRIx64 " rflags %08" PRIx64 "\n", (uint64_t)state->regs.rip,
	    (uint64_t)state->regs.rflags);
	say_segment(session, "cs", &sregs->cs);
	say_segment(session, "ss", &sregs->ss);
	say_segment(session, "ds", &sregs->ds);
	say_segment(session, "es", &sregs->es);
	say_segment(session, "fs", &sregs->fs);
	say_segment(session, "gs", &sregs->gs);
	say_segment(session, "tr", &sregs->tr);
	say_segment(session, "ldt", &sregs->ldt);
	say(session, "gdt %016" PRIx64 " limit %04x, idt %016" PRIx64 " limit %04x\n",
	    (uint64_t)sregs->gdt.base, sregs->gdt.limit, (uint64_t)sregs->idt.base,
	    sregs->idt.limit);
	say(session, "cr0 %08" PRIx64 " cr2 %016" PRIx64 " cr3 %016" PRIx64 " cr4 %08" PRIx64 "\n",
	    (uint64_t)sregs->cr0, (uint64_t)sregs->cr2, (uint64_t)sregs->cr3, (uint64_t)sregs->cr4);
	say(session, "cr8 %" PRIx64 " efer %" PRIx64 " xcr0 %" PRIx64 " apic_base %" PRIx64
		     " k_gs_base %016" PRIx64 "\n",
	    (uint64_t)sregs->cr8, (uint64_t)sregs->efer, state->xcr0, (uint64_t)sregs->apic_base,
	    state->kernel_gs_base);
	say(session, "dr0 %016" PRIx64 " dr1 %016" PRIx64 " dr2 %016" PRIx64 " dr3 %016" PRIx64
		     " dr6 %08" PRIx64 " dr7 %08" PRIx64 "\n",
	    (uint64_t)state->debugregs.db[0], (uint64_t)state->debugregs.db[1],
	    (uint64_t)state->debugregs.db[2], (uint64_t)state->debugregs.db[3],
	    (uint64_t)state->debugregs.dr6, (uint64_t)state->debugregs.dr7);
}

static void info_breakpoints(struct gdb_session *session, const char *rest)
{
	static const char *const kinds[] = {"software", "hardware", "write", "read", "access"};
	unsigned i;

	(void)rest;
	for (i = 0; i < session->breakpoints.count; i++) {
		const struct gdb_breakpoint *one = &session->breakpoints.list[i];

		say(session, "%s at %" PRIx64 "%s\n", kinds[one->kind], one->address,
		    one->is_planted			? ", planted"
		    : one->kind == GDB_BREAK_SOFTWARE ? ", by a debug register"
						      : "");
	}
	say(session, "%u of 4 debug registers\n", session->breakpoints.registers_used);
}

static void reset(struct gdb_session *session, const char *rest)
{
	(void)rest;
	session->target->ops->reset(session->target);
	say(session, "the machine is reset; it stands still (and gdb shows old registers: flushregs)\n");
}

static void quit(struct gdb_session *session, const char *rest)
{
	(void)rest;
	session->target->ops->quit(session->target);
}

static void physical(struct gdb_session *session, const char *rest)
{
	if (strcmp(rest, "on") == 0)
		session->memory.is_physical = true;
	else if (strcmp(rest, "off") == 0)
		session->memory.is_physical = false;
	else if (*rest)
		say(session, "'%s' is neither: use on or off\n", rest);
	say(session, "addresses of memory are %s\n",
	    session->memory.is_physical ? "physical" : "virtual");
}

static void architecture(struct gdb_session *session, const char *rest)
{
	int found = gdb_architecture_find(rest);

	if (strcmp(rest, "auto") == 0)
		session->architecture = -1;
	else if (found >= 0)
		session->architecture = found;
	else if (*rest)
		say(session, "'%s' is none: use i386:x86-64, i386, i8086 or auto\n", rest);
	say(session, "registers are those of %s from the next connection on; now of %s\n",
	    session->architecture < 0 ? "the CPU" : gdb_architecture_name(session->architecture),
	    gdb_architecture_name(session->layout.architecture));
}

static void help(struct gdb_session *session, const char *rest);

static const struct console_command {
	const char *name, *arguments, *text;
	void (*run)(struct gdb_session *session, const char *rest);
} commands[] = {
	{"help", "", "this list", help},
	{"info registers", "", "all registers of the thread's CPU, with segments and tables",
	 info_registers},
	{"info breakpoints", "", "what is planted or watched now", info_breakpoints},
	{"physical", " [on|off]", "memory by physical addresses", physical},
	{"arch", " [NAME|auto]", "registers as i386:x86-64, i386 or i8086", architecture},
	{"reset", "", "reset the machine", reset},
	{"quit", "", "end the machine", quit},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(struct gdb_session *session, const char *rest)
{
	char usage[48];
	unsigned i;

	(void)rest;
	for (i = 0; i < COMMANDS; i++) {
		snprintf(usage, sizeof(usage), "%s%s", commands[i].name, commands[i].arguments);
		say(session, "%-22s %s\n", usage, commands[i].text);
	}
}

void gdb_console(struct gdb_session *session, const char *line)
{
	unsigned i;

	for (i = 0; i < COMMANDS; i++) {
		size_t length = strlen(commands[i].name);

		if (strncmp(line, commands[i].name, length) != 0 ||
		    (line[length] && line[length] != ' '))
			continue;
		commands[i].run(session, line + length + strspn(line + length, " "));
		break;
	}
	if (i == COMMANDS)
		say(session, "'%s' is no command; there is help\n", line);
	gdb_session_reply_result(session, 0);
}
