/* The TFTP server: transfers, options, windows, losses, and what is no request. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/tftp.h"
#include "net/tftp_folder.h"

#define SERVER	  0x0a000202u
#define CLIENT	  0x0a00020fu
#define HEADERS	  42
#define FILE_SIZE 3000
#define FRAMES	  80

static struct {
	struct tftp tftp;
	uint8_t file[FILE_SIZE];
	size_t file_size;
	char asked[TFTP_NAME_MAX + 1];
	uint8_t frames[FRAMES][1514];
	size_t sizes[FRAMES];
	unsigned count;
	int opened;
} rig;

static int open_file(void *context, const char *name)
{
	int fd;

	assert_ptr_equal(context, &rig);
	strcpy(rig.asked, name);
	if (strcmp(name, "missing") == 0)
		return -2;
	fd = memfd_create("file", MFD_CLOEXEC);
	assert_int_equal(write(fd, rig.file, rig.file_size), rig.file_size);
	rig.opened = fd;
	return fd;
}

static void send_frame(void *context, const void *frame, size_t size)
{
	(void)context;
	assert_true(rig.count < FRAMES && size <= sizeof(rig.frames[0]));
	memcpy(rig.frames[rig.count], frame, size);
	rig.sizes[rig.count++] = size;
}

static int setup(void **state)
{
	const struct tftp_config config = {.address = SERVER,
					   .mac = {0x52, 0x55, 10, 0, 2, 2},
					   .open = open_file,
					   .send = send_frame,
					   .context = &rig};
	unsigned i;

	(void)state;
	memset(&rig, 0, sizeof(rig));
	for (i = 0; i < FILE_SIZE; i++)
		rig.file[i] = i * 7 + (i >> 8);
	rig.file_size = FILE_SIZE;
	tftp_init(&rig.tftp, &config);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tftp_close(&rig.tftp);
	return 0;
}

static uint16_t sum(const uint8_t *bytes, size_t size, uint32_t total)
{
	size_t i;

	for (i = 0; i < size; i++)
		total += i & 1 ? bytes[i] : bytes[i] << 8;
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return total;
}

static uint32_t pseudo(const uint8_t *ip, size_t size)
{
	return sum(ip + 12, 8, 17 + size);
}

/* A message of the client's, with right sums; the frame's size. */
static size_t build(uint8_t frame[600], uint16_t port, const void *message, size_t size)
{
	static const uint8_t macs[] = {0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0};
	uint8_t *ip = frame + 14, *udp = ip + 20;
	uint16_t value;

	memset(frame, 0, 600);
	memcpy(frame, macs, sizeof(macs));
	ip[0] = 0x45;
	ip[2] = (28 + size) >> 8;
	ip[3] = 28 + size;
	ip[8] = 64;
	ip[9] = 17;
	memcpy(ip + 12, (uint8_t[]){10, 0, 2, 15, 10, 0, 2, 2}, 8);
	value = ~sum(ip, 20, 0);
	ip[10] = value >> 8;
	ip[11] = value;
	udp[0] = port >> 8;
	udp[1] = port;
	udp[3] = 69;
	udp[4] = (8 + size) >> 8;
	udp[5] = 8 + size;
	memcpy(udp + 8, message, size);
	value = ~sum(udp, 8 + size, pseudo(ip, 8 + size));
	udp[6] = value >> 8;
	udp[7] = value;
	return HEADERS + size;
}

static void say(uint16_t port, const void *message, size_t size)
{
	uint8_t frame[600];

	rig.count = 0;
	assert_true(tftp_take(&rig.tftp, frame, build(frame, port, message, size)));
}

static void acknowledge(uint16_t port, uint16_t block)
{
	say(port, (uint8_t[]){0, 4, block >> 8, block}, 4);
}

#define SAY(port, text) say(port, text, sizeof(text) - 1)

/* A frame is right by all its sums, and for the client; its message. */
static const uint8_t *reply(unsigned index, uint16_t port, size_t *size)
{
	const uint8_t *frame = rig.frames[index], *ip = frame + 14, *udp = ip + 20;

	assert_true(index < rig.count);
	*size = rig.sizes[index] - HEADERS;
	assert_memory_equal(frame, ((uint8_t[]){0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x52, 0x55, 10, 0, 2, 2, 8, 0}), 14);
	assert_int_equal(sum(ip, 20, 0), 0xffff);
	assert_int_equal(ip[2] << 8 | ip[3], rig.sizes[index] - 14);
	assert_memory_equal(ip + 12, ((uint8_t[]){10, 0, 2, 2, 10, 0, 2, 15}), 8);
	assert_int_equal(udp[0] << 8 | udp[1], 69);
	assert_int_equal(udp[2] << 8 | udp[3], port);
	assert_int_equal(udp[4] << 8 | udp[5], *size + 8);
	assert_int_equal(sum(udp, *size + 8, pseudo(ip, *size + 8)), 0xffff);
	return udp + 8;
}

