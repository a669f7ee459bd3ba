/*
 * The functions that a program may use on /dev/kvm and its descriptors, each as with the real one,
 * and the signals that it shares with the engine.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "vmm.h"

#define EXPECT(condition)                                                                          \
	((condition) ? (void)0                                                                     \
	             : errx(1, "line %d: %s (errno %d, %s)", __LINE__, #condition, errno,          \
	                    strerror(errno)))

static int api_version(int fd)
{
	return ioctl(fd, KVM_GET_API_VERSION, 0);
}

static void expect_kvm(int fd)
{
	EXPECT(fd >= 0);
	EXPECT(api_version(fd) == 12);
	EXPECT(close(fd) == 0);
	EXPECT(api_version(fd) == -1 && errno == EBADF);
}

/* By what is in its folder, which nobody makes believe. */
static bool kernel_has_node(void)
{
	DIR *folder = opendir("/dev");
	const struct dirent *entry;
	bool has_node = false;

	while (folder && (entry = readdir(folder)))
		has_node |= strcmp(entry->d_name, "kvm") == 0;
	if (folder)
		closedir(folder);
	return has_node;
}

static void test_open(void)
{
	int directory = open("/dev", O_PATH | O_DIRECTORY);

	expect_kvm(open("/dev/kvm", O_RDWR));
	expect_kvm(open("//dev/./kvm", O_RDWR | O_CLOEXEC));
	expect_kvm(open("/dev/../dev/kvm", O_RDONLY));
	expect_kvm(open64("/dev/kvm", O_RDWR));
	expect_kvm(creat("/dev/kvm", 0600));
	expect_kvm(openat(AT_FDCWD, "/dev/kvm", O_RDWR));
	expect_kvm(openat(directory, "kvm", O_RDWR));
	expect_kvm((int)syscall(SYS_open, "/dev/kvm", O_RDWR));
	expect_kvm((int)syscall(SYS_openat, directory, "kvm", O_RDWR, 0));
	EXPECT(chdir("/dev") == 0);
	expect_kvm(open("kvm", O_RDWR));
	EXPECT(chdir("/") == 0);
	EXPECT(open("/dev/kvm", O_RDWR | O_CREAT | O_EXCL, 0600) == -1 && errno == EEXIST);
	/* That is the kernel's, which may have no such file. */
	EXPECT(open("/dev/kvm/", O_RDWR | O_DIRECTORY) == -1 && errno == (kernel_has_node() ? ENOTDIR : ENOENT));
	EXPECT(open("/dev/kvm", O_RDWR | O_DIRECTORY) == -1 && errno == ENOTDIR);
	EXPECT(open("/no/such/kvm", O_RDWR) == -1 && errno == ENOENT);
	close(directory);
}

static void expect_device(const struct stat *status)
{
	EXPECT(S_ISCHR(status->st_mode));
	EXPECT(status->st_rdev == makedev(10, 232));
}

static void test_stat(void)
{
	int kvm = open("/dev/kvm", O_RDWR);
	struct statx extended;
	struct stat status;

	EXPECT(access("/dev/kvm", F_OK) == 0 && access("/dev/kvm", R_OK | W_OK) == 0);
	EXPECT(faccessat(AT_FDCWD, "/dev/kvm", R_OK | W_OK, AT_EACCESS) == 0);
	EXPECT(stat("/dev/kvm", &status) == 0);
	expect_device(&status);
	EXPECT(lstat("/dev/kvm", &status) == 0);
	expect_device(&status);
	EXPECT(fstat(kvm, &status) == 0);
	expect_device(&status);
	EXPECT(fstatat(kvm, "", &status, AT_EMPTY_PATH) == 0);
	expect_device(&status);
	EXPECT(statx(AT_FDCWD, "/dev/kvm", 0, STATX_BASIC_STATS, &extended) == 0);
	EXPECT(S_ISCHR(extended.stx_mode) && extended.stx_rdev_minor == 232);
	EXPECT(stat("/dev/null", &status) == 0 && status.st_rdev == makedev(1, 3));
	close(kvm);
}

