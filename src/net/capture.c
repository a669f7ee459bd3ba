#include "net/link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/file.h"
#include "util/log.h"

#define MAGIC	      0xa1b2c3d4 /* microseconds, in this host's order of bytes */
#define LINK_ETHERNET 1

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t reserved[2];
	uint32_t most, link_type;
};

struct net_capture {
	int fd;
	unsigned most;
	bool is_full;
	struct {
		uint32_t seconds, microseconds, kept, size;
		uint8_t frame[NET_CAPTURE_BYTES];
	} record;
};

struct net_capture *net_capture_open(const char *path, unsigned most, struct error *error)
{
	const struct file_header header = {
		.magic = MAGIC, .major = 2, .minor = 4, .most = most, .link_type = LINK_ETHERNET};
	struct net_capture *capture = calloc(1, sizeof(*capture));
	int result;

	if (!capture) {
		error_set_errno(error, ENOMEM, "%s", path);
		return NULL;
	}
	capture->most = most;
	capture->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	result = capture->fd < 0 ? -errno : file_write_all(capture->fd, &header, sizeof(header));
	if (result == 0)
		return capture;
	error_set_errno(error, -result, "cannot write '%s'", path);
	net_capture_close(capture);
	return NULL;
}

void net_capture_close(struct net_capture *capture)
{
	if (!capture)
		return;
	if (capture->fd >= 0)
		close(capture->fd);
	free(capture);
}

void net_capture_frame(struct net_capture *capture, const void *frame, size_t size)
{
	struct timespec now;

	if (!capture || capture->is_full)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	capture->record.seconds = now.tv_sec;
	capture->record.microseconds = now.tv_nsec / 1000;
	capture->record.size = size;
	capture->record.kept = size < capture->most ? size : capture->most;
	memcpy(capture->record.frame, frame, capture->record.kept);
	capture->is_full = file_write_all(capture->fd, &capture->record,
					  offsetof(typeof(capture->record), frame) + capture->record.kept) < 0;
	if (capture->is_full)
		log_warning("a network's frames are not captured any more: %s", strerror(errno));
}
