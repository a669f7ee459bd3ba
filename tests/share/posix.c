/*
 * What programs rely on of a file system (POSIX, and Linux's manual pages), tried out in a directory:
 *
 *     posix DIRECTORY [SEED [OPERATIONS [owners]]]
 *
 * One line for each thing that is not so, and a count at the end. A host's own file system passes all of it;
 * so must a shared folder, in a guest. The last part is in the manner of fsx: random reads, writes, truncations,
 * mappings and holes of one file beside a copy in memory; it prints its seed.
 *
 * With "owners", and run by root, also what is of several users: who owns what, and what others may not.
 *
 * Linux's 9P cannot exchange names, has times in seconds, and knows one kind of lock: those are left out there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static unsigned checks, failures;
static const char *part;
static bool is_9p;

static void check(bool holds, const char *what, int line)
{
	checks++;
	if (holds)
		return;
	failures++;
	printf("FAIL %s: %s (line %d; errno %d)\n", part, what, line, errno);
}

#define CHECK(condition) check(condition, #condition, __LINE__)
#define FAILS(call, code) (errno = 0, (call) < 0 && errno == (code))

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	CHECK(fd >= 0);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	CHECK(close(fd) == 0);
}

static bool holds(const char *path, const char *text)
{
	char buffer[4096];
	int fd = open(path, O_RDONLY);
	ssize_t size = read(fd, buffer, sizeof(buffer));

	close(fd);
	return size == (ssize_t)strlen(text) && memcmp(buffer, text, size) == 0;
}

static struct stat status_of(const char *path)
{
	struct stat status;

	memset(&status, 0, sizeof(status));
	CHECK(lstat(path, &status) == 0);
	return status;
}

static void test_creation(void)
{
	struct stat status;
	mode_t mask = umask(022);
	int fd;

	CHECK((fd = open("a", O_RDWR | O_CREAT | O_EXCL, 0777)) >= 0);
	CHECK(fstat(fd, &status) == 0 && (status.st_mode & 07777) == 0755 && status.st_size == 0);
	CHECK(FAILS(open("a", O_RDWR | O_CREAT | O_EXCL, 0777), EEXIST));
	CHECK(FAILS(open("none", O_RDWR), ENOENT));
	CHECK(FAILS(open("a/b", O_RDWR | O_CREAT, 0666), ENOTDIR));
	CHECK(FAILS(open(".", O_RDWR), EISDIR));
	CHECK(write(fd, "12345", 5) == 5 && pwrite(fd, "x", 1, 10) == 1);
	CHECK(fstat(fd, &status) == 0 && status.st_size == 11);
	close(fd);
	CHECK((fd = open("a", O_WRONLY | O_TRUNC)) >= 0);
	CHECK(fstat(fd, &status) == 0 && status.st_size == 0);
	CHECK(FAILS(read(fd, &status, 1), EBADF));
	close(fd);
	/* A file that may not be written to, open for writing from its making on. */
	CHECK((fd = open("ro", O_RDWR | O_CREAT, 0400)) >= 0 && write(fd, "x", 1) == 1);
	close(fd);
	CHECK(unlink("ro") == 0 && unlink("a") == 0 && FAILS(unlink("a"), ENOENT));
	CHECK(mkdir("d", 0777) == 0 && (status_of("d").st_mode & 07777) == 0755);
	CHECK(status_of("d").st_nlink >= 1);
	CHECK(FAILS(mkdir("d", 0777), EEXIST) && rmdir("d") == 0 && FAILS(rmdir("d"), ENOENT));
	CHECK(mkfifo("f", 0600) == 0 && S_ISFIFO(status_of("f").st_mode) && unlink("f") == 0);
	umask(mask);
}

