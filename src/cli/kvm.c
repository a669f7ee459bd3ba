/*
 * kvik kvm: run a program that wants /dev/kvm with one that kvik's engine serves.
 *
 * The program gets libkvik-kvm.so preloaded (src/preload), or runs under a supervisor where that is
 * not possible (src/supervise); and so do the programs that it starts.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/size.h"
#include "kvm/kvm.h"
#include "supervise/supervise.h"
#include "util/error.h"
#include "util/log.h"

#define LIBRARY_NAME "libkvik-kvm.so"

/* As env(1) and shells have them. */
#define EXIT_CANNOT_RUN 126
#define EXIT_NOT_FOUND  127

static const char help[] =
    "Usage: kvik kvm [OPTION]... [--] COMMAND [ARGUMENT]...\n"
    "\n"
    "Runs COMMAND with a /dev/kvm that kvik's engine serves, whether or not the host has\n"
    "one: for virtual machine monitors that insist on KVM.\n"
    "\n"
    "  --engine auto|interp|jit  how guest code is executed (auto)\n"
    "  --code-cache SIZE         translated code kept for each VM, 256K to 1G (128M)\n"
    "  --preload                 serve COMMAND by a preloaded library, " LIBRARY_NAME "\n"
    "  --supervise               serve COMMAND by watching its system calls: it may be\n"
    "                            statically linked, of another language, or start such\n"
    "  --help                    this text\n"
    "\n"
    "Without --preload and --supervise, COMMAND is supervised if it cannot be served otherwise.\n"
    "The other options are KVIK_ENGINE and KVIK_CODE_CACHE in the environment. Exit status:\n"
    "COMMAND's, or 127 when it is not found, 126 when it cannot be run so, 2 for wrong usage.\n"
    "\n"
    "Example:\n"
    "  kvik kvm qemu-system-x86_64 -accel kvm -m 1G -nographic -kernel vmlinuz\n";

enum way { WAY_AUTO, WAY_PRELOAD, WAY_SUPERVISE };

/* In the order of preference: where the build puts it, and where an installation does, seen from
 * the program's own folder. */
static const char *const places[] = {
    "../preload/" LIBRARY_NAME,
    "../lib/x86_64-linux-gnu/" LIBRARY_NAME,
    "../lib64/" LIBRARY_NAME,
    "../lib/" LIBRARY_NAME,
};

static int find_library(char *path, struct error *error)
{
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *end;

	if (length < 0)
		return error_set_errno(error, errno, "cannot read /proc/self/exe");
	self[length] = 0;
	end = strrchr(self, '/');
	if (end)
		*end = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char name[2 * PATH_MAX];

		snprintf(name, sizeof(name), "%s/%s", self, places[i]);
		if (realpath(name, path))
			return 0;
	}
	return error_set(error, ENOENT,
	                 "%s is neither in %s/../preload nor in %s/../lib: build or "
	                 "install it",
	                 LIBRARY_NAME, self, self);
}

/* Go's linker leaves such a note. Go programs make system calls without the C library. */
static bool is_go_note(int fd, const Elf64_Phdr *segment)
{
	struct {
		Elf64_Nhdr header;
		char name[4];
	} note;

	return pread(fd, &note, sizeof(note), (off_t)segment->p_offset) == sizeof(note) &&
	       note.header.n_namesz == sizeof(note.name) && memcmp(note.name, "Go\0", 4) == 0;
}

/* Whether the file is an ELF program whose system calls a preloaded library does not see: because
 * no dynamic linker loads it, or because it makes them itself. */
static bool is_out_of_reach(const char *path)
{
	bool is_elf = false, has_interpreter = false, is_go = false;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (fd < 0)
		return false;
	if (pread(fd, &header, sizeof(header), 0) == sizeof(header) &&
	    memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
	    header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_phentsize == sizeof(segment)) {
		is_elf = true;
		for (unsigned i = 0; i < header.e_phnum; i++) {
			if (pread(fd, &segment, sizeof(segment),
			          (off_t)(header.e_phoff + i * sizeof(segment))) != sizeof(segment))
				break;
			has_interpreter |= segment.p_type == PT_INTERP;
			is_go |= segment.p_type == PT_NOTE && is_go_note(fd, &segment);
		}
	}
	close(fd);
	return is_elf && (!has_interpreter || is_go);
}

/* Where execvp(3) would find the command. */
static int find_command(const char *command, char *path, struct error *error)
{
	const char *search = getenv("PATH");

	if (strchr(command, '/')) {
		snprintf(path, PATH_MAX, "%s", command);
		return access(path, F_OK) < 0 ? error_set_errno(error, errno, "kvm: '%s'", command)
		                              : 0;
	}
	for (search = search ? search : "/bin:/usr/bin"; *search;) {
		size_t size = strcspn(search, ":");
		struct stat status;

		snprintf(path, PATH_MAX, "%.*s/%s", size ? (int)size : 1, size ? search : ".",
		         command);
		if (access(path, X_OK) == 0 && stat(path, &status) == 0 && S_ISREG(status.st_mode))
			return 0;
		search += size + (search[size] == ':');
	}
	return error_set(error, ENOENT, "kvm: there is no command '%s' in $PATH", command);
}

