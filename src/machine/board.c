#include "machine/board.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/acpi_pm.h"
#include "device/rtc.h"
#include "machine/board_parts.h"

/* Ports and slots of a PC tell when what is in them may go. */
static int watch_seats(struct board *board, struct error *error)
{
	int result = 0;

	if (board_is_pc(board))
		result = event_signal_init(&board->off_signal, board->config.loop, board_seats_are_off, board);
	return result < 0 ? error_set_errno(error, -result, "cannot watch PCI slots") : 0;
}

struct board *board_create(const struct board_config *config, struct error *error)
{
	struct board *board = calloc(1, sizeof(*board));
	unsigned i;

	if (!board) {
		error_set_errno(error, ENOMEM, "cannot create the board");
		return NULL;
	}
	board->config = *config;
	if (!board->config.max_cpus)
		board->config.max_cpus = config->cpus;
	board->config.topology = cpu_topology_of(&config->topology, board->config.max_cpus);
	for (i = 0; i < board->config.max_cpus && i < ACPI_CPUS_MAX; i++)
		board->apic_ids[i] = cpu_topology_apic_id(&board->config.topology, i);
	if (!board->config.present_cpus)
		board->config.present_cpus = board_first_cpus(config->cpus);
	if (watch_seats(board, error) < 0 || board_add_devices(board, error) < 0) {
		board_destroy(board);
		return NULL;
	}
	board->is_complete = true;
	return board;
}

void board_destroy(struct board *board)
{
	if (!board)
		return;
	event_signal_destroy(&board->off_signal);
	ospm_notes_destroy(&board->cpu_notes);
	ospm_notes_destroy(&board->memory_notes);
	while (board->device_count)
		device_destroy(&board->devices[--board->device_count]);
	event_signal_destroy(&board->tray_signal); /* which the drives raised */
	event_signal_destroy(&board->nic_signal);  /* ... and network devices */
	free(board->devices);
	free(board);
}

static void reset(struct board *board)
{
	unsigned i;

	for (i = 0; i < board->device_count; i++)
		device_reset(&board->devices[i]);
	if (board->has_begun)
		board_renew_boot_order(board);
	if (!board->pci || board_has_firmware(board))
		return;
	if (board_is_pc(board))
		board_set_up_chipset(board);
	pci_setup(board->pci, &board->pci_layout);
}

void board_reset(struct board *board)
{
	reset(board);
	board_renew_cpus(board);
	if (board->acpi_cpus && board_has_firmware(board))
		board_renew_acpi_files(board);
}

void board_fall_asleep(struct board *board)
{
	rtc_note_sleep(board->rtc);
}

void board_fell_asleep(struct board *board)
{
	acpi_pm_fell_asleep(board->acpi_pm);
}

void board_wake(struct board *board, int by)
{
	struct board_chipset_registers chipset;

	board_read_chipset(board, &chipset);
	reset(board);
	board_renew_cpus(board);
	board_wake_chipset(board, &chipset);
	acpi_pm_woke(board->acpi_pm, by);
}

bool board_press_power_button(struct board *board)
{
	if (board->acpi_pm)
		acpi_pm_press_power_button(board->acpi_pm);
	else if (board->acpi_events)
		acpi_events_press_power_button(board->acpi_events);
	return board->acpi_pm || board->acpi_events;
}

void board_stand_still(struct board *board, bool stands_still)
{
	unsigned i;

	for (i = 0; i < board->device_count; i++)
		device_stand_still(&board->devices[i], stands_still);
}

struct virtio_device *board_balloon(const struct board *board)
{
	return board->balloon;
}

bool board_has_keyboard(const struct board *board)
{
	return board->keyboard;
}

void board_hold(struct board *board)
{
	unsigned i;

	for (i = 0; i < board->device_count; i++)
		device_hold(&board->devices[i]);
	board->is_released = false;
}

void board_release(struct board *board)
{
	unsigned i;

	for (i = 0; i < board->device_count; i++)
		device_release(&board->devices[i]);
	board->is_released = board->has_begun = true;
}

bool board_is_released(const struct board *board)
{
	return board->is_released;
}

/*
 * As it is called in what is saved: by where it sits, if it could have come or could go, or is counted with such. Where the state is loaded it may have
 * come in another order, and with another number.
 */
static struct device name_by_seat(const struct device *device)
{
	unsigned place = device->seat ? device->seat : device->place, kind = strlen(device->name);
	struct device named = *device;

	while (kind && isdigit((unsigned char)device->name[kind - 1]))
		kind--;
	if (place)
		snprintf(named.name, sizeof(named.name), "%.*s at %u.%x", (int)kind, device->name, BOARD_PLACE_PORT(place),
			 BOARD_PLACE_FUNCTION(place) >> 3);
	return named;
}

void board_save(const struct board *board, struct state_stream *state)
{
	struct device one;
	unsigned i;

	for (i = 0; i < board->device_count; i++) {
		one = name_by_seat(&board->devices[i]);
		device_save(&one, state);
	}
}

/* The device of a section that was not loaded yet; no such: the first one, whose name is told then. */
static unsigned find_saved(const struct board *board, const bool *is_loaded, const char *name)
{
	unsigned i, first = board->device_count;

	for (i = board->device_count; i-- > 0;) {
		struct device by_seat = name_by_seat(&board->devices[i]);

		if (is_loaded[i])
			continue;
		first = i;
		if (strcmp(name, board->devices[i].name) == 0 || strcmp(name, by_seat.name) == 0)
			return i;
	}
	return first;
}

void board_load(struct board *board, struct state_stream *state)
{
	bool *is_loaded = calloc(board->device_count, sizeof(*is_loaded));
	char name[STATE_NAME_MAX + 1];
	struct device one;
	unsigned i, number;

	if (!is_loaded)
		state_fail(state, "%s", strerror(ENOMEM));
	for (i = 0; i < board->device_count && !state->has_failed; i++) {
		state_next_section(state, name);
		number = find_saved(board, is_loaded, name);
		is_loaded[number] = true;
		one = name_by_seat(&board->devices[number]);
		if (strcmp(name, one.name) != 0)
			one = board->devices[number];
		device_load(&one, state);
	}
	free(is_loaded);
	if (state->has_failed)
		board_reset(board);
}
