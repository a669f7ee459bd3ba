/* The CPU models that have names: what CPUID says of each. */
#ifndef KVIK_MACHINE_CPU_MODELS_H
#define KVIK_MACHINE_CPU_MODELS_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_model {
	const char *name;
	const char *base;     /* the model whose features come first, or NULL */
	const char *features; /* names with blanks between; those after '-' are taken away */
	const char *vendor;   /* 12 characters; NULL: the base's, as all that follows */
	uint16_t family;
	uint8_t model, stepping;
	uint32_t level, extended_level; /* the highest leaves */
	const char *model_id;
};

extern const struct cpu_model cpu_models[];
extern const unsigned cpu_model_count;

/* By name, or NULL. */
const struct cpu_model *cpu_model_find(const char *name);

#endif
