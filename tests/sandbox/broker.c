/*
 * The broker opens what was granted when it was started, and nothing else: not by "..", by a symbolic
 * link, by a name that somebody has changed since, by more access; and whoever sends it what kvik would
 * not send has no broker any more. It needs nobody to end it.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "helpers.h"
#include "sandbox/broker.h"
#include "sandbox/helper.h"

#define ALL (BROKER_READ | BROKER_WRITE | BROKER_CREATE)

enum { DIRECTORY, MISSING, ONE_FILE, NAMED_LINK, MOVED, SWAPPED };

static const struct broker_grant grants[] = {
	[DIRECTORY] = {"granted", ALL},
	[MISSING] = {"screen.ppm", BROKER_WRITE | BROKER_CREATE},
	[ONE_FILE] = {"granted/file", BROKER_READ},
	[NAMED_LINK] = {"named", BROKER_READ},
	[MOVED] = {"moved", BROKER_READ},
	[SWAPPED] = {"swapped", BROKER_READ},
};

static void write_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, path, strlen(path)) < 0)
		abort();
	close(fd);
}

static void make_files(void)
{
	mkdir("granted", 0700);
	mkdir("granted/sub", 0700);
	mkdir("moved", 0700);
	write_file("secret");
	write_file("granted/file");
	write_file("granted/sub/inner");
	write_file("moved/file");
	write_file("swapped");
	if (symlink("secret", "named") < 0 || symlink("../secret", "granted/link") < 0 ||
	    symlink("..", "granted/up") < 0 || symlink("file", "granted/near") < 0 ||
	    mkfifo("granted/fifo", 0600) < 0)
		abort();
}

static int start(void)
{
	struct error error;
	int broker = broker_start(grants, sizeof(grants) / sizeof(grants[0]), &error);

	if (broker < 0) {
		printf("FAIL %s\n", error.message);
		_exit(1);
	}
	return broker;
}

/* Open, look whether it is `content`, close. */
static void expect_content(const char *about, int broker, unsigned grant, const char *path,
			   const char *content)
{
	char text[64] = "";
	int fd = broker_open(broker, grant, path, BROKER_READ);

	if (fd < 0) {
		expect(about, fd, 0);
		return;
	}
	expect(about, read(fd, text, sizeof(text) - 1) >= 0 && !strcmp(text, content), true);
	close(fd);
}

static void expect_refused(const char *about, int broker, unsigned grant, const char *path,
			   unsigned access, int wanted)
{
	int fd = broker_open(broker, grant, path, access);

	expect(about, fd < 0 ? fd : 0, wanted);
	if (fd >= 0)
		close(fd);
}

static void ask_for_files(void)
{
	int broker = start(), fd;

	if (!SANDBOX_IS_RELAXED)
		expect_confined_child();
	/* What was granted is what it was, whatever the name leads to now. */
	if (rename("moved", "elsewhere") < 0 || symlink(".", "moved") < 0 ||
	    unlink("swapped") < 0 || symlink("secret", "swapped") < 0)
		abort();
	confine_monitor();

	expect_content("a file", broker, DIRECTORY, "file", "granted/file");
	expect_content("a file below", broker, DIRECTORY, "sub/inner", "granted/sub/inner");
	expect_content("down and up again", broker, DIRECTORY, "sub/../file", "granted/file");
	expect_content("a granted file", broker, ONE_FILE, "", "granted/file");
	expect_content("a link that the user named", broker, NAMED_LINK, "", "secret");
	expect_content("a directory that was moved", broker, MOVED, "file", "moved/file");
	fd = broker_open(broker, DIRECTORY, "sub/new", BROKER_WRITE | BROKER_CREATE);
	expect("a new file", fd >= 0 && write(fd, "new", 3) == 3, true);
	close(fd);
	expect_content("its content", broker, DIRECTORY, "sub/new", "new");
	expect_refused("a granted file that was missing", broker, MISSING, "",
		       BROKER_WRITE | BROKER_CREATE, 0);

	expect_refused("up", broker, DIRECTORY, "../secret", BROKER_READ, -EXDEV);
	expect_refused("down and up too far", broker, DIRECTORY, "sub/../../secret", BROKER_READ, -EXDEV);
	expect_refused("an absolute path", broker, DIRECTORY, "/etc/passwd", BROKER_READ, -EXDEV);
	expect_refused("a link out", broker, DIRECTORY, "link", BROKER_READ, -ELOOP);
	expect_refused("by a link out", broker, DIRECTORY, "up/secret", BROKER_READ, -ELOOP);
	expect_refused("a link within", broker, DIRECTORY, "near", BROKER_READ, -ELOOP);
	expect_refused("a new file by a link out", broker, DIRECTORY, "up/new", ALL, -ELOOP);
	expect_refused("a link that came later", broker, SWAPPED, "", BROKER_READ, -ELOOP);
	expect_refused("what a moved name leads to", broker, MOVED, "secret", BROKER_READ, -ENOENT);
	expect_refused("a FIFO", broker, DIRECTORY, "fifo", BROKER_READ, -EACCES);
	expect_refused("a directory", broker, DIRECTORY, "sub", BROKER_READ, -EACCES);
	expect_refused("the directory itself", broker, DIRECTORY, ".", BROKER_READ, -EACCES);
	expect_refused("nothing in it", broker, DIRECTORY, "", BROKER_READ, -EINVAL);
	expect_refused("below a file", broker, ONE_FILE, "x", BROKER_READ, -EINVAL);
	expect_refused("beside a file", broker, ONE_FILE, "../sub/inner", BROKER_READ, -EINVAL);
	expect_refused("to write what is to be read", broker, ONE_FILE, "", BROKER_WRITE, -EACCES);
	expect_refused("to read what is to be written", broker, MISSING, "", BROKER_READ, -EACCES);
	expect_refused("no access", broker, DIRECTORY, "file", 0, -EINVAL);
	expect_refused("to make what is read", broker, DIRECTORY, "x", BROKER_READ | BROKER_CREATE,
		       -EINVAL);
	expect_refused("no grant", broker, sizeof(grants) / sizeof(grants[0]), "", BROKER_READ, -EACCES);
	expect_refused("no grant", broker, ~0u, "", BROKER_READ, -EACCES);
}

