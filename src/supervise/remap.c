#include "supervise/remap.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "supervise/call.h"
#include "supervise/supervisor.h"

/* A thread that runs stops at once; one that waits for a disk, when it has. */
#define STOP_TRIES       2000
#define STOP_INTERVAL    ((struct timespec){.tv_nsec = 500000})
#define SYSCALL_STOP     (SIGTRAP | 0x80)
#define KERNEL_MASK_SIZE 8

/* /proc/PID/pagemap (Linux Documentation/admin-guide/mm/pagemap.rst) */
#define PAGE_IS_PRESENT (UINT64_C(1) << 63)
#define PAGE_IS_SWAPPED (UINT64_C(1) << 62)
#define ENTRIES_AT_ONCE 4096u

struct held_thread {
	pid_t id;
	bool is_stopped;
	int signal; /* it was about to get, and gets when it goes on */
};

struct session {
	const struct call *call;
	const struct remap *remap;
	pid_t process;
	struct held_thread *threads;
	unsigned count;
	struct user_regs_struct registers; /* the calling thread's, as it returns from the call */
	int result;
	bool is_answered;
};

static bool wait_once(struct held_thread *thread, int *status, int flags)
{
	if (waitpid(thread->id, status, __WALL | flags) != thread->id)
		return false;
	if (!WIFSTOPPED(*status))
		return false;
	thread->is_stopped = true;
	return true;
}

/* In a wait that only a fatal signal ends, as for our own answers: such a thread stops as soon as
 * it is to go back to the program, which is all that we want. */
static bool is_in_kernel(pid_t thread)
{
	char path[40], text[256];
	const char *state;
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", thread);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return true; /* it has ended */
	text[length] = 0;
	state = strrchr(text, ')');
	return !state || strchr("DZXx", state[1] ? state[2] : 'Z');
}

static void wait_for_stop(struct held_thread *thread)
{
	int status;

	for (int i = 0; i < STOP_TRIES; i++) {
		if (wait_once(thread, &status, WNOHANG)) {
			if (status >> 16 == 0 && WSTOPSIG(status) != SIGTRAP)
				thread->signal = WSTOPSIG(status);
			return;
		}
		if (is_in_kernel(thread->id))
			return;
		nanosleep(&STOP_INTERVAL, NULL);
	}
}

static bool is_held(const struct session *session, pid_t id)
{
	for (unsigned i = 0; i < session->count; i++)
		if (session->threads[i].id == id)
			return true;
	return false;
}

static int hold(struct session *session, pid_t id)
{
	struct held_thread *threads;

	threads = reallocarray(session->threads, session->count + 1, sizeof(*threads));
	if (!threads)
		return -ENOMEM;
	session->threads = threads;
	if (ptrace(PTRACE_SEIZE, id, NULL, (void *)PTRACE_O_TRACESYSGOOD) < 0)
		return -errno;
	ptrace(PTRACE_INTERRUPT, id, NULL, NULL);
	threads[session->count++] = (struct held_thread){.id = id};
	return 0;
}

/* All threads that there are, the calling one first; and those that they made meanwhile. */
static int hold_all(struct session *session)
{
	int result = hold(session, session->call->thread);
	char path[40];
	bool is_more;

	if (result < 0)
		return result;
	snprintf(path, sizeof(path), "/proc/%d/task", session->process);
	do {
		DIR *directory = opendir(path);
		struct dirent *entry;
		unsigned before = session->count;

		while (directory && (entry = readdir(directory)))
			if (isdigit((unsigned char)entry->d_name[0]) &&
			    !is_held(session, atoi(entry->d_name)))
				hold(session, atoi(entry->d_name));
		if (directory)
			closedir(directory);
		for (unsigned i = before; i < session->count; i++)
			wait_for_stop(&session->threads[i]);
		is_more = session->count > before;
	} while (is_more);
	return 0;
}

/* Those that are not stopped are let go at this thread's end. */
static void release_all(struct session *session)
{
	for (unsigned i = 0; i < session->count; i++)
		if (session->threads[i].is_stopped)
			ptrace(PTRACE_DETACH, session->threads[i].id, NULL,
			       (void *)(intptr_t)session->threads[i].signal);
	free(session->threads);
}

/* One more stop of the calling thread, at the begin or end of a system call. */
static int continue_to_syscall(struct session *session)
{
	struct held_thread *thread = &session->threads[0];
	int status;

	for (;;) {
		if (ptrace(PTRACE_SYSCALL, thread->id, NULL, NULL) < 0)
			return -errno;
		thread->is_stopped = false;
		if (!wait_once(thread, &status, 0))
			return -ESRCH;
		if (WSTOPSIG(status) == SYSCALL_STOP)
			return 0;
		/* Nothing else is let through, but SIGSTOP cannot be blocked. */
		if (status >> 16 == 0)
			thread->signal = WSTOPSIG(status);
	}
}

/* Have the calling thread make a system call; its result or -errno. */
static int64_t inject(struct session *session, long number, const uint64_t arguments[6])
{
	struct user_regs_struct registers = session->registers;
	pid_t thread = session->threads[0].id;
	int result;

	registers.rip = session->call->next_instruction - 2; /* SYSCALL is 0F 05 */
	registers.rax = (unsigned long)number;
	registers.orig_rax = ~0ul;
	registers.rdi = arguments[0];
	registers.rsi = arguments[1];
	registers.rdx = arguments[2];
	registers.r10 = arguments[3];
	registers.r8 = arguments[4];
	registers.r9 = arguments[5];
	if (ptrace(PTRACE_SETREGS, thread, NULL, &registers) < 0)
		return -errno;
	result = continue_to_syscall(session);
	if (result == 0)
		result = continue_to_syscall(session);
	if (result < 0)
		return result;
	if (ptrace(PTRACE_GETREGS, thread, NULL, &registers) < 0)
		return -errno;
	return (int64_t)registers.rax;
}

