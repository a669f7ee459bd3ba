#include "monitor/hmp_network.h"

#include <stdio.h>
#include <string.h>

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

json_t *hmp_parse_link(const char *words)
{
	char name[128], state[8], more;

	if (sscanf(words, "%127s %7s %c", name, state, &more) != 2 ||
	    (strcmp(state, "on") != 0 && strcmp(state, "off") != 0))
		return NULL;
	return json_pack("{s:s,s:b}", "name", name, "up", strcmp(state, "on") == 0);
}

json_t *hmp_parse_forward(const char *words, bool is_end)
{
	char first[128], second[128];
	int count = sscanf(words, "%127s %127s", first, second);

	if (count < 1)
		return NULL;
	return count == 2 ? json_pack("{s:s,s:s,s:b}", "device", first, "forward", second, "is-end", is_end)
			  : json_pack("{s:s,s:b}", "forward", first, "is-end", is_end);
}
