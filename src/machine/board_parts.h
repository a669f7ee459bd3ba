/*
 * A board from inside, for its own files: board.c is its life, board_devices.c what is on it, by
 * board_list.c; board_tables.c is what the guest is told of it.
 */
#ifndef KVIK_MACHINE_BOARD_PARTS_H
#define KVIK_MACHINE_BOARD_PARTS_H

#include "device/acpi_cpus.h"
#include "device/acpi_events.h"
#include "device/acpi_memory.h"
#include "device/acpi_pm.h"
#include "device/acpi_slots.h"
#include "device/display/vga.h"
#include "device/fw_cfg.h"
#include "device/i440fx.h"
#include "device/q35.h"
#include "device/pcie_root_port.h"
#include "device/i8042.h"
#include "device/device.h"
#include "device/storage/tray.h"
#include "device/virtio/virtio.h"
#include "machine/acpi/aml.h"
#include "machine/acpi/tables.h"
#include "machine/board_config.h"
#include "machine/e820.h"
#include "machine/ospm_notes.h"
#include "machine/pci_setup.h"

/* Where both the devices and the tables find them. */
#define ACPI_PORT    0x600
#define ACPI_EVENTS_PORT (ACPI_PORT + 4) /* on a microvm, behind the sleep registers */

#define KEYBOARD_GSI 1
#define RTC_GSI      8
#define SCI_GSI      9
#define MOUSE_GSI    12

/* Memory slots that are not RAM's (ram.h). */
enum { SLOT_ROM = RAM_SLOTS, SLOT_FLASH, SLOT_VGA };

/* PCI's memory below 4 GiB begins where RAM ends at the latest, and ends at the ECAM. Firmware knows no
 * ECAM on a pc: there its window begins at 2 GiB, if RAM does not reach as far, and ends at the I/O APIC. On a
 * q35 the ECAM lies amidst the window. */
#define PCI_WINDOW_GPA	   RAM_LOW_LIMIT
#define PCI_FIRMWARE_GPA   0x80000000ull
#define PCI_FIRMWARE_END   0xfec00000ull
#define PCI_FIRST_IO_PORT  0xc000
#define PCI_HIGH_ALIGNMENT (1ull << 30)
#define PCI_HIGH_BYTES	   (256ull << 30)

/* Virtio devices of a board without PCI: registers from here on, and each its own interrupt. */
#define VIRTIO_MMIO_GPA	 0xfec10000ull
#define VIRTIO_MMIO_MAX	 17

/* "/pci@i0cf8/pci8086,2922@1f,2/drive@5/disk@0": Open Firmware's device paths. */
#define BOARD_BOOT_PATH 64

/* Where the serial ports are, COM1 to COM4. */
struct board_serial {
	uint16_t port;
	uint8_t gsi;
};
extern const struct board_serial board_serials[BOARD_SERIALS_MAX];

struct rtc;
struct vmcoreinfo;

struct board_serial_lines {
	pthread_mutex_t lock; /* guards the levels; held while a line is driven */
	bool levels[BOARD_SERIALS_MAX];
	struct irq_line irq;
};

