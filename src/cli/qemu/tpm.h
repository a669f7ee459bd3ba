/* A command line's TPM: -tpmdev, and the device that it is for. */
#ifndef KVIK_CLI_QEMU_TPM_H
#define KVIK_CLI_QEMU_TPM_H

#include <jansson.h>

#include "cli/qemu/line_state.h"
#include "util/error.h"

/* Whether all of -tpmdev can be, before devices ask for them. 0, or -errno and `error`. */
int tpm_check(struct line *line, struct error *error);
/* Connect the TPM that a -device names, which becomes the machine's. 0, or -errno and `error`. */
int tpm_open(struct line *line, const json_t *device, struct error *error);

/* query-tpm's answer; the caller's. */
json_t *tpm_describe(const struct line *line);

#endif