static void test_descriptors(void)
{
	int kvm = open("/dev/kvm", O_RDWR), copy, sockets[2];
	char control[CMSG_SPACE(sizeof(int))];
	char data = 0;
	struct iovec byte = {&data, 1};
	struct msghdr message = {.msg_iov = &byte,
	                         .msg_iovlen = 1,
	                         .msg_control = control,
	                         .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	EXPECT(fcntl(kvm, F_GETFD) == 0);
	copy = dup(kvm);
	expect_kvm(copy);
	copy = fcntl(kvm, F_DUPFD_CLOEXEC, 100);
	EXPECT(copy >= 100 && fcntl(copy, F_GETFD) == FD_CLOEXEC);
	/* The number becomes another file. */
	EXPECT(api_version(copy) == 12);
	EXPECT(dup2(0, copy) == copy);
	EXPECT(api_version(copy) == -1);
	EXPECT(dup3(kvm, copy, O_CLOEXEC) == copy);
	EXPECT(api_version(copy) == 12);
	EXPECT(dup2(-1, copy) == -1 && api_version(copy) == 12);
	EXPECT(close_range((unsigned)copy, (unsigned)copy + 5, 0) == 0);
	EXPECT(api_version(copy) == -1 && errno == EBADF);
	/* The request is an int to some. */
	EXPECT(ioctl(kvm, (unsigned long)(long)(int)KVM_GET_API_VERSION | 0xffffffff00000000, 0) ==
	       12);
	EXPECT(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) == 1);
	EXPECT(ioctl(0, KVM_GET_API_VERSION, 0) == -1);

	EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
	*header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(header), &kvm, sizeof(int));
	EXPECT(sendmsg(sockets[0], &message, 0) == 1);
	EXPECT(recvmsg(sockets[1], &message, 0) == 1);
	memcpy(&copy, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	close(kvm);
	expect_kvm(copy);
}

static void test_fork(void)
{
	struct vmm vmm;
	int status;

	vmm_create(&vmm, 0);
	memset(vmm.memory + 0x1000, 0xf4, 1); /* hlt */
	vmm_start_real(&vmm, 0x1000);
	if (fork() == 0) {
		struct kvm_regs regs;
		struct vmm own;

		/* The VM is the parent's; the system handle serves both. */
		EXPECT(ioctl(vmm.vcpu, KVM_GET_REGS, &regs) == -1 && errno == EIO);
		EXPECT(api_version(vmm.kvm) == 12);
		vmm_create(&own, 0);
		memset(own.memory + 0x1000, 0xf4, 1);
		vmm_start_real(&own, 0x1000);
		EXPECT(ioctl(own.vcpu, KVM_RUN, 0) == 0);
		_exit(own.run->exit_reason == KVM_EXIT_HLT ? 0 : 1);
	}
	EXPECT(wait(&status) > 0 && status == 0);
	EXPECT(ioctl(vmm.vcpu, KVM_RUN, 0) == 0 && vmm.run->exit_reason == KVM_EXIT_HLT);
	/* What runs next knows nothing of it, and gets its own. */
	if (fork() == 0) {
		execl("/proc/self/exe", "calls", "open", NULL);
		_exit(1);
	}
	EXPECT(wait(&status) > 0 && status == 0);
}

/* 100 VMs, none of them closed: the process's end takes them. */
static void test_many(void)
{
	int status;

	for (int i = 0; i < 100; i++)
		if (fork() == 0) {
			struct vmm vmm;

			vmm_create(&vmm, i & 1);
			memset(vmm.memory + 0x1000, 0xf4, 1);
			vmm_start_real(&vmm, 0x1000);
			if (!(i & 1))
				EXPECT(ioctl(vmm.vcpu, KVM_RUN, 0) == 0);
			_exit(0);
		} else {
			EXPECT(wait(&status) > 0 && status == 0);
		}
}

/* VMs that come and go in one process, with fewer descriptors than they have had all together. */
static void test_churn(void)
{
	struct rlimit limit = {100, 100};

	for (int i = 0; i < 300; i++) {
		struct vmm vmm;
		int copy;

		vmm_create(&vmm, i & 1);
		memset(vmm.memory + 0x1000, 0xf4, 1);
		vmm_start_real(&vmm, 0x1000);
		copy = dup(vmm.vcpu);
		close(vmm.vcpu);
		close(vmm.vm);
		close(vmm.kvm);
		/* What is left of it keeps it alive. */
		if (!(i & 1))
			EXPECT(ioctl(copy, KVM_RUN, 0) == 0);
		munmap(vmm.run, 0x3000);
		munmap(vmm.memory, MEMORY_SIZE);
		close(copy);
		EXPECT(i || setrlimit(RLIMIT_NOFILE, &limit) == 0);
	}
}

static volatile sig_atomic_t caught, alarms;
static sigjmp_buf recovery;

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	caught = number;
	siglongjmp(recovery, 1);
}

static void on_alarm(int number)
{
	(void)number;
	alarms++;
}

/* Their own faults reach the program's handlers, before and after the engine took an interest. */
static void expect_own_faults(void)
{
	volatile int zero = 0, one = 1;

	caught = 0;
	if (!sigsetjmp(recovery, 1))
		one /= zero;
	EXPECT(caught == SIGFPE && one == 1);
	caught = 0;
	if (!sigsetjmp(recovery, 1))
		__asm__ volatile("ud2");
	EXPECT(caught == SIGILL);
}

