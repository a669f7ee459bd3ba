/* A board's TPM, and what ACPI tells of it (TCG ACPI Specification 1.3, §8). */
#include <errno.h>

#include "device/tpm/tpm.h"
#include "machine/board_parts.h"

int board_add_tpm(struct board *board, struct error *error)
{
	struct board_tpm *tpm = board->config.tpm;
	const bool is_crb = tpm && tpm->kind == BOARD_TPM_CRB;
	struct tpm_emulator *emulator;
	void *device;
	int result;

	if (!tpm || !tpm->kind)
		return 0;
	emulator = tpm->emulator;
	tpm->emulator = NULL;
	if (is_crb)
		device = tpm_crb_create(emulator, board->config.loop, error);
	else
		device = tpm_tis_create(emulator, board->config.loop, error);
	if (!device)
		return -ENOMEM;
	result = board_add(board, "tpm", is_crb ? &tpm_crb_device_ops : &tpm_tis_device_ops, device, error);
	if (result < 0)
		return result;
	return mmio_bus_add(board->config.mmio, TPM_GPA, is_crb ? TPM_CRB_BYTES : TPM_TIS_BYTES, "TPM",
			    is_crb ? &tpm_crb_mmio_ops : &tpm_tis_mmio_ops, device, error);
}

void board_describe_tpm(struct aml *aml, const struct board *board)
{
	struct aml_resources resources = {.used = 0};
	size_t mark;

	if (!board->config.tpm || !board->config.tpm->kind)
		return;
	mark = aml_device_begin(aml, "TPM");
	aml_name_string(aml, "_HID", "MSFT0101");
	aml_name_integer(aml, "_STA", 0xf);
	aml_resource_memory_fixed(&resources, TPM_GPA,
				  board->config.tpm->kind == BOARD_TPM_CRB ? TPM_CRB_BYTES : TPM_TIS_BYTES);
	aml_current_resources(aml, &resources);
	aml_end(aml, mark);
}

enum acpi_tpm board_acpi_tpm(const struct board *board)
{
	if (!board->config.tpm || !board->config.tpm->kind)
		return ACPI_NO_TPM;
	return board->config.tpm->kind == BOARD_TPM_CRB ? ACPI_TPM_CRB : ACPI_TPM_FIFO;
}
