#include "cli/qemu/chardevs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli/qemu/keyval.h"
#include "device/char/front.h"
#include "device/char/output.h"
#include "device/char/telnet.h"
#include "net/dialer.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/socket.h"

#define RING_BYTES     65536
#define RING_BYTES_MAX (16u << 20)
#define CONNECT_WAIT_NS 2000000000ull
#define CONNECT_STEP_NS 10000000
#define RECONNECT_MAX_S 86400

static const char *const backends[] = {"null", "stdio", "file", "pipe", "pty", "socket", "ringbuf", "memory", "vc", "serial", "tty"};

struct chardev *chardevs_find(struct chardevs *chardevs, const char *id)
{
	unsigned i;

	for (i = 0; i < chardevs->count; i++)
		if (strcmp(chardevs->list[i].id, id) == 0)
			return &chardevs->list[i];
	return NULL;
}

static bool backend_is(const json_t *options, const char *name)
{
	const char *backend = keyval_text(options, "backend");

	return backend && strcmp(backend, name) == 0;
}

int chardevs_check(const json_t *options, struct error *error)
{
	const char *id = keyval_text(options, "id"), *backend = keyval_text(options, "backend");
	unsigned i;

	if (!id || !*id)
		return error_set(error, EINVAL, "id=ID is needed");
	if (!backend)
		return error_set(error, EINVAL, "which backend? as -chardev null,id=%.60s", id);
	for (i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		if (strcmp(backends[i], backend) == 0)
			return 0;
	return error_set(error, ENOTSUP,
			 "'%.60s' is no backend here: use null, stdio, file, pipe, pty, socket, serial or ringbuf", backend);
}

static struct chardev describe(json_t *options)
{
	return (struct chardev){.id = strdup(keyval_text(options, "id")),
				.options = json_incref(options),
				.given_fd = -1,
				.is_stdio = backend_is(options, "stdio"),
				.is_socket = backend_is(options, "socket"),
				.is_ring = backend_is(options, "ringbuf") || backend_is(options, "memory")};
}

int chardevs_add(struct chardevs *chardevs, json_t *options, struct error *error)
{
	const char *id = keyval_text(options, "id");

	if (chardevs_check(options, error) < 0)
		return -EINVAL;
	if (chardevs_find(chardevs, id))
		return error_set(error, EEXIST, "Chardev with id '%.60s' already exists", id);
	if (chardevs->count == CHARDEVS_MAX)
		return error_set(error, ENOSPC, "at most %u of them", CHARDEVS_MAX);
	chardevs->list[chardevs->count] = describe(options);
	return chardevs->list[chardevs->count++].id ? 0 : error_set_errno(error, ENOMEM, "%.60s", id);
}

/* -- the short forms -- */

static bool take_prefix(const char **text, const char *prefix)
{
	if (strncmp(*text, prefix, strlen(prefix)) != 0)
		return false;
	*text += strlen(prefix);
	return true;
}

static const struct property socket_properties[] = {
	{"address", PROPERTY_TEXT}, {"server", PROPERTY_BOOL},	 {"wait", PROPERTY_BOOL},
	{"nodelay", PROPERTY_BOOL, NULL, false, "delay"}, {"reconnect", PROPERTY_NUMBER},
	{"fd", PROPERTY_TEXT}, {"telnet", PROPERTY_BOOL}, {"logfile", PROPERTY_TEXT},
	{"logappend", PROPERTY_BOOL}, {NULL},
};

/* "PATH,server=on,..." or "HOST:PORT,server=on,..." */
static json_t *parse_socket(const char *text, bool is_unix, struct error *error)
{
	json_t *options = keyval_parse(is_unix && strncmp(text, "path=", 5) == 0 ? text + 5 : text, "address",
				       socket_properties, false, error);
	const char *address = options ? keyval_text(options, "address") : NULL, *colon;

	if (!options || keyval_check(options, socket_properties, error) < 0)
		goto fail;
	json_object_set_new(options, "backend", json_string("socket"));
	if (is_unix && address && *address) {
		json_object_set_new(options, "path", json_string(address));
	} else {
		colon = address ? strrchr(address, ':') : NULL;
		if (is_unix || !colon) {
			error_set(error, EINVAL, is_unix ? "a path is needed, as unix:PATH"
							 : "host and port are needed, as tcp::4444");
			goto fail;
		}
		if (colon != address)
			json_object_set_new(options, "host", json_stringn(address, colon - address));
		json_object_set_new(options, "port", json_string(colon + 1));
	}
	json_object_del(options, "address");
	return options;

fail:
	json_decref(options);
	return NULL;
}

static json_t *parse_telnet(const char *text, struct error *error)
{
	json_t *options = parse_socket(text, false, error);

	if (options)
		json_object_set_new(options, "telnet", json_true());
	return options;
}

static json_t *parse_text(const char *text, bool is_shared, struct error *error)
{
	static const char *const plain[] = {"stdio", "null", "pty", "ringbuf", "vc"};
	unsigned i;

	for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (strcmp(text, plain[i]) == 0 || (i == 4 && strncmp(text, "vc:", 3) == 0))
			return json_pack("{s:s,s:b}", "backend", plain[i], "signal", !is_shared);
	if (take_prefix(&text, "file:") && *text)
		return json_pack("{s:s,s:s}", "backend", "file", "path", text);
	if (take_prefix(&text, "pipe:") && *text)
		return json_pack("{s:s,s:s}", "backend", "pipe", "path", text);
	if (take_prefix(&text, "unix:"))
		return parse_socket(text, true, error);
	if (take_prefix(&text, "tcp:"))
		return parse_socket(text, false, error);
	if (take_prefix(&text, "telnet:"))
		return parse_telnet(text, error);
	if (strncmp(text, "/dev/", strlen("/dev/")) == 0)
		return json_pack("{s:s,s:s}", "backend", "serial", "path", text);
	error_set(error, ENOTSUP,
		  "'%.100s' leads nowhere here: use stdio, none, null, pty, file:F, pipe:F, unix:F, "
		  "tcp:HOST:PORT, telnet:HOST:PORT, /dev/DEVICE, chardev:ID or mon:WHERE",
		  text);
	return NULL;
}

int chardevs_add_text(struct chardevs *chardevs, const char *text, const char *id, int *index,
		      struct error *error)
{
	bool is_shared = take_prefix(&text, "mon:");
	struct chardev *chardev;
	json_t *options;
	int result;

	*index = -1;
	if (strcmp(text, "none") == 0)
		return 0;
	if (take_prefix(&text, "chardev:")) {
		chardev = chardevs_find(chardevs, text);
		if (!chardev)
			return error_set(error, ENOENT, "there is no -chardev with id=%.60s", text);
		*index = chardev - chardevs->list;
		return 0;
	}
	options = parse_text(text, is_shared, error);
	if (!options)
		return -EINVAL;
	json_object_set_new(options, "id", json_string(id));
	if (is_shared)
		json_object_set_new(options, "mux", json_true());
	result = chardevs_add(chardevs, options, error);
	json_decref(options);
	if (result == 0)
		*index = chardevs->count - 1;
	return result;
}

/* -- opening -- */

static struct char_stream *open_stdio(struct chardevs *chardevs, const struct chardev *chardev,
				      struct error *error)
{
	const json_t *signal = json_object_get(chardev->options, "signal");
	bool is_shared = json_is_true(json_object_get(chardev->options, "mux"));

	if (chardevs->standard_output) {
		error_set(error, EBUSY, "only one can be on stdio: share it with mux=on");
		return NULL;
	}
	chardevs->standard_output = char_stdout_create(error);
	if (!chardevs->standard_output)
		return NULL;
	return char_stdio_create(chardevs->loop, chardevs->standard_output,
				 signal ? json_is_true(signal) : !is_shared, error);
}

/* What somebody has opened for it; -1: nobody has. It is the caller's from now on. */
static int take_given(struct chardev *chardev)
{
	int fd = chardev->given_fd;

	chardev->given_fd = -1;
	return fd;
}

/* A descriptor, or -errno and `error`. */
static int open_to_write(struct chardevs *chardevs, const char *path, bool appends, struct error *error)
{
	int fd = fdsets_open(chardevs->fdsets, path, O_WRONLY, error);

	if (fd != -ENOENT)
		return fd;
	fd = open(path, O_WRONLY | O_CREAT | (appends ? O_APPEND : O_TRUNC) | O_CLOEXEC, 0666);
	return fd >= 0 ? fd : error_set_errno(error, errno, "cannot write '%s'", path);
}

static struct char_stream *open_file(struct chardevs *chardevs, const char *path, bool appends,
				     struct error *error)
{
	int fd = open_to_write(chardevs, path, appends, error);

	return fd >= 0 ? char_fd_create(fd, error) : NULL;
}

/* logfile=: what is written to the stream is written there, too. 0, or -errno and `error`. */
static int open_log(struct chardevs *chardevs, struct char_stream *stream, const json_t *options, struct error *error)
{
	const char *path = keyval_text(options, "logfile");
	struct char_output *log;
	int fd;

	if (!path)
		return 0;
	fd = open_to_write(chardevs, path, json_is_true(json_object_get(options, "logappend")), error);
	if (fd < 0) {
		error_prefix(error, "logfile");
		return fd;
	}
	log = char_output_create(fd, true, error);
	if (log)
		char_output_set_log(stream->output, log);
	else
		close(fd);
	return log ? 0 : -ENOMEM;
}

/* Nobody: a file, if it is logged. */
static struct char_stream *open_none(struct chardevs *chardevs, const json_t *options, struct error *error)
{
	const char *path = keyval_text(options, "logfile");

	return path ? open_file(chardevs, path, json_is_true(json_object_get(options, "logappend")), error)
		    : char_none_create(error);
}

/* PATH.in and PATH.out, two FIFOs, or PATH for both. */
static struct char_stream *open_pipe(struct chardevs *chardevs, const char *path, struct error *error)
{
	char name[4096];
	int input, output;

	snprintf(name, sizeof(name), "%s.in", path);
	input = open(name, O_RDWR | O_CLOEXEC);
	snprintf(name, sizeof(name), "%s.out", path);
	output = input >= 0 ? open(name, O_RDWR | O_CLOEXEC) : -1;
	if (output < 0 && input >= 0)
		close(input);
	if (output < 0)
		input = output = open(path, O_RDWR | O_CLOEXEC);
	if (output >= 0)
		return char_pair_create(chardevs->loop, input, output, error);
	error_set_errno(error, errno, "cannot open '%s.in' and '%s.out', nor '%s'", path, path, path);
	return NULL;
}

/* A descriptor that came with the process, of a socket. */
static int take_socket(const char *text, struct error *error)
{
	int is_listening;
	socklen_t size = sizeof(is_listening);
	char *end;
	long fd = strtol(text, &end, 10);

	if (!*text || *end || fd < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) < 0)
		return error_set(error, EBADF, "fd=%.60s is no socket", text);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

/* Whether somebody else keeps its socket: of monitors that share it with nobody. */
static bool has_door(struct chardevs *chardevs, const struct chardev *chardev)
{
	bool has = chardevs->door && chardev->is_monitor &&
		   !json_is_true(json_object_get(chardev->options, "mux"));

	chardevs->has_door |= has;
	return has;
}

static struct char_stream *open_server(struct chardevs *chardevs, struct chardev *chardev, int fd,
				       struct error *error)
{
	const json_t *wait = json_object_get(chardev->options, "wait");
	int peer = -1;

	chardevs->listens = true;
	if (!wait || json_is_true(wait)) {
		log_print(LOG_ERROR, "waiting for a connection on %s", chardev->filename);
		do
			peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		while (peer < 0 && errno == EINTR);
		if (peer < 0) {
			error_set_errno(error, errno, "no connection");
			close(fd);
			return NULL;
		}
	}
	if (has_door(chardevs, chardev) &&
	    door_add(chardevs->door, chardev->is_control, &fd, &peer, error) < 0)
		return NULL;
	return char_server_create(chardevs->loop, fd, peer, error);
}

static void name_socket(struct chardev *chardev)
{
	const json_t *options = chardev->options;
	const char *path = keyval_text(options, "path"), *inherited = keyval_text(options, "fd");
	const char *host = keyval_text(options, "host"), *port = keyval_text(options, "port");
	const char *server = json_is_true(json_object_get(options, "server")) ? ",server=on" : "";

	if (inherited)
		snprintf(chardev->filename, sizeof(chardev->filename), "unix:fd=%.20s%s", inherited, server);
	else if (path)
		snprintf(chardev->filename, sizeof(chardev->filename), "unix:%.120s%s", path, server);
	else
		snprintf(chardev->filename, sizeof(chardev->filename), "tcp:%.100s:%.20s%s", host ? host : "",
			 port ? port : "", server);
}

/* A client that comes again, by a dialer that is there already (-1: it is not). */
static struct char_stream *open_dialer(struct chardevs *chardevs, const struct chardev *chardev, int dialer,
				       unsigned delay_s, struct error *error)
{
	const json_t *options = chardev->options;
	const struct net_dialer_config config = {.path = keyval_text(options, "path"),
						 .host = keyval_text(options, "host"),
						 .port = keyval_text(options, "port"),
						 .delay_s = delay_s,
						 .no_delay = json_is_true(json_object_get(options, "nodelay"))};
	int fd = dialer >= 0 ? dialer : net_dialer_start(&config, error);

	if (fd < 0)
		return NULL;
	chardevs->dials = true;
	if (!has_door(chardevs, chardev))
		return char_client_create(chardevs->loop, fd, error);
	return door_add_dialer(chardevs->door, chardev->is_control, &fd, error) < 0
		       ? NULL
		       : char_server_create(chardevs->loop, fd, -1, error);
}

static struct char_stream *open_socket(struct chardevs *chardevs, struct chardev *chardev,
				       struct error *error)
{
	const json_t *options = chardev->options;
	const char *path = keyval_text(options, "path"), *inherited = keyval_text(options, "fd");
	const char *host = keyval_text(options, "host"), *port = keyval_text(options, "port");
	bool is_server = json_is_true(json_object_get(options, "server"));
	uint64_t delay_s = 0;
	int fd, none = -1;

	if (keyval_number(options, "reconnect", RECONNECT_MAX_S, &delay_s, error) < 0)
		return NULL;
	if (delay_s && (is_server || inherited || (!path && !port))) {
		error_set(error, EINVAL, "reconnect= is of those that connect, by path= or port=");
		return NULL;
	}
	if (json_is_true(json_object_get(options, "telnet")) && !is_server) {
		error_set(error, ENOTSUP, "telnet=on is of servers: add server=on");
		return NULL;
	}
	name_socket(chardev);
	if (delay_s)
		return open_dialer(chardevs, chardev, take_given(chardev), delay_s, error);
	fd = take_given(chardev);
	if (fd >= 0)
		return is_server ? char_server_create(chardevs->loop, fd, -1, error)
				 : char_pair_create(chardevs->loop, fd, fd, error);
	if (inherited)
		fd = take_socket(inherited, error);
	else if (path)
		fd = is_server ? socket_listen_unix(path, error) : socket_connect_unix(path, error);
	else if (port)
		fd = is_server ? socket_listen_tcp(host, port, error) : socket_connect_tcp(host, port, error);
	else
		fd = error_set(error, EINVAL, "a socket needs path=, port= or fd=");
	if (fd < 0)
		return NULL;
	if (!is_server && has_door(chardevs, chardev) &&
	    door_add(chardevs->door, chardev->is_control, &none, &fd, error) < 0)
		return NULL;
	return is_server ? open_server(chardevs, chardev, fd, error)
			 : char_pair_create(chardevs->loop, fd, fd, error);
}

static struct char_stream *open_pty(struct chardevs *chardevs, struct chardev *chardev,
				    struct error *error)
{
	char name[64];
	struct char_stream *stream = char_pty_create(chardevs->loop, name, sizeof(name), error);

	if (!stream)
		return NULL;
	snprintf(chardev->filename, sizeof(chardev->filename), "pty:%s", name);
	/* On standard output as QEMU does, since there are programs that read it. */
	if (!chardevs->are_open) {
		printf("char device redirected to %s (label %s)\n", name, chardev->id);
		fflush(stdout);
	}
	return stream;
}

static struct char_stream *open_ring(const json_t *options, struct error *error)
{
	uint64_t size = RING_BYTES;

	if (keyval_size(options, "size", 1, &size, error) < 0)
		return NULL;
	if (size & (size - 1) || !size || size > RING_BYTES_MAX) {
		error_set(error, EINVAL, "a ring's size is a power of two, up to %u", RING_BYTES_MAX);
		return NULL;
	}
	return char_ring_create(size, error);
}

static struct char_stream *open_one(struct chardevs *chardevs, struct chardev *chardev,
				    struct error *error)
{
	const json_t *options = chardev->options;
	const char *backend = keyval_text(options, "backend"), *path = keyval_text(options, "path");
	bool appends = json_is_true(json_object_get(options, "append"));

	snprintf(chardev->filename, sizeof(chardev->filename), "%s", backend);
	if (chardev->is_stdio)
		return open_stdio(chardevs, chardev, error);
	if (chardev->is_ring)
		return open_ring(options, error);
	if (strcmp(backend, "pty") == 0)
		return open_pty(chardevs, chardev, error);
	if (strcmp(backend, "socket") == 0)
		return open_socket(chardevs, chardev, error);
	if (strcmp(backend, "null") == 0 || strcmp(backend, "vc") == 0)
		return open_none(chardevs, options, error);
	if (!path || !*path) {
		error_set(error, EINVAL, "%s needs path=PATH", backend);
		return NULL;
	}
	snprintf(chardev->filename, sizeof(chardev->filename), "%s:%.120s", backend, path);
	if (chardev->given_fd >= 0)
		return char_fd_create(take_given(chardev), error);
	if (strcmp(backend, "file") == 0)
		return open_file(chardevs, path, appends, error);
	return strcmp(backend, "pipe") == 0 ? open_pipe(chardevs, path, error)
					    : char_tty_create(chardevs->loop, path, error);
}

/* Scripts start who listens there right before this program, which may be ready sooner. */
static int connect_soon(const char *path, struct error *error)
{
	const struct timespec step = {.tv_nsec = CONNECT_STEP_NS};
	uint64_t end = monotonic_ns() + CONNECT_WAIT_NS;
	int fd = socket_connect_unix(path, error);

	while ((fd == -ENOENT || fd == -ECONNREFUSED) && monotonic_ns() < end) {
		nanosleep(&step, NULL);
		fd = socket_connect_unix(path, error);
	}
	return fd;
}

int chardevs_connect(struct chardevs *chardevs, const char *id, struct error *error)
{
	struct chardev *chardev = chardevs_find(chardevs, id);
	const char *path = chardev ? keyval_text(chardev->options, "path") : NULL;

	if (!chardev)
		return error_set(error, ENOENT, "chardev=%.60s: there is no -chardev with that id", id);
	if (strcmp(keyval_text(chardev->options, "backend"), "socket") != 0 || !path ||
	    json_is_true(json_object_get(chardev->options, "server")))
		return error_set(error, EINVAL, "chardev %.60s: use socket,id=%.60s,path=PATH", id, id);
	if (chardev->is_taken)
		return error_set(error, EBUSY, "chardev %.60s has a user already", id);
	chardev->is_taken = chardev->has_user = true;
	snprintf(chardev->filename, sizeof(chardev->filename), "unix:%.120s", path);
	return connect_soon(path, error);
}

/* Monitors, which have doors, and devices that take the socket stay with what they have. */
static bool has_front(const struct chardev *chardev)
{
	return !chardev->mux && !chardev->is_monitor && !chardev->is_taken;
}

/* Whether its log is another file than the one it leads to. */
static bool has_log(const struct chardev *chardev)
{
	return !backend_is(chardev->options, "null") && !backend_is(chardev->options, "vc");
}

static int open_whole(struct chardevs *chardevs, struct chardev *chardev, struct error *error)
{
	chardev->stream = chardev->below = open_one(chardevs, chardev, error);
	if (chardev->stream && json_is_true(json_object_get(chardev->options, "telnet")))
		chardev->stream = chardev->below = char_telnet_create(chardev->below, error);
	if (chardev->stream && has_log(chardev) &&
	    open_log(chardevs, chardev->below, chardev->options, error) < 0) {
		char_destroy(chardev->stream);
		chardev->stream = NULL;
	}
	if (chardev->stream && json_is_true(json_object_get(chardev->options, "mux"))) {
		chardev->mux = char_mux_create(chardevs->loop, chardev->stream, chardevs->escape,
					       &chardevs->commands, error);
		if (!chardev->mux)
			chardev->stream = NULL;
	} else if (chardev->stream && has_front(chardev)) {
		chardev->stream = char_front_create(chardev->stream, error);
	}
	if (chardev->stream)
		return 0;
	error_prefix(error, "chardev %s", chardev->id);
	return -EIO;
}

int chardevs_open(struct chardevs *chardevs, bool stdio, struct error *error)
{
	struct chardev *chardev;
	unsigned i;

	for (i = 0; i < chardevs->count; i++) {
		chardev = &chardevs->list[i];
		if (chardev->is_stdio == stdio && !chardev->is_taken && open_whole(chardevs, chardev, error) < 0)
			return -EIO;
	}
	chardevs->are_open |= stdio;
	return 0;
}

int chardevs_open_last(struct chardevs *chardevs, int fd, struct error *error)
{
	chardevs->list[chardevs->count - 1].given_fd = fd;
	return open_whole(chardevs, &chardevs->list[chardevs->count - 1], error);
}

int chardevs_open_other(struct chardevs *chardevs, json_t *options, int fd, struct chardev *other, struct error *error)
{
	*other = describe(options);
	other->given_fd = fd;
	if (other->id && open_whole(chardevs, other, error) == 0)
		return 0;
	chardev_discard(other);
	return -EIO;
}

void chardev_discard(struct chardev *chardev)
{
	if (chardev->given_fd >= 0)
		close(chardev->given_fd);
	if (chardev->mux)
		char_mux_destroy(chardev->mux);
	else
		char_destroy(chardev->stream);
	json_decref(chardev->options);
	free(chardev->id);
}

void chardevs_remove(struct chardevs *chardevs, unsigned index)
{
	chardev_discard(&chardevs->list[index]);
	chardevs->count--;
	memmove(chardevs->list + index, chardevs->list + index + 1,
		(chardevs->count - index) * sizeof(chardevs->list[0]));
}

/* A monitor's or a TPM's stays where it is. */
bool chardev_can_change(const struct chardev *chardev)
{
	return chardev->stream && has_front(chardev);
}

void chardev_take_over(struct chardev *chardev, struct chardev *other)
{
	struct chardev old = *chardev;

	/* Its front is taken away, and what it led to is that of the one that stays. */
	char_front_change(chardev->stream, char_front_take(other->stream));
	*chardev = *other;
	chardev->stream = old.stream;
	chardev->has_user = old.has_user;
	chardev->is_closed = old.is_closed;
	json_decref(old.options);
	free(old.id);
}

void chardev_send_break(struct chardev *chardev)
{
	if (chardev->mux)
		char_mux_send_break(chardev->mux);
	else if (chardev->stream && chardev->stream->reader.receive_break)
		chardev->stream->reader.receive_break(chardev->stream->reader.context);
}

void chardevs_close(struct chardevs *chardevs)
{
	while (chardevs->count)
		chardev_discard(&chardevs->list[--chardevs->count]);
	char_destroy(chardevs->standard_output);
	chardevs->standard_output = NULL;
}

struct char_stream *chardev_use(struct chardev *chardev, struct error *error)
{
	if (chardev->mux) {
		chardev->has_user = true;
		return char_mux_add(chardev->mux, error);
	}
	if (chardev->has_user) {
		error_set(error, EBUSY, "chardev %s has a user already: share it with mux=on", chardev->id);
		return NULL;
	}
	chardev->has_user = true;
	return chardev->stream;
}

json_t *chardevs_describe(const struct chardevs *chardevs)
{
	const struct chardev *chardev;
	json_t *answer = json_array();
	const char *state;
	unsigned i;

	for (i = 0; i < chardevs->count; i++) {
		chardev = &chardevs->list[i];
		state = chardev->is_socket && chardev->below && !char_is_attached(chardev->below) ? "disconnected:" : "";
		json_array_append_new(answer, json_pack("{s:s,s:s+,s:b}", "label", chardev->id, "filename", state,
							chardev->filename, "frontend-open",
							chardev->has_user && !chardev->is_closed));
	}
	return answer;
}

json_t *chardevs_describe_backends(void)
{
	json_t *answer = json_array();
	unsigned i;

	for (i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		json_array_append_new(answer, json_pack("{s:s}", "name", backends[i]));
	return answer;
}