static void test_signals(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, found;
	/* Vector 16 leads to 0x1100; CR0.NE = 1; then 1 / 0 on x87 with nothing masked: #MF. */
	static const uint8_t divide[] = {0x31, 0xc0, 0x8e, 0xd8, 0xc7, 0x06, 0x40, 0x00, 0x00, 0x11,
	                                 0xc7, 0x06, 0x42, 0x00, 0x00, 0x00, 0x0f, 0x20, 0xc0, 0x66,
	                                 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xc0, 0xdb, 0xe3, 0xc7, 0x06,
	                                 0x00, 0x05, 0x00, 0x00, 0xd9, 0x2e, 0x00, 0x05, 0xd9, 0xe8,
	                                 0xd9, 0xee, 0xde, 0xf9, 0x9b, 0xeb, 0xfe};
	/* mov $0x4d,%al; out %al,$0x80 */
	static const uint8_t handler[] = {0xb0, 0x4d, 0xe6, 0x80};
	static const uint8_t spin[] = {0xeb, 0xfe};
	struct itimerval timer = {{.tv_usec = 20000}, {.tv_usec = 20000}};
	struct vmm vmm;

	sigaction(SIGFPE, &action, NULL);
	sigaction(SIGILL, &action, NULL);
	expect_own_faults();
	vmm_create(&vmm, 0);
	expect_own_faults();
	memcpy(vmm.memory + 0x1000, divide, sizeof(divide));
	memcpy(vmm.memory + 0x1100, handler, sizeof(handler));
	vmm_start_real(&vmm, 0x1000);
	caught = 0;
	EXPECT(ioctl(vmm.vcpu, KVM_RUN, 0) == 0);
	EXPECT(vmm.run->exit_reason == KVM_EXIT_IO && caught == 0);
	/* Handlers that are set now are told as the program set them, and the guest does not see.
	 */
	EXPECT(sigaction(SIGFPE, NULL, &found) == 0 && found.sa_sigaction == on_fault);
	EXPECT(signal(SIGFPE, SIG_IGN) == (sighandler_t)(void *)on_fault);
	EXPECT(signal(SIGFPE, SIG_DFL) == SIG_IGN);
	raise(SIGCHLD);
	sigaction(SIGFPE, &action, NULL);
	expect_own_faults();
	vmm_start_real(&vmm, 0x1000);
	EXPECT(ioctl(vmm.vcpu, KVM_RUN, 0) == 0 && vmm.run->exit_reason == KVM_EXIT_IO);

	/* A signal ends KVM_RUN, and its handler has run. One may come before KVM_RUN: there are
	 * more. */
	memcpy(vmm.memory + 0x1000, spin, sizeof(spin));
	vmm_start_real(&vmm, 0x1000);
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &timer, NULL);
	EXPECT(ioctl(vmm.vcpu, KVM_RUN, 0) == -1 && errno == EINTR && alarms);
}

static _Atomic int is_kicking;

/* Again after a time, for the case that the first came before KVM_RUN. */
static void *kick_after_a_while(void *thread)
{
	usleep(20000);
	while (is_kicking) {
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
		for (int i = 0; i < 500 && is_kicking; i++)
			usleep(1000);
	}
	return NULL;
}

/* A signal from another thread ends KVM_RUN, and is handled or left as it should. */
static void expect_kick(const struct vmm *vmm, int is_handled)
{
	pthread_t self = pthread_self(), other;
	int before = alarms;

	is_kicking = 1;
	EXPECT(pthread_create(&other, NULL, kick_after_a_while, &self) == 0);
	EXPECT(ioctl(vmm->vcpu, KVM_RUN, 0) == -1 && errno == EINTR);
	EXPECT(vmm->run->exit_reason == KVM_EXIT_INTR && (alarms != before) == is_handled);
	is_kicking = 0;
	pthread_join(other, NULL);
}

