/* What an NBD server gives, and who has it. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "block/nbd_server/parts.h"

void nbd_client_cut_off(struct nbd_client *client)
{
	wire_break(&client->wire);
	shutdown(client->wire.fd, SHUT_RDWR);
}

struct nbd_export *nbd_export_find(struct nbd_server *server, const char *name)
{
	struct nbd_export *export = server->exports;

	while (export && (export->is_ending || strcmp(export->name, name) != 0))
		export = export->next;
	return export;
}

uint16_t nbd_export_flags(const struct nbd_export *export)
{
	uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_DF |
			 NBD_FLAG_CAN_MULTI_CONN;

	/* A flush is of the disk, whoever has written to it. */
	return export->is_writable ? flags | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES : flags | NBD_FLAG_READ_ONLY;
}

static void disk_goes(struct block_visitor *visitor)
{
	struct nbd_export *export = (struct nbd_export *)((char *)visitor - offsetof(struct nbd_export, visitor));
	void (*gone)(void *context) = export->gone;
	void *context = export->context;

	nbd_export_remove(export);
	if (gone)
		gone(context);
}

static void free_export(struct nbd_export *export)
{
	free(export->name);
	free(export->description);
	free(export);
}

int nbd_export_add(struct nbd_server *server, struct block *block, const struct nbd_export_options *options,
		   void (*gone)(void *context), void *context, struct nbd_export **added, struct error *error)
{
	struct nbd_export *export;
	bool is_there;

	if (strlen(options->name) > NBD_NAME_MAX || (options->description && strlen(options->description) > NBD_NAME_MAX))
		return error_set(error, EINVAL, "an export's name and description have at most %d bytes", NBD_NAME_MAX);
	if (options->is_writable && block_info(block)->is_readonly)
		return error_set(error, EROFS, "%s is only read: nothing is written to it by others either",
				 block_info(block)->path);
	export = calloc(1, sizeof(*export));
	if (!export || !(export->name = strdup(options->name)) ||
	    (options->description && !(export->description = strdup(options->description)))) {
		if (export)
			free_export(export);
		return error_set_errno(error, ENOMEM, "an export");
	}
	export->server = server;
	export->block = block;
	export->visitor.disk_goes = disk_goes;
	export->is_writable = options->is_writable;
	export->shows_depth = options->shows_depth;
	export->size = block_size(block);
	export->gone = gone;
	export->context = context;
	pthread_mutex_lock(&server->lock);
	is_there = nbd_export_find(server, options->name);
	if (!is_there) {
		export->next = server->exports;
		server->exports = export;
	}
	pthread_mutex_unlock(&server->lock);
	if (is_there) {
		free_export(export);
		return error_set(error, EEXIST, "NBD server already has export named '%.60s'", options->name);
	}
	block_visit(block, &export->visitor);
	*added = export;
	return 0;
}

unsigned nbd_export_clients(const struct nbd_export *export)
{
	unsigned clients;

	pthread_mutex_lock(&export->server->lock);
	clients = export->clients;
	pthread_mutex_unlock(&export->server->lock);
	return clients;
}

void nbd_export_remove(struct nbd_export *export)
{
	struct nbd_server *server = export->server;
	struct nbd_export **at = &server->exports;
	struct nbd_client *client;

	pthread_mutex_lock(&server->lock);
	export->is_ending = true;
	for (client = server->clients; client; client = client->next)
		if (client->export == export)
			nbd_client_cut_off(client);
	while (export->clients > 0)
		pthread_cond_wait(&server->changed, &server->lock);
	while (*at != export)
		at = &(*at)->next;
	*at = export->next;
	pthread_mutex_unlock(&server->lock);
	block_leave(export->block, &export->visitor);
	free_export(export);
}
