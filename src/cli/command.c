#include "cli/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/command_stream.h"
#include "cli/guest_archive.h"
#include "cli/guest_kernel.h"
#include "guest/protocol.h"
#include "util/log.h"

/* The program, as it is put into this one (guest_init.S). */
extern const char guest_init[], guest_init_end[];

/* What the kernel is told: to be quick and quiet, and to end where it cannot go on. */
#define KERNEL_OPTIONS                                                                             \
	"console=ttyS0 quiet panic=-1 rdinit=/init random.trust_cpu=on no_timer_check "            \
	"i8042.nokbd i8042.noaux mitigations=off nokaslr cryptomgr.notests "

/* The modules that a command's machine needs, each behind those that it needs itself. */
static const struct guest_module {
	const char *folder, *name;
	bool for_network;
} modules[] = {
	{"drivers/virtio", "virtio_ring", false},
	{"drivers/virtio", "virtio", false},
	{"drivers/virtio", "virtio_pci_legacy_dev", false},
	{"drivers/virtio", "virtio_pci_modern_dev", false},
	{"drivers/virtio", "virtio_pci", false},
	{"drivers/virtio", "virtio_mmio", false},
	{"drivers/char", "virtio_console", false},
	{"fs/fuse", "fuse", false},
	{"fs/fuse", "virtiofs", false},
	{"fs/overlayfs", "overlay", false},
	{"net/core", "failover", true},
	{"drivers/net", "net_failover", true},
	{"drivers/net", "virtio_net", true},
};

/* Variables that are true in the guest, too. Others tell of sockets and sessions of the host's, or are secrets. */
static const char *const variables[] = {
	"PATH",	    "HOME", "USER",   "LOGNAME", "SHELL",     "TERM",	    "COLORTERM",
	"NO_COLOR", "LANG", "LANGUAGE", "TZ",	   "EDITOR",    "VISUAL",   "PAGER",
	"CC",	    "CXX",  "CFLAGS", "CXXFLAGS",  "LDFLAGS", "MAKEFLAGS", "PWD",
};

/* --- the file of what is to be done --- */

struct guest_text {
	char *bytes;
	size_t size;
	bool has_failed;
};

static void add_item(struct guest_text *text, enum guest_item item, const char *value)
{
	size_t size = strlen(value) + 2;
	char *larger = realloc(text->bytes, text->size + size);

	if (!larger) {
		text->has_failed = true;
		return;
	}
	text->bytes = larger;
	larger[text->size] = item;
	memcpy(larger + text->size + 1, value, size - 1);
	text->size += size;
}

static bool is_passed_on(const char *variable)
{
	size_t length = strcspn(variable, "="), i;

	if (strncmp(variable, "LC_", 3) == 0)
		return true;
	for (i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		if (strlen(variables[i]) == length && strncmp(variables[i], variable, length) == 0)
			return true;
	return false;
}

static void add_terminals(struct guest_text *text)
{
	struct command_terminals terminals = command_terminals();
	char which[4], size[32];
	unsigned i, count = 0;

	for (i = 0; i < 3; i++)
		if (terminals.is_terminal[i])
			which[count++] = '0' + i;
	which[count] = 0;
	if (!count)
		return;
	add_item(text, GUEST_TERMINALS, which);
	if (terminals.will_be_raw)
		add_item(text, GUEST_RAW, "");
	snprintf(size, sizeof(size), "%u %u", terminals.rows, terminals.columns);
	add_item(text, GUEST_SIZE, size);
}

static void add_shares(struct guest_text *text, const struct run_options *options)
{
	char tag[32], *path;
	unsigned i;

	for (i = 0; i < options->share_count; i++) {
		const struct share_option *share = &options->shares[i];

		/* One that is not there fails when it is opened. */
		path = realpath(share->path, NULL);
		if (!path)
			continue;
		snprintf(tag, sizeof(tag), "share%u", i);
		add_item(text, GUEST_TAG, share->tag ? share->tag : tag);
		add_item(text, share->is_readonly ? GUEST_READONLY : GUEST_WRITABLE, path);
		free(path);
	}
}

static void add_plan(struct guest_text *text, const struct run_options *options)
{
	struct utsname host;
	char *directory = options->shell ? realpath(options->shares[0].path, NULL) : getcwd(NULL, 0), **at;
	int i;

	add_shares(text, options);
	if (directory)
		add_item(text, GUEST_DIRECTORY, directory);
	free(directory);
	if (uname(&host) == 0)
		add_item(text, GUEST_HOST, host.nodename);
	if (options->net_count && !options->nets[0].tap)
		add_item(text, GUEST_NETWORK, "");
	for (at = environ; *at; at++)
		if (is_passed_on(*at))
			add_item(text, GUEST_VARIABLE, *at);
	add_terminals(text);
	for (i = 0; i < options->command_count; i++)
		add_item(text, GUEST_ARGUMENT, options->command[i]);
}

/* --- the initial RAM disk --- */

static void add_module(struct guest_archive *archive, struct guest_text *text, const char *directory,
		       const struct guest_module *module)
{
	static const char *const ends[] = {".ko", ".ko.zst", ".ko.xz", ".ko.gz"};
	char path[PATH_MAX + 128], name[64];
	unsigned i;

	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(path, sizeof(path), "%s/kernel/%s/%s%s", directory, module->folder,
			 module->name, ends[i]);
		snprintf(name, sizeof(name), "/%s%s", module->name, ends[i]);
		if (guest_archive_add_file(archive, name + 1, path)) {
			add_item(text, GUEST_MODULE, name);
			return;
		}
	}
}

