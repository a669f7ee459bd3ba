/* What others may see of a machine, and change while it runs: inspect.h. */
#include <errno.h>

#include "device/virtio/balloon.h"
#include "machine/inspect.h"
#include "machine/machine_parts.h"

int machine_screendump(struct machine *machine, enum picture_format format, int fd, struct error *error)
{
	struct picture picture;
	int result = board_take_picture(machine->board, &picture);

	if (result == -ENODEV)
		return error_set(error, ENODEV, "this machine has no display");
	if (result == 0) {
		result = picture_write(&picture, format, fd);
		picture_free(&picture);
	}
	return result < 0 ? error_set_errno(error, -result, "cannot write the screen's picture") : 0;
}

bool machine_press_key(struct machine *machine, const struct key *key, bool is_down)
{
	if (machine_pauses(machine) & MACHINE_PAUSE_ASLEEP)
		machine_wake_up(machine, NULL);
	else
		board_press_key(machine->board, key, is_down);
	return board_has_keyboard(machine->board);
}

bool machine_move_mouse(struct machine *machine, int x, int y, int wheel)
{
	board_move_pointer(machine->board, x, y, wheel);
	return board_has_keyboard(machine->board);
}

bool machine_press_mouse(struct machine *machine, enum mouse_button button, bool is_down)
{
	board_press_pointer(machine->board, button, is_down);
	return board_has_keyboard(machine->board);
}

bool machine_has_tablet(const struct machine *machine)
{
	return board_has_tablet(machine->board);
}

void machine_place_pointer(struct machine *machine, bool is_vertical, unsigned place)
{
	board_place_pointer(machine->board, is_vertical, place);
}

const struct pci_bus *machine_pci(const struct machine *machine)
{
	return board_pci(machine->board);
}

unsigned machine_pci_place(const struct machine *machine, const struct pci_function *function)
{
	return board_pci_place(machine->board, function);
}

int machine_plug(struct machine *machine, const struct board_plug *plug, struct error *error)
{
	if (plug->disk && plug->disk->block && machine->disk_count == BOARD_DISKS_MAX) {
		block_close(plug->disk->block, NULL);
		return error_set(error, ENOSPC, "at most %u disks", BOARD_DISKS_MAX);
	}
	machine_note_disk(machine, plug->disk ? plug->disk->block : NULL);
	return board_plug(machine->board, plug, error);
}

int machine_unplug(struct machine *machine, unsigned place, struct error *error)
{
	return board_unplug(machine->board, place, error);
}

const struct tray *machine_tray(const struct machine *machine, unsigned disk)
{
	return board_tray(machine->board, disk);
}

void machine_note_medium(struct machine *machine, struct block *block)
{
	machine_note_disk(machine, block);
}

void machine_tell_trays(struct machine *machine)
{
	board_tell_trays(machine->board);
}

int machine_set_link(struct machine *machine, const char *name, bool is_up)
{
	return board_set_link(machine->board, name, is_up);
}

int machine_read_filter(struct machine *machine, const char *name, struct network_filter *filter, uint8_t mac[MAC_BYTES])
{
	return board_read_filter(machine->board, name, filter, mac);
}

int machine_net_helper(const struct machine *machine, const char *name)
{
	return board_net_helper(machine->board, name);
}

int machine_set_balloon(struct machine *machine, uint64_t bytes)
{
	struct virtio_device *balloon = board_balloon(machine->board);
	uint64_t all = machine->config.ram_bytes + machine_plugged_bytes(machine);

	if (!balloon)
		return -ENODEV;
	virtio_balloon_set_target(balloon, bytes < all ? all - bytes : 0);
	return 0;
}

int machine_read_balloon(struct machine *machine, uint64_t *bytes)
{
	struct virtio_device *balloon = board_balloon(machine->board);
	uint64_t given_back, all = machine->config.ram_bytes + machine_plugged_bytes(machine);

	if (!balloon)
		return -ENODEV;
	given_back = virtio_balloon_given_back(balloon);
	/* The driver may say anything. */
	*bytes = given_back < all ? all - given_back : 0;
	return 0;
}

int machine_read_balloon_stats(struct machine *machine, struct virtio_balloon_stats *stats)
{
	struct virtio_device *balloon = board_balloon(machine->board);

	if (!balloon)
		return -ENODEV;
	virtio_balloon_read_stats(balloon, stats);
	return 0;
}

int machine_set_balloon_period(struct machine *machine, uint32_t seconds)
{
	struct virtio_device *balloon = board_balloon(machine->board);

	return balloon ? virtio_balloon_set_period(balloon, seconds) : -ENODEV;
}

int machine_balloon_period(struct machine *machine, uint32_t *seconds)
{
	struct virtio_device *balloon = board_balloon(machine->board);

	if (!balloon)
		return -ENODEV;
	*seconds = virtio_balloon_period(balloon);
	return 0;
}

pid_t machine_cpu_thread(const struct machine *machine, unsigned cpu)
{
	return __atomic_load_n(&machine->vcpus[cpu].thread_id, __ATOMIC_RELAXED);
}

const struct machine_config *machine_configuration(const struct machine *machine)
{
	return &machine->config;
}

unsigned machine_cpus(const struct machine *machine)
{
	return machine->vcpu_count;
}

const struct kvm_vcpu *machine_cpu(const struct machine *machine, unsigned cpu)
{
	return &machine->vcpus[cpu].kvm;
}

const struct kvm_cpuid2 *machine_cpu_cpuid(const struct machine *machine, unsigned cpu)
{
	return machine->vcpus[cpu].cpuid;
}

const struct guest_memory *machine_memory(const struct machine *machine)
{
	return &machine->ram.memory;
}

const struct kvm_vm *machine_vm(const struct machine *machine)
{
	return &machine->vm;
}
