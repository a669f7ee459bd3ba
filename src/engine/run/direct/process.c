#include "engine/run/direct/process.h"

#include <asm/prctl.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/x86/host/host.h"

/* Wake who waits on the same CPU: Linux 6.6. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS	 SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

/* What the kernel puts into an image in a frame, at its bytes 464 to 511 (asm/sigcontext.h). */
struct frame_software {
	uint32_t magic, extended_size;
	uint64_t features;
	uint32_t image_size;
};

#define SOFTWARE_OFFSET 464
#define SOFTWARE_MAGIC	0x46505853u

#define BASE_UNKNOWN UINT64_MAX /* none that arch_prctl(2) takes */

static int send_hello(int socket, const struct direct_hello *hello, const int fds[DIRECT_HELLO_FDS])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(DIRECT_HELLO_FDS * sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(DIRECT_HELLO_FDS * sizeof(int)) } };
	struct iovec vector = { (void *)hello, sizeof(*hello) };
	struct msghdr packet = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control,
				 .msg_controllen = sizeof(control) };
	ssize_t sent;

	memcpy(CMSG_DATA(&control.header), fds, DIRECT_HELLO_FDS * sizeof(int));
	do
		sent = sendmsg(socket, &packet, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

static int receive_listener(struct direct_process *process)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct direct_greeting greeting;
	struct iovec vector = { &greeting, sizeof(greeting) };
	struct msghdr packet = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control,
				 .msg_controllen = sizeof(control) };
	ssize_t received;

	do
		received = recvmsg(process->stub.socket, &packet, MSG_CMSG_CLOEXEC);
	while (received < 0 && errno == EINTR);
	if (received < 0)
		return -errno;
	/* No guest has been in it so far: it says what it is, or nothing. */
	if (received != sizeof(greeting) || packet.msg_controllen < CMSG_LEN(sizeof(int)))
		return -EPIPE;
	memcpy(&process->listener, CMSG_DATA(&control.header), sizeof(int));
	process->memory = greeting.memory;
	process->copies = greeting.copies;
	process->cpuid_faults = greeting.cpuid_faults;
	return 0;
}

/* Before 6.11 a listener waits on when everybody has gone. */
static bool must_poll;
/* Whether a kick can be: containers' filters and kernels before 5.1 have no pidfd_send_signal(2). */
static bool can_kick;

void process_prepare(void)
{
	struct utsname name;
	unsigned major, minor;

	must_poll = uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2 ||
		    major < 6 || (major == 6 && minor < 11);
	can_kick = syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0) < 0 && errno == EBADF;
}

void process_adopt_thread(void)
{
	static _Thread_local bool is_adopted;

	if (!is_adopted)
		syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
	is_adopted = true;
}

static int wait_for_stop(struct direct_process *process)
{
	struct pollfd ready[2] = { { .fd = process->listener, .events = POLLIN },
				   { .fd = process->stub.process, .events = POLLIN } };
	union {
		struct seccomp_notif notification;
		uint8_t bytes[256]; /* as large as a later kernel may want it */
	} buffer;

	if (must_poll) {
		if (poll(ready, 2, -1) < 0)
			return -errno;
		if (ready[1].revents)
			return -ESRCH;
	}
	memset(&buffer, 0, sizeof(buffer));
	if (ioctl(process->listener, SECCOMP_IOCTL_NOTIF_RECV, &buffer) < 0) {
		if (errno != ENOENT)
			return -errno;
		/* Nobody is left, which the listener says before the process has ended wholly; or a signal took the stop
		 * back, and another follows. */
		return poll(ready, 2, 0) > 0 && (ready[1].revents || (ready[0].revents & (POLLHUP | POLLERR))) ?
			       -ESRCH : -EINTR;
	}
	process->notification = buffer.notification.id;
	return 0;
}

