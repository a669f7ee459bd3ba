#include "cli/qemu/net_taps.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/qemu/keyval.h"
#include "util/log.h"

/* What QEMU runs without script=, where it is. */
#define USUAL_SCRIPT "/etc/qemu-ifup"
#define USUAL_BRIDGE "br0"
#define ANY_NAME     "tap%d" /* the kernel puts a number in */

bool net_taps_has(const char *type)
{
	return strcmp(type, "tap") == 0 || strcmp(type, "bridge") == 0;
}

static bool is_bridge(const json_t *options)
{
	return strcmp(keyval_text(options, "type"), "bridge") == 0 || keyval_text(options, "helper") ||
	       keyval_text(options, "br");
}

/* The numbers of fd=N or fds=N:M:..., none of which is open twice. How many; 0: there are none, or not so many, or no numbers. */
static unsigned read_fds(const json_t *options, int fds[NET_QUEUES_MAX])
{
	const char *text = keyval_text(options, "fds") ? keyval_text(options, "fds") : keyval_text(options, "fd");
	unsigned count = 0;
	unsigned long number;
	char *end;

	for (; text && *text && count < NET_QUEUES_MAX; text = end) {
		number = strtoul(text, &end, 10);
		if (*text < '0' || *text > '9' || number > INT32_MAX || (*end && (*end != ':' || !end[1])))
			return 0;
		fds[count++] = number;
		end += *end == ':';
	}
	return text && *text ? 0 : count;
}

static bool has_fds(const json_t *options)
{
	return keyval_text(options, "fds") || keyval_text(options, "fd");
}

unsigned net_taps_queues(const json_t *options)
{
	int fds[NET_QUEUES_MAX];
	uint64_t queues = 1;
	struct error unseen;

	if (has_fds(options))
		return read_fds(options, fds);
	return keyval_number(options, "queues", NET_QUEUES_MAX, &queues, &unseen) < 0 ? 0 : queues;
}

int net_taps_check(const json_t *options, struct error *error)
{
	static const char *const others[] = {"ifname", "script", "downscript", "queues", "helper", "br"};
	unsigned i;

	if (!net_taps_queues(options))
		return has_fds(options) ? error_set(error, EINVAL, "use fd=N, or fds=N:M of up to %u", NET_QUEUES_MAX)
					: error_set(error, EINVAL, "queues= is 1 to %u", NET_QUEUES_MAX);
	for (i = 0; has_fds(options) && i < sizeof(others) / sizeof(others[0]); i++)
		if (json_object_get(options, others[i]))
			return error_set(error, EINVAL, "%s= is not for descriptors that are open (fd=, fds=)", others[i]);
	if (is_bridge(options) && (net_taps_queues(options) != 1 || keyval_text(options, "ifname") ||
				   keyval_text(options, "script")))
		return error_set(error, EINVAL, "a helper's interface has one queue, and ifname= and script= are not for it");
	return 0;
}

static int open_bridge(const json_t *options, struct net_link *link, struct error *error)
{
	static const char *const usual[] = {"/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper"};
	const char *helper = keyval_text(options, "helper"), *bridge = keyval_text(options, "br");

	if (!helper)
		helper = usual[access(usual[0], X_OK) != 0 && access(usual[1], X_OK) == 0];
	return net_bridge_open(link, helper, bridge ? bridge : USUAL_BRIDGE, error);
}

/* The caller's descriptors stay the command line's: one may be named again. */
static int adopt(const json_t *options, struct net_link *link, struct error *error)
{
	int fds[NET_QUEUES_MAX], copies[NET_QUEUES_MAX];
	unsigned count = read_fds(options, fds), i;

	for (i = 0; i < count; i++) {
		copies[i] = dup(fds[i]);
		if (copies[i] >= 0)
			continue;
		error_set(error, EBADF, "descriptor %d is not open", fds[i]);
		while (i)
			close(copies[--i]);
		return -EBADF;
	}
	return net_tap_adopt(link, copies, count, error);
}

/* 0: it was run, or there is none. */
static int run_script(const json_t *options, const struct net_link *link, struct error *error)
{
	const char *script = keyval_text(options, "script"), *down = keyval_text(options, "downscript");
	char name[IFNAMSIZ];

	if (down && *down && strcmp(down, "no") != 0)
		log_hint("downscript=%s is not run: kvik can run nothing at its end", down);
	if (!script)
		script = access(USUAL_SCRIPT, X_OK) == 0 ? USUAL_SCRIPT : "no";
	if (!*script || strcmp(script, "no") == 0)
		return 0;
	net_tap_name(link, name, sizeof(name));
	return net_tap_run_script(script, name, error);
}

int net_taps_open(const json_t *options, struct net_link *link, struct error *error)
{
	const char *name = keyval_text(options, "ifname");
	int result;

	if (has_fds(options))
		return adopt(options, link, error);
	if (is_bridge(options))
		return open_bridge(options, link, error);
	result = net_tap_open(link, name ? name : ANY_NAME, net_taps_queues(options), error);
	if (result < 0)
		return result;
	result = run_script(options, link, error);
	if (result < 0)
		net_link_close(link);
	return result;
}
