/*
 * The 9P server, asked by bytes: what a guest's kernel asks, and what only a hostile one would. It must do to the
 * folder what was asked, tell of it truly, and never touch anything outside.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "share/p9_call.h"

#define ROOT	 1
#define MALFORMED 9999 /* there was no reply */
#define TAG	 0x1234
#define ROOM	 8192

static struct {
	struct p9 p9;
	char path[64]; /* of the folder; beside it, "outside" */
	uint8_t message[ROOM * 2], reply[ROOM * 2];
	size_t size;
	/* The reply's body, and how far it was read. */
	size_t at, end;
} world;

/* --- asking --- */

/* Fields by a format: b, w, d, q are numbers of 1, 2, 4 and 8 bytes, s is a string. */
static void add(const char *format, va_list arguments)
{
	const char *text;
	uint64_t value;
	uint16_t length;
	size_t size;

	for (; *format; format++) {
		if (*format == 's') {
			text = va_arg(arguments, const char *);
			length = strlen(text);
			memcpy(world.message + world.size, &length, 2);
			memcpy(world.message + world.size + 2, text, length);
			world.size += 2 + length;
			continue;
		}
		value = *format == 'q' ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned);
		size = *format == 'b' ? 1 : *format == 'w' ? 2 : *format == 'd' ? 4 : 8;
		memcpy(world.message + world.size, &value, size);
		world.size += size;
	}
}

/* Send what there is: 0, the reply's errno, or MALFORMED. */
static int send_message(enum p9_type type, size_t room)
{
	uint32_t size = world.size, error;
	uint16_t tag = TAG;
	size_t got;

	memcpy(world.message, &size, 4);
	world.message[4] = type;
	memcpy(world.message + 5, &tag, 2);
	memset(world.reply, 0xee, sizeof(world.reply));
	got = p9_answer(&world.p9, world.message, world.size, world.reply, room);
	assert_true(got <= room && world.reply[room] == 0xee);
	if (!got)
		return MALFORMED;
	memcpy(&size, world.reply, 4);
	memcpy(&tag, world.reply + 5, 2);
	assert_int_equal(size, got);
	assert_int_equal(tag, TAG);
	world.at = P9_HEADER_BYTES;
	world.end = got;
	if (world.reply[4] != P9_LERROR + 1) {
		assert_int_equal(world.reply[4], type + 1);
		return 0;
	}
	assert_int_equal(got, P9_HEADER_BYTES + 4);
	memcpy(&error, world.reply + P9_HEADER_BYTES, 4);
	assert_true(error > 0 && error < 1000);
	return error;
}

static int ask(enum p9_type type, const char *format, ...)
{
	va_list arguments;

	world.size = P9_HEADER_BYTES;
	va_start(arguments, format);
	add(format, arguments);
	va_end(arguments);
	return send_message(type, ROOM);
}

/* Pass over so many bytes of the reply. */
static void pass_over(unsigned size)
{
	assert_true(world.at + size <= world.end);
	world.at += size;
}

/* The reply's next number of so many bytes. */
static uint64_t next(unsigned size)
{
	uint64_t value = 0;

	assert_in_range(size, 1, sizeof(value));
	memcpy(&value, world.reply + world.at, size);
	pass_over(size);
	return value;
}

static void assert_string_next(const char *text)
{
	size_t length = next(2);

	assert_int_equal(length, strlen(text));
	assert_memory_equal(world.reply + world.at, text, length);
	world.at += length;
}

static void begin_session(void)
{
	assert_int_equal(ask(P9_VERSION, "ds", ROOM, "9P2000.L"), 0);
	assert_int_equal(next(4), ROOM);
	assert_string_next("9P2000.L");
	assert_int_equal(ask(P9_ATTACH, "ddssd", ROOT, P9_NO_FID, "root", "", 0), 0);
	assert_int_equal(next(1), 0x80);
}

