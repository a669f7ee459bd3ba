/* The server's side of "Newstyle negotiation": what a client says there is read whole, and has a limit. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/image.h"
#include "block/nbd_server/parts.h"

#define OPTION_MAX   (64u << 10) /* bytes that go with one */
#define OPTIONS_MAX  1000
#define QUERIES_MAX  64
#define PREFERRED    4096	 /* bytes */
#define REQUEST_MAX  NBD_REQUEST_MAX

struct greeting {
	struct nbd_client *client;
	uint32_t option, size;
	uint8_t data[OPTION_MAX + 1];
};

/* What is left to be read of an option. */
struct option_reader {
	const uint8_t *at, *end;
};

static bool take_bytes(struct option_reader *reader, uint32_t size, const uint8_t **bytes)
{
	if (size > (size_t)(reader->end - reader->at))
		return false;
	*bytes = reader->at;
	reader->at += size;
	return true;
}

static bool take_16(struct option_reader *reader, uint32_t *value)
{
	const uint8_t *at;

	if (!take_bytes(reader, 2, &at))
		return false;
	*value = get_be16(at);
	return true;
}

static bool take_32(struct option_reader *reader, uint32_t *value)
{
	const uint8_t *at;

	if (!take_bytes(reader, 4, &at))
		return false;
	*value = get_be32(at);
	return true;
}

/* A string with its length before it. */
static bool take_string(struct option_reader *reader, char text[NBD_NAME_MAX + 1])
{
	const uint8_t *at;
	uint32_t size;

	if (!take_32(reader, &size) || size > NBD_NAME_MAX || !take_bytes(reader, size, &at) || memchr(at, 0, size))
		return false;
	memcpy(text, at, size);
	text[size] = 0;
	return true;
}

static int answer_with(struct greeting *greeting, uint32_t type, struct iovec *parts, unsigned count)
{
	uint8_t head[20];
	struct iovec vector[5] = {{head, sizeof(head)}};
	uint32_t size = 0;
	unsigned i;

	for (i = 0; i < count; i++) {
		size += parts[i].iov_len;
		vector[i + 1] = parts[i];
	}
	put_be32(put_be32(put_be32(put_be64(head, NBD_REPLY_MAGIC), greeting->option), type), size);
	return wire_send(&greeting->client->wire, vector, count + 1);
}

static int answer(struct greeting *greeting, uint32_t type)
{
	return answer_with(greeting, type, NULL, 0);
}

static int refuse(struct greeting *greeting, uint32_t type, const char *why)
{
	return answer_with(greeting, type, &(struct iovec){(void *)why, strlen(why)}, 1);
}

/* -- options -- */

/* Hold an export for this client. NULL: there is none of that name. */
static struct nbd_export *hold(struct nbd_client *client, const char *name)
{
	struct nbd_server *server = client->server;
	struct nbd_export *export;

	pthread_mutex_lock(&server->lock);
	export = nbd_export_find(server, name);
	if (export)
		export->clients++;
	client->export = export;
	pthread_mutex_unlock(&server->lock);
	return export;
}

