/* The link of a card that nothing is connected to: nothing comes, and what is sent disturbs nobody. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/link.h"

#define QUIET_MS 50

static void takes_frames_and_has_none(void **unused)
{
	static const uint8_t frame[NET_FRAME_MAX] = {1, 2, 3, 4, 5, 6, 7, 8};
	static const size_t sizes[] = {1, 8, 60, 1514, NET_FRAME_MAX};
	uint8_t got[64];
	struct net_link link;
	struct error error;
	struct pollfd one;
	unsigned i;

	(void)unused;
	assert_int_equal(net_nowhere_open(&link, &error), 0);
	assert_false(link.has_header);
	assert_int_equal(link.helper, -1);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		/* Lost, and without a wait. */
		assert_int_equal(write(link.fd, frame, sizes[i]), -1);
		assert_int_not_equal(errno, EAGAIN);
		assert_int_equal(read(link.fd, got, sizeof(got)), -1);
		assert_int_equal(errno, EAGAIN);
	}
	one = (struct pollfd){link.fd, POLLIN, 0};
	assert_int_equal(poll(&one, 1, QUIET_MS), 0);
	net_link_close(&link);
	assert_int_equal(link.fd, -1);
}

/* Devices watch it, as any link: it never wakes them. */
static void is_watched_in_peace(void **unused)
{
	struct epoll_event event = {.events = EPOLLIN}, got;
	int loop = epoll_create1(EPOLL_CLOEXEC);
	struct net_link link;
	struct error error;

	(void)unused;
	assert_int_equal(net_nowhere_open(&link, &error), 0);
	assert_int_equal(epoll_ctl(loop, EPOLL_CTL_ADD, link.fd, &event), 0);
	assert_int_equal(epoll_wait(loop, &got, 1, QUIET_MS), 0);
	net_link_close(&link);
	close(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_frames_and_has_none),
		cmocka_unit_test(is_watched_in_peace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