static void test_names(void)
{
	char name[260], longer[300];

	memset(name, 'n', 255);
	name[255] = 0;
	memset(longer, 'n', 256);
	longer[256] = 0;
	put(name, "long");
	CHECK(holds(name, "long") && unlink(name) == 0);
	CHECK(FAILS(open(longer, O_CREAT | O_RDWR, 0600), ENAMETOOLONG));
	put("with space \xc3\xa4 \n \\ %s", "odd");
	CHECK(holds("with space \xc3\xa4 \n \\ %s", "odd"));
	CHECK(unlink("with space \xc3\xa4 \n \\ %s") == 0);
	put("x", "lower");
	CHECK(FAILS(open("X", O_RDONLY), ENOENT) && unlink("x") == 0);
}

static void test_unlinked(void)
{
	struct timespec times[2] = {{100, 0}, {200, 0}};
	struct stat status;
	char buffer[8];
	int fd = open("gone", O_RDWR | O_CREAT, 0644);

	CHECK(fd >= 0 && write(fd, "still", 5) == 5 && unlink("gone") == 0);
	CHECK(FAILS(open("gone", O_RDONLY), ENOENT));
	CHECK(pread(fd, buffer, 8, 0) == 5 && memcmp(buffer, "still", 5) == 0);
	CHECK(fstat(fd, &status) == 0 && status.st_nlink == 0 && status.st_size == 5);
	CHECK(pwrite(fd, "more", 4, 5) == 4 && ftruncate(fd, 7) == 0);
	CHECK(fchmod(fd, 0600) == 0 && futimens(fd, times) == 0);
	CHECK(fstat(fd, &status) == 0 && status.st_size == 7 && (status.st_mode & 07777) == 0600 &&
	      status.st_mtime == 200);
	put("gone", "another");
	CHECK(pread(fd, buffer, 8, 0) == 7 && memcmp(buffer, "stillmo", 7) == 0);
	CHECK(holds("gone", "another") && unlink("gone") == 0);
	CHECK(fsync(fd) == 0 && close(fd) == 0);
	/* A directory that somebody is in. */
	CHECK(mkdir("d", 0755) == 0 && (fd = open("d", O_RDONLY | O_DIRECTORY)) >= 0);
	CHECK(rmdir("d") == 0 && fstat(fd, &status) == 0);
	CHECK(FAILS(openat(fd, "x", O_CREAT | O_RDWR, 0600), ENOENT));
	close(fd);
}

static void test_rename(void)
{
	struct stat status;
	char buffer[8];
	int fd;

	put("from", "from");
	put("to", "to");
	CHECK((fd = open("to", O_RDONLY)) >= 0);
	CHECK(rename("from", "to") == 0 && holds("to", "from"));
	CHECK(FAILS(open("from", O_RDONLY), ENOENT));
	/* What was there is still there for who has it open. */
	CHECK(read(fd, buffer, 8) == 2 && fstat(fd, &status) == 0 && status.st_nlink == 0);
	close(fd);
	CHECK((fd = open("to", O_RDWR)) >= 0 && rename("to", "again") == 0);
	CHECK(write(fd, "F", 1) == 1 && close(fd) == 0 && holds("again", "From"));
	CHECK(mkdir("d", 0755) == 0 && mkdir("d/e", 0755) == 0 && mkdir("f", 0755) == 0);
	put("d/e/deep", "deep");
	CHECK(rename("d/e", "f/g") == 0 && holds("f/g/deep", "deep"));
	CHECK(FAILS(rename("f", "f/g/h"), EINVAL));
	CHECK(FAILS(rename("again", "d"), EISDIR) && FAILS(rename("d", "again"), ENOTDIR));
	CHECK(rename("d", "f/d") == 0);
	put("f/d/x", "x");
	CHECK(mkdir("empty", 0755) == 0 && rename("empty", "f/d") < 0 && (errno == ENOTEMPTY || errno == EEXIST));
	CHECK(unlink("f/d/x") == 0 && rename("empty", "f/d") == 0);
	put("one", "one");
	CHECK(FAILS(renameat2(AT_FDCWD, "one", AT_FDCWD, "again", RENAME_NOREPLACE), EEXIST));
	if (is_9p)
		CHECK(rename("again", "swap") == 0 && rename("one", "again") == 0 && rename("swap", "one") == 0);
	else
		CHECK(renameat2(AT_FDCWD, "one", AT_FDCWD, "again", RENAME_EXCHANGE) == 0);
	CHECK(holds("again", "one") && holds("one", "From"));
	/* Two names of one file stay both. */
	CHECK(link("one", "two") == 0 && rename("one", "two") == 0 && holds("one", "From"));
	CHECK(unlink("one") == 0 && unlink("two") == 0 && unlink("again") == 0);
	CHECK(unlink("f/g/deep") == 0 && rmdir("f/g") == 0 && rmdir("f/d") == 0 && rmdir("f") == 0);
}

