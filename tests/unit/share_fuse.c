/*
 * The FUSE server, asked by bytes: what a guest's kernel asks, and what only a hostile one would. It must do
 * to the folder what was asked, tell of it truly, and never touch anything outside.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "share/fuse.h"

static struct {
	struct fuse fuse;
	char path[64]; /* of the folder; beside it, "outside" */
	int fd;
	_Alignas(8) uint8_t request[FUSE_REQUEST_MAX];
	_Alignas(8) uint8_t reply[FUSE_REQUEST_MAX];
	size_t size;
	int error;
	const void *body;
	size_t body_size;
} world;

/* --- asking --- */

static void begin(uint32_t opcode, uint64_t node)
{
	struct fuse_in_header header = {.opcode = opcode, .unique = 7, .nodeid = node};

	memcpy(world.request, &header, sizeof(header));
	world.size = sizeof(header);
}

static void add(const void *bytes, size_t size)
{
	assert_true(world.size + size <= sizeof(world.request));
	memcpy(world.request + world.size, bytes, size);
	world.size += size;
}

static void add_name(const char *name)
{
	add(name, strlen(name) + 1);
}

/* The reply's error; 1: there was no reply. */
static int ask_for(size_t room)
{
	struct fuse_in_header *header = (struct fuse_in_header *)world.request;
	struct fuse_out_header out;
	size_t size;

	header->len = world.size;
	memset(world.reply, 0xee, sizeof(world.reply));
	size = fuse_answer(&world.fuse, world.request, world.size, world.reply, room);
	assert_true(size <= room);
	/* Nothing is written behind the room that there is. */
	assert_true(room == sizeof(world.reply) || world.reply[room] == 0xee);
	if (!size)
		return 1;
	memcpy(&out, world.reply, sizeof(out));
	assert_int_equal(out.len, size);
	assert_int_equal(out.unique, 7);
	assert_true(out.error <= 0 && out.error > -1000);
	assert_true(!out.error || size == sizeof(out));
	world.body = world.reply + sizeof(out);
	world.body_size = size - sizeof(out);
	return out.error;
}

static int ask(void)
{
	return ask_for(sizeof(world.reply));
}

static int init_session(uint32_t minor)
{
	struct fuse_init_in in = {.major = 7, .minor = minor, .flags = ~0u};

	begin(FUSE_INIT, 0);
	add(&in, sizeof(in));
	return ask();
}

static void open_folder(bool is_readonly, uint64_t keep_s, unsigned fd_limit)
{
	char command[512];

	strcpy(world.path, "/tmp/kvik-share-XXXXXX");
	assert_non_null(mkdtemp(world.path));
	snprintf(command, sizeof(command),
		 "cd %s && mkdir in in/sub && echo secret >outside && echo hello >in/file && "
		 "echo deep >in/sub/deep && ln -s ../outside in/out && ln -s /etc in/etc && mkfifo in/fifo",
		 world.path);
	assert_int_equal(system(command), 0);
	strcat(world.path, "/in");
	world.fd = open(world.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fuse_create(&world.fuse, fcntl(world.fd, F_DUPFD_CLOEXEC, 0), is_readonly,
				     keep_s, fd_limit),
			 0);
	assert_int_equal(init_session(31), 0);
}

static void close_folder(void)
{
	char command[512];

	fuse_destroy(&world.fuse);
	close(world.fd);
	/* The server's own is one in the folder. */
	assert_int_equal(chdir("/"), 0);
	*strrchr(world.path, '/') = 0;
	/* What was outside is as it was. */
	snprintf(command, sizeof(command),
		 "[ \"$(cat %s/outside)\" = secret ] && [ $(ls %s | wc -l) = 2 ] && chmod -R u+rwx %s && rm -r %s",
		 world.path, world.path, world.path, world.path);
	assert_int_equal(system(command), 0);
}

static int look_up(uint64_t parent, const char *name, struct fuse_entry_out *entry)
{
	int result;

	begin(FUSE_LOOKUP, parent);
	add_name(name);
	result = ask();
	memset(entry, 0, sizeof(*entry));
	if (result == 0) {
		assert_int_equal(world.body_size, sizeof(*entry));
		memcpy(entry, world.body, sizeof(*entry));
	}
	return result;
}