static void unhold(struct nbd_client *client)
{
	struct nbd_server *server = client->server;

	pthread_mutex_lock(&server->lock);
	client->export->clients--;
	client->export = NULL;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

/* NBD_OPT_EXPORT_NAME: 1, and transmission begins; it has no way to say no. */
static int take_export_name(struct greeting *greeting)
{
	struct nbd_client *client = greeting->client;
	uint8_t reply[10 + NBD_OLD_PADDING] = {0};
	const struct nbd_export *export;
	int result;

	greeting->data[greeting->size] = 0;
	export = hold(client, (const char *)greeting->data);
	if (!export)
		return -ENOENT;
	put_be16(put_be64(reply, export->size), nbd_export_flags(export));
	result = wire_send_bytes(&client->wire, reply, client->choice.has_no_zeroes ? 10 : sizeof(reply));
	return result < 0 ? result : 1;
}

static int list_exports(struct greeting *greeting)
{
	struct nbd_server *server = greeting->client->server;
	struct nbd_export *export;
	unsigned index = 0, i;
	int result = 0;

	/* One after the other: nothing is sent under the lock. */
	for (; result == 0; index++) {
		char name[NBD_NAME_MAX + 1], description[NBD_NAME_MAX + 1];
		uint8_t length[4];
		struct iovec parts[] = {{length, 4}, {name, 0}, {description, 0}};

		pthread_mutex_lock(&server->lock);
		for (export = server->exports, i = 0; export && i < index; i++)
			export = export->next;
		if (export) {
			strcpy(name, export->name);
			strcpy(description, export->description ? export->description : "");
		}
		pthread_mutex_unlock(&server->lock);
		if (!export)
			break;
		parts[1].iov_len = strlen(name);
		parts[2].iov_len = strlen(description);
		put_be32(length, parts[1].iov_len);
		result = answer_with(greeting, NBD_REP_SERVER, parts, 3);
	}
	return result < 0 ? result : answer(greeting, NBD_REP_ACK);
}

static int send_text(struct greeting *greeting, enum nbd_info info, const char *text)
{
	uint8_t type[2];
	struct iovec parts[] = {{type, 2}, {(void *)text, strlen(text)}};

	put_be16(type, info);
	return answer_with(greeting, NBD_REP_INFO, parts, 2);
}

static int send_facts(struct greeting *greeting, const struct nbd_export *export, bool wants_name, bool wants_description)
{
	uint8_t about[12], sizes[14];
	int result;

	put_be16(put_be64(put_be16(about, NBD_INFO_EXPORT), export->size), nbd_export_flags(export));
	put_be32(put_be32(put_be32(put_be16(sizes, NBD_INFO_BLOCK_SIZE), 1), PREFERRED), REQUEST_MAX);
	result = answer_with(greeting, NBD_REP_INFO, &(struct iovec){about, sizeof(about)}, 1);
	if (result == 0)
		result = answer_with(greeting, NBD_REP_INFO, &(struct iovec){sizes, sizeof(sizes)}, 1);
	if (result == 0 && wants_name)
		result = send_text(greeting, NBD_INFO_NAME, export->name);
	if (result == 0 && wants_description && export->description)
		result = send_text(greeting, NBD_INFO_DESCRIPTION, export->description);
	return result < 0 ? result : answer(greeting, NBD_REP_ACK);
}

/* NBD_OPT_INFO and NBD_OPT_GO: 1 when transmission begins. */
static int go(struct greeting *greeting)
{
	struct nbd_client *client = greeting->client;
	struct nbd_choice *choice = &client->choice;
	struct option_reader reader = {greeting->data, greeting->data + greeting->size};
	bool wants_name = false, wants_description = false;
	char name[NBD_NAME_MAX + 1];
	uint32_t count, info;
	const struct nbd_export *export;
	int result;

	if (!take_string(&reader, name) || !take_16(&reader, &count) || (size_t)(reader.end - reader.at) != count * 2)
		return refuse(greeting, NBD_REP_ERR_INVALID, "lengths contradict one another");
	while (take_16(&reader, &info)) {
		wants_name |= info == NBD_INFO_NAME;
		wants_description |= info == NBD_INFO_DESCRIPTION;
	}
	export = hold(client, name);
	if (!export)
		return refuse(greeting, NBD_REP_ERR_UNKNOWN, "there is no such export");
	result = send_facts(greeting, export, wants_name, wants_description);
	if (result < 0)
		return result;
	if (greeting->option == NBD_OPT_INFO) {
		unhold(client);
		return 0;
	}
	if (!choice->contexts_of || strcmp(choice->contexts_of, name) != 0)
		choice->has_allocation = choice->has_depth = false;
	return 1;
}

/* Whether a query means a context: its name, or, to have them listed, its namespace. */
static bool means(const char *query, const char *context, bool is_list)
{
	size_t length = strlen(query);

	if (strcmp(query, context) == 0)
		return true;
	return is_list && length && query[length - 1] == ':' && strncmp(query, context, length) == 0;
}

static int send_context(struct greeting *greeting, uint32_t id, const char *name)
{
	uint8_t number[4];
	struct iovec parts[] = {{number, 4}, {(void *)name, strlen(name)}};

	put_be32(number, greeting->option == NBD_OPT_LIST_META_CONTEXT ? 0 : id);
	return answer_with(greeting, NBD_REP_META_CONTEXT, parts, 2);
}

/* NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
static int take_contexts(struct greeting *greeting)
{
	struct nbd_client *client = greeting->client;
	struct nbd_choice *choice = &client->choice;
	struct option_reader reader = {greeting->data, greeting->data + greeting->size};
	bool is_list = greeting->option == NBD_OPT_LIST_META_CONTEXT, allocation = false, depth = false, shows_depth;
	char name[NBD_NAME_MAX + 1], query[NBD_NAME_MAX + 1];
	uint32_t count, i;
	int result = 0;

	if (!choice->is_structured)
		return refuse(greeting, NBD_REP_ERR_INVALID, "there are none without structured replies");
	if (!take_string(&reader, name) || !take_32(&reader, &count) || count > QUERIES_MAX)
		return refuse(greeting, NBD_REP_ERR_INVALID, "lengths contradict one another");
	if (!is_list) {
		choice->has_allocation = choice->has_depth = false;
		free(choice->contexts_of);
		choice->contexts_of = NULL;
	}
	allocation = depth = is_list && count == 0;
	for (i = 0; i < count; i++) {
		if (!take_string(&reader, query))
			return refuse(greeting, NBD_REP_ERR_INVALID, "lengths contradict one another");
		allocation |= means(query, NBD_CONTEXT_ALLOCATION, is_list);
		depth |= means(query, NBD_CONTEXT_DEPTH, is_list);
	}
	if (reader.at != reader.end)
		return refuse(greeting, NBD_REP_ERR_INVALID, "lengths contradict one another");
	if (!hold(client, name))
		return refuse(greeting, NBD_REP_ERR_UNKNOWN, "there is no such export");
	shows_depth = client->export->shows_depth;
	unhold(client);
	depth &= shows_depth;
	if (!is_list) {
		choice->contexts_of = strdup(name);
		choice->has_allocation = allocation && choice->contexts_of;
		choice->has_depth = depth && choice->contexts_of;
	}
	if (allocation)
		result = send_context(greeting, NBD_ALLOCATION_ID, NBD_CONTEXT_ALLOCATION);
	if (result == 0 && depth)
		result = send_context(greeting, NBD_DEPTH_ID, NBD_CONTEXT_DEPTH);
	return result < 0 ? result : answer(greeting, NBD_REP_ACK);
}

static int take_structured(struct greeting *greeting)
{
	if (greeting->size)
		return refuse(greeting, NBD_REP_ERR_INVALID, "nothing goes with that");
	greeting->client->choice.is_structured = true;
	return answer(greeting, NBD_REP_ACK);
}

/* 0: another one; 1: transmission begins; or -errno. */
static int take_option(struct greeting *greeting)
{
	switch (greeting->option) {
	case NBD_OPT_EXPORT_NAME: return take_export_name(greeting);
	case NBD_OPT_ABORT:
		answer(greeting, NBD_REP_ACK);
		return -ECONNRESET;
	case NBD_OPT_LIST:
		return greeting->size ? refuse(greeting, NBD_REP_ERR_INVALID, "nothing goes with that") : list_exports(greeting);
	case NBD_OPT_INFO:
	case NBD_OPT_GO: return go(greeting);
	case NBD_OPT_STRUCTURED_REPLY: return take_structured(greeting);
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT: return take_contexts(greeting);
	default: return refuse(greeting, NBD_REP_ERR_UNSUP, "not there");
	}
}

static int receive_option(struct greeting *greeting)
{
	struct wire *wire = &greeting->client->wire;
	uint8_t head[16];
	int result = wire_receive_bytes(wire, head, sizeof(head));

	if (result < 0)
		return result;
	greeting->option = get_be32(head + 8);
	greeting->size = get_be32(head + 12);
	if (get_be64(head) != NBD_OPTION_MAGIC || greeting->size > OPTION_MAX)
		return -EPROTO;
	return wire_receive_bytes(wire, greeting->data, greeting->size);
}

static int welcome(struct nbd_client *client)
{
	uint8_t head[18], flags[4];
	int result;

	put_be16(put_be64(put_be64(head, NBD_MAGIC), NBD_OPTION_MAGIC), NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	result = wire_send_bytes(&client->wire, head, sizeof(head));
	if (result == 0)
		result = wire_receive_bytes(&client->wire, flags, sizeof(flags));
	if (result < 0)
		return result;
	client->choice.has_no_zeroes = get_be32(flags) & NBD_NO_ZEROES;
	return get_be32(flags) & ~(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES) ? -EPROTO : 0;
}

int nbd_greet(struct nbd_client *client)
{
	struct greeting *greeting = malloc(sizeof(*greeting));
	unsigned count = 0;
	int result = greeting ? welcome(client) : -ENOMEM;

	if (greeting)
		greeting->client = client;
	while (result == 0) {
		result = count++ < OPTIONS_MAX ? receive_option(greeting) : -EPROTO;
		if (result == 0)
			result = take_option(greeting);
	}
	free(greeting);
	return result < 0 ? result : 0;
}