static void test_links(void)
{
	char target[64] = "";

	put("one", "1");
	CHECK(link("one", "two") == 0 && status_of("one").st_nlink == 2);
	CHECK(status_of("one").st_ino == status_of("two").st_ino);
	put("two", "changed");
	CHECK(holds("one", "changed") && unlink("one") == 0 && status_of("two").st_nlink == 1);
	CHECK(holds("two", "changed") && chmod("two", 0600) == 0);
	CHECK(FAILS(link("none", "x"), ENOENT) && FAILS(link("two", "two"), EEXIST));
	CHECK(FAILS(link(".", "x"), EPERM) && unlink("two") == 0);
	CHECK(symlink("some where", "link") == 0 && S_ISLNK(status_of("link").st_mode));
	CHECK(readlink("link", target, sizeof(target)) == 10 && strcmp(target, "some where") == 0);
	CHECK(status_of("link").st_size == 10);
	CHECK(FAILS(open("link", O_RDONLY), ENOENT) && FAILS(open("link", O_RDONLY | O_NOFOLLOW), ELOOP));
	put("some where", "there");
	CHECK(holds("link", "there") && unlink("link") == 0 && unlink("some where") == 0);
	CHECK(symlink("loop", "loop") == 0 && FAILS(open("loop", O_RDONLY), ELOOP));
	CHECK(unlink("loop") == 0 && FAILS(readlink(".", target, 1), EINVAL));
}

static void test_append(void)
{
	int a = open("log", O_WRONLY | O_CREAT | O_APPEND, 0644), b = open("log", O_WRONLY | O_APPEND);
	unsigned i;

	for (i = 0; i < 3; i++)
		CHECK(write(a, "a", 1) == 1 && write(b, "b", 1) == 1);
	CHECK(holds("log", "ababab"));
	CHECK(truncate("log", 2) == 0 && write(a, "c", 1) == 1 && holds("log", "abc"));
	close(a);
	close(b);
	CHECK(unlink("log") == 0);
}

static void test_attributes(void)
{
	struct timespec times[2] = {{1000000000, 123456789}, {1200000000, 987654321}}, now;
	struct stat status;
	int fd = -1;

	if (is_9p)
		times[0].tv_nsec = times[1].tv_nsec = 0;
	put("f", "content");
	CHECK(chmod("f", 0751) == 0 && (status_of("f").st_mode & 07777) == 0751);
	CHECK(utimensat(AT_FDCWD, "f", times, 0) == 0);
	status = status_of("f");
	CHECK(status.st_atim.tv_sec == 1000000000 && status.st_atim.tv_nsec == times[0].tv_nsec);
	CHECK(status.st_mtim.tv_sec == 1200000000 && status.st_mtim.tv_nsec == times[1].tv_nsec);
	times[0].tv_nsec = UTIME_OMIT;
	times[1].tv_nsec = UTIME_NOW;
	CHECK(utimensat(AT_FDCWD, "f", times, 0) == 0);
	status = status_of("f");
	clock_gettime(CLOCK_REALTIME, &now);
	CHECK(status.st_atim.tv_sec == 1000000000 && labs(status.st_mtim.tv_sec - now.tv_sec) < 60);
	CHECK(symlink("f", "l") == 0);
	times[0] = times[1] = (struct timespec){5, 6};
	CHECK(utimensat(AT_FDCWD, "l", times, AT_SYMLINK_NOFOLLOW) == 0);
	CHECK(status_of("l").st_mtim.tv_sec == 5 && status_of("f").st_mtim.tv_sec != 5);
	CHECK(unlink("l") == 0);
	/* Writing is seen in the time and the size. */
	times[0] = times[1] = (struct timespec){7, 0};
	CHECK(utimensat(AT_FDCWD, "f", times, 0) == 0 && (fd = open("f", O_WRONLY)) >= 0);
	CHECK(pwrite(fd, "x", 1, 99) == 1 && fstat(fd, &status) == 0);
	CHECK(status.st_mtim.tv_sec > 7 && status.st_size == 100);
	close(fd);
	CHECK(chown("f", -1, -1) == 0 && chown("f", status_of("f").st_uid, status_of("f").st_gid) == 0);
	CHECK(mkdir("d", 0700) == 0 && chmod("d", 01755) == 0 &&
	      (status_of("d").st_mode & 07777) == 01755);
	CHECK(rmdir("d") == 0 && unlink("f") == 0);
	CHECK(FAILS(chmod("none", 0600), ENOENT));
}

