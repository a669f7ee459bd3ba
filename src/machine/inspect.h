/*
 * Stopping a machine, looking at it while it stands still, and letting it go on: what monitors and
 * debuggers do.
 *
 * A machine runs while nobody has a reason to keep it paused. Pausing is asked for; once all vCPUs are
 * parked, observers are told. From then on until they let it go on, whoever asked may use its vCPUs'
 * requests (kvm_vcpu_ioctl) and its memory, on the I/O thread. Devices and clocks go on meanwhile.
 */
#ifndef KVIK_MACHINE_INSPECT_H
#define KVIK_MACHINE_INSPECT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "device/display/picture.h"
#include "device/guest_memory.h"
#include "device/input/keys.h"
#include "device/input/ps2_mouse.h"
#include "device/virtio/balloon.h"
#include "device/virtio/network_filter.h"
#include "kvm/kvm.h"
#include "util/error.h"

struct block;
struct block_failure;
struct machine;

/* Who keeps a machine from running. */
enum machine_pause {
	MACHINE_PAUSE_USER = 1 << 0,	 /* whoever commands it */
	MACHINE_PAUSE_DEBUGGER = 1 << 1, /* a debugger */
	MACHINE_PAUSE_INCOMING = 1 << 3, /* from the start on: it is to be received (migrate.h) */
	MACHINE_PAUSE_SENT = 1 << 4,	 /* it is being sent elsewhere, or was */
	MACHINE_PAUSE_SNAPSHOT = 1 << 5, /* a snapshot is made, loaded or deleted */
	MACHINE_PAUSE_ASLEEP = 1 << 6,	 /* its guest sleeps with memory on; machine_wake_up, an alarm or a reset ends that */
	MACHINE_PAUSE_PANICKED = 1 << 7, /* its guest has panicked; a reset makes it the user's */
	MACHINE_PAUSE_IO_ERROR = 1 << 8, /* a disk holds requests that have failed; a reset makes it the user's */
	MACHINE_PAUSE_OFF = 1 << 2,	 /* its guest has powered off (stays_when_off); a reset ends that */
};

/* Those that are the machine's wherever it is: one that was stopped and is sent elsewhere stands there, too. */
#define MACHINE_PAUSES_SENT (MACHINE_PAUSE_USER | MACHINE_PAUSE_PANICKED | MACHINE_PAUSE_IO_ERROR)

/* What a reset or an end came from. */
enum machine_cause {
	MACHINE_BY_USER,
	MACHINE_GUEST_SHUTDOWN,
	MACHINE_GUEST_RESET,
	MACHINE_GUEST_CRASH,
};

/* What becomes of a guest that lets its watchdog run out. */
enum machine_watchdog {
	MACHINE_WATCHDOG_RESET,	   /* it begins anew */
	MACHINE_WATCHDOG_SHUTDOWN, /* the power button is pressed */
	MACHINE_WATCHDOG_POWEROFF, /* it is off */
	MACHINE_WATCHDOG_PAUSE,	   /* it stands still, for the user */
	MACHINE_WATCHDOG_NMI,	   /* its CPUs get an NMI */
	MACHINE_WATCHDOG_DEBUG,	   /* nothing but that observers are told */
	MACHINE_WATCHDOG_NONE,	   /* likewise */
};
/* What becomes of a guest whose kernel says that it has panicked. */
enum machine_panic {
	MACHINE_PANIC_CRASH,	/* the run ends with MACHINE_STATUS_CRASHED */
	MACHINE_PANIC_SHUTDOWN, /* it ends with 0, or stands still if it stays when it is off */
	MACHINE_PANIC_PAUSE,	/* it stands still */
	MACHINE_PANIC_FAILURE,	/* the run ends with MACHINE_STATUS_ERROR */
	MACHINE_PANIC_NONE,	/* nothing but that observers are told */
};
/* In QEMU's words; the first has none there. 0, or -EINVAL: there is no such word. */
int machine_panic_parse(const char *name, enum machine_panic *action);
/* What comes of one now: whether it stands still, or the run ends. */
bool machine_panic_pauses(const struct machine *machine);
bool machine_panic_ends(const struct machine *machine);

/* In QEMU's words. */
const char *machine_watchdog_name(enum machine_watchdog action);
/* 0, or -EINVAL: there is no such word. */
int machine_watchdog_parse(const char *name, enum machine_watchdog *action);

/* Ask for a pause for one reason more, or take that reason away. Any thread; twice is as once. */
void machine_pause(struct machine *machine, enum machine_pause why);
void machine_resume(struct machine *machine, enum machine_pause why);

unsigned machine_pauses(const struct machine *machine); /* enum machine_pause; any thread */

