#include "machine/acpi/aml_terms.h"

void aml_store_integer(struct aml *aml, uint64_t value, const char *target)
{
	aml_operator(aml, AML_STORE);
	aml_integer(aml, value);
	aml_name(aml, target);
}

void aml_store_operator(struct aml *aml, uint8_t value, const char *target)
{
	aml_operator(aml, AML_STORE);
	aml_operator(aml, value);
	aml_name(aml, target);
}

void aml_store_local(struct aml *aml, uint64_t value)
{
	aml_operator(aml, AML_STORE);
	aml_integer(aml, value);
	aml_operator(aml, AML_LOCAL0);
}

size_t aml_if_set_begin(struct aml *aml, const char *name)
{
	size_t mark = aml_if_begin(aml);

	aml_operator(aml, AML_EQUAL);
	aml_name(aml, name);
	aml_integer(aml, 1);
	return mark;
}

void aml_notify_if(struct aml *aml, uint64_t value, const char *object)
{
	size_t mark = aml_if_begin(aml);

	aml_operator(aml, AML_EQUAL);
	aml_operator(aml, AML_ARG0);
	aml_integer(aml, value);
	aml_operator(aml, AML_NOTIFY);
	aml_name(aml, object);
	aml_operator(aml, AML_ARG0 + 1);
	aml_end(aml, mark);
}

void aml_return_local(struct aml *aml)
{
	aml_operator(aml, AML_RETURN);
	aml_operator(aml, AML_LOCAL0);
}

void aml_call(struct aml *aml, const char *name, uint64_t value, unsigned passed)
{
	unsigned i;

	aml_name(aml, name);
	aml_integer(aml, value);
	for (i = 0; i < passed; i++)
		aml_operator(aml, AML_ARG0 + i);
}

void aml_return_call(struct aml *aml, const char *name, uint64_t value)
{
	aml_operator(aml, AML_RETURN);
	aml_call(aml, name, value, 0);
}

size_t aml_ports_begin(struct aml *aml, const char *name, const char *uid, uint16_t port, uint8_t count)
{
	struct aml_resources resources = {.used = 0};
	size_t device = aml_device_begin(aml, name);

	aml_name_eisa_id(aml, "_HID", "PNP0A06");
	aml_name_string(aml, "_UID", uid);
	aml_name_integer(aml, "_STA", 0xb); /* there, but nothing to show */
	aml_resource_io(&resources, port, count);
	aml_current_resources(aml, &resources);
	return device;
}

void aml_event_method(struct aml *aml, const char *name, const char *handler)
{
	size_t scope = aml_scope_begin(aml, "\\_GPE"), method = aml_method_begin(aml, name, 0);

	aml_name(aml, handler);
	aml_end(aml, method);
	aml_end(aml, scope);
}
