/* The two front ends by which a guest reaches a TPM 2.0 (TCG PC Client Platform TPM Profile for TPM 2.0): FIFO and CRB. */
#ifndef KVIK_DEVICE_TPM_TPM_H
#define KVIK_DEVICE_TPM_TPM_H

#include "device/bus/mmio.h"
#include "device/device.h"
#include "device/tpm/tpm_emulator.h"
#include "util/event_loop.h"

#define TPM_GPA	       0xfed40000ull /* of both */
#define TPM_TIS_BYTES  0x5000ull     /* a page for each of five localities */
#define TPM_CRB_BYTES  0x1000ull
#define TPM_CRB_CONTROL_GPA (TPM_GPA + 0x40) /* which ACPI tells */

struct tpm_tis;
struct tpm_crb;

/* The emulator is the device's from now on, also on failure. NULL, and `error`. */
struct tpm_tis *tpm_tis_create(struct tpm_emulator *emulator, struct event_loop *loop, struct error *error);
struct tpm_crb *tpm_crb_create(struct tpm_emulator *emulator, struct event_loop *loop, struct error *error);

extern const struct mmio_ops tpm_tis_mmio_ops; /* with struct tpm_tis */
extern const struct mmio_ops tpm_crb_mmio_ops; /* with struct tpm_crb */
/* What the TPM itself keeps is asked of its process when it is saved, and told to another when it is loaded. */
extern const struct device_ops tpm_tis_device_ops, tpm_crb_device_ops;

#endif
