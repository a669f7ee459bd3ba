/* Networks that are sockets: frames both ways, what is no frame, who comes and goes. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/peer.h"
#include "net/stream_frames.h"
#include "util/socket.h"

#define WAIT_MS	 10000
#define QUIET_MS 100

static uint8_t sent[NET_FRAME_MAX], got[NET_FRAME_MAX + 16];

static void fill(uint8_t first, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		sent[i] = first + i * 3 + (i >> 9);
}

static bool is_ready(int fd, int wait_ms)
{
	struct pollfd one = {fd, POLLIN, 0};

	return poll(&one, 1, wait_ms) == 1;
}

/* A frame goes in at one link and comes out at the other. */
static void pass(const struct net_link *from, const struct net_link *to, uint8_t first, size_t size)
{
	fill(first, size);
	assert_int_equal(write(from->fd, sent, size), size);
	assert_true(is_ready(to->fd, WAIT_MS));
	assert_int_equal(read(to->fd, got, sizeof(got)), size);
	assert_memory_equal(got, sent, size);
}

static void pass_both(const struct net_link *first, const struct net_link *second)
{
	pass(first, second, 1, 60);
	pass(second, first, 2, 1514);
	pass(first, second, 3, NET_FRAME_MAX);
	pass(second, first, 4, NET_FRAME_MAX);
}

static void start(struct net_link *link, int fd)
{
	struct error error;

	assert_true(fd >= 0);
	assert_int_equal(net_peer_start(link, &(struct net_peer_config){.fd = fd}, &error), 0);
}

/* What was sent when nobody was there, and waited for its turn. */
static void drain(const struct net_link *link)
{
	while (is_ready(link->fd, QUIET_MS))
		assert_true(read(link->fd, got, sizeof(got)) > 0);
}

static void write_all(int fd, const uint8_t *bytes, size_t size)
{
	ssize_t done;

	for (; size; bytes += done, size -= done) {
		done = send(fd, bytes, size, MSG_NOSIGNAL);
		assert_true(done > 0);
	}
}

/* --- frames on a stream --- */

static void test_lengths(void **state)
{
	static struct stream_frames frames;
	static const uint8_t bytes[] = {0, 0, 0, 2, 7, 8, 0, 0, 0, 1, 9, 0, 1, 0, 0};
	const uint8_t *frame;
	unsigned i;
	size_t room;

	(void)state;
	/* Byte by byte: nothing before all of it is there. */
	for (i = 0; i < 6; i++) {
		assert_int_equal(stream_frames_next(&frames, &frame), 0);
		*stream_frames_room(&frames, &room) = bytes[i];
		assert_int_equal(room, STREAM_LENGTH_BYTES + NET_FRAME_MAX - i);
		frames.used++;
	}
	assert_int_equal(stream_frames_next(&frames, &frame), 2);
	assert_memory_equal(frame, bytes + 4, 2);
	/* Several at once, and the beginning of one. */
	memcpy(stream_frames_room(&frames, &room), bytes, sizeof(bytes));
	frames.used += sizeof(bytes);
	assert_int_equal(stream_frames_next(&frames, &frame), 2);
	assert_int_equal(stream_frames_next(&frames, &frame), 1);
	assert_int_equal(*frame, 9);
	assert_int_equal(stream_frames_next(&frames, &frame), 0);
	assert_int_equal(frames.used - frames.taken, 4);
	/* Lengths that no frame has: none, and the smallest that is too long. */
	static const uint32_t bad[] = {0, NET_FRAME_MAX + 1, UINT32_MAX, 0x80000000};

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		frames.used = frames.taken = 0;
		stream_frames_put_length(frames.bytes, bad[i]);
		frames.used = STREAM_LENGTH_BYTES;
		assert_int_equal(stream_frames_next(&frames, &frame), -EPROTO);
	}
}

