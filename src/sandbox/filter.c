/*
 * The seccomp filter: what calls.c lists is allowed, everything else raises SIGSYS, whose handler
 * says in one line which call it was and lets the process die of it. A thread that blocks SIGSYS, or
 * whose code has taken the handler away, dies or gets nothing all the same: no refused call is ever
 * made.
 *
 * libseccomp puts it together. Calls for other instruction sets (int 0x80, x32) are refused as a whole, and end the
 * process at once, but for the one whose stubs run a guest's code: there each is a call of the guest's, as any other.
 */
#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/calls.h"
#include "sandbox/internal.h"

/* Enough for the calls of today and some years. */
#define NAMES 512

/* Written once, before the filter is there; a handler may not ask libseccomp, which allocates. */
static char *names[NAMES];
static struct sigaction previous;

static size_t append(char *line, size_t used, size_t size, const char *text)
{
	size_t length = strlen(text);

	if (length > size - used)
		length = size - used;
	memcpy(line + used, text, length);
	return used + length;
}

static void say_refused(unsigned call)
{
	char line[160], digits[12];
	size_t used = 0, at = sizeof(digits) - 1;
	unsigned rest = call;

	digits[at] = '\0';
	do
		digits[--at] = '0' + rest % 10;
	while (rest /= 10);
	used = append(line, used, sizeof(line), "kvik: system call ");
	used = append(line, used, sizeof(line), digits + at);
	if (call < NAMES && names[call]) {
		used = append(line, used, sizeof(line), " (");
		used = append(line, used, sizeof(line), names[call]);
		used = append(line, used, sizeof(line), ")");
	}
	used = append(line, used, sizeof(line),
		      " is not in the sandbox's list: an attack, or a fault in kvik\n");
	if (write(STDERR_FILENO, line, used) < 0)
		return;
}

static void refused(int number, siginfo_t *info, void *context)
{
	(void)context;
	say_refused(info->si_syscall);
	/* Whoever was there before may have a terminal to restore; the default is to die. */
	sigaction(number, &previous, NULL);
	raise(number); /* taken when this handler returns */
}

static void watch_refusals(void)
{
	struct sigaction action = {.sa_sigaction = refused, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	int number;

	for (number = 0; number < NAMES; number++)
		if (!names[number])
			names[number] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
	sigfillset(&action.sa_mask);
	sigaction(SIGSYS, &action, &previous);
}

static int add_call(scmp_filter_ctx filter, const struct allowed_call *call)
{
	const struct call_condition *condition = call->conditions;
	struct scmp_arg_cmp compared[CALL_CONDITIONS];
	unsigned count = 0;

	for (; count < CALL_CONDITIONS && condition->mask; count++, condition++)
		compared[count] = (struct scmp_arg_cmp){
			.arg = condition->argument,
			.op = SCMP_CMP_MASKED_EQ,
			.datum_a = condition->mask,
			.datum_b = condition->is_own_pid ? (uint64_t)getpid() : condition->value,
		};
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call->number, count, compared);
}

static bool is_wanted(const struct allowed_call *call, const struct sandbox_config *config)
{
	switch (call->group) {
	case CALLS_KVM: return config->uses_kvm;
	case CALLS_HELPERS: return config->uses_helpers;
	case CALLS_LISTENING: return config->listens;
	default: return true;
	}
}

/* A table's calls, the first of them first in the filter. A negative errno of libseccomp's, or 0. */
static int add_calls(scmp_filter_ctx filter, const struct allowed_call *calls, unsigned count,
		     const struct sandbox_config *config)
{
	unsigned i, hot = 255;
	int result = 0;

	for (i = 0; i < count && result == 0; i++) {
		if (config && !is_wanted(&calls[i], config))
			continue;
		result = add_call(filter, &calls[i]);
		/* A call that is allowed as a whole already needs no more. */
		if (result == -EEXIST)
			result = 0;
		if (result == 0 && hot)
			seccomp_syscall_priority(filter, calls[i].number, hot--);
	}
	return result;
}

/* What a call of another instruction set comes to. A negative errno of libseccomp's, or 0. */
static int set_attributes(scmp_filter_ctx filter, uint32_t other_sets)
{
	int result;

	/* All threads; no mitigation for speculative stores that slows the guest, which is no less
	 * confined by it (docs/security.md); and x32 is another instruction set. */
	result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (result == 0)
		result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	if (result == 0)
		result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, other_sets);
	return result;
}

static int load(scmp_filter_ctx filter)
{
	watch_refusals();
	return seccomp_load(filter);
}

int sandbox_install_filter(const struct sandbox_config *config, struct sandbox_report *report,
			   struct error *error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
	int result = filter ? set_attributes(filter, SCMP_ACT_KILL_PROCESS) : -ENOMEM;

	/* The C library tries this one first: its flags are in memory, where no filter sees them. */
	if (result == 0)
		result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SYS_clone3, 0);
	/* And it looks into /proc and /sys when it sees fit: malloc asks for vm.overcommit_memory when it
	 * first gives memory back. Nothing is there. */
	if (result == 0)
		result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOENT), SYS_openat, 0);
	if (result == 0)
		result = add_calls(filter, sandbox_calls, sandbox_call_count, config);
	if (result == 0)
		result = load(filter);
	seccomp_release(filter);
	sandbox_note(report, SANDBOX_FILTER, result == 0, "%s",
		     result == 0 ? "those in the list" : strerror(-result));
	if (result < 0)
		return error_set_errno(error, -result,
				       "cannot confine kvik (seccomp; --sandbox off does without)");
	return 0;
}

int sandbox_install_calls(const struct allowed_call *common, unsigned common_count, const struct allowed_call *calls,
			  unsigned count, bool traps_other_sets)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
	int result = filter ? set_attributes(filter, traps_other_sets ? SCMP_ACT_TRAP : SCMP_ACT_KILL_PROCESS) :
			      -ENOMEM;

	if (result == 0)
		result = add_calls(filter, calls, count, NULL);
	if (result == 0)
		result = add_calls(filter, common, common_count, NULL);
	if (result == 0)
		result = load(filter);
	seccomp_release(filter);
	return result;
}

/* The instructions that libseccomp writes to a descriptor. 0 or -errno. */
static int read_program(int fd, struct sock_fprog *program)
{
	off_t size = lseek(fd, 0, SEEK_END);
	struct sock_filter *instructions;

	if (size <= 0 || size / sizeof(*instructions) > BPF_MAXINSNS)
		return -EIO;
	instructions = malloc(size);
	if (!instructions)
		return -ENOMEM;
	if (pread(fd, instructions, size, 0) != size) {
		free(instructions);
		return -EIO;
	}
	program->len = size / sizeof(*instructions);
	program->filter = instructions;
	return 0;
}

int sandbox_compile_calls(const struct allowed_call *calls, unsigned count, struct sock_fprog *program)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int fd = memfd_create("filter", MFD_CLOEXEC), result = filter ? 0 : -ENOMEM;

	if (fd < 0)
		result = -errno;
	if (result == 0)
		result = add_calls(filter, calls, count, NULL);
	if (result == 0)
		result = seccomp_export_bpf(filter, fd);
	if (result == 0)
		result = read_program(fd, program);
	if (fd >= 0)
		close(fd);
	seccomp_release(filter);
	return result;
}
