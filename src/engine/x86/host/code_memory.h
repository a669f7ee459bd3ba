/*
 * Memory for code that is made at run time. It is mapped twice: executable, and writable elsewhere;
 * never both in one place, and no descriptor of it stays open.
 *
 * The writable side is what a stray write must not find. Where the CPU has protection keys (Intel SDM
 * vol. 3 §4.6.2), it has one of its own, which each thread takes away from itself but for the moments
 * between code_memory_open and code_memory_close; threads are born with their maker's rights, and none
 * is made in these moments; handlers of signals run without it. Elsewhere it is at a random address,
 * far from everything else. On both it stands between guards.
 *
 * PKRU is the host thread's own. Guests have no protection keys: CPUID and CR4 deny them, so WRPKRU is
 * #UD in a guest and never a copied instruction, and XSAVE's component 9 is in no mask that the engine
 * uses for a guest's state.
 */
#ifndef KVIK_ENGINE_X86_HOST_CODE_MEMORY_H
#define KVIK_ENGINE_X86_HOST_CODE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct code_memory {
	uint8_t *writable, *executable; /* NULL: none */
	size_t size;
};

/* `size` is of whole pages. 0 or -errno; then the memory is as code_memory_destroy leaves it. */
int code_memory_create(struct code_memory *memory, const char *name, size_t size);
void code_memory_destroy(struct code_memory *memory);

/* The process's protection key for writable sides; negative: none. Set by the first creation. */
extern int code_memory_key;

/*
 * Let this thread write. What it returns goes to code_memory_close, which takes the right away
 * unless it was there before, so that pairs may stand within pairs. Nothing may leave such a pair by
 * longjmp.
 */
static inline uint32_t code_memory_open(void)
{
	uint32_t rights = 0, zero;

	if (code_memory_key < 0)
		return 0;
	__asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(rights), "=d"(zero) : "c"(0)); /* RDPKRU */
	__asm__ volatile(".byte 0x0f, 0x01, 0xef" /* WRPKRU */
			 : : "a"(rights & ~(3u << 2 * code_memory_key)), "c"(0), "d"(0) : "memory");
	return rights;
}

static inline void code_memory_close(uint32_t rights)
{
	if (code_memory_key >= 0)
		__asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(rights), "c"(0), "d"(0) : "memory");
}

#endif
