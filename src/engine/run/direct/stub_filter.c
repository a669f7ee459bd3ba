/*
 * What a stub may call, by seccomp.
 *
 * The syscall instructions of the stub's own page are known by their addresses, and each is for one purpose:
 * to stop, to map or unmap (and set a segment's base, where the host has no FSGSBASE), to return from a signal. A guest can jump
 * to these instructions with any registers, so that mapping asks for a secret besides, which travels in
 * halves of arguments that the kernel ignores; and so does the return from a signal: a frame of the guest's own
 * would block the monitor's kick, and a loop behind it could not be ended. Every other call, from anywhere, by any instruction set's
 * way, raises SIGSYS: that is how a guest's own system calls are seen.
 *
 * The kernel applies all filters and takes the strictest answer. The one with the listener comes first,
 * since its descriptor still has to be sent, and says nothing but that stops wait.
 */
#include "engine/run/direct/stub_filter.h"

#include <asm/prctl.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/x86/host/host.h"

#define LOW(field)  (offsetof(struct seccomp_data, field))
#define HIGH(field) (offsetof(struct seccomp_data, field) + 4)
#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
/* Go on if it is the value, else answer `otherwise`. */
#define NEED(value, otherwise)                                                                     \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 1, 0), ANSWER(otherwise)
/* The next `count` instructions are for the value. */
#define WHEN(value, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, count)
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, action)

#define AT(label) ((uint32_t)place + DIRECT_CODE_OFFSET(label))

static int install(const struct sock_filter *filter, unsigned short count, unsigned flags)
{
	const struct sock_fprog program = {count, (struct sock_filter *)filter};
	long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);

	return result < 0 ? -errno : (int)result;
}

int stub_filter_listen(uint64_t place)
{
	const struct sock_filter filter[] = {
		LOAD(LOW(arch)),
		NEED(AUDIT_ARCH_X86_64, SECCOMP_RET_ALLOW),
		LOAD(LOW(nr)),
		NEED(DIRECT_STOP_CALL, SECCOMP_RET_ALLOW),
		LOAD(HIGH(instruction_pointer)),
		NEED(place >> 32, SECCOMP_RET_ALLOW),
		LOAD(LOW(instruction_pointer)),
		NEED(AT(direct_code_stop), SECCOMP_RET_ALLOW),
		ANSWER(SECCOMP_RET_USER_NOTIF),
	};

	return install(filter, sizeof(filter) / sizeof(filter[0]),
		       SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW);
}

int stub_filter_lock(const struct direct_secret *secret, uint64_t place, int memory, int copies)
{
	const uint32_t base_call = host.has_fsgsbase ? UINT32_MAX /* none */ : SYS_arch_prctl;
	const struct sock_filter filter[] = {
		LOAD(LOW(arch)),
		NEED(AUDIT_ARCH_X86_64, SECCOMP_RET_TRAP),
		LOAD(HIGH(instruction_pointer)),
		NEED(place >> 32, SECCOMP_RET_TRAP),
		LOAD(LOW(instruction_pointer)),
		WHEN(AT(direct_code_stop), 4),
		LOAD(LOW(nr)),
		NEED(DIRECT_STOP_CALL, SECCOMP_RET_TRAP),
		ANSWER(SECCOMP_RET_ALLOW),
		WHEN(AT(direct_code_return), 10),
		LOAD(LOW(nr)),
		NEED(SYS_rt_sigreturn, SECCOMP_RET_TRAP),
		LOAD(LOW(args[0])),
		NEED(secret->pass, SECCOMP_RET_TRAP),
		LOAD(HIGH(args[0])),
		NEED(secret->pass >> 32, SECCOMP_RET_TRAP),
		ANSWER(SECCOMP_RET_ALLOW),
		NEED(AT(direct_code_map), SECCOMP_RET_TRAP),
		LOAD(HIGH(args[3])),
		NEED(secret->flags, SECCOMP_RET_TRAP),
		LOAD(HIGH(args[4])),
		NEED(secret->fd, SECCOMP_RET_TRAP),
		LOAD(LOW(nr)),
		WHEN(SYS_munmap, 1),
		ANSWER(SECCOMP_RET_ALLOW),
		WHEN(base_call, 6),
		LOAD(LOW(args[0])),
		WHEN(ARCH_SET_FS, 1),
		ANSWER(SECCOMP_RET_ALLOW),
		NEED(ARCH_SET_GS, SECCOMP_RET_TRAP),
		ANSWER(SECCOMP_RET_ALLOW),
		NEED(SYS_mmap, SECCOMP_RET_TRAP),
		LOAD(LOW(args[4])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)memory, 2, 0),
		NEED(copies, SECCOMP_RET_TRAP),
		LOAD(LOW(args[3])),
		WHEN(MAP_SHARED | MAP_FIXED, 1),
		ANSWER(SECCOMP_RET_ALLOW),
		NEED(MAP_SHARED | MAP_FIXED | MAP_POPULATE, SECCOMP_RET_TRAP),
		ANSWER(SECCOMP_RET_ALLOW),
	};

	return install(filter, sizeof(filter) / sizeof(filter[0]), SECCOMP_FILTER_FLAG_SPEC_ALLOW);
}
