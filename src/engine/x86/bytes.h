/*
 * Copying and clearing memory without the C library.
 *
 * memcpy and its kin use vector registers, which may hold the guest's state in this room (fpu_state.h).
 * Compilers also turn plain loops into calls of them, hence the string instructions.
 */
#ifndef KVIK_ENGINE_X86_BYTES_H
#define KVIK_ENGINE_X86_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline void bytes_copy(void *to, const void *from, size_t size)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static inline void bytes_zero(void *to, size_t size)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(0) : "memory");
}

/* Little-endian words at any address. */
typedef uint16_t __attribute__((aligned(1), may_alias)) bytes16;
typedef uint32_t __attribute__((aligned(1), may_alias)) bytes32;
typedef uint64_t __attribute__((aligned(1), may_alias)) bytes64;

static inline uint16_t bytes_load16(const void *from)
{
	return *(const volatile bytes16 *)from;
}

static inline uint32_t bytes_load32(const void *from)
{
	return *(const volatile bytes32 *)from;
}

static inline uint64_t bytes_load64(const void *from)
{
	return *(const volatile bytes64 *)from;
}

static inline bool bytes_equal(const void *a, const void *b, size_t size)
{
	const uint8_t *x = a, *y = b;

	for (; size >= 8; x += 8, y += 8, size -= 8)
		if (bytes_load64(x) != bytes_load64(y))
			return false;
	for (; size; x++, y++, size--)
		if (*(const volatile uint8_t *)x != *(const volatile uint8_t *)y)
			return false;
	return true;
}

static inline void bytes_store16(void *to, uint16_t value)
{
	*(volatile bytes16 *)to = value;
}

static inline void bytes_store32(void *to, uint32_t value)
{
	*(volatile bytes32 *)to = value;
}

static inline void bytes_store64(void *to, uint64_t value)
{
	*(volatile bytes64 *)to = value;
}

#endif
