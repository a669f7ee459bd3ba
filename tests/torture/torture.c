/*
 * What threads of several processors rely on, with results that are known: locked instructions of each
 * width, also across cache lines; 16 bytes at once; the order of loads and stores; futexes, mutexes,
 * condition variables and locks that spin; TLBs that are flushed on all processors; code that is changed
 * on one and run on the others. `torture SECONDS` goes round and round, prints a line a round, and ends
 * with "torture: ROUNDS rounds, all right", or with what was wrong or stood still, and status 1.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64
#define PAGE        4096
#define PATIENCE_S  120 /* without any thread getting on */

static unsigned threads; /* twice as many as processors */
static pthread_barrier_t together;
static _Atomic uint64_t progress;
static const char *_Atomic doing = "nothing";

static void fail(const char *what, uint64_t is, uint64_t should_be)
{
	printf("torture: wrong: %s: %s is %llu, not %llu\n", doing, what, (unsigned long long)is,
	       (unsigned long long)should_be);
	fflush(stdout);
	_exit(1);
}

static void want(const char *what, uint64_t is, uint64_t should_be)
{
	if (is != should_be)
		fail(what, is, should_be);
}

static void step(void)
{
	atomic_fetch_add_explicit(&progress, 1, memory_order_relaxed);
}

/* Everybody has come here. */
static void meet(void)
{
	pthread_barrier_wait(&together);
	step();
}

/* -- locked instructions -- */

#define ADDITIONS 20000

static struct {
	_Atomic uint8_t bytes[8];
	_Atomic uint16_t words[4];
	_Atomic uint32_t sum32;
	_Atomic uint64_t sum64, exchanged, compared;
	uint8_t line[128] __attribute__((aligned(64)));
} locked;

static void locked_add_split(void)
{
	/* Two bytes before a cache line's end. */
	__asm__ volatile("lock addl $3, 62(%0)" : : "r"(locked.line) : "memory");
}

static void run_locked(unsigned self)
{
	uint64_t token = self + 1, wrong;

	for (unsigned i = 0; i < ADDITIONS; i++) {
		atomic_fetch_add(&locked.bytes[self % 8], 1);
		atomic_fetch_add(&locked.words[self % 4], 1);
		atomic_fetch_add(&locked.sum32, 7);
		atomic_fetch_sub(&locked.sum64, self);
		/* Tokens wander: none is lost, none is there twice. */
		token = atomic_exchange(&locked.exchanged, token);
		wrong = atomic_load(&locked.compared);
		while (!atomic_compare_exchange_weak(&locked.compared, &wrong, wrong * 5 + 1))
			__builtin_ia32_pause();
		if (i % 64 == 0)
			locked_add_split();
		if (i % 1024 == 0)
			step();
	}
	atomic_fetch_xor(&locked.exchanged, token);
}

static void check_locked(void)
{
	uint64_t tokens = 0, sum = 0, sequence = 0;
	uint32_t split;

	for (unsigned i = 0; i < threads; i++) {
		tokens ^= i + 1;
		sum -= (uint64_t)i * ADDITIONS;
	}
	for (uint64_t i = 0; i < (uint64_t)threads * ADDITIONS; i++)
		sequence = sequence * 5 + 1;
	for (unsigned i = 0; i < 8; i++)
		want("a byte", locked.bytes[i], (uint8_t)((threads + 7 - i) / 8 * ADDITIONS));
	for (unsigned i = 0; i < 4; i++)
		want("a word", locked.words[i], (uint16_t)((threads + 3 - i) / 4 * ADDITIONS));
	want("the sum of 32 bits", locked.sum32, (uint32_t)(threads * ADDITIONS * 7u));
	want("the sum of 64 bits", locked.sum64, sum);
	want("compared and exchanged", locked.compared, sequence);
	memcpy(&split, locked.line + 62, sizeof(split));
	want("across two cache lines", split, threads * ((ADDITIONS + 63) / 64) * 3);
	/* Exchanges keep the XOR of what is in the middle and of what everybody has, who adds his at the end. */
	want("the tokens", locked.exchanged, tokens);
	memset(&locked, 0, sizeof(locked));
}

/* -- 16 bytes at once -- */

static struct pair {
	uint64_t count, hash;
} __attribute__((aligned(16))) pair;

static uint64_t hash_of(uint64_t count)
{
	return (count ^ count >> 29) * 0x9e3779b97f4a7c15u;
}

static bool exchange_pair(struct pair *expected, struct pair next)
{
	bool done;

	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(done), "+m"(pair), "+a"(expected->count), "+d"(expected->hash)
			 : "b"(next.count), "c"(next.hash)
			 : "memory");
	return done;
}

static void run_pair(unsigned self)
{
	struct pair seen = {0, hash_of(0)};

	(void)self;
	for (unsigned i = 0; i < ADDITIONS; i++) {
		while (!exchange_pair(&seen, (struct pair){seen.count + 1, hash_of(seen.count + 1)}))
			want("the hash", seen.hash, hash_of(seen.count));
		if (i % 1024 == 0)
			step();
	}
}

