/*
 * A board: which devices a machine has, at which ports, on which interrupt lines.
 *
 * `pc` looks like the PC that software of any age expects (PCI host bridge, keyboard controller,
 * ACPI with an SCI), with an i440FX's host bridge; `q35` is the same with a Q35's and an ICH9, which has PCI
 * Express: configuration space by memory, ports for devices that come and go. `microvm` has only what a kernel of today needs to run on a serial line, and a PCI
 * bus when a device wants one: configured by memory alone, with the I/O APIC's pins from 16 on.
 */
#ifndef KVIK_MACHINE_BOARD_H
#define KVIK_MACHINE_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "device/display/picture.h"
#include "device/input/keys.h"
#include "device/input/ps2_mouse.h"
#include "machine/board_config.h"
#include "util/error.h"
#include "util/state.h"

struct board;
struct tray;
struct virtio_device;

/*
 * All devices of a machine, at their places; what of the host `config` names is the board's from now on, if it cannot be
 * made, too. NULL and `error` then. Destroyed after the last vCPU has stopped.
 */
struct board *board_create(const struct board_config *config, struct error *error);
void board_destroy(struct board *board);
/*
 * Devices that come and go behind a q35's root ports, on the pc's bus by ACPI, and at the ports of a USB controller. I/O
 * thread, at any time.
 *
 * Plug one in, of which one member is set and says a place, or a port of USB. What it has is the board's from now on,
 * also when this fails. 0, or -errno and `error`.
 */
struct board_plug {
	struct board_disk *disk;
	struct board_net *net;
	const struct device_option *option;
	const struct board_usb_device *usb;
	const struct board_controller *controller; /* of SCSI, with its number: */
	unsigned controller_number;
};
int board_plug(struct board *board, const struct board_plug *plug, struct error *error);
/* Ask the guest to let go of what is at a place, with all in that slot; when it has, config.unplugged is called,
 * which may be at once: at a port of USB (BOARD_USB_PLACE) nobody is asked. 0, or -ENODEV, -EBUSY, -ENOTSUP and
 * `error`. */
int board_unplug(struct board *board, unsigned place, struct error *error);

/* CPUs that come and go by ACPI, on a PC whose config.max_cpus says so. I/O thread. Which are there, a bit each: */
uint64_t board_present_cpus(const struct board *board);
/* One comes that is not there: the guest is told. 0, or -ENOTSUP and `error`. */
int board_plug_cpu(struct board *board, unsigned cpu, struct error *error);
/* Ask the guest to let go of one that is there; when it has, config.cpu_ejected is called. 0, or -ENOTSUP and `error`. */
int board_unplug_cpu(struct board *board, unsigned cpu, struct error *error);

/*
 * Memory that comes and goes by ACPI, on a PC with config.memory_slots. I/O thread. Memory is in a slot, from the start or from
 * now on, of which the guest is told.
 */
void board_fill_memory(struct board *board, unsigned slot, uint64_t gpa, uint64_t size_bytes, bool comes_now);
/* Ask the guest to let go of a slot's; when it has, config.memory_ejected is called. 0, or -ENOTSUP and `error`. */
int board_unplug_memory(struct board *board, unsigned slot, struct error *error);
/* As machine_memory_report (inspect.h). */
void board_memory_report(const struct board *board, unsigned slot, uint32_t *event, uint32_t *status);

/* As machine_cpu_report (inspect.h). */
void board_cpu_report(const struct board *board, unsigned cpu, uint32_t *event, uint32_t *status);

/* As machine_pci and machine_pci_place (inspect.h). */
const struct pci_bus *board_pci(const struct board *board);
unsigned board_pci_place(const struct board *board, const struct pci_function *function);

/* The tray of the CD-ROM drive that is config.disks[disk], or NULL: it is none. */
const struct tray *board_tray(const struct board *board, unsigned disk);
/* Call config.tray_moved for those that have moved, which the I/O thread would do soon. */
void board_tell_trays(struct board *board);

/* As vmcoreinfo_find; false: there is no such device. */
bool board_find_vmcoreinfo(const struct board *board, uint64_t *gpa, uint32_t *size);

/* Call `visit` with each device's name. */
void board_visit_devices(const struct board *board, void (*visit)(void *context, const char *name), void *context);

/* All devices to their power-on state; without firmware PCI and chipset as that leaves them. The vCPUs are
 * parked. */
void board_reset(struct board *board);
/* A PC sleeps with memory on; and a reset by which it wakes: its chipset stays as it is, which firmware sets up at
 * power-on and not when it goes on. `by`: enum acpi_pm_waker. The vCPUs are parked. Once it has fallen asleep
 * the board may ask for POWER_WAKE at once. */
void board_fall_asleep(struct board *board);
void board_fell_asleep(struct board *board);
void board_wake(struct board *board, int by);
/* The power button is pressed, which asks the guest to power off. False: the board has none. Any thread. */
bool board_press_power_button(struct board *board);
/* What the display shows; the caller frees. 0, -ENODEV: there is none, or -ENOMEM. Any thread. */
int board_take_picture(struct board *board, struct picture *picture);
/* What is plugged into a port of USB (from 1 on). False: nothing. I/O thread. */
bool board_describe_usb(const struct board *board, unsigned port, const char **product, const char **mbits_per_s);
/* Whether there is a keyboard (a PC's), and a tablet (by USB). */
bool board_has_keyboard(const struct board *board);
bool board_has_tablet(const struct board *board);
/*
 * What somebody does with them (device/i8042.h, device/usb/hid.h): a USB device that the guest uses has it, else the PC's
 * own. Places are from 0 to HID_PLACE_MAX on an axis. Any thread.
 */
void board_press_key(struct board *board, const struct key *key, bool is_down);
void board_place_pointer(struct board *board, bool is_vertical, unsigned place);
void board_move_pointer(struct board *board, int x, int y, int wheel);
void board_press_pointer(struct board *board, enum mouse_button button, bool is_down);
/* The guest stands still, and what counts its time, too; or it goes on. I/O thread; twice is as once. */
void board_stand_still(struct board *board, bool stands_still);

/* As machine_set_link, machine_read_filter and machine_net_helper (inspect.h). */
int board_set_link(struct board *board, const char *name, bool is_up);
int board_read_filter(struct board *board, const char *name, struct network_filter *filter, uint8_t mac[MAC_BYTES]);
int board_net_helper(const struct board *board, const char *name);
/* The balloon, or NULL; the board's. */
struct virtio_device *board_balloon(const struct board *board);
/* A new board's devices are held: until they are released they do nothing by themselves. They are
 * saved and loaded while they are held, and the vCPUs parked. */
void board_hold(struct board *board);
void board_release(struct board *board);
bool board_is_released(const struct board *board);

/*
 * All devices' state, a section each in the board's order; the vCPUs are parked. A board of another
 * shape is refused by the first device that differs. Where loading fails, the board is in its
 * power-on state: nothing of the stream is in it.
 */
void board_save(const struct board *board, struct state_stream *state);
void board_load(struct board *board, struct state_stream *state);

/*
 * In firmware's place, write what that leaves for the guest: ACPI and SMBIOS tables. `rsdp_gpa` is where the ACPI
 * tables begin.
 */
int board_write_tables(const struct board *board, uint64_t *rsdp_gpa, struct error *error);

#endif
