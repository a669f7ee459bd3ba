#include "cli/qemu/on_error.h"

#include <string.h>

#include "cli/qemu/keyval.h"

/* QEMU's defaults: room is made by people, and the rest is the guest's matter. Its NVMe controller knows of none of it. */
static struct block_error_policy first_policy(const json_t *device)
{
	struct block_error_policy policy = {BLOCK_ON_ERROR_REPORT, BLOCK_ON_ERROR_ENOSPC};
	const char *driver = keyval_text(device, "driver");

	if (driver && strcmp(driver, "nvme") == 0)
		policy.on_write = BLOCK_ON_ERROR_REPORT;
	return policy;
}

/* The words were checked with the other properties; "auto" is what is there. */
static void take(const json_t *options, struct block_error_policy *policy)
{
	const char *on_read = keyval_text(options, "rerror"), *on_write = keyval_text(options, "werror");

	if (on_read)
		block_on_error_parse(on_read, &policy->on_read);
	if (on_write)
		block_on_error_parse(on_write, &policy->on_write);
}

struct block_error_policy on_error_read(const json_t *drive, const json_t *device)
{
	struct block_error_policy policy = first_policy(device);

	take(drive, &policy);
	take(device, &policy);
	return policy;
}
