/* Tap interfaces (Linux, Documentation/networking/tuntap.rst). */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net/link.h"

#define TUN_PATH     "/dev/net/tun"
#define HEADER_BYTES 12 /* of a struct virtio_net_hdr_v1 */

void net_link_close(struct net_link *link)
{
	while (link->more_count)
		close(link->more_fds[--link->more_count]);
	if (link->fd >= 0)
		close(link->fd);
	if (link->helper >= 0)
		close(link->helper);
	net_capture_close(link->capture);
	link->capture = NULL;
	link->fd = link->helper = -1;
}

/* A descriptor of a queue of its, or -errno and `error`. */
static int open_queue(const struct ifreq *wanted, struct error *error)
{
	struct ifreq request = *wanted;
	int header = HEADER_BYTES, little_endian = 1, result;
	int fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(error, errno, "cannot open %s", TUN_PATH);
	if (ioctl(fd, TUNSETIFF, &request) == 0 && ioctl(fd, TUNSETVNETHDRSZ, &header) == 0 &&
	    ioctl(fd, TUNSETVNETLE, &little_endian) == 0)
		return fd;
	result = error_set_errno(error, errno, "cannot have the tap interface '%s'%s", wanted->ifr_name,
				 wanted->ifr_flags & IFF_MULTI_QUEUE ? " with several queues" : "");
	close(fd);
	return result;
}

int net_tap_open(struct net_link *link, const char *name, unsigned queues, struct error *error)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd;

	*link = (struct net_link){.fd = -1, .has_header = true, .helper = -1};
	if (strlen(name) >= sizeof(request.ifr_name))
		return error_set(error, EINVAL, "'%s' is too long for an interface's name", name);
	strcpy(request.ifr_name, name);
	if (queues > 1)
		request.ifr_flags |= IFF_MULTI_QUEUE;
	link->fd = open_queue(&request, error);
	if (link->fd < 0)
		return link->fd;
	while (link->more_count + 1 < queues) {
		fd = open_queue(&request, error);
		if (fd < 0) {
			net_link_close(link);
			return fd;
		}
		link->more_fds[link->more_count++] = fd;
	}
	return 0;
}

/* Whether frames have headers, of a queue that somebody else has opened; or -errno and `error`. */
static int adopt_queue(int fd, struct error *error)
{
	int header = HEADER_BYTES, little_endian = 1;
	struct ifreq interface = {.ifr_flags = 0};

	if (ioctl(fd, TUNGETIFF, &interface) < 0 || !(interface.ifr_flags & IFF_TAP))
		return error_set(error, EINVAL, "descriptor %d is no tap interface", fd);
	if (!(interface.ifr_flags & IFF_NO_PI))
		return error_set(error, EINVAL, "the tap interface '%s' puts its own header before frames (no IFF_NO_PI)",
				 interface.ifr_name);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return error_set_errno(error, errno, "descriptor %d", fd);
	if (!(interface.ifr_flags & IFF_VNET_HDR))
		return false;
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) == 0 && ioctl(fd, TUNSETVNETLE, &little_endian) == 0)
		return true;
	return error_set_errno(error, errno, "cannot have the tap interface '%s'", interface.ifr_name);
}

int net_tap_adopt(struct net_link *link, const int *fds, unsigned count, struct error *error)
{
	int has_header = 0, first = 0;
	unsigned i;

	*link = (struct net_link){.fd = fds[0], .helper = -1, .more_count = count - 1};
	memcpy(link->more_fds, fds + 1, (count - 1) * sizeof(*fds));
	for (i = 0; i < count && has_header >= 0; i++) {
		has_header = adopt_queue(fds[i], error);
		if (i && has_header >= 0 && has_header != first)
			has_header = error_set(error, EINVAL, "descriptors %d and %d differ in their headers", fds[0], fds[i]);
		first = i ? first : has_header;
	}
	link->has_header = has_header > 0;
	if (has_header >= 0)
		return 0;
	net_link_close(link);
	return has_header;
}

void net_tap_name(const struct net_link *link, char *name, size_t size)
{
	struct ifreq interface = {.ifr_flags = 0};

	*name = 0;
	if (ioctl(link->fd, TUNGETIFF, &interface) == 0)
		snprintf(name, size, "%s", interface.ifr_name);
}

int net_tap_set_offloads(const struct net_link *link, const struct net_offloads *offloads)
{
	unsigned long flags = 0;

	if (offloads->checksum)
		flags = TUN_F_CSUM | (offloads->tso4 ? TUN_F_TSO4 : 0) |
			(offloads->tso6 ? TUN_F_TSO6 : 0);
	if (flags & (TUN_F_TSO4 | TUN_F_TSO6) && offloads->ecn)
		flags |= TUN_F_TSO_ECN;
	return ioctl(link->fd, TUNSETOFFLOAD, flags) < 0 ? -errno : 0;
}
