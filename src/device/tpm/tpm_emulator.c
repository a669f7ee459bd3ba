/*
 * swtpm's protocol (swtpm_ioctls(3), include/swtpm/tpm_ioctl.h): all numbers big-endian. The control channel takes a
 * number of a request and its arguments, and answers each with a result, 0 for success, and what was asked for. The data
 * channel is a socket pair whose other side goes over the control channel; on it commands and answers are as TPMs have
 * them (TPM 2.0 part 3): a tag, their whole size, and a code.
 */
#include "device/tpm/tpm_emulator.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "device/tpm/tpm_blobs.h"
#include "util/endian.h"
#include "util/log.h"
#include "util/state.h"

enum tpm_control {
	GET_CAPABILITY = 1, INIT = 2, SHUTDOWN = 3, GET_ESTABLISHED = 4, SET_LOCALITY = 5, CANCEL = 9,
	RESET_ESTABLISHED = 11, STOP = 14, SET_DATAFD = 16, SET_BUFFERSIZE = 17,
};

/* GET_CAPABILITY's bits: what all of this needs. */
#define CAPABILITIES (1u << 0 | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 5 | 1u << 10 | 1u << 12 | 1u << 13)

#define CAPABILITY_GET_STATE (1u << 8)
#define CAPABILITY_SET_STATE (1u << 9)

#define PATIENCE_S    10 /* for a peer that we wait for */
#define REQUESTS_MAX  16
#define ARGUMENTS_MAX 4
#define REPLY_MAX     16

#define INIT_ANEW 1u /* without the state that a saved machine had */

#define HEADER_BYTES	10
#define HEADER_SIZE	2 /* where its size is */
#define TAG_NO_SESSIONS 0x8001
#define RC_FAILURE	0x101

struct tpm_request {
	enum tpm_control what;
	uint8_t arguments[ARGUMENTS_MAX];
	unsigned size;
};

struct tpm_emulator {
	struct tpm_user user;
	struct event_source control, data;
	struct event_timer failure; /* tells of a command that nobody will answer */
	bool has_sources;
	uint32_t capabilities;
	pthread_mutex_t lock; /* guards what follows */
	struct tpm_request requests[REQUESTS_MAX];
	unsigned first, count;
	bool is_asked; /* the first one was sent */
	uint8_t reply[REPLY_MAX];
	unsigned reply_used;
	uint8_t command[TPM_BUFFER_BYTES];
	size_t command_size;
	bool is_wanted, is_sent; /* a command waits for the requests before it; its answer is awaited */
	bool is_cancelled;	 /* the one that waits: once it is sent */
	bool is_stale;		 /* nobody wants that any more */
	uint8_t answer[TPM_BUFFER_BYTES];
	size_t answer_used;
	uint32_t buffer_bytes;
	uint8_t locality;
	bool knows_locality, is_established, is_broken;
};

/* How many bytes a request is answered with. */
static unsigned reply_bytes(enum tpm_control what)
{
	switch (what) {
	case GET_CAPABILITY: return 8;
	case GET_ESTABLISHED: return 8; /* the result, and a byte with three behind it */
	case SET_BUFFERSIZE: return 16; /* the result, the size, and the least and greatest there can be */
	default: return 4;
	}
}

/* --- before the machine runs: one request after another --- */

static int transfer_whole(int fd, void *bytes, size_t size, bool is_out)
{
	size_t done = 0;
	ssize_t part;

	while (done < size) {
		part = is_out ? send(fd, (char *)bytes + done, size - done, MSG_NOSIGNAL)
			      : recv(fd, (char *)bytes + done, size - done, 0);
		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			return part ? -errno : -ECONNRESET;
		done += part;
	}
	return 0;
}

/* With a descriptor beside it, -1: none. The reply's bytes are in `reply`. */
static int ask(int control, enum tpm_control what, uint32_t argument, bool has_argument, int passed, uint8_t *reply,
	       struct error *error)
{
	uint8_t request[8];
	struct iovec part = {request, has_argument ? 8 : 4};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} extra = {{0}};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	struct cmsghdr *header;
	int result;

	put_be32(request, what);
	put_be32(request + 4, argument);
	if (passed >= 0) {
		message.msg_control = extra.bytes;
		message.msg_controllen = sizeof(extra.bytes);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &passed, sizeof(int));
	}
	result = sendmsg(control, &message, MSG_NOSIGNAL) == (ssize_t)part.iov_len ? 0 : -errno;
	if (result == 0)
		result = transfer_whole(control, reply, reply_bytes(what), false);
	if (result < 0)
		return error_set_errno(error, -result, "the TPM's process does not answer");
	if (what != GET_CAPABILITY && get_be32(reply))
		return error_set(error, EIO, "the TPM's process refuses request %u with %u", what, get_be32(reply));
	return 0;
}

