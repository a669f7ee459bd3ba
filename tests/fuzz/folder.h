/*
 * The folder that targets of file servers share with a hostile guest: made anew for each input, with a file outside that must
 * stay as it is.
 */
#ifndef KVIK_TESTS_FUZZ_FOLDER_H
#define KVIK_TESTS_FUZZ_FOLDER_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

#define STEPS_MAX 200
#define FILE_MAX  (1 << 20)

static const char *const names[] = {"file", "sub",  "out", "fifo", "deep", "a",  "b",
				    "c",    "..",   ".",   "",	   "a/b",  "/x", "user.a",
				    "user.b", "system.a"};
#define NAMES (sizeof(names) / sizeof(names[0]))

static char place[64]; /* the folder's parent */
static int start;      /* the directory that the process began in */

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	fuzz_check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
	(void)status;
	(void)kind;
	(void)where;
	return remove(path);
}

static void end_place(void)
{
	fuzz_check(chdir("/") == 0);
	nftw(place, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* In the working directory, once for the process. */
static void begin_place(void)
{
	const struct rlimit limit = {FILE_MAX, FILE_MAX};

	if (place[0])
		return;
	start = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	fuzz_check(start >= 0);
	strcpy(place, "/tmp/kvik-fuzz-XXXXXX");
	fuzz_check(mkdtemp(place) != NULL);
	atexit(end_place);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
}

/* In that, what the peer may have and what it may not. Its top, open, whose owner is the caller. */
static int make_folder(void)
{
	int root;

	umask(0);
	begin_place();
	fuzz_check(chdir(place) == 0);
	put("outside", "secret");
	fuzz_check(mkdir("in", 0755) == 0 && chdir("in") == 0 && mkdir("sub", 0755) == 0);
	put("file", "hello");
	put("sub/deep", "deep");
	fuzz_check(symlink("../outside", "out") == 0 && mkfifo("fifo", 0644) == 0);
	root = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	fuzz_check(root >= 0);
	return root;
}

static void check_outside(void)
{
	char text[16];
	struct stat status;
	int fd;

	fuzz_check(chdir(place) == 0);
	fd = open("outside", O_RDONLY | O_CLOEXEC);
	fuzz_check(fd >= 0 && read(fd, text, sizeof(text)) == 6 && memcmp(text, "secret", 6) == 0);
	fuzz_check(fstat(fd, &status) == 0 && (status.st_mode & 07777) == 0644 && status.st_nlink == 1);
	close(fd);
	fuzz_check(stat(place, &status) == 0 && status.st_nlink <= 3);
	chmod("in", 0755);
	nftw("in", remove_one, 16, FTW_DEPTH | FTW_PHYS);
	fuzz_check(rmdir("in") < 0 && errno == ENOENT);
	fuzz_check(fchdir(start) == 0);
}

static uint64_t number(struct fuzz_input *input)
{
	uint8_t first = fuzz_u8(input);

	return first < 0xf8 ? first : fuzz_u64(input);
}

#endif
