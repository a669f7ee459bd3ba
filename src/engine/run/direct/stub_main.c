/*
 * A stub's way from its birth to the guest's first instruction: it takes what its monitor sends, puts its
 * own pages to their place, has all signals that guest code can raise lead there, locks itself and stops.
 * The monitor then has it unmap everything else, the copy of the monitor that it began as included.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/run/direct/direct.h"
#include "engine/run/direct/layout.h"
#include "engine/run/direct/stub_filter.h"
#include "engine/x86/host/host.h"

/* What the kernel takes, without the C library's own return. */
struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

#define KERNEL_SA_RESTORER 0x04000000

static bool receive(int socket, struct direct_hello *hello, int fds[DIRECT_HELLO_FDS])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(DIRECT_HELLO_FDS * sizeof(int))];
	} control;
	struct iovec vector = { hello, sizeof(*hello) };
	struct msghdr packet = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control,
				 .msg_controllen = sizeof(control) };

	if (recvmsg(socket, &packet, MSG_CMSG_CLOEXEC) != sizeof(*hello) ||
	    packet.msg_controllen < CMSG_LEN(DIRECT_HELLO_FDS * sizeof(int)) ||
	    control.header.cmsg_len != CMSG_LEN(DIRECT_HELLO_FDS * sizeof(int)))
		return false;
	memcpy(fds, CMSG_DATA(&control.header), DIRECT_HELLO_FDS * sizeof(int));
	return true;
}

static bool send_listener(int socket, int fd, const struct direct_greeting *greeting)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct iovec vector = { (void *)greeting, sizeof(*greeting) };
	struct msghdr packet = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control,
				 .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return sendmsg(socket, &packet, MSG_NOSIGNAL) == sizeof(*greeting);
}

/* The kernel would go on to write into what is the guest's memory by then. */
static bool leave_rseq(void)
{
	uint8_t *area = (uint8_t *)__builtin_thread_pointer() + __rseq_offset;
	static const unsigned sizes[] = { 32, 20, 28, 64 };

	if (!__rseq_size)
		return true;
	if (syscall(SYS_rseq, area, __rseq_size, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0)
		return true;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		if (syscall(SYS_rseq, area, sizes[i], RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0)
			return true;
	return false;
}

static bool map_place(uint64_t place, int file)
{
	return mmap((void *)place, DIRECT_CONTROL, PROT_READ | PROT_EXEC,
		    MAP_SHARED | MAP_FIXED, file, 0) != MAP_FAILED &&
	       mmap((void *)(place + DIRECT_CONTROL), STUB_PAGE_BYTES - DIRECT_CONTROL,
		    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file,
		    DIRECT_CONTROL) != MAP_FAILED;
}

static bool take_signals(uint64_t place)
{
	static const int numbers[] = DIRECT_SIGNALS;
	const struct kernel_sigaction action = {
		.handler = place + DIRECT_CODE_OFFSET(direct_code_handler),
		.flags = SA_SIGINFO | SA_ONSTACK | KERNEL_SA_RESTORER,
		.restorer = place + DIRECT_CODE_OFFSET(direct_code_return),
		.mask = UINT64_MAX,
	};
	const stack_t stack = { .ss_sp = (void *)(place + DIRECT_STACK),
				.ss_size = STUB_PAGE_BYTES - DIRECT_STACK };

	if (syscall(SYS_sigaltstack, &stack, NULL) < 0)
		return false;
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (syscall(SYS_rt_sigaction, numbers[i], &action, NULL, sizeof(action.mask)) < 0)
			return false;
	return true;
}

void direct_stub_main(int socket, void *page)
{
	struct direct_hello hello;
	struct direct_greeting greeting;
	int fds[DIRECT_HELLO_FDS], listener; /* memory, copies, the stub's file */

	(void)page;
	if (!receive(socket, &hello, fds) || !leave_rseq() || !map_place(hello.place, fds[2]) ||
	    !take_signals(hello.place))
		return;
	close(fds[2]);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	greeting.memory = (uint8_t)fds[0];
	greeting.copies = (uint8_t)fds[1];
	greeting.cpuid_faults = host.may_fault_cpuid && syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) == 0;
	listener = stub_filter_listen(hello.place);
	if (listener < 0 || !send_listener(socket, listener, &greeting))
		return;
	close(listener);
	close(socket);
	if (stub_filter_lock(&hello.secret, hello.place, fds[0], fds[1]) < 0)
		return;
	__asm__ volatile("jmp *%0" : : "r"(hello.place));
	__builtin_unreachable();
}
