/*
 * A monitor that its guest owns: under the sandbox, everything that it could try against the host is
 * refused, as root and as an ordinary user, from every thread, and in a container whose own filter
 * allows no namespaces.
 *
 * usage: captive            try it all
 *        captive --list     the allowed system calls, as docs/security.md has them
 *
 * Each attempt is made by a child of its own that has gone into the sandbox. SIGSYS has to end it,
 * and one line on standard error has to name the call.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/calls.h"
#include "sandbox/internal.h"
#include "sandbox/sandbox.h"

#define NOBODY 65534
#define NAME(call) #call, SYS_##call

/* Raw, so that no library stands between: a path is "/", a pid is this test's. */
struct attempt {
	const char *about;
	const char *call;
	long number;
	enum { NUMBERS, PATH_FIRST, PATH_SECOND, TESTS_PID, ITS_PID, OWN_PAGE } first;
	long arguments[4]; /* those behind the first, or all */
};

static const struct attempt attempts[] = {
	{"open a file", NAME(open), PATH_FIRST, {O_RDONLY}},
	{"open a file", NAME(openat2), PATH_SECOND},
	{"make a file", NAME(creat), PATH_FIRST, {0600}},
	{"make a node", NAME(mknod), PATH_FIRST, {S_IFCHR | 0600}},
	{"make a directory", NAME(mkdir), PATH_FIRST, {0700}},
	{"remove a file", NAME(unlink), PATH_FIRST},
	{"rename a file", NAME(rename), PATH_FIRST},
	{"change a mode", NAME(chmod), PATH_FIRST, {0777}},
	{"truncate a file", NAME(truncate), PATH_FIRST},
	{"look at a file", NAME(stat), PATH_FIRST},
	{"look at a file", NAME(newfstatat), PATH_SECOND, {0, 0}},
	{"look at a file", NAME(statx), PATH_SECOND},
	{"look at a file", NAME(access), PATH_FIRST},
	{"read a link", NAME(readlink), PATH_FIRST},
	{"change the directory", NAME(chdir), PATH_FIRST},
	{"change the root", NAME(chroot), PATH_FIRST},
	{"mount", NAME(mount), PATH_FIRST},
	{"unmount", NAME(umount2), PATH_FIRST},
	{"pivot the root", NAME(pivot_root), PATH_FIRST},
	{"open a tree", NAME(open_tree), PATH_SECOND},
	{"open by handle", NAME(open_by_handle_at), NUMBERS, {-1}},
	{"watch files", NAME(inotify_init1), NUMBERS},
	{"make a socket", NAME(socket), NUMBERS, {2, 1}},
	{"make two sockets", NAME(socketpair), NUMBERS, {1, 1}},
	{"connect", NAME(connect), NUMBERS, {0}},
	{"accept", NAME(accept4), NUMBERS, {0}},
	{"listen", NAME(listen), NUMBERS, {0}},
	{"execute", NAME(execve), PATH_FIRST},
	{"execute", NAME(execveat), PATH_SECOND},
	{"fork", NAME(fork), NUMBERS},
	{"fork", NAME(vfork), NUMBERS},
	{"clone a process", NAME(clone), NUMBERS, {SIGCHLD}},
	{"clone with memory", NAME(clone), NUMBERS, {CLONE_VM | SIGCHLD}},
	{"clone with new users", NAME(clone), NUMBERS, {CLONE_NEWUSER | SIGCHLD}},
	{"make namespaces", NAME(unshare), NUMBERS, {CLONE_NEWUSER}},
	{"join namespaces", NAME(setns), NUMBERS, {0}},
	{"trace", NAME(ptrace), NUMBERS, {16 /* PTRACE_ATTACH */}},
	{"read another's memory", NAME(process_vm_readv), TESTS_PID},
	{"write another's memory", NAME(process_vm_writev), TESTS_PID},
	{"advise another's memory", NAME(process_madvise), NUMBERS},
	{"take another's descriptor", NAME(pidfd_getfd), NUMBERS},
	{"compare with another", NAME(kcmp), TESTS_PID},
	{"signal the parent", NAME(kill), TESTS_PID, {SIGTERM}},
	{"signal everybody", NAME(kill), NUMBERS, {-1, SIGTERM}},
	{"signal the group", NAME(kill), NUMBERS, {0, SIGTERM}},
	{"signal a thread of the parent", NAME(tgkill), TESTS_PID, {0, SIGTERM}},
	{"signal a thread", NAME(tkill), TESTS_PID, {SIGTERM}},
	{"signal with a value", NAME(rt_sigqueueinfo), TESTS_PID},
	{"open a process", NAME(pidfd_open), TESTS_PID},
	{"signal a process", NAME(pidfd_send_signal), NUMBERS},
	{"own a descriptor's signals", NAME(fcntl), NUMBERS, {0, F_SETOWN, 1}},
	{"map code", NAME(mmap), NUMBERS, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS}},
	{"map writable code", NAME(mmap), NUMBERS,
	 {0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS}},
	{"make code of memory", NAME(mprotect), OWN_PAGE, {4096, PROT_READ | PROT_EXEC}},
	{"make code of memory", NAME(pkey_mprotect), OWN_PAGE, {4096, PROT_READ | PROT_EXEC, -1}},
	{"reorder a mapping", NAME(remap_file_pages), OWN_PAGE, {4096}},
	{"make memory with a descriptor", NAME(memfd_create), PATH_FIRST},
	{"attach shared memory", NAME(shmat), NUMBERS, {0}},
	{"make shared memory", NAME(shmget), NUMBERS, {0, 4096}},
	{"handle page faults", NAME(userfaultfd), NUMBERS},
	{"change the personality", NAME(personality), NUMBERS, {0x0400000 /* READ_IMPLIES_EXEC */}},
	{"change segments", NAME(modify_ldt), NUMBERS, {1}},
	{"use ports", NAME(iopl), NUMBERS, {3}},
	{"use ports", NAME(ioperm), NUMBERS, {0, 1, 1}},
	{"make an io_uring", NAME(io_uring_setup), NUMBERS, {1}},
	{"make asynchronous I/O", NAME(io_setup), NUMBERS, {1}},
	{"load BPF", NAME(bpf), NUMBERS},
	{"count events", NAME(perf_event_open), NUMBERS},
	{"use keys", NAME(keyctl), NUMBERS},
	{"add a key", NAME(add_key), NUMBERS},
	{"become somebody", NAME(setuid), NUMBERS, {0}},
	{"become somebody", NAME(setresuid), NUMBERS, {0, 0, 0}},
	{"join groups", NAME(setgroups), NUMBERS, {0}},
	{"raise capabilities", NAME(capset), NUMBERS},
	{"filter differently", NAME(seccomp), NUMBERS, {SECCOMP_SET_MODE_FILTER}},
	{"become dumpable", NAME(prctl), NUMBERS, {PR_SET_DUMPABLE, 1}},
	{"be traced", NAME(prctl), NUMBERS, {PR_SET_PTRACER, 1}},
	{"raise limits", NAME(prlimit64), NUMBERS, {0, RLIMIT_NOFILE}},
	{"raise limits", NAME(setrlimit), NUMBERS, {RLIMIT_NOFILE}},
	{"type at the terminal", NAME(ioctl), NUMBERS, {0, TIOCSTI}},
	{"type at the console", NAME(ioctl), NUMBERS, {0, 0x541c /* TIOCLINUX */}},
	{"take the terminal", NAME(ioctl), NUMBERS, {0, TIOCSCTTY}},
	{"create a VM", NAME(ioctl), NUMBERS, {0, KVM_CREATE_VM}},
	{"create a vCPU", NAME(ioctl), NUMBERS, {0, KVM_CREATE_VCPU}},
	{"create a device", NAME(ioctl), NUMBERS, {0, KVM_CREATE_DEVICE}},
	{"move itself to another CPU", NAME(sched_setaffinity), NUMBERS},
	{"set priorities", NAME(setpriority), NUMBERS},
	{"set the time", NAME(clock_settime), NUMBERS},
	{"load a module", NAME(init_module), NUMBERS},
	{"boot another kernel", NAME(kexec_load), NUMBERS},
	{"restart the host", NAME(reboot), NUMBERS},
	{"read the kernel's log", NAME(syslog), NUMBERS, {3}},
	{"call what does not exist", "?", 4000, NUMBERS},
};