static int make_archive(struct command *command, const struct run_options *options,
			const char *module_directory, struct error *error)
{
	struct guest_archive archive;
	struct guest_text text = {NULL};
	char path[32];
	unsigned i;
	int result = guest_archive_open(&archive);

	if (result < 0)
		return error_set_errno(error, -result, "cannot make an initial RAM disk");
	command->archive = archive.fd;
	guest_archive_add(&archive, "dev", S_IFDIR | 0755, NULL, 0);
	guest_archive_add(&archive, "init", S_IFREG | 0755, guest_init, guest_init_end - guest_init);
	for (i = 0; i < sizeof(modules) / sizeof(modules[0]) && *module_directory; i++)
		if (!modules[i].for_network || options->net_count)
			add_module(&archive, &text, module_directory, &modules[i]);
	add_plan(&text, options);
	guest_archive_add(&archive, &GUEST_CONFIG[1], S_IFREG | 0600, text.bytes, text.size);
	result = text.has_failed ? -ENOMEM : guest_archive_finish(&archive);
	free(text.bytes);
	if (result < 0)
		return error_set_errno(error, -result, "cannot make an initial RAM disk");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", archive.fd);
	command->initrd = strdup(path);
	return command->initrd ? 0 : error_set_errno(error, ENOMEM, "cannot make an initial RAM disk");
}

/* --- the options --- */

static bool has_root(const struct run_options *options)
{
	unsigned i;

	for (i = 0; i < options->share_count; i++)
		if (strcmp(options->shares[i].path, "/") == 0)
			return true;
	return false;
}

static int check(const struct run_options *options, struct error *error)
{
	if (options->boot.flat || options->boot.initrd)
		return error_set(error, EINVAL, "a command needs neither --flat nor --initrd: its "
						"machine boots with kvik's own");
	if (options->port_count == VIRTIO_CONSOLE_PORTS_MAX)
		return error_set(error, EINVAL, "with a command there can be at most %u ports",
				 VIRTIO_CONSOLE_PORTS_MAX - 1);
	if (options->save_path || options->load_path)
		return error_set(error, EINVAL,
				 "a machine that runs a command can be neither saved nor loaded");
	return 0;
}

/* The host's files, below what the command writes. What nobody tells it about it need not look for again. */
static int share_root(struct run_options *options, struct error *error)
{
	if (has_root(options))
		return 0;
	if (options->share_count == BOARD_SHARES_MAX)
		return error_set(error, EINVAL, "with a command there can be at most %u shares",
				 BOARD_SHARES_MAX - 1);
	return share_option_parse(&options->shares[options->share_count++], "/,cache=always", error);
}

int command_prepare(struct command *command, struct run_options *options, struct error *error)
{
	char path[PATH_MAX];
	const char *more = options->boot.command_line ? options->boot.command_line : "";
	int result;

	*command = (struct command){.archive = -1};
	result = check(options, error);
	if (result == 0 && !options->boot.kernel) {
		result = guest_kernel_find(path, error);
		if (result == 0) {
			command->kernel = strdup(path);
			options->boot.kernel = command->kernel;
			log_info("the kernel is %s", path);
		}
	}
	if (result == 0)
		result = share_root(options, error);
	if (result == 0)
		result = guest_kernel_modules(options->boot.kernel, path, error);
	if (result == 0)
		result = make_archive(command, options, path, error);
	if (result < 0)
		return result;
	if (!path[0])
		log_info("no modules of this kernel were found: it has what it needs, or fails");
	options->boot.initrd = command->initrd;
	if (asprintf(&command->command_line, KERNEL_OPTIONS "%s", more) < 0)
		command->command_line = NULL;
	options->boot.command_line = command->command_line;
	options->ends_at_reset = true;
	return 0;
}

void command_free(struct command *command)
{
	free(command->kernel);
	free(command->initrd);
	free(command->command_line);
	if (command->archive >= 0)
		close(command->archive);
}
