#include "cli/qemu/named_network.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/keyval.h"
#include "cli/qemu/net_taps.h"
#include "cli/qemu/nets.h"
#include "cli/qemu/options.h"

int named_network_open(const char *arguments, int fds[2], struct error *error)
{
	json_t *options = json_loads(arguments, 0, NULL);
	struct net_link link = {.fd = -1, .helper = -1};
	int result = options ? options_check_network(options, error) : error_set(error, EINVAL, "no network");

	if (result == 0)
		result = nets_check(options, error);
	/* What is open here is not what whoever asks has, and programs are not this one's to run. */
	if (result == 0 && net_taps_has(keyval_text(options, "type")) &&
	    (!keyval_text(options, "ifname") || keyval_text(options, "script") == NULL ||
	     strcmp(keyval_text(options, "script"), "no") != 0))
		result = error_set(error, ENOTSUP, "a confined kvik adds a tap by ifname=NAME,script=no alone");
	if (result == 0 && nets_queues(options) != 1)
		result = error_set(error, ENOTSUP, "a confined kvik adds no network of several queues");
	if (result == 0)
		result = nets_open_link(options, &link, error);
	fds[0] = link.fd;
	fds[1] = link.helper;
	json_decref(options);
	return result;
}

bool named_network_has_header(const json_t *arguments)
{
	const char *type = keyval_text(arguments, "type");

	return type && strcmp(type, "tap") == 0;
}
