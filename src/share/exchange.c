#include "share/exchange.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#define LINE_BYTES 64
#define LOOKS	   60 /* of some fifty nanoseconds */

struct exchange_ring {
	/* Of the writer: */
	_Atomic uint32_t written;
	uint8_t apart[LINE_BYTES - sizeof(uint32_t)];
	/* Of the reader, and cleared by whoever wakes it: */
	_Atomic uint32_t is_asleep;
	uint8_t apart_too[LINE_BYTES - sizeof(uint32_t)];
	struct exchange_message messages[EXCHANGE_MESSAGES];
};

_Static_assert(2 * sizeof(struct exchange_ring) <= EXCHANGE_BYTES, "both are in it");

void exchange_open(struct exchange_end *end, void *memory, bool is_server, int socket)
{
	struct exchange_ring *rings = memory;

	*end = (struct exchange_end){
		.in = &rings[is_server ? 0 : 1],
		.out = &rings[is_server ? 1 : 0],
		.socket = socket,
	};
}

int exchange_put(struct exchange_end *end, const struct exchange_message *message)
{
	struct exchange_ring *ring = end->out;
	uint8_t wake = 1;
	struct iovec vector = {&wake, sizeof(wake)};
	const struct msghdr packet = {.msg_iov = &vector, .msg_iovlen = 1};

	ring->messages[end->put % EXCHANGE_MESSAGES] = *message;
	end->put++;
	/* Either this sees that the reader sleeps, or the reader, which says so and looks then, sees the message. */
	atomic_store_explicit(&ring->written, end->put, memory_order_seq_cst);
	if (!atomic_load_explicit(&ring->is_asleep, memory_order_seq_cst) ||
	    !atomic_exchange_explicit(&ring->is_asleep, 0, memory_order_seq_cst))
		return 0;
	/* There is room: a reader that has not read the last one hardly sleeps. */
	return sendmsg(end->socket, &packet, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN ? -EPIPE : 0;
}

bool exchange_has_message(const struct exchange_end *end)
{
	return atomic_load_explicit(&end->in->written, memory_order_acquire) != end->taken;
}

int exchange_take(struct exchange_end *end, struct exchange_message *message)
{
	struct exchange_ring *ring = end->in;
	uint32_t written = atomic_load_explicit(&ring->written, memory_order_acquire);

	if (written == end->taken)
		return 0;
	if (written - end->taken > EXCHANGE_MESSAGES)
		return -EPROTO;
	/* volatile: once, whatever the other side does meanwhile. */
	*message = *(const volatile struct exchange_message *)&ring->messages[end->taken % EXCHANGE_MESSAGES];
	end->taken++;
	return 1;
}

bool exchange_look(const struct exchange_end *end)
{
	unsigned i;

	for (i = 0; i < LOOKS; i++) {
		if (exchange_has_message(end))
			return true;
		__builtin_ia32_pause();
	}
	sched_yield();
	return exchange_has_message(end);
}

bool exchange_sleep(struct exchange_end *end)
{
	atomic_store_explicit(&end->in->is_asleep, 1, memory_order_seq_cst);
	if (atomic_load_explicit(&end->in->written, memory_order_seq_cst) == end->taken)
		return true;
	exchange_wake(end);
	return false;
}

void exchange_wake(struct exchange_end *end)
{
	if (atomic_load_explicit(&end->in->is_asleep, memory_order_relaxed))
		atomic_store_explicit(&end->in->is_asleep, 0, memory_order_relaxed);
}

int exchange_hear(struct exchange_end *end)
{
	uint8_t wake;
	struct iovec vector = {&wake, sizeof(wake)};
	struct msghdr packet = {.msg_iov = &vector, .msg_iovlen = 1};
	ssize_t length = recvmsg(end->socket, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	return length > 0 || (length < 0 && (errno == EAGAIN || errno == EINTR)) ? 0 : -EPIPE;
}
