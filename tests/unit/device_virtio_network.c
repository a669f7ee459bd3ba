/* virtio-net on a pair of sockets: frames both ways, open checksums, merged buffers, a driver that is slow or
 * gone, commands. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "device/virtio/network.h"
#include "virtio_driver.h"

#define HEADER	 12
#define BUFFERS	 DRIVER_DATA
#define FEATURES (1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM | \
		  1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_CTRL_RX |                       \
		  1ull << VIRTIO_NET_F_CTRL_MAC_ADDR)
#define MERGED	 (1ull << VIRTIO_NET_F_MRG_RXBUF)

enum { RECEIVE, TRANSMIT, CONTROL };

static struct driver driver;
static struct event_loop *loop;
static int peer, other_peer;

static uint64_t without; /* of what is offered */
static uint16_t mtu;

static void open_network_of(unsigned pairs, bool has_mq, uint64_t features, bool has_loop)
{
	const struct virtio_network_config config = {
		.mac = {0x52, 0x54, 0, 1, 2, 3}, .has_mq = has_mq, .without = without, .mtu = mtu};
	struct net_link link = {.helper = -1};
	struct error error;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
	link.fd = ends[0];
	peer = ends[1];
	if (pairs > 1) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
		link.more_fds[link.more_count++] = ends[0];
		other_peer = ends[1];
	}
	driver_init(&driver);
	loop = has_loop ? event_loop_create(&error) : NULL;
	driver.host.loop = loop;
	driver_start(&driver, virtio_network_create(&driver.host, &link, &config, &error), features);
}

static void open_network(uint64_t features, bool has_loop)
{
	open_network_of(1, false, features, has_loop);
}

static void close_network(void)
{
	driver.virtio->kind->destroy(driver.virtio);
	event_loop_destroy(loop);
	close(peer);
	if (other_peer)
		close(other_peer);
	other_peer = 0;
}

static void stop(void *context)
{
	event_loop_stop(context);
}

/* Have the loop do what there is to do. */
static void run_loop(void)
{
	struct event_timer timer = {.expired = NULL};

	assert_int_equal(event_timer_init(&timer, loop, stop, loop), 0);
	event_timer_set(&timer, monotonic_ns() + 20000000, 0);
	assert_int_equal(event_loop_run(loop), 0);
	event_timer_destroy(&timer);
}

static void test_transmit(void **state)
{
	const struct driver_buffer buffers[] = {{BUFFERS, HEADER, false}, {BUFFERS + 0x100, 60, false}};
	const struct driver_buffer empty[] = {{BUFFERS, HEADER, false}};
	struct virtio_net_hdr_v1 *header = driver_at(&driver, BUFFERS);
	uint8_t frame[100], *sent = driver_at(&driver, BUFFERS + 0x100);

	(void)state;
	open_network(FEATURES, false);
	memset(sent, 7, 60);
	assert_int_equal(driver_do(&driver, TRANSMIT, buffers, 2), 0);
	assert_int_equal(recv(peer, frame, sizeof(frame), 0), 60);
	assert_memory_equal(frame, sent, 60);
	/* The checksum of 40 bytes of 07 but for the field itself, which holds 0x1234. */
	*header = (struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 20,
					     .csum_offset = 6};
	sent[26] = 0x12;
	sent[27] = 0x34;
	driver_do(&driver, TRANSMIT, buffers, 2);
	assert_int_equal(recv(peer, frame, sizeof(frame), 0), 60);
	/* 19 words of 0707 and 1234, folded: 0x97b9; its complement. */
	assert_int_equal(frame[26] << 8 | frame[27], 0xffff & ~(19 * 0x0707 + 0x1234));
	/* One that points outside changes nothing. */
	header->csum_start = 59;
	driver_do(&driver, TRANSMIT, buffers, 2);
	assert_int_equal(recv(peer, frame, sizeof(frame), 0), 60);
	assert_memory_equal(frame, sent, 60);
	header->csum_start = header->csum_offset = 0xffff;
	driver_do(&driver, TRANSMIT, buffers, 2);
	assert_int_equal(recv(peer, frame, sizeof(frame), 0), 60);
	/* A header alone is no frame. */
	driver_do(&driver, TRANSMIT, empty, 1);
	assert_int_equal(recv(peer, frame, sizeof(frame), 0), -1);
	close_network();
}