static void check_pair(void)
{
	want("the count", pair.count, (uint64_t)threads * ADDITIONS);
	pair = (struct pair){0, hash_of(0)};
}

/* -- the order of loads and stores -- */

#define TRIALS 3000

/* A pair of threads each; twice what stands in different cache lines. */
static struct {
	_Atomic uint64_t mine[2][16], data[16], flag[16];
	uint64_t seen[2];
} order[THREADS_MAX / 2];

static void run_order(unsigned self)
{
	unsigned side = self % 2, couple = self / 2;

	for (uint64_t i = 1; i <= TRIALS; i++) {
		/* Store, fence, load: one of the two at least sees the other (SDM vol. 3 §8.2.3.4, and MFENCE). */
		atomic_store_explicit(&order[couple].mine[side][0], i, memory_order_relaxed);
		if (i % 2)
			__asm__ volatile("mfence" : : : "memory");
		else
			__asm__ volatile("lock orl $0, (%%rsp)" : : : "memory", "cc");
		order[couple].seen[side] =
			atomic_load_explicit(&order[couple].mine[!side][0], memory_order_relaxed);
		/* Stores are seen in their order (§8.2.3.2). */
		if (side == 0) {
			atomic_store_explicit(&order[couple].data[0], i * 3, memory_order_relaxed);
			atomic_store_explicit(&order[couple].flag[0], i, memory_order_release);
		} else {
			for (unsigned n = 0; atomic_load_explicit(&order[couple].flag[0], memory_order_acquire) != i; n++)
				n % 64 ? __builtin_ia32_pause() : (void)sched_yield();
			want("the data behind the flag", order[couple].data[0], i * 3);
			if (order[couple].seen[0] < i && order[couple].seen[1] < i)
				fail("what both saw of one another", order[couple].seen[1], i);
			atomic_store(&order[couple].flag[8], i);
		}
		if (side == 0)
			for (unsigned n = 0; atomic_load(&order[couple].flag[8]) != i; n++)
				n % 64 ? __builtin_ia32_pause() : (void)sched_yield();
		if (i % 256 == 0)
			step();
	}
}

static void check_order(void)
{
	memset(order, 0, sizeof(order));
}

/* -- locks -- */

#define TURNS 3000

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t moved;
	pthread_rwlock_t rwlock;
	_Atomic uint32_t futex;          /* 0 free, 1 held, 2 awaited (Drepper, Futexes Are Tricky) */
	_Atomic uint32_t ticket, served; /* a lock that spins */
	uint64_t of_mutex[2], of_futex[2], of_ticket[2], of_rwlock[2];
	unsigned turn;
} lock = {.mutex = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER, .rwlock = PTHREAD_RWLOCK_INITIALIZER};

/* Two plain counters that only a lock keeps equal. */
static void count(uint64_t counters[2])
{
	want("one counter", counters[0], counters[1]);
	counters[0]++;
	__asm__ volatile("" : : : "memory");
	counters[1]++;
}

static void futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
	syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static void futex_lock(void)
{
	uint32_t state = 0;

	if (atomic_compare_exchange_strong(&lock.futex, &state, 1))
		return;
	while (atomic_exchange(&lock.futex, 2))
		futex(&lock.futex, FUTEX_WAIT_PRIVATE, 2);
}

static void futex_unlock(void)
{
	if (atomic_exchange(&lock.futex, 0) == 2)
		futex(&lock.futex, FUTEX_WAKE_PRIVATE, 1);
}

static void ticket_lock(void)
{
	uint32_t mine = atomic_fetch_add(&lock.ticket, 1);

	for (unsigned n = 1; atomic_load(&lock.served) != mine; n++)
		n % 256 ? __builtin_ia32_pause() : (void)sched_yield();
}

static void run_locks(unsigned self)
{
	for (unsigned i = 0; i < TURNS; i++) {
		pthread_mutex_lock(&lock.mutex);
		count(lock.of_mutex);
		pthread_mutex_unlock(&lock.mutex);
		futex_lock();
		count(lock.of_futex);
		futex_unlock();
		ticket_lock();
		count(lock.of_ticket);
		atomic_fetch_add(&lock.served, 1);
		if (i % 8 == self % 8) {
			pthread_rwlock_wrlock(&lock.rwlock);
			count(lock.of_rwlock);
		} else {
			pthread_rwlock_rdlock(&lock.rwlock);
			want("what readers see", lock.of_rwlock[0], lock.of_rwlock[1]);
		}
		pthread_rwlock_unlock(&lock.rwlock);
		if (i % 128 == 0)
			step();
	}
	/* One after the other, all around: each wakes the next one from its sleep. */
	for (unsigned i = 0; i < TURNS / 10; i++) {
		pthread_mutex_lock(&lock.mutex);
		while (lock.turn % threads != self)
			pthread_cond_wait(&lock.moved, &lock.mutex);
		lock.turn++;
		pthread_cond_broadcast(&lock.moved);
		pthread_mutex_unlock(&lock.mutex);
		step();
	}
}