/* Take over where the first signal's frame was, which the kernel alone has written. */
static int learn_frame(struct direct_process *process)
{
	const struct direct_control *control = process_control(process);
	const uint64_t end = process->place + STUB_PAGE_BYTES;
	const struct direct_frame *frame;
	struct frame_software software;
	uint64_t image;

	if (control->context < process->place + DIRECT_STACK || control->context > end - sizeof(*frame) ||
	    control->info < process->place + DIRECT_STACK || control->info > end - 128)
		return -EPROTO;
	process->context = (uint32_t)(control->context - process->place);
	process->info = (uint32_t)(control->info - process->place);
	frame = process_frame(process);
	process->first = *frame;
	image = frame->fpstate - process->place;
	if (image < DIRECT_STACK || image > STUB_PAGE_BYTES - 576)
		return -EPROTO;
	process->image = (uint32_t)image;
	memcpy(&software, process->page + image + SOFTWARE_OFFSET, sizeof(software));
	if (software.magic != SOFTWARE_MAGIC || software.image_size > FRAME_FP_MAX ||
	    software.image_size < 576 || image + software.image_size + 4 > STUB_PAGE_BYTES)
		return -ENOTSUP;
	process->image_size = software.image_size;
	memcpy(process->first_software, process->page + image + SOFTWARE_OFFSET,
	       sizeof(process->first_software));
	memcpy(&process->magic, process->page + image + software.image_size, 4);
	return 0;
}

/* A short jump from one label to another in the code at `page`. */
static void jump_over(uint8_t *page, const uint8_t *from, const uint8_t *to)
{
	uint8_t *at = page + DIRECT_CODE_OFFSET(from);

	at[0] = 0xeb;
	at[1] = (uint8_t)(to - from - 2);
}

