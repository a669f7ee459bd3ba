/*
 * More short programs, on more CPUs, than there are stubs: ARGUMENT of them on each CPU, pinned to it, one after another.
 * Each computes and sleeps. Prints how many came to the right result.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define TURNS 2
#define STEPS 200000u

static int compute(int cpu)
{
	unsigned value = 1;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		return 1;
	for (unsigned turn = 0; turn < TURNS; turn++) {
		for (unsigned i = 0; i < STEPS; i++)
			value = value * 1664525u + 1013904223u;
		usleep(1000);
	}
	return value != 550854273u;
}

int main(int count, char **arguments)
{
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN), each = count > 1 ? atoi(arguments[1]) : 1, right = 0, status;

	for (int i = 0; i < each * cpus; i++)
		if (fork() == 0)
			_exit(compute(i % cpus));
	while (wait(&status) > 0)
		right += status == 0;
	printf("right: %d of %d\n", right, each * cpus);
	return right != each * cpus;
}
