/*
 * The work that `bench/run --only workloads` times natively, in kvik and in QEMU TCG: one static
 * program for all three. For each row it prints "row CLASS NAME MILLISECONDS", the median of three
 * rounds. Rows that start programs start the same static busybox everywhere: $WORKLOADS_BUSYBOX, or
 * /bin/busybox.
 *
 * A round takes 20 to 60 ms natively on an idle CPU. Results go to `sink`, so that no work can be left
 * out.
 */
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 3

static volatile uint64_t sink;

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void integer_hash(void)
{
	uint64_t hash = 14695981039346656037u;

	for (unsigned i = 0; i < 20000000; i++) {
		hash ^= i & 0xff;
		hash *= 1099511628211u;
		hash ^= hash >> 29;
	}
	sink = hash;
}

static void dependent_loads(void)
{
	enum { COUNT = 64 << 20 >> 3 };
	static uint64_t *table;
	uint64_t at = 0;

	if (!table) {
		table = malloc(COUNT * sizeof(*table));
		for (uint64_t i = 0; i < COUNT; i++)
			table[i] = i;
		for (uint64_t i = COUNT - 1; i > 0; i--) { /* one cycle (Sattolo) */
			uint64_t other = random_next() % i, value = table[i];

			table[i] = table[other];
			table[other] = value;
		}
	}
	for (unsigned i = 0; i < 500000; i++)
		at = table[at];
	sink = at;
}

