/* The kernel sees who uses its processors: what computes is neither idleness nor stolen by a hypervisor. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define WALL_MS	 700u
#define LEAST_MS (WALL_MS / 4) /* hosts are busy */

static uint64_t wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* That all programs together have used: proc(5), /proc/stat. */
static uint64_t user_ms(void)
{
	FILE *file = fopen("/proc/stat", "r");
	unsigned long long user = 0, nice = 0;

	if (!file || fscanf(file, "cpu %llu %llu", &user, &nice) != 2)
		printf("no /proc/stat\n");
	if (file)
		fclose(file);
	return (user + nice) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

int main(void)
{
	uint64_t began = wall_ms(), used = user_ms();
	volatile uint64_t number = 1;

	while (wall_ms() - began < WALL_MS)
		for (unsigned i = 0; i < 1000000; i++)
			number = number * 6364136223846793005u + 1;
	printf("its time is %s\n", user_ms() - used >= LEAST_MS ? "its own" : "somebody else's");
	return 0;
}
