#include "cli/vsock_option.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/size.h"

#define CID_DEFAULT VSOCK_CID_MIN

int vsock_option_parse(struct vsock_option *option, const char *text, struct error *error)
{
	uint64_t cid = CID_DEFAULT;
	char *rest, *path, *item;

	if (option->path)
		return error_set(error, EEXIST, "a guest has one of these");
	option->path = strdup(text);
	if (!option->path)
		return error_set_errno(error, ENOMEM, "'%s'", text);
	rest = option->path;
	path = strsep(&rest, ",");
	if (!*path)
		return error_set(error, EINVAL, "'%s' names no socket: use PATH[,cid=N]", text);
	while ((item = strsep(&rest, ",")))
		if (strncmp(item, "cid=", 4) != 0 || number_parse(item + 4, VSOCK_CID_MAX, &cid) < 0 ||
		    cid < VSOCK_CID_MIN)
			return error_set(error, EINVAL, "'%s': use cid=N, from %u on", item,
					 VSOCK_CID_MIN);
	option->cid = cid;
	return 0;
}

void vsock_option_free(struct vsock_option *option)
{
	free(option->path);
	option->path = NULL;
}

int vsock_option_open(const struct vsock_option *option, struct board_vsock *vsock,
		      struct error *error)
{
	int result = vsock_host_open(&vsock->host, option->path, error);

	if (result < 0)
		error_prefix(error, "--vsock");
	else
		vsock->guest_cid = option->cid;
	return result;
}
