/* The sockets of networks that send datagrams. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/peer.h"

/* What a name and a port mean, one of a family; AF_UNSPEC: any. 0, or -EINVAL and `error`. */
static int look_up(int family, const char *host, const char *port, int flags, struct sockaddr_storage *address,
		   socklen_t *size, struct error *error)
{
	const struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_DGRAM, .ai_flags = flags};
	struct addrinfo *list;
	int code = getaddrinfo(host, port, &hints, &list);

	if (code)
		return error_set(error, EINVAL, "'%.100s:%.20s' is no address: %s", host ? host : "", port ? port : "",
				 gai_strerror(code));
	memcpy(address, list->ai_addr, list->ai_addrlen);
	*size = list->ai_addrlen;
	freeaddrinfo(list);
	return 0;
}

static int failed(int fd, const char *what, struct error *error)
{
	int result = error_set_errno(error, errno, "%s", what);

	if (fd >= 0)
		close(fd);
	return result;
}

int net_peer_udp(const char *local_host, const char *local_port, const char *host, const char *port,
		 struct error *error)
{
	struct sockaddr_storage to, from;
	socklen_t to_size, from_size = 0;
	int fd, on = 1;

	if (look_up(AF_UNSPEC, host, port, 0, &to, &to_size, error) < 0 ||
	    (local_port && look_up(to.ss_family, local_host, local_port, AI_PASSIVE, &from, &from_size, error) < 0))
		return -EINVAL;
	fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return failed(fd, "cannot make a socket", error);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (from_size && bind(fd, (struct sockaddr *)&from, from_size) < 0)
		return failed(fd, "cannot receive datagrams there", error);
	/* So nobody else's come. */
	if (connect(fd, (struct sockaddr *)&to, to_size) < 0)
		return failed(fd, "cannot send datagrams there", error);
	return fd;
}

static int fill_path(struct sockaddr_un *address, const char *path, struct error *error)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address->sun_path))
		return error_set(error, EINVAL, "'%.200s' is too long for a socket's path", path);
	strcpy(address->sun_path, path);
	return 0;
}

int net_peer_unix(struct net_peer_config *config, const char *local_path, const char *path, struct error *error)
{
	struct sockaddr_un from;
	struct stat status;
	int fd;

	if (fill_path((struct sockaddr_un *)&config->to, path, error) < 0 ||
	    (local_path && fill_path(&from, local_path, error) < 0))
		return -EINVAL;
	config->to_size = sizeof(struct sockaddr_un);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return failed(fd, "cannot make a socket", error);
	/* What an earlier run has left. Anything else in its place stays, and is an error. */
	if (local_path && lstat(local_path, &status) == 0 && S_ISSOCK(status.st_mode))
		unlink(local_path);
	if (local_path && bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		return failed(fd, "cannot receive datagrams there", error);
	config->fd = fd;
	return fd;
}

int net_peer_group(struct net_peer_config *config, const char *address, const char *port, const char *local_address,
		   struct error *error)
{
	struct sockaddr_in *to = (struct sockaddr_in *)&config->to;
	struct ip_mreq group = {.imr_interface = {htonl(INADDR_ANY)}};
	int fd, on = 1;

	if (look_up(AF_INET, address, port, 0, &config->to, &config->to_size, error) < 0)
		return -EINVAL;
	if (!IN_MULTICAST(ntohl(to->sin_addr.s_addr)))
		return error_set(error, EINVAL, "%.60s is no address of a group: use 224.0.0.0 to 239.255.255.255", address);
	if (local_address && inet_pton(AF_INET, local_address, &group.imr_interface) != 1)
		return error_set(error, EINVAL, "%.60s is no address of an interface", local_address);
	group.imr_multiaddr = to->sin_addr;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return failed(fd, "cannot make a socket", error);
	/* Several machines of one host, each with its own. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)to, sizeof(*to)) < 0)
		return failed(fd, "cannot receive the group's datagrams", error);
	if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return failed(fd, "cannot become a member of the group", error);
	if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &on, sizeof(on)) < 0 ||
	    (local_address && setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &group.imr_interface,
					 sizeof(group.imr_interface)) < 0))
		return failed(fd, "cannot send to the group", error);
	config->is_group = true;
	config->fd = fd;
	return fd;
}
