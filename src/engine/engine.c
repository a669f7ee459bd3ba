/*
 * The engine's front door: finds the object behind a descriptor and hands it the request.
 */
#include "engine/engine.h"

#include <errno.h>

int engine_open(void)
{
	return -ENOSYS;
}

int engine_ioctl(int fd, unsigned long request, void *argument)
{
	(void)fd;
	(void)request;
	(void)argument;
	return -ENOSYS;
}

int engine_close(int fd)
{
	(void)fd;
	return -EBADF;
}

void engine_kick(int vcpu_fd)
{
	(void)vcpu_fd;
}
