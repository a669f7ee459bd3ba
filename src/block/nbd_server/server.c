#include "block/nbd_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/nbd_server/parts.h"
#include "util/clock.h"
#include "util/thread.h"

#define GREETING_NS (30 * NS_PER_SECOND)
#define RETRY_MS    100 /* when no connection or thread can be had */

/* -- clients -- */

static void wake(struct nbd_server *server)
{
	uint64_t one = 1;

	/* A full counter wakes, too. */
	if (write(server->wake, &one, sizeof(one)) < 0)
		return;
}

/* What it held is free. */
static void let_go(struct nbd_client *client)
{
	struct nbd_server *server = client->server;

	pthread_mutex_lock(&server->lock);
	if (client->export) {
		client->export->clients--;
		client->export = NULL;
	}
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

static void *run_client(void *context)
{
	struct nbd_client *client = context;
	struct nbd_server *server = client->server;

	pthread_setname_np(pthread_self(), "kvik nbd");
	client->wire.deadline_ns = monotonic_ns() + GREETING_NS;
	if (nbd_greet(client) == 0) {
		client->wire.deadline_ns = 0;
		nbd_serve(client);
	}
	let_go(client);
	pthread_mutex_lock(&server->lock);
	client->has_ended = true;
	pthread_mutex_unlock(&server->lock);
	wake(server);
	return NULL;
}

static void free_client(struct nbd_client *client)
{
	close(client->wire.fd);
	free(client->choice.contexts_of);
	free(client);
}

/* On the thread that accepts: those that have ended; or all, which then were cut off. */
static void reap(struct nbd_server *server, bool all)
{
	struct nbd_client **at = &server->clients, *client;
	unsigned left;

	pthread_mutex_lock(&server->lock);
	while ((client = *at)) {
		if (!client->has_ended && !all) {
			at = &client->next;
			continue;
		}
		*at = client->next;
		left = --server->client_count;
		pthread_mutex_unlock(&server->lock);
		pthread_join(client->thread, NULL);
		free_client(client);
		if (server->options.left)
			server->options.left(server->options.context, left);
		pthread_mutex_lock(&server->lock);
		/* Only this thread takes any off; others may be new, at the front. */
		at = &server->clients;
	}
	pthread_mutex_unlock(&server->lock);
}

/* False: no more can be had now. */
static bool accept_client(struct nbd_server *server)
{
	int fd = accept4(server->options.listening_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct nbd_client *client;

	if (fd < 0)
		return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
	client = calloc(1, sizeof(*client));
	if (!client) {
		close(fd);
		return false;
	}
	client->server = server;
	client->wire.fd = fd;
	/* It looks at nothing that this guards before its greeting. */
	pthread_mutex_lock(&server->lock);
	if (thread_start(&client->thread, NULL, run_client, client) < 0) {
		pthread_mutex_unlock(&server->lock);
		free_client(client);
		return false;
	}
	client->next = server->clients;
	server->clients = client;
	server->client_count++;
	pthread_mutex_unlock(&server->lock);
	return true;
}

static void *run_server(void *context)
{
	struct nbd_server *server = context;
	unsigned most = server->options.clients_max;
	struct nbd_client *client;
	bool is_ending = false, can_accept = true;
	uint64_t count;

	pthread_setname_np(pthread_self(), "kvik nbd");
	while (!is_ending) {
		bool has_room = server->client_count < most && can_accept;
		struct pollfd polls[] = {{server->wake, POLLIN, 0},
					 {has_room ? server->options.listening_fd : -1, POLLIN, 0}};

		if (poll(polls, 2, can_accept ? -1 : RETRY_MS) < 0 && errno != EINTR)
			break;
		can_accept = true;
		if (polls[0].revents && read(server->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
			break;
		reap(server, false);
		if (polls[1].revents)
			can_accept = accept_client(server);
		pthread_mutex_lock(&server->lock);
		is_ending = server->is_ending;
		pthread_mutex_unlock(&server->lock);
	}
	pthread_mutex_lock(&server->lock);
	for (client = server->clients; client; client = client->next)
		nbd_client_cut_off(client);
	pthread_mutex_unlock(&server->lock);
	reap(server, true);
	return NULL;
}

/* -- its life -- */

int nbd_server_start(const struct nbd_server_options *options, struct nbd_server **started, struct error *error)
{
	struct nbd_server *server = calloc(1, sizeof(*server));
	int result = 0, flags = fcntl(options->listening_fd, F_GETFL);

	if (!server)
		return error_set_errno(error, ENOMEM, "an NBD server");
	server->options = *options;
	if (!options->clients_max || options->clients_max > NBD_CLIENTS_MAX)
		server->options.clients_max = NBD_CLIENTS_MAX;
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->changed, NULL);
	server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->wake < 0 || flags < 0 || fcntl(options->listening_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		result = -errno;
	if (result == 0)
		result = thread_start(&server->thread, NULL, run_server, server);
	if (result < 0) {
		if (server->wake >= 0)
			close(server->wake);
		pthread_cond_destroy(&server->changed);
		pthread_mutex_destroy(&server->lock);
		free(server);
		return error_set_errno(error, -result, "an NBD server");
	}
	*started = server;
	return 0;
}

void nbd_server_stop(struct nbd_server *server)
{
	if (!server)
		return;
	pthread_mutex_lock(&server->lock);
	server->is_ending = true;
	pthread_mutex_unlock(&server->lock);
	wake(server);
	pthread_join(server->thread, NULL);
	while (server->exports)
		nbd_export_remove(server->exports);
	close(server->options.listening_fd);
	close(server->wake);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	free(server);
}
