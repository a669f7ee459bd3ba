/* The part of a vCPU's struct cpu_platform that answers without vector instructions. */
#ifndef KVIK_ENGINE_VCPU_X86_PLATFORM_MEMORY_H
#define KVIK_ENGINE_VCPU_X86_PLATFORM_MEMORY_H

#include "engine/x86/cpu.h"

struct x86_vcpu;

extern const struct cpu_lookups platform_lookups;
/* Log that gpa's page is about to be written. */
void platform_page_dirty(struct x86_vcpu *vcpu, uint64_t gpa);

#endif
