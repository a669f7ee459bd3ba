/*
 * The random state that cases start from. Everything follows from the last random_seed.
 */
#ifndef KVIK_TESTS_DIFFERENTIAL_STATE_H
#define KVIK_TESTS_DIFFERENTIAL_STATE_H

#include "isa.h"

void random_seed(uint64_t seed);
uint64_t random64(void); /* splitmix64 */
uint64_t mix(uint64_t value); /* its output function: scatters the bits */
unsigned below(unsigned limit);
bool chance(unsigned percent);

/* A value for a general register: half of them are addresses. */
uint64_t random_register(void);
/* An address for an operand of `size` bytes, mostly in the data pages. */
uint64_t data_address(unsigned size);
/* A valid image of ISA_XSAVE_SIZE bytes, with x87 state where the class is likely to use it. */
void random_xsave(uint8_t *image, enum isa_class class);
/* One of a few contents of the data pages, by index; valid until another seed is asked for. */
const uint8_t *data_image(uint64_t seed, uint64_t index);

#endif