struct board {
	struct board_config config;
	struct device *devices; /* in the order of their creation */
	unsigned device_count;
	/* Devices that are small enough to live here. */
	uint8_t post_code;
	struct board_serial_lines serial_lines;
	struct rtc *rtc;
	struct acpi_pm *acpi_pm; /* the pc's, likewise */
	struct acpi_events *acpi_events; /* the microvm's; NULL on others */
	struct fw_cfg *fw_cfg;
	struct vga *vga; /* NULL: no such display */
	struct virtio_device *gpu; /* likewise */
	struct i8042 *keyboard; /* and mouse; NULL: none */
	struct xhci *xhci;     /* NULL: no USB */
	struct board_scsi {
		struct virtio_device *virtio; /* NULL: none */
		unsigned seat;		      /* as struct device has it */
	} scsi[BOARD_CONTROLLERS_MAX]; /* by their controllers' numbers */
	struct usb_device *usb_devices[BOARD_USB_KINDS]; /* the last of each; NULL: none */
	uint16_t panic_port;	       /* pvpanic's; 0: none */
	uint16_t acpi_port; /* where the ports of acpi_pm are; 0: nowhere */
	struct board_boot {
		unsigned turn, later_turn; /* lower ones first; from the first reset on */
		char path[BOARD_BOOT_PATH]; /* as firmware calls it */
	} boots[BOARD_DISKS_MAX + BOARD_NETS_MAX];
	unsigned boot_count;
	struct i440fx chipset; /* the pc's */
	struct q35 q35;
	uint64_t ecam_gpa, ecam_bytes; /* of a q35: as its chipset has it now; 0 bytes: nowhere */
	uint64_t root_complex_gpa; /* likewise */
	struct pci_bus *pci; /* NULL: has none */
	struct pci_layout pci_layout;
	struct pcie_root_port *root_ports[BOARD_ROOT_PORTS_MAX]; /* those of config.root_ports */
	unsigned root_port_count;
	struct acpi_slots *slots; /* the pc's; NULL: it has none */
	struct acpi_cpus *acpi_cpus; /* NULL: none come or go */
	uint8_t apic_ids[ACPI_CPUS_MAX]; /* of all that can be there */
	struct ospm_notes cpu_notes;
	struct acpi_memory *acpi_memory; /* NULL: there are no slots for memory */
	struct ospm_notes memory_notes; /* by slot */
	struct event_signal off_signal; /* some port was switched off, some slot let go of */
	_Atomic uint32_t switched_off, ejected; /* which, a bit each */
	/* Those of disks that are CD-ROM drives; of others, without a unit. */
	struct board_tray {
		struct tray tray;
		bool was_open; /* as it was told last */
	} trays[BOARD_DISKS_MAX];
	struct event_signal tray_signal; /* some tray has moved */
	bool is_complete; /* what comes now comes while the machine is there */
	bool is_released;
	bool has_begun; /* a reset from now on is none of power-on */
	/* Network devices, by the names of their networks. */
	struct board_nic {
		char name[BOARD_NET_NAME_MAX + 1];
		unsigned seat; /* as struct device has it */
		int helper;    /* the link's, and not owned */
		struct e1000 *e1000; /* or an e1000e */
		struct virtio_device *virtio; /* one of the two */
	} nics[BOARD_NETS_MAX];
	unsigned nic_count;
	struct event_signal nic_signal; /* which frames one of them takes has changed */
	unsigned balloon_seat; /* as struct device has it */
	struct virtio_device *balloon; /* the last; NULL: there is none */
	unsigned virtio_count; /* by MMIO */
	uint8_t virtio_gsi[VIRTIO_MMIO_MAX];
};

/*
 * Put a device on the board, which owns it from now on and destroys it even when this fails. `name`
 * has at most STATE_NAME_MAX characters.
 */
int board_add(struct board *board, const char *name, const struct device_ops *ops, void *device,
              struct error *error);

const struct device *board_find(const struct board *board, const char *name); /* or NULL */
/* The first device that these are the operations of: the device itself; NULL: there is none. */
void *board_find_kind(const struct board *board, const struct device_ops *ops);

/* All that board_create puts on it; of that, what the options ask for. */
int board_add_devices(struct board *board, struct error *error);
/* CPUs that come and go, on a PC that may have more than it begins with; what firmware is told of how many there are, again; and
 * the DSDT's part. */
