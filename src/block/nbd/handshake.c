#include "block/nbd/handshake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/nbd/protocol.h"

#define ANSWER_MAX  (NBD_NAME_MAX * 2) /* bytes of one answer */
#define ANSWERS_MAX 64		       /* to one option */
#define BLOCK_MAX   65536

struct talk {
	struct wire *wire;
	const char *name, *export_name;
	struct nbd_terms *terms;
	struct error *error;
};

struct answer {
	uint32_t type, size;
	uint8_t data[ANSWER_MAX];
};

static int lost(struct talk *talk, int result)
{
	if (result == -ECONNRESET)
		return error_set(talk->error, -result, "%.300s: the server closed the connection before it was "
				 "agreed what is served", talk->name);
	return error_set_errno(talk->error, -result, "%.300s: cannot agree with the server", talk->name);
}

static int nonsense(struct talk *talk, const char *what)
{
	return error_set(talk->error, EPROTO, "%.300s: not as NBD has it: %s", talk->name, what);
}

static int send_option(struct talk *talk, uint32_t option, const void *data, uint32_t size)
{
	uint8_t head[16], *end = put_be64(head, NBD_OPTION_MAGIC);
	struct iovec vector[] = {{head, sizeof(head)}, {(void *)data, size}};
	int result;

	put_be32(put_be32(end, option), size);
	result = wire_send(talk->wire, vector, 2);
	return result < 0 ? lost(talk, result) : 0;
}

static int receive_answer(struct talk *talk, uint32_t option, struct answer *answer)
{
	uint8_t head[20];
	int result = wire_receive_bytes(talk->wire, head, sizeof(head));

	if (result < 0)
		return lost(talk, result);
	if (get_be64(head) != NBD_REPLY_MAGIC || get_be32(head + 8) != option)
		return nonsense(talk, "an answer to nothing");
	answer->type = get_be32(head + 12);
	answer->size = get_be32(head + 16);
	if (answer->size > sizeof(answer->data))
		return nonsense(talk, "an endless answer");
	result = wire_receive_bytes(talk->wire, answer->data, answer->size);
	return result < 0 ? lost(talk, result) : 0;
}

/* What the server says against it, as far as it is text. */
static int refused(struct talk *talk, const struct answer *answer)
{
	char words[128];
	uint32_t i, size = answer->size < sizeof(words) - 1 ? answer->size : sizeof(words) - 1;

	for (i = 0; i < size; i++)
		words[i] = answer->data[i] < ' ' || answer->data[i] > '~' ? '.' : (char)answer->data[i];
	words[size] = 0;
	switch (answer->type) {
	case NBD_REP_ERR_UNKNOWN:
		return error_set(talk->error, ENOENT, "%.250s: the server has no export '%.100s'%s%s", talk->name,
				 talk->export_name, *words ? ": " : "", words);
	case NBD_REP_ERR_TLS_REQD:
		return error_set(talk->error, ENOTSUP, "%.250s: the server wants TLS, which is not there: use a "
				 "tunnel", talk->name);
	case NBD_REP_ERR_POLICY:
		return error_set(talk->error, EACCES, "%.250s: the server refuses%s%s", talk->name,
				 *words ? ": " : "", words);
	case NBD_REP_ERR_SHUTDOWN:
		return error_set(talk->error, ESHUTDOWN, "%.250s: the server is about to end", talk->name);
	default:
		return error_set(talk->error, EPROTO, "%.250s: the server refuses with error %u%s%s", talk->name,
				 answer->type & ~NBD_REP_ERROR, *words ? ": " : "", words);
	}
}

/* Whether the server takes an option that has no data. 1, 0 or -errno. */
static int ask_structured(struct talk *talk, struct answer *answer)
{
	int result = send_option(talk, NBD_OPT_STRUCTURED_REPLY, NULL, 0);

	if (result == 0)
		result = receive_answer(talk, NBD_OPT_STRUCTURED_REPLY, answer);
	if (result < 0)
		return result;
	/* A server that serves nobody without TLS says so here already. */
	if (answer->type == NBD_REP_ERR_TLS_REQD)
		return refused(talk, answer);
	talk->terms->is_structured = answer->type == NBD_REP_ACK;
	return 0;
}

static int ask_allocation(struct talk *talk, struct answer *answer)
{
	static const char context[] = NBD_CONTEXT_ALLOCATION;
	uint32_t export_size = strlen(talk->export_name), context_size = sizeof(context) - 1;
	uint8_t data[12 + NBD_NAME_MAX + sizeof(context)], *to = put_be32(data, export_size);
	unsigned answers;
	int result;

	memcpy(to, talk->export_name, export_size);
	to = put_be32(put_be32(to + export_size, 1), context_size);
	memcpy(to, context, context_size);
	result = send_option(talk, NBD_OPT_SET_META_CONTEXT, data, to + context_size - data);
	for (answers = 0; result == 0; answers++) {
		result = receive_answer(talk, NBD_OPT_SET_META_CONTEXT, answer);
		if (result < 0)
			break;
		/* No such option, or the export isn't known: asked for it, the server says which. */
		if (answer->type == NBD_REP_ACK || answer->type & NBD_REP_ERROR)
			return 0;
		if (answer->type != NBD_REP_META_CONTEXT || answers == ANSWERS_MAX || answer->size != 4 + context_size ||
		    memcmp(answer->data + 4, context, context_size) != 0)
			return nonsense(talk, "a context that nobody asked for");
		talk->terms->has_allocation = true;
		talk->terms->allocation_id = get_be32(answer->data);
	}
	return result;
}