/* TPM2_GetCapability of one property (part 3 §30.2), by whose answer's tag a TPM 1.2 is told from a 2.0. */
static int check_version(int data, struct error *error)
{
	static const uint8_t command[] = {0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 6,
					  0,	0,    1, 0, 0, 0, 0, 1};
	uint8_t answer[TPM_BUFFER_BYTES];
	uint32_t size = 0;
	int result = transfer_whole(data, (void *)command, sizeof(command), true);

	if (result == 0)
		result = transfer_whole(data, answer, HEADER_BYTES, false);
	if (result == 0) {
		size = get_be32(answer + HEADER_SIZE);
		if (size < HEADER_BYTES || size > sizeof(answer))
			return error_set(error, EPROTO, "the TPM's process answers with what is no answer");
		result = transfer_whole(data, answer + HEADER_BYTES, size - HEADER_BYTES, false);
	}
	if (result < 0)
		return error_set_errno(error, -result, "the TPM does not answer");
	if ((answer[0] << 8 | answer[1]) != TAG_NO_SESSIONS)
		return error_set(error, ENOTSUP, "this is a TPM 1.2: start swtpm with --tpm2");
	return 0;
}

static int set_patience(int fd, unsigned seconds)
{
	const struct timeval patience = {.tv_sec = seconds};

	return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
			       setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0
		       ? -errno
		       : 0;
}

static int agree(int control, int data, int theirs, uint32_t *capabilities, struct error *error)
{
	uint8_t reply[REPLY_MAX];
	int result = ask(control, GET_CAPABILITY, 0, false, -1, reply, error);

	if (result == 0)
		*capabilities = get_be32(reply + 4);
	if (result == 0 && (*capabilities & CAPABILITIES) != CAPABILITIES)
		result = error_set(error, ENOTSUP, "the TPM's process cannot do all that is needed: it has %x of %x",
				   *capabilities, CAPABILITIES);
	if (result == 0)
		result = ask(control, SET_DATAFD, 0, false, theirs, reply, error);
	if (result == 0)
		result = ask(control, INIT, 0, true, -1, reply, error);
	return result < 0 ? result : check_version(data, error);
}

struct tpm_emulator *tpm_emulator_create(int control, struct error *error)
{
	struct tpm_emulator *emulator = calloc(1, sizeof(*emulator));
	int pair[2] = {-1, -1}, result = 0;

