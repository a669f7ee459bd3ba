/* A guest-physical page, as a CPU asks for it and a VM's memory slots know it. */
#ifndef KVIK_ENGINE_PAGE_H
#define KVIK_ENGINE_PAGE_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_page {
	uint8_t *hva;       /* host address of the page's first byte; NULL: not memory (MMIO) */
	bool writable;      /* false: read-only slot, a write is MMIO (api.rst 4.35) */
	bool dirty_logging; /* writes must be reported with platform->page_dirty first */
};

#endif
