/* What guests say of what comes and goes by ACPI. */
#ifndef KVIK_MONITOR_OSPM_H
#define KVIK_MONITOR_OSPM_H

#include <jansson.h>
#include <stdint.h>

/* An ACPIOSTInfo (schema.json); `id` NULL: it has none. The caller's. */
json_t *ospm_describe(const char *slot_type, unsigned slot, const char *id, uint32_t source, uint32_t status);

#endif
