#include "cli/qemu/line_clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/qemu/keyval.h"

#define FIRST_YEAR 1970
#define LAST_YEAR  2099 /* what CMOS RAM's century is read to mean */

/* "2006-06-17T16:01:21" or "2006-06-17", as UTC; -1: it is neither. */
static time_t parse_date(const char *text)
{
	struct tm date = {.tm_isdst = 0}, normal;
	int day_end = 0, end = 0;
	time_t seconds;

	if (sscanf(text, "%4d-%2d-%2d%n", &date.tm_year, &date.tm_mon, &date.tm_mday, &day_end) != 3)
		return -1;
	if (text[day_end] && (sscanf(text + day_end, "T%2d:%2d:%2d%n", &date.tm_hour, &date.tm_min, &date.tm_sec, &end) != 3 ||
			      text[day_end + end]))
		return -1;
	if (date.tm_year < FIRST_YEAR || date.tm_year > LAST_YEAR)
		return -1;
	date.tm_year -= 1900;
	date.tm_mon--;
	normal = date;
	seconds = timegm(&normal);
	/* There is no 30th of February, nor a 25th hour. */
	return normal.tm_year == date.tm_year && normal.tm_mon == date.tm_mon && normal.tm_mday == date.tm_mday &&
			       normal.tm_hour == date.tm_hour && normal.tm_min == date.tm_min &&
			       normal.tm_sec == date.tm_sec
		       ? seconds
		       : -1;
}

int line_examine_clock(struct line *line, struct error *error)
{
	const json_t *options = json_object_get(line->said, "rtc");
	const char *base = keyval_text(options, "base"), *clock = keyval_text(options, "clock");
	time_t now = time(NULL), begin;
	struct tm local;

	if (clock && strcmp(clock, "vm") == 0)
		return error_set(error, ENOTSUP,
				 "-rtc clock=vm: the clock goes on while the machine stands still: use clock=host");
	if (!base || strcmp(base, "utc") == 0)
		return 0;
	if (strcmp(base, "localtime") == 0) {
		localtime_r(&now, &local);
		line->config.clock_offset_s = local.tm_gmtoff;
		return 0;
	}
	begin = parse_date(base);
	if (begin < 0)
		return error_set(error, EINVAL,
				 "-rtc base=%.60s: use utc, localtime or a date from %u to %u, as 2006-06-17T16:01:21 or 2006-06-17",
				 base, FIRST_YEAR, LAST_YEAR);
	line->config.clock_offset_s = begin - now;
	return 0;
}