static void test_sparse(void)
{
	struct stat status;
	char buffer[4096], zeroes[4096] = {0};
	int fd = open("sparse", O_RDWR | O_CREAT, 0644);
	off_t data;

	CHECK(ftruncate(fd, 10 << 20) == 0 && fstat(fd, &status) == 0 && status.st_size == 10 << 20);
	CHECK(status.st_blocks < 1000);
	CHECK(pwrite(fd, "data", 4, 5 << 20) == 4);
	CHECK(pread(fd, buffer, 4096, 4 << 20) == 4096 && memcmp(buffer, zeroes, 4096) == 0);
	data = lseek(fd, 0, SEEK_DATA);
	CHECK(data >= 0 && data <= 5 << 20);
	CHECK(lseek(fd, 5 << 20, SEEK_HOLE) > 5 << 20 && lseek(fd, 0, SEEK_END) == 10 << 20);
	CHECK(FAILS(lseek(fd, 11 << 20, SEEK_DATA), ENXIO));
	if (fallocate(fd, 0, 0, 1 << 20) == 0 || errno != EOPNOTSUPP) {
		CHECK(fstat(fd, &status) == 0 && status.st_blocks >= 2048);
		CHECK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 20 << 20, 4096) == 0);
		CHECK(fstat(fd, &status) == 0 && status.st_size == 10 << 20);
		CHECK(fallocate(fd, 0, 20 << 20, 4096) == 0);
		CHECK(fstat(fd, &status) == 0 && status.st_size == (20 << 20) + 4096);
		CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 << 20, 4096) == 0);
		CHECK(pread(fd, buffer, 4, 5 << 20) == 4 && memcmp(buffer, zeroes, 4) == 0);
	}
	close(fd);
	CHECK(truncate("sparse", 3) == 0 && status_of("sparse").st_size == 3 && unlink("sparse") == 0);
	/* Cut off and made longer again: zeroes, not what was there. */
	put("cut", "0123456789");
	CHECK(truncate("cut", 4) == 0 && truncate("cut", 8) == 0);
	fd = open("cut", O_RDONLY);
	CHECK(read(fd, buffer, 20) == 8 && memcmp(buffer, "0123\0\0\0\0", 8) == 0);
	close(fd);
	CHECK(unlink("cut") == 0);
}