#define ATTEMPTS (sizeof(attempts) / sizeof(attempts[0]))

static pid_t tests_pid;
static const char *person;
static unsigned failures;

static void result(bool is_right, const char *about, const char *call, const char *wrong)
{
	failures += !is_right;
	if (is_right)
		printf("PASS %s: %s (%s)\n", person, about, call);
	else
		printf("FAIL %s: %s (%s): %s\n", person, about, call, wrong);
	fflush(stdout);
}

static void make(const struct attempt *attempt)
{
	static char page[8192] __attribute__((aligned(4096)));
	const long *more = attempt->arguments;
	long number = attempt->number;

	switch (attempt->first) {
	case PATH_FIRST: syscall(number, "/", more[0], more[1], more[2], more[3]); break;
	case PATH_SECOND: syscall(number, AT_FDCWD, "/", more[0], more[1], more[2]); break;
	case TESTS_PID: syscall(number, tests_pid, more[0], more[1], more[2], more[3]); break;
	case ITS_PID: syscall(number, getpid(), more[0], more[1], more[2], more[3]); break;
	case OWN_PAGE: syscall(number, page, more[0], more[1], more[2], more[3]); break;
	default: syscall(number, more[0], more[1], more[2], more[3], -1, 0); break;
	}
}

static void *make_in_thread(void *attempt)
{
	make(attempt);
	return NULL;
}

