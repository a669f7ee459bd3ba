#include "sandbox/calls.h"

#include <asm/prctl.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kcmp.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* What the C library starts a thread with; a process has fewer, and any namespace more. */
#define THREAD_FLAGS                                                                               \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |        \
	 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

#define KVM(request)                                                                               \
	{.number = SYS_ioctl, .name = "ioctl", .group = CALLS_KVM, .when = #request,               \
	 .conditions = {IS(1, request)}}

#define HELPERS_IF(call, words, ...)                                                               \
	{.number = SYS_##call, .name = #call, .group = CALLS_HELPERS, .when = words,               \
	 .conditions = {__VA_ARGS__}}

/* Linux 6.6. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

const struct allowed_call sandbox_calls[] = {
	/* On the way of every exit to the monitor. */
	KVM(KVM_RUN),
	CALL(read),
	CALL(write),
	CALL(poll),
	CALL(futex),
	CALL(epoll_wait),
	CALL(timerfd_settime),
	/* Of a disk that gets limits. */
	CALL(timerfd_create),

	/* Helpers, by sockets that are open (helper.h). */
	{.number = SYS_sendmsg, .name = "sendmsg", .group = CALLS_HELPERS, .when = ""},
	{.number = SYS_recvmsg, .name = "recvmsg", .group = CALLS_HELPERS, .when = ""},

	/* Stubs that run guest code, by descriptors that came with them (docs/engine/direct.md). */
	HELPERS_IF(ioctl, "SECCOMP_IOCTL_NOTIF_RECV", IS(1, SECCOMP_IOCTL_NOTIF_RECV)),
	HELPERS_IF(ioctl, "SECCOMP_IOCTL_NOTIF_SEND", IS(1, SECCOMP_IOCTL_NOTIF_SEND)),
	HELPERS_IF(ioctl, "SECCOMP_IOCTL_NOTIF_SET_FLAGS", IS(1, SECCOMP_IOCTL_NOTIF_SET_FLAGS)),
	HELPERS_IF(pidfd_send_signal, "SIGUSR1", IS(1, SIGUSR1)),
	HELPERS_IF(arch_prctl, "ARCH_SET_CPUID", IS(0, ARCH_SET_CPUID)),

	/* Peers of consoles, monitors and guests, on sockets that listen already. */
	{.number = SYS_accept4, .name = "accept4", .group = CALLS_LISTENING, .when = ""},
	{.number = SYS_shutdown, .name = "shutdown", .group = CALLS_LISTENING, .when = ""},
	/* Of a socket that comes while the machine is there. */
	{.number = SYS_getsockopt, .name = "getsockopt", .group = CALLS_LISTENING, .when = "SO_ACCEPTCONN",
	 .conditions = {IS(1, SOL_SOCKET), IS(2, SO_ACCEPTCONN)}},

	/* Files that are open already. */
	CALL(writev),
	CALL(preadv2),
	CALL(lseek),
	/* Disks. A ring was made, and restricted to reads and writes, before (src/block/ring.c). */
	CALL(pwritev2),
	CALL(fdatasync),
	CALL(fallocate),
	CALL(ftruncate),
	CALL(io_uring_enter),
	CALL(close),
	CALL(ppoll),
	CALL(epoll_ctl),
	CALL(epoll_create1),
	CALL(eventfd2),
	CALL(fstat),
	CALL_IF(newfstatat, "of a descriptor (AT_EMPTY_PATH)", IS(3, AT_EMPTY_PATH)),
	CALL_IF(fcntl, "F_GETFD", IS(1, F_GETFD)),
	CALL_IF(fcntl, "F_GETFL", IS(1, F_GETFL)),
	CALL_IF(fcntl, "F_SETFL", IS(1, F_SETFL)),
	CALL_IF(fcntl, "F_DUPFD_CLOEXEC", IS(1, F_DUPFD_CLOEXEC)),
	/* An image that comes while the machine is there, by a descriptor, has its locks. */
	CALL_IF(fcntl, "F_OFD_SETLK", IS(1, F_OFD_SETLK)),
	CALL_IF(fcntl, "F_OFD_GETLK", IS(1, F_OFD_GETLK)),
	/* What a guest whose driver starts again takes of its tap interface. */
	CALL_IF(ioctl, "TUNSETOFFLOAD", IS(1, TUNSETOFFLOAD)),
	CALL_IF(kcmp, "of its own descriptors", IS_SELF(0), IS_SELF(1)),

	/* The terminal: raw mode and back, who is in the foreground. */
	CALL_IF(ioctl, "TCGETS", IS(1, TCGETS)),
	CALL_IF(ioctl, "TCSETS", IS(1, TCSETS)),
	CALL_IF(ioctl, "TIOCGPGRP", IS(1, TIOCGPGRP)),
	CALL_IF(ioctl, "TIOCGWINSZ", IS(1, TIOCGWINSZ)),
	CALL(getpgrp),

	CALLS_FOR_MEMORY,
	/* How the engine copies the arguments of requests. */
	CALL_IF(process_vm_readv, "of itself", IS_SELF(0)),
	CALL_IF(process_vm_writev, "of itself", IS_SELF(0)),

	/* Threads. */
	CALL_IF(clone, "of a thread", IS(0, THREAD_FLAGS)),
	CALL(set_robust_list),
	CALL(rseq),
	CALL(exit),
	CALL(exit_group),
	CALL(getpid),
	CALL(gettid),
	CALL(sched_yield),
	CALL_IF(sched_getaffinity, "its own", IS(0, 0)),
	CALL_IF(prctl, "PR_SET_NAME", IS(0, PR_SET_NAME)),
	/* Where the host has no FSGSBASE: translated code finds its CPU by GS. */
	CALL_IF(arch_prctl, "ARCH_SET_GS", IS(0, ARCH_SET_GS)),

	/* Signals, to itself. */
	CALL(rt_sigaction),
	CALL(rt_sigprocmask),
	CALL(rt_sigreturn),
	CALL(sigaltstack),
	CALL(restart_syscall),
	CALL_IF(tgkill, "to itself", IS_SELF(0)),
	CALL_IF(kill, "to itself", IS_SELF(0)),

	/* Time, and random numbers. The first two are calls where the vDSO cannot tell. */
	CALL(clock_gettime),
	CALL(gettimeofday),
	CALL(clock_nanosleep),
	CALL(nanosleep),
	CALL(getrandom),

	/* KVM's requests on handles that are open. Nothing is created. */
	KVM(KVM_IRQ_LINE),
	KVM(KVM_IRQ_LINE_STATUS),
	KVM(KVM_SIGNAL_MSI),
	KVM(KVM_INTERRUPT),
	KVM(KVM_NMI),
	KVM(KVM_SET_GSI_ROUTING),
	KVM(KVM_IRQFD),
	KVM(KVM_IOEVENTFD),
	KVM(KVM_SET_USER_MEMORY_REGION),
	KVM(KVM_GET_DIRTY_LOG),
	KVM(KVM_GET_REGS),
	KVM(KVM_SET_REGS),
	KVM(KVM_GET_SREGS),
	KVM(KVM_SET_SREGS),
	KVM(KVM_GET_MSRS),
	KVM(KVM_SET_MSRS),
	KVM(KVM_GET_FPU),
	KVM(KVM_SET_FPU),
	KVM(KVM_GET_XSAVE),
	KVM(KVM_GET_XSAVE2),
	KVM(KVM_SET_XSAVE),
	KVM(KVM_GET_XCRS),
	KVM(KVM_SET_XCRS),
	KVM(KVM_GET_DEBUGREGS),
	KVM(KVM_SET_DEBUGREGS),
	KVM(KVM_GET_LAPIC),
	KVM(KVM_SET_LAPIC),
	KVM(KVM_GET_VCPU_EVENTS),
	KVM(KVM_SET_VCPU_EVENTS),
	KVM(KVM_GET_MP_STATE),
	KVM(KVM_SET_MP_STATE),
	KVM(KVM_GET_MSR_INDEX_LIST),
	KVM(KVM_GET_CPUID2),
	KVM(KVM_GET_TSC_KHZ),
	KVM(KVM_GET_CLOCK),
	KVM(KVM_SET_CLOCK),
	KVM(KVM_GET_IRQCHIP),
	KVM(KVM_SET_IRQCHIP),
	KVM(KVM_GET_PIT2),
	KVM(KVM_SET_PIT2),
	KVM(KVM_SET_GUEST_DEBUG),
	KVM(KVM_TRANSLATE),
	KVM(KVM_KVMCLOCK_CTRL),
	KVM(KVM_CHECK_EXTENSION),
};

const unsigned sandbox_call_count = sizeof(sandbox_calls) / sizeof(sandbox_calls[0]);