static void test_mappings(void)
{
	int fd = open("map", O_RDWR | O_CREAT, 0644);
	char *map, *private;

	CHECK(ftruncate(fd, 8192) == 0);
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(map != MAP_FAILED && private != MAP_FAILED);
	if (map == MAP_FAILED || private == MAP_FAILED)
		return;
	CHECK(pwrite(fd, "written", 7, 100) == 7 && memcmp(map + 100, "written", 7) == 0);
	memcpy(map + 5000, "mapped", 6);
	private[0] = 'p';
	CHECK(msync(map, 8192, MS_SYNC) == 0);
	munmap(private, 8192);
	munmap(map, 8192);
	close(fd);
	fd = open("map", O_RDONLY);
	map = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(memcmp(map + 5000, "mapped", 6) == 0 && memcmp(map + 100, "written", 7) == 0 && !map[0]);
	munmap(map, 8192);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	close(fd);
	CHECK(unlink("map") == 0);
}

/* All are seen once, also while files go; and one can come back to a place. */
static void test_directories(void)
{
	enum { FILES = 2000 };
	static unsigned char seen[FILES];
	struct dirent *entry;
	char name[32];
	unsigned i, count = 0, dots = 0;
	long middle = 0;
	DIR *directory;

	CHECK(mkdir("big", 0755) == 0);
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "big/n%u", i);
		close(open(name, O_CREAT | O_WRONLY, 0600));
	}
	directory = opendir("big");
	while ((entry = readdir(directory))) {
		dots += entry->d_name[0] == '.';
		if (sscanf(entry->d_name, "n%u", &i) == 1 && i < FILES)
			seen[i]++;
		if (++count == 1000)
			middle = telldir(directory);
	}
	CHECK(dots == 2 && count == FILES + 2);
	for (i = count = 0; i < FILES; i++)
		count += seen[i] == 1;
	CHECK(count == FILES);
	seekdir(directory, middle);
	for (count = 0; readdir(directory);)
		count++;
	CHECK(count == FILES + 2 - 1000);
	rewinddir(directory);
	for (count = 0; (entry = readdir(directory));) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "big/%.20s", entry->d_name);
		CHECK(unlink(name) == 0);
		count++;
	}
	CHECK(count == FILES);
	closedir(directory);
	CHECK(rmdir("big") == 0);
	/* What is added is seen by who looks again. */
	CHECK(mkdir("d", 0755) == 0 && (directory = opendir("d")));
	while (readdir(directory))
		;
	put("d/new", "");
	rewinddir(directory);
	for (count = 0; readdir(directory);)
		count++;
	CHECK(count == 3);
	closedir(directory);
	CHECK(FAILS(rmdir("d"), ENOTEMPTY) && unlink("d/new") == 0 && rmdir("d") == 0);
	CHECK(FAILS(rmdir("none"), ENOENT) && FAILS(unlink("."), EISDIR));
}

static void test_locks(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
	int fd = open("lock", O_RDWR | O_CREAT, 0600), other = open("lock", O_RDWR), status;

	CHECK(flock(fd, LOCK_EX) == 0 && FAILS(flock(other, LOCK_EX | LOCK_NB), EWOULDBLOCK));
	CHECK(flock(fd, LOCK_UN) == 0 && flock(other, LOCK_EX | LOCK_NB) == 0);
	CHECK(!is_9p || flock(other, LOCK_UN) == 0);
	CHECK(fcntl(fd, F_SETLK, &lock) == 0);
	if (fork() == 0)
		_exit(fcntl(other, F_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES));
	CHECK(wait(&status) > 0 && WEXITSTATUS(status) == 1);
	close(fd);
	close(other);
	CHECK(unlink("lock") == 0);
}

