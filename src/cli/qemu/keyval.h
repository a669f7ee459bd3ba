/*
 * What options of QEMU's command line are made of: "first,key=value,key.inner=value,flag,noflag", where a
 * comma in a value is written twice; or the same as a JSON object. Either becomes a JSON object, whose
 * values are strings in the first form. The readers below take both.
 */
#ifndef KVIK_CLI_QEMU_KEYVAL_H
#define KVIK_CLI_QEMU_KEYVAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"

enum property_type { PROPERTY_TEXT, PROPERTY_BOOL, PROPERTY_NUMBER, PROPERTY_SIZE };

/* A key that may be said, and what of it is taken. */
struct property {
	const char *name;
	enum property_type type;
	/* The values that are taken, with blanks between; NULL: any of the type. */
	const char *only;
	bool is_list;  /* may be said again and again */
	const char *other_name; /* or NULL */
};

/*
 * Parse `text`. `first` is the key of a first value that has none; NULL: there is no such value. Of
 * `properties` (ended by one without name; NULL: any keys) the booleans may be said as "key" and "nokey".
 * With `is_nested`, dots in keys make objects in objects. NULL, and `error`, on failure; else the caller's.
 */
json_t *keyval_parse(const char *text, const char *first, const struct property *properties,
		     bool is_nested, struct error *error);

/* A type as QEMU's lists call it. */
const char *property_type_name(const struct property *property);

/* Whether the object has no other keys than these, and values as they say; it is put into the first names
 * and into JSON's own types. 0, or -EINVAL and `error`. */
int keyval_check(json_t *object, const struct property *properties, struct error *error);

/* Readers. A key that is missing leaves *value as it is. 0, or -EINVAL and `error`. */
int keyval_number(const json_t *object, const char *key, uint64_t limit, uint64_t *value,
		  struct error *error);
/* With suffixes k to E as QEMU has them; `unit` is a bare number's. */
int keyval_size(const json_t *object, const char *key, uint64_t unit, uint64_t *value,
		struct error *error);
const char *keyval_text(const json_t *object, const char *key); /* NULL: missing, or no text */

/* A size as "512M", "1.5G"; a bare number counts `unit`s. 0 or -EINVAL. */
int size_from_text(const char *text, uint64_t unit, uint64_t *value);

#endif