static void expect_data(unsigned index, uint16_t port, uint16_t block, size_t at, size_t bytes)
{
	size_t size;
	const uint8_t *message = reply(index, port, &size);

	assert_int_equal(message[0] << 8 | message[1], 3);
	assert_int_equal(message[2] << 8 | message[3], block);
	assert_int_equal(size, 4 + bytes);
	assert_memory_equal(message + 4, rig.file + at, bytes);
}

static void expect_error(uint16_t port, uint16_t code)
{
	size_t size;
	const uint8_t *message;

	assert_int_equal(rig.count, 1);
	message = reply(0, port, &size);
	assert_int_equal(message[1], 5);
	assert_int_equal(message[2] << 8 | message[3], code);
	assert_int_equal(message[size - 1], 0);
}

static void test_plain(void **state)
{
	unsigned block;

	(void)state;
	SAY(2000, "\0\1/boot/kernel\0OCTET\0");
	assert_string_equal(rig.asked, "/boot/kernel");
	for (block = 1; block <= 6; block++) {
		assert_int_equal(rig.count, 1);
		expect_data(0, 2000, block, (block - 1) * 512, block < 6 ? 512 : FILE_SIZE - 5 * 512);
		acknowledge(2000, block);
	}
	/* All is there: nothing more is said, and the file is closed. */
	assert_int_equal(rig.count, 0);
	assert_int_equal(fcntl(rig.opened, F_GETFD), -1);
}

static void test_last_block_is_empty(void **state)
{
	(void)state;
	rig.file_size = 1024;
	SAY(2000, "\0\1f\0octet\0");
	acknowledge(2000, 1);
	acknowledge(2000, 2);
	expect_data(0, 2000, 3, 1024, 0);
	acknowledge(2000, 3);
	assert_int_equal(rig.count, 0);
}

static void test_options(void **state)
{
	static const char wanted[] = "\0\6blksize\0" "1468\0tsize\0" "3000\0timeout\0" "3";
	const uint8_t *message;
	size_t size;

	(void)state;
	SAY(2000, "\0\1f\0octet\0BlkSize\0" "9000\0unknown\0" "1\0tsize\0" "0\0timeout\0" "3\0");
	assert_int_equal(rig.count, 1);
	message = reply(0, 2000, &size);
	assert_int_equal(size, sizeof(wanted));
	assert_memory_equal(message, wanted, sizeof(wanted));
	acknowledge(2000, 0);
	expect_data(0, 2000, 1, 0, 1468);
	acknowledge(2000, 1);
	expect_data(0, 2000, 2, 1468, 1468);
	acknowledge(2000, 2);
	expect_data(0, 2000, 3, 2936, 64);
	/* Values that are none are not agreed on. */
	SAY(2001, "\0\1f\0octet\0blksize\0" "7\0windowsize\0" "0\0tsize\0x\0");
	expect_data(0, 2001, 1, 0, 512);
}

static void test_window(void **state)
{
	(void)state;
	SAY(2000, "\0\1f\0octet\0windowsize\0" "4\0");
	acknowledge(2000, 0);
	assert_int_equal(rig.count, 4);
	expect_data(3, 2000, 4, 1536, 512);
	/* Block 3 got lost: it goes on behind the second. */
	acknowledge(2000, 2);
	assert_int_equal(rig.count, 4);
	expect_data(0, 2000, 3, 1024, 512);
	expect_data(3, 2000, 6, 2560, 440);
	/* What was not sent, and what came late. */
	acknowledge(2000, 9);
	assert_int_equal(rig.count, 0);
	acknowledge(2000, 1);
	assert_int_equal(rig.count, 0);
	/* Nothing came: all again. */
	acknowledge(2000, 2);
	assert_int_equal(rig.count, 4);
	acknowledge(2000, 6);
	assert_int_equal(rig.count, 0);
	acknowledge(2000, 6);
	assert_int_equal(rig.count, 0);
}

static void test_block_numbers_wrap(void **state)
{
	struct tftp_client *client;
	unsigned i;

	(void)state;
	SAY(2000, "\0\1f\0octet\0blksize\0" "8\0windowsize\0" "2\0");
	for (client = rig.tftp.clients, i = 0; client->fd < 0; client++)
		assert_true(++i < TFTP_CLIENTS);
	client->size_bytes = 8 * 70000;
	assert_int_equal(ftruncate(rig.opened, client->size_bytes), 0);
	acknowledge(2000, 0);
	for (i = 2; i < 70000; i += 2) {
		acknowledge(2000, i);
		assert_int_equal(rig.count, 2);
		assert_int_equal(client->acknowledged, i);
	}
	acknowledge(2000, 70000 & 0xffff);
	assert_int_equal(rig.count, 1);
	acknowledge(2000, 70001 & 0xffff);
	assert_true(client->fd < 0);
}

