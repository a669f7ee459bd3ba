/*
 * ACPI Machine Language, written by hand: a growing run of bytes and the few objects that a
 * board's description needs (ACPI 6.4 §20.2, "AML Grammar Definition"; §6.4, resources).
 *
 * Objects that contain others are opened with a _begin, which gives a mark, and closed with
 * aml_end(mark), which puts their length in. When the buffer is full everything further is dropped
 * and `is_full` is set; it is looked at once, at the end.
 */
#ifndef KVIK_MACHINE_ACPI_AML_H
#define KVIK_MACHINE_ACPI_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *bytes;
	size_t used, capacity;
	bool is_full;
};

void aml_bytes(struct aml *aml, const void *bytes, size_t size);
/* A name: one segment or a path, "\\_SB.PCI0"; segments are padded to four characters. */
void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint64_t value);

size_t aml_scope_begin(struct aml *aml, const char *name);
size_t aml_device_begin(struct aml *aml, const char *name);
size_t aml_package_begin(struct aml *aml, uint8_t elements);
/* Methods (§20.2.5), of terms that are written one after the other: an operator, its operands, its target. */
size_t aml_method_begin(struct aml *aml, const char *name, unsigned arguments);
size_t aml_if_begin(struct aml *aml); /* the predicate follows, and what to do */
size_t aml_else_begin(struct aml *aml); /* right behind an If's end */
size_t aml_while_begin(struct aml *aml); /* like an If */
void aml_operator(struct aml *aml, uint8_t code); /* one of: */
#define AML_LOCAL0	       0x60
#define AML_ARG0	       0x68
#define AML_STORE	       0x70 /* value, target */
#define AML_ADD		       0x72 /* two values, target */
#define AML_SUBTRACT	       0x74 /* likewise */
#define AML_INCREMENT	       0x75 /* target */
#define AML_SHIFT_LEFT	       0x79 /* two values, target */
#define AML_AND		       0x7b /* likewise */
#define AML_OR		       0x7d
#define AML_NOTIFY	       0x86 /* object, value */
#define AML_CREATE_DWORD_FIELD 0x8a /* buffer, offset, name */
#define AML_CREATE_QWORD_FIELD 0x8f
#define AML_NOT		       0x92
#define AML_EQUAL	       0x93
#define AML_LESS	       0x95
#define AML_RETURN	       0xa4
void aml_buffer(struct aml *aml, const void *bytes, size_t size);
void aml_no_target(struct aml *aml); /* the result goes nowhere but into the term around it */
void aml_end(struct aml *aml, size_t mark);

/* Ports, and names for their doublewords in turn, until aml_end (§20.2.5.2). */
void aml_io_region(struct aml *aml, const char *name, uint16_t port, uint8_t bytes);
size_t aml_fields_begin(struct aml *aml, const char *region);
void aml_field32(struct aml *aml, const char *name);
/* Fields that are reached by bytes, of which those beside are written as zeroes; and some bits each, or between them. */
size_t aml_byte_fields_begin(struct aml *aml, const char *region);
void aml_field(struct aml *aml, const char *name, unsigned bits);
void aml_field_gap(struct aml *aml, unsigned bits);
/* Mutexes; taking one waits for ever. */
void aml_mutex(struct aml *aml, const char *name);
void aml_acquire(struct aml *aml, const char *name);
void aml_release(struct aml *aml, const char *name);

/* Name (name, value): the object must follow. And the usual ones whole. */
void aml_name_declare(struct aml *aml, const char *name);
void aml_name_integer(struct aml *aml, const char *name, uint64_t value);
void aml_name_eisa_id(struct aml *aml, const char *name, const char *id);
void aml_name_string(struct aml *aml, const char *name, const char *text);

/* Name (_CRS, ResourceTemplate () {...}): resources between begin and end. */
struct aml_resources {
	uint8_t bytes[256];
	size_t used;
};
void aml_resource_io(struct aml_resources *resources, uint16_t first, uint8_t count);
void aml_resource_irq(struct aml_resources *resources, unsigned irq); /* edge, active high */
void aml_resource_bus_range(struct aml_resources *resources, uint16_t first, uint16_t last);
void aml_resource_io_range(struct aml_resources *resources, uint16_t first, uint16_t last);
void aml_resource_memory_range(struct aml_resources *resources, uint32_t first, uint32_t last);
/* The same above 4 GiB; and memory that just isn't free. */
void aml_resource_memory_range64(struct aml_resources *resources, uint64_t first, uint64_t last);
void aml_resource_memory_fixed(struct aml_resources *resources, uint32_t first, uint32_t bytes);
/* A GSI of any number: level, active high. */
void aml_resource_interrupt(struct aml_resources *resources, uint32_t gsi);
void aml_current_resources(struct aml *aml, const struct aml_resources *resources);

#endif
