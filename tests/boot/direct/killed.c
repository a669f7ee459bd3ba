/*
 * killed SECONDS: computations, for so long or until a line comes, whose stubs somebody on the host kills meanwhile: each
 * comes to the right result, or ends by SIGSEGV. Who starts them may be hit, too: its own SIGSEGV comes with the registers of its last way into the stub, which are
 * good enough for a jump to its loop.
 */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t table[4096];
static pid_t parent;
static sigjmp_buf loop;

static void hit(int number)
{
	if (getpid() == parent)
		siglongjmp(loop, 1);
	signal(number, SIG_DFL);
	raise(number);
}

/* What is done once too often to memory, or never, shows. In pages of its own: whether stubs run those of what the C library
 * has beside it is not what is tested. */
__attribute__((noinline, aligned(4096))) static int compute(void)
{
	uint64_t sum = 0, again = 0;

	for (uint64_t i = 1; i < 30000000; i++) {
		table[i * 7 % 4096] += i;
		sum += i;
		if (i % 100000 == 0)
			syscall(SYS_getppid);
	}
	for (unsigned i = 0; i < 4096; i++)
		again += table[i];
	return again == sum ? 0 : 1;
}

static int is_told_to_end(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&input, 1, 0) > 0;
}

__attribute__((aligned(4096))) int main(int count, char **arguments)
{
	static unsigned right, wrong, killed;
	static time_t end;
	int status;

	end = time(NULL) + (count > 1 ? atoi(arguments[1]) : 1);
	parent = getpid();
	printf("computing\n");
	fflush(stdout);
	sigsetjmp(loop, 1);
	signal(SIGSEGV, hit);
	while (time(NULL) < end && !is_told_to_end()) {
		pid_t child = fork();

		if (child == 0) {
			signal(SIGSEGV, SIG_DFL);
			_exit(compute());
		}
		if (waitpid(child, &status, 0) != child)
			continue;
		right += status == 0;
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
		wrong += status && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	}
	printf("computed: %u right, %u wrong, %u killed\n", right, wrong, killed);
	return wrong != 0;
}
