/* Terms of methods that the descriptions of several devices have (ACPI 6.4 §20.2.5). */
#ifndef KVIK_MACHINE_ACPI_AML_TERMS_H
#define KVIK_MACHINE_ACPI_AML_TERMS_H

#include "machine/acpi/aml.h"

/* Store (value, target): an integer, an AML_ARG0 or AML_LOCAL0 and its like, and an integer into Local0. */
void aml_store_integer(struct aml *aml, uint64_t value, const char *target);
void aml_store_operator(struct aml *aml, uint8_t value, const char *target);
void aml_store_local(struct aml *aml, uint64_t value);
/* If (LEqual (name, 1)), until aml_end. */
size_t aml_if_set_begin(struct aml *aml, const char *name);
/* If (LEqual (Arg0, value)) { Notify (object, Arg1) } */
void aml_notify_if(struct aml *aml, uint64_t value, const char *object);
/* Return (Local0) */
void aml_return_local(struct aml *aml);
/* Return (name (value)), or the call alone, to which the method around it passes its first `passed` arguments on. */
void aml_call(struct aml *aml, const char *name, uint64_t value, unsigned passed);
void aml_return_call(struct aml *aml, const char *name, uint64_t value);
/* A device that is nothing but ports at which nothing may be put; what else is of it follows, until aml_end. */
size_t aml_ports_begin(struct aml *aml, const char *name, const char *uid, uint16_t port, uint8_t count);
/* Method (name): call another, which is told of an event (_GPE, §5.6.4.1). */
void aml_event_method(struct aml *aml, const char *name, const char *handler);

#endif