static void test_rest(void)
{
	struct statvfs system;
	char value[16];
	struct iovec parts[2] = {{(void *)"ab", 2}, {(void *)"cde", 3}};
	int fd, to;
	off_t from_at = 1, to_at = 0;

	CHECK(statvfs(".", &system) == 0 && system.f_blocks > 0 && system.f_namemax >= 255);
	fd = open("v", O_RDWR | O_CREAT, 0600);
	CHECK(writev(fd, parts, 2) == 5 && holds("v", "abcde") && fdatasync(fd) == 0);
	to = open("w", O_RDWR | O_CREAT, 0600);
	CHECK(copy_file_range(fd, &from_at, to, &to_at, 3, 0) == 3 && holds("w", "bcd"));
	close(to);
	if (fsetxattr(fd, "user.colour", "green", 5, 0) == 0 || errno != EOPNOTSUPP) {
		CHECK(getxattr("v", "user.colour", value, sizeof(value)) == 5);
		CHECK(memcmp(value, "green", 5) == 0);
		CHECK(FAILS(getxattr("v", "user.colour", value, 2), ERANGE));
		CHECK(getxattr("v", "user.colour", NULL, 0) == 5);
		CHECK(FAILS(setxattr("v", "user.colour", "x", 1, XATTR_CREATE), EEXIST));
		CHECK(listxattr("v", value, sizeof(value)) == 12 && strcmp(value, "user.colour") == 0);
		CHECK(removexattr("v", "user.colour") == 0);
		CHECK(FAILS(getxattr("v", "user.colour", value, 2), ENODATA));
	}
	close(fd);
	CHECK(unlink("v") == 0 && unlink("w") == 0);
	fd = open(".", O_RDONLY | O_DIRECTORY);
	CHECK(fd >= 0 && fsync(fd) == 0);
	close(fd);
}

/* --- several users --- */

#define OF_OWNERS 2 /* parts, which come last */
#define USER 1000
#define GROUP 2000

static bool is_owned(const char *path, uid_t user, gid_t group)
{
	struct stat status = status_of(path);

	return status.st_uid == user && status.st_gid == group;
}

/* In a process of another user's. */
static void act_as_user(void)
{
	int fd;

	CHECK(setgid(GROUP) == 0 && setuid(USER) == 0);
	CHECK(FAILS(open("secret", O_RDONLY), EACCES) && FAILS(open("readable", O_WRONLY), EACCES));
	CHECK(holds("readable", "text"));
	CHECK(FAILS(open("closed/file", O_RDONLY), EACCES) && FAILS(open("closed", O_RDONLY), EACCES));
	CHECK(FAILS(chmod("readable", 0777), EPERM) && FAILS(chown("readable", USER, GROUP), EPERM));
	CHECK(FAILS(mkdir("new", 0700), EACCES));
	fd = open("common/mine", O_RDWR | O_CREAT | O_EXCL, 0640);
	CHECK(fd >= 0 && write(fd, "x", 1) == 1 && is_owned("common/mine", USER, GROUP));
	close(fd);
	CHECK(symlink("mine", "common/link") == 0 && is_owned("common/link", USER, GROUP));
	CHECK(mkdir("common/d", 0750) == 0 && is_owned("common/d", USER, GROUP));
	CHECK(mkfifo("common/fifo", 0600) == 0 && is_owned("common/fifo", USER, GROUP));
	/* Its directory is sticky: what is another's stays. */
	errno = 0;
	CHECK(unlink("common/theirs") < 0 && (errno == EPERM || errno == EACCES));
	CHECK(FAILS(mknod("common/device", S_IFCHR | 0600, makedev(1, 3)), EPERM));
	CHECK(FAILS(chown("common/mine", 0, -1), EPERM) && chmod("common/mine", 0600) == 0);
}

static void count_entries(const char *path, unsigned wanted)
{
	DIR *directory = opendir(path);
	unsigned found = 0;

	CHECK(directory != NULL);
	while (readdir(directory))
		found++;
	closedir(directory);
	CHECK(found == wanted + 2);
}

static void test_users(void)
{
	int status = -1;
	pid_t child;

	put("secret", "text");
	put("readable", "text");
	CHECK(chmod("secret", 0600) == 0 && chmod("readable", 0644) == 0);
	CHECK(mkdir("closed", 0700) == 0 && mkdir("common", 0777) == 0 && chmod("common", 01777) == 0);
	put("closed/file", "text");
	put("common/theirs", "text");
	CHECK(chmod(".", 0755) == 0);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		checks = failures = 0;
		act_as_user();
		fflush(stdout);
		_exit(failures);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
	failures += WEXITSTATUS(status);
	CHECK(is_owned("common/mine", USER, GROUP) && (status_of("common/mine").st_mode & 07777) == 0600);
	count_entries("common", 5);
	CHECK(unlink("common/mine") == 0 && unlink("common/link") == 0 && rmdir("common/d") == 0);
	CHECK(unlink("common/fifo") == 0 && unlink("common/theirs") == 0 && rmdir("common") == 0);
	CHECK(unlink("closed/file") == 0 && rmdir("closed") == 0 && unlink("secret") == 0 && unlink("readable") == 0);
}

