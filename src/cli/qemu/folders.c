#include "cli/qemu/folders.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const struct property fsdev_properties[] = {
	{"fsdriver", PROPERTY_TEXT},
	{"id", PROPERTY_TEXT},
	{"path", PROPERTY_TEXT},
	{"security_model", PROPERTY_TEXT},
	{"readonly", PROPERTY_BOOL},
	{"multidevs", PROPERTY_TEXT, "remap warn"},
	{"writeout", PROPERTY_TEXT, "immediate"},
	{NULL},
};

const struct property virtfs_properties[] = {
	{"fsdriver", PROPERTY_TEXT},
	{"id", PROPERTY_TEXT},
	{"path", PROPERTY_TEXT},
	{"mount_tag", PROPERTY_TEXT},
	{"security_model", PROPERTY_TEXT},
	{"readonly", PROPERTY_BOOL},
	{"multidevs", PROPERTY_TEXT, "remap warn"},
	{"writeout", PROPERTY_TEXT, "immediate"},
	{NULL},
};

static const struct model {
	const char *name;
	bool reports_owners;
	enum share_keeping keeping;
} models[] = {
	{"none", false, SHARE_KEEPS_NOTHING},
	{"passthrough", true, SHARE_KEEPS_NOTHING},
	{"mapped", false, SHARE_KEEPS_ATTRIBUTES},
	{"mapped-xattr", false, SHARE_KEEPS_ATTRIBUTES},
	{"mapped-file", false, SHARE_KEEPS_FILES},
};

static const struct model *find_model(const char *name)
{
	unsigned i;

	for (i = 0; i < sizeof(models) / sizeof(models[0]); i++)
		if (strcmp(models[i].name, name) == 0)
			return &models[i];
	return NULL;
}

/* By its id, or by its tag: a -virtfs needs no other name. */
static const char *name_of(const json_t *folder)
{
	const char *id = keyval_text(folder, "id");

	return id ? id : keyval_text(folder, "mount_tag");
}

static bool is_named(const json_t *folder, const char *name)
{
	return name_of(folder) && strcmp(name_of(folder), name) == 0;
}

int fsdev_check(const json_t *folder, struct error *error)
{
	const char *driver = keyval_text(folder, "fsdriver");
	const char *model = keyval_text(folder, "security_model");

	if (!driver || strcmp(driver, "local") != 0)
		return error_set(error, ENOTSUP, "'%.60s' is no folder here: use local", driver ? driver : "");
	if (!name_of(folder))
		return error_set(error, EINVAL, "id=ID or mount_tag=TAG is needed");
	if (!keyval_text(folder, "path"))
		return error_set(error, EINVAL, "path=FOLDER is needed");
	if (!model)
		return error_set(error, EINVAL, "security_model=none|passthrough|mapped-xattr|mapped-file is needed");
	if (!find_model(model))
		return error_set(error, ENOTSUP,
				 "security_model=%.60s is not there: use none, passthrough, which reports when a file "
				 "cannot be given to somebody, mapped-xattr or mapped-file",
				 model);
	return 0;
}

json_t *fsdev_device_of(const json_t *virtfs)
{
	const char *tag = keyval_text(virtfs, "mount_tag");

	return json_pack("{s:s,s:s,s:s*}", "driver", "virtio-9p", "fsdev", name_of(virtfs), "mount_tag", tag);
}

static const json_t *find(const json_t *list, const char *name)
{
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)list, i, one)
		if (is_named(one, name))
			return one;
	return NULL;
}

int fsdev_open(const json_t *fsdevs, const json_t *virtfss, const json_t *device, struct board_share *share,
		struct error *error)
{
	const char *name = keyval_text(device, "fsdev"), *tag = keyval_text(device, "mount_tag");
	const json_t *folder = name ? find(fsdevs, name) : NULL;
	struct share_config config = {.protocol = SHARE_9P};
	const struct model *model;

	if (!folder && name)
		folder = find(virtfss, name);
	if (!folder)
		return error_set(error, ENOENT,
				 name ? "fsdev=%.60s: there is no -fsdev with that id" : "fsdev=ID is needed", name);
	if (!tag || !*tag || strlen(tag) > VIRTIO_FILESYSTEM_TAG_MAX)
		return error_set(error, EINVAL, "mount_tag=TAG is needed, of at most %u characters",
				 VIRTIO_FILESYSTEM_TAG_MAX);
	config.path = keyval_text(folder, "path");
	config.is_readonly = json_is_true(json_object_get(folder, "readonly"));
	model = find_model(keyval_text(folder, "security_model"));
	config.reports_owners = model->reports_owners;
	config.keeping = model->keeping;
	snprintf(share->tag, sizeof(share->tag), "%s", tag);
	return share_start(&share->share, &config, error);
}
