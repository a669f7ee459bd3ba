#include "util/snapshot_text.h"

#include <stdio.h>
#include <time.h>

void size_text(char *text, size_t room, uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = bytes;
	unsigned unit = 0;

	while (value >= 1000 && unit < 6) {
		value /= 1024;
		unit++;
	}
	snprintf(text, room, "%.3g %s", value, units[unit]);
}

void snapshot_text_make(struct snapshot_text *text, uint64_t state_bytes, uint64_t seconds, uint64_t clock_ns)
{
	uint64_t clock = clock_ns / 1000000000;
	time_t when = seconds;
	struct tm local;

	size_text(text->size, sizeof(text->size), state_bytes);
	localtime_r(&when, &local);
	strftime(text->date, sizeof(text->date), "%Y-%m-%d %H:%M:%S", &local);
	snprintf(text->clock, sizeof(text->clock), "%02u:%02u:%02u.%03u", (unsigned)(clock / 3600),
		 (unsigned)(clock / 60 % 60), (unsigned)(clock % 60), (unsigned)(clock_ns / 1000000 % 1000));
}