static int compare_integers(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static void quicksort(void)
{
	static int values[250000];

	for (unsigned i = 0; i < 250000; i++)
		values[i] = (int)random_next();
	qsort(values, 250000, sizeof(values[0]), compare_integers);
	sink = values[1000];
}

static void bytecode(void)
{
	/* acc += n; n -= 1; if n goto 0 */
	static const uint8_t program[] = { 0, 1, 2, 3, 4, 5, 6 };
	static const void *const labels[] = { &&add, &&xor, &&shift, &&nop, &&mix, &&dec, &&loop };
	const uint8_t *pc = program;
	uint64_t acc = 1, n = 12000000;

#define NEXT goto *labels[*pc++]
	NEXT;
add:
	acc += n;
	NEXT;
xor:
	acc ^= acc >> 7;
	NEXT;
shift:
	acc += acc << 3;
	NEXT;
nop:
	NEXT;
mix:
	acc ^= n * 31;
	NEXT;
dec:
	n--;
	NEXT;
loop:
	if (n) {
		pc = program;
		NEXT;
	}
#undef NEXT
	sink = acc;
}

static __attribute__((noinline)) unsigned fibonacci(unsigned n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static void recursion(void)
{
	sink = fibonacci(36);
}

static __attribute__((noinline)) uint64_t plus(uint64_t a) { return a + 3; }
static __attribute__((noinline)) uint64_t times(uint64_t a) { return a * 5; }
static __attribute__((noinline)) uint64_t fold(uint64_t a) { return a ^ a >> 9; }
static __attribute__((noinline)) uint64_t turn(uint64_t a) { return a << 7 | a >> 57; }

static void indirect_calls(void)
{
	static uint64_t (*volatile table[])(uint64_t) = { plus, times, fold, turn };
	uint64_t value = 1;

	for (unsigned i = 0; i < 15000000; i++)
		value = table[i & 3](value);
	sink = value;
}

static void strings(void)
{
	static char text[4096];
	uint64_t total = 0;

	memset(text, 'a', sizeof(text) - 1);
	for (unsigned i = 0; i < 500000; i++) {
		text[i % 64] = 'b';
		total += strlen(text + i % 64);
		total += (uintptr_t)memchr(text, 'z', sizeof(text)) & 1;
	}
	sink = total;
}

static void nbody(void)
{
	static double position[5][3], velocity[5][3];
	static const double mass[5] = { 39.4, 0.03, 0.01, 0.002, 0.002 };

	for (unsigned i = 0; i < 5; i++)
		for (unsigned k = 0; k < 3; k++) {
			position[i][k] = (double)(i * 3 + k + 1);
			velocity[i][k] = 0.01 * (double)(i + 1);
		}
	for (unsigned step = 0; step < 500000; step++) {
		for (unsigned i = 0; i < 5; i++)
			for (unsigned j = i + 1; j < 5; j++) {
				double d[3], square = 0, magnitude;

				for (unsigned k = 0; k < 3; k++) {
					d[k] = position[i][k] - position[j][k];
					square += d[k] * d[k];
				}
				magnitude = 0.001 / (square * sqrt(square));
				for (unsigned k = 0; k < 3; k++) {
					velocity[i][k] -= d[k] * mass[j] * magnitude;
					velocity[j][k] += d[k] * mass[i] * magnitude;
				}
			}
		for (unsigned i = 0; i < 5; i++)
			for (unsigned k = 0; k < 3; k++)
				position[i][k] += 0.001 * velocity[i][k];
	}
	sink = (uint64_t)(position[0][0] * 1e6);
}

__attribute__((target("avx2,fma"), optimize("O3"))) static void saxpy(void)
{
	static float x[8192], y[8192];

	for (unsigned i = 0; i < 8192; i++)
		x[i] = (float)i, y[i] = 1;
	for (unsigned round = 0; round < 50000; round++) {
		for (unsigned i = 0; i < 8192; i++)
			y[i] = 0.5f * x[i] + y[i];
		__asm__ volatile("" : : "r"(y) : "memory");
	}
	sink = (uint64_t)y[77];
}

static void matrix(void)
{
	enum { N = 192 };
	static double a[N][N], b[N][N], c[N][N];

	for (unsigned i = 0; i < N; i++)
		for (unsigned j = 0; j < N; j++)
			a[i][j] = i + j, b[i][j] = (double)i - j, c[i][j] = 0;
	for (unsigned round = 0; round < 16; round++)
		for (unsigned i = 0; i < N; i++)
			for (unsigned k = 0; k < N; k++)
				for (unsigned j = 0; j < N; j++)
					c[i][j] += a[i][k] * b[k][j];
	sink = (uint64_t)c[10][10];
}

static void x87(void)
{
	long double value = 1, step = 1.0000001L;

	for (unsigned i = 0; i < 10000000; i++) {
		value = value * step + 0.5L;
		if (value > 1e6L)
			value /= 3;
	}
	sink = (uint64_t)value;
}

static void division(void)
{
	uint64_t value = ~0ull, total = 0;

	for (unsigned i = 1; i < 4000000; i++) {
		total += value / i;
		value -= total % (i | 1);
	}
	sink = total;
}

static void atomics(void)
{
	static uint64_t counter;

	for (unsigned i = 0; i < 5000000; i++)
		__atomic_fetch_add(&counter, i, __ATOMIC_SEQ_CST);
	sink = counter;
}

static void copies(void)
{
	static char from[1 << 20], to[1 << 20];

	for (unsigned i = 0; i < 800; i++) {
		memcpy(to, from, sizeof(to));
		from[i] = to[i + 1];
	}
	for (unsigned i = 0; i < 4000000; i++) {
		memcpy(to + i % 64, from, 100);
		__asm__ volatile("" : : "r"(to) : "memory");
	}
	sink = (uint64_t)to[5];
}

static void system_calls(void)
{
	for (unsigned i = 0; i < 400000; i++)
		sink = (uint64_t)syscall(SYS_getppid);
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void pipes(void)
{
	int there[2], back[2];
	char byte = 1;
	pid_t child;

	if (pipe(there) < 0 || pipe(back) < 0)
		die("pipe");
	child = fork();
	if (child == 0) {
		for (unsigned i = 0; i < 10000; i++)
			if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
				_exit(1);
		_exit(0);
	}
	for (unsigned i = 0; i < 10000; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			die("ping-pong");
	waitpid(child, NULL, 0);
	close(there[0]), close(there[1]), close(back[0]), close(back[1]);
}

static const char *busybox(void)
{
	const char *chosen = getenv("WORKLOADS_BUSYBOX");

	return chosen ? chosen : "/bin/busybox";
}

/* Wait for a child that must have done what it was to do. */
static void wait_for(pid_t child, const char *what)
{
	int status;

	if (waitpid(child, &status, 0) != child || status != 0) {
		fprintf(stderr, "workloads: %s failed\n", what);
		exit(1);
	}
}

static void fork_exec(void)
{
	for (unsigned i = 0; i < 40; i++) {
		pid_t child = fork();

		if (child == 0) {
			execl(busybox(), "true", (char *)NULL);
			_exit(1);
		}
		wait_for(child, busybox());
	}
}

static void page_faults(void)
{
	for (unsigned i = 0; i < 80; i++) {
		enum { SIZE = 2 << 20 };
		char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
				    0);

		if (memory == MAP_FAILED)
			die("mmap");
		madvise(memory, SIZE, MADV_NOHUGEPAGE);
		for (unsigned k = 0; k < SIZE; k += 4096)
			memory[k] = 1;
		munmap(memory, SIZE);
	}
}

static void on_signal(int number)
{
	sink += (uint64_t)number;
}

static void signals(void)
{
	signal(SIGUSR1, on_signal);
	for (unsigned i = 0; i < 30000; i++)
		raise(SIGUSR1);
}

/* A directory of a tmpfs: on the host /tmp may be on a disk. */
static const char *scratch(void)
{
	enum { TMPFS = 0x01021994 };
	struct statfs status;

	return statfs("/dev/shm", &status) == 0 && status.f_type == TMPFS ? "/dev/shm/kvik-bench"
									     : "/tmp/kvik-bench";
}

static void files(void)
{
	char name[64], data[512] = "x";

	mkdir(scratch(), 0700);
	for (unsigned i = 0; i < 6000; i++) {
		struct stat status;
		int fd;

		snprintf(name, sizeof(name), "%s/%u", scratch(), i % 100);
		fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0600);
		if (fd < 0 || write(fd, data, sizeof(data)) < 0 || fstat(fd, &status) < 0)
			die(name);
		sink = (uint64_t)status.st_size;
		close(fd);
		unlink(name);
	}
	rmdir(scratch());
}

/* $B is busybox, also to the script. */
static void run_shell(const char *script)
{
	pid_t child = fork();

	if (child == 0) {
		setenv("B", busybox(), 1);
		execl(busybox(), "sh", "-c", script, (char *)NULL);
		_exit(1);
	}
	wait_for(child, script);
}

static void shell_loop(void)
{
	run_shell("i=0; while [ $i -lt 40000 ]; do i=$((i+1)); done");
}

static void md5sum(void)
{
	run_shell("$B dd if=/dev/zero bs=1M count=12 2>/dev/null | $B md5sum >/dev/null");
}

static void gzip(void)
{
	run_shell("$B dd if=$B bs=64k count=12 2>/dev/null | $B gzip -c >/dev/null");
}

static const struct row {
	const char *name;
	void (*run)(void);
	char class; /* i: compute, v: floating point and vectors, s: system */
} rows[] = {
	{ "integer-hash", integer_hash, 'i' }, { "dependent-loads", dependent_loads, 'i' },
	{ "quicksort", quicksort, 'i' }, { "bytecode-loop", bytecode, 'i' },
	{ "recursion", recursion, 'i' }, { "indirect-calls", indirect_calls, 'i' },
	{ "division", division, 'i' }, { "atomics", atomics, 'i' },
	{ "strlen-memchr", strings, 'v' }, { "nbody", nbody, 'v' }, { "avx2-saxpy", saxpy, 'v' },
	{ "matrix", matrix, 'v' }, { "x87", x87, 'v' }, { "memcpy", copies, 'v' },
	{ "getppid", system_calls, 's' }, { "pipe-ping-pong", pipes, 's' },
	{ "fork-exec", fork_exec, 's' }, { "page-faults", page_faults, 's' },
	{ "signals", signals, 's' }, { "tmpfs-files", files, 's' },
	{ "shell-loop", shell_loop, 's' }, { "md5sum", md5sum, 's' }, { "gzip", gzip, 's' },
};

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int is_wanted(const char *name, int count, char **names)
{
	for (int i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return 1;
	return count == 0;
}

/* With names: those rows only. */
int main(int count, char **arguments)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double times_ms[ROUNDS];

		if (!is_wanted(rows[i].name, count - 1, arguments + 1))
			continue;
		for (unsigned round = 0; round < ROUNDS; round++) {
			double begin = now_ms();

			rows[i].run();
			times_ms[round] = now_ms() - begin;
		}
		qsort(times_ms, ROUNDS, sizeof(double), compare_doubles);
		printf("row %c %s %.3f\n", rows[i].class, rows[i].name, times_ms[ROUNDS / 2]);
		fflush(stdout);
	}
	printf("rows done\n");
	return 0;
}
