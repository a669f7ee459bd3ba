#include "share/p9_call.h"

#include <errno.h>
#include <string.h>

/* Bits of a qid's type (Plan 9's intro(5)); Linux looks at these. */
#define QID_DIRECTORY 0x80
#define QID_LINK      0x02

static void take(struct p9_call *call, void *to, size_t size)
{
	if (call->size - call->at < size) {
		call->is_malformed = true;
		call->at = call->size;
		memset(to, 0, size);
		return;
	}
	memcpy(to, call->in + call->at, size);
	call->at += size;
}

uint8_t p9_u8(struct p9_call *call)
{
	uint8_t value;

	take(call, &value, sizeof(value));
	return value;
}

uint16_t p9_u16(struct p9_call *call)
{
	uint16_t value;

	take(call, &value, sizeof(value));
	return value;
}

uint32_t p9_u32(struct p9_call *call)
{
	uint32_t value;

	take(call, &value, sizeof(value));
	return value;
}

uint64_t p9_u64(struct p9_call *call)
{
	uint64_t value;

	take(call, &value, sizeof(value));
	return value;
}

const char *p9_string(struct p9_call *call)
{
	size_t length = p9_u16(call);
	char *text;

	if (call->is_malformed || call->size - call->at < length ||
	    memchr(call->in + call->at, 0, length)) {
		call->is_malformed = true;
		return "";
	}
	/* Over the length's second byte, so that there is room for a NUL. */
	text = (char *)call->in + call->at - 1;
	memmove(text, text + 1, length);
	text[length] = 0;
	call->at += length;
	return text;
}

static void put_bytes(struct p9_call *call, const void *bytes, size_t size)
{
	if (call->room - call->out_size < size) {
		/* Nothing more fits, and the caller sees that. */
		call->out_size = call->room;
		call->is_malformed = true;
		return;
	}
	memcpy(call->out + call->out_size, bytes, size);
	call->out_size += size;
}

void p9_put_u8(struct p9_call *call, uint8_t value)
{
	put_bytes(call, &value, sizeof(value));
}

void p9_put_u16(struct p9_call *call, uint16_t value)
{
	put_bytes(call, &value, sizeof(value));
}

void p9_put_u32(struct p9_call *call, uint32_t value)
{
	put_bytes(call, &value, sizeof(value));
}

void p9_put_u64(struct p9_call *call, uint64_t value)
{
	put_bytes(call, &value, sizeof(value));
}

void p9_put_string(struct p9_call *call, const char *text, size_t length)
{
	p9_put_u16(call, length);
	put_bytes(call, text, length);
}

void p9_put_qid(struct p9_call *call, mode_t mode, uint32_t version, uint64_t path)
{
	p9_put_u8(call, S_ISDIR(mode) ? QID_DIRECTORY : S_ISLNK(mode) ? QID_LINK : 0);
	p9_put_u32(call, version);
	p9_put_u64(call, path);
}

void p9_put_file(struct p9_call *call, const struct fuse_attr *attributes)
{
	/* Another one whenever the file has changed: what the peer keeps of it goes by that. */
	uint32_t version = attributes->mtime * 1000003u ^ attributes->mtimensec ^
			   (uint32_t)attributes->size << 8;

	p9_put_qid(call, attributes->mode, version, attributes->ino);
}

ssize_t p9_ask(struct p9 *p9, const struct p9_ask *ask)
{
	struct fuse_call call = {.fuse = &p9->fuse,
				 .header = {.opcode = ask->opcode, .nodeid = ask->node->number,
					    .uid = ask->user, .gid = ask->group},
				 .arguments = p9->arguments,
				 .out = ask->out,
				 .room = ask->room};
	bool has_value = ask->opcode == FUSE_SETXATTR;
	size_t bytes;
	unsigned i;
	int result;

	memcpy(p9->arguments, ask->in, ask->in_size);
	call.size = ask->in_size;
	for (i = 0; i < 2 && ask->names[i]; i++) {
		bytes = strlen(ask->names[i]) + 1;
		if (bytes > FUSE_ARGUMENTS_MAX - call.size)
			return -ENAMETOOLONG;
		memcpy(p9->arguments + call.size, ask->names[i], bytes);
		call.size += bytes;
	}
	if (has_value) {
		if (ask->data_size > FUSE_ARGUMENTS_MAX - call.size)
			return -E2BIG;
		memcpy(p9->arguments + call.size, ask->data, ask->data_size);
		call.size += ask->data_size;
	} else {
		call.data = ask->data;
		call.data_size = ask->data_size;
	}
	p9->arguments[call.size] = 0;
	result = fuse_perform(&call);
	return result < 0 ? result : (ssize_t)call.out_size;
}

int p9_status(struct p9 *p9, struct share_node *node, struct fuse_attr *attributes)
{
	const struct fuse_getattr_in in = {0};
	struct fuse_attr_out out;
	const struct p9_ask ask = {.opcode = FUSE_GETATTR, .node = node, .in = &in,
				   .in_size = sizeof(in), .out = &out, .room = sizeof(out)};
	ssize_t result = p9_ask(p9, &ask);

	if (result < 0)
		return result;
	*attributes = out.attr;
	return 0;
}

int p9_look_up(struct p9 *p9, struct share_node *parent, const char *name, struct share_node **node,
	       struct fuse_attr *attributes)
{
	struct fuse_entry_out entry;
	const struct p9_ask ask = {.opcode = FUSE_LOOKUP, .node = parent, .in = "",
				   .names = {name}, .out = &entry, .room = sizeof(entry)};
	ssize_t result = p9_ask(p9, &ask);

	if (result < 0)
		return result;
	*node = node_find(&p9->fuse.folder, entry.nodeid);
	*attributes = entry.attr;
	return 0;
}

void p9_forget(struct p9 *p9, uint64_t number)
{
	struct share_node *node = node_find(&p9->fuse.folder, number);

	if (node)
		node_forget(&p9->fuse.folder, node, 1);
}