/* Reset it as its reset button would. It stays paused if it was. Any thread. */
void machine_ask_reset(struct machine *machine);
/* Press the power button: most guests shut down then. 0, or -ENOTSUP and `error`: it has none. I/O thread. */
int machine_press_power_button(struct machine *machine, struct error *error);
/* Whether its guest could sleep with memory on (S3); and wake one that does, as keys and the power button do, too.
 * -EINVAL and `error`: it does not sleep. Any thread. */
bool machine_can_sleep(const struct machine *machine);
int machine_wake_up(struct machine *machine, struct error *error);

/* Write what the display shows to a file. 0, or -ENODEV and `error`: it has none; or another -errno. Any
 * thread. */
int machine_screendump(struct machine *machine, enum picture_format format, int fd,
		       struct error *error);

/* What somebody does with keyboard and mouse (device/i8042.h). False: it has none. Any thread. */
bool machine_press_key(struct machine *machine, const struct key *key, bool is_down);
bool machine_move_mouse(struct machine *machine, int x, int y, int wheel);
bool machine_press_mouse(struct machine *machine, enum mouse_button button, bool is_down);
/* A tablet, which is told of places on an axis, from 0 to MACHINE_PLACE_MAX. */
#define MACHINE_PLACE_MAX 0x7fff
bool machine_has_tablet(const struct machine *machine);
void machine_place_pointer(struct machine *machine, bool is_vertical, unsigned place);

/* Pull the cable of the network device of that name (board_net) out, or plug it in again. 0, or -ENODEV: there is none. I/O
 * thread. */
int machine_set_link(struct machine *machine, const char *name, bool is_up);
/* Which frames it takes, and its address: -ENOTSUP of one that is no virtio-net. Observers hear of the next change. */
int machine_read_filter(struct machine *machine, const char *name, struct network_filter *filter, uint8_t mac[NET_MAC_BYTES]);
/* The process behind its link (net_link.helper), which stays the device's; -1: there is none. I/O thread. */
int machine_net_helper(const struct machine *machine, const char *name);

/* How much memory the guest is asked to keep, and how much it has now: all but what its balloon has given
 * back. 0, or -ENODEV: it has no balloon. I/O thread. */
int machine_set_balloon(struct machine *machine, uint64_t bytes);
int machine_read_balloon(struct machine *machine, uint64_t *bytes);
/* What the guest says of the memory that it keeps, and how often it is asked, in seconds; 0: never. Likewise. */
int machine_read_balloon_stats(struct machine *machine, struct virtio_balloon_stats *stats);
int machine_set_balloon_period(struct machine *machine, uint32_t seconds);
int machine_balloon_period(struct machine *machine, uint32_t *seconds);

/* Its root PCI bus, NULL: it has none; and where (BOARD_PLACE) a function is that was found from there, 0: nowhere that
 * a user has named. I/O thread. */
struct pci_bus;
struct pci_function;
const struct pci_bus *machine_pci(const struct machine *machine);
unsigned machine_pci_place(const struct machine *machine, const struct pci_function *function);

/* Plug a device in, or ask the guest to let go of one: board_plug and board_unplug (board.h). Observers are told when
 * it has gone. I/O thread. */
struct board_plug;
int machine_plug(struct machine *machine, const struct board_plug *plug, struct error *error);
int machine_unplug(struct machine *machine, unsigned place, struct error *error);

/*
 * CPUs that come and go, of a PC whose configuration's max_cpus says so. All on the I/O thread.
 *
 * One comes that is not there, and the guest is told; the guest is asked to let go of one, and observers are told when
 * it has. 0, or -EINVAL: there is no such CPU; -EEXIST, -ENODEV: it is there, or not; -ENOTSUP, -EBUSY; and `error`.
 */
int machine_plug_cpu(struct machine *machine, unsigned cpu, struct error *error);
int machine_unplug_cpu(struct machine *machine, unsigned cpu, struct error *error);

/*
 * Memory that comes and goes in slots, of a PC whose configuration's more_ram has some. I/O thread. As ram_add_dimm, and the
 * guest is told; the guest is asked to let go of a slot's, and observers are told when it has. 0, or -errno and `error`.
 */
struct ram_dimm;
int machine_plug_memory(struct machine *machine, struct ram_dimm *dimm, struct error *error);
int machine_unplug_memory(struct machine *machine, unsigned slot, struct error *error);
/* What is in a slot. False: nothing. And how much is in all of them. */
bool machine_memory_in_slot(const struct machine *machine, unsigned slot, struct ram_dimm *dimm);
uint64_t machine_plugged_bytes(const struct machine *machine);
/* What the guest said last of a slot; zeroes: nothing. */
void machine_memory_report(const struct machine *machine, unsigned slot, uint32_t *event, uint32_t *status);

