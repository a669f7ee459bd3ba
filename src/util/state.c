#include "util/state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_FIELD 0x40 /* the width byte of state_bytes; numbers have 1, 2, 4 or 8 */
#define FIRST_BYTES 4096

void state_save_begin(struct state_stream *state)
{
	memset(state, 0, sizeof(*state));
}

void state_load_begin(struct state_stream *state, const void *bytes, size_t size)
{
	memset(state, 0, sizeof(*state));
	state->is_loading = true;
	state->loaded = bytes;
	state->size = size;
}

void state_end(struct state_stream *state)
{
	free(state->saved);
	state->saved = NULL;
}

void state_fail(struct state_stream *state, const char *format, ...)
{
	va_list args;

	if (state->has_failed)
		return;
	state->has_failed = true;
	va_start(args, format);
	vsnprintf(state->error.message, sizeof(state->error.message), format, args);
	va_end(args);
	error_prefix(&state->error,
	             state->is_loading ? "the saved state of %s" : "cannot save the state of %s",
	             state->section ? state->section : "the machine");
}

static int result(const struct state_stream *state, struct error *error)
{
	if (state->has_failed && error)
		*error = state->error;
	return state->has_failed ? -EINVAL : 0;
}

int state_saved(const struct state_stream *state, const void **bytes, size_t *size,
                struct error *error)
{
	*bytes = state->saved;
	*size = state->at;
	return result(state, error);
}

int state_loaded(struct state_stream *state, struct error *error)
{
	if (state->at != state->size)
		state_fail(state, "%zu bytes are left that no part of it knows",
		           state->size - state->at);
	return result(state, error);
}

static void put(struct state_stream *state, const void *bytes, size_t size)
{
	size_t wanted = state->size ? state->size : FIRST_BYTES;
	uint8_t *larger;

	if (state->has_failed)
		return;
	while (wanted - state->at < size)
		wanted *= 2;
	if (wanted != state->size) {
		larger = realloc(state->saved, wanted);
		if (!larger) {
			state_fail(state, "%s", strerror(ENOMEM));
			return;
		}
		state->saved = larger;
		state->size = wanted;
	}
	memcpy(state->saved + state->at, bytes, size);
	state->at += size;
}

/* The next `size` bytes before `end`; false, and a failure, when there are fewer. */
static bool take(struct state_stream *state, size_t end, void *bytes, size_t size)
{
	if (!state->has_failed && end - state->at < size)
		state_fail(state, "it ends too early");
	if (state->has_failed) {
		memset(bytes, 0, size);
		return false;
	}
	memcpy(bytes, state->loaded + state->at, size);
	state->at += size;
	return true;
}

void state_append(struct state_stream *state, const struct state_stream *other)
{
	if (other->has_failed && !state->has_failed) {
		state->has_failed = true;
		state->error = other->error;
	}
	put(state, other->saved, other->at);
}

static void put_number(struct state_stream *state, uint64_t value, unsigned width)
{
	uint8_t bytes[8];
	unsigned i;

	for (i = 0; i < width; i++)
		bytes[i] = value >> (8 * i);
	put(state, bytes, width);
}