static void test_receive(void **state)
{
	const struct driver_buffer large = {BUFFERS, 2000, true}, small = {BUFFERS, 50, true};
	struct virtio_net_hdr_v1 *header = driver_at(&driver, BUFFERS);
	uint8_t frame[100];
	uint32_t written;

	(void)state;
	open_network(FEATURES, true);
	memset(frame, 9, sizeof(frame));
	/* It comes before there is a buffer, and waits. */
	assert_int_equal(send(peer, frame, 100, 0), 100);
	run_loop();
	assert_int_equal(driver.interrupts, 0);
	driver_offer(&driver, RECEIVE, &large, 1);
	virtio_notify(driver.virtio, RECEIVE);
	run_loop();
	assert_int_equal(driver.interrupts, 1);
	assert_true(driver_take(&driver, RECEIVE, &written));
	assert_int_equal(written, HEADER + 100);
	assert_int_equal(header->num_buffers, 1);
	assert_int_equal(header->flags, VIRTIO_NET_HDR_F_DATA_VALID);
	assert_memory_equal(driver_at(&driver, BUFFERS + HEADER), frame, 100);
	/* One that its only chain cannot hold is dropped, and the chain is there for the next. */
	driver_offer(&driver, RECEIVE, &small, 1);
	virtio_notify(driver.virtio, RECEIVE);
	assert_int_equal(send(peer, frame, 100, 0), 100);
	assert_int_equal(send(peer, frame, 20, 0), 20);
	run_loop();
	assert_true(driver_take(&driver, RECEIVE, &written));
	assert_int_equal(written, HEADER + 20);
	assert_false(driver_take(&driver, RECEIVE, &written));
	/* Without a driver frames go nowhere, and without its other end nothing spins. */
	virtio_set_status(driver.virtio, 0);
	assert_int_equal(send(peer, frame, 100, 0), 100);
	run_loop();
	shutdown(peer, SHUT_RDWR);
	run_loop();
	close_network();
}

static void test_merged(void **state)
{
	const struct driver_buffer parts[] = {{BUFFERS, 40, true}, {BUFFERS + 40, 40, true},
					      {BUFFERS + 80, 40, true}};
	struct virtio_net_hdr_v1 *header = driver_at(&driver, BUFFERS);
	uint8_t frame[100];
	uint32_t written;
	unsigned i;

	(void)state;
	open_network(FEATURES | MERGED, true);
	for (i = 0; i < sizeof(frame); i++)
		frame[i] = i;
	/* Two of three: the driver sees none of them used. */
	driver_offer(&driver, RECEIVE, &parts[0], 1);
	driver_offer(&driver, RECEIVE, &parts[1], 1);
	virtio_notify(driver.virtio, RECEIVE);
	assert_int_equal(send(peer, frame, 100, 0), 100);
	run_loop();
	assert_false(driver_take(&driver, RECEIVE, &written));
	driver_offer(&driver, RECEIVE, &parts[2], 1);
	virtio_notify(driver.virtio, RECEIVE);
	run_loop();
	for (i = 0; i < 3; i++) {
		assert_true(driver_take(&driver, RECEIVE, &written));
		assert_int_equal(written, i < 2 ? 40 : HEADER + 100 - 80);
	}
	assert_int_equal(header->num_buffers, 3);
	assert_memory_equal(driver_at(&driver, BUFFERS + HEADER), frame, 100);
	close_network();
}

