/* A network in user space from inside: user.c makes it and speaks to it, user_helper.c runs it in its process. */
#ifndef KVIK_NET_USER_PARTS_H
#define KVIK_NET_USER_PARTS_H

#include <arpa/inet.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/link.h"
#include "net/tftp.h"

#define POLLS_MAX    1024
#define RESOLVER_MAX 3500

/* A timer of the stack's. */
struct slirp_timer {
	SlirpTimerId id;
	void *context;
	int64_t expires_ms; /* -1: it doesn't */
	struct slirp_timer *next;
};

/* What a guest's port leads to. */
struct service {
	struct net_service to;
	int poll; /* its place among the polls; -1: it waits for the guest */
};

struct user {
	Slirp *slirp;
	struct net_user_addresses addresses;
	struct service services[NET_FORWARDS_MAX];
	unsigned service_count;
	int runner; /* of commands; -1: there are none */
	unsigned command_count;
	int commands_problem; /* why they are not to be had: -errno, or 0 */
	int frames; /* the helper's end */
	int folder; /* of TFTP's files; -1: none */
	struct tftp tftp;
	struct slirp_timer *timers;
	struct pollfd polls[POLLS_MAX];
	unsigned poll_count;
	char resolver[RESOLVER_MAX + 1];
};

/* What the monitor says, which an int answers, or a text of NET_USER_TEXT bytes. */
struct order {
	struct net_forward forward;
	bool is_on;
	bool wants_text; /* net_user_describe */
};

static inline struct in_addr address(uint32_t number)
{
	return (struct in_addr){htonl(number)};
}

/* user_helper.c: what libslirp asks of a struct user. */
extern const SlirpCb user_callbacks;
ssize_t user_send_packet(const void *frame, size_t size, void *context);
ssize_t user_write_service(const void *bytes, size_t size, void *context); /* of a struct service */
int user_add_poll(int fd, int events, void *context);
/* The helper's part: until the monitor closes its end of the socket. */
void user_serve(int socket, void *context);

#endif
