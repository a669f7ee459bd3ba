/* The devices that a user adds to a board (device_options.h). */
#include <errno.h>
#include <stdio.h>

#include "device/debug_exit.h"
#include "device/i6300esb.h"
#include "device/pc_testdev.h"
#include "device/pci_exercise.h"
#include "device/pci_testdev.h"
#include "device/pvpanic.h"
#include "device/virtio/balloon.h"
#include "device/virtio/entropy.h"
#include "device/vmcoreinfo.h"
#include "machine/board.h"
#include "machine/board_parts.h"

#define CLASS_OTHER 0x00ff00

/* Several of a kind are told apart by their number: "pci-testdev", "pci-testdev.1". */
static void name_option(const struct board *board, const struct device_option *option,
			char name[STATE_NAME_MAX + 1])
{
	unsigned number = 0;

	snprintf(name, STATE_NAME_MAX + 1, "%s", option->name);
	while (board_find(board, name))
		snprintf(name, STATE_NAME_MAX + 1, "%s.%u", option->name, ++number);
}

static int add(struct board *board, const struct device_option *option,
	       const struct device_ops *ops, void *device, struct error *error)
{
	char name[STATE_NAME_MAX + 1];

	name_option(board, option, name);
	return board_add(board, name, ops, device, error);
}

static int add_debug_exit(struct board *board, const struct device_option *option,
			  struct error *error)
{
	struct power *power = &board->config.power;
	int result = add(board, option, &debug_exit_device_ops, power, error);

	if (result < 0)
		return result;
	return pio_bus_add(board->config.pio, option->values[DEBUG_EXIT_IOBASE],
			   option->values[DEBUG_EXIT_IOSIZE], option->name, &debug_exit_pio_ops,
			   power, error);
}

static int add_pc_testdev(struct board *board, const struct device_option *option,
			  struct error *error)
{
	static const struct {
		uint16_t first, count;
		const struct pio_ops *ops;
	} ports[] = {
		{PC_TESTDEV_PORT, PC_TESTDEV_PORTS, &pc_testdev_pio_ops},
		{PC_TESTDEV_FLUSH_PORT, PC_TESTDEV_PORTS, &pc_testdev_flush_ops},
		{PC_TESTDEV_BYTE_PORT, PC_TESTDEV_PORTS, &pc_testdev_byte_ops},
		{PC_TESTDEV_IRQ_PORT, PC_TESTDEV_IRQS, &pc_testdev_irq_ops},
	};
	const struct board_config *config = &board->config;
	struct pc_testdev *testdev;
	unsigned i;
	int result;

	testdev = pc_testdev_create(&config->irq, &config->ram->memory, error);
	if (!testdev)
		return -ENOMEM;
	result = add(board, option, &pc_testdev_device_ops, testdev, error);
	for (i = 0; i < sizeof(ports) / sizeof(ports[0]) && result == 0; i++)
		result = pio_bus_add(config->pio, ports[i].first, ports[i].count, option->name,
				     ports[i].ops, testdev, error);
	if (result < 0)
		return result;
	return mmio_bus_add(config->mmio, PC_TESTDEV_MEMORY_GPA, PC_TESTDEV_MEMORY_BYTES,
			    option->name, &pc_testdev_mmio_ops, testdev, error);
}

static int add_pvpanic(struct board *board, const struct device_option *option, struct error *error)
{
	struct power *power = &board->config.power;
	int result = add(board, option, &pvpanic_port_device_ops, power, error);

	if (result < 0)
		return result;
	board->panic_port = option->values[PVPANIC_IOPORT];
	return pio_bus_add(board->config.pio, board->panic_port, 1, option->name, &pvpanic_pio_ops, power, error);
}

static int add_vmcoreinfo(struct board *board, const struct device_option *option, struct error *error)
{
	struct vmcoreinfo *vmcoreinfo;

	if (board->vmcoreinfo)
		return error_set(error, EEXIST, "one vmcoreinfo is enough");
	vmcoreinfo = vmcoreinfo_create(board->fw_cfg, error);
	if (!vmcoreinfo)
		return -ENOMEM;
	board->vmcoreinfo = vmcoreinfo;
	return add(board, option, &vmcoreinfo_device_ops, vmcoreinfo, error);
}

static unsigned place_of(const struct device_option *option)
{
	uint64_t slot = option->values[PCI_SLOT];

	if (option->place)
		return option->place;
	return slot == PCI_ANY_SLOT ? BOARD_ANYWHERE : BOARD_PLACE(0, PCI_SLOT_FUNCTION(slot, 0));
}