/* The tray of the CD-ROM drive that is its configuration's disks[disk], as device/storage/tray.h has it. NULL: it is
 * none. I/O thread. */
struct tray;
const struct tray *machine_tray(const struct machine *machine, unsigned disk);
/* What is about to be put into one: what of it fails is the machine's matter until it is closed. Before tray_insert. */
void machine_note_medium(struct machine *machine, struct block *block);
/* Tell observers of trays that have moved, at once. */
void machine_tell_trays(struct machine *machine);

/* What becomes of a machine. All on the I/O thread, and each may be NULL. */
struct machine_observer {
	void (*paused)(void *context);  /* all vCPUs are parked */
	void (*resumed)(void *context); /* ... and aren't any more */
	/* They are parked, and somebody has asked for that, who need not have been the first. */
	void (*stands_still)(void *context);
	/* Around a reset, with all vCPUs parked. */
	void (*resetting)(void *context);
	void (*was_reset)(void *context);
	void (*power_button)(void *context); /* it was pressed */
	void (*fell_asleep)(void *context);
	void (*woke_up)(void *context);
	void (*unplugged)(void *context, unsigned slot); /* what was there (BOARD_PLACE_SLOT) has gone */
	void (*tray_moved)(void *context, unsigned disk, bool is_open); /* of a CD-ROM drive */
	/* Of a disk (block/error_policy.h). When one holds a request the machine stands still: `paused` comes next. */
	void (*disk_failed)(void *context, const struct block *block, const struct block_failure *failure);
	void (*cpu_unplugged)(void *context, unsigned cpu);
	/* The guest says something of a CPU: _OST's arguments (ACPI 6.4 §6.3.5). */
	void (*cpu_reported)(void *context, unsigned cpu, uint32_t event, uint32_t status);
	/* The same of memory, by its slot. */
	void (*memory_unplugged)(void *context, unsigned slot);
	void (*memory_reported)(void *context, unsigned slot, uint32_t event, uint32_t status);
	void (*balloon_changed)(void *context); /* what machine_read_balloon tells; at most once a second */
	void (*filter_changed)(void *context, const char *name); /* what machine_read_filter told of that network device */
	void (*port_changed)(void *context, unsigned port, bool is_open); /* of a console device, by the guest */
	void (*watchdog)(void *context); /* it ran out; machine_watchdog_action comes next */
	void (*panicked)(void *context); /* machine_panic_pauses and _ends say what comes next */
	void (*crash_loaded)(void *context); /* it has, and a crash kernel of its own takes over */
	/* The run ends, or the guest is off and the machine stays. Not when machine_quit ended it. */
	void (*ending)(void *context);
	void (*ended)(void *context, int status); /* with this enum machine_status, or the guest's own */
	void *context;
	struct machine_observer *next; /* the machine's own */
};

/* From now on; I/O thread. */
void machine_set_watchdog_action(struct machine *machine, enum machine_watchdog action);
enum machine_watchdog machine_watchdog_action(const struct machine *machine);
/* Likewise of a guest that panics; whether a reset ends the run, and whether a guest that powers off stays. */
void machine_set_panic_action(struct machine *machine, enum machine_panic action);
void machine_set_end_at_reset(struct machine *machine, bool ends);
void machine_set_stay_when_off(struct machine *machine, bool stays);

/* Of the reset or the end that observers are told of. */
enum machine_cause machine_last_cause(const struct machine *machine);

/* Before machine_run, or on the I/O thread. The observer is the caller's, and removed before it goes. */
void machine_observe(struct machine *machine, struct machine_observer *observer);
void machine_unobserve(struct machine *machine, struct machine_observer *observer);

/*
 * Who set up KVM_SET_GUEST_DEBUG hears of what came of it. One for a machine; set as an observer is, and
 * NULL is none.
 */
struct machine_debugger {
	/* On the vCPU's thread, outside the guest, without locks; may call machine_pause. */
	void (*met)(void *context, unsigned cpu, const struct kvm_debug_exit_arch *what);
	/* A vCPU cannot go on, and all are parked, on the I/O thread. True: the debugger has paused the
	 * machine; otherwise it ends. */
	bool (*crashed)(void *context, unsigned cpu);
	void *context;
};
void machine_set_debugger(struct machine *machine, const struct machine_debugger *debugger);

/*
 * Look at a machine that runs, for moments: its vCPUs park, nobody is told, and it goes on with machine_look_end. One that
 * stands still already stays so. Between the two the caller may do what those may who have paused it. I/O thread. 0, or
 * -EBUSY and `error`: it does not stand still, or has ended.
 */
int machine_look_begin(struct machine *machine, struct error *error);
void machine_look_end(struct machine *machine);

/* An access to a port of a device, as a vCPU's: 1, 2 or 4 bytes. Ports of controllers that the backend has are not
 * there. Any thread. */
