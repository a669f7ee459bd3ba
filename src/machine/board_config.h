/* What a board is made of: its kind, what it stands on, and what the user asks for. */
#ifndef KVIK_MACHINE_BOARD_CONFIG_H
#define KVIK_MACHINE_BOARD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "block/block.h"
#include "device/bus/mmio.h"
#include "device/bus/pio.h"
#include "device/bus/pci.h"
#include "device/char/char.h"
#include "device/irq_line.h"
#include "device/power.h"
#include "device/storage/drive.h"
#include "device/virtio/balloon.h"
#include "device/virtio/console.h"
#include "device/virtio/filesystem.h"
#include "device/virtio/network.h"
#include "device/virtio/virtio_pci.h"
#include "device/virtio/vsock.h"
#include "kvm/kvm.h"
#include "machine/boot/firmware.h"
#include "machine/cpu_topology.h"
#include "machine/device_options.h"
#include "machine/ram.h"
#include "machine/smbios.h"
#include "net/link.h"

enum board_kind { BOARD_PC, BOARD_MICROVM, BOARD_Q35 };

/* Whether it is one of the PCs, which firmware knows. */
static inline bool board_kind_is_pc(enum board_kind kind)
{
	return kind != BOARD_MICROVM;
}

/* The first two are vga.h's; the plain one has no registers of a VGA's, and old software does not see it. The others are
 * gpu.h's, the first with a VGA in it. */
enum board_display { BOARD_NO_DISPLAY, BOARD_VGA, BOARD_PLAIN_DISPLAY, BOARD_VIRTIO_VGA, BOARD_VIRTIO_GPU };

/* Whether old software, a BIOS among it, finds a VGA. */
static inline bool board_display_is_vga(enum board_display display)
{
	return display == BOARD_VGA || display == BOARD_VIRTIO_VGA;
}

#define BOARD_SERIALS_MAX 4

struct board_streams {
	struct char_stream *serial; /* the first serial port */
	struct char_stream *more_serial[BOARD_SERIALS_MAX - 1]; /* COM2 to COM4; NULL: there is none */
	struct char_stream *debug_console; /* ports 0xe9 and 0x402; NULL: no such ports */
	struct char_stream *print; /* the print port */
};

/* Where a device sits on PCI: BOARD_ANYWHERE, or what BOARD_PLACE makes of a root port's number, from 1 on in the
 * order of the list, or 0 for bus 0 itself, and of PCI_SLOT_FUNCTION there. */
#define BOARD_ANYWHERE		       0
#define BOARD_PLACE(port, slot_function) (1u + ((port) << 8 | (slot_function)))
#define BOARD_PLACE_PORT(place)		 (((place) - 1u) >> 8)
#define BOARD_PLACE_FUNCTION(place)	 (((place) - 1u) & 0xff)
/* What comes and goes as one: all functions of a slot. */
#define BOARD_PLACE_SLOT(place) BOARD_PLACE(BOARD_PLACE_PORT(place), BOARD_PLACE_FUNCTION(place) & ~7u)
/* A port of USB (from 1 on), where things that come and go are called by places: no root port has that number. */
#define BOARD_USB_PLACE(port) BOARD_PLACE(BOARD_ROOT_PORTS_MAX + 1, (port) << 3)

/* Which interfaces a virtio device on PCI has: by its place (transitional on bus 0, modern behind a root port),
 * or those of virtio_pci.h. */
enum board_interface { BOARD_BY_PLACE, BOARD_MODERN, BOARD_TRANSITIONAL, BOARD_LEGACY };

/* What a virtio device's rings may be: packed only where somebody asks for it, the rest unless somebody does not want it. */
struct board_rings {
	bool is_packed, has_no_event_index, has_no_indirect;
};

/* A GPU, as struct virtio_gpu_setup has it. */
struct board_gpu {
	unsigned outputs;
	uint32_t width, height;
	bool has_no_edid;
	uint64_t memory_bytes;
	struct board_rings rings;
};

/* A unit of a virtio-scsi adapter, by the controller's number; likewise. */
#define BOARD_SCSI_PLACE(controller, target, lun) (1u << 31 | (controller) << 22 | (target) << 14 | (lun))
#define BOARD_PLACE_IS_SCSI(place)		  ((place) >> 31)
#define BOARD_SCSI_PLACE_CONTROLLER(place)	  ((place) >> 22 & 0x1ff)
#define BOARD_SCSI_PLACE_TARGET(place)		  ((place) >> 14 & 0xff)
#define BOARD_SCSI_PLACE_LUN(place)		  ((place) & 0x3fff)

#define BOARD_ROOT_PORTS_MAX 32

/* A root port of a q35. */
struct board_root_port {
	unsigned place; /* on bus 0 */
	uint8_t port;
	uint16_t slot_number;
};

