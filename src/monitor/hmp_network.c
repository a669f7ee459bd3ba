#include "monitor/hmp_network.h"

#include <stdio.h>
#include <string.h>

#include "monitor/hmp_words.h"

static void print_one(struct hmp_text *text, const char *before, const json_t *one)
{
	hmp_print(text, "%s%s: %s\n", before, json_string_value(json_object_get(one, "name")),
		  json_string_value(json_object_get(one, "text")));
}

void hmp_print_networks(struct hmp_text *text, const json_t *networks)
{
	const json_t *one, *network;
	size_t i;

	json_array_foreach((json_t *)networks, i, one) {
		network = json_object_get(one, "network");
		print_one(text, "", one);
		if (network)
			print_one(text, " \\ ", network);
	}
}

void hmp_print_user_networks(struct hmp_text *text, const json_t *networks)
{
	const json_t *one;
	size_t i;

	/* There are no hubs, which QEMU's would name. */
	json_array_foreach((json_t *)networks, i, one)
		hmp_print(text, "Hub -1 (%s):\n%s", json_string_value(json_object_get(one, "name")),
			  json_string_value(json_object_get(one, "text")));
}

json_t *hmp_parse_link(char *words)
{
	char *said[2];

	if (hmp_split(words, said, 2) != 2 || (strcmp(said[1], "on") != 0 && strcmp(said[1], "off") != 0))
		return NULL;
	return json_pack("{s:s,s:b}", "name", said[0], "up", strcmp(said[1], "on") == 0);
}

json_t *hmp_parse_forward(char *words, bool is_end)
{
	char *said[2];
	unsigned count = hmp_split(words, said, 2);

	if (count < 1)
		return NULL;
	return count >= 2 ? json_pack("{s:s,s:s,s:b}", "device", said[0], "forward", said[1], "is-end", is_end)
			  : json_pack("{s:s,s:b}", "forward", said[0], "is-end", is_end);
}