static int start(struct direct_process *process, int memory, int copies)
{
	struct direct_hello hello;
	const int fds[DIRECT_HELLO_FDS] = { memory, copies, process->stub.page };
	int result;

	if (getrandom(&hello, sizeof(hello), 0) != sizeof(hello))
		return -EIO;
	hello.place = process->place;
	process->secret = hello.secret;
	memcpy(process->page, direct_code, DIRECT_CODE_OFFSET(direct_code_end));
	if (!host.has_fsgsbase) {
		jump_over(process->page, direct_code_bases_out, direct_code_bases_seen);
		jump_over(process->page, direct_code_bases_in, direct_code_bases_set);
	}
	result = send_hello(process->stub.socket, &hello, fds);
	if (result == 0)
		result = receive_listener(process);
	if (result < 0)
		return result;
	/* Without it the two sides meet all the same. */
	ioctl(process->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	do
		result = wait_for_stop(process);
	while (result == -EINTR);
	if (result == 0)
		result = learn_frame(process);
	if (result == 0)
		process_unmap_all(process);
	return result;
}

int process_create(struct direct_process *process, const struct stub_source *stubs, int memory, int copies,
		   uint64_t place)
{
	void *page;
	int result;

	*process = (struct direct_process){ .place = place, .listener = -1, .bases = { BASE_UNKNOWN, BASE_UNKNOWN } };
	if (!can_kick)
		return -ENOSYS;
	result = stubs->spawn(stubs->context, &process->stub);
	if (result < 0)
		return result;
	page = mmap(NULL, STUB_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, process->stub.page, 0);
	if (page == MAP_FAILED)
		result = -errno;
	else
		process->page = page;
	if (result == 0)
		result = start(process, memory, copies);
	if (result < 0)
		process_destroy(process, stubs);
	return result;
}

void process_destroy(struct direct_process *process, const struct stub_source *stubs)
{
	if (process->listener >= 0)
		close(process->listener);
	stubs->kill(stubs->context, process->stub.id);
	if (process->page)
		munmap(process->page, STUB_PAGE_BYTES);
	close(process->stub.process);
	close(process->stub.socket);
	close(process->stub.page);
	*process = (struct direct_process){ .listener = -1 };
}

static void add_command(struct direct_process *process, const struct direct_command *command)
{
	struct direct_command *place = &process_control(process)->commands[process->count++];

	*place = *command;
	place->arguments[3] |= (uint64_t)process->secret.flags << 32;
	place->arguments[4] |= (uint64_t)process->secret.fd << 32;
}

static void map(struct direct_process *process, uint64_t gva, uint64_t size, int fd, uint64_t offset, int rights)
{
	const struct direct_command command = {
		.number = SYS_mmap,
		.arguments = { gva, size, (uint64_t)rights, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
			       (uint32_t)fd, offset },
	};

	add_command(process, &command);
}

void process_map(struct direct_process *process, uint64_t gva, uint64_t size, uint64_t offset, int rights)
{
	map(process, gva, size, process->memory, offset, rights);
}

void process_map_copy(struct direct_process *process, uint64_t gva, uint64_t size, uint64_t offset)
{
	map(process, gva, size, process->copies, offset, PROT_READ | PROT_EXEC);
}

void process_unmap(struct direct_process *process, uint64_t gva, uint64_t size)
{
	const struct direct_command command = { .number = SYS_munmap, .arguments = { gva, size } };

	add_command(process, &command);
}

static void set_base(struct direct_process *process, unsigned which, unsigned code, uint64_t base)
{
	const struct direct_command command = { .number = SYS_arch_prctl, .arguments = { code, base } };

	if (process->bases[which] == base)
		return;
	process->bases[which] = base;
	add_command(process, &command);
}

void process_set_bases(struct direct_process *process, uint64_t fs, uint64_t gs, bool are_lost)
{
	struct direct_control *control = process_control(process);

	control->fs_base = fs;
	control->gs_base = gs;
	if (host.has_fsgsbase)
		return;
	if (are_lost)
		process->bases[0] = process->bases[1] = BASE_UNKNOWN;
	set_base(process, 0, ARCH_SET_FS, fs);
	set_base(process, 1, ARCH_SET_GS, gs);
}

void process_unmap_all(struct direct_process *process)
{
	process_unmap(process, 0, process->place);
	process_unmap(process, process->place + STUB_PAGE_BYTES,
		      DIRECT_SPACE_END - process->place - STUB_PAGE_BYTES);
}

void process_wipe(struct direct_process *process)
{
	/* What waits to be done stays. */
	memset(&process_control(process)->commands[process->count], 0,
	       (DIRECT_COMMANDS - process->count) * sizeof(struct direct_command));
	memset(process->page + DIRECT_STACK, 0, STUB_PAGE_BYTES - DIRECT_STACK);
}

int process_resume(struct direct_process *process)
{
	struct direct_control *control = process_control(process);
	struct seccomp_notif_resp answer = { .id = process->notification };

	control->failure = 0;
	control->frame = process->place + process->context;
	control->context = control->frame;
	control->pass = process->secret.pass;
	control->count = process->count;
	process->count = 0;
	/* ENOENT: it was killed meanwhile; or it had stopped by the guest's jump, open to signals, and a kick took that back. */
	if (ioctl(process->listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0)
		return -errno;
	return 0;
}

int process_wait(struct direct_process *process)
{
	const struct direct_control *control = process_control(process);
	int result = wait_for_stop(process);
	uint64_t ip;

	if (result < 0)
		return result;
	/*
	 * A stub has done all commands, and has used its pass, before it lets guest code run. A signal that came before,
	 * or when the pass was in a register, has saved what guest code would find: such a frame is where frames are, or
	 * elsewhere by the guest's doing.
	 */
	ip = process_frame(process)->ip;
	if (control->count || control->pass || control->context != process->place + process->context ||
	    (ip >= process->place + DIRECT_CODE_OFFSET(direct_code_leave) &&
	     ip < process->place + DIRECT_CODE_OFFSET(direct_code_return)))
		return -EPROTO;
	return 0;
}

void process_kick(const struct direct_process *process)
{
	syscall(SYS_pidfd_send_signal, process->stub.process, DIRECT_KICK, NULL, 0);
}
