/*
 * Errors for people.
 *
 * A function that can fail returns 0 (or a non-negative result), or a negative errno where the
 * caller decides what to do. Where a person must read the failure, the function also takes a
 * `struct error *` and fills it with one line: what failed, where, why, and what would be right.
 * There is no other idiom: nothing prints an error at the place where it happens.
 */
#ifndef KVIK_UTIL_ERROR_H
#define KVIK_UTIL_ERROR_H

struct error {
	char message[512];
};

/*
 * Fill `error` (which may be NULL) and return -code, so that a caller can write
 * `return error_set(error, ENOENT, "...")`. `code` is a positive errno.
 */
int error_set(struct error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* As error_set, with ": " and the text of errno value `code` appended. */
int error_set_errno(struct error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "text: " before the message that is already there: adds the caller's context. */
void error_prefix(struct error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