static int add_pci_device(struct board *board, const struct device_option *option,
			  struct error *error)
{
	const struct device_ops *ops;
	struct board_seat seat;
	void *device;
	int result = board_find_seat(board, option->name, place_of(option), &seat, error);

	if (result < 0)
		return result;
	switch (option->kind) {
	case DEVICE_PCI_TESTDEV:
		ops = &pci_testdev_device_ops;
		device = pci_testdev_create(seat.bus, seat.slot_function, board->config.vm,
					    option->values[PCI_TESTDEV_MEMBAR], error);
		break;
	case DEVICE_PVPANIC_PCI:
		ops = &pvpanic_pci_device_ops;
		device = pvpanic_pci_create(seat.bus, seat.slot_function, &board->config.power, error);
		break;
	case DEVICE_I6300ESB:
		ops = &i6300esb_device_ops;
		device = i6300esb_create(seat.bus, seat.slot_function, board->config.loop,
					 &board->config.power, error);
		board->watchdog = device;
		board->watchdog_seat = board_seat(board, option->place);
		break;
	default:
		ops = &pci_exercise_device_ops;
		device = pci_exercise_create(seat.bus, seat.slot_function, error);
		break;
	}
	result = device ? add(board, option, ops, device, error) : -ENOMEM;
	if (result == 0)
		board_note_seat(board, option->place);
	return result;
}

static int add_virtio(struct board *board, const struct device_option *option,
		      struct error *error)
{
	const struct board_rings rings = {
		.is_packed = option->values[VIRTIO_PACKED_RING],
		.has_no_event_index = !option->values[VIRTIO_EVENT_INDEX],
		.has_no_indirect = !option->values[VIRTIO_INDIRECT],
	};
	const struct virtio_balloon_setup balloon = {
		.target_bytes = option->values[VIRTIO_BALLOON_TARGET],
		.may_deflate_on_oom = option->values[VIRTIO_BALLOON_DEFLATE_ON_OOM],
		.has_reporting = option->values[VIRTIO_BALLOON_REPORTING],
		.listener = board->config.balloon_listener,
	};
	struct virtio_host host = board_virtio_host(board, &rings);
	struct virtio_device *virtio;
	char name[STATE_NAME_MAX + 1];
	int result;

	virtio = option->kind == DEVICE_VIRTIO_RNG
			 ? virtio_entropy_create(&host, error)
			 : virtio_balloon_create(&host, &balloon, error);
	if (!virtio)
		return -EINVAL;
	if (option->kind == DEVICE_VIRTIO_BALLOON) {
		board->balloon = virtio;
		board->balloon_seat = board_seat(board, option->place);
	}
	name_option(board, option, name);
	result = board_add_virtio(board, name, virtio, CLASS_OTHER, place_of(option), option->interface, error);
	if (result == 0)
		board_note_seat(board, option->place);
	return result;
}

bool board_has_option(const struct board *board, enum device_kind kind)
{
	unsigned i;

	for (i = 0; i < board->config.option_count; i++)
		if (board->config.options[i].kind == kind)
			return true;
	return false;
}

bool board_wants_pci(const struct board *board)
{
	unsigned i;

	for (i = 0; i < board->config.option_count; i++)
		if (board->config.options[i].is_pci)
			return true;
	return board_is_pc(board);
}

int board_add_option(struct board *board, const struct device_option *option, struct error *error)
{
	switch (option->kind) {
	case DEVICE_DEBUG_EXIT: return add_debug_exit(board, option, error);
	case DEVICE_PC_TESTDEV: return add_pc_testdev(board, option, error);
	case DEVICE_PVPANIC: return add_pvpanic(board, option, error);
	case DEVICE_VMCOREINFO: return add_vmcoreinfo(board, option, error);
	case DEVICE_PCI_TESTDEV:
	case DEVICE_I6300ESB:
	case DEVICE_PVPANIC_PCI:
	case DEVICE_PCI_EXERCISE: return add_pci_device(board, option, error);
	case DEVICE_VIRTIO_BALLOON:
	case DEVICE_VIRTIO_RNG: return add_virtio(board, option, error);
	}
	return -EINVAL;
}

int board_add_options(struct board *board, struct error *error)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < board->config.option_count && result == 0; i++)
		result = board_add_option(board, &board->config.options[i], error);
	return result;
}

bool board_find_vmcoreinfo(const struct board *board, uint64_t *gpa, uint32_t *size)
{
	return board->vmcoreinfo && vmcoreinfo_find(board->vmcoreinfo, gpa, size);
}
