#include "cli/qemu/tpm.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/chardevs.h"
#include "cli/qemu/keyval.h"
#include "device/tpm/tpm_emulator.h"

static const json_t *find_tpmdev(const struct line *line, const char *id)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(line->said, "tpmdev"), i, one)
		if (id && keyval_text(one, "id") && strcmp(keyval_text(one, "id"), id) == 0)
			return one;
	return NULL;
}

int tpm_check(struct line *line, struct error *error)
{
	const char *chardev;
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(line->said, "tpmdev"), i, one) {
		chardev = keyval_text(one, "chardev");
		if (!keyval_text(one, "type") || !keyval_text(one, "id") || !chardev)
			return error_set(error, EINVAL, "-tpmdev: use emulator,id=ID,chardev=ID");
		if (!chardevs_find(&line->chardevs, chardev))
			return error_set(error, ENOENT, "-tpmdev %.60s: chardev=%.60s: there is no -chardev with that id",
					 keyval_text(one, "id"), chardev);
	}
	return 0;
}

int tpm_open(struct line *line, const json_t *device, struct error *error)
{
	const char *driver = keyval_text(device, "driver"), *id = keyval_text(device, "tpmdev");
	struct board_tpm *tpm = &line->config.tpm;
	const json_t *tpmdev = find_tpmdev(line, id);
	int fd;

	if (!id || !tpmdev)
		return error_set(error, ENOENT, "%s: tpmdev=%.60s: there is no such -tpmdev", driver, id ? id : "");
	if (tpm->kind)
		return error_set(error, EEXIST, "%s: a machine has one TPM", driver);
	fd = chardevs_connect(&line->chardevs, keyval_text(tpmdev, "chardev"), error);
	if (fd >= 0) {
		tpm->kind = strcmp(driver, "tpm-crb") == 0 ? BOARD_TPM_CRB : BOARD_TPM_TIS;
		tpm->emulator = tpm_emulator_create(fd, error);
	}
	if (tpm->emulator)
		return 0;
	error_prefix(error, "-tpmdev %.60s", id);
	return -EINVAL;
}

json_t *tpm_describe(const struct line *line)
{
	json_t *answer = json_array();
	const json_t *device, *tpmdev;
	const char *driver;
	size_t i;

	json_array_foreach(line->devices, i, device) {
		driver = keyval_text(device, "driver");
		tpmdev = find_tpmdev(line, keyval_text(device, "tpmdev"));
		if (driver && tpmdev && strncmp(driver, "tpm-", 4) == 0)
			json_array_append_new(answer,
					      json_pack("{s:s,s:s,s:{s:s,s:{s:s}}}", "id", keyval_text(tpmdev, "id"),
							"model", driver, "options", "type", "emulator", "data",
							"chardev", keyval_text(tpmdev, "chardev")));
	}
	return answer;
}
