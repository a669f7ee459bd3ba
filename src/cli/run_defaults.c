#include "cli/run_defaults.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/endian.h"

#define DEBUG_EXIT_PORT 0xf4
#define CPUS_UNASKED	4 /* at most so many for a system: an installed one, a kernel, or what runs a command */

/* Where a bzImage says that it is one (Documentation/arch/x86/boot.rst), and a multiboot kernel (specification 0.6.96, §3.1). */
#define LINUX_MAGIC_AT	0x202
#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_BYTES 8192

static int check(const struct run_options *options, struct error *error)
{
	const struct boot_config *boot = &options->boot;

	/* It finds a kernel, and checks the rest itself (command.c). */
	if (options->command)
		return options->firmware.text
			       ? error_set(error, EINVAL, "a command needs no --firmware: its machine boots a kernel")
			       : 0;
	if (!boot->kernel && !boot->flat && !options->firmware.text)
		return error_set(error, EINVAL,
				 "nothing to boot: give a DISK, --kernel FILE or --flat FILE, or a command behind --");
	if (boot->kernel && boot->flat)
		return error_set(error, EINVAL, "--kernel and --flat exclude each other");
	if (options->firmware.text && (boot->kernel || boot->flat))
		return error_set(error, EINVAL, "--firmware boots a disk: leave %s away",
				 boot->kernel ? "--kernel" : "--flat");
	if (options->firmware.text && !board_kind_is_pc(options->board))
		return error_set(error, EINVAL, "firmware needs --machine pc or q35");
	if (options->waits_for_gdb && !options->gdb)
		return error_set(error, EINVAL, "--gdb-wait needs --gdb WHERE");
	if (options->picture_path && !board_kind_is_pc(options->board))
		return error_set(error, EINVAL, "--display needs --machine pc or q35");
	if (options->ends_when_saved && !options->save_path)
		return error_set(error, EINVAL, "--end-when-saved needs --save FILE");
	if (!boot->kernel && boot->initrd)
		return error_set(error, EINVAL, "--initrd needs --kernel");
	if (!boot->kernel && boot->command_line)
		return error_set(error, EINVAL, "--append needs --kernel");
	return 0;
}

/* Standard input has one reader: the serial port, if it isn't said to be elsewhere, makes room. */
static int share_stdio(struct run_options *options, struct error *error)
{
	unsigned i, users = options->command != NULL;

	for (i = 0; i < options->port_count; i++)
		users += options->ports[i].where.kind == STREAM_STDIO;
	if (users && !options->has_serial)
		options->serial.kind = STREAM_NONE;
	if (users + (options->serial.kind == STREAM_STDIO) > 1)
		return error_set(error, EINVAL,
				 "only one of --serial, --console, --port and a command can be on "
				 "stdio");
	return 0;
}

/* A number of things that a default decided, for one line. */
struct decided {
	char text[256];
	unsigned count;
};

static void __attribute__((format(printf, 2, 3))) tell(struct decided *decided, const char *format, ...)
{
	size_t used = strlen(decided->text);
	va_list list;

	if (decided->count++)
		used += snprintf(decided->text + used, sizeof(decided->text) - used, ", ");
	va_start(list, format);
	vsnprintf(decided->text + used, sizeof(decided->text) - used, format, list);
	va_end(list);
}

static bool boots_from_network(const struct run_options *options)
{
	unsigned i;

	for (i = 0; i < options->net_count; i++)
		if (options->nets[i].may_boot)
			return true;
	return false;
}

/* As many as kvik may run on, but no more than most guests have a use for; what compares engines looks at one. */
static unsigned cpus_unasked(const struct run_options *options)
{
	cpu_set_t set;
	/* A host with more CPUs than a set has room for says so. */
	int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : CPUS_UNASKED;

	if (options->engine == &kvm_backend_lockstep || options->engine == &kvm_backend_direct_lockstep)
		return 1;
	return count > CPUS_UNASKED ? CPUS_UNASKED : count;
}

