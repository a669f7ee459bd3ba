/*
 * virtio-fs with a folder: requests come back answered, many at once and more than there are slots, at once or later; what is too long
 * breaks the device; a reset finds nothing under way; one whose process has died fails requests and hangs nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/virtio_fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "device/virtio/filesystem.h"
#include "util/state.h"
#include "virtio_driver.h"

#define REQUEST DRIVER_DATA
#define REPLY	(DRIVER_DATA + 0x8000)
#define STEP	0x400 /* between requests, and replies */

enum { URGENT, REQUESTS };

static struct driver driver;
static char folder[64];

static void open_device(void)
{
	const struct share_config config = {folder, false, 1};
	struct share share;
	struct error error;
	char command[128];

	strcpy(folder, "/tmp/kvik-virtiofs-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(command, sizeof(command), "echo hello >%s/file", folder);
	assert_int_equal(system(command), 0);
	assert_int_equal(share_start(&share, &config, &error), 0);
	driver_init(&driver);
	driver_start(&driver, virtio_filesystem_create(&driver.host, &share, "a tag", &error), 0);
}

static void close_device(void)
{
	char command[128];

	driver.virtio->kind->destroy(driver.virtio);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

/* Write a request; its size. */
static uint32_t put(uint32_t at, uint32_t opcode, uint64_t node, const void *body, uint32_t size)
{
	struct fuse_in_header header = {
		.len = sizeof(header) + size, .opcode = opcode, .unique = at, .nodeid = node};

	memcpy(driver_at(&driver, at), &header, sizeof(header));
	memcpy(driver_at(&driver, at + sizeof(header)), body, size);
	return header.len;
}

/* The error of the reply at `at`, which has `size` bytes. */
static int error_of(uint32_t at, uint32_t size, uint64_t unique)
{
	const struct fuse_out_header *out = driver_at(&driver, at);

	assert_true(size >= sizeof(*out));
	assert_int_equal(out->len, size);
	assert_int_equal(out->unique, unique);
	return out->error;
}

static int ask(uint32_t opcode, uint64_t node, const void *body, uint32_t size)
{
	struct driver_buffer buffers[] = {
		{REQUEST, put(REQUEST, opcode, node, body, size), false},
		{REPLY, 0x4000, true},
	};

	return error_of(REPLY, driver_do(&driver, REQUESTS, buffers, 2), REQUEST);
}

static int begin_session(void)
{
	const struct fuse_init_in in = {.major = 7, .minor = 31};

	return ask(FUSE_INIT, 0, &in, sizeof(in));
}

static void test_requests(void **state)
{
	const struct fuse_forget_in forget = {.nlookup = 1};
	struct driver_buffer buffer = {REQUEST, 0, false};
	struct virtio_fs_config config;

	(void)state;
	open_device();
	virtio_read_config(driver.virtio, 0, sizeof(config), (uint8_t *)&config);
	assert_string_equal((char *)config.tag, "a tag");
	assert_int_equal(config.num_request_queues, 1);
	assert_int_equal(begin_session(), 0);
	assert_int_equal(ask(FUSE_LOOKUP, 1, "file", 5), 0);
	assert_int_equal(ask(FUSE_LOOKUP, 1, "..", 3), -EINVAL);
	assert_int_equal(ask(1000, 1, "", 0), -ENOSYS);
	/* What gets no reply comes back empty. */
	buffer.size = put(REQUEST, FUSE_FORGET, 2, &forget, sizeof(forget));
	assert_int_equal(driver_do(&driver, URGENT, &buffer, 1), 0);
	assert_true(driver.interrupts > 0);
	close_device();
}

/* What is not looked for, but taken by the device's thread, between what is. */
static void test_slow(void **state)
{
	const struct fuse_fsync_in sync = {.fh = 1000};
	const struct fuse_getattr_in in = {0};
	unsigned i;

	(void)state;
	open_device();
	assert_int_equal(begin_session(), 0);
	for (i = 0; i < 500; i++) {
		assert_int_equal(ask(FUSE_FSYNC, 1, &sync, sizeof(sync)), -EBADF);
		if (i % 3 == 0)
			assert_int_equal(ask(FUSE_GETATTR, 1, &in, sizeof(in)), 0);
	}
	close_device();
}

/* Rounds of as many as the queue holds, of which some are for the other queue. */
static void test_many(void **state)
{
	const struct fuse_getattr_in in = {0};
	unsigned round, i;
	uint32_t size;

	(void)state;
	open_device();
	assert_int_equal(begin_session(), 0);
	for (round = 0; round < 200; round++) {
		for (i = 0; i < DRIVER_SIZE / 2; i++) {
			struct driver_buffer buffers[] = {
				{REQUEST + i * STEP,
				 put(REQUEST + i * STEP, FUSE_GETATTR, 1, &in, sizeof(in)), false},
				{REPLY + i * STEP, STEP, true},
			};

			driver_offer(&driver, i % 2 ? URGENT : REQUESTS, buffers, 2);
		}
		virtio_notify(driver.virtio, REQUESTS);
		virtio_notify(driver.virtio, URGENT);
		for (i = 0; i < DRIVER_SIZE / 2; i++)
			while (!driver_take(&driver, i % 2 ? URGENT : REQUESTS, &size))
				usleep(50);
		for (i = 0; i < DRIVER_SIZE / 2; i++)
			assert_int_equal(error_of(REPLY + i * STEP,
						  sizeof(struct fuse_out_header) +
							  sizeof(struct fuse_attr_out),
						  REQUEST + i * STEP),
					 0);
		if (round % 50 == 0) {
			/* Whatever is under way is over when this returns. */
			driver_offer(&driver, REQUESTS,
				     &(struct driver_buffer){REQUEST, 80, false}, 1);
			virtio_notify(driver.virtio, REQUESTS);
			virtio_reset(driver.virtio);
			assert_int_equal(driver.virtio->under_way, 0);
			driver_start(&driver, driver.virtio, 0);
		}
	}
	close_device();
}

static void test_too_long(void **state)
{
	/* The same memory again and again: more than any request has. */
	enum { PARTS = DRIVER_SIZE - 1 };
	struct driver_buffer buffers[PARTS];
	unsigned i;

	(void)state;
	open_device();
	for (i = 0; i < PARTS; i++)
		buffers[i] = (struct driver_buffer){0, DRIVER_RAM, false};
	driver_offer(&driver, REQUESTS, buffers, PARTS);
	virtio_notify(driver.virtio, REQUESTS);
	while (!(virtio_status(driver.virtio) & VIRTIO_CONFIG_S_NEEDS_RESET))
		usleep(100);
	/* And it works again behind a reset. */
	driver_start(&driver, driver.virtio, 0);
	assert_int_equal(begin_session(), 0);
	close_device();
}

/* A saved machine has no open files: refused by the share's name while a driver is there. */
static void test_saving(void **state)
{
	struct virtio_state saved;
	struct state_stream stream;
	struct error error;
	const void *bytes;
	size_t size;

	(void)state;
	open_device();
	virtio_hold(driver.virtio);
	state_save_begin(&stream);
	state_section_begin(&stream, "share", 1);
	virtio_transfer(driver.virtio, &saved, &stream);
	state_section_end(&stream);
	assert_true(state_saved(&stream, &bytes, &size, &error) < 0);
	assert_non_null(strstr(error.message, "'a tag'"));
	state_end(&stream);
	virtio_reset(driver.virtio);
	state_save_begin(&stream);
	state_section_begin(&stream, "share", 1);
	virtio_transfer(driver.virtio, &saved, &stream);
	state_section_end(&stream);
	assert_int_equal(state_saved(&stream, &bytes, &size, &error), 0);
	state_end(&stream);
	virtio_release(driver.virtio);
	close_device();
}

/* The children of this process are shares': the last one, and those of earlier tests, which have ended. */
static void kill_share(void)
{
	char path[64], children[256] = "", *at = children, *end;
	int fd;
	long pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, children, sizeof(children) - 1) <= 0)
		skip();
	close(fd);
	while ((pid = strtol(at, &end, 10)) > 1 && end != at) {
		kill(pid, SIGKILL);
		at = end;
	}
}

static void test_dead(void **state)
{
	const struct fuse_getattr_in in = {0};
	int result = 0, i;

	(void)state;
	open_device();
	assert_int_equal(begin_session(), 0);
	kill_share();
	for (i = 0; i < 1000 && result == 0; i++)
		result = ask(FUSE_GETATTR, 1, &in, sizeof(in));
	assert_int_equal(result, -EIO);
	for (i = 0; i < 40; i++)
		assert_int_equal(ask(FUSE_GETATTR, 1, &in, sizeof(in)), -EIO);
	virtio_reset(driver.virtio);
	close_device();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests), cmocka_unit_test(test_slow), cmocka_unit_test(test_many),
		cmocka_unit_test(test_too_long), cmocka_unit_test(test_saving),
		cmocka_unit_test(test_dead),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
