#include "cli/guest_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Documentation/arch/x86/boot.rst of Linux: where the header points to the version, less 0x200. */
#define SETUP_MAGIC_AT	 0x202
#define SETUP_VERSION_AT 0x20e
#define SETUP_BASE	 0x200
#define SETUP_BYTES	 0x8200 /* as far as that may point */
#define VERSION_MAX	 128

/* Where tools/guest-image keeps what it made. */
static void tools_kernel(char path[PATH_MAX])
{
	const char *chosen = getenv("KVIK_CACHE"), *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");

	if (chosen && *chosen)
		snprintf(path, PATH_MAX, "%s/kernel-cloud/vmlinuz", chosen);
	else if (cache && *cache)
		snprintf(path, PATH_MAX, "%s/kvik/kernel-cloud/vmlinuz", cache);
	else
		snprintf(path, PATH_MAX, "%s/.cache/kvik/kernel-cloud/vmlinuz", home ? home : "");
}

int guest_kernel_find(char path[PATH_MAX], struct error *error)
{
	struct utsname host;

	tools_kernel(path);
	if (access(path, R_OK) == 0)
		return 0;
	uname(&host);
	snprintf(path, PATH_MAX, "/boot/vmlinuz-%s", host.release);
	if (access(path, R_OK) == 0)
		return 0;
	snprintf(path, PATH_MAX, "/lib/modules/%s/vmlinuz", host.release);
	if (access(path, R_OK) == 0)
		return 0;
	return error_set(error, ENOENT,
			 "no kernel to boot: give --kernel FILE, or have tools/guest-image kernel "
			 "fetch Debian's (the host's own, /boot/vmlinuz-%s, cannot be read)",
			 host.release);
}

/* The version of a bzImage: its first word. "" where there is none. */
static int read_version(const char *kernel, char version[VERSION_MAX], struct error *error)
{
	uint8_t *setup = calloc(1, SETUP_BYTES);
	int fd = open(kernel, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd >= 0 && setup ? read(fd, setup, SETUP_BYTES - 1) : -1;
	int code = errno;
	size_t at, length;

	version[0] = 0;
	if (size > SETUP_VERSION_AT + 1 && memcmp(setup + SETUP_MAGIC_AT, "HdrS", 4) == 0) {
		at = (setup[SETUP_VERSION_AT] | setup[SETUP_VERSION_AT + 1] << 8) + SETUP_BASE;
		length = at < (size_t)size ? strcspn((char *)setup + at, " ") : 0;
		if (length < VERSION_MAX && !memchr(setup + at, '/', length))
			snprintf(version, VERSION_MAX, "%.*s", (int)length, (char *)setup + at);
	}
	free(setup);
	if (fd >= 0)
		close(fd);
	return size < 0 ? error_set_errno(error, code, "cannot read kernel '%s'", kernel) : 0;
}

int guest_kernel_modules(const char *kernel, char path[PATH_MAX], struct error *error)
{
	char version[VERSION_MAX];
	const char *slash = strrchr(kernel, '/');
	int result = read_version(kernel, version, error);

	path[0] = 0;
	if (result < 0 || !version[0])
		return result;
	snprintf(path, PATH_MAX, "%.*slib/modules/%s", slash ? (int)(slash + 1 - kernel) : 0, kernel,
		 version);
	if (access(path, R_OK | X_OK) < 0)
		snprintf(path, PATH_MAX, "/lib/modules/%s", version);
	if (access(path, R_OK | X_OK) < 0)
		path[0] = 0;
	return 0;
}