static void test_streams(void **state)
{
	struct net_link first, second;
	struct error error;
	int ends[2], listener = socket_listen_tcp("127.0.0.1", "0", &error), i;
	struct sockaddr_in at;
	socklen_t size = sizeof(at);
	char port[8];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	start(&first, ends[0]);
	start(&second, ends[1]);
	pass_both(&first, &second);
	net_link_close(&first);
	/* Frames for nobody are lost, and nothing ends. */
	for (i = 0; i < 100; i++)
		assert_int_equal(write(second.fd, sent, 100), 100);
	net_link_close(&second);
	/* By TCP; and another when the first has gone. */
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
	snprintf(port, sizeof(port), "%u", ntohs(at.sin_port));
	start(&first, listener);
	for (i = 0; i < 2; i++) {
		start(&second, socket_connect_tcp("127.0.0.1", port, &error));
		/* Until it is accepted what goes the other way is lost. */
		pass(&second, &first, 9, 60);
		pass_both(&first, &second);
		net_link_close(&second);
	}
	net_link_close(&first);
}

/* Another side that is anything but a kvik. */
static void test_hostile_stream(void **state)
{
	static const uint8_t bad[][8] = {{0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0, 1, 0, 0x12}};
	static uint8_t bytes[4 + NET_FRAME_MAX];
	struct net_link link;
	struct error error;
	char path[] = "/tmp/kvik-peer-XXXXXX", name[64];
	unsigned i;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(path));
	snprintf(name, sizeof(name), "%s/socket", path);
	start(&link, socket_listen_unix(name, &error));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fd = socket_connect_unix(name, &error);
		assert_true(fd >= 0);
		/* A frame that is good comes through, and then the connection ends. */
		write_all(fd, (const uint8_t[]){0, 0, 0, 14, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}, 18);
		write_all(fd, bad[i], 4);
		assert_true(is_ready(link.fd, WAIT_MS));
		assert_int_equal(read(link.fd, got, sizeof(got)), 14);
		assert_true(is_ready(fd, WAIT_MS));
		assert_int_equal(read(fd, got, 1), 0);
		assert_false(is_ready(link.fd, 0));
		close(fd);
	}
	/* In pieces, and ended amidst one. */
	fd = socket_connect_unix(name, &error);
	fill(5, sizeof(sent));
	stream_frames_put_length(bytes, NET_FRAME_MAX);
	memcpy(bytes + 4, sent, NET_FRAME_MAX);
	for (i = 0; i < sizeof(bytes); i += 1000)
		write_all(fd, bytes + i, sizeof(bytes) - i < 1000 ? sizeof(bytes) - i : 1000);
	assert_true(is_ready(link.fd, WAIT_MS));
	assert_int_equal(read(link.fd, got, sizeof(got)), NET_FRAME_MAX);
	assert_memory_equal(got, sent, NET_FRAME_MAX);
	write_all(fd, bytes, 50000);
	close(fd);
	assert_false(is_ready(link.fd, QUIET_MS));
	/* One that does not read: the guest's frames wait, and then there is no room for more. */
	fd = socket_connect_unix(name, &error);
	write_all(fd, bytes, sizeof(bytes));
	assert_true(is_ready(link.fd, WAIT_MS));
	assert_int_equal(read(link.fd, got, sizeof(got)), NET_FRAME_MAX);
	for (i = 0; i < 100000 && write(link.fd, sent, NET_FRAME_MAX) == NET_FRAME_MAX; i++)
		usleep(100);
	assert_true(i < 100000);
	assert_int_equal(errno, EAGAIN);
	close(fd);
	/* A guest that does not read: the other side waits, and nothing is lost. */
	fd = socket_connect_unix(name, &error);
	stream_frames_put_length(bytes, 1000);
	for (i = 0; send(fd, bytes, 1004, MSG_DONTWAIT | MSG_NOSIGNAL) == 1004 || is_ready(link.fd, 0) == 0; i++)
		assert_true(i < 1000000);
	while (is_ready(link.fd, QUIET_MS))
		assert_int_equal(read(link.fd, got, sizeof(got)), 1000);
	close(fd);
	net_link_close(&link);
	unlink(name);
	rmdir(path);
}

/* --- datagrams --- */