#define BOARD_DISKS_MAX 16

/* What a disk hangs on. */
enum board_bus {
	BOARD_BUS_VIRTIO,
	BOARD_BUS_IDE,
	BOARD_BUS_AHCI,
	BOARD_BUS_SCSI,
	BOARD_BUS_NVME,
	BOARD_BUS_USB,
	BOARD_BUSES,
};

#define BOARD_CONTROLLERS_MAX 8

/* A controller of AHCI's, or a virtio-scsi adapter. The PC's IDE is there when a disk is on it. */
struct board_controller {
	enum board_bus bus;
	unsigned place;  /* on PCI */
	/* Of virtio-scsi: */
	unsigned queues; /* 0: as many as there are CPUs */
	struct board_rings rings;
	enum board_interface interface;
};

/* A disk, or a CD-ROM drive, for the board. */
struct board_disk {
	struct block *block; /* open; NULL: there is none any more, or a drive's tray is empty */
	enum board_bus bus;
	bool is_cdrom;	      /* not by virtio-blk */
	unsigned controller;   /* of AHCI or SCSI: its index among all */
	unsigned place_plus_1; /* there (IDE: 1 to 4, a port; of USB the port as it is); 0: any */
	unsigned scsi_place;   /* of SCSI: BOARD_SCSI_PLACE; 0: the first target that is free */
	struct drive_identity identity; /* likewise */
	unsigned tray;	       /* of a CD-ROM drive that comes while the board is there: which tray (board_tray) it has */
	bool is_removable;     /* by USB: INQUIRY says so */
	unsigned later_boot_plus_1; /* the same from the first reset on */
	unsigned boot_plus_1; /* its turn when firmware boots; 0: behind those that say, disks before CD-ROMs */
	unsigned pci_place; /* of virtio-blk and NVMe, each its own device */
	/* Of virtio-blk: */
	unsigned queues;     /* 0: as many as there are CPUs, up to what the device can have */
	struct board_rings rings;
	enum board_interface interface;
};

#define BOARD_NETS_MAX 8

enum board_net_model { BOARD_NET_VIRTIO, BOARD_NET_E1000, BOARD_NET_E1000E };

/* A network device for the board. */
#define BOARD_NET_NAME_MAX 63

struct board_net {
	struct net_link link; /* closed: there is none any more; so is the ROM NULL */
	uint8_t mac[MAC_BYTES];
	char name[BOARD_NET_NAME_MAX + 1]; /* by which its cable is pulled */
	unsigned place; /* on PCI */
	enum board_net_model model;
	struct board_rings rings;
	bool has_queues; /* virtio's driver is told of all queues of the link */
	uint64_t without; /* of virtio's: features that are not offered */
	uint16_t mtu;	  /* ... and what its driver is told to use at most; 0: nothing */
	enum board_interface interface;
	/* Of the PCs, for firmware to boot from the network: */
	uint8_t *rom; /* owned; NULL: no expansion ROM */
	size_t rom_size;
	bool rom_is_adapted; /* pci_rom.h */
	bool may_boot; /* its turn, as disks have theirs; 0: behind all */
	unsigned boot_plus_1, later_boot_plus_1;
};

/* Also fine when there is none, or none any more. */
static inline void board_net_close(struct board_net *net)
{
	net_link_close(&net->link);
	free(net->rom);
	net->rom = NULL;
	net->rom_size = 0;
}

#define BOARD_SHARES_MAX 24

/* A shared folder for the board. */
struct board_share {
	struct share share; /* closed: there is none any more */
	char tag[VIRTIO_FILESYSTEM_TAG_MAX + 1];
	unsigned place; /* on PCI */
	struct board_rings rings;
	enum board_interface interface;
};

/* The board's sockets of programs (AF_VSOCK). */
struct board_vsock {
	struct vsock_host host;
	uint32_t guest_cid; /* 0: there are none, or none any more */
	unsigned place; /* on PCI */
	struct board_rings rings;
};

#define BOARD_USB_DEVICES_MAX 8

enum board_usb_kind { BOARD_USB_TABLET, BOARD_USB_MOUSE, BOARD_USB_KEYBOARD, BOARD_USB_KINDS };

/* A USB controller (xHCI), and what is plugged into it. */
struct board_usb {
	bool has_controller;
	unsigned place; /* on PCI */
	struct board_usb_device {
		enum board_usb_kind kind;
		unsigned port; /* from 1 on; 0: any */
	} devices[BOARD_USB_DEVICES_MAX];
	unsigned device_count;
};

/* A TPM 2.0, by either interface (device/tpm/tpm.h). */
enum board_tpm_kind { BOARD_NO_TPM, BOARD_TPM_TIS, BOARD_TPM_CRB };
struct tpm_emulator;
struct board_tpm {
	enum board_tpm_kind kind;
	struct tpm_emulator *emulator; /* NULL: there is none any more */
};