static uint64_t node_of(uint64_t parent, const char *name)
{
	struct fuse_entry_out entry;

	assert_int_equal(look_up(parent, name, &entry), 0);
	assert_true(entry.nodeid > 1);
	return entry.nodeid;
}

static int open_node(uint64_t node, uint32_t flags, uint64_t *opening)
{
	struct fuse_open_in in = {.flags = flags};
	int result;

	*opening = ~0ull;
	begin(FUSE_OPEN, node);
	add(&in, sizeof(in));
	result = ask();
	if (result == 0)
		*opening = ((const struct fuse_open_out *)world.body)->fh;
	return result;
}

static int read_file(uint64_t node, uint64_t opening, uint64_t offset, uint32_t size)
{
	struct fuse_read_in in = {.fh = opening, .offset = offset, .size = size};

	begin(FUSE_READ, node);
	add(&in, sizeof(in));
	return ask();
}

static int write_file(uint64_t node, uint64_t opening, uint64_t offset, const char *text)
{
	struct fuse_write_in in = {.fh = opening, .offset = offset, .size = strlen(text)};

	begin(FUSE_WRITE, node);
	add(&in, sizeof(in));
	add(text, strlen(text));
	return ask();
}

static int release_file(uint64_t node, uint64_t opening)
{
	struct fuse_release_in in = {.fh = opening};

	begin(FUSE_RELEASE, node);
	add(&in, sizeof(in));
	return ask();
}

static int get_attributes(uint64_t node, struct fuse_attr *attributes)
{
	struct fuse_getattr_in in = {.getattr_flags = 0};
	int result;

	begin(FUSE_GETATTR, node);
	add(&in, sizeof(in));
	result = ask();
	if (result == 0)
		*attributes = ((const struct fuse_attr_out *)world.body)->attr;
	return result;
}

static int by_name(uint32_t opcode, uint64_t parent, const char *name)
{
	begin(opcode, parent);
	add_name(name);
	return ask();
}

static int move_file(uint64_t from, const char *name, uint64_t to, const char *new, uint32_t flags)
{
	struct fuse_rename2_in in = {.newdir = to, .flags = flags};

	begin(FUSE_RENAME2, from);
	add(&in, sizeof(in));
	add_name(name);
	add_name(new);
	return ask();
}

static uint64_t make_file(uint64_t parent, const char *name, uint64_t *opening)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = S_IFREG | 0644};
	const struct fuse_entry_out *entry;

	begin(FUSE_CREATE, parent);
	add(&in, sizeof(in));
	add_name(name);
	assert_int_equal(ask(), 0);
	entry = world.body;
	*opening = ((const struct fuse_open_out *)(entry + 1))->fh;
	return entry->nodeid;
}

/* --- what a kernel asks --- */

static void test_files(void **state)
{
	struct fuse_attr attributes;
	uint64_t node, opening, again;
	struct stat status;

	(void)state;
	open_folder(false, 1, 64);
	node = node_of(1, "file");
	assert_int_equal(get_attributes(node, &attributes), 0);
	assert_int_equal(attributes.size, 6);
	assert_int_equal(attributes.uid, 0);
	assert_int_equal(fstatat(world.fd, "file", &status, 0), 0);
	assert_int_equal(attributes.ino, status.st_ino);
	assert_int_equal(attributes.mtimensec, status.st_mtim.tv_nsec);
	assert_int_equal(open_node(node, O_RDWR, &opening), 0);
	assert_int_equal(read_file(node, opening, 1, 100), 0);
	assert_int_equal(world.body_size, 5);
	assert_memory_equal(world.body, "ello\n", 5);
	assert_int_equal(write_file(node, opening, 6, "there"), 0);
	assert_int_equal(read_file(node, opening, 0, 100), 0);
	assert_memory_equal(world.body, "hello\nthere", 11);
	/* Unlinked, and still there for who has it open. */
	assert_int_equal(by_name(FUSE_UNLINK, 1, "file"), 0);
	assert_int_equal(read_file(node, opening, 6, 5), 0);
	assert_memory_equal(world.body, "there", 5);
	assert_int_equal(get_attributes(node, &attributes), 0);
	assert_int_equal(attributes.nlink, 0);
	assert_int_equal(open_node(node, O_RDONLY, &again), -ESTALE);
	assert_int_equal(release_file(node, opening), 0);
	assert_int_equal(get_attributes(node, &attributes), 0);
	assert_int_equal(read_file(node, opening, 0, 1), -EBADF);
	close_folder();
}

