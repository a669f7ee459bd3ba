/*
 * virtio-vsock without a loop: what the guest's packets do to a socket of the test's, what comes back,
 * and what a lying guest gets. The helper that connects is played by the test.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <signal.h>
#include <sys/socket.h>

#include "device/virtio/vsock.h"
#include "device/virtio/vsock_connection.h"
#include "sandbox/helper.h"
#include "virtio_driver.h"

#define CID	   77
#define HOST	   2
#define GUEST_PORT 5000
#define HOST_PORT  2000
#define ROOM	   0x8000 /* what the guest says it has */
#define SENT	   DRIVER_DATA /* packets of the guest's */
#define CAME	   (DRIVER_DATA + 0x14000)
#define CAME_BYTES 0x1000

enum { TO_GUEST, FROM_GUEST, EVENTS };

static struct driver driver;
static int requests; /* where the device asks for connections */

static struct virtio_vsock_hdr header_of(uint16_t operation, uint32_t size)
{
	return (struct virtio_vsock_hdr){.src_cid = CID, .dst_cid = HOST, .src_port = GUEST_PORT,
					 .dst_port = HOST_PORT, .len = size,
					 .type = VIRTIO_VSOCK_TYPE_STREAM, .op = operation,
					 .buf_alloc = ROOM};
}

/* The driver sends a header, and `size` bytes of what is behind it in its memory. */
static void send_packet(const struct virtio_vsock_hdr *header, uint32_t size)
{
	const struct driver_buffer buffers[] = {{SENT, sizeof(*header), false},
						{SENT + sizeof(*header), size, false}};

	memcpy(driver_at(&driver, SENT), header, sizeof(*header));
	driver_do(&driver, FROM_GUEST, buffers, size ? 2 : 1);
}

static void send_operation(uint16_t operation, uint32_t flags)
{
	struct virtio_vsock_hdr header = header_of(operation, 0);

	header.flags = flags;
	send_packet(&header, 0);
}

static void give_room(void)
{
	const struct driver_buffer buffer = {CAME, CAME_BYTES, true};

	driver_offer(&driver, TO_GUEST, &buffer, 1);
	virtio_notify(driver.virtio, TO_GUEST);
}

/* Give a buffer: a packet of this kind comes in it. */
static const struct virtio_vsock_hdr *expect(uint16_t operation, uint32_t size)
{
	const struct virtio_vsock_hdr *header = driver_at(&driver, CAME);
	uint32_t written = 0;

	give_room();
	assert_true(driver_take(&driver, TO_GUEST, &written));
	assert_int_equal(header->op, operation);
	assert_int_equal(header->len, size);
	assert_int_equal(written, sizeof(*header) + size);
	assert_int_equal(header->src_cid, HOST);
	assert_int_equal(header->dst_cid, CID);
	assert_int_equal(header->src_port, HOST_PORT);
	assert_int_equal(header->dst_port, GUEST_PORT);
	return header;
}

static void open_vsock(void)
{
	struct vsock_host host = {.listener = -1};
	struct error error;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	host.connector = ends[0];
	requests = ends[1];
	driver_init(&driver);
	driver_start(&driver, virtio_vsock_create(&driver.host, &host, CID, &error), 0);
}

static void close_vsock(void)
{
	driver.virtio->kind->destroy(driver.virtio);
	close(requests);
}

/* The guest connects; the host's side of that. */
static int connect_guest(void)
{
	unsigned none = 0;
	uint32_t port = 0;
	int ends[2], result = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(helper_send(requests, &result, sizeof(result), &ends[0], 1), 0);
	close(ends[0]);
	send_operation(VIRTIO_VSOCK_OP_REQUEST, 0);
	assert_int_equal(helper_receive(requests, &port, sizeof(port), NULL, &none), 0);
	assert_int_equal(port, HOST_PORT);
	assert_int_equal(expect(VIRTIO_VSOCK_OP_RESPONSE, 0)->buf_alloc, VSOCK_BUFFER_BYTES);
	return ends[1];
}