static uint8_t command(uint8_t class, uint8_t cmd, const void *data, uint32_t size)
{
	const struct driver_buffer buffers[] = {{BUFFERS, 2, false}, {BUFFERS + 16, size, false},
						{BUFFERS + 0x100, 1, true}};
	uint8_t *header = driver_at(&driver, BUFFERS), *answer = driver_at(&driver, BUFFERS + 0x100);

	header[0] = class;
	header[1] = cmd;
	memcpy(header + 16, data, size);
	*answer = 0x55;
	assert_int_equal(driver_do(&driver, CONTROL, buffers, 3), 1);
	return *answer;
}

static void test_control(void **state)
{
	static const uint8_t mac[] = {2, 3, 4, 5, 6, 7}, on = 1;
	static const uint32_t tables[] = {0, 0}, lie[] = {0, 0x30000000};
	uint8_t seen[MAC_BYTES];
	const struct driver_buffer bare = {BUFFERS, 1, false};

	(void)state;
	open_network(FEATURES, false);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6),
			 VIRTIO_NET_OK);
	virtio_read_config(driver.virtio, 0, MAC_BYTES, seen);
	assert_memory_equal(seen, mac, MAC_BYTES);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 5),
			 VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, 8),
			 VIRTIO_NET_OK);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, lie, 8),
			 VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1),
			 VIRTIO_NET_OK);
	assert_int_equal(command(77, 0, &on, 1), VIRTIO_NET_ERR);
	driver_offer(&driver, CONTROL, &bare, 1);
	virtio_notify(driver.virtio, CONTROL);
	assert_true(virtio_status(driver.virtio) & VIRTIO_CONFIG_S_NEEDS_RESET);
	virtio_set_status(driver.virtio, 0);
	virtio_read_config(driver.virtio, 0, 3, seen);
	assert_int_equal(seen[0], 0x52);
	close_network();
}

/* The command, of a driver that has a loop. */
static uint8_t command_by_loop(uint8_t class, uint8_t cmd, const void *data, uint32_t size)
{
	const struct driver_buffer buffers[] = {{BUFFERS + 0x4000, 2 + size, false}, {BUFFERS + 0x6000, 1, true}};
	uint8_t *bytes = driver_at(&driver, BUFFERS + 0x4000);
	uint32_t written;

	bytes[0] = class;
	bytes[1] = cmd;
	memcpy(bytes + 2, data, size);
	driver_offer(&driver, CONTROL, buffers, 2);
	virtio_notify(driver.virtio, CONTROL);
	run_loop();
	assert_true(driver_take(&driver, CONTROL, &written));
	return *(uint8_t *)driver_at(&driver, BUFFERS + 0x6000);
}

static void set_mode(uint8_t mode, uint8_t is_on)
{
	assert_int_equal(command_by_loop(VIRTIO_NET_CTRL_RX, mode, &is_on, 1), VIRTIO_NET_OK);
}

/* Whether a frame arrives that goes there; with a tag of a VLAN if that is not 0. */
static bool arrives(const char *to, uint16_t vlan)
{
	uint8_t frame[64] = {0};
	uint32_t written;

	memcpy(frame, to, MAC_BYTES);
	if (vlan) {
		memcpy(frame + 12, (const uint8_t[]){0x81, 0x00, 0x20 | vlan >> 8, vlan}, 4);
	}
	assert_int_equal(send(peer, frame, sizeof(frame), 0), sizeof(frame));
	run_loop();
	if (!driver_take(&driver, RECEIVE, &written))
		return false;
	driver_offer(&driver, RECEIVE, &(struct driver_buffer){BUFFERS, 2000, true}, 1);
	virtio_notify(driver.virtio, RECEIVE);
	return true;
}

#define OWN	  "\x52\x54\x00\x01\x02\x03"
#define OTHER	  "\x02\x00\x00\x00\x00\x01"
#define GROUP	  "\x01\x00\x5e\x00\x00\x01"
#define BROADCAST "\xff\xff\xff\xff\xff\xff"

static void put_list(uint8_t **at, uint32_t count, const char *mac)
{
	memcpy(*at, &count, sizeof(count));
	for (*at += sizeof(count); count--; *at += MAC_BYTES)
		memcpy(*at, mac, MAC_BYTES);
}

