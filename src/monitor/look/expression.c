#include "monitor/look/expression.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/look/registers.h"

#define DEPTH_MAX 64 /* of brackets and signs */

struct reader {
	const struct look *look;
	const char *at;
	unsigned depth;
	struct error *error;
};

static int read_sum(struct reader *reader, uint64_t *value);

static void skip_blanks(struct reader *reader)
{
	while (isspace((unsigned char)*reader->at))
		reader->at++;
}

static int read_number(struct reader *reader, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(reader->at, &end, 0);
	if (end == reader->at || errno)
		return error_set(reader->error, EINVAL, "'%.40s' is no number", reader->at);
	reader->at = end;
	return 0;
}

static int read_register(struct reader *reader, uint64_t *value)
{
	size_t length = 0;

	reader->at++;
	while (isalnum((unsigned char)reader->at[length]) || reader->at[length] == '.')
		length++;
	if (!look_register(reader->look, reader->at, length, value))
		return error_set(reader->error, EINVAL, "unknown register '%.*s'", (int)length, reader->at);
	reader->at += length;
	return 0;
}

static int read_bracket(struct reader *reader, uint64_t *value)
{
	int result;

	reader->at++;
	result = read_sum(reader, value);
	if (result < 0)
		return result;
	if (*reader->at != ')')
		return error_set(reader->error, EINVAL, "')' expected");
	reader->at++;
	return 0;
}

/* What has no operator between its parts. */
static int read_one(struct reader *reader, uint64_t *value)
{
	char sign;
	int result;

	if (reader->depth == DEPTH_MAX)
		return error_set(reader->error, EINVAL, "too many brackets");
	reader->depth++;
	skip_blanks(reader);
	switch (*reader->at) {
	case '+':
	case '-':
	case '~':
		sign = *reader->at++;
		result = read_one(reader, value);
		*value = sign == '-' ? -*value : sign == '~' ? ~*value : *value;
		break;
	case '(': result = read_bracket(reader, value); break;
	case '$': result = read_register(reader, value); break;
	case '\'':
		if (!reader->at[1] || reader->at[2] != '\'')
			return error_set(reader->error, EINVAL, "a character stands between two '");
		*value = (unsigned char)reader->at[1];
		reader->at += 3;
		result = 0;
		break;
	default: result = read_number(reader, value); break;
	}
	reader->depth--;
	skip_blanks(reader);
	return result;
}

static int read_product(struct reader *reader, uint64_t *value)
{
	uint64_t right = 0;
	char sign;
	int result = read_one(reader, value);

	while (result == 0 && *reader->at && strchr("*/%", *reader->at)) {
		sign = *reader->at++;
		result = read_one(reader, &right);
		if (result == 0 && sign != '*' && !right)
			result = error_set(reader->error, EDOM, "division by zero");
		if (result < 0)
			break;
		*value = sign == '*' ? *value * right : sign == '/' ? *value / right : *value % right;
	}
	return result;
}

static int read_logic(struct reader *reader, uint64_t *value)
{
	uint64_t right = 0;
	char sign;
	int result = read_product(reader, value);

	while (result == 0 && *reader->at && strchr("&|^", *reader->at)) {
		sign = *reader->at++;
		result = read_product(reader, &right);
		*value = sign == '&' ? *value & right : sign == '|' ? *value | right : *value ^ right;
	}
	return result;
}

static int read_sum(struct reader *reader, uint64_t *value)
{
	uint64_t right = 0;
	char sign;
	int result = read_logic(reader, value);

	while (result == 0 && (*reader->at == '+' || *reader->at == '-')) {
		sign = *reader->at++;
		result = read_logic(reader, &right);
		*value = sign == '+' ? *value + right : *value - right;
	}
	return result;
}

const char *look_expression(const struct look *look, const char *text, uint64_t *value, struct error *error)
{
	struct reader reader = {.look = look, .at = text, .error = error};

	*value = 0;
	return read_sum(&reader, value) == 0 ? reader.at : NULL;
}
