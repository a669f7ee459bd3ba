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

	if (board_find_kind(board, &vmcoreinfo_device_ops))
		return error_set(error, EEXIST, "one vmcoreinfo is enough");
	vmcoreinfo = vmcoreinfo_create(board->fw_cfg, error);
	if (!vmcoreinfo)
		return -ENOMEM;
	return add(board, option, &vmcoreinfo_device_ops, vmcoreinfo, error);
}

static unsigned place_of(const struct device_option *option)
{
	uint64_t slot = option->values[PCI_SLOT];

	if (option->place)
		return option->place;
	return slot == PCI_ANY_SLOT ? BOARD_ANYWHERE : BOARD_PLACE(0, PCI_SLOT_FUNCTION(slot, 0));
}

static void *create_pci_testdev(struct board *board, const struct device_option *option, const struct board_seat *seat,
				struct error *error)
{
	return pci_testdev_create(seat->bus, seat->slot_function, board->config.vm, option->values[PCI_TESTDEV_MEMBAR], error);
}

static void *create_pci_exercise(struct board *board, const struct device_option *option, const struct board_seat *seat,
				 struct error *error)
{
	(void)board;
	(void)option;
	return pci_exercise_create(seat->bus, seat->slot_function, error);
}

static void *create_pvpanic(struct board *board, const struct device_option *option, const struct board_seat *seat,
			    struct error *error)
{
	(void)option;
	return pvpanic_pci_create(seat->bus, seat->slot_function, &board->config.power, error);
}

static void *create_i6300esb(struct board *board, const struct device_option *option, const struct board_seat *seat,
			     struct error *error)
{
	(void)option;
	return i6300esb_create(seat->bus, seat->slot_function, board->config.loop, &board->config.power, error);
}

static struct virtio_host host_for(struct board *board, const struct device_option *option)
{
	const struct board_rings rings = {
		.is_packed = option->values[VIRTIO_PACKED_RING],
		.has_no_event_index = !option->values[VIRTIO_EVENT_INDEX],
		.has_no_indirect = !option->values[VIRTIO_INDIRECT],
	};

	return board_virtio_host(board, &rings);
}

/* `virtio` NULL: it could not be made. */
static int add_virtio(struct board *board, const struct device_option *option, struct virtio_device *virtio,
		      struct error *error)
{
	char name[STATE_NAME_MAX + 1];
	int result;

	if (!virtio)
		return -EINVAL;
	name_option(board, option, name);
	result = board_add_virtio(board, name, virtio, CLASS_OTHER, place_of(option), option->interface, error);
	if (result == 0)
		board_note_seat(board, option->place);
	return result;
}

static int add_entropy(struct board *board, const struct device_option *option, struct error *error)
{
	struct virtio_host host = host_for(board, option);

	return add_virtio(board, option, virtio_entropy_create(&host, error), error);
}

static int add_balloon(struct board *board, const struct device_option *option, struct error *error)
{
	const struct virtio_balloon_setup setup = {
		.target_bytes = option->values[VIRTIO_BALLOON_TARGET],
		.may_deflate_on_oom = option->values[VIRTIO_BALLOON_DEFLATE_ON_OOM],
		.has_reporting = option->values[VIRTIO_BALLOON_REPORTING],
		.listener = board->config.balloon_listener,
	};
	struct virtio_host host = host_for(board, option);
	struct virtio_device *balloon = virtio_balloon_create(&host, &setup, error);
	int result = add_virtio(board, option, balloon, error);

	if (result == 0) {
		board->balloon = balloon;
		board->balloon_seat = board_seat(board, option->place);
	}
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

/* How each is put on a board: by a function of its own, or as a PCI function that is created for a seat. */
static const struct option_way {
	int (*add)(struct board *board, const struct device_option *option, struct error *error);
	void *(*create)(struct board *board, const struct device_option *option, const struct board_seat *seat,
			struct error *error);
	const struct device_ops *ops;
} ways[] = {
	[DEVICE_DEBUG_EXIT] = {.add = add_debug_exit},
	[DEVICE_PC_TESTDEV] = {.add = add_pc_testdev},
	[DEVICE_PVPANIC] = {.add = add_pvpanic},
	[DEVICE_VMCOREINFO] = {.add = add_vmcoreinfo},
	[DEVICE_PCI_TESTDEV] = {.create = create_pci_testdev, .ops = &pci_testdev_device_ops},
	[DEVICE_PCI_EXERCISE] = {.create = create_pci_exercise, .ops = &pci_exercise_device_ops},
	[DEVICE_PVPANIC_PCI] = {.create = create_pvpanic, .ops = &pvpanic_pci_device_ops},
	[DEVICE_I6300ESB] = {.create = create_i6300esb, .ops = &i6300esb_device_ops},
	[DEVICE_VIRTIO_RNG] = {.add = add_entropy},
	[DEVICE_VIRTIO_BALLOON] = {.add = add_balloon},
};

static int add_pci_device(struct board *board, const struct device_option *option, const struct option_way *way,
			  struct error *error)
{
	struct board_seat seat;
	void *device;
	int result = board_find_seat(board, option->name, place_of(option), &seat, error);

	if (result < 0)
		return result;
	device = way->create(board, option, &seat, error);
	result = device ? add(board, option, way->ops, device, error) : -ENOMEM;
	if (result == 0)
		board_note_seat(board, option->place);
	return result;
}

int board_add_option(struct board *board, const struct device_option *option, struct error *error)
{
	const struct option_way *way = &ways[option->kind];

	return way->add ? way->add(board, option, error) : add_pci_device(board, option, way, error);
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
	struct vmcoreinfo *vmcoreinfo = board_find_kind(board, &vmcoreinfo_device_ops);

	return vmcoreinfo && vmcoreinfo_find(vmcoreinfo, gpa, size);
}