static void open_folder(bool is_readonly)
{
	char command[512];
	int fd;

	strcpy(world.path, "/tmp/kvik-9p-XXXXXX");
	assert_non_null(mkdtemp(world.path));
	snprintf(command, sizeof(command),
		 "cd %s && mkdir in in/sub && echo secret >outside && echo hello >in/file && "
		 "echo deep >in/sub/deep && ln -s ../outside in/out && ln -s /etc in/etc && mkfifo in/fifo",
		 world.path);
	assert_int_equal(system(command), 0);
	strcat(world.path, "/in");
	fd = open(world.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(p9_create(&world.p9, fd, is_readonly, false, 16), 0);
	begin_session();
}

static void close_folder(void)
{
	char command[128];

	p9_destroy(&world.p9);
	assert_int_equal(chdir("/"), 0);
	world.path[strlen(world.path) - 3] = 0;
	snprintf(command, sizeof(command), "chmod -R u+rwx %s && grep -q secret %s/outside && rm -r %s", world.path,
		 world.path, world.path);
	assert_int_equal(system(command), 0);
}

/* Have `fid` be the file of that name in the folder. */
static int walk(unsigned fid, const char *name)
{
	return ask(P9_WALK, "ddws", ROOT, fid, 1, name);
}

static void clunk(unsigned fid)
{
	assert_int_equal(ask(P9_CLUNK, "d", fid), 0);
}

/* The status of a fid: its mode; the rest of the reply comes next. */
static unsigned getattr(unsigned fid)
{
	assert_int_equal(ask(P9_GETATTR, "dq", fid, (uint64_t)0x7ff), 0);
	assert_int_equal(next(8), 0x7ff);
	world.at += 13;
	return next(4);
}

static void assert_host_has(const char *name, const char *text)
{
	char path[128], have[64] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/%s", world.path, name);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0 && read(fd, have, sizeof(have) - 1) >= 0);
	close(fd);
	assert_string_equal(have, text);
}

static void assert_read(unsigned fid, uint64_t offset, unsigned count, const char *text)
{
	assert_int_equal(ask(P9_READ, "dqd", fid, offset, count), 0);
	assert_int_equal(next(4), strlen(text));
	assert_memory_equal(world.reply + world.at, text, strlen(text));
}

static int write_text(unsigned fid, uint64_t offset, const char *text)
{
	size_t size = strlen(text);

	world.size = P9_HEADER_BYTES;
	memcpy(world.message + world.size, &fid, 4);
	memcpy(world.message + world.size + 4, &offset, 8);
	memcpy(world.message + world.size + 12, &size, 4);
	memcpy(world.message + world.size + 16, text, size);
	world.size += 16 + size;
	return send_message(P9_WRITE, ROOM);
}

/* --- what a kernel asks --- */

static void test_walks(void **state)
{
	(void)state;
	open_folder(false);
	/* Two steps; back again; the folder's top has nothing above it. */
	assert_int_equal(ask(P9_WALK, "ddwss", ROOT, 2, 2, "sub", "deep"), 0);
	assert_int_equal(next(2), 2);
	assert_int_equal(next(1), 0x80);
	pass_over(12);
	assert_int_equal(next(1), 0);
	assert_int_equal(ask(P9_WALK, "ddwsss", ROOT, 3, 3, "sub", "..", ".."), 0);
	assert_true(S_ISDIR(getattr(3)));
	clunk(3);
	/* A walk that ends early makes no fid, one that does not begin is an error. */
	assert_int_equal(ask(P9_WALK, "ddwss", ROOT, 3, 2, "sub", "none"), 0);
	assert_int_equal(next(2), 1);
	assert_int_equal(ask(P9_CLUNK, "d", 3), EBADF);
	assert_int_equal(walk(3, "none"), ENOENT);
	assert_int_equal(ask(P9_WALK, "ddwss", ROOT, 3, 2, "file", "x"), 0);
	assert_int_equal(walk(3, "a/b"), EINVAL);
	assert_int_equal(walk(3, "."), EINVAL);
	/* Links are the guest's to follow. */
	assert_int_equal(walk(3, "out"), 0);
	assert_int_equal(next(2), 1);
	assert_int_equal(next(1), 0x02);
	assert_int_equal(ask(P9_READLINK, "d", 3), 0);
	assert_string_next("../outside");
	assert_int_equal(ask(P9_LOPEN, "dd", 3, O_RDONLY), EACCES);
	assert_int_equal(ask(P9_WALK, "ddwss", ROOT, 4, 2, "etc", "passwd"), 0);
	assert_int_equal(next(2), 1);
	assert_int_equal(ask(P9_CLUNK, "d", 4), EBADF);
	/* In the place of itself, and over one that is in use. */
	assert_int_equal(ask(P9_WALK, "ddws", ROOT, 3, 1, "sub"), EBADF);
	assert_int_equal(ask(P9_WALK, "ddw", 3, 3, 0), 0);
	clunk(3);
	clunk(2);
	close_folder();
}

static void test_files(void **state)
{
	(void)state;
	open_folder(false);
	assert_int_equal(walk(2, "file"), 0);
	assert_int_equal(ask(P9_LOPEN, "dd", 2, O_RDWR), 0);
	assert_read(2, 0, 100, "hello\n");
	assert_read(2, 1, 3, "ell");
	assert_read(2, 100, 3, "");
	assert_int_equal(write_text(2, 4, "ish"), 0);
	assert_int_equal(next(4), 3);
	assert_host_has("file", "hellish");
	assert_int_equal(ask(P9_FSYNC, "dd", 2, 1), 0);
	/* It goes on without a name. */
	assert_int_equal(ask(P9_UNLINKAT, "dsd", ROOT, "file", 0), 0);
	assert_int_equal(walk(3, "file"), ENOENT);
	assert_true(S_ISREG(getattr(2)));
	assert_read(2, 0, 100, "hellish");
	assert_int_equal(ask(P9_SETATTR, "ddddd" "qqqqq", 2, 8, 0, 0, 0, (uint64_t)2, (uint64_t)0, (uint64_t)0,
			     (uint64_t)0, (uint64_t)0), 0);
	assert_read(2, 0, 100, "he");
	clunk(2);
	/* Made, written, and made again where it must not be there. */
	assert_int_equal(ask(P9_WALK, "ddw", ROOT, 2, 0), 0);
	assert_int_equal(ask(P9_LCREATE, "dsddd", 2, "new", O_RDWR | O_CREAT | O_EXCL, 04640, 0), 0);
	assert_int_equal(write_text(2, 0, "made"), 0);
	assert_host_has("new", "made");
	assert_int_equal(getattr(2), S_IFREG | 0640);
	assert_int_equal(ask(P9_LCREATE, "dsddd", 2, "more", O_RDWR, 0600, 0), EINVAL);
	assert_int_equal(ask(P9_LCREATE, "dsddd", ROOT, "new", O_RDWR | O_EXCL, 0600, 0), EEXIST);
	assert_int_equal(ask(P9_LCREATE, "dsddd", ROOT, "out", O_RDWR, 0600, 0), ELOOP);
	clunk(2);
	close_folder();
}

static void test_names(void **state)
{
	(void)state;
	open_folder(false);
	assert_int_equal(ask(P9_MKDIR, "dsdd", ROOT, "dir", 0755, 0), 0);
	assert_int_equal(next(1), 0x80);
	assert_int_equal(walk(2, "dir"), 0);
	assert_int_equal(ask(P9_SYMLINK, "dssd", 2, "link", "/far/away", 0), 0);
	assert_int_equal(next(1), 0x02);
	assert_int_equal(ask(P9_MKNOD, "dsdddd", 2, "null", S_IFCHR | 0600, 1, 3, 0), EPERM);
	assert_int_equal(ask(P9_MKNOD, "dsdddd", 2, "plain", S_IFREG | 0600, 0, 0, 0), 0);
	assert_int_equal(walk(3, "file"), 0);
	assert_int_equal(ask(P9_LINK, "dds", 2, 3, "again"), 0);
	assert_host_has("dir/again", "hello\n");
	assert_int_equal(ask(P9_RENAMEAT, "dsds", ROOT, "file", 2, "moved"), 0);
	assert_host_has("dir/moved", "hello\n");
	assert_int_equal(ask(P9_RENAME, "dds", 3, ROOT, "back"), 0);
	assert_host_has("back", "hello\n");
	/* What has moved is still what the fid says. */
	assert_int_equal(ask(P9_LOPEN, "dd", 3, O_RDONLY), 0);
	assert_read(3, 0, 100, "hello\n");
	clunk(3);
	assert_int_equal(ask(P9_UNLINKAT, "dsd", ROOT, "dir", 0), EISDIR);
	assert_int_equal(ask(P9_UNLINKAT, "dsd", ROOT, "dir", AT_REMOVEDIR), ENOTEMPTY);
	assert_int_equal(ask(P9_UNLINKAT, "dsd", ROOT, "..", AT_REMOVEDIR), EINVAL);
	assert_int_equal(ask(P9_RENAMEAT, "dsds", ROOT, "back", ROOT, "../back"), EINVAL);
	assert_int_equal(walk(3, "back"), 0);
	assert_int_equal(ask(P9_REMOVE, "d", 3), 0);
	assert_int_equal(ask(P9_REMOVE, "d", 3), EBADF);
	assert_int_equal(walk(3, "back"), ENOENT);
	assert_int_equal(ask(P9_REMOVE, "d", ROOT), EBUSY);
	close_folder();
}

static void test_attributes(void **state)
{
	const uint64_t none = 0;

	(void)state;
	open_folder(false);
	assert_int_equal(walk(2, "file"), 0);
	/* Mode and both times as they are given. */
	assert_int_equal(ask(P9_SETATTR, "ddddd" "qqqqq", 2, 0x1 | 0x1b0 | 0x40, 04751, 0, 0, none,
			     (uint64_t)1000000000, (uint64_t)123456789, (uint64_t)1200000000, (uint64_t)987654321), 0);
	assert_int_equal(getattr(2), S_IFREG | 0751);
	assert_int_equal(next(4), 0);
	assert_int_equal(next(4), 0);
	assert_int_equal(next(8), 1);
	pass_over(8);
	assert_int_equal(next(8), 6);
	pass_over(16);
	assert_int_equal(next(8), 1000000000);
	assert_int_equal(next(8), 123456789);
	assert_int_equal(next(8), 1200000000);
	assert_int_equal(next(8), 987654321);
	assert_int_equal(ask(P9_SETATTR, "ddddd" "qqqqq", 2, 0x90, 0, 0, 0, none, none, (uint64_t)1000000000, none,
			     none), EINVAL);
	assert_int_equal(ask(P9_STATFS, "d", 2), 0);
	assert_int_equal(next(4), 0x01021997);
	assert_true(next(4) >= 512);
	/* Extended attributes: by a fid of their own. */
	assert_int_equal(ask(P9_WALK, "ddw", 2, 3, 0), 0);
	assert_int_equal(ask(P9_XATTRCREATE, "dsqd", 3, "user.a", (uint64_t)5, 0), 0);
	assert_int_equal(write_text(3, 0, "val"), 0);
	assert_int_equal(write_text(3, 3, "ues"), ENOSPC);
	assert_int_equal(write_text(3, 3, "ue"), 0);
	clunk(3);
	assert_int_equal(ask(P9_XATTRWALK, "dds", 2, 3, "user.a"), 0);
	assert_int_equal(next(8), 5);
	assert_read(3, 0, 100, "value");
	assert_read(3, 4, 100, "e");
	assert_read(3, ~0ull, 100, "");
	clunk(3);
	assert_int_equal(ask(P9_XATTRWALK, "dds", 2, 3, ""), 0);
	assert_int_equal(next(8), 7);
	clunk(3);
	assert_int_equal(ask(P9_XATTRWALK, "dds", 2, 3, "security.capability"), EOPNOTSUPP);
	/* One that was not written whole is none; without a value it goes. */
	assert_int_equal(ask(P9_WALK, "ddw", 2, 3, 0), 0);
	assert_int_equal(ask(P9_XATTRCREATE, "dsqd", 3, "user.b", (uint64_t)5, 0), 0);
	assert_int_equal(ask(P9_CLUNK, "d", 3), EINVAL);
	assert_int_equal(ask(P9_WALK, "ddw", 2, 3, 0), 0);
	assert_int_equal(ask(P9_XATTRCREATE, "dsqd", 3, "user.a", none, 2), 0);
	clunk(3);
	assert_int_equal(ask(P9_XATTRWALK, "dds", 2, 3, "user.a"), ENODATA);
	close_folder();
}

/* Mode, owner and group of a fid. */
static void assert_owned(unsigned fid, unsigned mode, unsigned user, unsigned group)
{
	assert_int_equal(getattr(fid), mode);
	assert_int_equal(next(4), user);
	assert_int_equal(next(4), group);
}

static void keep(enum share_keeping keeping)
{
	const uint64_t none = 0;
	struct stat status;

	open_folder(false);
	world.p9.fuse.folder.keeping = keeping;
	/* A user's, whose it is that is made: a file, a directory, a link, a device. */
	assert_int_equal(ask(P9_ATTACH, "ddssd", 10, P9_NO_FID, "user", "", 1000), 0);
	assert_int_equal(ask(P9_WALK, "ddw", 10, 2, 0), 0);
	assert_int_equal(ask(P9_LCREATE, "dsddd", 2, "mine", O_RDWR | O_CREAT, S_IFREG | 04640, 2000), 0);
	assert_owned(2, S_IFREG | 04640, 1000, 2000);
	assert_int_equal(write_text(2, 0, "mine"), 0);
	assert_host_has("mine", "mine");
	assert_int_equal(ask(P9_MKDIR, "dsdd", 10, "d", 02750, 3000), 0);
	assert_int_equal(ask(P9_WALK, "ddws", 10, 3, 1, "d"), 0);
	assert_owned(3, S_IFDIR | 02750, 1000, 3000);
	/* Of a directory that says so, the group's. */
	assert_int_equal(ask(P9_SYMLINK, "dssd", 3, "l", "../outside", 1), 0);
	assert_int_equal(ask(P9_WALK, "ddws", 3, 4, 1, "l"), 0);
	assert_owned(4, S_IFLNK | 0777, 1000, 3000);
	assert_int_equal(ask(P9_READLINK, "d", 4), 0);
	assert_string_next("../outside");
	assert_host_has("d/l", "../outside");
	assert_int_equal(ask(P9_MKNOD, "dsdddd", 10, "null", S_IFCHR | 0666, 1, 259, 5), 0);
	assert_int_equal(ask(P9_WALK, "ddws", 10, 5, 1, "null"), 0);
	assert_owned(5, S_IFCHR | 0666, 1000, 5);
	pass_over(8);
	assert_int_equal(next(8), 0x100103);
	/* On the host all of it is the server's, and for it alone. */
	assert_int_equal(fstatat(world.p9.fuse.folder.root->fd, "null", &status, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(status.st_mode, S_IFREG | 0600);
	assert_int_equal(status.st_uid, geteuid());
	assert_int_equal(fstatat(world.p9.fuse.folder.root->fd, "d", &status, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(status.st_mode & 07777, 0700);
	/* What is said later; of what was there before, too, and of the top. */
	assert_int_equal(ask(P9_SETATTR, "ddddd" "qqqqq", 2, 0x3, 0600, 7, 0, none, none, none, none, none), 0);
	assert_owned(2, S_IFREG | 0600, 7, 2000);
	assert_int_equal(walk(6, "file"), 0);
	assert_int_equal(ask(P9_SETATTR, "ddddd" "qqqqq", 6, 0x6, 0, 8, 9, none, none, none, none, none), 0);
	assert_int_equal(getattr(6) & S_IFMT, S_IFREG);
	assert_int_equal(next(4), 8);
	assert_int_equal(next(4), 9);
	assert_int_equal(ask(P9_SETATTR, "ddddd" "qqqqq", ROOT, 0x3, 0755, 4, 0, none, none, none, none, none), 0);
	assert_int_equal(getattr(ROOT), S_IFDIR | 0755);
	assert_int_equal(next(4), 4);
	/* Names come and go, and what is kept with them. */
	assert_int_equal(ask(P9_RENAMEAT, "dsds", ROOT, "mine", 3, "moved"), 0);
	assert_int_equal(ask(P9_LINK, "dds", ROOT, 2, "linked"), 0);
	assert_int_equal(walk(7, "linked"), 0);
	assert_owned(7, S_IFREG | 0600, 7, 2000);
	assert_int_equal(ask(P9_UNLINKAT, "dsd", 3, "moved", 0), 0);
	assert_int_equal(ask(P9_UNLINKAT, "dsd", 3, "l", 0), 0);
	assert_int_equal(ask(P9_UNLINKAT, "dsd", ROOT, "d", AT_REMOVEDIR), 0);
	assert_int_equal(ask(P9_RENAMEAT, "dsds", ROOT, "linked", ROOT, "file"), 0);
	assert_int_equal(walk(8, "file"), 0);
	assert_owned(8, S_IFREG | 0600, 7, 2000);
	/* It is not the guest's to see or to change. */
	assert_int_equal(walk(9, ".virtfs_metadata"), ENOENT);
	assert_int_equal(ask(P9_MKDIR, "dsdd", ROOT, ".virtfs_metadata", 0755, 0),
			 keeping == SHARE_KEEPS_FILES ? EINVAL : 0);
	if (keeping == SHARE_KEEPS_ATTRIBUTES) {
		assert_int_equal(ask(P9_XATTRWALK, "dds", 8, 9, "user.virtfs.uid"), EOPNOTSUPP);
		assert_int_equal(ask(P9_XATTRWALK, "dds", 8, 9, ""), 0);
		assert_int_equal(next(8), 0);
	}
	close_folder();
}

static void test_kept_in_attributes(void **state)
{
	bool has_attributes;

	(void)state;
	open_folder(false);
	has_attributes = setxattr(world.path, "user.a", "", 0, 0) == 0 || errno != EOPNOTSUPP;
	close_folder();
	if (!has_attributes)
		skip();
	keep(SHARE_KEEPS_ATTRIBUTES);
}

static void test_kept_in_files(void **state)
{
	(void)state;
	keep(SHARE_KEEPS_FILES);
}

/* All entries, with room for about one in a reply. */
static void test_directories(void **state)
{
	unsigned seen = 0, replies = 0;
	uint64_t offset = 0;
	size_t length;

	(void)state;
	open_folder(false);
	assert_int_equal(ask(P9_WALK, "ddw", ROOT, 2, 0), 0);
	assert_int_equal(ask(P9_READDIR, "dqd", 2, offset, 100), EBADF);
	assert_int_equal(ask(P9_LOPEN, "dd", 2, O_RDWR), EISDIR);
	assert_int_equal(ask(P9_LOPEN, "dd", 2, O_RDONLY), 0);
	assert_int_equal(ask(P9_READ, "dqd", 2, offset, 100), EBADF);
	assert_int_equal(ask(P9_READDIR, "dqd", 2, offset, 8), EINVAL);
	for (;;) {
		assert_int_equal(ask(P9_READDIR, "dqd", 2, offset, 40), 0);
		if (!next(4))
			break;
		replies++;
		while (world.at < world.end) {
			pass_over(13);
			offset = next(8);
			next(1);
			length = next(2);
			world.at += length;
			seen++;
		}
		assert_int_equal(world.at, world.end);
	}
	assert_int_equal(seen, 7);
	assert_true(replies > 3);
	assert_int_equal(ask(P9_FSYNC, "dd", 2, 0), 0);
	close_folder();
}

static void test_locks(void **state)
{
	(void)state;
	open_folder(false);
	assert_int_equal(walk(2, "file"), 0);
	assert_int_equal(ask(P9_LOCK, "dbdqqds", 2, 1, 0, (uint64_t)0, (uint64_t)10, 77, "host"), 0);
	assert_int_equal(next(1), 0);
	assert_int_equal(ask(P9_GETLOCK, "dbqqds", 2, 1, (uint64_t)5, (uint64_t)10, 77, "host"), 0);
	assert_int_equal(next(1), 2);
	assert_int_equal(next(8), 5);
	assert_int_equal(next(8), 10);
	assert_int_equal(next(4), 77);
	assert_string_next("host");
	close_folder();
}

static void test_readonly(void **state)
{
	(void)state;
	open_folder(true);
	assert_int_equal(walk(2, "file"), 0);
	assert_int_equal(ask(P9_LOPEN, "dd", 2, O_RDWR), EROFS);
	assert_int_equal(ask(P9_LOPEN, "dd", 2, O_RDONLY), 0);
	assert_read(2, 0, 100, "hello\n");
	assert_int_equal(write_text(2, 0, "x"), EROFS);
	assert_int_equal(ask(P9_MKDIR, "dsdd", ROOT, "d", 0755, 0), EROFS);
	assert_int_equal(ask(P9_UNLINKAT, "dsd", ROOT, "file", 0), EROFS);
	assert_int_equal(ask(P9_RENAMEAT, "dsds", ROOT, "file", ROOT, "x"), EROFS);
	assert_int_equal(ask(P9_LCREATE, "dsddd", ROOT, "new", O_RDWR, 0600, 0), EROFS);
	close_folder();
}

/* --- what only a hostile one asks --- */

static void test_malformed(void **state)
{
	uint32_t size;

	(void)state;
	open_folder(false);
	/* Too short, a string beyond the end, one with a NUL in it, a length that is not the message's. */
	assert_int_equal(ask(P9_CLUNK, "w", 1), MALFORMED);
	assert_int_equal(ask(P9_WALK, "ddww", ROOT, 2, 1, 50), MALFORMED);
	assert_int_equal(ask(P9_WALK, "ddwwd", ROOT, 2, 1, 4, 0x00616161), MALFORMED);
	assert_int_equal(ask(P9_WALK, "ddw", ROOT, 2, 16), MALFORMED);
	assert_int_equal(ask(P9_WRITE, "dqd", ROOT, (uint64_t)0, 100), MALFORMED);
	size = 6;
	memcpy(world.message, &size, 4);
	assert_int_equal(p9_answer(&world.p9, world.message, 100, world.reply, ROOM), 0);
	size = 101;
	memcpy(world.message, &size, 4);
	assert_int_equal(p9_answer(&world.p9, world.message, 100, world.reply, ROOM), 0);
	assert_int_equal(p9_answer(&world.p9, world.message, 3, world.reply, ROOM), 0);
	/* No room for a reply. */
	world.size = P9_HEADER_BYTES;
	assert_int_equal(send_message(P9_FLUSH, 10), MALFORMED);
	/* Well formed, and nonsense. */
	assert_int_equal(ask(P9_WALK, "ddw", ROOT, 2, 17), EINVAL);
	assert_int_equal(ask(P9_WALK, "ddw", ROOT, P9_NO_FID, 0), ENOMEM);
	assert_int_equal(ask(P9_ATTACH, "ddssd", ROOT, P9_NO_FID, "", "", 0), EBADF);
	assert_int_equal(ask(P9_ATTACH, "ddssd", 5, 6, "", "", 0), EINVAL);
	assert_int_equal(ask(200, ""), EOPNOTSUPP);
	assert_int_equal(ask(P9_LERROR, "d", 1), EOPNOTSUPP);
	assert_int_equal(ask(P9_READ, "dqd", ROOT, (uint64_t)0, 10), EBADF);
	assert_int_equal(ask(P9_XATTRCREATE, "dsqd", ROOT, "user.a", (uint64_t)1 << 40, 0), E2BIG);
	assert_int_equal(ask(P9_FLUSH, "w", 1), 0);
	close_folder();
}

static void test_sessions(void **state)
{
	(void)state;
	open_folder(false);
	assert_int_equal(walk(2, "file"), 0);
	assert_int_equal(ask(P9_LOPEN, "dd", 2, O_RDONLY), 0);
	/* Who begins again has no files. */
	begin_session();
	assert_int_equal(ask(P9_CLUNK, "d", 2), EBADF);
	assert_int_equal(ask(P9_VERSION, "ds", ROOM, "9P2000.u"), 0);
	pass_over(4);
	assert_string_next("unknown");
	assert_int_equal(ask(P9_ATTACH, "ddssd", ROOT, P9_NO_FID, "", "", 0), EPROTO);
	assert_int_equal(ask(P9_VERSION, "ds", 100, "9P2000.L"), EMSGSIZE);
	begin_session();
	close_folder();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walks),	   cmocka_unit_test(test_files),
		cmocka_unit_test(test_names),	   cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_directories), cmocka_unit_test(test_locks),
		cmocka_unit_test(test_readonly),   cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_sessions),   cmocka_unit_test(test_kept_in_attributes),
		cmocka_unit_test(test_kept_in_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