/* Copy `count` pages that the program may not be allowed to read itself. */
static void copy_pages(int memory, const struct remap_part *part, uint64_t first, uint64_t count)
{
	size_t size = count * PAGE_SIZE, done = 0;
	uint64_t start = first * PAGE_SIZE;

	while (done < size) {
		ssize_t length = pread(memory, (char *)part->mapping + start + done, size - done,
		                       (off_t)(part->address + start + done));

		/* What cannot be read is left 0. */
		if (length <= 0)
			length = PAGE_SIZE - (ssize_t)(done % PAGE_SIZE);
		done += (size_t)length;
	}
}

/* Copy what was ever touched: the rest of an anonymous mapping is 0, and costs nothing so. */
static int copy_part(const struct session *session, const struct remap_part *part)
{
	uint64_t pages = part->size / PAGE_SIZE, first = part->address / PAGE_SIZE;
	uint64_t entries[ENTRIES_AT_ONCE];
	char path[40];
	int map, memory;

	snprintf(path, sizeof(path), "/proc/%d/mem", session->process);
	memory = open(path, O_RDONLY | O_CLOEXEC);
	if (memory < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", session->process);
	map = part->is_anonymous ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	for (uint64_t page = 0; page < pages;) {
		uint64_t count = pages - page < ENTRIES_AT_ONCE ? pages - page : ENTRIES_AT_ONCE;
		ssize_t length = map < 0 ? -1
		                         : pread(map, entries, count * sizeof(entries[0]),
		                                 (off_t)((first + page) * sizeof(entries[0])));
		uint64_t begin = 0;

		if (length != (ssize_t)(count * sizeof(entries[0])))
			memset(entries, 0xff, sizeof(entries));
		for (uint64_t i = 0; i <= count; i++) {
			if (i < count && entries[i] & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED))
				continue;
			if (i > begin)
				copy_pages(memory, part, page + begin, i - begin);
			begin = i + 1;
		}
		page += count;
	}
	if (map >= 0)
		close(map);
	close(memory);
	return 0;
}

/* The calling thread is stopped behind its call. */
static int replace(struct session *session, int fd)
{
	const struct remap *remap = session->remap;
	int result = 0;

	for (unsigned i = 0; i < remap->count && result == 0; i++) {
		const struct remap_part *part = &remap->parts[i];
		uint64_t arguments[6] = {
		    part->address,          part->size,   (uint64_t)part->protection,
		    MAP_SHARED | MAP_FIXED, (uint64_t)fd, part->offset};
		int64_t address;

		result = copy_part(session, part);
		if (result < 0)
			break;
		address = inject(session, SYS_mmap, arguments);
		if (address != (int64_t)part->address)
			result = address < 0 ? (int)address : -EFAULT;
	}
	inject(session, SYS_close, (uint64_t[6]){(uint64_t)fd});
	return result;
}

static int work_on_stopped(struct session *session, int fd)
{
	pid_t thread = session->threads[0].id;
	uint64_t mask, all = ~UINT64_C(0);
	uint8_t instruction[2];
	int result;

	if (ptrace(PTRACE_GETREGS, thread, NULL, &session->registers) < 0 ||
	    ptrace(PTRACE_GETSIGMASK, thread, (void *)KERNEL_MASK_SIZE, &mask) < 0)
		return -errno;
	if (call_read(session->call, instruction, session->call->next_instruction - 2, 2) < 0 ||
	    instruction[0] != 0x0f || instruction[1] != 0x05)
		return -ENOTSUP;
	ptrace(PTRACE_SETSIGMASK, thread, (void *)KERNEL_MASK_SIZE, &all);
	result = replace(session, fd);
	if (result == 0)
		result = session->remap->finish(session->remap->context);
	session->registers.rax = (unsigned long)(long)result;
	session->registers.orig_rax = ~0ul;
	ptrace(PTRACE_SETREGS, thread, NULL, &session->registers);
	ptrace(PTRACE_SETSIGMASK, thread, (void *)KERNEL_MASK_SIZE, &mask);
	return result;
}

static int work(struct session *session)
{
	const struct call *call = session->call;
	int status, fd, result;

	session->process = process_of(call->thread);
	if (session->process < 0)
		return session->process;
	fd = call_add_descriptor(call, session->remap->file);
	if (fd < 0)
		return fd;
	/* The others first; the caller stops once it has an answer. */
	result = hold_all(session);
	if (result < 0)
		return result;
	session->is_answered = true;
	if (!call_answer(call, 0) || !wait_once(&session->threads[0], &status, 0))
		return -ESRCH;
	return work_on_stopped(session, fd);
}

static void *run_session(void *context)
{
	struct session *session = context;

	session->result = work(session);
	release_all(session);
	return NULL;
}

int remap_and_answer(const struct call *call, const struct remap *remap)
{
	struct session session = {.call = call, .remap = remap};
	pthread_mutex_t *lock = &call->supervisor->children_lock;
	pthread_t thread;
	int result;

	/* A tracer is a thread, and its end lets go of whatever it holds. */
	pthread_mutex_lock(lock);
	result = pthread_create(&thread, NULL, run_session, &session);
	if (result == 0)
		pthread_join(thread, NULL);
	else
		session.result = -result;
	pthread_mutex_unlock(lock);
	if (!session.is_answered)
		call_answer(call, session.result);
	return session.result;
}
