#include "cli/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Digits at the start of `text`; `*end` is what follows. strtoull alone would take "-1", too. */
static int digits_parse(const char *text, int base, uint64_t *number, char **end)
{
	if (base == 10 ? !isdigit((unsigned char)*text) : !isxdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*number = strtoull(text, end, base);
	return errno ? -ERANGE : 0;
}

int size_parse(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	const char *unit;
	uint64_t number;
	unsigned shift = 20;
	char *end;
	int result = digits_parse(text, 10, &number, &end);

	if (result < 0)
		return result;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit)
			return -EINVAL;
		shift = 10 * (unit - units + 1);
		end++;
		if (*end && strcasecmp(end, "iB") != 0 && strcasecmp(end, "B") != 0)
			return -EINVAL;
	}
	if (number > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = number << shift;
	return 0;
}

int number_parse(const char *text, uint64_t limit, uint64_t *number)
{
	int base = 10, result;
	char *end;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
	}
	result = digits_parse(text, base, number, &end);
	if (result < 0)
		return result;
	if (*end)
		return -EINVAL;
	return *number > limit ? -ERANGE : 0;
}