/* One message after which there is no broker. */
static void expect_end(const char *about, const void *message, size_t size, int with_fd)
{
	int broker = start();

	expect(about, helper_send(broker, message, size, &with_fd, with_fd >= 0), 0);
	expect_refused("and then", broker, DIRECTORY, "file", BROKER_READ, -EPIPE);
	close(broker);
}

static void send_malformed(void)
{
	struct {
		uint32_t grant, access;
		char path[BROKER_PATH_BYTES];
	} request = {.access = BROKER_READ, .path = "file"};
	char longer[sizeof(request) + 1] = {0};

	expect_end("too short", &request, sizeof(request) - 1, -1);
	expect_end("too long", longer, sizeof(longer), -1);
	expect_end("empty", &request, 0, -1);
	expect_end("with a descriptor", &request, sizeof(request), STDOUT_FILENO);
	request.access = 8;
	expect_end("unknown access", &request, sizeof(request), -1);
	request.access = BROKER_READ;
	request.path[100] = 'x';
	expect_end("bytes behind the path", &request, sizeof(request), -1);
	memset(request.path, 'x', sizeof(request.path));
	expect_end("a path without end", &request, sizeof(request), -1);
}

/* More files than either side has room for, one after the other and at once. */
static void exhaust(void)
{
	const struct rlimit few = {48, 48};
	int broker, fds[64], count = 0, i;

	setrlimit(RLIMIT_NOFILE, &few);
	broker = start();
	confine_monitor();
	for (i = 0; i < 500; i++) {
		int fd = broker_open(broker, DIRECTORY, "file", BROKER_READ);

		if (fd < 0)
			break;
		close(fd);
	}
	expect("files one after the other", i, 500);
	while (count < 64 && (fds[count] = broker_open(broker, DIRECTORY, "file", BROKER_READ)) >= 0)
		count++;
	expect("files at once", fds[count], -EMFILE);
	while (count > 0)
		close(fds[--count]);
	expect_content("and again", broker, DIRECTORY, "file", "granted/file");
}

static void is_killed(int ready)
{
	start();
	confine_monitor();
	if (write(ready, "", 1) == 1)
		for (;;)
			pause_ms(1000);
}

/* Nobody reads what the broker sends, until it can send no more. */
static void is_killed_deaf(int ready)
{
	struct {
		uint32_t grant, access;
		char path[BROKER_PATH_BYTES];
	} request = {.access = BROKER_READ, .path = "file"};
	int broker = start();

	while (send(broker, &request, sizeof(request), MSG_DONTWAIT) > 0)
		pause_ms(1);
	is_killed(ready);
}

/* Another process has the socket, too, and stays, for longer than anybody waits, if the broker does. */
static void is_killed_with_heir(int ready)
{
	struct pollfd helper = {.events = POLLIN};

	start();
	helper.fd = syscall(SYS_pidfd_open, find_child(), 0);
	if (fork() == 0) {
		close(ready);
		if (poll(&helper, 1, 4000) != 1)
			pause_ms(10000);
		_exit(0);
	}
	is_killed(ready);
}

int main(void)
{
	char place[] = "/tmp/kvik-broker-XXXXXX", command[64];

	if (!mkdtemp(place) || chdir(place) < 0)
		return 1;
	adopt_orphans();
	make_files();
	run_monitor("files", ask_for_files);
	run_monitor("malformed messages", send_malformed);
	run_monitor("descriptors run out", exhaust);
	kill_monitor("it ends with its monitor", is_killed);
	kill_monitor("it ends with a deaf monitor", is_killed_deaf);
	kill_monitor("it ends with its monitor, whoever has the socket", is_killed_with_heir);
	snprintf(command, sizeof(command), "rm -r %s", place);
	return system(command) != 0 || failures;
}