static void confine(const struct sandbox_config *config, struct sandbox_report *report)
{
	struct error error;

	if (sandbox_enter(config, report, &error) < 0 || sandbox_lock(config, report, &error) < 0) {
		fprintf(stderr, "%s\n", error.message);
		_exit(2);
	}
}

enum place { IN_MAIN_THREAD, IN_NEW_THREAD };

static void child_makes(const struct attempt *attempt, enum place place, int output)
{
	const struct sandbox_config config = {.uses_kvm = true};
	struct sandbox_report report;
	pthread_t thread;

	setpgid(0, 0); /* what it may signal by mistake is itself alone */
	dup2(output, STDERR_FILENO);
	confine(&config, &report);
	if (place == IN_NEW_THREAD) {
		if (pthread_create(&thread, NULL, make_in_thread, (void *)attempt) == 0)
			pthread_join(thread, NULL);
	} else {
		make(attempt);
	}
	_exit(1);
}

/* What the child said, and how it ended. */
static int run(void (*child)(const struct attempt *, enum place, int), const struct attempt *attempt,
	       enum place place, char *words, size_t size)
{
	size_t used = 0;
	ssize_t count;
	int ends[2], status;
	pid_t pid;

	if (pipe(ends) < 0 || (pid = fork()) < 0)
		abort();
	if (pid == 0) {
		close(ends[0]);
		child(attempt, place, ends[1]);
		_exit(3);
	}
	close(ends[1]);
	while (used < size - 1 && (count = read(ends[0], words + used, size - 1 - used)) > 0)
		used += count;
	words[used] = '\0';
	close(ends[0]);
	while (waitpid(pid, &status, 0) < 0)
		;
	return status;
}

static void try_one(const struct attempt *attempt, enum place place)
{
	char words[512], wanted[64], wrong[640];
	int status = run(child_makes, attempt, place, words, sizeof(words));

	if (attempt->call[0] == '?')
		snprintf(wanted, sizeof(wanted), "system call %ld ", attempt->number);
	else
		snprintf(wanted, sizeof(wanted), "system call %ld (%s)", attempt->number,
			 attempt->call);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
		snprintf(wrong, sizeof(wrong), "not refused (status 0x%x) %s", status, words);
	else if (!strstr(words, wanted))
		snprintf(wrong, sizeof(wrong), "the line does not say '%s': %s", wanted, words);
	else
		wrong[0] = '\0';
	result(!wrong[0], attempt->about, attempt->call, wrong);
}

