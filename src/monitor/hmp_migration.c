#include "monitor/hmp_migration.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/hmp_words.h"

static long long number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void print_time(struct hmp_text *text, const json_t *answer, const char *key, const char *name)
{
	if (json_object_get(answer, key))
		hmp_print(text, "%s: %lld ms\n", name, number(answer, key));
}

void hmp_print_migration(struct hmp_text *text, const json_t *answer)
{
	const json_t *ram = json_object_get(answer, "ram");
	const char *status = json_string_value(json_object_get(answer, "status"));
	const char *problem = json_string_value(json_object_get(answer, "error-desc"));

	if (!status)
		return;
	hmp_print(text, "Migration status: %s%s%s\n", status, problem ? ": " : "", problem ? problem : "");
	print_time(text, answer, "total-time", "total time");
	print_time(text, answer, "expected-downtime", "expected downtime");
	print_time(text, answer, "downtime", "downtime");
	if (!ram)
		return;
	hmp_print(text, "transferred ram: %lld kbytes\nthroughput: %.2f mbps\nremaining ram: %lld kbytes\n",
		  number(ram, "transferred") >> 10, json_number_value(json_object_get(ram, "mbps")),
		  number(ram, "remaining") >> 10);
	hmp_print(text, "total ram: %lld kbytes\nduplicate: %lld pages\nnormal: %lld pages\nnormal bytes: %lld kbytes\n",
		  number(ram, "total") >> 10, number(ram, "duplicate"), number(ram, "normal"),
		  number(ram, "normal-bytes") >> 10);
	hmp_print(text, "dirty sync count: %lld\npage size: %lld kbytes\ndirty pages rate: %lld pages\n",
		  number(ram, "dirty-sync-count"), number(ram, "page-size") >> 10, number(ram, "dirty-pages-rate"));
}

json_t *hmp_parse_parameter(const char *text)
{
	size_t length = strcspn(text, " \t");
	char *end;
	unsigned long long value = strtoull(text + length, &end, 10);
	bool is_size = strncmp(text, "max-bandwidth", length) == 0 && length == strlen("max-bandwidth");
	const char *units = "KMG", *unit = *end ? strchr(units, *end) : NULL;

	if (end == text + length || (!is_size && (strncmp(text, "downtime-limit", length) != 0 ||
						  length != strlen("downtime-limit"))))
		return NULL;
	if (is_size && unit) {
		if (value >> 30)
			return NULL;
		value <<= 10 * (unit - units + 1);
		end++;
	}
	end += strspn(end, " \t\r\n");
	return *end || value > INT64_MAX ? NULL
					 : json_pack("{s:I}", is_size ? "max-bandwidth" : "downtime-limit",
						     (json_int_t)value);
}

json_t *hmp_parse_capability(char *text)
{
	char *words[2];

	if (hmp_split(text, words, 2) != 2 || (strcmp(words[1], "on") != 0 && strcmp(words[1], "off") != 0))
		return NULL;
	return json_pack("{s:[{s:s,s:b}]}", "capabilities", "capability", words[0], "state", strcmp(words[1], "on") == 0);
}

void hmp_print_dirty_rate(struct hmp_text *text, const json_t *answer)
{
	if (!answer)
		return;
	hmp_print(text, "Status: %s\nStart Time: %lld (ms)\nSample Pages: %lld (per GB)\nPeriod: %lld (sec)\nMode: %s\n",
		  json_string_value(json_object_get(answer, "status")), number(answer, "start-time") * 1000,
		  number(answer, "sample-pages"), number(answer, "calc-time"),
		  json_string_value(json_object_get(answer, "mode")));
	if (json_object_get(answer, "dirty-rate"))
		hmp_print(text, "Dirty rate: %lld (MB/s)\n", number(answer, "dirty-rate"));
	else
		hmp_print(text, "Dirty rate: (not ready)\n");
}

json_t *hmp_parse_dirty_rate(char *text)
{
	char *words[2], *end;
	unsigned count = hmp_split(text, words, 2), i;
	long values[2] = {0};

	if (count < 1 || count > 2)
		return NULL;
	for (i = 0; i < count; i++) {
		values[i] = strtol(words[i], &end, 0);
		if (*words[i] < '0' || *words[i] > '9' || *end)
			return NULL;
	}
	return count == 1 ? json_pack("{s:I}", "calc-time", (json_int_t)values[0])
			  : json_pack("{s:I,s:I}", "calc-time", (json_int_t)values[0], "sample-pages", (json_int_t)values[1]);
}
