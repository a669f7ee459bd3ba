#include "cli/share_option.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long what a guest knows of files is good, when others may change them: a look a second. */
#define KEEP_AUTO_S   1
#define KEEP_ALWAYS_S 86400

static int parse_cache(struct share_option *option, const char *value, struct error *error)
{
	if (strcmp(value, "none") == 0)
		option->keep_s = 0;
	else if (strcmp(value, "auto") == 0)
		option->keep_s = KEEP_AUTO_S;
	else if (strcmp(value, "always") == 0)
		option->keep_s = KEEP_ALWAYS_S;
	else
		return error_set(error, EINVAL, "cache=%s: use auto, always or none", value);
	option->has_cache = true;
	return 0;
}

static int parse_owners(struct share_option *option, const char *value, struct error *error)
{
	if (strcmp(value, "host") == 0)
		option->keeping = SHARE_KEEPS_NOTHING;
	else if (strcmp(value, "xattr") == 0)
		option->keeping = SHARE_KEEPS_ATTRIBUTES;
	else if (strcmp(value, "files") == 0)
		option->keeping = SHARE_KEEPS_FILES;
	else
		return error_set(error, EINVAL, "owners=%s: use host, xattr or files", value);
	return 0;
}

static int parse_property(struct share_option *option, char *item, struct error *error)
{
	char *value = strchr(item, '=');

	if (value)
		*value++ = 0;
	if (strcmp(item, "tag") == 0 && value) {
		if (!*value || strlen(value) > VIRTIO_FILESYSTEM_TAG_MAX)
			return error_set(error, EINVAL, "tag=%s: use a name of 1 to %u characters",
					 value, VIRTIO_FILESYSTEM_TAG_MAX);
		option->tag = value;
		return 0;
	}
	if (strcmp(item, "type") == 0 && value) {
		option->protocol = strcmp(value, "9p") == 0 ? SHARE_9P : SHARE_FUSE;
		return option->protocol == SHARE_9P || strcmp(value, "virtiofs") == 0
			       ? 0
			       : error_set(error, EINVAL, "type=%s: use virtiofs or 9p", value);
	}
	if (strcmp(item, "cache") == 0 && value)
		return parse_cache(option, value, error);
	if (strcmp(item, "owners") == 0 && value)
		return parse_owners(option, value, error);
	return error_set(error, EINVAL,
			 "a share has no '%s': use tag=NAME, type=virtiofs|9p, cache=auto|always|none or "
			 "owners=host|xattr|files",
			 item);
}

int share_option_parse(struct share_option *option, const char *text, struct error *error)
{
	char *rest, *mode;
	int result = 0;

	*option = (struct share_option){
		.text = strdup(text), .is_readonly = true, .keep_s = KEEP_AUTO_S};
	if (!option->text)
		return error_set_errno(error, ENOMEM, "'%s'", text);
	rest = option->text;
	option->path = strsep(&rest, ",");
	mode = strrchr(option->path, ':');
	if (mode && (strcmp(mode, ":rw") == 0 || strcmp(mode, ":ro") == 0)) {
		option->is_readonly = mode[2] == 'o';
		*mode = 0;
	}
	if (!*option->path)
		result = error_set(error, EINVAL, "'%s' names no folder: use DIR, DIR:ro or DIR:rw",
				   text);
	while (result == 0 && rest)
		result = parse_property(option, strsep(&rest, ","), error);
	if (result == 0 && option->protocol == SHARE_9P && option->has_cache)
		result = error_set(error, EINVAL, "cache= is virtiofs': with 9p the guest's mount says cache=");
	if (result < 0)
		share_option_free(option);
	return result;
}

void share_option_free(struct share_option *option)
{
	free(option->text);
	option->text = NULL;
}

int share_option_open(const struct share_option *option, unsigned number,
		      struct board_share *share, struct error *error)
{
	const struct share_config config = {.path = option->path,
					    .is_readonly = option->is_readonly,
					    .keep_s = option->keep_s,
					    .protocol = option->protocol,
					    .reports_owners = true,
					    .keeping = option->keeping};

	if (option->tag)
		snprintf(share->tag, sizeof(share->tag), "%s", option->tag);
	else
		snprintf(share->tag, sizeof(share->tag), "share%u", number);
	share->place = BOARD_ANYWHERE;
	return share_start(&share->share, &config, error);
}
