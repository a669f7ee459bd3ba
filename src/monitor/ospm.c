#include "monitor/ospm.h"

json_t *ospm_describe(const char *slot_type, unsigned slot, const char *id, uint32_t source, uint32_t status)
{
	json_t *info = json_pack("{s:o,s:s,s:I,s:I}", "slot", json_sprintf("%u", slot), "slot-type", slot_type, "source",
				 (json_int_t)source, "status", (json_int_t)status);

	if (id)
		json_object_set_new(info, "device", json_string(id));
	return info;
}
