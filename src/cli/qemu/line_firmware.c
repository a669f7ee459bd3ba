#include "cli/qemu/line_firmware.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/qemu/keyval.h"
#include "util/file.h"

#define OEM_STRINGS    11
#define FILE_NAME_MAX  55
#define FILE_BYTES_MAX (64u << 20)

static int add_field(struct line *line, unsigned type, const char *name, const char *value,
		     struct error *error)
{
	struct smbios_config *smbios = &line->config.smbios;
	uint8_t uuid[16];

	if (smbios->field_count == SMBIOS_FIELDS_MAX)
		return error_set(error, ENOSPC, "at most %u fields", SMBIOS_FIELDS_MAX);
	if (strcmp(name, "uuid") == 0 && smbios_parse_uuid(value, uuid) < 0)
		return error_set(error, EINVAL, "uuid=%.60s is none", value);
	smbios->fields[smbios->field_count++] = (struct smbios_field){type, name, value};
	return 0;
}

/* A string of the manufacturer's from a file. */
static int add_path(struct line *line, const char *path, struct error *error)
{
	uint8_t *bytes;
	size_t size;
	json_t *text;

	if (file_read(path, "SMBIOS string", SMBIOS_TABLES_MAX, &bytes, &size, error) < 0)
		return -EINVAL;
	text = memchr(bytes, 0, size) ? NULL : json_stringn((char *)bytes, size);
	free(bytes);
	if (!text)
		return error_set(error, EINVAL, "path=%.200s is no text", path);
	if (!line->smbios_texts)
		line->smbios_texts = json_array();
	json_array_append_new(line->smbios_texts, text);
	return add_field(line, OEM_STRINGS, "value", json_string_value(text), error);
}

static int add_said(struct line *line, unsigned type, const char *name, const char *value,
		    struct error *error)
{
	return strcmp(name, "path") == 0 ? add_path(line, value, error)
					 : add_field(line, type, name, value, error);
}

static int take_smbios(struct line *line, const json_t *options, struct error *error)
{
	const char *name;
	uint64_t type = UINT64_MAX;
	json_t *value, *one;
	size_t i;
	int result = 0;

	if (keyval_number(options, "type", UINT8_MAX, &type, error) < 0)
		return -EINVAL;
	if (type == UINT64_MAX)
		return error_set(error, EINVAL, "type=N is needed");
	if (json_object_size(options) == 1)
		return smbios_check_type(type, error);
	json_object_foreach((json_t *)options, name, value) {
		if (result < 0 || strcmp(name, "type") == 0)
			continue;
		result = smbios_check_field(type, type == OEM_STRINGS && strcmp(name, "path") == 0 ? "value" : name,
					    error);
		if (result < 0)
			continue;
		if (!json_is_array(value))
			result = add_said(line, type, name, json_string_value(value), error);
		json_array_foreach(value, i, one)
			if (result == 0)
				result = add_said(line, type, name, json_string_value(one), error);
	}
	return result;
}

static int take_file(struct line *line, const json_t *options, struct error *error)
{
	const char *name = keyval_text(options, "name"), *path = keyval_text(options, "file");
	const char *string = keyval_text(options, "string");
	struct machine_config *config = &line->config;
	struct board_file *file = &config->files[config->file_count];
	unsigned i;

	if (!name || !*name || strlen(name) > FILE_NAME_MAX)
		return error_set(error, EINVAL, "name=NAME is needed, of at most %u characters", FILE_NAME_MAX);
	if (!path == !string)
		return error_set(error, EINVAL, "either file=FILE or string=TEXT");
	/* Others are the machine's own. */
	if (strncmp(name, "opt/", 4) != 0)
		return error_set(error, EINVAL, "name=%s: names of one's own begin with opt/", name);
	for (i = 0; i < config->file_count; i++)
		if (strcmp(config->files[i].name, name) == 0)
			return error_set(error, EEXIST, "there are two with name=%s", name);
	if (config->file_count == BOARD_FILES_MAX)
		return error_set(error, ENOSPC, "at most %u files", BOARD_FILES_MAX);
	*file = (struct board_file){name, (const uint8_t *)string, string ? strlen(string) : 0};
	if (path) {
		if (file_read(path, "file", FILE_BYTES_MAX, &line->file_bytes[config->file_count], &file->size,
			      error) < 0)
			return -EINVAL;
		file->data = line->file_bytes[config->file_count];
	}
	config->file_count++;
	return 0;
}

int line_examine_firmware_facts(struct line *line, struct error *error)
{
	struct smbios_config *smbios = &line->config.smbios;
	const json_t *one;
	size_t i;

	if (line->uuid && smbios_parse_uuid(line->uuid, smbios->uuid) < 0)
		return error_set(error, EINVAL, "-uuid %.60s is none: use as 01234567-89ab-cdef-0123-456789abcdef",
				 line->uuid);
	smbios->has_uuid = line->uuid;
	json_array_foreach(json_object_get(line->said, "smbios"), i, one) {
		if (take_smbios(line, one, error) < 0) {
			error_prefix(error, "-smbios");
			return -EINVAL;
		}
	}
	json_array_foreach(json_object_get(line->said, "fw_cfg"), i, one) {
		if (take_file(line, one, error) < 0) {
			error_prefix(error, "-fw_cfg");
			return -EINVAL;
		}
	}
	return 0;
}

void line_forget_firmware_facts(struct line *line)
{
	unsigned i;

	for (i = 0; i < BOARD_FILES_MAX; i++)
		free(line->file_bytes[i]);
	json_decref(line->smbios_texts);
}
