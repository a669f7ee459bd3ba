/*
 * kvik kvm: run a program that wants /dev/kvm with one that kvik's engine serves.
 *
 * The program gets libkvik-kvm.so preloaded (src/preload), and so do the programs that it starts.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/size.h"
#include "kvm/kvm.h"
#include "util/error.h"
#include "util/log.h"

#define LIBRARY_NAME "libkvik-kvm.so"

/* As env(1) and shells have them. */
#define EXIT_CANNOT_RUN 126
#define EXIT_NOT_FOUND	127

static const char help[] =
	"Usage: kvik kvm [OPTION]... [--] COMMAND [ARGUMENT]...\n"
	"\n"
	"Runs COMMAND with a /dev/kvm that kvik's engine serves, whether or not the host has\n"
	"one: for virtual machine monitors that insist on KVM.\n"
	"\n"
	"  --engine auto|interp|jit  how guest code is executed (auto)\n"
	"  --code-cache SIZE         translated code kept for each VM, 256K to 1G (32M)\n"
	"  --help                    this text\n"
	"\n"
	"The options are KVIK_ENGINE and KVIK_CODE_CACHE in COMMAND's environment, where LD_PRELOAD\n"
	"names " LIBRARY_NAME ". Exit status: COMMAND's, or 127 when it is not found, 126 when it\n"
	"cannot be run so, 2 for wrong usage.\n"
	"\n"
	"Example:\n"
	"  kvik kvm qemu-system-x86_64 -accel kvm -m 1G -nographic -kernel vmlinuz\n";

/* In the order of preference: where the build puts it, and where an installation does, seen from the
 * program's own folder. */
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
	return error_set(error, ENOENT, "%s is neither in %s/../preload nor in %s/../lib: build or "
			 "install it", LIBRARY_NAME, self, self);
}

/* Whether the file is an ELF program that no dynamic linker loads. */
static bool is_static(const char *path)
{
	bool is_elf = false, has_interpreter = false;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (fd < 0)
		return false;
	if (pread(fd, &header, sizeof(header), 0) == sizeof(header) &&
	    memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
	    header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_phentsize == sizeof(segment)) {
		is_elf = true;
		for (unsigned i = 0; i < header.e_phnum; i++)
			if (pread(fd, &segment, sizeof(segment),
				  (off_t)(header.e_phoff + i * sizeof(segment))) == sizeof(segment) &&
			    segment.p_type == PT_INTERP)
				has_interpreter = true;
	}
	close(fd);
	return is_elf && !has_interpreter;
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

/* What the dynamic linker would ignore LD_PRELOAD for gets no /dev/kvm, silently: better not. */
static int check_command(const char *path, struct error *error)
{
	struct stat status;

	if (is_static(path))
		return error_set(error, ENOTSUP,
				 "kvm: '%s' is statically linked, and nothing can be preloaded into "
				 "it: use a dynamically linked build of it", path);
	if (stat(path, &status) == 0 && geteuid() != 0 &&
	    ((status.st_mode & S_ISUID && status.st_uid != geteuid()) ||
	     (status.st_mode & S_ISGID && status.st_gid != getegid())))
		return error_set(error, ENOTSUP,
				 "kvm: '%s' runs with another's rights (setuid or setgid), and so "
				 "without what is preloaded: run it as that user", path);
	return 0;
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

	if (size_parse(value, &bytes) < 0 || bytes < KVM_CODE_CACHE_MIN || bytes > KVM_CODE_CACHE_MAX)
		return error_set(error, EINVAL, "--code-cache: '%s' is not a size from 256K to 1G",
				 value);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	setenv("KVIK_CODE_CACHE", text, 1);
	return 0;
}

/* Options up to the command; how many arguments they were, or -EINVAL. */
static int parse(int count, char **arguments, struct error *error)
{
	int at = 0;

	while (at < count && arguments[at][0] == '-') {
		const char *name = arguments[at++];
		int (*set)(const char *value, struct error *error);

		if (strcmp(name, "--") == 0)
			break;
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

int command_kvm(int count, char **arguments)
{
	char library[PATH_MAX], path[PATH_MAX];
	struct error error;
	int first;

	if (count && (strcmp(arguments[0], "--help") == 0 || strcmp(arguments[0], "-h") == 0)) {
		fputs(help, stdout);
		return EXIT_OK;
	}
	first = parse(count, arguments, &error);
	if (first < 0) {
		log_error("%s (see kvik kvm --help)", error.message);
		return EXIT_USAGE;
	}
	if (find_command(arguments[first], path, &error) < 0) {
		log_error("%s", error.message);
		return EXIT_NOT_FOUND;
	}
	if (check_command(path, &error) == 0 && find_library(library, &error) == 0 &&
	    preload(library, &error) == 0) {
		execv(path, arguments + first);
		error_set_errno(&error, errno, "kvm: cannot run '%s'", path);
	}
	log_error("%s", error.message);
	return EXIT_CANNOT_RUN;
}
