/*
 * State streams: how a machine's parts write their state down and read it back.
 *
 * A part names its fields one after the other, in one function for both ways: on a stream that
 * saves, a field's value goes into the stream; on one that loads, it comes from there. So what is
 * written and what is read cannot drift apart.
 *
 *     state_u8(state, "mcr", &registers->mcr);
 *     state_check(state, "mcr", (registers->mcr & ~MCR_MASK) == 0);
 *
 * What is loaded is hostile until checked. The first thing that is wrong makes the stream fail,
 * with one line that names the part and the field; from then on every field loads as zero, and
 * nothing is read. So a part loads into a copy of its registers, checks them, asks state_complete,
 * and only then takes them over: all or nothing.
 *
 * The format: sections one after the other. A section is its name (a length byte and characters),
 * a version (32 bits), the length of its fields (32 bits) and the fields; a field is a byte that
 * says its width, and its value. Numbers are little-endian. A part's version grows when its fields
 * change; it goes on loading all its earlier versions (`version` says which one is there).
 */
#ifndef KVIK_UTIL_STATE_H
#define KVIK_UTIL_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

#define STATE_NAME_MAX 63 /* characters of a section's name */

struct state_stream {
	bool is_loading;
	uint32_t version; /* of the section that is open */
	/* The stream's own: */
	bool has_failed;
	struct error error;  /* the first failure */
	const char *section; /* its name; NULL: none is open */
	size_t section_at;   /* saving: where its length goes; loading: where it ends */
	uint8_t *saved;      /* saving: owned */
	const uint8_t *loaded;
	size_t at, size; /* loading: next byte and end; saving: bytes used and allocated */
};

/* Save into memory of the stream's own, which state_end frees. */
void state_save_begin(struct state_stream *state);
/* Load from bytes that outlive the stream. */
void state_load_begin(struct state_stream *state, const void *bytes, size_t size);
/* Free what was saved. */
void state_end(struct state_stream *state);

/* Add what `other` saved, as if it had been saved here; its failure is this one's, too. Both save. */
void state_append(struct state_stream *state, const struct state_stream *other);

/* What was saved, until state_end. 0, or -errno: the first failure. */
int state_saved(const struct state_stream *state, const void **bytes, size_t *size,
                struct error *error);

/*
 * Open a section. `name` outlives it. `version` is what this build writes, and the latest that it
 * loads. Loading fails when the next section has another name, a later version, or isn't there.
 */
void state_section_begin(struct state_stream *state, const char *name, uint32_t version);
/* Loading: what the next section is called; "": nothing that could be a section's name. */
void state_next_section(const struct state_stream *state, char name[STATE_NAME_MAX + 1]);
void state_section_end(struct state_stream *state); /* fails when fields are left */

/* Fields. `field` names them in messages. */
void state_u8(struct state_stream *state, const char *field, uint8_t *value);
void state_u16(struct state_stream *state, const char *field, uint16_t *value);
void state_u32(struct state_stream *state, const char *field, uint32_t *value);
void state_u64(struct state_stream *state, const char *field, uint64_t *value);
void state_i64(struct state_stream *state, const char *field, int64_t *value);
void state_bool(struct state_stream *state, const char *field, bool *value); /* 0 or 1 */
void state_bytes(struct state_stream *state, const char *field, void *bytes, size_t size);

/* When loading: fail unless `holds`, which is what the value of `field` must fulfil. */
void state_check(struct state_stream *state, const char *field, bool holds);
/* Fail for another reason, in words: "what is wrong". */
void state_fail(struct state_stream *state, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* When loading: whether all of the open section was read and is good. Otherwise the stream fails.
 */
bool state_complete(struct state_stream *state);

/* Loading: whether all was read. 0, or -errno with the first failure. */
int state_loaded(struct state_stream *state, struct error *error);

#endif
