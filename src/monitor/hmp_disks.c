#include "monitor/hmp_disks.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 256
#define PATH_BYTES 4096

/* A number and a letter for a power of 1024, MiB without one. -1: it is none. */
static int64_t parse_size(const char *word)
{
	static const char letters[] = "BKMGT";
	char *end;
	unsigned long long number = strtoull(word, &end, 10);
	const char *letter = *end ? strchr(letters, *end & ~0x20) : letters + 2;
	unsigned shift;

	if (end == word || *word == '-' || !letter || (*end && end[1]))
		return -1;
	shift = 10 * (letter - letters);
	return number > (uint64_t)INT64_MAX >> shift ? -1 : (int64_t)(number << shift);
}

json_t *hmp_parse_resize(struct hmp_text *text, const char *words)
{
	char device[NAME_BYTES], size[32];
	int64_t bytes = sscanf(words, "%255s %31s", device, size) == 2 ? parse_size(size) : -1;

	if (bytes < 0) {
		hmp_print(text, "block_resize: what, and how large? as virtio0 20G\n");
		return NULL;
	}
	return json_pack("{s:s,s:I}", "device", device, "size", (json_int_t)bytes);
}

json_t *hmp_parse_overlay(struct hmp_text *text, const char *words)
{
	char device[NAME_BYTES], path[PATH_BYTES], format[32] = "qcow2";

	if (*words == '-' || sscanf(words, "%255s %4095s %31s", device, path, format) < 2) {
		hmp_print(text, "snapshot_blkdev: of what, into which new file? as virtio0 overlay.qcow2\n");
		return NULL;
	}
	return json_pack("{s:s,s:s,s:s}", "device", device, "snapshot-file", path, "format", format);
}

void hmp_print_block_counts(struct hmp_text *text, const json_t *answer)
{
	static const char *const keys[] = {"rd_bytes", "wr_bytes", "rd_operations", "wr_operations", "flush_operations",
					   "wr_total_time_ns", "rd_total_time_ns", "flush_total_time_ns", "rd_merged",
					   "wr_merged"};
	json_t *one;
	size_t i, k;

	json_array_foreach((json_t *)answer, i, one) {
		const char *device = json_string_value(json_object_get(one, "device"));
		const char *node = json_string_value(json_object_get(one, "node-name"));
		const json_t *stats = json_object_get(one, "stats");

		hmp_print(text, "%s:", device && *device ? device : node ? node : "");
		for (k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			hmp_print(text, " %s=%lld", keys[k], json_integer_value(json_object_get(stats, keys[k])));
		hmp_print(text, "\n");
	}
}