static uint8_t set_lists(uint32_t unicast, uint32_t multicast)
{
	uint8_t lists[2 * (4 + 70 * MAC_BYTES)], *end = lists;

	put_list(&end, unicast, OTHER);
	put_list(&end, multicast, GROUP);
	return command_by_loop(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, lists, end - lists);
}

static void test_filter(void **state)
{
	const uint16_t vlans[] = {7, 4095, 4096};
	struct network_filter filter;
	uint8_t mac[MAC_BYTES];

	(void)state;
	open_network(FEATURES | 1ull << VIRTIO_NET_F_CTRL_VLAN | 1ull << VIRTIO_NET_F_CTRL_RX_EXTRA, true);
	driver_offer(&driver, RECEIVE, &(struct driver_buffer){BUFFERS, 2000, true}, 1);
	virtio_notify(driver.virtio, RECEIVE);
	/* All, until the driver says what. */
	assert_true(arrives(OTHER, 0) && arrives(GROUP, 0) && arrives(OTHER, 7));
	set_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	assert_true(arrives(OWN, 0) && arrives(BROADCAST, 0));
	assert_false(arrives(OTHER, 0) || arrives(GROUP, 0) || arrives(OWN, 7));
	assert_int_equal(set_lists(2, 1), VIRTIO_NET_OK);
	assert_true(arrives(OTHER, 0) && arrives(GROUP, 0));
	assert_false(arrives("\x02\x00\x00\x00\x00\x02", 0));
	assert_int_equal(set_lists(0, 0), VIRTIO_NET_OK);
	assert_false(arrives(OTHER, 0) || arrives(GROUP, 0));
	/* More than the list has room for: all of them. */
	assert_int_equal(set_lists(64, 65), VIRTIO_NET_OK);
	assert_true(arrives("\x01\x00\x5e\x00\x00\x02", 0));
	assert_false(arrives("\x02\x00\x00\x00\x00\x02", 0));
	virtio_network_read_filter(driver.virtio, &filter, mac);
	assert_true(filter.multicast.overflows && !filter.multicast.count && filter.unicast.count == 64);
	assert_memory_equal(mac, OWN, MAC_BYTES);
	/* Modes. */
	assert_int_equal(set_lists(0, 0), VIRTIO_NET_OK);
	set_mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 1);
	assert_true(arrives(GROUP, 0) && !arrives(OTHER, 0));
	set_mode(VIRTIO_NET_CTRL_RX_NOMULTI, 1);
	assert_true(!arrives(GROUP, 0) && arrives(BROADCAST, 0));
	set_mode(VIRTIO_NET_CTRL_RX_NOBCAST, 1);
	set_mode(VIRTIO_NET_CTRL_RX_ALLUNI, 1);
	assert_true(!arrives(BROADCAST, 0) && arrives(OTHER, 0));
	set_mode(VIRTIO_NET_CTRL_RX_NOUNI, 1);
	assert_false(arrives(OTHER, 0) || arrives(OWN, 0));
	set_mode(VIRTIO_NET_CTRL_RX_NOUNI, 0);
	assert_int_equal(command_by_loop(VIRTIO_NET_CTRL_RX, 6, "", 1), VIRTIO_NET_ERR);
	/* VLANs. */
	assert_int_equal(command_by_loop(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlans[0], 2), VIRTIO_NET_OK);
	assert_int_equal(command_by_loop(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlans[1], 2), VIRTIO_NET_OK);
	assert_int_equal(command_by_loop(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlans[2], 2), VIRTIO_NET_ERR);
	assert_true(arrives(OWN, 7) && arrives(OWN, 4095) && !arrives(OWN, 8) && arrives(OWN, 0));
	assert_int_equal(command_by_loop(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, &vlans[0], 2), VIRTIO_NET_OK);
	assert_false(arrives(OWN, 7));
	close_network();
	/* A driver that does not know of VLANs has all of them. */
	open_network(FEATURES, true);
	driver_offer(&driver, RECEIVE, &(struct driver_buffer){BUFFERS, 2000, true}, 1);
	virtio_notify(driver.virtio, RECEIVE);
	set_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	assert_true(arrives(OWN, 7));
	close_network();
}

