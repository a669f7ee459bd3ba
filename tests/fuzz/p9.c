/*
 * Fuzz target: the 9P server of shared folders, asked by a guest that asks whatever it likes.
 *
 * The input's first byte chooses a folder that is read-only (bit 0), and one with few descriptors (bit 1); bits 3 and 4 what is kept beside files. Then steps: a byte
 * chooses a message of the list below; its fields, as the list has them: b, w, d, q numbers of 1, 2, 4 and 8
 * bytes, f a file identifier, s a string. A number is a byte, or from 0xf8 on eight bytes behind it; a string a byte: one of a list,
 * or that many bytes of the input. Then the bytes of data that follow (a byte, as a number), the room for the reply (a byte; times
 * 64, 0 is all there is), and a byte that is 0, or from 0xc0 on says how many bytes the message is cut short by.
 *
 * What must hold: a reply fits in its room and is one to the message; nothing outside the folder is read, made or changed.
 */
#include "folder.h"
#include "share/p9_call.h"

#define ROOM 16384

static const struct {
	enum p9_type type;
	const char *fields;
} messages[] = {
	{P9_ATTACH, "ffssd"},  {P9_WALK, "ffws"},	{P9_WALK, "ffwss"},   {P9_WALK, "ffw"},
	{P9_LOPEN, "fd"},      {P9_LCREATE, "fsddd"},	{P9_READ, "fqd"},     {P9_WRITE, "fqd"},
	{P9_READDIR, "fqd"},   {P9_CLUNK, "f"},		{P9_REMOVE, "f"},     {P9_GETATTR, "fq"},
	{P9_SETATTR, "fdddd" "qqqqq"}, {P9_STATFS, "f"}, {P9_SYMLINK, "fssd"}, {P9_MKNOD, "fsdddd"},
	{P9_MKDIR, "fsdd"},    {P9_LINK, "ffs"},	{P9_RENAME, "ffs"},   {P9_RENAMEAT, "fsfs"},
	{P9_UNLINKAT, "fsd"},  {P9_READLINK, "f"},	{P9_XATTRWALK, "ffs"}, {P9_XATTRCREATE, "fsqd"},
	{P9_FSYNC, "fd"},      {P9_LOCK, "fbdqqds"},	{P9_GETLOCK, "fbqqds"}, {P9_FLUSH, "w"},
	{P9_VERSION, "ds"},    {P9_LERROR, "d"},	{P9_TYPES, ""},
};
#define MESSAGES (sizeof(messages) / sizeof(messages[0]))

static uint8_t message[65536], reply[ROOM];
static size_t size;

static void add(const void *bytes, size_t count)
{
	if (count > sizeof(message) - size)
		count = sizeof(message) - size;
	memcpy(message + size, bytes, count);
	size += count;
}

static void add_field(struct fuzz_input *input, char field)
{
	static const char *const versions[] = {"9P2000.L", "9P2000.u"};
	const char *name = NULL;
	uint8_t text[256];
	uint64_t value;
	uint16_t length;
	unsigned i;

	if (field != 's') {
		value = number(input);
		add(&value, field == 'b' ? 1 : field == 'w' ? 2 : field == 'q' ? 8 : 4);
		return;
	}
	length = fuzz_u8(input);
	if (length < NAMES)
		name = names[length];
	else if (length < NAMES + 2)
		name = versions[length - NAMES];
	if (name) {
		length = strlen(name);
		memcpy(text, name, length);
	} else {
		for (i = 0; i < length; i++)
			text[i] = fuzz_u8(input);
	}
	add(&length, 2);
	add(text, length);
}

static void send_message(struct p9 *p9, uint8_t type, size_t room, size_t cut)
{
	uint32_t said = size - (cut < size ? cut : size), got;
	size_t result;

	memcpy(message, &said, 4);
	message[4] = type;
	message[5] = message[6] = 0x5a;
	result = p9_answer(p9, message, said, reply, room);
	fuzz_check(result <= room);
	if (!result)
		return;
	fuzz_check(result >= P9_HEADER_BYTES);
	memcpy(&got, reply, 4);
	fuzz_check(got == result && reply[5] == 0x5a && reply[6] == 0x5a);
	fuzz_check(reply[4] == type + 1 || (reply[4] == P9_LERROR + 1 && result == P9_HEADER_BYTES + 4));
}

static void begin_session(struct p9 *p9)
{
	const uint32_t most = ROOM, root = 1, none = P9_NO_FID;
	const uint8_t version[] = "\x08\0" "9P2000.L", user[] = {0, 0, 0, 0, 0, 0, 0, 0};

	size = P9_HEADER_BYTES;
	add(&most, 4);
	add(version, 10);
	send_message(p9, P9_VERSION, ROOM, 0);
	size = P9_HEADER_BYTES;
	add(&root, 4);
	add(&none, 4);
	add(user, 8);
	send_message(p9, P9_ATTACH, ROOM, 0);
	fuzz_check(reply[4] == P9_ATTACH + 1);
}

static void ask(struct p9 *p9, struct fuzz_input *input)
{
	unsigned which = fuzz_u8(input) % MESSAGES;
	const char *field;
	uint64_t data;
	size_t room;
	uint8_t cut;

	size = P9_HEADER_BYTES;
	for (field = messages[which].fields; *field; field++)
		add_field(input, *field);
	for (data = number(input); data && size < sizeof(message); data--)
		message[size++] = data;
	room = fuzz_u8(input) * 64;
	cut = fuzz_u8(input);
	send_message(p9, messages[which].type, room ? room : ROOM, cut < 0xc0 ? 0 : cut - 0xc0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_input input = {data, bytes};
	uint8_t kind = fuzz_u8(&input);
	static struct p9 p9;
	unsigned steps;
	int root = make_folder();

	fuzz_check(p9_create(&p9, root, kind & 1, kind & 4, kind & 2 ? 4 : 64) == 0);
	p9.fuse.folder.keeping = (kind >> 3 & 3) % 3;
	begin_session(&p9);
	for (steps = 0; input.size && steps < STEPS_MAX; steps++)
		ask(&p9, &input);
	p9_destroy(&p9);
	check_outside();
	return 0;
}