static void test_owners(void)
{
	struct stat status;
	char target[16];
	int fd;

	put("f", "x");
	CHECK(is_owned("f", 0, 0) && chown("f", USER, GROUP) == 0 && is_owned("f", USER, GROUP));
	CHECK(chown("f", -1, 7) == 0 && is_owned("f", USER, 7));
	CHECK(chmod("f", 06755) == 0 && (status_of("f").st_mode & 07777) == 06755);
	CHECK(chown("f", 1, 1) == 0 && (status_of("f").st_mode & 07777) == 0755);
	CHECK(link("f", "g") == 0 && is_owned("g", 1, 1) && chown("g", 2, 2) == 0);
	CHECK(rename("g", "h") == 0 && is_owned("h", 2, 2));
	CHECK(chmod("h", 0) == 0 && holds("h", "x") && status_of("h").st_mode == S_IFREG);
	/* One of the same name is another one. */
	CHECK(unlink("f") == 0);
	put("f", "y");
	CHECK(is_owned("f", 0, 0) && rename("h", "f") == 0 && is_owned("f", 2, 2) && holds("f", "x"));
	if (!is_9p) {
		put("e", "e");
		CHECK(syscall(SYS_renameat2, AT_FDCWD, "e", AT_FDCWD, "f", 2) == 0);
		CHECK(is_owned("e", 2, 2) && is_owned("f", 0, 0) && unlink("e") == 0);
	}
	CHECK((fd = open("f", O_RDWR)) >= 0 && fchown(fd, 3, 4) == 0 && unlink("f") == 0);
	CHECK(fstat(fd, &status) == 0 && status.st_uid == 3 && status.st_gid == 4);
	close(fd);
	CHECK(symlink("to here", "l") == 0 && lchown("l", 5, 6) == 0 && is_owned("l", 5, 6));
	CHECK(S_ISLNK(status_of("l").st_mode) && status_of("l").st_size == 7);
	CHECK(readlink("l", target, sizeof(target)) == 7 && memcmp(target, "to here", 7) == 0);
	CHECK(rename("l", "m") == 0 && readlink("m", target, sizeof(target)) == 7 && unlink("m") == 0);
	CHECK(mknod("c", S_IFCHR | 0640, makedev(4, 300)) == 0 && mknod("b", S_IFBLK | 0600, makedev(8, 1)) == 0);
	status = status_of("c");
	CHECK(S_ISCHR(status.st_mode) && (status.st_mode & 07777) == 0640 && status.st_rdev == makedev(4, 300));
	CHECK(S_ISBLK(status_of("b").st_mode) && unlink("b") == 0 && unlink("c") == 0);
	/* What is made in a directory of a group's is the group's. */
	CHECK(mkdir("d", 0755) == 0 && chown("d", 0, GROUP) == 0 && chmod("d", 02775) == 0);
	put("d/f", "x");
	CHECK(mkdir("d/d", 0755) == 0 && is_owned("d/f", 0, GROUP) && is_owned("d/d", 0, GROUP));
	CHECK((status_of("d/d").st_mode & 07777) == 02755);
	count_entries("d", 2);
	CHECK(FAILS(rmdir("d"), ENOTEMPTY) && rename("d", "moved") == 0 && is_owned("moved/f", 0, GROUP));
	CHECK(unlink("moved/f") == 0 && rmdir("moved/d") == 0 && rmdir("moved") == 0);
	count_entries(".", 0);
}

