/*
 * kvik's own words, on standard error, never on a guest's console.
 *
 * All functions may be called on any thread, with locks held: after log_open nobody waits for a
 * reader of standard error that has stalled. Lines that it doesn't take are lost.
 */
#ifndef KVIK_UTIL_LOG_H
#define KVIK_UTIL_LOG_H

enum log_level {
	LOG_ERROR,   /* always shown */
	LOG_WARNING, /* always shown */
	LOG_INFO,    /* with -v */
	LOG_DEBUG,   /* with -vv */
};

/* Before threads and before privileges are dropped; again when standard error has become another file.
 * Without it lines wait for their reader. */
void log_open(void);

/* Messages above this level are dropped. Default LOG_WARNING. */
void log_set_level(enum log_level level);

/* Print "kvik: [warning: ]text\n" in one write. */
void log_print(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Anything that a guest can cause again and again: what it did wrong, what a device does not model,
 * that it was reset. Rate-limited per process (a guest must not be able to fill the host's log); a
 * line says now and then how many were left out.
 */
void log_guest_at(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Tell now how many lines were left out, if any were: at the end of a run. */
void log_guest_flush(void);

#define log_guest(...)   log_guest_at(LOG_INFO, __VA_ARGS__)
#define log_error(...)   log_print(LOG_ERROR, __VA_ARGS__)
#define log_hint(...)	 log_print(LOG_ERROR, __VA_ARGS__) /* nothing is wrong; always shown */
#define log_warning(...) log_print(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_print(LOG_DEBUG, __VA_ARGS__)

#endif
