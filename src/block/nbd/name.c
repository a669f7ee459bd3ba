#include "block/nbd/name.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "block/nbd/protocol.h"

static const char legacy_name[] = ":exportname=";

static bool begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

bool nbd_name_is_one(const char *text)
{
	return begins_with(text, "nbd:") || begins_with(text, "nbd+tcp:") || begins_with(text, "nbd+unix:") ||
	       begins_with(text, "nbds:") || begins_with(text, "nbds+unix:");
}

void nbd_name_free(struct nbd_name *name)
{
	free(name->socket);
	free(name->host);
	free(name->port);
	free(name->export_name);
	*name = (struct nbd_name){NULL};
}

static int digit_of(char letter)
{
	return isdigit((unsigned char)letter) ? letter - '0' : (letter | 0x20) - 'a' + 10;
}

/* A copy without percent-encoding (RFC 3986 §2.1). NULL: without memory, or wrong (EINVAL). */
static char *decode(const char *text, size_t length)
{
	char *copy = malloc(length + 1), *to = copy;
	const char *end = text + length;

	if (!copy)
		return NULL;
	while (text < end) {
		if (*text != '%') {
			*to++ = *text++;
			continue;
		}
		if (end - text < 3 || !isxdigit((unsigned char)text[1]) || !isxdigit((unsigned char)text[2]) ||
		    (text[1] == '0' && text[2] == '0')) {
			free(copy);
			errno = EINVAL;
			return NULL;
		}
		*to++ = (char)(digit_of(text[1]) << 4 | digit_of(text[2]));
		text += 3;
	}
	*to = 0;
	return copy;
}

/* HOST, HOST:PORT or [ADDRESS]:PORT. */
static int parse_authority(const char *text, size_t length, struct nbd_name *name, const char *whole, struct error *error)
{
	const char *end = text + length, *host = text, *host_end, *port;

	if (length > 0 && *text == '[') {
		host_end = memchr(text, ']', length);
		if (!host_end)
			return error_set(error, EINVAL, "%.300s: '[' without ']'", whole);
		host = text + 1;
		port = host_end + 1;
	} else {
		host_end = memchr(text, ':', length);
		if (!host_end)
			host_end = end;
		port = host_end;
	}
	if (memchr(text, '@', length) || (port < end && (*port != ':' || port + 1 == end)))
		return error_set(error, EINVAL, "%.300s: use nbd://HOST[:PORT]/EXPORT", whole);
	name->host = host_end > host ? decode(host, host_end - host) : strdup("localhost");
	name->port = port < end ? strndup(port + 1, end - port - 1) : strdup(NBD_PORT);
	return name->host && name->port ? 0 : error_set_errno(error, errno, "%.300s", whole);
}

static int parse_uri(const char *text, const char *rest, bool is_unix, struct nbd_name *name, struct error *error)
{
	size_t authority = strcspn(rest, "/?#");
	const char *path = rest + authority, *query;
	int result = 0;

	if (strchr(rest, '#'))
		return error_set(error, EINVAL, "%.300s: '#' is to be written as %%23", text);
	query = strchr(path, '?');
	path += strspn(path, "/");
	if (query && path > query)
		path = query;
	name->export_name = decode(path, query ? (size_t)(query - path) : strlen(path));
	if (!name->export_name)
		return error_set_errno(error, errno, "%.300s: the export's name", text);
	if (!is_unix) {
		if (query)
			return error_set(error, ENOTSUP, "%.300s: '%.60s' means nothing with TCP", text, query);
		result = parse_authority(rest, authority, name, text, error);
	} else if (authority > 0 || !query || !begins_with(query, "?socket=") || strchr(query, '&') || !query[8]) {
		result = error_set(error, EINVAL, "%.300s: use nbd+unix:///EXPORT?socket=PATH", text);
	} else {
		name->socket = decode(query + 8, strlen(query + 8));
		if (!name->socket)
			result = error_set_errno(error, errno, "%.300s: the socket's path", text);
	}
	return result;
}

