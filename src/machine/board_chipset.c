/* The chipset of a PC, and what hangs on its registers. */
#include "machine/board_parts.h"
#include "util/log.h"

/* i440fx_wiring.route_shadow, q35_wiring.route_shadow. */
static void route_shadow(void *context, const uint8_t access[RAM_SHADOW_SEGMENTS])
{
	struct board *board = context;
	struct error error;

	_Static_assert(PAM_SEGMENTS == RAM_SHADOW_SEGMENTS && PAM_READ == RAM_SHADOW_READ &&
			       PAM_WRITE == RAM_SHADOW_WRITE,
		       "one is the other");
	if (board->config.vm && ram_shadow_route(&board->config.ram->shadow, board->config.vm, access, &error) < 0)
		log_error("%s", error.message);
}

static int add_pm(struct board *board, uint16_t port, struct error *error)
{
	bool is_q35 = board_is_q35(board);

	return pio_bus_add(board->config.pio, port, is_q35 ? ACPI_PM_ICH9_PORTS : ACPI_PM_PORTS,
			   "ACPI registers", is_q35 ? &acpi_pm_ich9_pio_ops : &acpi_pm_pio_ops,
			   board->acpi_pm, error);
}

/* i440fx_wiring.place_pm, q35_wiring.place_pm. */
static void place_pm(void *context, uint16_t port)
{
	struct board *board = context;
	struct error error;

	/* The tables were made before firmware chose (OVMF: 0xb000): where they say, they always are. */
	if (board_has_firmware(board) && port == ACPI_PORT)
		port = 0;
	if (port == board->acpi_port)
		return;
	if (board->acpi_port)
		pio_bus_remove(board->config.pio, board->acpi_port);
	board->acpi_port = port;
	if (port && add_pm(board, port, &error) < 0) {
		log_guest("%s", error.message);
		board->acpi_port = 0;
	}
}

/* q35_wiring.place_ecam. */
static void place_ecam(void *context, uint64_t gpa, uint64_t bytes)
{
	struct board *board = context;
	struct mmio_bus *mmio = board->config.mmio;
	struct error error;

	if (gpa == board->ecam_gpa && bytes == board->ecam_bytes)
		return;
	if (board->ecam_bytes)
		mmio_bus_remove(mmio, board->ecam_gpa);
	board->ecam_gpa = gpa;
	board->ecam_bytes = bytes;
	if (bytes && mmio_bus_add(mmio, gpa, bytes, "PCI configuration", &pci_bus_ecam_ops, board->pci,
				  &error) < 0) {
		log_guest("%s", error.message);
		board->ecam_gpa = board->ecam_bytes = 0;
	}
	if (board_has_firmware(board))
		board_renew_acpi_files(board);
}

/* q35_wiring.place_root_complex. */
static void place_root_complex(void *context, uint64_t gpa)
{
	struct board *board = context;
	struct mmio_bus *mmio = board->config.mmio;
	struct error error;

	if (gpa == board->root_complex_gpa)
		return;
	if (board->root_complex_gpa)
		mmio_bus_remove(mmio, board->root_complex_gpa);
	board->root_complex_gpa = gpa;
	if (gpa && mmio_bus_add(mmio, gpa, Q35_ROOT_COMPLEX_BYTES, "root complex", &q35_root_complex_ops,
				&board->q35, &error) < 0) {
		log_guest("%s", error.message);
		board->root_complex_gpa = 0;
	}
}

static int add_i440fx(struct board *board, struct error *error)
{
	const struct i440fx_wiring wiring = {SCI_GSI, route_shadow, place_pm, board};
	int result;

	i440fx_init(&board->chipset, board->pci, &wiring);
	result = board_add(board, "i440fx", &i440fx_device_ops, &board->chipset, error);
	if (result < 0)
		return result;
	return pio_bus_add(board->config.pio, I440FX_APM_PORT, I440FX_APM_PORTS, "APM ports",
			   &i440fx_apm_pio_ops, &board->chipset, error);
}