static void transmit_by_loop(const struct driver_buffer buffers[2])
{
	uint32_t written;

	driver_offer(&driver, TRANSMIT, buffers, 2);
	virtio_notify(driver.virtio, TRANSMIT);
	run_loop();
	assert_true(driver_take(&driver, TRANSMIT, &written));
}

static int set_pairs_at(unsigned queue, uint16_t pairs, uint32_t size)
{
	const struct driver_buffer buffers[] = {{BUFFERS + 0x4000, 2 + size, false}, {BUFFERS + 0x4100, 1, true}};
	uint8_t *bytes = driver_at(&driver, BUFFERS + 0x4000);
	uint32_t written;

	bytes[0] = VIRTIO_NET_CTRL_MQ;
	bytes[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
	memcpy(bytes + 2, &pairs, sizeof(pairs));
	driver_offer(&driver, queue, buffers, 2);
	virtio_notify(driver.virtio, queue);
	run_loop();
	assert_true(driver_take(&driver, queue, &written));
	return *(uint8_t *)driver_at(&driver, BUFFERS + 0x4100);
}

/* A frame of `size` bytes comes in a queue that has a buffer now. */
static void expect_frame(unsigned queue, uint32_t size)
{
	const struct driver_buffer buffer = {BUFFERS, 2000, true};
	uint32_t written;

	driver_offer(&driver, queue, &buffer, 1);
	virtio_notify(driver.virtio, queue);
	run_loop();
	assert_true(driver_take(&driver, queue, &written));
	assert_int_equal(written, HEADER + size);
}

/* Two pairs of queues, which the driver uses both, or only the first: then the link's other queue is that one's, too. */
static void test_pairs(void **state)
{
	const struct driver_buffer sent[] = {{BUFFERS, HEADER, false}, {BUFFERS + 0x100, 60, false}};
	uint8_t frame[100] = {0};
	uint16_t most;
	uint32_t written;
	unsigned i;

	(void)state;
	open_network_of(2, true, FEATURES | 1ull << VIRTIO_NET_F_MQ, true);
	virtio_read_config(driver.virtio, offsetof(struct virtio_net_config, max_virtqueue_pairs), 2, (uint8_t *)&most);
	assert_int_equal(most, 2);
	assert_int_equal(send(other_peer, frame, 70, 0), 70);
	run_loop();
	expect_frame(0, 70);
	assert_int_equal(set_pairs_at(4, 0, 2), VIRTIO_NET_ERR);
	assert_int_equal(set_pairs_at(4, 3, 2), VIRTIO_NET_ERR);
	assert_int_equal(set_pairs_at(4, 2, 1), VIRTIO_NET_ERR);
	assert_int_equal(set_pairs_at(4, 2, 2), VIRTIO_NET_OK);
	assert_int_equal(send(other_peer, frame, 80, 0), 80);
	assert_int_equal(send(peer, frame, 90, 0), 90);
	expect_frame(2, 80);
	expect_frame(0, 90);
	memset(driver_at(&driver, BUFFERS), 0, 0x200);
	for (i = 0; i < 2; i++) {
		driver_offer(&driver, 2 * i + 1, sent, 2);
		virtio_notify(driver.virtio, 2 * i + 1);
		run_loop();
		assert_true(driver_take(&driver, 2 * i + 1, &written));
		assert_int_equal(recv(i ? other_peer : peer, frame, sizeof(frame), 0), 60);
		assert_int_equal(recv(i ? peer : other_peer, frame, sizeof(frame), 0), -1);
	}
	/* One waits for a buffer of a queue that is not used any more. */
	assert_int_equal(send(other_peer, frame, 65, 0), 65);
	run_loop();
	assert_int_equal(set_pairs_at(4, 1, 2), VIRTIO_NET_OK);
	expect_frame(0, 65);
	/* A driver that does not know: the third queue is the one that controls, and those behind it are nothing. */
	close_network();
	open_network_of(2, true, FEATURES, true);
	assert_int_equal(set_pairs_at(2, 2, 2), VIRTIO_NET_ERR);
	assert_int_equal(send(other_peer, frame, 70, 0), 70);
	expect_frame(0, 70);
	for (i = 3; i < 5; i++) {
		driver_offer(&driver, i, sent, 2);
		virtio_notify(driver.virtio, i);
		run_loop();
		assert_false(driver_take(&driver, i, &written));
	}
	close_network();
}

/* Without a cable: what configuration says, and frames that are lost either way. */
static void test_cable(void **state)
{
	const struct driver_buffer sent[] = {{BUFFERS, HEADER, false}, {BUFFERS + 0x100, 60, false}};
	const struct driver_buffer large = {BUFFERS + 0x800, 2000, true};
	uint8_t frame[100], status[2];
	uint32_t written;

	(void)state;
	open_network(FEATURES | 1ull << VIRTIO_NET_F_STATUS, true);
	virtio_read_config(driver.virtio, 6, 2, status);
	assert_int_equal(status[0], VIRTIO_NET_S_LINK_UP);
	driver_offer(&driver, RECEIVE, &large, 1);
	virtio_notify(driver.virtio, RECEIVE);
	virtio_network_set_link(driver.virtio, false);
	virtio_read_config(driver.virtio, 6, 2, status);
	assert_int_equal(status[0], 0);
	memset(frame, 9, sizeof(frame));
	assert_int_equal(send(peer, frame, 100, 0), 100);
	run_loop();
	assert_false(driver_take(&driver, RECEIVE, &written));
	transmit_by_loop(sent);
	assert_int_equal(recv(peer, frame, sizeof(frame), 0), -1);
	virtio_network_set_link(driver.virtio, true);
	virtio_read_config(driver.virtio, 6, 2, status);
	assert_int_equal(status[0], VIRTIO_NET_S_LINK_UP);
	assert_int_equal(send(peer, frame, 90, 0), 90);
	run_loop();
	assert_true(driver_take(&driver, RECEIVE, &written));
	assert_int_equal(written, HEADER + 90);
	transmit_by_loop(sent);
	assert_int_equal(recv(peer, frame, sizeof(frame), 0), 60);
	close_network();
}

/* What is switched off takes along what needs it; an MTU is there if one is said. */
static void test_features(void **state)
{
	const uint64_t control = 1ull << VIRTIO_NET_F_CTRL_RX | 1ull << VIRTIO_NET_F_CTRL_RX_EXTRA |
				 1ull << VIRTIO_NET_F_CTRL_VLAN | 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR;
	const uint64_t few = 1ull << VIRTIO_NET_F_MAC;
	uint16_t seen;

	(void)state;
	open_network(few, false);
	assert_int_equal(driver.virtio->features & control, control);
	assert_false(driver.virtio->features >> VIRTIO_NET_F_MTU & 1);
	close_network();
	without = 1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_MRG_RXBUF;
	mtu = 9000;
	open_network_of(1, true, few, false);
	assert_int_equal(driver.virtio->features & (control | without | 1ull << VIRTIO_NET_F_MQ), 0);
	assert_true(driver.virtio->features >> VIRTIO_NET_F_MTU & 1);
	virtio_read_config(driver.virtio, offsetof(struct virtio_net_config, mtu), 2, (uint8_t *)&seen);
	assert_int_equal(seen, 9000);
	close_network();
	without = 1ull << VIRTIO_NET_F_CTRL_RX;
	mtu = 0;
	open_network(few, false);
	assert_int_equal(driver.virtio->features & control, control & ~(without | 1ull << VIRTIO_NET_F_CTRL_RX_EXTRA));
	close_network();
	without = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transmit),
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_merged),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_cable),
		cmocka_unit_test(test_pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
