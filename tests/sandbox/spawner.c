/*
 * The spawner makes stubs and takes them away, a thousand times with nothing left, never more than its
 * bound, of stubs and of memory; stubs can do what is in their list and nothing else; all end with the monitor.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "helpers.h"
#include "sandbox/helper.h"
#include "sandbox/spawner.h"

/* What a stub of this test does on a byte from its monitor. Those who come back answer with it. */
enum order { ECHO = 'e', COUNT_PAGE = 'p', LEAVE = 'l', OPEN = 'o', FORK = 'f', KILL_ALL = 'k', CODE = 'c' };

static void obey(int socket, void *page)
{
	struct iovec vector;
	struct msghdr packet = {.msg_iov = &vector, .msg_iovlen = 1};
	char order;

	for (;;) {
		vector = (struct iovec){&order, 1};
		if (recvmsg(socket, &packet, 0) != 1)
			return;
		switch (order) {
		case COUNT_PAGE:
			__atomic_fetch_add((uint32_t *)page, 1, __ATOMIC_SEQ_CST);
			syscall(SYS_futex, page, FUTEX_WAKE, 1, NULL, NULL, 0);
			break;
		case LEAVE: return;
		case OPEN: syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY); break;
		case FORK: syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, page, NULL, 0); break;
		case KILL_ALL: syscall(SYS_kill, -1, SIGKILL); break;
		case CODE:
			syscall(SYS_mmap, NULL, 4096, PROT_EXEC | PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			break;
		default: break;
		}
		if (sendmsg(socket, &packet, MSG_NOSIGNAL) != 1)
			return;
	}
}

static void close_stub(struct stub *stub)
{
	close(stub->process);
	close(stub->socket);
	close(stub->page);
}

static int start(void)
{
	struct error error;
	int spawner = spawner_start(obey, SPAWNER_LOCKS, &error);

	if (spawner < 0) {
		printf("FAIL %s\n", error.message);
		_exit(1);
	}
	return spawner;
}

/* 1: it came back with it, 0: it has ended instead, -ETIMEDOUT. */
static int order(const struct stub *stub, char byte)
{
	struct pollfd ready = {.fd = stub->socket, .events = POLLIN};
	struct iovec vector = {&byte, 1};
	struct msghdr packet = {.msg_iov = &vector, .msg_iovlen = 1};

	if (sendmsg(stub->socket, &packet, MSG_NOSIGNAL) != 1)
		return 0;
	if (poll(&ready, 1, 10000) != 1)
		return -ETIMEDOUT;
	return recvmsg(stub->socket, &packet, 0) == 1;
}

static bool has_ended(const struct stub *stub)
{
	struct pollfd ready = {.fd = stub->process, .events = POLLIN};

	return poll(&ready, 1, 10000) == 1;
}

static void expect_stub(int spawner, const char *about, enum order byte, int wanted)
{
	struct stub stub;

	expect("a stub", spawner_spawn(spawner, &stub), 0);
	expect(about, order(&stub, byte), wanted);
	if (!wanted)
		expect("it has ended", has_ended(&stub), true);
	close_stub(&stub);
}

static void use_stubs(void)
{
	int spawner = start();
	struct stub stub, other;
	uint32_t *page;

	if (!SANDBOX_IS_RELAXED)
		expect_confined_child();
	confine_monitor();
	expect("a stub", spawner_spawn(spawner, &stub), 0);
	expect("another", spawner_spawn(spawner, &other), 0);
	expect("it answers", order(&stub, ECHO), 1);
	page = mmap(NULL, STUB_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, stub.page, 0);
	expect("its page is there", page != MAP_FAILED && *page == 0, true);
	expect("it counts", order(&stub, COUNT_PAGE), 1);
	expect("the count is seen", *page, 1);
	expect("the other has its own", order(&other, COUNT_PAGE) == 1 && *page == 1, true);
	expect("kill", spawner_kill(spawner, stub.id), 0);
	expect("it has ended", has_ended(&stub), true);
	expect("it does not answer", order(&stub, ECHO), 0);
	expect("kill it again", spawner_kill(spawner, stub.id), -ESRCH);
	close_stub(&stub);
	expect("a third", spawner_spawn(spawner, &stub), 0);
	expect("the other is left alone", order(&other, ECHO), 1);
	expect("kill one by chance", spawner_kill(spawner, 12345), -ESRCH);
	expect("one that leaves", order(&other, LEAVE), 0);
	expect("it has ended", has_ended(&other), true);
	close_stub(&other);
	close_stub(&stub);
	if (SANDBOX_IS_RELAXED)
		return;
	expect_stub(spawner, "open a file", OPEN, 0);
	expect_stub(spawner, "fork", FORK, 0);
	expect_stub(spawner, "signal everybody", KILL_ALL, 0);
	expect_stub(spawner, "make code that it was not sent", CODE, 0);
}

