#include "monitor/hmp_disks.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/hmp_words.h"

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

json_t *hmp_parse_resize(struct hmp_text *text, char *words)
{
	char *said[2];
	int64_t bytes = hmp_split(words, said, 2) == 2 ? parse_size(said[1]) : -1;

	if (bytes < 0) {
		hmp_print(text, "block_resize: what, and how large? as virtio0 20G\n");
		return NULL;
	}
	return json_pack("{s:s,s:I}", "device", said[0], "size", (json_int_t)bytes);
}

json_t *hmp_parse_limits(struct hmp_text *text, char *words)
{
	const char *device = hmp_word(&words);
	long long limits[6];

	if (sscanf(words, "%lld %lld %lld %lld %lld %lld", &limits[0], &limits[1], &limits[2], &limits[3], &limits[4],
		   &limits[5]) != 6) {
		hmp_print(text, "block_set_io_throttle: of what, and how much of all, read and written: bytes, then operations a "
				"second? as virtio0 1000000 0 0 0 0 0\n");
		return NULL;
	}
	return json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "device", device, "bps", (json_int_t)limits[0], "bps_rd",
			 (json_int_t)limits[1], "bps_wr", (json_int_t)limits[2], "iops", (json_int_t)limits[3], "iops_rd",
			 (json_int_t)limits[4], "iops_wr", (json_int_t)limits[5]);
}

json_t *hmp_parse_overlay(struct hmp_text *text, char *words)
{
	char *said[3];
	unsigned count = *words == '-' ? 0 : hmp_split(words, said, 3);

	if (count < 2) {
		hmp_print(text, "snapshot_blkdev: of what, into which new file? as virtio0 overlay.qcow2\n");
		return NULL;
	}
	return json_pack("{s:s,s:s,s:s}", "device", said[0], "snapshot-file", said[1], "format", count > 2 ? said[2] : "qcow2");
}

/* Letters of options that come first; what follows them. */
static char *take_letters(char *words, const char *letters, bool *found)
{
	const char *letter;

	for (;;) {
		words += strspn(words, " \t");
		letter = *words == '-' && words[1] && strchr(" \t", words[2]) ? strchr(letters, words[1]) : NULL;
		if (!letter)
			return words;
		found[letter - letters] = true;
		words += 2;
	}
}

json_t *hmp_parse_server(struct hmp_text *text, char *words, bool *gives_all, bool *is_writable)
{
	bool found[2] = {false, false};
	char *address, *colon;

	words = take_letters(words, "aw", found);
	*gives_all = found[0];
	*is_writable = found[1];
	address = hmp_word(&words);
	if (!address || !(colon = strrchr(address, ':'))) {
		hmp_print(text, "nbd_server_start: where? as localhost:10809 or unix:PATH\n");
		return NULL;
	}
	if (strncmp(address, "unix:", 5) == 0)
		return json_pack("{s:{s:s,s:{s:s}}}", "addr", "type", "unix", "data", "path", address + 5);
	*colon = 0;
	return json_pack("{s:{s:s,s:{s:s,s:s}}}", "addr", "type", "inet", "data", "host", address, "port", colon + 1);
}

json_t *hmp_parse_export(struct hmp_text *text, char *words)
{
	bool is_writable = false;
	char *said[2];
	unsigned count = hmp_split(take_letters(words, "w", &is_writable), said, 2);

	if (count < 1) {
		hmp_print(text, "nbd_server_add: which disk? as virtio0\n");
		return NULL;
	}
	return json_pack("{s:s,s:s,s:b}", "device", said[0], "name", said[count > 1], "writable", is_writable);
}

json_t *hmp_parse_export_end(struct hmp_text *text, char *words)
{
	bool is_hard = false;
	char *name;

	words = take_letters(words, "f", &is_hard);
	name = hmp_word(&words);
	if (!name) {
		hmp_print(text, "nbd_server_remove: which export?\n");
		return NULL;
	}
	return json_pack("{s:s,s:s}", "name", name, "mode", is_hard ? "hard" : "safe");
}

json_t *hmp_parse_job(struct hmp_text *text, const char *command, char *words)
{
	bool is_forced = false;
	char *device;

	words = take_letters(words, "f", &is_forced);
	device = hmp_word(&words);
	if (device)
		return is_forced ? json_pack("{s:s,s:b}", "device", device, "force", 1) : json_pack("{s:s}", "device", device);
	hmp_print(text, "%s: of which disk? 'info block-jobs' tells\n", command);
	return NULL;
}

json_t *hmp_parse_job_speed(struct hmp_text *text, char *words)
{
	char *said[2];
	int64_t bytes = hmp_split(words, said, 2) == 2 ? parse_size(said[1]) : -1;

	if (bytes >= 0)
		return json_pack("{s:s,s:I}", "device", said[0], "speed", (json_int_t)bytes);
	hmp_print(text, "block_job_set_speed: of which disk, and how fast? as virtio0 10M\n");
	return NULL;
}

json_t *hmp_parse_stream(struct hmp_text *text, char *words)
{
	char *said[3];
	unsigned count = hmp_split(words, said, 3);
	int64_t bytes = count > 1 ? parse_size(said[1]) : 0;
	json_t *arguments;

	if (count < 1 || bytes < 0) {
		hmp_print(text, "block_stream: into which disk, how fast, and down to which file? as virtio0 10M base.qcow2\n");
		return NULL;
	}
	arguments = json_pack("{s:s,s:I}", "device", said[0], "speed", (json_int_t)bytes);
	if (count > 2)
		json_object_set_new(arguments, "base", json_string(said[2]));
	return arguments;
}

void hmp_print_block_jobs(struct hmp_text *text, const json_t *answer)
{
	json_t *one;
	size_t i;

	if (!json_array_size(answer))
		hmp_print(text, "No active jobs\n");
	json_array_foreach((json_t *)answer, i, one) {
		const char *type = json_string_value(json_object_get(one, "type"));
		bool is_stream = strcmp(type, "stream") == 0;

		hmp_print(text, "%s%s%s device %s: Completed %lld of %lld bytes, speed limit %lld bytes/s\n",
			  is_stream ? "Streaming" : "Type ", is_stream ? "" : type, is_stream ? "" : ",",
			  json_string_value(json_object_get(one, "device")), json_integer_value(json_object_get(one, "offset")),
			  json_integer_value(json_object_get(one, "len")), json_integer_value(json_object_get(one, "speed")));
	}
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
