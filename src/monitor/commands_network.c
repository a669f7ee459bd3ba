/* QMP's view of which frames network devices take. */
#include <errno.h>
#include <string.h>

#include "machine/inspect.h"
#include "monitor/monitor.h"
#include <qmp_commands.h>

static json_t *mac_text(const uint8_t *mac)
{
	return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static json_t *macs_of(const struct network_filter_list *list)
{
	json_t *macs = json_array();
	unsigned i;

	for (i = 0; i < list->count; i++)
		json_array_append_new(macs, mac_text(list->macs[i]));
	return macs;
}

static json_t *vlans_of(const struct network_filter *filter)
{
	json_t *vlans = json_array();
	unsigned i;

	for (i = 0; filter->has_vlans && i < NET_FILTER_VLANS; i++)
		if (filter->vlans[i / 8] >> i % 8 & 1)
			json_array_append_new(vlans, json_integer(i));
	return vlans;
}

static const char *state_of(bool takes_none, bool takes_all)
{
	return takes_none ? "none" : takes_all ? "all" : "normal";
}

static json_t *describe(const char *name, const struct network_filter *filter, const uint8_t *mac)
{
	json_t *vlans = vlans_of(filter);
	bool has_vlan = json_array_size(vlans);

	return json_pack("{s:s,s:b,s:s,s:s,s:s,s:b,s:b,s:b,s:o,s:o,s:o,s:o}", "name", name, "promiscuous",
			 filter->is_promiscuous, "multicast", state_of(filter->no_multicast, filter->takes_all_multicast),
			 "unicast", state_of(filter->no_unicast, filter->takes_all_unicast), "vlan",
			 state_of(filter->has_vlans && !has_vlan, !filter->has_vlans), "broadcast-allowed",
			 !filter->no_broadcast, "multicast-overflow", filter->multicast.overflows, "unicast-overflow",
			 filter->unicast.overflows, "main-mac", mac_text(mac), "vlan-table", vlans, "unicast-table",
			 macs_of(&filter->unicast), "multicast-table", macs_of(&filter->multicast));
}

/* What the link of a network device is called; NULL: it is none. */
static const char *link_of(const json_t *device)
{
	return json_string_value(json_object_get(device, "link"));
}

json_t *qmp_query_rx_filter(struct qmp_call *call)
{
	const char *wanted = json_string_value(json_object_get(call->arguments, "name")), *name;
	json_t *answer = json_array(), *device;
	struct network_filter filter;
	uint8_t mac[NET_MAC_BYTES];
	bool is_there = !wanted;
	size_t i;

	json_array_foreach(call->monitor->facts.networks, i, device) {
		name = json_string_value(json_object_get(device, "name"));
		if (!link_of(device) || !call->monitor->machine || (wanted && strcmp(wanted, name) != 0))
			continue;
		is_there = true;
		if (machine_read_filter(call->monitor->machine, link_of(device), &filter, mac) == 0)
			json_array_append_new(answer, describe(name, &filter, mac));
	}
	if (is_there && (!wanted || json_array_size(answer)))
		return answer;
	json_decref(answer);
	error_set(&call->error, is_there ? ENOTSUP : ENODEV,
		  is_there ? "net client(%s) doesn't support rx-filter querying" : "invalid net client name: %s", wanted);
	return NULL;
}
