/*
 * The program's side before it is the program: the filter, and who hears of its notifications.
 *
 * Of what a program does to a descriptor the filter shows requests alone. Copying, closing, mapping
 * and passing are the kernel's own, since the engine's descriptors are memfds (handout.h).
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervise/processes.h"

static const uint32_t path_calls[] = {
    SYS_open,       SYS_openat, SYS_openat2, SYS_creat, SYS_access,     SYS_faccessat,
    SYS_faccessat2, SYS_stat,   SYS_lstat,   SYS_fstat, SYS_newfstatat, SYS_statx,
};
#define PATH_CALLS (sizeof(path_calls) / sizeof(path_calls[0]))

#define LOAD(field) ((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(field)))
#define JUMP_IF_EQUAL(value, then, otherwise)                                                      \
	((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise))
#define RETURN(action) ((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action))

static int install_filter(void)
{
	struct sock_filter code[PATH_CALLS + 15];
	struct sock_fprog program = {.filter = code};
	/* Once the supervisor looks at a call, only a fatal signal ends the wait for it: an open
	 * must not fail with EINTR because a timer ticks. KVM_RUN has its own rule (run.h).
	 * Linux 5.19. */
	unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	unsigned short n = 0, i;
	int fd;

	code[n++] = LOAD(offsetof(struct seccomp_data, arch));
	code[n++] = JUMP_IF_EQUAL(AUDIT_ARCH_X86_64, 1, 0);
	code[n++] = RETURN(SECCOMP_RET_ALLOW);
	code[n++] = LOAD(offsetof(struct seccomp_data, nr));
	for (i = 0; i < PATH_CALLS; i++)
		code[n++] = JUMP_IF_EQUAL(path_calls[i], (uint8_t)(PATH_CALLS - i + 9), 0);
	code[n++] = JUMP_IF_EQUAL(SYS_madvise, 0, 3);
	code[n++] = LOAD(offsetof(struct seccomp_data, args[2]));
	code[n++] = JUMP_IF_EQUAL(MADV_DONTNEED, 7, 0);
	code[n++] = JUMP_IF_EQUAL(MADV_FREE, 6, 5);
	code[n++] = JUMP_IF_EQUAL(SYS_ioctl, 0, 4);
	/* Linux takes 32 bits of the request. */
	code[n++] = LOAD(offsetof(struct seccomp_data, args[1]));
	code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 8);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff);
	code[n++] = JUMP_IF_EQUAL(KVMIO, 1, 0);
	code[n++] = RETURN(SECCOMP_RET_ALLOW);
	code[n++] = RETURN(SECCOMP_RET_USER_NOTIF);
	program.len = n;
	fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (fd < 0 && errno == EACCES) {
		/* Without CAP_SYS_ADMIN: programs that it starts gain no rights by setuid. */
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
			return -errno;
		fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	}
	return fd < 0 ? -errno : fd;
}

static int send_descriptor(int channel, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	int nothing = 0;
	struct iovec data = {&nothing, sizeof(nothing)};
	struct msghdr message = {.msg_iov = &data,
	                         .msg_iovlen = 1,
	                         .msg_control = control,
	                         .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	return sendmsg(channel, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

_Noreturn void program_main(int channel, const char *path, char **arguments,
                            const sigset_t *signal_mask)
{
	int result, fd;
	char go;

	/* The program's calls would all fail without the supervisor. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	fd = install_filter();
	result = fd < 0 ? fd : send_descriptor(channel, fd);
	if (result == 0 && read(channel, &go, 1) != 1)
		_exit(1);
	if (result == 0) {
		close(fd);
		sigprocmask(SIG_SETMASK, signal_mask, NULL);
		execv(path, arguments);
		result = -errno;
	}
	if (write(channel, &result, sizeof(result)) < 0)
		_exit(2);
	_exit(1);
}