static void check_locks(void)
{
	want("the mutex's count", lock.of_mutex[0], (uint64_t)threads * TURNS);
	want("the futex's count", lock.of_futex[0], (uint64_t)threads * TURNS);
	want("the ticket lock's count", lock.of_ticket[0], (uint64_t)threads * TURNS);
	want("the rwlock's count", lock.of_rwlock[0], (uint64_t)threads * (TURNS / 8));
	want("turns", lock.turn, threads * (TURNS / 10));
	memset(lock.of_mutex, 0, sizeof(lock.of_mutex));
	memset(lock.of_futex, 0, sizeof(lock.of_futex));
	memset(lock.of_ticket, 0, sizeof(lock.of_ticket));
	memset(lock.of_rwlock, 0, sizeof(lock.of_rwlock));
	lock.turn = 0;
}

/* -- TLBs, and code -- */

#define REMAPS 40
#define PAGES  16

static uint8_t *shared_pages, *code;

static int call_code(void)
{
	int (*function)(void) = (int (*)(void))(uintptr_t)code;

	return function();
}

/* In turn one thread changes what all see: a page is none any more, is another one, is read-only and
 * copied; a function returns something else. */
static void run_pages(unsigned self)
{
	for (unsigned i = 0; i < REMAPS; i++) {
		unsigned who = i % threads;

		for (unsigned page = 0; page < PAGES; page++)
			want("a page before", shared_pages[page * PAGE + self], i ? (i - 1) % 250 + 1 : 0);
		want("the function's result before", (uint64_t)call_code(), i);
		meet();
		if (self == who) {
			if (madvise(shared_pages, PAGES * PAGE, MADV_DONTNEED))
				fail("madvise", 1, 0);
			uint32_t result = i + 1;
			memcpy(code + 1, &result, sizeof(result));
		}
		meet();
		for (unsigned page = 0; page < PAGES; page++)
			want("an emptied page", shared_pages[page * PAGE + self], 0);
		for (unsigned k = 0; k < 300; k++)
			want("the function's result", (uint64_t)call_code(), i + 1);
		meet();
		for (unsigned page = 0; page < PAGES; page++)
			shared_pages[page * PAGE + self] = i % 250 + 1;
		meet();
		/* Away and back at the same address, with all that is in it. */
		if (self == who) {
			uint8_t *copy = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

			if (copy == MAP_FAILED)
				fail("mmap", 1, 0);
			memcpy(copy, shared_pages, PAGES * PAGE);
			if (mremap(copy, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, shared_pages) !=
			    shared_pages)
				fail("mremap", 1, 0);
		}
		meet();
	}
}

static void check_pages(void)
{
	uint32_t zero = 0;

	memset(shared_pages, 0, PAGES * PAGE);
	memcpy(code + 1, &zero, sizeof(zero));
}

static void make_pages(void)
{
	static const uint8_t function[] = {0xb8, 0, 0, 0, 0, 0xc3}; /* mov $0, %eax; ret */

	shared_pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (shared_pages == MAP_FAILED || code == MAP_FAILED)
		fail("mmap", 1, 0);
	code += 3; /* so that the number is aligned, and changes at once */
	memcpy(code, function, sizeof(function));
}

/* -- rounds -- */

static const struct part {
	const char *name;
	void (*run)(unsigned self);
	void (*check)(void); /* and begin anew */
} parts[] = {
	{"locked instructions", run_locked, check_locked},
	{"16 bytes at once", run_pair, check_pair},
	{"the order of memory", run_order, check_order},
	{"locks", run_locks, check_locks},
	{"pages and code", run_pages, check_pages},
};

static const struct part *part;

static void *run(void *self)
{
	part->run((unsigned)(uintptr_t)self);
	return NULL;
}

/* Says so when nobody gets on. */
static void *watch(void *unused)
{
	uint64_t last = 0;

	for (unsigned still_s = 0;; still_s++) {
		uint64_t now = atomic_load(&progress);

		if (now != last)
			still_s = 0;
		last = now;
		if (still_s >= PATIENCE_S) {
			printf("torture: stands still: %s\n", doing);
			fflush(stdout);
			_exit(1);
		}
		sleep(1);
	}
	return unused;
}

static void round_of(const struct part *of)
{
	pthread_t ids[THREADS_MAX];

	part = of;
	doing = of->name;
	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, run, (void *)(uintptr_t)i))
			fail("pthread_create", 1, 0);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	of->check();
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
	unsigned rounds = 0;
	pthread_t watcher;

	threads = 2 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	pthread_barrier_init(&together, NULL, threads);
	pair.hash = hash_of(0);
	make_pages();
	if (pthread_create(&watcher, NULL, watch, NULL))
		fail("pthread_create", 1, 0);
	do {
		for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
			round_of(&parts[i]);
		printf("torture: round %u, %u threads\n", ++rounds, threads);
		fflush(stdout);
	} while (time(NULL) < end);
	printf("torture: %u rounds, all right\n", rounds);
	return 0;
}