static void test_unix_datagrams(void **state)
{
	struct net_peer_config config = {.fd = -1};
	char folder[] = "/tmp/kvik-peer-XXXXXX", here[64], there[64];
	struct net_link first, second;
	struct error error;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(here, sizeof(here), "%s/here", folder);
	snprintf(there, sizeof(there), "%s/there", folder);
	/* The other side is not there yet. */
	assert_true(net_peer_unix(&config, here, there, &error) >= 0);
	assert_int_equal(net_peer_start(&first, &config, &error), 0);
	assert_int_equal(write(first.fd, sent, 60), 60);
	config = (struct net_peer_config){.fd = -1};
	assert_true(net_peer_unix(&config, there, here, &error) >= 0);
	assert_int_equal(net_peer_start(&second, &config, &error), 0);
	drain(&second);
	pass(&second, &first, 1, 60);
	pass(&first, &second, 2, 60);
	pass(&second, &first, 3, 1514);
	net_link_close(&first);
	net_link_close(&second);
	unlink(here);
	unlink(there);
	rmdir(folder);
}

static int any_port(char text[8])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
	snprintf(text, 8, "%u", ntohs(at.sin_port));
	return fd;
}

static void test_udp(void **state)
{
	struct net_link first, second;
	char here[8], there[8];
	struct error error;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int a = any_port(here), b = any_port(there), stranger;

	(void)state;
	close(a);
	close(b);
	start(&first, net_peer_udp("127.0.0.1", here, "127.0.0.1", there, &error));
	/* Nobody is there: that is no error for the guest. */
	assert_int_equal(write(first.fd, sent, 60), 60);
	start(&second, net_peer_udp("127.0.0.1", there, "127.0.0.1", here, &error));
	drain(&second);
	pass(&second, &first, 1, 60);
	pass(&first, &second, 2, 1514);
	/* What others send is not for the guest, nor what is too short. */
	stranger = any_port(there);
	to.sin_port = htons(atoi(here));
	sendto(stranger, sent, 60, 0, (struct sockaddr *)&to, sizeof(to));
	assert_int_equal(write(second.fd, sent, 5), 5);
	assert_false(is_ready(first.fd, QUIET_MS));
	pass(&second, &first, 3, 60);
	close(stranger);
	net_link_close(&first);
	net_link_close(&second);
}

static void test_group(void **state)
{
	struct net_peer_config config = {.fd = -1};
	struct net_link members[3];
	struct error error;
	char port[8];
	unsigned i;

	(void)state;
	assert_true(net_peer_group(&config, "10.0.0.1", "1234", NULL, &error) < 0);
	assert_true(net_peer_group(&config, "230.0.0.1", "1234", "nowhere", &error) < 0);
	close(any_port(port));
	for (i = 0; i < 3; i++) {
		config = (struct net_peer_config){.fd = -1};
		if (net_peer_group(&config, "239.255.7.7", port, "127.0.0.1", &error) < 0)
			skip();
		assert_int_equal(net_peer_start(&members[i], &config, &error), 0);
	}
	/* All others get it, and nobody what he has sent. */
	pass(&members[0], &members[1], 1, 60);
	assert_true(is_ready(members[2].fd, WAIT_MS));
	assert_int_equal(read(members[2].fd, got, sizeof(got)), 60);
	assert_false(is_ready(members[0].fd, QUIET_MS));
	pass(&members[2], &members[0], 2, 60);
	for (i = 0; i < 3; i++)
		net_link_close(&members[i]);
}

static void test_no_sockets(void **state)
{
	struct net_link link;
	struct error error;
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_true(net_peer_start(&link, &(struct net_peer_config){.fd = ends[0]}, &error) < 0);
	close(ends[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	assert_true(net_peer_start(&link, &(struct net_peer_config){.fd = ends[0]}, &error) < 0);
	close(ends[1]);
	assert_int_equal(link.fd, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),	       cmocka_unit_test(test_streams),
		cmocka_unit_test(test_hostile_stream), cmocka_unit_test(test_unix_datagrams),
		cmocka_unit_test(test_udp),	       cmocka_unit_test(test_group),
		cmocka_unit_test(test_no_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
