#include "net/tftp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/endian.h"

#define ETHERNET_BYTES 14
#define ETHERNET_IPV4  0x0800
#define IP_BYTES       20
#define IP_FRAGMENT    0x3fff /* more of them, and their offset */
#define IP_UDP	       17
#define IP_TIME_TO_LIVE 64
#define UDP_BYTES      8
#define HEADERS	       (ETHERNET_BYTES + IP_BYTES + UDP_BYTES)
#define SERVER_PORT    69

/* Messages: an opcode of 16 bits, and for most a block's number. */
#define READ_REQUEST  1
#define WRITE_REQUEST 2
#define DATA	      3
#define ACKNOWLEDGE   4
#define ERROR	      5
#define OPTIONS	      6
#define MESSAGE_BYTES 4

#define NOT_FOUND     1
#define NOT_ALLOWED   2
#define ILLEGAL	      4
#define UNKNOWN_ID    5

#define BLOCK_BYTES	512
#define BLOCK_BYTES_MIN 8
#define BLOCK_BYTES_MAX 1468 /* what a frame of 1,514 bytes has room for */
#define WINDOW_MAX	64
#define TIMEOUT_MAX_S	255
#define OPTIONS_BYTES	128

/* Whoever has sent a message. */
struct tftp_peer {
	uint8_t mac[6];
	uint32_t address;
	uint16_t port;
};