/* unix:PATH or HOST:PORT, with or without an export's name. */
static int parse_legacy(const char *text, const char *rest, struct nbd_name *name, struct error *error)
{
	const char *export_name = strstr(rest, legacy_name), *colon;
	size_t length = export_name ? (size_t)(export_name - rest) : strlen(rest);

	name->export_name = strdup(export_name ? export_name + strlen(legacy_name) : "");
	if (!name->export_name)
		return error_set_errno(error, ENOMEM, "%.300s", text);
	if (begins_with(rest, "unix:") && length > 5) {
		name->socket = strndup(rest + 5, length - 5);
		return name->socket ? 0 : error_set_errno(error, ENOMEM, "%.300s", text);
	}
	/* The last colon before the export's name: IPv6 addresses have some, in brackets. */
	colon = memrchr(rest, ':', length);
	if (!colon || (colon > rest && *rest == '[' && colon[-1] != ']') || begins_with(rest, "unix:"))
		return error_set(error, EINVAL, "%.300s: use nbd:HOST:PORT[:exportname=EXPORT] or "
				 "nbd:unix:PATH[:exportname=EXPORT]", text);
	return parse_authority(rest, length, name, text, error);
}

int nbd_name_parse(const char *text, struct nbd_name *name, struct error *error)
{
	static const struct {
		const char *start;
		bool is_unix;
	} forms[] = {{"nbd://", false}, {"nbd+tcp://", false}, {"nbd+unix://", true}};
	int result = -EINVAL;
	unsigned i;

	*name = (struct nbd_name){NULL};
	if (begins_with(text, "nbds"))
		return error_set(error, ENOTSUP, "%.300s: NBD with TLS is not there: use nbd://, by a tunnel if it has "
				 "to be encrypted", text);
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (begins_with(text, forms[i].start)) {
			result = parse_uri(text, text + strlen(forms[i].start), forms[i].is_unix, name, error);
			break;
		}
	if (i == sizeof(forms) / sizeof(forms[0]))
		result = begins_with(text, "nbd:") ? parse_legacy(text, text + 4, name, error)
						    : error_set(error, EINVAL, "%.300s: use nbd://HOST[:PORT]/EXPORT "
								"or nbd+unix:///EXPORT?socket=PATH", text);
	if (result == 0 && strlen(name->export_name) > NBD_NAME_MAX)
		result = error_set(error, EINVAL, "an export's name has at most %u bytes", NBD_NAME_MAX);
	if (result < 0)
		nbd_name_free(name);
	return result;
}

/* -- the other way -- */

/* What stands for itself in a path and in a query (RFC 3986 §3.3, §3.4), but for what separates. */
static void encode(FILE *to, const char *text)
{
	for (; *text; text++)
		if (isalnum((unsigned char)*text) || strchr("-._~/:@!$'()*,;=", *text))
			fputc(*text, to);
		else
			fprintf(to, "%%%02X", (unsigned char)*text);
}

char *block_export_name(const char *socket, const char *host, const char *port, const char *export_name)
{
	char *name = NULL;
	size_t size;
	FILE *to = open_memstream(&name, &size);
	bool is_address = host && strchr(host, ':');

	if (!to)
		return NULL;
	if (socket)
		fputs("nbd+unix://", to);
	else
		fprintf(to, is_address ? "nbd://[%s]:%s" : "nbd://%s:%s", host, port);
	if (socket || *export_name)
		fputc('/', to);
	/* Slashes at the start are the URI's own. */
	for (; *export_name == '/'; export_name++)
		fputs("%2F", to);
	encode(to, export_name);
	if (socket) {
		fputs("?socket=", to);
		encode(to, socket);
	}
	if (fclose(to) != 0) {
		free(name);
		return NULL;
	}
	return name;
}