static int add_q35(struct board *board, struct error *error)
{
	const struct q35_wiring wiring = {route_shadow, place_pm, place_ecam, place_root_complex, board};
	int result;

	q35_init(&board->q35, board->pci, &wiring);
	result = board_add(board, "q35", &q35_device_ops, &board->q35, error);
	if (result < 0)
		return result;
	return pio_bus_add(board->config.pio, Q35_APM_PORT, Q35_APM_PORTS, "APM ports",
			   &q35_apm_pio_ops, &board->q35, error);
}

int board_add_chipset(struct board *board, struct error *error)
{
	int result;

	if (board_has_firmware(board) && (result = add_pm(board, ACPI_PORT, error)) < 0)
		return result;
	result = board_is_q35(board) ? add_q35(board, error) : add_i440fx(board, error);
	if (result < 0)
		return result;
	result = mmio_bus_add(board->config.mmio, RAM_SHADOW_START, RAM_SHADOW_END - RAM_SHADOW_START,
			      "shadow RAM", &ram_shadow_mmio_ops, &board->config.ram->shadow, error);
	if (result < 0)
		return result;
	return pio_bus_add(board->config.pio, PCI_CONFIG_PORT, PCI_CONFIG_PORTS, "PCI configuration",
			   &pci_bus_pio_ops, board->pci, error);
}

void board_set_up_chipset(struct board *board)
{
	if (board_is_q35(board))
		q35_set_up(&board->q35, board->pci_layout.link_gsi, ACPI_PORT,
			   board->config.ram->layout->ecam_gpa);
	else
		i440fx_set_up(&board->chipset, board->pci_layout.link_gsi, ACPI_PORT);
}

/* The chipset's functions, and their own registers, behind PCI's. */
static unsigned chipset_function(const struct board *board, unsigned index)
{
	static const uint8_t pc[BOARD_CHIPSET_FUNCTIONS] = {PCI_SLOT_FUNCTION(0, 0), PCI_SLOT_FUNCTION(1, 0),
							    PCI_SLOT_FUNCTION(1, 3)};
	static const uint8_t q35[BOARD_CHIPSET_FUNCTIONS] = {PCI_SLOT_FUNCTION(0, 0), PCI_SLOT_FUNCTION(31, 0),
							     PCI_SLOT_FUNCTION(31, 3)};

	return board_is_q35(board) ? q35[index] : pc[index];
}

void board_read_chipset(struct board *board, struct board_chipset_registers *registers)
{
	unsigned i, j;

	for (i = 0; i < BOARD_CHIPSET_FUNCTIONS; i++)
		for (j = 0; j < BOARD_CHIPSET_WORDS; j++)
			registers->words[i][j] = pci_config_read(board->pci, chipset_function(board, i),
								 PCI_CONFIG_BYTES - 4 * BOARD_CHIPSET_WORDS + 4 * j, 4);
}

/*
 * As software does, so that the chipset hears of it.
 *
 * SeaBIOS begins in shadow RAM when it wakes, and counts CPUs there before it write-protects it once more: with the
 * protection of before the sleep, neither its count nor the lock around it would change, it would not wait for the
 * other CPUs, and take away the code that they begin with while they are on their way to it (its smp_scan).
 */
void board_wake_chipset(struct board *board, const struct board_chipset_registers *registers)
{
	unsigned i, j;

	for (i = 0; i < BOARD_CHIPSET_FUNCTIONS; i++)
		for (j = 0; j < BOARD_CHIPSET_WORDS; j++)
			pci_config_write(board->pci, chipset_function(board, i),
					 PCI_CONFIG_BYTES - 4 * BOARD_CHIPSET_WORDS + 4 * j, 4, registers->words[i][j]);
	if (board_is_q35(board))
		q35_open_shadow(&board->q35);
	else
		i440fx_open_shadow(&board->chipset);
}
