/* The part of a vCPU's struct cpu_platform that answers without vector instructions. */
#ifndef KVIK_ENGINE_VCPU_PLATFORM_MEMORY_H
#define KVIK_ENGINE_VCPU_PLATFORM_MEMORY_H

#include "engine/x86/cpu.h"

bool platform_page_lookup(void *context, uint64_t gpa, struct cpu_page *page);
void platform_page_dirty(void *context, uint64_t gpa);

#endif
