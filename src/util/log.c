#include "util/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* At most this many guest-caused lines in one second. */
#define GUEST_LINES_PER_SECOND 10

static enum log_level current_level = LOG_WARNING;

void log_set_level(enum log_level level)
{
	__atomic_store_n(&current_level, level, __ATOMIC_RELAXED);
}

enum log_level log_get_level(void)
{
	return __atomic_load_n(&current_level, __ATOMIC_RELAXED);
}

static void print_line(enum log_level level, const char *format, va_list args)
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
	/* There is nowhere to report that standard error is gone. */
	if (write(STDERR_FILENO, line, length) < 0)
		return;
}

void log_print(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > log_get_level())
		return;
	va_start(args, format);
	print_line(level, format, args);
	va_end(args);
}

/* Whether one more guest-caused line may be shown in this second. */
static int guest_line_allowed(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static time_t second;
	static unsigned lines;
	struct timespec now;
	int allowed;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	pthread_mutex_lock(&lock);
	if (now.tv_sec != second) {
		second = now.tv_sec;
		lines = 0;
	}
	allowed = lines++ < GUEST_LINES_PER_SECOND;
	pthread_mutex_unlock(&lock);
	return allowed;
}

void log_guest(const char *format, ...)
{
	va_list args;

	if (LOG_INFO > log_get_level() || !guest_line_allowed())
		return;
	va_start(args, format);
	print_line(LOG_INFO, format, args);
	va_end(args);
}