/* Linux, by its file: the kernel alone knows what its command line means. */
static bool is_linux(const char *path)
{
	uint8_t head[MULTIBOOT_BYTES];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat status;
	ssize_t size = -1, at;

	if (fd < 0)
		return false;
	/* What can be read but once is left to those who boot it. */
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
		size = pread(fd, head, sizeof(head), 0);
	close(fd);
	if (size >= LINUX_MAGIC_AT + 4 && memcmp(head + LINUX_MAGIC_AT, "HdrS", 4) == 0)
		return true;
	if (size < 4 || memcmp(head, "\177ELF", 4) != 0)
		return false;
	for (at = 0; at + 4 <= size; at += 4)
		if (get_le32(head + at) == MULTIBOOT_MAGIC)
			return false;
	return true;
}

/* Where a kernel's words come out. NULL: nowhere. */
static const char *console_unasked(const struct run_options *options)
{
	unsigned i;

	if (options->serial.kind != STREAM_NONE)
		return "console=ttyS0";
	for (i = 0; i < options->port_count; i++)
		if (!options->ports[i].name)
			return "console=hvc0";
	return NULL;
}

/* A kernel's CPUs and console. */
static void decide_kernel(struct run_options *options, struct decided *decided)
{
	const char *console = console_unasked(options);

	if (!options->cpus) {
		options->cpus = cpus_unasked(options);
		tell(decided, "--cpus %u", options->cpus);
	}
	if (!options->boot.command_line && console && is_linux(options->boot.kernel)) {
		options->boot.command_line = console;
		tell(decided, "--append %s", console);
	}
}

/* A folder and nothing else: a look around in it. */
static void decide_command(struct run_options *options)
{
	const struct boot_config *boot = &options->boot;

	if (!options->share_count || options->command || boot->kernel || boot->flat || options->firmware.text ||
	    options->disk_count || boots_from_network(options) || options->load_path)
		return;
	options->shell = getenv("SHELL");
	if (!options->shell || *options->shell != '/')
		options->shell = "/bin/sh";
	options->command = &options->shell;
	options->command_count = 1;
}

/* What wasn't said, where it isn't the same for all guests. */
static int decide(struct run_options *options, struct error *error)
{
	struct boot_config *boot = &options->boot;
	struct decided decided = {.count = 0};
	int result = 0;

	if (!boot->kernel && !boot->flat && !options->firmware.text && !options->command &&
	    (options->disk_count || boots_from_network(options))) {
		result = firmware_option_parse(&options->firmware, "bios", error);
		tell(&decided, "--firmware bios");
	}
	if (!options->firmware.text) {
		if (options->shell)
			tell(&decided, "-- %s", options->shell);
		else if (boot->kernel && !options->command)
			decide_kernel(options, &decided);
		if (!options->cpus)
			options->cpus = options->command ? cpus_unasked(options) : 1;
		if (options->debug_exit_port == DEBUG_EXIT_NOT_SAID)
			options->debug_exit_port = DEBUG_EXIT_PORT;
		snprintf(options->hint, sizeof(options->hint), "%s", decided.text);
		return 0;
	}
	if (!options->cpus) {
		options->cpus = cpus_unasked(options);
		tell(&decided, "--cpus %u", options->cpus);
	}
	if (!options->has_memory)
		tell(&decided, "--memory %lluG", (unsigned long long)options->memory_bytes >> 30);
	if (result == 0 && !options->has_net) {
		result = net_option_parse(&options->nets[0], "user", error);
		options->net_count = result == 0;
		tell(&decided, "--net user");
	}
	if (!options->has_debug_console)
		options->debug_console.kind = STREAM_NONE;
	if (options->debug_exit_port == DEBUG_EXIT_NOT_SAID)
		options->debug_exit_port = -1;
	if (decided.count)
		snprintf(options->hint, sizeof(options->hint), "%s", decided.text);
	return result;
}

int run_defaults(struct run_options *options, struct error *error)
{
	int result;

	decide_command(options);
	result = share_stdio(options, error);
	if (result == 0)
		result = decide(options, error);
	return result < 0 ? result : check(options, error);
}