uint32_t machine_read_port(struct machine *machine, uint16_t port, unsigned size);
void machine_write_port(struct machine *machine, uint16_t port, unsigned size, uint32_t value);

/* Call `visit` for each range of ports or addresses that is a device's, by rising addresses; for each device of the
 * board. I/O thread; `visit` adds and removes none. */
void machine_visit_windows(struct machine *machine, bool is_ports,
			   void (*visit)(void *context, uint64_t first, uint64_t last, const char *name),
			   void *context);
void machine_visit_devices(const struct machine *machine, void (*visit)(void *context, const char *name), void *context);

/* Where the guest's kernel has left its note for tools that read core files, and its size, unchecked. False: nowhere. Any
 * thread. */
bool machine_find_vmcoreinfo(const struct machine *machine, uint64_t *gpa, uint32_t *size);

/* What is plugged into a USB port. False: nothing. I/O thread. */
#define MACHINE_USB_PORTS 8
struct machine_usb_device {
	const char *product, *mbits_per_s;
};
bool machine_usb_device(const struct machine *machine, unsigned port, struct machine_usb_device *device);

/* -- while it is paused -- */

/* The interrupt controller chip->chip_id, as the backend has it (KVM_GET_IRQCHIP). 0, or -errno. */
int machine_read_chip(struct machine *machine, struct kvm_irqchip *chip);
/* An NMI by the wire that goes to each local APIC's LINT1, whose software decides which CPUs take it. */
void machine_press_nmi_button(struct machine *machine);
/* Call `visit` with each counter that the backend keeps of a vCPU. */
void machine_visit_counters(struct machine *machine, unsigned cpu,
			    void (*visit)(void *context, const char *name, uint64_t value), void *context);

/* Whether it is: all vCPUs are parked, and observers were told. I/O thread. */
bool machine_has_paused(const struct machine *machine);

/* What was sent elsewhere (migrate.h) goes on here all the same: its devices are held no longer. I/O thread. */
void machine_keep(struct machine *machine);

/*
 * Snapshots inside of its disks, which all writable ones must be able to have; or those that are chosen, of which
 * one has the machine's state. All on the I/O thread, which waits: the machine stands still meanwhile, and observers
 * are told. 0, or -errno and `error`. A machine that could not be loaded as a whole is off.
 */
#define MACHINE_SNAPSHOT_NAME_MAX 255 /* bytes */
struct machine_snapshot_choice {
	const struct block *state; /* one of: */
	const struct block *disks[16];
	unsigned count;
};
/* `choice` NULL: all. An older one of that name goes once the new one is there. */
int machine_snapshot_save(struct machine *machine, const struct machine_snapshot_choice *choice, const char *name,
			  struct error *error);
int machine_snapshot_load(struct machine *machine, const struct machine_snapshot_choice *choice, const char *name,
			  struct error *error);
int machine_snapshot_delete(struct machine *machine, const struct machine_snapshot_choice *choice, const char *name,
			    struct error *error);
/* Before machine_run, in place of a boot. */
int machine_snapshot_load_first(struct machine *machine, const char *name, struct error *error);
struct machine_snapshot {
	const char *id, *name; /* until the next change */
	uint64_t state_bytes, seconds, clock_ns;
	bool is_complete; /* it can be loaded: all disks have it */
};
/* Number `index`: 1, 0 when there is none, or -errno: the machine can have none. */
int machine_snapshot_list(struct machine *machine, unsigned index, struct machine_snapshot *snapshot);

/* How many vCPUs can be there, and whether one is; one of them, its CPUID as the guest has it, and guest memory. The machine's; any time. */
unsigned machine_cpus(const struct machine *machine);
bool machine_has_cpu(const struct machine *machine, unsigned cpu);
/* What the guest said last of one (machine_observer.cpu_reported); zeroes: nothing. I/O thread. */
void machine_cpu_report(const struct machine *machine, unsigned cpu, uint32_t *event, uint32_t *status);
const struct kvm_vcpu *machine_cpu(const struct machine *machine, unsigned cpu);
const struct kvm_cpuid2 *machine_cpu_cpuid(const struct machine *machine, unsigned cpu);
const struct guest_memory *machine_memory(const struct machine *machine);
/* For what the CPUs read, where ROM lies over memory, too (kvm_vm_memory_at). */
const struct kvm_vm *machine_vm(const struct machine *machine);
/* The host's number of its thread; 0 before machine_run. Any time. */
pid_t machine_cpu_thread(const struct machine *machine, unsigned cpu);
/* Keep one vCPU parked when the machine goes on, or do so no longer. */
void machine_hold_cpu(struct machine *machine, unsigned cpu, bool is_held);

#endif
