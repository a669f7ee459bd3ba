/*
 * The file has 16 bytes, all little-endian: the host's format (1: ELF), the guest's, the note's size and its
 * guest-physical address (QEMU docs/specs/vmcoreinfo.rst).
 */
#include "device/vmcoreinfo.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#define FILE_NAME  "etc/vmcoreinfo"
#define FORMAT_ELF 1

struct content {
	uint16_t host_format, guest_format;
	uint32_t size;
	uint64_t gpa;
};

static const struct content initial = {.host_format = FORMAT_ELF};

struct vmcoreinfo {
	struct fw_cfg *fw_cfg; /* has the bytes */
};

bool vmcoreinfo_find(const struct vmcoreinfo *vmcoreinfo, uint64_t *gpa, uint32_t *size)
{
	struct content content;

	if (fw_cfg_read_file(vmcoreinfo->fw_cfg, FILE_NAME, &content, sizeof(content)) < 0 ||
	    le16toh(content.guest_format) != FORMAT_ELF)
		return false;
	*gpa = le64toh(content.gpa);
	*size = le32toh(content.size);
	return *size != 0;
}

static void vmcoreinfo_reset(void *device)
{
	struct vmcoreinfo *vmcoreinfo = device;

	fw_cfg_renew_file(vmcoreinfo->fw_cfg, FILE_NAME, &initial, sizeof(initial));
}

/* Any bytes are what a guest could have written. */
static void vmcoreinfo_save(void *device, struct state_stream *state)
{
	struct vmcoreinfo *vmcoreinfo = device;
	struct content content;

	fw_cfg_read_file(vmcoreinfo->fw_cfg, FILE_NAME, &content, sizeof(content));
	state_bytes(state, "content", &content, sizeof(content));
}

static void vmcoreinfo_load(void *device, struct state_stream *state)
{
	struct vmcoreinfo *vmcoreinfo = device;
	struct content content = initial;

	state_bytes(state, "content", &content, sizeof(content));
	if (state_complete(state))
		fw_cfg_renew_file(vmcoreinfo->fw_cfg, FILE_NAME, &content, sizeof(content));
}

const struct device_ops vmcoreinfo_device_ops = {
	.version = 1,
	.reset = vmcoreinfo_reset,
	.save = vmcoreinfo_save,
	.load = vmcoreinfo_load,
	.destroy = free,
};

struct vmcoreinfo *vmcoreinfo_create(struct fw_cfg *fw_cfg, struct error *error)
{
	struct vmcoreinfo *vmcoreinfo = calloc(1, sizeof(*vmcoreinfo));

	if (!vmcoreinfo || fw_cfg_add_writable_file(fw_cfg, FILE_NAME, &initial, sizeof(initial)) < 0) {
		free(vmcoreinfo);
		error_set_errno(error, ENOMEM, "vmcoreinfo");
		return NULL;
	}
	vmcoreinfo->fw_cfg = fw_cfg;
	return vmcoreinfo;
}
