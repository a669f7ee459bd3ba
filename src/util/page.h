/* Pages of memory: of 4 KiB, the guest's and the host's, as x86-64 has no others that are smaller. */
#ifndef KVIK_UTIL_PAGE_H
#define KVIK_UTIL_PAGE_H

#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096u /* bytes */
#define PAGE_MASK  (~(uint64_t)0xfff) /* of an address: its page's first byte */

#endif