/* --- in the manner of fsx --- */

#define FSX_MAX (256 << 10)

static uint64_t random_state;

static uint32_t random_number(uint32_t limit)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (random_state >> 33) % limit;
}

static void compare(const char *model, size_t size, int fd, unsigned step)
{
	static char buffer[FSX_MAX + 1];
	ssize_t got = pread(fd, buffer, sizeof(buffer), 0);
	size_t at = 0;

	if (got == (ssize_t)size && memcmp(buffer, model, size) == 0) {
		checks++;
		return;
	}
	while (at < size && at < (size_t)got && buffer[at] == model[at])
		at++;
	printf("FAIL fsx: step %u: size %zd, not %zu; differs at %zu\n", step, got, size, at);
	failures++;
}

static void fsx(uint64_t seed, unsigned steps)
{
	static char model[FSX_MAX], data[FSX_MAX];
	size_t size = 0, at, length, i;
	int fd = open("fsx", O_RDWR | O_CREAT | O_TRUNC, 0600);
	unsigned step, before = failures;
	char *map;

	printf("fsx: seed %llu\n", (unsigned long long)seed);
	random_state = seed;
	for (step = 0; step < steps && failures == before; step++) {
		at = random_number(FSX_MAX);
		length = random_number(random_number(8) ? 9000 : FSX_MAX) + 1;
		if (length > FSX_MAX - at)
			length = FSX_MAX - at;
		for (i = 0; i < length; i++)
			data[i] = random_number(256);
		switch (random_number(8)) {
		case 0:
		case 1:
			CHECK(pwrite(fd, data, length, at) == (ssize_t)length);
			memcpy(model + at, data, length);
			size = at + length > size ? at + length : size;
			break;
		case 2:
			CHECK(ftruncate(fd, at) == 0);
			if (at < size)
				memset(model + at, 0, size - at);
			size = at;
			break;
		case 3:
			if (at + length > size || !size)
				break;
			map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			CHECK(map != MAP_FAILED);
			memcpy(map + at, data, length);
			memcpy(model + at, data, length);
			munmap(map, size);
			break;
		case 4:
			if (at >= size)
				break;
			map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
			CHECK(map != MAP_FAILED && memcmp(map, model, size) == 0);
			munmap(map, size);
			break;
		case 5:
			if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, length) == 0 &&
			    at < size)
				memset(model + at, 0, at + length > size ? size - at : length);
			break;
		case 6:
			close(fd);
			fd = open("fsx", O_RDWR);
			break;
		default: compare(model, size, fd, step); break;
		}
	}
	compare(model, size, fd, step);
	close(fd);
	CHECK(unlink("fsx") == 0);
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {
		{"creation", test_creation}, {"names", test_names},
		{"unlinked", test_unlinked}, {"rename", test_rename},
		{"links", test_links},	     {"append", test_append},
		{"attributes", test_attributes}, {"sparse", test_sparse},
		{"mappings", test_mappings}, {"directories", test_directories},
		{"locks", test_locks},	     {"rest", test_rest},
		{"owners", test_owners},     {"users", test_users},
	};
	struct statfs system;
	uint64_t seed = count > 2 ? strtoull(arguments[2], NULL, 0) : (uint64_t)time(NULL);
	unsigned steps = count > 3 ? atoi(arguments[3]) : 1000, i;
	unsigned parts = sizeof(tests) / sizeof(tests[0]) - (count > 4 ? 0 : OF_OWNERS);

	if (count < 2 || chdir(arguments[1]) < 0) {
		fprintf(stderr, "usage: posix DIRECTORY [SEED [OPERATIONS [owners]]]\n");
		return 2;
	}
	is_9p = statfs(".", &system) == 0 && system.f_type == V9FS_MAGIC;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < parts; i++) {
		part = tests[i].name;
		tests[i].run();
	}
	part = "fsx";
	fsx(seed, steps);
	printf("posix: %u checks, %u failures\n", checks, failures);
	return failures != 0;
}