static uint64_t take_number(struct state_stream *state, size_t end, unsigned width)
{
	uint8_t bytes[8];
	uint64_t value = 0;
	unsigned i;

	take(state, end, bytes, width);
	for (i = 0; i < width; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

static void load_section(struct state_stream *state, const char *name, uint32_t version)
{
	char found[STATE_NAME_MAX + 1] = "";
	uint8_t length;
	uint32_t fields;

	state->section = NULL; /* failures up to here are the stream's */
	length = take_number(state, state->size, 1);
	if (length > STATE_NAME_MAX) {
		state_fail(state, "a part's name has %u characters, more than %u", length,
		           STATE_NAME_MAX);
		return;
	}
	take(state, state->size, found, length);
	if (!state->has_failed && strcmp(found, name) != 0) {
		/* The name may be anything: print what can be printed. */
		for (char *c = found; *c; c++)
			*c = *c >= ' ' && *c <= '~' ? *c : '?';
		state_fail(state, "it has %s where this machine has %s", found, name);
	}
	state->section = name;
	state->version = take_number(state, state->size, 4);
	if (state->version == 0 || state->version > version)
		state_fail(state, "its version is %u, this kvik knows 1 to %u", state->version,
		           version);
	fields = take_number(state, state->size, 4);
	if (fields > state->size - state->at)
		state_fail(state, "it ends too early");
	state->section_at = state->has_failed ? state->at : state->at + fields;
}

void state_next_section(const struct state_stream *state, char name[STATE_NAME_MAX + 1])
{
	size_t length = state->has_failed || state->at == state->size ? 0 : state->loaded[state->at];

	if (length > STATE_NAME_MAX || length >= state->size - state->at)
		length = 0;
	memcpy(name, state->loaded + state->at + (length ? 1 : 0), length);
	name[length] = 0;
}

void state_section_begin(struct state_stream *state, const char *name, uint32_t version)
{
	if (state->is_loading) {
		load_section(state, name, version);
		return;
	}
	state->section = name;
	state->version = version;
	put_number(state, strlen(name), 1);
	put(state, name, strlen(name));
	put_number(state, version, 4);
	state->section_at = state->at;
	put_number(state, 0, 4); /* the length, see state_section_end */
}

bool state_complete(struct state_stream *state)
{
	if (state->is_loading && state->at != state->section_at)
		state_fail(state, "it has %zu bytes more than this kvik knows",
		           state->section_at - state->at);
	return !state->has_failed;
}

void state_section_end(struct state_stream *state)
{
	size_t end = state->at;

	state_complete(state);
	if (!state->is_loading && !state->has_failed) {
		state->at = state->section_at;
		put_number(state, end - state->section_at - 4, 4);
		state->at = end;
	}
	state->section = NULL;
}

static uint64_t number(struct state_stream *state, const char *field, uint64_t value,
                       unsigned width)
{
	uint8_t found;

	if (!state->is_loading) {
		put_number(state, width, 1);
		put_number(state, value, width);
		return value;
	}
	found = take_number(state, state->section_at, 1);
	if (found != width)
		state_fail(state, "%s is not a number of %u bits", field, width * 8);
	return take_number(state, state->section_at, width);
}

void state_u8(struct state_stream *state, const char *field, uint8_t *value)
{
	*value = number(state, field, *value, 1);
}

void state_u16(struct state_stream *state, const char *field, uint16_t *value)
{
	*value = number(state, field, *value, 2);
}

void state_u32(struct state_stream *state, const char *field, uint32_t *value)
{
	*value = number(state, field, *value, 4);
}

void state_u64(struct state_stream *state, const char *field, uint64_t *value)
{
	*value = number(state, field, *value, 8);
}

void state_i64(struct state_stream *state, const char *field, int64_t *value)
{
	*value = (int64_t)number(state, field, *value, 8);
}

void state_bool(struct state_stream *state, const char *field, bool *value)
{
	/* What is there before loading need not be a bool. */
	uint64_t byte = number(state, field, !state->is_loading && *value, 1);

	state_check(state, field, byte <= 1);
	*value = byte == 1;
}

void state_bytes(struct state_stream *state, const char *field, void *bytes, size_t size)
{
	if (!state->is_loading) {
		put_number(state, BYTES_FIELD, 1);
		put_number(state, size, 4);
		put(state, bytes, size);
		return;
	}
	if (take_number(state, state->section_at, 1) != BYTES_FIELD ||
	    take_number(state, state->section_at, 4) != size)
		state_fail(state, "%s is not a run of %zu bytes", field, size);
	take(state, state->section_at, bytes, size);
}

void state_check(struct state_stream *state, const char *field, bool holds)
{
	if (state->is_loading && !holds)
		state_fail(state, "%s has a value that it cannot have", field);
}