static int take_size(struct talk *talk, const uint8_t *data)
{
	talk->terms->size = get_be64(data);
	talk->terms->flags = get_be16(data + 8);
	return talk->terms->size > INT64_MAX ? nonsense(talk, "a size beyond 2^63") : 0;
}

static int take_limits(struct talk *talk, const uint8_t *data)
{
	uint32_t least = get_be32(data), most = get_be32(data + 8);

	if (least == 0 || least & (least - 1) || least > BLOCK_MAX || most < least)
		return nonsense(talk, "block sizes that cannot be");
	talk->terms->block_bytes = least;
	talk->terms->request_bytes = most > NBD_REQUEST_MAX ? NBD_REQUEST_MAX : most / least * least;
	return 0;
}

/* The way of servers without NBD_OPT_GO: an export that isn't there ends the connection. */
static int choose_export(struct talk *talk, bool has_padding)
{
	uint8_t data[10 + NBD_OLD_PADDING];
	int result = send_option(talk, NBD_OPT_EXPORT_NAME, talk->export_name, strlen(talk->export_name));

	if (result < 0)
		return result;
	result = wire_receive_bytes(talk->wire, data, has_padding ? sizeof(data) : 10);
	if (result == -ECONNRESET)
		return error_set(talk->error, ENOENT, "%.250s: the server closed the connection: it may have no export "
				 "'%.100s'", talk->name, talk->export_name);
	return result < 0 ? lost(talk, result) : take_size(talk, data);
}

static int go(struct talk *talk, bool has_padding, struct answer *answer)
{
	uint32_t export_size = strlen(talk->export_name);
	uint8_t data[8 + NBD_NAME_MAX], *to = put_be32(data, export_size);
	bool has_size = false;
	unsigned answers;
	int result;

	memcpy(to, talk->export_name, export_size);
	to = put_be16(put_be16(to + export_size, 1), NBD_INFO_BLOCK_SIZE);
	result = send_option(talk, NBD_OPT_GO, data, to - data);
	for (answers = 0; result == 0; answers++) {
		result = receive_answer(talk, NBD_OPT_GO, answer);
		if (result < 0)
			return result;
		if (answer->type == NBD_REP_ACK)
			return has_size ? 0 : nonsense(talk, "an export without size");
		if (answer->type == NBD_REP_ERR_UNSUP && answers == 0)
			return choose_export(talk, has_padding);
		if (answer->type & NBD_REP_ERROR)
			return refused(talk, answer);
		if (answer->type != NBD_REP_INFO || answer->size < 2 || answers == ANSWERS_MAX)
			return nonsense(talk, "an answer that nobody asked for");
		if (get_be16(answer->data) == NBD_INFO_EXPORT && answer->size == 12) {
			has_size = true;
			result = take_size(talk, answer->data + 2);
		} else if (get_be16(answer->data) == NBD_INFO_BLOCK_SIZE && answer->size == 14) {
			result = take_limits(talk, answer->data + 2);
		}
	}
	return result;
}

static int greet(struct talk *talk, bool *has_padding)
{
	uint8_t hello[18], flags[4];
	unsigned server;
	int result = wire_receive_bytes(talk->wire, hello, sizeof(hello));

	if (result < 0)
		return lost(talk, result);
	if (get_be64(hello) != NBD_MAGIC)
		return error_set(talk->error, EPROTO, "%.300s: what answers there is no NBD server", talk->name);
	server = get_be16(hello + 16);
	if (get_be64(hello + 8) == NBD_OLD_MAGIC)
		return error_set(talk->error, ENOTSUP, "%.300s: the server speaks the old style of NBD, which is not "
				 "there (nbdkit: leave out -o)", talk->name);
	if (get_be64(hello + 8) != NBD_OPTION_MAGIC || !(server & NBD_FIXED_NEWSTYLE))
		return nonsense(talk, "no fixed newstyle");
	*has_padding = !(server & NBD_NO_ZEROES);
	put_be32(flags, NBD_FIXED_NEWSTYLE | (server & NBD_NO_ZEROES));
	result = wire_send_bytes(talk->wire, flags, sizeof(flags));
	return result < 0 ? lost(talk, result) : 0;
}

int nbd_handshake(struct wire *wire, const char *name, const char *export_name, struct nbd_terms *terms,
		  struct error *error)
{
	struct talk talk = {.wire = wire, .name = name, .export_name = export_name, .terms = terms, .error = error};
	struct answer *answer = malloc(sizeof(*answer));
	bool has_padding = false;
	int result;

	*terms = (struct nbd_terms){.block_bytes = 1, .request_bytes = NBD_REQUEST_MAX};
	if (!answer)
		return error_set_errno(error, ENOMEM, "%.300s", name);
	result = greet(&talk, &has_padding);
	if (result == 0)
		result = ask_structured(&talk, answer);
	if (result == 0 && terms->is_structured)
		result = ask_allocation(&talk, answer);
	if (result == 0)
		result = go(&talk, has_padding, answer);
	free(answer);
	return result;
}