/* Calls of another instruction set: int 0x80 is i386's. */
static void child_calls_i386(const struct attempt *attempt, enum place place, int output)
{
	const struct sandbox_config config = {0};
	struct sandbox_report report;
	long value = 20; /* getpid */

	(void)attempt;
	(void)place;
	dup2(output, STDERR_FILENO);
	confine(&config, &report);
	__asm__ volatile("int $0x80" : "+a"(value) : : "memory", "r8", "r9", "r10", "r11");
	_exit(1);
}

static void child_calls_x32(const struct attempt *attempt, enum place place, int output)
{
	const struct sandbox_config config = {0};
	struct sandbox_report report;

	(void)attempt;
	(void)place;
	dup2(output, STDERR_FILENO);
	confine(&config, &report);
	syscall(0x40000000 | SYS_getpid);
	_exit(1);
}

/* As much as makes malloc give memory of a thread's own arena back. */
static void *shrink_arena(void *unused)
{
	static void *pieces[256];

	for (unsigned i = 0; i < 256; i++)
		pieces[i] = malloc(100000);
	for (unsigned i = 256; i-- > 0;)
		free(pieces[i]);
	return unused;
}

static void *return_null(void *unused)
{
	return unused;
}

/* What the monitor needs still works: each failure has its exit status. */
static void child_works(const struct attempt *attempt, enum place place, int output)
{
	const struct sandbox_config config = {0};
	struct sandbox_report report;
	pthread_t thread;
	void *memory;

	(void)attempt;
	(void)place;
	dup2(output, STDERR_FILENO);
	confine(&config, &report);
	if (syscall(SYS_clone3, NULL, 0) != -1 || errno != ENOSYS)
		_exit(10);
	if (syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY) != -1 || errno != ENOENT ||
	    syscall(SYS_openat, AT_FDCWD, "made", O_WRONLY | O_CREAT, 0600) != -1 || errno != ENOENT)
		_exit(14);
	if (pthread_create(&thread, NULL, return_null, NULL) != 0 || pthread_join(thread, NULL) != 0)
		_exit(11);
	memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || mprotect(memory, 4096, PROT_NONE) < 0)
		_exit(12);
	if (kill(getpid(), 0) < 0)
		_exit(13);
	free(malloc(1 << 24));
	if (pthread_create(&thread, NULL, shrink_arena, NULL) != 0 || pthread_join(thread, NULL) != 0)
		_exit(15);
	fprintf(stderr, "fine\n");
	_exit(0);
}

/* /proc/self/status, opened before and read after. */
static void child_shows_status(const struct attempt *attempt, enum place place, int output)
{
	const struct sandbox_config config = {0};
	struct sandbox_report report;
	char text[4096];
	int status = open("/proc/self/status", O_RDONLY);
	ssize_t length;

	(void)attempt;
	(void)place;
	confine(&config, &report);
	length = read(status, text, sizeof(text));
	_exit(length > 0 && write(output, text, length) == length ? 0 : 1);
}

/* What is left of the host's files, one name a line, and who may still make one. */
static void child_lists_root(const struct attempt *attempt, enum place place, int output)
{
	const struct sandbox_config config = {0};
	struct sandbox_report report;
	const struct dirent *entry;
	struct error error;
	DIR *root;

	(void)attempt;
	(void)place;
	if (sandbox_enter(&config, &report, &error) < 0)
		_exit(2);
	if (!report.layers[SANDBOX_EMPTY_ROOT].holds)
		_exit(77);
	root = opendir("/");
	while (root && (entry = readdir(root)))
		dprintf(output, "%s\n", entry->d_name);
	if (mkdir("/made", 0700) == 0 || open("/made", O_CREAT | O_WRONLY, 0600) >= 0)
		dprintf(output, "made something\n");
	if (access("..", F_OK) == 0 && access("../proc", F_OK) == 0)
		dprintf(output, "/proc\n");
	_exit(0);
}

