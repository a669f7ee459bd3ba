/*
 * kvik's own words, on standard error, never on a guest's console.
 * All functions may be called on any thread.
 */
#ifndef KVIK_UTIL_LOG_H
#define KVIK_UTIL_LOG_H

enum log_level {
	LOG_ERROR,   /* always shown */
	LOG_WARNING, /* always shown */
	LOG_INFO,    /* with -v */
	LOG_DEBUG,   /* with -vv */
};

/* Messages above this level are dropped. Default LOG_WARNING. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* Print "kvik: [warning: ]text\n" in one write. */
void log_print(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Something that a guest did wrong or that a device does not model: shown from LOG_INFO up, and
 * rate-limited per process (a guest must not be able to fill the host's log).
 */
void log_guest(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define log_error(...)   log_print(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_print(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_print(LOG_DEBUG, __VA_ARGS__)

#endif