/* The Internet's checksum, going on with a sum (RFC 1071). */
static uint16_t checksum(const uint8_t *bytes, size_t size, uint32_t sum)
{
	size_t i;

	for (i = 0; i + 1 < size; i += 2)
		sum += get_be16(bytes + i);
	if (size & 1)
		sum += bytes[size - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Of UDP's pseudo header (RFC 768). */
static uint32_t pseudo_sum(const uint8_t *ip, size_t udp_bytes)
{
	uint32_t sum = IP_UDP + udp_bytes;
	unsigned i;

	for (i = 12; i < IP_BYTES; i += 2)
		sum += get_be16(ip + i);
	return sum;
}

/* --- what is sent --- */

/* `message` has HEADERS bytes before it, which are filled in. */
static void send_message(struct tftp *tftp, const struct tftp_peer *peer, uint8_t *message, size_t size)
{
	uint8_t *udp = message - UDP_BYTES, *ip = udp - IP_BYTES, *frame = ip - ETHERNET_BYTES;
	uint16_t sum;

	memset(frame, 0, HEADERS);
	memcpy(frame, peer->mac, sizeof(peer->mac));
	memcpy(frame + 6, tftp->config.mac, sizeof(tftp->config.mac));
	put_be16(frame + 12, ETHERNET_IPV4);
	ip[0] = 0x45;
	put_be16(ip + 2, IP_BYTES + UDP_BYTES + size);
	put_be16(ip + 4, tftp->packets++);
	ip[8] = IP_TIME_TO_LIVE;
	ip[9] = IP_UDP;
	put_be32(ip + 12, tftp->config.address);
	put_be32(ip + 16, peer->address);
	put_be16(ip + 10, checksum(ip, IP_BYTES, 0));
	put_be16(udp, SERVER_PORT);
	put_be16(udp + 2, peer->port);
	put_be16(udp + 4, UDP_BYTES + size);
	sum = checksum(udp, UDP_BYTES + size, pseudo_sum(ip, UDP_BYTES + size));
	put_be16(udp + 6, sum ? sum : 0xffff);
	tftp->config.send(tftp->config.context, frame, HEADERS + size);
}

static void send_error(struct tftp *tftp, const struct tftp_peer *peer, uint16_t code, const char *text)
{
	uint8_t packet[HEADERS + MESSAGE_BYTES + 64] = {0}, *message = packet + HEADERS;

	put_be16(message, ERROR);
	put_be16(message + 2, code);
	snprintf((char *)message + MESSAGE_BYTES, 64, "%s", text);
	send_message(tftp, peer, message, MESSAGE_BYTES + strlen((char *)message + MESSAGE_BYTES) + 1);
}

static struct tftp_peer peer_of(const struct tftp_client *client)
{
	struct tftp_peer peer = {.address = client->address, .port = client->port};

	memcpy(peer.mac, client->mac, sizeof(peer.mac));
	return peer;
}

/* The last block is shorter than the others, and may be empty. */
static uint64_t block_count(const struct tftp_client *client)
{
	return client->size_bytes / client->block_bytes + 1;
}

static void forget(struct tftp_client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	*client = (struct tftp_client){.fd = -1};
}

/* Those behind what was acknowledged, as many as the window has. A file that has become shorter ends in an error. */
static void send_window(struct tftp *tftp, struct tftp_client *client)
{
	uint8_t packet[HEADERS + MESSAGE_BYTES + BLOCK_BYTES_MAX], *message = packet + HEADERS;
	const struct tftp_peer peer = peer_of(client);
	uint64_t end = client->acknowledged + client->window, at;
	size_t size;

	if (end > block_count(client))
		end = block_count(client);
	for (client->sent = client->acknowledged; client->sent < end; client->sent++) {
		at = client->sent * client->block_bytes;
		size = client->size_bytes - at < client->block_bytes ? client->size_bytes - at : client->block_bytes;
		if (size && pread(client->fd, message + MESSAGE_BYTES, size, at) != (ssize_t)size) {
			send_error(tftp, &peer, 0, "the file cannot be read");
			forget(client);
			return;
		}
		put_be16(message, DATA);
		put_be16(message + 2, client->sent + 1);
		send_message(tftp, &peer, message, MESSAGE_BYTES + size);
	}
}

/* --- what is asked --- */

static struct tftp_client *find(struct tftp *tftp, const struct tftp_peer *peer)
{
	unsigned i;

	for (i = 0; i < TFTP_CLIENTS; i++)
		if (tftp->clients[i].fd >= 0 && tftp->clients[i].address == peer->address &&
		    tftp->clients[i].port == peer->port)
			return &tftp->clients[i];
	return NULL;
}

static struct tftp_client *take_place(struct tftp *tftp, const struct tftp_peer *peer)
{
	struct tftp_client *client = find(tftp, peer);
	unsigned i;

	if (!client) {
		client = &tftp->clients[0];
		for (i = 1; i < TFTP_CLIENTS && client->fd >= 0; i++)
			if (tftp->clients[i].fd < 0 || tftp->clients[i].heard < client->heard)
				client = &tftp->clients[i];
	}
	forget(client);
	return client;
}

/* The next of a request's texts, which end in NULs; NULL: there is no more. */
static const char *next_text(const uint8_t **at, const uint8_t *end)
{
	const char *text = (const char *)*at;
	const uint8_t *last = memchr(*at, 0, end - *at);

	if (!last)
		return NULL;
	*at = last + 1;
	return text;
}

static bool parse_number(const char *text, uint64_t most, uint64_t *number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return !*end && errno == 0 && *number <= most;
}

struct reply {
	char text[OPTIONS_BYTES];
	size_t used;
};

static void agree(struct reply *reply, const char *name, uint64_t value)
{
	size_t room = sizeof(reply->text) - reply->used;
	int used = snprintf(reply->text + reply->used, room, "%s%c%llu", name, 0, (unsigned long long)value);

	if (used > 0 && (size_t)used + 1 <= room)
		reply->used += used + 1;
}

/* What is not known, or is no good, is not agreed on: as if it had not been said (RFC 2347). */
static void take_option(struct tftp_client *client, struct reply *reply, const char *name, const char *value)
{
	uint64_t number;

	if (!parse_number(value, UINT32_MAX, &number))
		return;
	if (strcasecmp(name, "blksize") == 0 && number >= BLOCK_BYTES_MIN) {
		client->block_bytes = number < BLOCK_BYTES_MAX ? number : BLOCK_BYTES_MAX;
		agree(reply, "blksize", client->block_bytes);
	} else if (strcasecmp(name, "windowsize") == 0 && number) {
		client->window = number < WINDOW_MAX ? number : WINDOW_MAX;
		agree(reply, "windowsize", client->window);
	} else if (strcasecmp(name, "tsize") == 0) {
		agree(reply, "tsize", client->size_bytes);
	} else if (strcasecmp(name, "timeout") == 0 && number && number <= TIMEOUT_MAX_S) {
		agree(reply, "timeout", number);
	}
}

static void send_options(struct tftp *tftp, const struct tftp_peer *peer, const struct reply *reply)
{
	uint8_t packet[HEADERS + 2 + OPTIONS_BYTES], *message = packet + HEADERS;

	put_be16(message, OPTIONS);
	memcpy(message + 2, reply->text, reply->used);
	send_message(tftp, peer, message, 2 + reply->used);
}

/* A regular file, and how long it is. A descriptor or -errno. */
static int open_file(struct tftp *tftp, const char *name, uint64_t *size_bytes)
{
	int fd = tftp->config.open(tftp->config.context, name);
	struct stat status;

	if (fd < 0)
		return fd;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		return -EISDIR;
	}
	*size_bytes = status.st_size;
	return fd;
}

static void begin(struct tftp *tftp, const struct tftp_peer *peer, const uint8_t *at, const uint8_t *end)
{
	const char *name = next_text(&at, end), *mode = name ? next_text(&at, end) : NULL, *option, *value;
	struct reply reply = {.used = 0};
	struct tftp_client *client;
	uint64_t size_bytes;
	unsigned count = 0;
	int fd;

	if (!mode || strcasecmp(mode, "octet") != 0 || strlen(name) > TFTP_NAME_MAX) {
		send_error(tftp, peer, ILLEGAL, "use mode octet");
		return;
	}
	fd = open_file(tftp, name, &size_bytes);
	if (fd < 0) {
		send_error(tftp, peer, fd == -EACCES ? NOT_ALLOWED : NOT_FOUND, strerror(-fd));
		return;
	}
	client = take_place(tftp, peer);
	*client = (struct tftp_client){.fd = fd,
				       .address = peer->address,
				       .port = peer->port,
				       .size_bytes = size_bytes,
				       .block_bytes = BLOCK_BYTES,
				       .window = 1,
				       .heard = tftp->heard};
	memcpy(client->mac, peer->mac, sizeof(client->mac));
	/* Each is known at most once: a list that is longer has been made up. */
	while (count++ < 8 && (option = next_text(&at, end)) && (value = next_text(&at, end)))
		take_option(client, &reply, option, value);
	if (reply.used)
		send_options(tftp, peer, &reply);
	else
		send_window(tftp, client);
}

/*
 * All up to that block are there; the number is one of those that were sent last, or the one before them: then they were
 * lost, or what agreed on options was. Others came late.
 */
static void acknowledged(struct tftp *tftp, struct tftp_client *client, uint16_t block)
{
	uint16_t more = block - (uint16_t)client->acknowledged;

	if (more > client->sent - client->acknowledged)
		return;
	client->acknowledged += more;
	if (client->acknowledged == block_count(client))
		forget(client);
	else
		send_window(tftp, client);
}

static void take_message(struct tftp *tftp, const struct tftp_peer *peer, const uint8_t *message, size_t size)
{
	uint16_t opcode = size < 2 ? 0 : get_be16(message);
	struct tftp_client *client = find(tftp, peer);

	tftp->heard++;
	if (client)
		client->heard = tftp->heard;
	if (opcode == READ_REQUEST)
		begin(tftp, peer, message + 2, message + size);
	else if (opcode == WRITE_REQUEST)
		send_error(tftp, peer, NOT_ALLOWED, "files are only read here");
	else if (opcode == ACKNOWLEDGE && size >= MESSAGE_BYTES && client)
		acknowledged(tftp, client, get_be16(message + 2));
	else if (opcode == ACKNOWLEDGE && size >= MESSAGE_BYTES && get_be16(message + 2) == 0)
		send_error(tftp, peer, UNKNOWN_ID, "nothing was asked for");
	else if (opcode == ERROR && client)
		forget(client);
}

bool tftp_take(struct tftp *tftp, const uint8_t *frame, size_t size)
{
	const uint8_t *ip = frame + ETHERNET_BYTES, *udp;
	size_t ip_bytes, header_bytes, udp_bytes;
	struct tftp_peer peer;

	if (size < HEADERS || get_be16(frame + 12) != ETHERNET_IPV4 || ip[0] >> 4 != 4)
		return false;
	header_bytes = (ip[0] & 0xf) * 4u;
	ip_bytes = get_be16(ip + 2);
	if (ip[9] != IP_UDP || get_be32(ip + 16) != tftp->config.address || (get_be16(ip + 6) & IP_FRAGMENT) ||
	    header_bytes < IP_BYTES || ip_bytes > size - ETHERNET_BYTES || ip_bytes < header_bytes + UDP_BYTES)
		return false;
	udp = ip + header_bytes;
	udp_bytes = get_be16(udp + 4);
	if (get_be16(udp + 2) != SERVER_PORT || udp_bytes < UDP_BYTES || udp_bytes > ip_bytes - header_bytes)
		return false;
	/* What is damaged is nobody's. */
	if (checksum(ip, header_bytes, 0) != 0 ||
	    (get_be16(udp + 6) && checksum(udp, udp_bytes, pseudo_sum(ip, udp_bytes)) != 0))
		return true;
	memcpy(peer.mac, frame + 6, sizeof(peer.mac));
	peer.address = get_be32(ip + 12);
	peer.port = get_be16(udp);
	take_message(tftp, &peer, udp + UDP_BYTES, udp_bytes - UDP_BYTES);
	return true;
}

void tftp_init(struct tftp *tftp, const struct tftp_config *config)
{
	unsigned i;

	*tftp = (struct tftp){.config = *config};
	for (i = 0; i < TFTP_CLIENTS; i++)
		tftp->clients[i].fd = -1;
}

void tftp_close(struct tftp *tftp)
{
	unsigned i;

	for (i = 0; i < TFTP_CLIENTS; i++)
		forget(&tftp->clients[i]);
}