static void check_state(void)
{
	static const char *const wanted[] = {
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000",
		"CapEff:\t0000000000000000", "CapAmb:\t0000000000000000",
		"NoNewPrivs:\t1",	     "Seccomp:\t2",
	};
	char words[8192];
	unsigned i;
	int status = run(child_shows_status, NULL, IN_MAIN_THREAD, words, sizeof(words));

	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		result(status == 0 && strstr(words, wanted[i]), "has no privileges", wanted[i],
		       words);
	if (geteuid() == 0)
		result(status == 0 && strstr(words, "CapBnd:\t0000000000000000"),
		       "can gain no privileges", "CapBnd", words);
	status = run(child_lists_root, NULL, IN_MAIN_THREAD, words, sizeof(words));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		printf("SKIP %s: this host allows no empty root\n", person);
	else
		result(status == 0 && (!words[0] || !strcmp(words, ".\n..\n") ||
				       !strcmp(words, "..\n.\n")),
		       "sees no files", "opendir", words);
	status = run(child_works, NULL, IN_MAIN_THREAD, words, sizeof(words));
	result(status == 0 && !strcmp(words, "fine\n"), "can do its work", "threads, memory", words);
}

static void check_all(const char *who)
{
	unsigned i;
	char words[512];
	int status;

	person = who;
	check_state();
	for (i = 0; i < ATTEMPTS; i++)
		try_one(&attempts[i], i % 8 ? IN_MAIN_THREAD : IN_NEW_THREAD);
	status = run(child_calls_i386, NULL, IN_MAIN_THREAD, words, sizeof(words));
	result(WIFSIGNALED(status), "call as a 32-bit program", "int 0x80", words);
	status = run(child_calls_x32, NULL, IN_MAIN_THREAD, words, sizeof(words));
	result(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "call as an x32 program", "getpid",
	       words);
}

/* What many containers do: no namespaces, no mounts. */
static void enter_container(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	if (!filter || seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SYS_unshare, 0) < 0 ||
	    seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SYS_mount, 0) < 0 ||
	    seccomp_load(filter) < 0)
		_exit(2);
	seccomp_release(filter);
}

static void become_user(void)
{
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0)
		_exit(2);
}

/* All of it in a child; whether all was right. */
static bool check_in_child(const char *who, bool is_container, bool is_user)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		failures = 0;
		if (is_container)
			enter_container();
		if (is_user)
			become_user();
		check_all(who);
		_exit(failures != 0);
	}
	return waitpid(child, &status, 0) == child && status == 0;
}

static void list_group(enum call_group group)
{
	const struct allowed_call *call = sandbox_calls, *end = sandbox_calls + sandbox_call_count, *other;

	for (; call < end; call++) {
		for (other = sandbox_calls; other < call; other++)
			if (other->group == group && !strcmp(other->name, call->name))
				break;
		if (call->group != group || other < call)
			continue;
		printf("- `%s`%s%s", call->name, call->when[0] ? ": " : "", call->when);
		for (other = call + 1; other < end; other++)
			if (other->group == group && !strcmp(other->name, call->name))
				printf(", %s", other->when);
		printf("\n");
	}
}

int main(int count, char **arguments)
{
	bool is_right;

	if (count == 2 && !strcmp(arguments[1], "--list")) {
		list_group(CALLS_ALWAYS);
		printf("\n");
		list_group(CALLS_KVM);
		printf("\n");
		list_group(CALLS_HELPERS);
		putchar('\n');
		list_group(CALLS_LISTENING);
		return 0;
	}
	if (SANDBOX_IS_RELAXED) {
		printf("SKIP a build with a sanitizer leaves the sandbox out\n");
		return 77;
	}
	tests_pid = getpid();
	setvbuf(stdout, NULL, _IONBF, 0);
	is_right = check_in_child("user", false, geteuid() == 0);
	is_right &= check_in_child("user in a container", true, geteuid() == 0);
	if (geteuid() == 0) {
		is_right &= check_in_child("root", false, false);
		is_right &= check_in_child("root in a container", true, false);
	}
	return !is_right;
}
