/*
 * Instructions of features that CPUID may hide (tests/boot has it do so): each is there if and only if CPUID says so, cold
 * and after a while. Prints a line for each that is otherwise, and how many were executed.
 */
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

#define SPIN   200000000u /* some tenths of a second: whatever is to be known of a program's ways is known */
#define ROUNDS 2

static sigjmp_buf back;

static void on_undefined(int number)
{
	(void)number;
	siglongjmp(back, 1);
}

static void pdep(void) { __asm__ volatile("pdep %%rcx, %%rax, %%rdx" : : : "rdx"); }
static void aesenc(void) { __asm__ volatile("aesenc %%xmm0, %%xmm1" : : : "xmm1"); }
static void sha1msg1(void) { __asm__ volatile("sha1msg1 %%xmm0, %%xmm1" : : : "xmm1"); }
static void adcx(void) { __asm__ volatile("adcx %%rax, %%rdx" : : : "rdx", "cc"); }
static void rdrand(void) { __asm__ volatile("rdrand %%rax" : : : "rax", "cc"); }
static void popcnt(void) { __asm__ volatile("popcnt %%rax, %%rdx" : : : "rdx", "cc"); }

static const struct {
	const char *name;
	void (*execute)(void);
	unsigned leaf, where, bit; /* register: 0 EAX .. 3 EDX */
} all[] = {
	{"PDEP", pdep, 7, 1, 8},  {"AESENC", aesenc, 1, 2, 25},	{"SHA1MSG1", sha1msg1, 7, 1, 29},
	{"ADCX", adcx, 7, 1, 19}, {"RDRAND", rdrand, 1, 2, 30}, {"POPCNT", popcnt, 1, 2, 23},
};

static bool is_told(unsigned leaf, unsigned where, unsigned bit)
{
	unsigned registers[4] = {0};

	__get_cpuid_count(leaf, 0, &registers[0], &registers[1], &registers[2], &registers[3]);
	return registers[where] >> bit & 1;
}

static bool is_there(void (*execute)(void))
{
	if (sigsetjmp(back, 1))
		return false;
	execute();
	return true;
}

int main(void)
{
	unsigned executed = 0, wrong = 0;

	signal(SIGILL, on_undefined);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
			bool was_there = is_there(all[i].execute);

			executed += was_there;
			if (was_there == is_told(all[i].leaf, all[i].where, all[i].bit))
				continue;
			printf("%s %s\n", all[i].name, was_there ? "was executed" : "is undefined");
			wrong++;
		}
		for (volatile unsigned i = 0; i < SPIN; i++)
			;
	}
	printf("executed: %u\n", executed);
	return wrong != 0;
}
