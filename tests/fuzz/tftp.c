/*
 * Frames for the TFTP server, and streams of frames: an input is a list of messages, a length of 16 bits before each,
 * which come in frames whose sums are right, and then as they are.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "net/stream_frames.h"
#include "net/tftp.h"

#define MESSAGE_MAX 2000
#define HEADERS	    42
#define FILE_BYTES  3000

static int open_file(void *context, const char *name)
{
	int fd;

	(void)context;
	fuzz_check(strlen(name) <= TFTP_NAME_MAX);
	fd = name[0] == 'n' ? -1 : memfd_create("file", MFD_CLOEXEC);
	if (fd >= 0)
		fuzz_check(ftruncate(fd, FILE_BYTES) == 0);
	return fd < 0 ? -2 : fd;
}

static void send_frame(void *context, const void *frame, size_t size)
{
	(void)frame;
	++*(unsigned *)context;
	fuzz_check(size > HEADERS && size <= 1514);
}

static size_t build(uint8_t *frame, const uint8_t *message, size_t size, uint8_t port)
{
	uint8_t *ip = frame + 14, *udp = ip + 20;
	uint32_t sum = 0;
	unsigned i;

	memset(frame, 0, HEADERS);
	frame[12] = 8;
	ip[0] = 0x45;
	ip[2] = (28 + size) >> 8;
	ip[3] = 28 + size;
	ip[9] = 17;
	memcpy(ip + 12, (const uint8_t[]){10, 0, 2, 15, 10, 0, 2, 2}, 8);
	for (i = 0; i < 20; i += 2)
		sum += ip[i] << 8 | ip[i + 1];
	sum = ~((sum & 0xffff) + (sum >> 16));
	ip[10] = sum >> 8;
	ip[11] = sum;
	udp[1] = port;
	udp[3] = 69;
	udp[4] = (8 + size) >> 8;
	udp[5] = 8 + size;
	memcpy(udp + 8, message, size);
	return HEADERS + size;
}

static void take_stream(const uint8_t *bytes, size_t size)
{
	static struct stream_frames frames;
	const uint8_t *frame;
	size_t room, part;
	uint8_t *to;
	int got;

	frames.used = frames.taken = 0;
	for (; size; bytes += part, size -= part) {
		to = stream_frames_room(&frames, &room);
		fuzz_check(room > 0);
		part = size < room ? size : room;
		memcpy(to, bytes, part);
		frames.used += part;
		while ((got = stream_frames_next(&frames, &frame)) > 0)
			fuzz_check(got <= NET_FRAME_MAX && frame >= frames.bytes &&
					   frame + got <= frames.bytes + frames.used);
		if (got < 0)
			return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	unsigned sent = 0;
	const struct tftp_config config = {
		.address = 0x0a000202, .open = open_file, .send = send_frame, .context = &sent};
	uint8_t message[MESSAGE_MAX], frame[HEADERS + MESSAGE_MAX];
	struct tftp tftp;
	unsigned length;

	take_stream(data, size);
	tftp_init(&tftp, &config);
	while (input.size) {
		length = fuzz_u16(&input) % MESSAGE_MAX;
		if (length > input.size)
			length = input.size;
		fuzz_take(&input, message, length);
		tftp_take(&tftp, frame, build(frame, message, length, length));
		tftp_take(&tftp, message, length);
		fuzz_check(sent <= 130);
		sent = 0;
	}
	tftp_close(&tftp);
	return 0;
}