int board_add_cpus(struct board *board, struct error *error);
void board_renew_cpus(struct board *board);
void board_describe_cpus(struct aml *aml, const struct board *board);
void board_describe_cpus_event(struct aml *aml, const struct board *board);
/* Memory that comes and goes, on a PC that has slots for it; and the DSDT's part. */
int board_add_memory(struct board *board, struct error *error);
void board_describe_memory(struct aml *aml, const struct board *board);
void board_describe_memory_event(struct aml *aml, const struct board *board);
/* What makes it the kind of PC that it is; and the same as firmware leaves it. */
int board_add_chipset(struct board *board, struct error *error);
void board_set_up_chipset(struct board *board);
/* What a PC's chipset keeps while the machine sleeps: where interrupts, ports and the ECAM are. */
#define BOARD_CHIPSET_FUNCTIONS 3
#define BOARD_CHIPSET_WORDS	48
struct board_chipset_registers {
	uint32_t words[BOARD_CHIPSET_FUNCTIONS][BOARD_CHIPSET_WORDS];
};
void board_read_chipset(struct board *board, struct board_chipset_registers *registers);
/* The chipset of a machine that wakes: as it was, but that its shadow RAM is open. */
void board_wake_chipset(struct board *board, const struct board_chipset_registers *registers);
int board_add_disks(struct board *board, struct error *error);
int board_add_display(struct board *board, struct error *error);
/* A disk by virtio, `number` among all. */
int board_add_virtio_disk(struct board *board, struct board_disk *disk, unsigned number,
			  struct error *error);