static void test_kicks(void)
{
	struct {
		struct kvm_signal_mask header;
		uint64_t bits;
	} mask = {.header.len = sizeof(mask.bits)};
	struct sigaction action = {.sa_handler = on_alarm};
	/* hlt; jmp to it: with a controller in the kernel's place this sleeps in KVM_RUN. */
	static const uint8_t sleeper[] = {0xf4, 0xeb, 0xfd}, spin[] = {0xeb, 0xfe};
	sigset_t set, pending;
	struct vmm vmm;
	int kicks;

	vmm_create(&vmm, 1);
	sigaction(SIGUSR1, &action, NULL);
	memcpy(vmm.memory + 0x1000, sleeper, sizeof(sleeper));
	vmm_start_real(&vmm, 0x1000);
	expect_kick(&vmm, 1);
	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &action, NULL);
	expect_kick(&vmm, 1);
	memcpy(vmm.memory + 0x1000, spin, sizeof(spin));
	vmm_start_real(&vmm, 0x1000);
	expect_kick(&vmm, 1);
	vmm.run->immediate_exit = 1;
	EXPECT(ioctl(vmm.vcpu, KVM_RUN, 0) == -1 && errno == EINTR);
	vmm.run->immediate_exit = 0;
	/* Blocked but in KVM_RUN: it ends that, and stays pending. */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	EXPECT(ioctl(vmm.vcpu, KVM_SET_SIGNAL_MASK, &mask) == 0);
	expect_kick(&vmm, 0);
	EXPECT(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1));
	EXPECT(ioctl(vmm.vcpu, KVM_RUN, 0) == -1 && errno == EINTR);
	kicks = alarms;
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	EXPECT(alarms == kicks + 1);
	EXPECT(ioctl(vmm.vcpu, KVM_SET_SIGNAL_MASK, NULL) == 0);
	expect_kick(&vmm, 1);
}

/* Signals all the time, whatever the moment: each call gives what it gives without. */
static void test_storm(void)
{
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct itimerval timer = {{.tv_usec = 50}, {.tv_usec = 50}}, none = {0};
	int kvm = open("/dev/kvm", O_RDWR);

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	while (alarms < 5000)
		EXPECT(api_version(kvm) == 12 && access("/dev/kvm", R_OK) == 0);
	setitimer(ITIMER_REAL, &none, NULL);
	close(kvm);
}

/* Events instead of exits and requests: the guest's write to a port, and an interrupt's line. */
static void test_events(void)
{
	/* out %al, $0x90; jmp back to it */
	static const uint8_t code[] = {0xe6, 0x90, 0xeb, 0xfc};
	int event = eventfd(0, EFD_NONBLOCK), copy = dup(event);
	struct kvm_ioeventfd port = {
	    .addr = 0x90, .len = 1, .fd = event, .flags = KVM_IOEVENTFD_FLAG_PIO};
	struct kvm_irqfd line = {.fd = (uint32_t)event, .gsi = 5};
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_PIC_MASTER};
	struct itimerval timer = {{.tv_usec = 20000}, {.tv_usec = 20000}}, none = {0};
	struct vmm vmm;
	uint64_t count;

	vmm_create(&vmm, 1);
	memcpy(vmm.memory + 0x1000, code, sizeof(code));
	vmm_start_real(&vmm, 0x1000);
	EXPECT(ioctl(vmm.vm, KVM_IOEVENTFD, &port) == 0);
	EXPECT(ioctl(vmm.vm, KVM_IOEVENTFD, &port) == -1 && errno == EEXIST);
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &timer, NULL);
	EXPECT(ioctl(vmm.vcpu, KVM_RUN, 0) == -1 && errno == EINTR);
	setitimer(ITIMER_REAL, &none, NULL);
	EXPECT(read(event, &count, sizeof(count)) == sizeof(count) && count > 0);
	/* The event is the same by another descriptor. */
	port.fd = copy;
	port.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	EXPECT(ioctl(vmm.vm, KVM_IOEVENTFD, &port) == 0);
	EXPECT(ioctl(vmm.vcpu, KVM_RUN, 0) == 0 && vmm.run->exit_reason == KVM_EXIT_IO);
	port.fd = 99;
	EXPECT(ioctl(vmm.vm, KVM_IOEVENTFD, &port) == -1 && errno == EBADF);

	EXPECT(ioctl(vmm.vm, KVM_IRQFD, &line) == 0);
	EXPECT(ioctl(vmm.vm, KVM_IRQFD, &line) == -1 && errno == EBUSY);
	count = 1;
	EXPECT(write(event, &count, sizeof(count)) == sizeof(count));
	for (int i = 0; i < 1000 && !(chip.chip.pic.irr & 1 << 5); i++) {
		usleep(1000);
		EXPECT(ioctl(vmm.vm, KVM_GET_IRQCHIP, &chip) == 0);
	}
	EXPECT(chip.chip.pic.irr & 1 << 5);
	line.fd = (uint32_t)copy;
	line.flags = KVM_IRQFD_FLAG_DEASSIGN;
	EXPECT(ioctl(vmm.vm, KVM_IRQFD, &line) == 0);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {
	    {"open", test_open},       {"stat", test_stat},   {"descriptors", test_descriptors},
	    {"fork", test_fork},       {"many", test_many},   {"churn", test_churn},
	    {"signals", test_signals}, {"kicks", test_kicks}, {"storm", test_storm},
	    {"events", test_events}};

	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (argc < 2 || strcmp(argv[1], tests[i].name) == 0) {
			tests[i].run();
			if (argc < 2)
				printf("%s\n", tests[i].name);
		}
	return 0;
}
