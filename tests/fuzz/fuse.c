/*
 * Fuzz target: the FUSE server of shared folders, asked by a guest that asks whatever it likes.
 *
 * The input's first byte chooses a folder that is read-only (bit 0), one with few descriptors (bit 1), and one whose
 * guest must ask each time (bit 2), and what is kept beside files (bits 3 and 4). Then steps: an opcode (a byte; from 0xf8 on two bytes that are it), the node
 * (a number, as below), the room for the reply (a byte; times 64), how many numbers there are in the request's
 * struct (a byte, up to 15), those, and names (a byte says how many, up to 3; each is a byte: one of a list, or
 * that many bytes of the input). A number is a byte, or from 0xf8 on eight bytes behind it.
 *
 * It runs as root, for whom no directory that a guest has forbidden itself stays in the way. What must hold: a reply fits in its room and says its size; nothing outside the folder is read, made or changed.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <string.h>

#include "folder.h"
#include "share/fuse.h"

static size_t add_names(struct fuzz_input *input, uint8_t *at)
{
	unsigned count = fuzz_u8(input) % 4, length, i, j;
	uint8_t *to = at;

	for (i = 0; i < count; i++) {
		length = fuzz_u8(input);
		if (length < NAMES) {
			strcpy((char *)to, names[length]);
			to += strlen(names[length]) + 1;
			continue;
		}
		for (j = 0; j < length; j++)
			*to++ = fuzz_u8(input);
	}
	return to - at;
}

static void ask(struct fuse *fuse, struct fuzz_input *input)
{
	static uint8_t reply[255 * 64];
	uint8_t request[sizeof(struct fuse_in_header) + 16 * 8 + 4 * 256];
	struct fuse_in_header header = {.unique = 1, .opcode = fuzz_u8(input)};
	struct fuse_out_header out;
	size_t size = sizeof(header), room, got;
	unsigned count;
	uint64_t value;

	if (header.opcode >= 0xf8)
		header.opcode = fuzz_u16(input);
	header.nodeid = number(input);
	room = fuzz_u8(input) * 64;
	for (count = fuzz_u8(input) % 16; count; count--) {
		value = number(input);
		memcpy(request + size, &value, sizeof(value));
		size += sizeof(value);
	}
	size += add_names(input, request + size);
	header.len = size;
	memcpy(request, &header, sizeof(header));
	got = fuse_answer(fuse, request, size, reply, room);
	fuzz_check(got <= room);
	if (!got)
		return;
	fuzz_check(got >= sizeof(out));
	memcpy(&out, reply, sizeof(out));
	fuzz_check(out.len == got && out.unique == 1 && out.error <= 0 && out.error > -4096);
	fuzz_check(!out.error || got == sizeof(out));
}

static void begin_session(struct fuse *fuse)
{
	struct {
		struct fuse_in_header header;
		struct fuse_init_in in;
	} request = {{.len = sizeof(request), .opcode = FUSE_INIT},
		     {.major = FUSE_KERNEL_VERSION, .minor = 36, .flags = ~0u}};
	uint8_t reply[256];

	fuzz_check(fuse_answer(fuse, (const uint8_t *)&request, sizeof(request), reply, sizeof(reply)) >
		   sizeof(struct fuse_out_header));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t kind = fuzz_u8(&input);
	struct fuse fuse;
	unsigned steps;
	int root = make_folder();

	fuzz_check(fuse_create(&fuse, root, kind & 1, kind & 4 ? 0 : 1, kind & 2 ? 4 : 64) == 0);
	fuse.folder.keeping = (kind >> 3 & 3) % 3;
	begin_session(&fuse);
	for (steps = 0; input.size && steps < STEPS_MAX; steps++)
		ask(&fuse, &input);
	fuse_destroy(&fuse);
	check_outside();
	return 0;
}