/* The dynamic linker ignores LD_PRELOAD for these. */
static bool runs_with_other_rights(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && geteuid() != 0 &&
	       ((status.st_mode & S_ISUID && status.st_uid != geteuid()) ||
	        (status.st_mode & S_ISGID && status.st_gid != getegid()));
}

static int preload(const char *library, struct error *error)
{
	const char *others = getenv("LD_PRELOAD");
	char *value;
	int result;

	if (asprintf(&value, "%s%s%s", library, others && *others ? ":" : "",
	             others ? others : "") < 0)
		return error_set(error, ENOMEM, "kvm: no memory");
	result = setenv("LD_PRELOAD", value, 1);
	free(value);
	return result < 0 ? error_set_errno(error, errno, "kvm: cannot set LD_PRELOAD") : 0;
}

static int set_engine(const char *value, struct error *error)
{
	if (strcmp(value, "auto") != 0 && strcmp(value, "interp") != 0 && strcmp(value, "jit") != 0)
		return error_set(error, EINVAL, "--engine: '%s' is not auto, interp or jit", value);
	setenv("KVIK_ENGINE", value, 1);
	return 0;
}

static int set_code_cache(const char *value, struct error *error)
{
	uint64_t bytes;
	char text[24];

	if (size_parse(value, &bytes) < 0 || bytes < KVM_CODE_CACHE_MIN ||
	    bytes > KVM_CODE_CACHE_MAX)
		return error_set(error, EINVAL, "--code-cache: '%s' is not a size from 256K to 1G",
		                 value);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	setenv("KVIK_CODE_CACHE", text, 1);
	return 0;
}

/* Options up to the command; how many arguments they were, or -EINVAL. */
static int parse(int count, char **arguments, enum way *way, struct error *error)
{
	int at = 0;

	while (at < count && arguments[at][0] == '-') {
		const char *name = arguments[at++];
		int (*set)(const char *value, struct error *error);

		if (strcmp(name, "--") == 0)
			break;
		if (strcmp(name, "--preload") == 0 || strcmp(name, "--supervise") == 0) {
			*way = name[2] == 'p' ? WAY_PRELOAD : WAY_SUPERVISE;
			continue;
		}
		if (strcmp(name, "--engine") == 0)
			set = set_engine;
		else if (strcmp(name, "--code-cache") == 0)
			set = set_code_cache;
		else
			return error_set(error, EINVAL, "kvm: unknown option '%s'", name);
		if (at == count)
			return error_set(error, EINVAL, "kvm: %s needs a value", name);
		if (set(arguments[at++], error) < 0)
			return -EINVAL;
	}
	if (at == count)
		return error_set(error, EINVAL, "kvm: which command?");
	return at;
}

/* Become the command, with the library. */
static int run_preloaded(const char *path, char **arguments, struct error *error)
{
	char library[PATH_MAX];

	if (is_out_of_reach(path))
		return error_set(
		    error, ENOTSUP,
		    "kvm: nothing can be preloaded into '%s', which makes system calls "
		    "without the C library: leave --preload out",
		    path);
	if (find_library(library, error) < 0 || preload(library, error) < 0)
		return -1;
	execv(path, arguments);
	return error_set_errno(error, errno, "kvm: cannot run '%s'", path);
}

/* End as the command did. */
static int end_as(int status)
{
	if (WIFSIGNALED(status)) {
		struct rlimit none = {0, 0};
		sigset_t signals;

		/* Its own core has been written. */
		setrlimit(RLIMIT_CORE, &none);
		signal(WTERMSIG(status), SIG_DFL);
		sigemptyset(&signals);
		sigaddset(&signals, WTERMSIG(status));
		raise(WTERMSIG(status));
		sigprocmask(SIG_UNBLOCK, &signals, NULL);
		return 128 + WTERMSIG(status);
	}
	return WEXITSTATUS(status);
}

int command_kvm(int count, char **arguments)
{
	enum way way = WAY_AUTO;
	char path[PATH_MAX];
	struct error error;
	int first, status;

	if (count && (strcmp(arguments[0], "--help") == 0 || strcmp(arguments[0], "-h") == 0)) {
		fputs(help, stdout);
		return EXIT_OK;
	}
	first = parse(count, arguments, &way, &error);
	if (first < 0) {
		log_error("%s (see kvik kvm --help)", error.message);
		return EXIT_USAGE;
	}
	if (find_command(arguments[first], path, &error) < 0) {
		log_error("%s", error.message);
		return EXIT_NOT_FOUND;
	}
	if (way == WAY_AUTO)
		way = is_out_of_reach(path) || runs_with_other_rights(path) ? WAY_SUPERVISE
		                                                            : WAY_PRELOAD;
	if (way == WAY_PRELOAD)
		run_preloaded(path, arguments + first, &error);
	else if (supervise_run(path, arguments + first, &status, &error) == 0)
		return end_as(status);
	log_error("%s", error.message);
	return EXIT_CANNOT_RUN;
}
