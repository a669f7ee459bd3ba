/*
 * Fuzz target: a hostile NBD server, and names of exports.
 *
 * Input: a byte for what is fuzzed. A name: the rest. A server: sixteen bytes, each something to do with the disk (what
 * in the upper four bits, where in the lower), and what the server says from the first byte to the last, whatever it is
 * asked. All that is done may fail, but must end and touch no other memory.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/chain.h"
#include "block/image.h"
#include "block/nbd/name.h"
#include "block/node.h"
#include "fuzz.h"
#include "util/log.h"

#define STEPS 16
#define BYTES (24u << 10) /* of one request: what is sent has room in a socket that nobody reads */
#define LATER (200u << 10)

static uint8_t buffer[BYTES];

static void parse_name(const uint8_t *data, size_t size)
{
	char text[256], *made;
	struct nbd_name name, again;
	struct error error;

	if (size >= sizeof(text))
		return;
	memcpy(text, data, size);
	text[size] = 0;
	if (nbd_name_parse(text, &name, &error) < 0)
		return;
	fuzz_check(nbd_name_is_one(text));
	made = block_export_name(name.socket, name.host, name.port, name.export_name);
	fuzz_check(made);
	/* An older form lets hosts be what no URI can say. */
	if (name.socket) {
		fuzz_check(nbd_name_parse(made, &again, &error) == 0);
		fuzz_check(strcmp(name.socket, again.socket) == 0);
		fuzz_check(strcmp(name.export_name, again.export_name) == 0);
		nbd_name_free(&again);
	}
	free(made);
	nbd_name_free(&name);
}

static void step(struct node *image, uint8_t what)
{
	uint64_t size = image_size(image), offset = (what & 15) == 15 ? size : size / 16 * (what & 15), left = size - offset;
	uint64_t length = left < BYTES ? left : BYTES;
	struct image_extent extent;

	switch (what >> 4 & 7) {
	case 0: image_read(image, offset, buffer, BYTES); break;
	case 1: image_read(image, offset + 3, buffer, 700); break;
	case 2: image_write(image, offset, buffer, length); break;
	case 3: image_write(image, offset, buffer, length < 700 ? length : 700); break;
	case 4: image_zero(image, offset, length, what & 1); break;
	case 5: image->driver->discard(image, offset, length); break;
	case 6: image_flush(image); break;
	default:
		if (left > 0 && image_extent(image, offset, left, 0, &extent) == 0)
			fuzz_check(extent.size > 0 && extent.size <= left);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct block_options options = {.discard = true};
	struct error error = {""};
	struct node *image;
	int ends[2], i, room = 1 << 20;

	log_set_level(LOG_ERROR);
	if (size > 0 && data[0] & 1) {
		parse_name(data + 1, size - 1);
		return 0;
	}
	if (size < STEPS + 1 || size > LATER)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		abort();
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if (send(ends[0], data + STEPS + 1, size - STEPS - 1, MSG_DONTWAIT) != (ssize_t)(size - STEPS - 1)) {
		close(ends[0]);
		close(ends[1]);
		return 0;
	}
	shutdown(ends[0], SHUT_WR);
	options.format = data[0] & 2 ? "qcow2" : data[0] & 4 ? "raw" : NULL;
	options.readonly = data[0] & 8;
	if (chain_open("nbd+unix:///?socket=/", ends[1], &options, IMAGE_ALONE, &image, &error) < 0) {
		fuzz_check(error.message[0] != 0);
	} else {
		for (i = 0; i < STEPS; i++)
			step(image, data[1 + i]);
		image_close(image);
	}
	close(ends[0]);
	close(ends[1]);
	return 0;
}