	if (!emulator || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		result = error_set_errno(error, emulator ? errno : ENOMEM, "cannot connect a TPM");
	else if (set_patience(control, PATIENCE_S) < 0 || set_patience(pair[0], PATIENCE_S) < 0)
		result = error_set_errno(error, errno, "the TPM's channel is no socket");
	else
		result = agree(control, pair[0], pair[1], &emulator->capabilities, error);
	if (pair[1] >= 0)
		close(pair[1]);
	if (result < 0) {
		if (pair[0] >= 0)
			close(pair[0]);
		close(control);
		free(emulator);
		return NULL;
	}
	pthread_mutex_init(&emulator->lock, NULL);
	emulator->control.fd = control;
	emulator->data.fd = pair[0];
	emulator->buffer_bytes = TPM_BUFFER_BYTES;
	return emulator;
}

void tpm_emulator_destroy(struct tpm_emulator *emulator)
{
	uint8_t request[4];

	if (!emulator)
		return;
	if (emulator->has_sources) {
		event_loop_remove(&emulator->control);
		event_loop_remove(&emulator->data);
	}
	event_timer_destroy(&emulator->failure);
	/* Whether it hears that or not. */
	put_be32(request, SHUTDOWN);
	if (write(emulator->control.fd, request, sizeof(request)) < 0)
		log_debug("the TPM's process has gone");
	close(emulator->control.fd);
	close(emulator->data.fd);
	pthread_mutex_destroy(&emulator->lock);
	free(emulator);
}

/* --- while it runs; with the lock held --- */

static void break_off(struct tpm_emulator *emulator, const char *why)
{
	if (!emulator->is_broken)
		log_error("the TPM has gone: %s", why);
	emulator->is_broken = true;
	event_timer_set(&emulator->failure, monotonic_ns(), 0);
	event_source_enable(&emulator->control, false);
	event_source_enable(&emulator->data, false);
}

static void send_request(struct tpm_emulator *emulator)
{
	const struct tpm_request *request = &emulator->requests[emulator->first];
	uint8_t bytes[4 + ARGUMENTS_MAX];

	put_be32(bytes, request->what);
	memcpy(bytes + 4, request->arguments, request->size);
	emulator->is_asked = true;
	emulator->reply_used = 0;
	/* A socket that takes not even that is not read from. */
	if (write(emulator->control.fd, bytes, 4 + request->size) != 4 + request->size)
		break_off(emulator, "it does not take requests");
}

static void send_command(struct tpm_emulator *emulator)
{
	emulator->is_wanted = false;
	emulator->is_sent = true;
	emulator->answer_used = 0;
	if (write(emulator->data.fd, emulator->command, emulator->command_size) !=
	    (ssize_t)emulator->command_size)
		break_off(emulator, "it does not take commands");
}

static void enqueue(struct tpm_emulator *emulator, enum tpm_control what, const void *arguments, unsigned size)
{
	struct tpm_request *request = &emulator->requests[(emulator->first + emulator->count) % REQUESTS_MAX];

	/* Resets, and no answers to them. */
	if (emulator->count == REQUESTS_MAX) {
		break_off(emulator, "it does not answer");
		return;
	}
	emulator->count++;
	request->what = what;
	request->size = size;
	if (size)
		memcpy(request->arguments, arguments, size);
}

/* Whatever can be sent next. */
static void go_on(struct tpm_emulator *emulator)
{
	if (emulator->is_broken)
		return;
	if (emulator->count && !emulator->is_asked)
		send_request(emulator);
	if (emulator->count || !emulator->is_wanted || emulator->is_sent)
		return;
	send_command(emulator);
	if (emulator->is_cancelled && !emulator->is_broken) {
		enqueue(emulator, CANCEL, NULL, 0);
		send_request(emulator);
	}
}

/* A whole reply to the first request. */
static void take_reply(struct tpm_emulator *emulator)
{
	enum tpm_control what = emulator->requests[emulator->first].what;

	emulator->first = (emulator->first + 1) % REQUESTS_MAX;
	emulator->count--;
	emulator->is_asked = false;
	if (get_be32(emulator->reply)) {
		log_warning("the TPM's process refuses request %u with %u", what, get_be32(emulator->reply));
		if (what == INIT)
			break_off(emulator, "it does not begin anew");
	} else if (what == GET_ESTABLISHED) {
		emulator->is_established = emulator->reply[4];
	}
	go_on(emulator);
}

/* What has come of `wanted` bytes. False: nothing more for now. */
static bool receive(struct tpm_emulator *emulator, int fd, uint8_t *bytes, size_t wanted, size_t *used)
{
	ssize_t part = read(fd, bytes + *used, wanted - *used);

	if (part > 0)
		*used += part;
	else if (part == 0 || (errno != EAGAIN && errno != EINTR))
		break_off(emulator, part ? strerror(errno) : "it has closed its socket");
	return *used == wanted;
}

/* --- the I/O thread --- */

/* Without the lock. */
static void tell(struct tpm_emulator *emulator, const uint8_t *answer, size_t size)
{
	emulator->user.answered(emulator->user.context, answer, size);
}

static void tell_failure(struct tpm_emulator *emulator)
{
	uint8_t failure[HEADER_BYTES] = {TAG_NO_SESSIONS >> 8, TAG_NO_SESSIONS & 0xff};

	put_be32(failure + HEADER_SIZE, sizeof(failure));
	put_be32(failure + 6, RC_FAILURE);
	tell(emulator, failure, sizeof(failure));
}

/* The timer: of what nobody will answer. */
static void fail_command(void *context)
{
	struct tpm_emulator *emulator = context;
	bool is_awaited;

	pthread_mutex_lock(&emulator->lock);
	is_awaited = emulator->is_wanted || (emulator->is_sent && !emulator->is_stale);
	emulator->is_wanted = emulator->is_sent = false;
	pthread_mutex_unlock(&emulator->lock);
	if (is_awaited)
		tell_failure(emulator);
}

/* The loop may tell of what tpm_emulator_settle has taken since. */
static bool has_input(int fd)
{
	struct pollfd now = {.fd = fd, .events = POLLIN};

	return poll(&now, 1, 0) > 0;
}

static void control_ready(void *context)
{
	struct tpm_emulator *emulator = context;
	size_t used;

	if (!has_input(emulator->control.fd))
		return;

	pthread_mutex_lock(&emulator->lock);
	if (!emulator->is_asked) {
		break_off(emulator, "it speaks without being asked, or has closed its socket");
	} else {
		used = emulator->reply_used;
		if (receive(emulator, emulator->control.fd, emulator->reply,
			    reply_bytes(emulator->requests[emulator->first].what), &used))
			take_reply(emulator);
		else
			emulator->reply_used = used;
	}
	pthread_mutex_unlock(&emulator->lock);
}

/* True: an answer is whole. */
static bool receive_answer(struct tpm_emulator *emulator)
{
	uint32_t size;

	if (!emulator->is_sent) {
		break_off(emulator, "it speaks without being asked, or has closed its socket");
		return false;
	}
	if (emulator->answer_used < HEADER_BYTES &&
	    !receive(emulator, emulator->data.fd, emulator->answer, HEADER_BYTES, &emulator->answer_used))
		return false;
	size = get_be32(emulator->answer + HEADER_SIZE);
	if (size < HEADER_BYTES || size > emulator->buffer_bytes) {
		break_off(emulator, "it answers with what is no answer");
		return false;
	}
	return size == HEADER_BYTES ||
	       receive(emulator, emulator->data.fd, emulator->answer, size, &emulator->answer_used);
}

static void data_ready(void *context)
{
	struct tpm_emulator *emulator = context;
	uint8_t answer[TPM_BUFFER_BYTES];
	size_t size = 0;

	if (!has_input(emulator->data.fd))
		return;
	pthread_mutex_lock(&emulator->lock);
	if (receive_answer(emulator)) {
		emulator->is_sent = false;
		if (!emulator->is_stale) {
			size = emulator->answer_used;
			memcpy(answer, emulator->answer, size);
		}
		emulator->is_stale = false;
		go_on(emulator);
	}
	pthread_mutex_unlock(&emulator->lock);
	if (size)
		tell(emulator, answer, size);
}

int tpm_emulator_attach(struct tpm_emulator *emulator, struct event_loop *loop, size_t buffer_bytes,
			const struct tpm_user *user)
{
	int result;

	/* read(2) and write(2) are what is left to a confined process, which ignores SIGPIPE. */
	if (fcntl(emulator->control.fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(emulator->data.fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	emulator->user = *user;
	emulator->buffer_bytes = buffer_bytes;
	emulator->control.ready = control_ready;
	emulator->data.ready = data_ready;
	emulator->control.context = emulator->data.context = emulator;
	result = event_timer_init(&emulator->failure, loop, fail_command, emulator);
	if (result < 0)
		return result;
	result = event_loop_add(loop, &emulator->control);
	if (result < 0)
		return result;
	result = event_loop_add(loop, &emulator->data);
	if (result < 0)
		event_loop_remove(&emulator->control);
	emulator->has_sources = result == 0;
	return result;
}

void tpm_emulator_reset(struct tpm_emulator *emulator)
{
	uint8_t size[4], flags[4];

	put_be32(size, emulator->buffer_bytes);
	put_be32(flags, INIT_ANEW);
	pthread_mutex_lock(&emulator->lock);
	emulator->is_wanted = false;
	if (emulator->is_sent) {
		emulator->is_stale = true;
		enqueue(emulator, CANCEL, NULL, 0);
	}
	/* The size is taken by one that stands still. */
	enqueue(emulator, STOP, NULL, 0);
	enqueue(emulator, SET_BUFFERSIZE, size, sizeof(size));
	enqueue(emulator, INIT, flags, sizeof(flags));
	enqueue(emulator, GET_ESTABLISHED, NULL, 0);
	emulator->knows_locality = false;
	go_on(emulator);
	pthread_mutex_unlock(&emulator->lock);
}

bool tpm_emulator_submit(struct tpm_emulator *emulator, uint8_t locality, const uint8_t *command, size_t size)
{
	const uint8_t argument[4] = {locality};
	bool is_free;

	pthread_mutex_lock(&emulator->lock);
	is_free = !emulator->is_wanted && (!emulator->is_sent || emulator->is_stale) &&
		  size <= sizeof(emulator->command);
	if (is_free) {
		if (!emulator->knows_locality || emulator->locality != locality)
			enqueue(emulator, SET_LOCALITY, argument, sizeof(argument));
		emulator->knows_locality = true;
		emulator->locality = locality;
		memcpy(emulator->command, command, size);
		emulator->command_size = size;
		emulator->is_wanted = true;
		emulator->is_cancelled = false;
		go_on(emulator);
		if (emulator->is_broken)
			event_timer_set(&emulator->failure, monotonic_ns(), 0);
	}
	pthread_mutex_unlock(&emulator->lock);
	return is_free;
}

void tpm_emulator_cancel(struct tpm_emulator *emulator)
{
	pthread_mutex_lock(&emulator->lock);
	/* Before it is sent there is nothing that could be cancelled, nor would anybody remember. */
	if (emulator->is_wanted) {
		emulator->is_cancelled = true;
	} else if (emulator->is_sent && !emulator->is_broken) {
		enqueue(emulator, CANCEL, NULL, 0);
		go_on(emulator);
	}
	pthread_mutex_unlock(&emulator->lock);
}

bool tpm_emulator_is_established(const struct tpm_emulator *emulator)
{
	return __atomic_load_n(&emulator->is_established, __ATOMIC_RELAXED);
}

void tpm_emulator_reset_established(struct tpm_emulator *emulator, uint8_t locality)
{
	const uint8_t argument[4] = {locality};

	pthread_mutex_lock(&emulator->lock);
	if (!emulator->is_broken) {
		enqueue(emulator, RESET_ESTABLISHED, argument, sizeof(argument));
		enqueue(emulator, GET_ESTABLISHED, NULL, 0);
		go_on(emulator);
	}
	pthread_mutex_unlock(&emulator->lock);
}

/* --- state --- */

static bool is_settled(struct tpm_emulator *emulator, bool *is_broken)
{
	bool is_free;

	pthread_mutex_lock(&emulator->lock);
	is_free = !emulator->count && !emulator->is_wanted && !emulator->is_sent;
	*is_broken = emulator->is_broken;
	pthread_mutex_unlock(&emulator->lock);
	return is_free;
}

bool tpm_emulator_settle(struct tpm_emulator *emulator, struct state_stream *state)
{
	uint64_t end = monotonic_ns() + PATIENCE_S * 1000000000ull;
	struct pollfd fds[2];
	bool is_broken;

	while (!is_settled(emulator, &is_broken) && !is_broken && monotonic_ns() < end) {
		fds[0] = (struct pollfd){.fd = emulator->control.fd, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = emulator->data.fd, .events = POLLIN};
		if (poll(fds, 2, 1000) <= 0)
			continue;
		if (fds[0].revents)
			control_ready(emulator);
		if (fds[1].revents)
			data_ready(emulator);
	}
	if (is_broken)
		state_fail(state, "the TPM has gone");
	else if (!is_settled(emulator, &is_broken))
		state_fail(state, "the TPM is busy");
	return !state->has_failed;
}

void tpm_emulator_save(struct tpm_emulator *emulator, struct state_stream *state)
{
	struct tpm_blob blobs[TPM_BLOBS] = {{0}};
	struct error error;

	if (!(emulator->capabilities & CAPABILITY_GET_STATE))
		state_fail(state, "the TPM's process does not tell what it keeps");
	else if (tpm_blobs_read(emulator->control.fd, blobs, &error) < 0)
		state_fail(state, "%s", error.message);
	else
		tpm_blobs_transfer(state, blobs);
	tpm_blobs_free(blobs);
}

int tpm_emulator_load(struct tpm_emulator *emulator, const struct tpm_blob *blobs, struct error *error)
{
	int result;

	if (!(emulator->capabilities & CAPABILITY_SET_STATE))
		return error_set(error, ENOTSUP, "the TPM's process takes no state");
	result = tpm_blobs_write(emulator->control.fd, blobs, emulator->buffer_bytes, error);
	pthread_mutex_lock(&emulator->lock);
	emulator->knows_locality = false;
	if (result < 0) {
		break_off(emulator, error->message);
	} else {
		enqueue(emulator, GET_ESTABLISHED, NULL, 0);
		go_on(emulator);
	}
	pthread_mutex_unlock(&emulator->lock);
	return result;
}
