/* Numbers as people write them on a command line. */
#ifndef KVIK_CLI_SIZE_H
#define KVIK_CLI_SIZE_H

#include <stdint.h>

/*
 * An amount of memory: digits and one of K, M, G, T (powers of 1024; "iB" or "B" may follow), or
 * digits alone, which are MiB. 0 or -EINVAL, -ERANGE.
 */
int size_parse(const char *text, uint64_t *bytes);

/* An unsigned number, decimal or 0x hexadecimal, up to `limit`. 0 or -EINVAL, -ERANGE. */
int number_parse(const char *text, uint64_t limit, uint64_t *number);

#endif
