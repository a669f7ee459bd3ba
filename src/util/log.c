#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"

/* Lines that a guest may cause at once, and how fast it earns new ones. */
#define GUEST_LINES_BURST      20
#define GUEST_LINES_PER_SECOND 1

/* How long a line may wait for standard error: kvik's own, not what a guest causes. */
#define WAIT_MS 100

static enum log_level current_level = LOG_WARNING;
/* Written before threads. Standard error, or the same thing opened once more with O_NONBLOCK. */
static int log_fd = STDERR_FILENO;
static int waits_for_ever = 1;

void log_set_level(enum log_level level)
{
	__atomic_store_n(&current_level, level, __ATOMIC_RELAXED);
}

static enum log_level get_level(void)
{
	return __atomic_load_n(&current_level, __ATOMIC_RELAXED);
}

/*
 * Only a pipe and a terminal can stall (and a socket, which poll(2) is good enough for). Our
 * descriptor for them is shared with other processes, which O_NONBLOCK would surprise: so open it
 * once more.
 */
void log_open(void)
{
	struct stat status;
	int fd;

	waits_for_ever = 0;
	if (log_fd != STDERR_FILENO) {
		close(log_fd);
		log_fd = STDERR_FILENO;
	}
	if (fstat(STDERR_FILENO, &status) < 0 ||
	    !(S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)))
		return;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0)
		log_fd = fd;
}

/* Write in one call what there is room for. Returns whether there was. */
static int write_line(const char *line, size_t size, int wait_ms)
{
	struct pollfd writable = {.fd = log_fd, .events = POLLOUT};

	if (!waits_for_ever && poll(&writable, 1, wait_ms) <= 0)
		return 0;
	/* There is nowhere to report that standard error is gone. */
	return write(log_fd, line, size) >= 0 || errno != EAGAIN;
}

static int print_line(enum log_level level, int wait_ms, const char *format, va_list args)
{
	static const char *const prefixes[] = {
	    [LOG_ERROR] = "kvik: ",
	    [LOG_WARNING] = "kvik: warning: ",
	    [LOG_INFO] = "kvik: ",
	    [LOG_DEBUG] = "kvik: ",
	};
	char line[1024];
	int used = snprintf(line, sizeof(line), "%s", prefixes[level]);
	int length;

	vsnprintf(line + used, sizeof(line) - used - 1, format, args);
	length = strlen(line);
	line[length++] = '\n';
	return write_line(line, length, wait_ms);
}

void log_print(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > get_level())
		return;
	va_start(args, format);
	print_line(level, WAIT_MS, format, args);
	va_end(args);
}

/* How often guests may still speak: a bucket of lines that fills with time. */
static struct {
	pthread_mutex_t lock;
	unsigned lines;
	uint64_t refilled_ns;
	unsigned long left_out;
} guest_budget = {.lock = PTHREAD_MUTEX_INITIALIZER, .lines = GUEST_LINES_BURST};

/* With the lock held. */
static int take_line(void)
{
	struct timespec now;
	uint64_t now_ns, earned;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	now_ns = now.tv_sec * NS_PER_SECOND + now.tv_nsec;
	earned = (now_ns - guest_budget.refilled_ns) * GUEST_LINES_PER_SECOND / NS_PER_SECOND;
	if (earned) {
		guest_budget.refilled_ns = now_ns;
		guest_budget.lines = earned < GUEST_LINES_BURST - guest_budget.lines
		                         ? guest_budget.lines + earned
		                         : GUEST_LINES_BURST;
	}
	if (!guest_budget.lines)
		return 0;
	guest_budget.lines--;
	return 1;
}

static int print_left_out(const char *format, ...)
{
	va_list args;
	int result;

	va_start(args, format);
	result = print_line(LOG_INFO, 0, format, args);
	va_end(args);
	return result;
}

/* With the lock held. */
static void tell_left_out(void)
{
	if (guest_budget.left_out &&
	    print_left_out("%lu lines that the guest caused were left out", guest_budget.left_out))
		guest_budget.left_out = 0;
}

void log_guest_at(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > get_level())
		return;
	pthread_mutex_lock(&guest_budget.lock);
	if (take_line()) {
		tell_left_out();
		va_start(args, format);
		guest_budget.left_out += !print_line(level, 0, format, args);
		va_end(args);
	} else {
		guest_budget.left_out++;
	}
	pthread_mutex_unlock(&guest_budget.lock);
}

void log_guest_flush(void)
{
	pthread_mutex_lock(&guest_budget.lock);
	tell_left_out();
	pthread_mutex_unlock(&guest_budget.lock);
}
