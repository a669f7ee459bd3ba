/* A stream on a device of the host's: a serial line, a terminal, /dev/null. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "device/char/char.h"

#define NULL_DEVICE makedev(1, 3) /* Linux, Documentation/admin-guide/devices.txt */

/* 8 bits, no parity, one stop bit. What is no terminal has no such thing. */
static void set_line(int fd)
{
	struct termios mode;

	if (tcgetattr(fd, &mode) < 0)
		return;
	cfmakeraw(&mode);
	cfsetspeed(&mode, B115200);
	mode.c_cflag = (mode.c_cflag & ~(unsigned)CSTOPB) | CREAD | CLOCAL;
	tcsetattr(fd, TCSANOW, &mode);
}

struct char_stream *char_tty_create(struct event_loop *loop, const char *path, struct error *error)
{
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0) {
		error_set_errno(error, errno, "cannot open '%s'", path);
	} else if (!S_ISCHR(status.st_mode)) {
		error_set(error, ENOTTY, "'%s' is no terminal and no serial line", path);
	} else if (status.st_rdev == NULL_DEVICE) {
		close(fd);
		return char_none_create(error);
	} else {
		set_line(fd);
		return char_pair_create(loop, fd, fd, error);
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}