static void test_errors(void **state)
{
	char name[400] = "\0\1";

	(void)state;
	SAY(2000, "\0\1missing\0octet\0");
	expect_error(2000, 1);
	SAY(2000, "\0\2f\0octet\0");
	expect_error(2000, 2);
	SAY(2000, "\0\1f\0netascii\0");
	expect_error(2000, 4);
	SAY(2000, "\0\1f\0octet");
	expect_error(2000, 4);
	SAY(2000, "\0\1");
	expect_error(2000, 4);
	memset(name + 2, 'a', 300);
	memcpy(name + 302, "\0octet", 7);
	say(2000, name, 309);
	expect_error(2000, 4);
	acknowledge(2000, 0);
	expect_error(2000, 5);
	acknowledge(2000, 7);
	assert_int_equal(rig.count, 0);
	/* A file that has become shorter. */
	SAY(2000, "\0\1f\0octet\0");
	assert_int_equal(ftruncate(rig.opened, 600), 0);
	acknowledge(2000, 1);
	expect_error(2000, 0);
	acknowledge(2000, 1);
	assert_int_equal(rig.count, 0);
	/* The client ends it. */
	SAY(2000, "\0\1f\0octet\0");
	SAY(2000, "\0\5\0\0enough\0");
	assert_int_equal(rig.count, 0);
	assert_int_equal(fcntl(rig.opened, F_GETFD), -1);
}

/* The one that has been silent for longest makes room; who asks again begins again. */
static void test_many_clients(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < TFTP_CLIENTS; i++)
		SAY(3000 + i, "\0\1f\0octet\0");
	acknowledge(3000, 1);
	expect_data(0, 3000, 2, 512, 512);
	SAY(4000, "\0\1f\0octet\0");
	expect_data(0, 4000, 1, 0, 512);
	acknowledge(3001, 1);
	assert_int_equal(rig.count, 0);
	acknowledge(3000, 2);
	expect_data(0, 3000, 3, 1024, 512);
	SAY(3000, "\0\1f\0octet\0");
	expect_data(0, 3000, 1, 0, 512);
}

/* What is for others, and what is broken. */
static void test_frames(void **state)
{
	static const char request[] = "\0\1f\0octet";
	uint8_t frame[600], copy[600];
	size_t size = build(frame, 2000, request, sizeof(request)), i;

	(void)state;
	for (i = 0; i < size; i++)
		assert_int_equal(tftp_take(&rig.tftp, frame, i), false);
	assert_int_equal(rig.count, 0);
	for (i = 12; i < size; i++) {
		/* Sums cover all but the addresses of Ethernet; of UDP's, some make it another's frame. */
		memcpy(copy, frame, size);
		copy[i] ^= 0x10;
		tftp_take(&rig.tftp, copy, size);
		assert_int_equal(rig.count, 0);
	}
	memcpy(copy, frame, size);
	copy[14 + 6] = 0x20; /* a fragment */
	assert_false(tftp_take(&rig.tftp, copy, size));
	/* Without a sum of UDP's, as it may be. */
	frame[14 + 26] = frame[14 + 27] = 0;
	assert_true(tftp_take(&rig.tftp, frame, size));
	expect_data(0, 2000, 1, 0, 512);
}

/* A folder's process opens its files, and no others. */
static void test_folder(void **state)
{
	char folder[] = "/tmp/kvik-tftp-XXXXXX", path[64];
	struct error error;
	int socket, fd;

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(mkdir("inner", 0755), 0);
	fd = open("inner/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, "hello", 5), 5);
	close(fd);
	assert_int_equal(symlink("inner/file", "link"), 0);
	assert_int_equal(symlink("/inner/file", "root-link"), 0);
	assert_int_equal(symlink("/etc/passwd", "out"), 0);
	assert_int_equal(symlink("../../../../etc/passwd", "up"), 0);
	assert_int_equal(mkfifo("fifo", 0644), 0);
	socket = tftp_folder_start(folder, &error);
	assert_true(socket >= 0);
	static const char *const good[] = {"inner/file", "/inner/file", "link", "root-link", "inner/../inner//file",
					   "../../inner/file"};
	static const char *const bad[] = {"out", "up", "/etc/passwd", "../../etc/passwd", "inner", "fifo", "none", ""};

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		char text[8] = "";

		fd = tftp_folder_open(socket, good[i]);
		assert_true(fd >= 0);
		assert_int_equal(read(fd, text, sizeof(text)), 5);
		assert_string_equal(text, "hello");
		assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
		close(fd);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(tftp_folder_open(socket, bad[i]) < 0);
	close(socket);
	static const char *const made[] = {"inner/file", "link", "root-link", "out", "up", "fifo"};

	for (unsigned i = 0; i < sizeof(made) / sizeof(made[0]); i++)
		assert_int_equal(unlink(made[i]), 0);
	rmdir("inner");
	assert_int_equal(chdir("/"), 0);
	rmdir(folder);
	snprintf(path, sizeof(path), "%s/none", folder);
	assert_true(tftp_folder_start(path, &error) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_plain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_block_is_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_options, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window, setup, teardown),
		cmocka_unit_test_setup_teardown(test_block_numbers_wrap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_clients, setup, teardown),
		cmocka_unit_test_setup_teardown(test_frames, setup, teardown),
		cmocka_unit_test(test_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
