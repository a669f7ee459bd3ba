/*
 * Runs a command as on a host, or in a container, that does not allow what direct execution needs.
 *
 * usage: forbid listener|kick|processes COMMAND [ARGUMENT]...
 *
 * `listener`: no seccomp notifications; `kick`: no signals by pidfd; `processes`: no new processes, but threads.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define FAIL(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static int install(const struct sock_filter *filter, unsigned short count)
{
	const struct sock_fprog program = { count, (struct sock_filter *)filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0;
}

/* The call fails if its argument `argument` has one of `bits`, or with 0 bits always. */
static int forbid(unsigned number, unsigned argument, uint32_t bits, uint32_t error)
{
	const struct sock_filter filter[] = {
		LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 1, 0),
		ALLOW,
		LOAD(args[argument]),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, bits ? 1 : 0),
		FAIL(error),
		ALLOW,
	};

	return install(filter, sizeof(filter) / sizeof(filter[0]));
}

/* Of processes: the flag is one that must be there. */
static int forbid_processes(void)
{
	const struct sock_filter filter[] = {
		LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 6, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fork, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_vfork, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
		LOAD(args[0]),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0),
		FAIL(EPERM),
		ALLOW,
	};
	/* The C library takes clone instead. */
	const struct sock_filter newer[] = {
		LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
		FAIL(ENOSYS),
		ALLOW,
	};

	return install(filter, sizeof(filter) / sizeof(filter[0])) ||
	       install(newer, sizeof(newer) / sizeof(newer[0]));
}

int main(int argc, char **argv)
{
	int failed = 1;

	if (argc > 2 && strcmp(argv[1], "listener") == 0)
		failed = forbid(SYS_seccomp, 1, SECCOMP_FILTER_FLAG_NEW_LISTENER, EBUSY);
	else if (argc > 2 && strcmp(argv[1], "kick") == 0)
		failed = forbid(SYS_pidfd_send_signal, 0, 0, ENOSYS);
	else if (argc > 2 && strcmp(argv[1], "processes") == 0)
		failed = forbid_processes();
	else
		fprintf(stderr, "usage: %s listener|kick|processes COMMAND [ARGUMENT]...\n", argv[0]);
	if (failed)
		return 2;
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 2;
}
