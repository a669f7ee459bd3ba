/*
 * Jumps of the emitter: each goes where it was bound, and a binding that is wrong, is made twice or is
 * forgotten is noticed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/run/jit/emit/emitter.h"

#define CODE_SIZE 4096

/* Memory that may be written and run. */
static int make_code(void **state)
{
	*state = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return *state == MAP_FAILED;
}

static int remove_code(void **state)
{
	return munmap(*state, CODE_SIZE);
}

static struct emitter emitter_of(void **state)
{
	return (struct emitter){ .base = *state, .code = *state, .size = CODE_SIZE };
}

static uint64_t run(const struct emitter *e, uint64_t rcx)
{
	uint64_t result;

	assert_int_equal(e->unbound, 0);
	assert_false(e->overflow);
	__asm__ volatile("call *%[code]" : "=a"(result), "+c"(rcx) : [code] "r"(e->code) : "cc", "memory");
	return result;
}

static void jumps_go_forward(void **state)
{
	struct emitter e = emitter_of(state);
	struct near_jump past, landing;
	struct short_jump zero;

	emit_constant(&e, HOST_RAX, 1);
	past = emit_jump(&e);
	emit_constant(&e, HOST_RAX, 2);
	emit_bind(&e, past);
	zero = emit_jrcxz(&e);
	emit_lea(&e, true, HOST_RAX, HOST_RAX, HOST_NONE, 0, 10);
	emit_bind_short(&e, zero);
	landing = emit_call_forward(&e);
	emit_return_host(&e);
	emit_bind(&e, landing);
	emit_lea(&e, true, HOST_RAX, HOST_RAX, HOST_NONE, 0, 100);
	emit_return_host(&e);
	assert_int_equal(run(&e, 0), 101);
	assert_int_equal(run(&e, 1), 111);
}

static void jumps_go_back(void **state)
{
	struct emitter e = emitter_of(state);
	struct code_place top, end;
	struct near_jump start;

	emit_constant(&e, HOST_RAX, 0);
	start = emit_jump(&e);
	end = emit_here(&e);
	emit_return_host(&e);
	emit_bind(&e, start);
	top = emit_here(&e);
	emit_lea(&e, true, HOST_RAX, HOST_RAX, HOST_NONE, 0, 3);
	emit_count_down_flags(&e, HOST_RCX);
	emit_jump_back_if(&e, HOST_NOT_EQUAL, top);
	emit_jump_back(&e, end);
	assert_int_equal(run(&e, 7), 21);
}

static void forgotten_jumps_are_counted(void **state)
{
	struct emitter e = emitter_of(state);
	struct near_jump near = emit_jump_if(&e, HOST_EQUAL);
	struct short_jump jump = emit_jrcxz(&e);

	emit_call_forward(&e);
	assert_int_equal(e.unbound, 3);
	emit_bind(&e, near);
	assert_int_equal(e.unbound, 2);
	emit_bind_short(&e, jump);
	assert_int_equal(e.unbound, 1);
}

static void nothing_is_written_behind_an_overflow(void **state)
{
	struct emitter e = emitter_of(state);
	struct near_jump jump;

	memset(e.base, 0x90, CODE_SIZE);
	e.size = 16;
	jump = emit_jump(&e);
	for (unsigned i = 0; i < 16; i++)
		emit_pop(&e, HOST_RAX);
	assert_true(e.overflow);
	emit_bind(&e, jump);
	emit_bind(&e, emit_jump(&e));
	emit_bind_short(&e, emit_jrcxz(&e));
	for (unsigned i = 16; i < CODE_SIZE; i++)
		assert_int_equal(e.base[i], 0x90);
}

/* The signal that ends a process that does this, or 0. */
static int signal_of(void (*function)(struct emitter *e), struct emitter *e)
{
	const struct rlimit no_core = { 0, 0 };
	int status;
	pid_t child = fork();

	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		setrlimit(RLIMIT_CORE, &no_core);
		close(STDERR_FILENO);
		function(e);
		_exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void bind_twice(struct emitter *e)
{
	struct near_jump jump = emit_jump(e);

	emit_bind(e, jump);
	emit8(e, 0x90);
	emit_bind(e, jump);
}

static void bind_short_twice(struct emitter *e)
{
	struct short_jump jump = emit_jrcxz(e);

	emit_bind_short(e, jump);
	emit_bind_short(e, jump);
}

static void bind_too_far(struct emitter *e)
{
	struct short_jump jump = emit_jrcxz(e);

	for (unsigned i = 0; i < 128; i++)
		emit8(e, 0x90);
	emit_bind_short(e, jump);
}

static void bind_no_jump(struct emitter *e)
{
	struct near_jump none = { 0 };

	emit64(e, 0);
	emit_bind(e, none);
}

static void bind_well(struct emitter *e)
{
	struct short_jump jump = emit_jrcxz(e);

	for (unsigned i = 0; i < 127; i++)
		emit8(e, 0x90);
	emit_bind_short(e, jump);
}

static void wrong_bindings_end_the_process(void **state)
{
	struct emitter e = emitter_of(state);

	assert_int_equal(signal_of(bind_well, &e), 0);
	assert_int_equal(signal_of(bind_twice, &e), SIGABRT);
	assert_int_equal(signal_of(bind_short_twice, &e), SIGABRT);
	assert_int_equal(signal_of(bind_too_far, &e), SIGABRT);
	assert_int_equal(signal_of(bind_no_jump, &e), SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(jumps_go_forward, make_code, remove_code),
		cmocka_unit_test_setup_teardown(jumps_go_back, make_code, remove_code),
		cmocka_unit_test_setup_teardown(forgotten_jumps_are_counted, make_code, remove_code),
		cmocka_unit_test_setup_teardown(nothing_is_written_behind_an_overflow, make_code, remove_code),
		cmocka_unit_test_setup_teardown(wrong_bindings_end_the_process, make_code, remove_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
