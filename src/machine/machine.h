/*
 * A virtual machine from power-on to its end: RAM, vCPUs, a board of devices, a boot image.
 *
 * Threads by role. The caller's thread runs the I/O loop (machine_run): devices' input and timers,
 * and every change of the machine's life. Each vCPU has a thread that enters the guest and serves
 * its exits. Each console output has a thread that writes it to the host, and no other thread waits
 * for the console's reader (device/char/output.h). A vCPU thread never resets or stops the machine;
 * it asks (device/power.h), all vCPU threads park, and the last one to park hands over to the I/O
 * thread.
 *
 * Lock order: a device's lock, then the machine's lock, then the I/O loop's. No lock is held while
 * a vCPU is in the guest.
 */
#ifndef KVIK_MACHINE_MACHINE_H
#define KVIK_MACHINE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "device/char/char.h"
#include "kvm/kvm.h"
#include "machine/board.h"
#include "machine/boot/boot.h"
#include "machine/cpu_spec.h"
#include "machine/cpu_topology.h"
#include "machine/inspect.h"
#include "machine/interrupts.h"
#include "sandbox/sandbox.h"
#include "util/error.h"
#include "util/event_loop.h"

#define MACHINE_MAX_CPUS 64

/* How a run ended: kvik's exit status (the guest's own, from debug-exit, may be any other). */
enum machine_status {
	MACHINE_STATUS_OFF = 0,
	MACHINE_STATUS_ERROR = 1,
	MACHINE_STATUS_CRASHED = 3,
};

struct machine_config {
	const struct kvm_backend *backend;
	struct kvm_options kvm_options;
	struct event_loop *loop;
	enum board_kind board;
	enum interrupts_kind irqchip;
	uint64_t ram_bytes; /* see ram.h for the limits */
	struct ram_backing ram_backing; /* with a file there is no `more_ram` */
	struct ram_more more_ram; /* that may be plugged in; of a PC */
	struct ram_dimm dimms[RAM_DIMMS_MAX]; /* of that, what is there from the start */
	unsigned dimm_count;
	unsigned cpus;      /* 1..MACHINE_MAX_CPUS */
	unsigned max_cpus; /* of a PC, which may get more (machine_plug_cpu); 0: these are all */
	uint64_t more_cpus; /* a bit each of those that are there from the start besides */
	struct cpu_topology topology; /* of all that can be there */
	struct cpu_spec cpu; /* which model they are */
	struct boot_config boot;
	struct board_streams streams; /* must outlive the machine */
	enum board_display display;   /* which pictures are taken of (inspect.h) */
	unsigned display_place; /* on PCI */
	struct board_gpu gpu; /* of a display by virtio */
	struct smbios_config smbios;
	struct board_file files[BOARD_FILES_MAX]; /* in fw_cfg; the caller's until machine_create is back */
	unsigned file_count;
	bool has_no_sleep, has_no_i8042; /* board_config.h */
	bool firmware_has_menu; /* of what to boot: board_config.h */
	uint16_t boot_menu_ms;
	int64_t clock_offset_s; /* what its clock shows when it begins, less the host's time of day */
	bool firmware_is_silent;      /* its console is the display alone, and not the serial port, too */
	int print_port;		      /* -1: none */
	int debug_exit_port;	      /* -1: none */
	struct device_option devices[DEVICE_OPTIONS_MAX]; /* that are added to the board */
	unsigned device_count;
	/* The machine's own from machine_create on, also when that fails. */
	struct board_disk disks[BOARD_DISKS_MAX];
	unsigned disk_count;
	struct board_controller controllers[BOARD_CONTROLLERS_MAX];
	unsigned controller_count;
	struct board_net nets[BOARD_NETS_MAX];
	unsigned net_count;
	struct board_share shares[BOARD_SHARES_MAX];
	unsigned share_count;
	struct board_vsock vsock;
	struct board_usb usb;
	struct board_tpm tpm;
	struct virtio_console_port ports[VIRTIO_CONSOLE_PORTS_MAX]; /* their streams outlive it */
	unsigned port_count;
	unsigned console_place; /* see board_config.h */
	enum board_interface console_interface; /* likewise */
	struct board_rings console_rings;	/* likewise */
	struct board_root_port root_ports[BOARD_ROOT_PORTS_MAX];
	unsigned root_port_count;
	int save_fd; /* the file that machine_save writes; -1: none. The caller's */
	bool ends_when_saved; /* so that the guest's disks stay as the saved machine knows them */
	int load_fd; /* begin with the state that is saved there; -1: boot. The caller's */
	bool ends_at_reset;	      /* a reset ends the run with status 0 */
	bool stays_when_off;	      /* a guest that powers off, or would end it at a reset, does not end the run */
	bool resets_at_triple_fault;  /* as a PC's chipset does; else it is a crash */
	enum machine_watchdog watchdog;
	enum machine_panic panic;
	unsigned pauses;	      /* enum machine_pause (inspect.h), from the start on */
	bool is_confined;	      /* by a sandbox, which outlasts the machine */
	struct sandbox_config sandbox;
};

struct machine;

/*
 * Build the machine and put the boot image into its RAM. When it is to be confined, the caller is
 * the process's only thread, and has opened whatever it opens by path. NULL, and `error`, on
 * failure.
 */
struct machine *machine_create(const struct machine_config *config, struct error *error);
void machine_destroy(struct machine *machine);

/*
 * Run, confined if it is to be, until the guest ends or machine_quit, once; the loop is run on this thread. 0 with the exit
 * status in `status`, or -errno.
 */
int machine_run(struct machine *machine, int *status, struct error *error);

/* End the run with `status`, whatever the guest does. Any thread. */
void machine_quit(struct machine *machine, int status);

/* Save the machine to config.save_fd as soon as its CPUs have stopped, then let it go on. A failure is
 * logged. Any thread. */
void machine_save(struct machine *machine);

/* What the machine was made from. Disks and networks are the board's. */
const struct machine_config *machine_configuration(const struct machine *machine);

/* Write the counters of all exits to standard error. After machine_run. */
void machine_print_statistics(const struct machine *machine);

#endif