static void test_data(void **state)
{
	char bytes[8192];
	struct virtio_vsock_hdr header = header_of(VIRTIO_VSOCK_OP_RW, 5);
	int host;

	(void)state;
	open_vsock();
	host = connect_guest();
	memcpy(driver_at(&driver, SENT + sizeof(header)), "hello", 5);
	send_packet(&header, 5);
	assert_int_equal(read(host, bytes, sizeof(bytes)), 5);
	assert_memory_equal(bytes, "hello", 5);
	/* Its data is told as taken with the next packet. Half of the data fits a buffer. */
	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(write(host, bytes, 5000), 5000);
	send_operation(VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	assert_int_equal(expect(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0)->fwd_cnt, 5);
	close(host);
	close_vsock();
}

/* Nobody listens, another guest's name, another type, data without a connection. */
static void test_refusals(void **state)
{
	struct virtio_vsock_hdr header = header_of(VIRTIO_VSOCK_OP_REQUEST, 0);
	uint32_t written;
	int result = -ECONNREFUSED;

	(void)state;
	open_vsock();
	assert_int_equal(helper_send(requests, &result, sizeof(result), NULL, 0), 0);
	send_packet(&header, 0);
	expect(VIRTIO_VSOCK_OP_RST, 0);
	header.type = 2;
	send_packet(&header, 0);
	expect(VIRTIO_VSOCK_OP_RST, 0);
	header = header_of(VIRTIO_VSOCK_OP_RW, 4);
	send_packet(&header, 4);
	expect(VIRTIO_VSOCK_OP_RST, 0);
	/* To a reset there is no answer, nor to what isn't ours. */
	send_operation(VIRTIO_VSOCK_OP_RST, 0);
	header = header_of(VIRTIO_VSOCK_OP_REQUEST, 0);
	header.src_cid = CID + 1;
	send_packet(&header, 0);
	header.src_cid = CID;
	header.dst_cid = 1;
	send_packet(&header, 0);
	give_room();
	assert_false(driver_take(&driver, TO_GUEST, &written));
	close_vsock();
}

/* More than it was told that there is room for: the connection ends, the device lives. */
static void test_credit(void **state)
{
	struct virtio_vsock_hdr header = header_of(VIRTIO_VSOCK_OP_RW, 0x8000);
	unsigned sent = 0;
	int host, size = 4096;
	char byte;

	(void)state;
	open_vsock();
	host = connect_guest();
	setsockopt(host, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	while (sent < 64) {
		uint32_t written = 0;

		send_packet(&header, 0x8000);
		sent++;
		give_room();
		if (driver_take(&driver, TO_GUEST, &written) &&
		    ((struct virtio_vsock_hdr *)driver_at(&driver, CAME))->op == VIRTIO_VSOCK_OP_RST)
			break;
	}
	/* What the socket takes, and the buffer. */
	assert_in_range(sent, VSOCK_BUFFER_BYTES / 0x8000 + 1, 63);
	while (read(host, &byte, 1) > 0)
		;
	assert_int_equal(read(host, &byte, 1), 0);
	assert_int_equal(virtio_status(driver.virtio), 15);
	close(host);
	close_vsock();
}

static void test_ends(void **state)
{
	char byte;
	int host;

	(void)state;
	open_vsock();
	host = connect_guest();
	send_operation(VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	assert_int_equal(read(host, &byte, 1), 0);
	assert_int_equal(write(host, "y", 1), 1);
	send_operation(VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV);
	expect(VIRTIO_VSOCK_OP_RST, 0);
	assert_int_equal(write(host, "y", 1), -1);
	close(host);
	/* A second request for what is there ends it. */
	host = connect_guest();
	send_operation(VIRTIO_VSOCK_OP_REQUEST, 0);
	expect(VIRTIO_VSOCK_OP_RST, 0);
	assert_int_equal(read(host, &byte, 1), 0);
	close(host);
	/* The driver starts again: its peers see an end at once. */
	host = connect_guest();
	virtio_set_status(driver.virtio, 0);
	assert_int_equal(read(host, &byte, 1), 0);
	close(host);
	close_vsock();
}

static void test_lies(void **state)
{
	struct virtio_vsock_hdr header = header_of(VIRTIO_VSOCK_OP_RW, 100);
	const struct driver_buffer packet = {SENT, sizeof(header), false}, small = {CAME, 44, true};

	(void)state;
	open_vsock();
	memcpy(driver_at(&driver, SENT), &header, sizeof(header));
	driver_offer(&driver, FROM_GUEST, &packet, 1);
	virtio_notify(driver.virtio, FROM_GUEST);
	assert_true(virtio_status(driver.virtio) & VIRTIO_CONFIG_S_NEEDS_RESET);
	close_vsock();
	open_vsock();
	header.len = 0;
	driver_offer(&driver, TO_GUEST, &small, 1);
	memcpy(driver_at(&driver, SENT), &header, sizeof(header));
	driver_offer(&driver, FROM_GUEST, &packet, 1);
	virtio_notify(driver.virtio, FROM_GUEST);
	assert_true(virtio_status(driver.virtio) & VIRTIO_CONFIG_S_NEEDS_RESET);
	close_vsock();
}

/* A loaded guest hears that its connections are gone. */
static void test_loaded(void **state)
{
	const struct driver_buffer buffer = {CAME, 64, true};
	uint32_t written = 0;
	int host;
	char byte;

	(void)state;
	open_vsock();
	host = connect_guest();
	driver.virtio->kind->loaded(driver.virtio);
	assert_int_equal(read(host, &byte, 1), 0);
	driver_offer(&driver, EVENTS, &buffer, 1);
	virtio_notify(driver.virtio, EVENTS);
	assert_true(driver_take(&driver, EVENTS, &written));
	assert_int_equal(written, 4);
	assert_int_equal(*(uint32_t *)driver_at(&driver, CAME), VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	close(host);
	close_vsock();
}

/* What a peer says first, in pieces. */
static void test_commands(void **state)
{
	static const struct {
		const char *text;
		int result;
	} cases[] = {{"CONNECT 1234\nmore", 1}, {"CONNECT 12", 0}, {"CONNECT 4294967295\n", 1},
		     {"CONNECT 4294967296\n", -EPROTO}, {"CONNECT \n", -EPROTO}, {"CONNECT -1\n", -EPROTO},
		     {"connect 1\n", -EPROTO}, {"\n", -EPROTO}, {"", 0},
		     {"CONNECT 00000000000000000000000000001\n", -EPROTO}};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vsock_connection *connection;
		size_t size = strlen(cases[i].text);
		char rest[8];
		int ends[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
		connection = vsock_connection_create(NULL, ends[0]);
		assert_int_equal(write(ends[1], cases[i].text, size), size);
		assert_int_equal(vsock_connection_read_command(connection), cases[i].result);
		if (i == 0) {
			assert_int_equal(connection->guest_port, 1234);
			assert_int_equal(read(ends[0], rest, sizeof(rest)), 4);
		}
		close(ends[1]);
		if (cases[i].result == 0)
			assert_int_equal(vsock_connection_read_command(connection), -EPIPE);
		vsock_connection_destroy(connection);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data),	 cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_credit),	 cmocka_unit_test(test_ends),
		cmocka_unit_test(test_lies),	 cmocka_unit_test(test_loaded),
		cmocka_unit_test(test_commands),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