#define BOARD_FILES_MAX 16

/* A file that the guest finds in fw_cfg. */
struct board_file {
	const char *name;
	const uint8_t *data;
	size_t size;
};

/* Those that no device has taken; also fine when there are none. */
static inline void board_vsock_close(struct board_vsock *vsock)
{
	if (vsock->guest_cid)
		vsock_host_close(&vsock->host);
	vsock->guest_cid = 0;
}

/* A bit for each of that many CPUs, at most 64. */
static inline uint64_t board_first_cpus(unsigned cpus)
{
	return cpus < 64 ? (1ull << cpus) - 1 : UINT64_MAX;
}

struct board_config {
	enum board_kind kind;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct event_loop *loop;
	struct ram *ram;
	unsigned cpus;
	unsigned max_cpus; /* that can be there, on a PC; 0: no more than these */
	struct cpu_topology topology; /* of those */
	uint64_t present_cpus; /* a bit each; 0: the first of them */
	unsigned physical_bits; /* of the CPUs' addresses; 0: nothing is put above 4 GiB */
	struct irq_line irq; /* `gsi` is filled in for each device */
	struct msi_target msi;
	struct power power;
	struct board_streams streams;
	int print_port;
	int debug_exit_port; /* -1: none; nor when the options have one */
	const struct kvm_vm *vm; /* for devices that have the backend take accesses; NULL: none do */
	/* What it begins with; NULL: kvik does itself what firmware would. Of the pc. Outlives the board. */
	const struct firmware *firmware;
	bool has_no_sleep; /* of the PCs: no S3 */
	bool has_no_i8042; /* ... neither PS/2 keyboard nor mouse */
	enum board_display display; /* but by virtio without a VGA, of boards with PCI */
	unsigned display_place; /* on PCI */
	struct board_gpu gpu; /* of a display by virtio */
	const struct smbios_config *smbios; /* what the user says; NULL: nothing */
	const struct board_file *files; /* for fw_cfg, which has copies */
	unsigned file_count;
	bool firmware_has_menu; /* of what to boot, for `boot_menu_ms`; 0: as long as it does by itself */
	uint16_t boot_menu_ms;
	int64_t clock_offset_s; /* of its clock, at first */
	bool firmware_prints; /* its console is the first serial port */
	struct device_option options[DEVICE_OPTIONS_MAX];
	unsigned option_count;
	struct board_disk *disks; /* those that are put on the board are its own, and NULL here */
	unsigned disk_count;
	const struct board_controller *controllers;
	unsigned controller_count;
	struct board_net *nets; /* likewise */
	unsigned net_count;
	struct board_share *shares; /* likewise */
	unsigned share_count;
	struct board_vsock *vsock; /* likewise; NULL: there are none */
	struct board_usb usb;
	struct board_tpm *tpm; /* likewise; NULL: there is none */
	struct virtio_console_listener console_listener;
	const struct virtio_console_port *ports; /* of a console device; its streams outlive the board */
	unsigned port_count;
	unsigned console_place; /* of that device on PCI */
	enum board_interface console_interface;
	struct board_rings console_rings;
	struct board_root_port root_ports[BOARD_ROOT_PORTS_MAX]; /* of a q35 */
	unsigned root_port_count;
	/* What was in a slot (BOARD_PLACE_SLOT) has gone. I/O thread. NULL: nobody wants to know. */
	void (*unplugged)(void *context, unsigned slot);
	void *unplug_context;
	/* The tray of the CD-ROM drive that is disks[disk] was opened or closed. Likewise. */
	void (*tray_moved)(void *context, unsigned disk, bool is_open);
	void *tray_context;
	/* The guest has let go of a CPU; or says something of one (_OST). Likewise. */
	void (*cpu_ejected)(void *context, unsigned cpu);
	void (*cpu_reported)(void *context, unsigned cpu, uint32_t event, uint32_t status);
	void *cpu_context;
	unsigned memory_slots; /* of a PC, whose `ram` has as many */
	/* Whether the guest may let go of a slot's memory now (a vCPU's thread); that it has; what it says of one. NULL: never, and
	 * nobody wants to know. */
	bool (*memory_may_go)(void *context, unsigned slot);
	void (*memory_ejected)(void *context, unsigned slot);
	void (*memory_reported)(void *context, unsigned slot, uint32_t event, uint32_t status);
	void *memory_context;
	void (*filter_changed)(void *context, const char *name); /* as machine_observer has it; or NULL */
	void *filter_context;
	struct virtio_balloon_listener balloon_listener; /* of the balloon, if there is one */
};

#endif