/* A disk that firmware may boot, by its path below the PCI root. */
void board_add_boot(struct board *board, const struct board_disk *disk, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* A network card at its place on PCI, if firmware may boot by it. */
void board_add_net_boot(struct board *board, const struct board_net *net, unsigned place);
/* Serial ports, and what is behind one; NULL: it is not there. */
int board_add_serials(struct board *board, struct error *error);
struct char_stream *board_serial_stream(const struct board *board, unsigned port);
/* The virtio-scsi adapter that is the controller of that number, with its disks. */
int board_add_scsi(struct board *board, const struct board_controller *controller, unsigned number, struct error *error);
/* What was at a seat has gone, its units among it. */
void board_forget_scsi(struct board *board, unsigned seat);
/* An NVMe disk, `number` among all. */
int board_add_nvme(struct board *board, struct board_disk *disk, unsigned number, struct error *error);
/* A unit comes to a virtio-scsi adapter, `number` among all, at once, or goes. 0, or -errno and `error`. */
int board_add_scsi_disk(struct board *board, struct board_disk *disk, unsigned number, struct error *error);
int board_remove_scsi_disk(struct board *board, unsigned place, struct error *error);
int board_add_usb(struct board *board, struct error *error);
/* One more at the controller: what people use, or a disk, `number` among all. The port, or -errno. */
int board_add_usb_device(struct board *board, const struct board_usb_device *wanted, struct error *error);
int board_add_usb_disk(struct board *board, struct board_disk *disk, unsigned number, struct error *error);
/* What is at a port (from 1 on) goes. 0, or -ENODEV, -ENOTSUP and `error`. */
int board_remove_usb(struct board *board, unsigned port, struct error *error);
int board_add_console(struct board *board, struct error *error);
int board_add_net(struct board *board, struct board_net *net, unsigned number, struct error *error);
/* What was at a seat has gone. */
void board_forget_nics(struct board *board, unsigned seat);
int board_add_option(struct board *board, const struct device_option *option, struct error *error);
int board_add_nets(struct board *board, struct error *error);
int board_add_shares(struct board *board, struct error *error);
int board_add_vsock(struct board *board, struct error *error);
int board_add_options(struct board *board, struct error *error);
int board_add_tpm(struct board *board, struct error *error);
void board_describe_tpm(struct aml *aml, const struct board *board);
enum acpi_tpm board_acpi_tpm(const struct board *board);
bool board_has_option(const struct board *board, enum device_kind kind);
/* A virtio device where this board has them: at a place on PCI, or by MMIO (microvm). It is the
 * board's from now on, also when this fails. `name` is its own on the board. */
int board_add_virtio(struct board *board, const char *name, struct virtio_device *virtio,
		     uint32_t class_code, unsigned place, enum board_interface interface,
		     struct error *error);
/* The same for a display, which stays wherever it is; on PCI it may be a part of a function that is more (struct
 * virtio_pci_layout; or NULL). */
int board_add_virtio_display(struct board *board, const char *name, struct virtio_device *virtio, uint32_t class_code,
			     const struct virtio_pci_layout *layout, void *other, struct error *error);
struct virtio_host board_virtio_host(const struct board *board, const struct board_rings *rings);
/* A place on PCI that is free: the one that is asked for, or a slot of bus 0. */
struct board_seat {
	struct pci_bus *bus;
	unsigned slot_function;
};
int board_find_seat(const struct board *board, const char *name, unsigned place,
		    struct board_seat *seat, struct error *error);
/* Any place becomes one that is known before it is taken: firmware is told of its path. */
unsigned board_choose_place(const struct board *board, unsigned place);
/* What firmware calls a `node` ("scsi") at a place: "pci-bridge@2,1/scsi@0", in Open Firmware's manner. */
const char *board_pci_path(const struct board *board, unsigned place, const char *node,
			   char path[BOARD_BOOT_PATH]);
/* Where a device at this place can come and go: behind a root port, or on the pc's bus; its slot (as
 * BOARD_PLACE_SLOT), or 0: nowhere. */
unsigned board_seat(const struct board *board, unsigned place);
/* What was put on the board last is there, and may go. */
void board_note_seat(struct board *board, unsigned place);
/* The pc's slots, and what ACPI tells of them: in the scope of PCI0, and behind it. */
int board_add_slots(struct board *board, struct error *error);
void board_describe_slots(struct aml *aml, const struct board *board);
void board_describe_slots_event(struct aml *aml, const struct board *board);
/* A q35's root ports. */
int board_add_root_ports(struct board *board, struct error *error);
/* CD-ROM drives' trays: what controllers call, and the drives that they have. */
int board_watch_trays(struct board *board, struct error *error);
void board_tray_moves(void *board); /* drive_config.moved */
void board_keep_tray(struct board *board, unsigned disk, struct tray tray);
/* That of a unit is no more, or, without one, all that have a controller's lock. */
void board_forget_tray(struct board *board, const struct tray *tray);
void board_seats_are_off(void *context); /* off_signal.raised */
bool board_wants_pci(const struct board *board);
/* Whether it begins with firmware, which finds out what there is by itself. */
static inline bool board_has_firmware(const struct board *board)
{
	return board->config.firmware;
}
static inline bool board_is_pc(const struct board *board)
{
	return board_kind_is_pc(board->config.kind);
}
/* What SMBIOS calls it. */
static inline const char *board_product(const struct board *board)
{
	return board->config.kind == BOARD_PC ? "pc" : board->config.kind == BOARD_Q35 ? "q35" : "microvm";
}

/* What the SMBIOS tables are made of. */
static inline struct smbios_facts board_smbios_facts(const struct board *board)
{
	const struct cpu_topology *topology = &board->config.topology;
	unsigned cores = topology->dies * topology->cores, threads = cores * topology->threads;

	return (struct smbios_facts){
		.product = board_product(board),
		.sockets = (board->config.max_cpus + threads - 1) / threads,
		.cores = cores,
		.threads = threads,
		.ram_bytes = board->config.ram->size_bytes,
	};
}
static inline bool board_is_q35(const struct board *board)
{
	return board->config.kind == BOARD_Q35;
}
/* The ROM, and what fw_cfg tells firmware: the last thing that is put on a board. */
int board_add_firmware(struct board *board, struct error *error);
/* The ACPI tables that fw_cfg has, again: the chipset's registers have changed. */
void board_renew_acpi_files(struct board *board);
/* The order in which firmware boots, as it is from now on. */
void board_renew_boot_order(struct board *board);
/* PCI's part of the tables; and where configuration space by memory is told to be: 0: nowhere. */
uint64_t board_ecam(const struct board *board, uint64_t *bytes);
void board_describe_ecam(struct aml *aml, const struct board *board);
void board_describe_interrupt_mode(struct aml *aml); /* a q35's, outside of all scopes */
void board_describe_pci(struct aml *aml, const struct board *board);
/* The ACPI tables, in ACPI_TABLES_MAX bytes that the caller frees. Their size, or -errno. */
int board_build_acpi(const struct board *board, uint8_t **bytes, struct error *error);

#endif
