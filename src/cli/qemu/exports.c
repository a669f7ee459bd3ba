#include "cli/qemu/exports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "cli/qemu/keyval.h"

#define PORT "10809"

/* After a connection is lost there is none: a confined process makes no new ones. */
static const struct property properties[] = {
	{"driver", PROPERTY_TEXT},
	{"node-name", PROPERTY_TEXT},
	{"server", PROPERTY_TEXT, NULL, true},
	{"host", PROPERTY_TEXT},
	{"port", PROPERTY_TEXT},
	{"path", PROPERTY_TEXT},
	{"export", PROPERTY_TEXT},
	{"reconnect-delay", PROPERTY_NUMBER, "0"},
	{"open-timeout", PROPERTY_NUMBER, "0"},
	{"read-only", PROPERTY_BOOL},
	{"auto-read-only", PROPERTY_BOOL},
	{"discard", PROPERTY_TEXT, "ignore unmap"},
	{"detect-zeroes", PROPERTY_TEXT, "off on unmap"},
	{"force-share", PROPERTY_BOOL, "off"},
	{"cache", PROPERTY_TEXT, NULL, true},
	{NULL},
};

static const struct property server_properties[] = {
	{"type", PROPERTY_TEXT, "inet unix"},
	{"host", PROPERTY_TEXT},
	{"port", PROPERTY_TEXT},
	{"path", PROPERTY_TEXT},
	{NULL},
};

bool export_is_node(const json_t *node)
{
	const char *driver = keyval_text(node, "driver");

	return driver && strcmp(driver, "nbd") == 0;
}

char *export_filename(const json_t *node, struct error *error)
{
	const json_t *server = json_object_get(node, "server"), *place = server ? server : node;
	const char *type = keyval_text(server, "type"), *path = keyval_text(place, "path");
	const char *host = keyval_text(place, "host"), *port = keyval_text(place, "port");
	const char *export_name = keyval_text(node, "export");
	char *name;

	if ((server && (!type || (strcmp(type, "unix") == 0) != !!path)) || !path == !host || (path && port)) {
		error_set(error, EINVAL,
			  "of driver=nbd: server.type=inet,server.host=HOST,server.port=PORT or "
			  "server.type=unix,server.path=PATH is needed");
		return NULL;
	}
	name = block_export_name(path, host, port ? port : PORT, export_name ? export_name : "");
	if (!name)
		error_set_errno(error, ENOMEM, "driver=nbd");
	return name;
}

int export_check(json_t *node, struct error *error)
{
	json_t *server = json_object_get(node, "server");
	int result = keyval_check(node, properties, error);
	char *name;

	if (result == 0 && server)
		result = keyval_check(server, server_properties, error);
	if (result < 0)
		return result;
	name = export_filename(node, error);
	if (!name)
		return -EINVAL;
	json_object_set_new(node, "filename", json_string(name));
	free(name);
	return 0;
}

int export_check_drive(json_t *drive, struct error *error)
{
	static const char *const own[] = {"host", "port", "path", "export", "server.type", "server.host", "server.port",
					  "server.path"};
	json_t *node = json_object(), *server = json_object(), *to;
	char key[32] = "file.", *name;
	unsigned i;

	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		strcpy(key + 5, own[i]);
		to = strncmp(own[i], "server.", 7) == 0 ? server : node;
		if (json_object_get(drive, key))
			json_object_set(to, to == server ? own[i] + 7 : own[i], json_object_get(drive, key));
	}
	if (json_object_size(server) > 0)
		json_object_set(node, "server", server);
	name = export_filename(node, error);
	json_decref(server);
	json_decref(node);
	if (!name)
		return -EINVAL;
	json_object_set_new(drive, "file", json_string(name));
	free(name);
	return 0;
}
