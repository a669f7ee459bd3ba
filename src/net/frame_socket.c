#include "net/frame_socket.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#define SOCKET_BYTES (4 << 20) /* what the host allows of it */
#define FULL_WAIT_MS 10

int frame_socket_pair(int ends[2], struct error *error)
{
	int bytes = SOCKET_BYTES, i;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return error_set_errno(error, errno, "cannot create the guest's network");
	for (i = 0; i < 2; i++)
		setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return 0;
}

void frame_socket_send(int fd, const void *frame, size_t size)
{
	struct pollfd full = {.fd = fd, .events = POLLOUT};

	if (send(fd, frame, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EAGAIN &&
	    poll(&full, 1, FULL_WAIT_MS) > 0)
		send(fd, frame, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}