/* Few descriptors: one that is forgotten each time shows. */
static void spawn_many(void)
{
	const struct rlimit few = {400, 400};
	struct stub stub, stubs[SPAWNER_STUBS];
	unsigned i, good = 0;
	int spawner;

	setrlimit(RLIMIT_NOFILE, &few);
	spawner = start();
	confine_monitor();
	for (i = 0; i < 1000; i++) {
		if (spawner_spawn(spawner, &stub) < 0)
			break;
		if (i % 3 == 0)
			good += order(&stub, LEAVE) == 0 && has_ended(&stub);
		else
			good += spawner_kill(spawner, stub.id) == 0;
		close_stub(&stub);
	}
	expect("stubs that came and went", good, 1000);
	for (i = 0; i < SPAWNER_STUBS && spawner_spawn(spawner, &stubs[i]) == 0; i++)
		;
	expect("as many at once as ever", i, SPAWNER_STUBS);
	expect("and no more", spawner_spawn(spawner, &stub), -EAGAIN);
	expect("until one goes", spawner_kill(spawner, stubs[7].id), 0);
	expect("for another", spawner_spawn(spawner, &stub), 0);
	expect("that answers", order(&stub, ECHO), 1);
}

/* A field of a process's status that is in KiB. */
static long status_kib(pid_t process, const char *field)
{
	char pid[16], value[256];

	snprintf(pid, sizeof(pid), "%d", process);
	read_status(pid, field, value, sizeof(value));
	return value[0] ? atol(value) : -1;
}

/* RAM that is there for a process alone, or as a stub's page. */
static long own_kib(pid_t process)
{
	return status_kib(process, "RssAnon") + status_kib(process, "RssShmem");
}

static pid_t stub_process(const struct stub *stub)
{
	char path[32], line[64];
	FILE *file;
	pid_t pid = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", stub->process);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "Pid: %d", &pid);
	if (file)
		fclose(file);
	return pid;
}

#define SPAWNER_MOST_KIB 512 /* of its own, with as many stubs as there may be */
#define STUB_MOST_KIB	 512 /* of each of them */

/* Of a monitor that is not confined, and so may look. */
static void stay_small(void)
{
	int spawner = start();
	pid_t process = find_child();
	struct stub stubs[SPAWNER_STUBS];
	long first = 0, size = 0, most = 0, kib;
	unsigned turn, i, good = 0;

	for (turn = 0; turn < 20; turn++) {
		for (i = 0; i < SPAWNER_STUBS; i++)
			good += spawner_spawn(spawner, &stubs[i]) == 0 && order(&stubs[i], COUNT_PAGE) == 1;
		if (turn == 0) {
			first = own_kib(process);
			size = status_kib(process, "VmSize");
			for (i = 0; i < SPAWNER_STUBS; i++) {
				kib = own_kib(stub_process(&stubs[i]));
				if (kib > most || kib < 0)
					most = kib;
			}
			printf("# the spawner has %ld KiB, the largest stub %ld KiB\n", first, most);
			expect("the spawner is small", first > 0 && first <= SPAWNER_MOST_KIB, true);
			expect("and so is each stub", most > 0 && most <= STUB_MOST_KIB, true);
		}
		if (turn == 19)
			break;
		for (i = 0; i < SPAWNER_STUBS; i++) {
			good += spawner_kill(spawner, stubs[i].id) == 0;
			close_stub(&stubs[i]);
		}
	}
	expect("stubs that came and went", good, 20 * SPAWNER_STUBS + 19 * SPAWNER_STUBS);
	expect("a thousand stubs later it has no more", own_kib(process) <= first + 64, true);
	expect("and has mapped no more", status_kib(process, "VmSize"), size);
}

/* The monitor has no room for what comes; the stub's end is not its monitor's. */
static void exhaust(void)
{
	const struct rlimit few = {32, 32};
	struct stub stub;
	int spawner = start(), fds[32], count = 0;

	setrlimit(RLIMIT_NOFILE, &few);
	confine_monitor();
	while (count < 32 && (fds[count] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0)
		count++;
	close(fds[--count]);
	expect("no room", spawner_spawn(spawner, &stub), -EMFILE);
	while (count > 0)
		close(fds[--count]);
	expect("room", spawner_spawn(spawner, &stub), 0);
	expect("it answers", order(&stub, ECHO), 1);
}

static void expect_end(const char *about, const void *message, size_t size, int with_fd)
{
	int spawner = start();
	struct stub stub, other;

	expect("a stub", spawner_spawn(spawner, &stub), 0);
	expect(about, helper_send(spawner, message, size, &with_fd, with_fd >= 0), 0);
	expect("and then", spawner_spawn(spawner, &other), -EPIPE);
	expect("the stub has ended", has_ended(&stub), true);
	close_stub(&stub);
	close(spawner);
}

static void send_malformed(void)
{
	uint32_t request[3] = {1, 0};

	expect_end("too short", request, 4, -1);
	expect_end("too long", request, 12, -1);
	expect_end("with a descriptor", request, 8, STDOUT_FILENO);
	request[1] = 1;
	expect_end("an id that is not used", request, 8, -1);
	request[0] = 3;
	expect_end("an unknown operation", request, 8, -1);
}

static void is_killed(int ready)
{
	int spawner = start(), i;
	struct stub stub;

	for (i = 0; i < 8; i++)
		if (spawner_spawn(spawner, &stub) < 0)
			_exit(1);
	confine_monitor();
	if (write(ready, "", 1) == 1)
		for (;;)
			pause_ms(1000);
}

int main(void)
{
	adopt_orphans();
	run_monitor("stubs", use_stubs);
	run_monitor("a thousand stubs", spawn_many);
	/* A sanitizer's runtime has memory of its own. */
	if (!SANDBOX_IS_RELAXED)
		run_monitor("memory", stay_small);
	run_monitor("no room", exhaust);
	run_monitor("malformed messages", send_malformed);
	kill_monitor("all end with the monitor", is_killed);
	return failures != 0;
}