static void test_names(void **state)
{
	struct fuse_link_in link = {0};
	struct fuse_mkdir_in mkdir_in = {.mode = 0750};
	struct fuse_entry_out entry;
	struct fuse_attr attributes;
	uint64_t node, sub, opening;

	(void)state;
	open_folder(false, 1, 64);
	node = make_file(1, "a", &opening);
	begin(FUSE_LINK, 1);
	link.oldnodeid = node;
	add(&link, sizeof(link));
	add_name("b");
	assert_int_equal(ask(), 0);
	memcpy(&entry, world.body, sizeof(entry));
	/* One file, one node, whatever its name. */
	assert_int_equal(entry.nodeid, node);
	assert_int_equal(entry.attr.nlink, 2);
	assert_int_equal(move_file(1, "a", 1, "b", 0), 0);
	assert_int_equal(faccessat(world.fd, "a", F_OK, 0), 0);
	begin(FUSE_MKDIR, 1);
	add(&mkdir_in, sizeof(mkdir_in));
	add_name("d");
	assert_int_equal(ask(), 0);
	sub = ((const struct fuse_entry_out *)world.body)->nodeid;
	assert_int_equal(move_file(1, "a", sub, "c", 0), 0);
	assert_int_equal(look_up(sub, "c", &entry), 0);
	assert_int_equal(entry.nodeid, node);
	assert_int_equal(move_file(1, "b", sub, "c", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(move_file(1, "file", sub, "c", RENAME_EXCHANGE), 0);
	assert_int_equal(get_attributes(node, &attributes), 0);
	assert_int_equal(attributes.nlink, 2);
	assert_int_equal(by_name(FUSE_RMDIR, 1, "d"), -ENOTEMPTY);
	assert_int_equal(by_name(FUSE_UNLINK, sub, "c"), 0);
	assert_int_equal(by_name(FUSE_RMDIR, 1, "d"), 0);
	assert_int_equal(get_attributes(sub, &attributes), 0);
	assert_int_equal(look_up(sub, "x", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	/* Symbolic links are read and not followed. */
	node = node_of(1, "out");
	begin(FUSE_READLINK, node);
	assert_int_equal(ask(), 0);
	assert_int_equal(world.body_size, 10);
	assert_memory_equal(world.body, "../outside", 10);
	begin(FUSE_SYMLINK, 1);
	add_name("l");
	add_name("to nowhere");
	assert_int_equal(ask(), 0);
	close_folder();
}

/* A directory moves with all that is known below it, and files are found by other names on the host. */
static void test_moves(void **state)
{
	struct fuse_attr attributes;
	uint64_t sub, deep;

	(void)state;
	open_folder(false, 0, 64);
	sub = node_of(1, "sub");
	deep = node_of(sub, "deep");
	assert_int_equal(move_file(1, "sub", 1, "moved", 0), 0);
	assert_int_equal(get_attributes(deep, &attributes), 0);
	assert_int_equal(attributes.size, 5);
	/* The host moves it: what has no descriptor is looked for again. */
	assert_int_equal(renameat(world.fd, "moved/deep", world.fd, "up"), 0);
	assert_int_equal(get_attributes(deep, &attributes), -ESTALE);
	assert_int_equal(node_of(1, "up"), deep);
	assert_int_equal(get_attributes(deep, &attributes), 0);
	/* Another file at its name is not it. */
	assert_int_equal(renameat(world.fd, "file", world.fd, "up"), 0);
	assert_int_equal(get_attributes(deep, &attributes), -ESTALE);
	assert_true(node_of(1, "up") != deep);
	close_folder();
}

static void test_attributes(void **state)
{
	struct fuse_setattr_in in = {.valid = FATTR_MODE | FATTR_SIZE | FATTR_MTIME,
				     .mode = 0640,
				     .size = 3,
				     .mtime = 1000,
				     .mtimensec = 5};
	struct fuse_setxattr_in set = {.size = 5};
	struct fuse_getxattr_in get = {.size = 100};
	struct stat status;
	uint64_t node;

	(void)state;
	open_folder(false, 1, 64);
	node = node_of(1, "file");
	begin(FUSE_SETATTR, node);
	add(&in, sizeof(in));
	assert_int_equal(ask(), 0);
	assert_int_equal(fstatat(world.fd, "file", &status, 0), 0);
	assert_int_equal(status.st_mode, S_IFREG | 0640);
	assert_int_equal(status.st_size, 3);
	assert_int_equal(status.st_mtim.tv_sec, 1000);
	assert_int_equal(status.st_mtim.tv_nsec, 5);
	/* The right to be its owner is not given on the host. */
	in = (struct fuse_setattr_in){.valid = FATTR_MODE | FATTR_UID, .mode = 06755};
	begin(FUSE_SETATTR, node);
	add(&in, sizeof(in));
	assert_int_equal(ask(), 0);
	assert_int_equal(fstatat(world.fd, "file", &status, 0), 0);
	assert_int_equal(status.st_mode, S_IFREG | 0755);
	assert_int_equal(status.st_uid, geteuid());
	begin(FUSE_SETXATTR, node);
	add(&set, FUSE_COMPAT_SETXATTR_IN_SIZE);
	add_name("user.colour");
	add("green", 5);
	if (ask() != -EOPNOTSUPP) {
		begin(FUSE_GETXATTR, node);
		add(&get, sizeof(get));
		add_name("user.colour");
		assert_int_equal(ask(), 0);
		assert_int_equal(world.body_size, 5);
		assert_memory_equal(world.body, "green", 5);
		begin(FUSE_LISTXATTR, node);
		add(&get, sizeof(get));
		assert_int_equal(ask(), 0);
		assert_memory_equal(world.body, "user.colour", 12);
	}
	begin(FUSE_SETXATTR, node);
	add(&set, FUSE_COMPAT_SETXATTR_IN_SIZE);
	add_name("security.capability");
	add("green", 5);
	assert_int_equal(ask(), -EOPNOTSUPP);
	close_folder();
}

static uint64_t open_directory(uint64_t node)
{
	struct fuse_open_in in = {.flags = O_RDONLY | O_DIRECTORY};

	begin(FUSE_OPENDIR, node);
	add(&in, sizeof(in));
	assert_int_equal(ask(), 0);
	return ((const struct fuse_open_out *)world.body)->fh;
}

/* All names by small steps, and again from the middle. */
static void test_directories(void **state)
{
	enum { FILES = 3000 };
	struct fuse_read_in in = {.size = 1000};
	static uint8_t seen[FILES];
	const struct fuse_direntplus *plus;
	uint64_t middle = 0;
	unsigned i, count = 0, number;
	size_t at, step;
	char name[32];
	int fd;

	(void)state;
	open_folder(false, 1, 64);
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "sub/n%u", i);
		fd = openat(world.fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	number = node_of(1, "sub");
	in.fh = open_directory(number);
	memset(seen, 0, sizeof(seen));
	for (;;) {
		begin(count % 2 ? FUSE_READDIR : FUSE_READDIRPLUS, number);
		add(&in, sizeof(in));
		step = count % 2 ? FUSE_NAME_OFFSET : FUSE_NAME_OFFSET_DIRENTPLUS;
		assert_int_equal(ask(), 0);
		assert_true(world.body_size <= in.size);
		if (!world.body_size)
			break;
		for (at = 0; at < world.body_size;) {
			const struct fuse_dirent *entry =
				(const struct fuse_dirent *)((const uint8_t *)world.body + at);

			plus = (const struct fuse_direntplus *)entry;
			if (!(count % 2))
				entry = &plus->dirent;
			if (sscanf(entry->name, "n%u", &i) == 1) {
				assert_true(i < FILES);
				seen[i]++;
				assert_true((count % 2) || plus->entry_out.nodeid > 1);
			}
			in.offset = entry->off;
			at += FUSE_DIRENT_ALIGN(step + entry->namelen);
		}
		count++;
		if (count == 20)
			middle = in.offset;
	}
	for (i = 0; i < FILES; i++)
		assert_int_equal(seen[i], 1);
	in.offset = middle;
	begin(FUSE_READDIR, number);
	add(&in, sizeof(in));
	assert_int_equal(ask(), 0);
	assert_true(world.body_size > 0);
	/* Far more nodes than descriptors. */
	assert_true(world.fuse.folder.nodes_used > FILES / 16);
	assert_true(world.fuse.folder.fd_count <= 64);
	close_folder();
}

static void test_forgotten(void **state)
{
	struct fuse_forget_in in = {.nlookup = 1};
	struct fuse_attr attributes;
	uint64_t sub, deep, used;

	(void)state;
	open_folder(false, 1, 64);
	used = world.fuse.folder.nodes_used;
	sub = node_of(1, "sub");
	deep = node_of(sub, "deep");
	deep = node_of(sub, "deep");
	begin(FUSE_FORGET, sub);
	add(&in, sizeof(in));
	assert_int_equal(ask(), 1);
	/* Its child has it still. */
	assert_int_equal(get_attributes(deep, &attributes), 0);
	begin(FUSE_FORGET, deep);
	in.nlookup = ~0ull;
	add(&in, sizeof(in));
	assert_int_equal(ask(), 1);
	assert_int_equal(get_attributes(deep, &attributes), -ESTALE);
	assert_int_equal(get_attributes(sub, &attributes), -ESTALE);
	assert_int_equal(world.fuse.folder.nodes_used, used);
	/* A guest that starts again knows nothing. */
	sub = node_of(1, "sub");
	open_directory(sub);
	assert_int_equal(init_session(36), 0);
	assert_int_equal(get_attributes(sub, &attributes), -ESTALE);
	assert_int_equal(world.fuse.folder.nodes_used, used);
	close_folder();
}

/* --- what only a hostile one asks --- */

static void test_escapes(void **state)
{
	static const char *const names[] = {"..", ".", "", "../outside", "sub/deep", "/etc/passwd",
					    "out/x"};
	static const uint32_t opcodes[] = {FUSE_LOOKUP, FUSE_UNLINK, FUSE_RMDIR};
	struct fuse_create_in create = {.flags = O_RDWR | O_TRUNC, .mode = 0666};
	struct fuse_mknod_in device = {.mode = S_IFCHR | 0666, .rdev = 0x103};
	struct fuse_entry_out entry;
	struct fuse_setattr_in set = {.valid = FATTR_SIZE};
	char longest[300];
	uint64_t opening, out, etc;
	unsigned i, j;

	(void)state;
	open_folder(false, 1, 64);
	out = node_of(1, "out");
	etc = node_of(1, "etc");
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		for (j = 0; j < 3; j++)
			assert_int_equal(by_name(opcodes[j], 1, names[i]), -EINVAL);
		assert_int_equal(move_file(1, "file", 1, names[i], 0), -EINVAL);
		assert_int_equal(move_file(1, names[i], 1, "x", 0), -EINVAL);
		begin(FUSE_CREATE, 1);
		add(&create, sizeof(create));
		add_name(names[i]);
		assert_int_equal(ask(), -EINVAL);
	}
	/* A link is no directory, and no file. */
	assert_int_equal(look_up(etc, "passwd", &entry), -ENOTDIR);
	assert_int_equal(open_node(out, O_RDWR, &opening), -EACCES);
	begin(FUSE_CREATE, 1);
	add(&create, sizeof(create));
	add_name("out");
	assert_int_equal(ask(), -ELOOP);
	begin(FUSE_SETATTR, out);
	add(&set, sizeof(set));
	assert_int_equal(ask(), -EINVAL);
	/* Nor does one that comes later lead anywhere. */
	out = node_of(1, "sub");
	assert_int_equal(renameat(world.fd, "sub", world.fd, "real"), 0);
	assert_int_equal(symlinkat("..", world.fd, "sub"), 0);
	assert_int_equal(look_up(out, "outside", &entry), -ESTALE);
	/* A FIFO would wait for its other end; a device is not the guest's to make. */
	assert_int_equal(open_node(node_of(1, "fifo"), O_RDONLY, &opening), -EACCES);
	begin(FUSE_MKNOD, 1);
	add(&device, sizeof(device));
	add_name("null");
	assert_int_equal(ask(), -EPERM);
	memset(longest, 'n', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(look_up(1, longest, &entry), -ENAMETOOLONG);
	close_folder();
}

static void test_wrong_requests(void **state)
{
	struct fuse_write_in wrong = {.offset = 1ull << 63, .size = 4};
	struct fuse_attr attributes;
	uint64_t node, opening, directory;
	unsigned opcode, size;

	(void)state;
	open_folder(false, 1, 64);
	node = make_file(1, "f", &opening);
	directory = open_directory(1);
	/* Every opcode, cut off everywhere: an answer, and nothing worse. */
	for (opcode = 0; opcode < 64; opcode++)
		for (size = 0; size < 120; size++) {
			begin(opcode, opcode % 2 ? node : 1);
			memset(world.request + sizeof(struct fuse_in_header), 0xff, 200);
			world.size = size;
			if (opcode != FUSE_DESTROY && opcode != FUSE_INIT)
				ask_for(sizeof(world.reply));
		}
	for (size = 0; size < 400; size += 3) {
		begin(FUSE_LOOKUP, 1);
		add_name("f");
		ask_for(size);
	}
	assert_int_equal(get_attributes(node, &attributes), 0);
	/* Without an end. */
	begin(FUSE_LOOKUP, 1);
	add("f", 1);
	assert_int_equal(ask(), -EINVAL);
	/* Files that are not open, or not of that kind. */
	assert_int_equal(read_file(node, 12345, 0, 1), -EBADF);
	assert_int_equal(read_file(1, directory, 0, 1), -EBADF);
	assert_int_equal(read_file(node, opening, 1ull << 63, 1), -EINVAL);
	wrong.fh = opening;
	begin(FUSE_WRITE, node);
	add(&wrong, sizeof(wrong));
	add("data", 4);
	assert_int_equal(ask(), -EINVAL);
	/* More than came. */
	wrong = (struct fuse_write_in){.fh = opening, .size = 1 << 20};
	begin(FUSE_WRITE, node);
	add(&wrong, sizeof(wrong));
	add("data", 4);
	assert_int_equal(ask(), -EINVAL);
	/* More than there is room for. */
	assert_int_equal(write_file(node, opening, 0, "0123456789"), 0);
	{
		struct fuse_read_in in = {.fh = opening, .size = ~0u};

		begin(FUSE_READ, node);
		add(&in, sizeof(in));
		assert_int_equal(ask_for(16 + 4), 0);
		assert_int_equal(world.body_size, 4);
	}
	assert_int_equal(get_attributes(~0ull, &attributes), -ESTALE);
	assert_int_equal(get_attributes(0, &attributes), -ESTALE);
	close_folder();
}

static void test_readonly(void **state)
{
	struct fuse_create_in create = {.flags = O_RDWR, .mode = 0666};
	struct fuse_setattr_in set = {.valid = FATTR_MODE};
	uint64_t opening, node;

	(void)state;
	open_folder(true, 1, 64);
	node = node_of(1, "file");
	assert_int_equal(open_node(node, O_RDWR, &opening), -EROFS);
	assert_int_equal(open_node(node, O_RDONLY | O_TRUNC, &opening), -EROFS);
	assert_int_equal(open_node(node, O_RDONLY, &opening), 0);
	assert_int_equal(write_file(node, opening, 0, "x"), -EROFS);
	assert_int_equal(by_name(FUSE_UNLINK, 1, "file"), -EROFS);
	assert_int_equal(move_file(1, "file", 1, "x", 0), -EROFS);
	begin(FUSE_CREATE, 1);
	add(&create, sizeof(create));
	add_name("new");
	assert_int_equal(ask(), -EROFS);
	begin(FUSE_SETATTR, node);
	add(&set, sizeof(set));
	assert_int_equal(ask(), -EROFS);
	close_folder();
}

/* Windows into the kernel are no folders, and below a folder they are walls. */
static void test_walls(void **state)
{
	struct fuse_read_in in = {.size = 4096};
	struct fuse_entry_out entry;
	uint64_t proc, opening;
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	if (proc_fd >= 0 && !folder_can_be_shared(proc_fd) && folder_can_be_shared(root)) {
		assert_int_equal(fuse_create(&world.fuse, proc_fd, true, 1, 64), -EOPNOTSUPP);
		assert_int_equal(fuse_create(&world.fuse, root, true, 1, 64), 0);
		assert_int_equal(init_session(31), 0);
		proc = node_of(1, "proc");
		assert_int_equal(look_up(proc, "self", &entry), 0);
		assert_int_equal(entry.nodeid, 0);
		in.fh = open_directory(proc);
		begin(FUSE_READDIR, proc);
		add(&in, sizeof(in));
		assert_int_equal(ask(), 0);
		assert_int_equal(world.body_size, 0);
		assert_int_equal(open_node(proc, O_RDONLY, &opening), -EISDIR);
		fuse_destroy(&world.fuse);
	} else {
		close(root);
		close(proc_fd);
		skip();
	}
}

static void test_versions(void **state)
{
	struct fuse_init_in in = {.major = 8};
	struct fuse_attr attributes;

	(void)state;
	open_folder(false, 1, 64);
	assert_int_equal(init_session(12), -EPROTO);
	assert_int_equal(get_attributes(1, &attributes), -EIO);
	begin(FUSE_INIT, 0);
	add(&in, sizeof(in));
	assert_int_equal(ask(), 0);
	assert_int_equal(((const struct fuse_init_out *)world.body)->major, 7);
	assert_int_equal(get_attributes(1, &attributes), -EIO);
	assert_int_equal(init_session(38), 0);
	assert_int_equal(((const struct fuse_init_out *)world.body)->max_write, FUSE_DATA_MAX);
	assert_int_equal(get_attributes(1, &attributes), 0);
	close_folder();
}

/* Only what needs neither much data nor the disk is worth waiting for. */
static void test_quick(void **state)
{
	static const uint32_t slow[] = {FUSE_FSYNC, FUSE_FSYNCDIR, FUSE_FALLOCATE, FUSE_COPY_FILE_RANGE};
	static const uint32_t quick[] = {FUSE_LOOKUP, FUSE_GETATTR, FUSE_READDIRPLUS, FUSE_OPEN, FUSE_FORGET};
	struct fuse_read_in read = {.size = 65536};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(slow) / sizeof(slow[0]); i++) {
		begin(slow[i], 1);
		assert_false(fuse_is_quick(world.request, world.size));
	}
	for (i = 0; i < sizeof(quick) / sizeof(quick[0]); i++) {
		begin(quick[i], 1);
		assert_true(fuse_is_quick(world.request, world.size));
		assert_false(fuse_is_quick(world.request, world.size - 1));
	}
	begin(FUSE_READ, 1);
	assert_true(fuse_is_quick(world.request, world.size));
	add(&read, sizeof(read));
	assert_true(fuse_is_quick(world.request, world.size));
	read.size++;
	begin(FUSE_READ, 1);
	add(&read, sizeof(read));
	assert_false(fuse_is_quick(world.request, world.size));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),	     cmocka_unit_test(test_names),
		cmocka_unit_test(test_moves),	     cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_directories),  cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_escapes),	     cmocka_unit_test(test_wrong_requests),
		cmocka_unit_test(test_readonly),     cmocka_unit_test(test_walls),
		cmocka_unit_test(test_versions),     cmocka_unit_test(test_quick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
