#include "cli/qemu/devices.h"

#include <errno.h>
#include <string.h>

#include "machine/cpu_models.h"

static const struct property common_properties[] = {
	{"driver", PROPERTY_TEXT}, {"id", PROPERTY_TEXT}, {"bus", PROPERTY_TEXT}, {NULL}};

static const struct property pci_properties[] = {
	{"addr", PROPERTY_TEXT},
	{"multifunction", PROPERTY_BOOL},
	{"acpi-index", PROPERTY_NUMBER, "0"},
	{NULL},
};

/* Of those that have an expansion ROM, and of those that have none. */
static const struct property rom_properties[] = {{"romfile", PROPERTY_TEXT}, {"rombar", PROPERTY_NUMBER}, {NULL}};
static const struct property no_rom_properties[] = {
	{"romfile", PROPERTY_TEXT, ""}, {"rombar", PROPERTY_NUMBER}, {NULL}};

static const struct property virtio_properties[] = {
	{"packed", PROPERTY_BOOL},
	{"disable-legacy", PROPERTY_TEXT, "on off auto"},
	{"disable-modern", PROPERTY_BOOL},
	{"iommu_platform", PROPERTY_BOOL}, /* there is no IOMMU that it could be about */
	{"ats", PROPERTY_BOOL},
	{"aer", PROPERTY_BOOL, "off"},
	{"indirect_desc", PROPERTY_BOOL},
	{"event_idx", PROPERTY_BOOL},
	{"ioeventfd", PROPERTY_BOOL},
	{"vectors", PROPERTY_NUMBER},
	{"page-per-vq", PROPERTY_BOOL},
	{NULL},
};

#define ERROR_PROPERTIES                                                                           \
	{"werror", PROPERTY_TEXT, "auto report ignore enospc stop"},                               \
	{"rerror", PROPERTY_TEXT, "auto report ignore enospc stop"}

static const struct property disk_properties[] = {
	{"drive", PROPERTY_TEXT},
	{"serial", PROPERTY_TEXT},
	{"bootindex", PROPERTY_NUMBER},
	{"num-queues", PROPERTY_NUMBER},
	{"queue-size", PROPERTY_NUMBER},
	{"iothread", PROPERTY_TEXT},
	{"logical_block_size", PROPERTY_SIZE, "512"},
	{"physical_block_size", PROPERTY_SIZE, "512"},
	{"discard", PROPERTY_BOOL},
	{"write-cache", PROPERTY_TEXT, "on auto"},
	{"config-wce", PROPERTY_BOOL},
	{"share-rw", PROPERTY_BOOL},
	{"scsi", PROPERTY_BOOL, "off"},
	ERROR_PROPERTIES,
	{NULL},
};

/* Of disks and CD-ROM drives that are not virtio-blk's. */
#define DRIVE_PROPERTIES                                                                           \
	{"drive", PROPERTY_TEXT}, {"serial", PROPERTY_TEXT}, {"bootindex", PROPERTY_NUMBER},       \
	{"logical_block_size", PROPERTY_SIZE, "512 2048"},                                         \
	{"physical_block_size", PROPERTY_SIZE, "512 2048"},                                        \
	{"discard_granularity", PROPERTY_SIZE}, {"rotation_rate", PROPERTY_NUMBER, "1"},           \
	{"write-cache", PROPERTY_TEXT, "on auto"}, {"share-rw", PROPERTY_BOOL}

static const struct property ide_properties[] = {
	DRIVE_PROPERTIES, ERROR_PROPERTIES, {"unit", PROPERTY_NUMBER}, {NULL}};

static const struct property scsi_properties[] = {
	DRIVE_PROPERTIES, ERROR_PROPERTIES, {"scsi-id", PROPERTY_NUMBER}, {"lun", PROPERTY_NUMBER},
	{"channel", PROPERTY_NUMBER}, {"device_id", PROPERTY_TEXT}, {"vendor", PROPERTY_TEXT},
	{"product", PROPERTY_TEXT}, {"ver", PROPERTY_TEXT}, {"wwn", PROPERTY_NUMBER}, {"port_wwn", PROPERTY_NUMBER}, {NULL}};

static const struct property nvme_properties[] = {
	DRIVE_PROPERTIES, {"num_queues", PROPERTY_NUMBER}, {"max_ioqpairs", PROPERTY_NUMBER},
	{"msix_qsize", PROPERTY_NUMBER}, {"mdts", PROPERTY_NUMBER}, {NULL}};

static const struct property adapter_properties[] = {
	{"num_queues", PROPERTY_NUMBER}, {"iothread", PROPERTY_TEXT},
	{"virtqueue_size", PROPERTY_NUMBER}, {"max_sectors", PROPERTY_NUMBER},
	{"cmd_per_lun", PROPERTY_NUMBER}, {"hotplug", PROPERTY_BOOL}, {NULL}};

static const struct property network_properties[] = {
	{"netdev", PROPERTY_TEXT},
	{"mac", PROPERTY_TEXT},
	{"bootindex", PROPERTY_NUMBER},
	{"mq", PROPERTY_BOOL},
	{"rx_queue_size", PROPERTY_NUMBER},
	{"tx_queue_size", PROPERTY_NUMBER},
	{"host_mtu", PROPERTY_NUMBER},
	/* Features: net_features.c. */
	{"mrg_rxbuf", PROPERTY_BOOL}, {"csum", PROPERTY_BOOL}, {"guest_csum", PROPERTY_BOOL},
	{"guest_tso4", PROPERTY_BOOL}, {"guest_tso6", PROPERTY_BOOL}, {"guest_ecn", PROPERTY_BOOL},
	{"host_tso4", PROPERTY_BOOL}, {"host_tso6", PROPERTY_BOOL}, {"host_ecn", PROPERTY_BOOL},
	{"status", PROPERTY_BOOL}, {"ctrl_vq", PROPERTY_BOOL}, {"ctrl_rx", PROPERTY_BOOL},
	{"ctrl_rx_extra", PROPERTY_BOOL}, {"ctrl_vlan", PROPERTY_BOOL}, {"ctrl_mac_addr", PROPERTY_BOOL},
	/* Never offered. */
	{"gso", PROPERTY_BOOL}, {"guest_ufo", PROPERTY_BOOL}, {"host_ufo", PROPERTY_BOOL},
	{"guest_announce", PROPERTY_BOOL}, {"ctrl_guest_offloads", PROPERTY_BOOL},
	{NULL},
};

static const struct property e1000_properties[] = {
	{"netdev", PROPERTY_TEXT}, {"mac", PROPERTY_TEXT}, {"bootindex", PROPERTY_NUMBER}, {NULL}};

static const struct property entropy_properties[] = {
	{"rng", PROPERTY_TEXT}, {"max-bytes", PROPERTY_SIZE}, {"period", PROPERTY_NUMBER}, {NULL}};

static const struct property balloon_properties[] = {
	{"free-page-reporting", PROPERTY_BOOL},
	{"deflate-on-oom", PROPERTY_BOOL},
	{"guest-stats-polling-interval", PROPERTY_NUMBER},
	{NULL},
};

/* The socket on the host's side is kvik's: QEMU asks the host's kernel module. */
static const struct property vsock_properties[] = {
	{"guest-cid", PROPERTY_NUMBER}, {"socket", PROPERTY_TEXT}, {NULL}};

static const struct property folder_properties[] = {
	{"fsdev", PROPERTY_TEXT}, {"mount_tag", PROPERTY_TEXT}, {NULL}};

static const struct property serial_bus_properties[] = {
	{"max_ports", PROPERTY_NUMBER}, {"emergency-write", PROPERTY_BOOL}, {NULL}};

static const struct property port_properties[] = {
	{"chardev", PROPERTY_TEXT}, {"name", PROPERTY_TEXT}, {"nr", PROPERTY_NUMBER}, {NULL}};

static const struct property isa_serial_properties[] = {
	{"chardev", PROPERTY_TEXT},
	{"index", PROPERTY_NUMBER},
	{"iobase", PROPERTY_NUMBER},
	{"irq", PROPERTY_NUMBER},
	{NULL},
};

static const struct property debugcon_properties[] = {
	{"chardev", PROPERTY_TEXT},
	{"iobase", PROPERTY_NUMBER, "0xe9 233 0x402 1026"},
	{NULL},
};

static const struct property debug_exit_properties[] = {
	{"iobase", PROPERTY_NUMBER}, {"iosize", PROPERTY_NUMBER}, {NULL}};

static const struct property root_port_properties[] = {
	{"port", PROPERTY_NUMBER},
	{"chassis", PROPERTY_NUMBER},
	{"slot", PROPERTY_NUMBER},
	{"hotplug", PROPERTY_BOOL, "on"},
	{NULL},
};

static const struct property display_properties[] = {
	{"vgamem_mb", PROPERTY_NUMBER, "16"},
	{"vgamem", PROPERTY_SIZE, "16M 16777216"},
	{"edid", PROPERTY_BOOL},
	{"xres", PROPERTY_NUMBER},
	{"yres", PROPERTY_NUMBER},
	{NULL},
};

static const struct property gpu_properties[] = {
	{"max_outputs", PROPERTY_NUMBER}, {"edid", PROPERTY_BOOL}, {"xres", PROPERTY_NUMBER}, {"yres", PROPERTY_NUMBER},
	{"max_hostmem", PROPERTY_SIZE}, {"blob", PROPERTY_BOOL, "off"}, {NULL}};

static const struct property xhci_properties[] = {
	{"p2", PROPERTY_NUMBER}, {"p3", PROPERTY_NUMBER}, {"slots", PROPERTY_NUMBER}, {"intrs", PROPERTY_NUMBER},
	{"msi", PROPERTY_TEXT}, {"msix", PROPERTY_TEXT}, {"streams", PROPERTY_BOOL}, {NULL}};

static const struct property usb_properties[] = {
	{"port", PROPERTY_NUMBER}, {"usb_version", PROPERTY_NUMBER, "1 2"}, {"serial", PROPERTY_TEXT},
	{"display", PROPERTY_TEXT}, {"head", PROPERTY_NUMBER}, {NULL}};

static const struct property usb_storage_properties[] = {
	DRIVE_PROPERTIES, ERROR_PROPERTIES, {"port", PROPERTY_NUMBER}, {"removable", PROPERTY_BOOL}, {"usb_version", PROPERTY_NUMBER, "1 2"},
	{"commandlog", PROPERTY_BOOL, "off"}, {NULL}};

static const struct property testdev_properties[] = {{"membar", PROPERTY_SIZE}, {NULL}};
static const struct property pvpanic_properties[] = {
	{"ioport", PROPERTY_NUMBER}, {"events", PROPERTY_NUMBER, "3"}, {NULL}};
static const struct property tpm_properties[] = {
	{"tpmdev", PROPERTY_TEXT}, {"irq", PROPERTY_NUMBER, "5"}, {"ppi", PROPERTY_BOOL, "off"}, {NULL}};
static const struct property dimm_properties[] = {
	{"memdev", PROPERTY_TEXT}, {"slot", PROPERTY_NUMBER}, {"addr", PROPERTY_SIZE}, {"node", PROPERTY_NUMBER, "0"}, {NULL}};
static const struct property cpu_properties[] = {
	{"socket-id", PROPERTY_NUMBER}, {"die-id", PROPERTY_NUMBER, "0"}, {"core-id", PROPERTY_NUMBER},
	{"thread-id", PROPERTY_NUMBER}, {"node-id", PROPERTY_NUMBER, "0"}, {"apic-id", PROPERTY_NUMBER}, {NULL}};
static const struct property no_properties[] = {{NULL}};

static const struct device_driver drivers[] = {
	{"virtio-blk-pci", "virtio-blk", ROLE_DISK, "virtio-blk-pci-base", true, true, disk_properties, "a disk"},
	{"virtio-blk-pci-non-transitional", NULL, ROLE_DISK, "virtio-blk-pci-base", true, true, disk_properties, "the same"},
	{"virtio-blk-pci-transitional", NULL, ROLE_DISK, "virtio-blk-pci-base", true, true, disk_properties, "the same"},
	{"virtio-blk-device", NULL, ROLE_DISK, "virtio-device", false, true, disk_properties, "a disk of a microvm"},
	{"ide-hd", NULL, ROLE_IDE_DISK, "ide-device", false, false, ide_properties, "a disk by IDE or AHCI"},
	{"ide-cd", NULL, ROLE_IDE_DISK, "ide-device", false, false, ide_properties, "a CD-ROM drive by IDE or AHCI"},
	{"ahci", NULL, ROLE_AHCI, "pci-device", true, false, no_properties, "an AHCI controller (ICH9's)"},
	{"ich9-ahci", NULL, ROLE_AHCI, "pci-device", true, false, no_properties, "the same"},
	{"nvme", NULL, ROLE_NVME, "pci-device", true, false, nvme_properties, "an NVMe disk"},
	{"virtio-scsi-pci", "virtio-scsi", ROLE_SCSI_ADAPTER, "virtio-scsi-pci-base", true, true, adapter_properties, "a SCSI adapter"},
	{"virtio-scsi-pci-non-transitional", NULL, ROLE_SCSI_ADAPTER, "virtio-scsi-pci-base", true, true, adapter_properties, "the same"},
	{"virtio-scsi-pci-transitional", NULL, ROLE_SCSI_ADAPTER, "virtio-scsi-pci-base", true, true, adapter_properties, "the same"},
	{"scsi-hd", NULL, ROLE_SCSI_DISK, "scsi-device", false, false, scsi_properties, "a disk of a virtio-scsi adapter"},
	{"scsi-cd", NULL, ROLE_SCSI_DISK, "scsi-device", false, false, scsi_properties, "a CD-ROM drive of one"},
	{"virtio-net-pci", "virtio-net", ROLE_NETWORK, "virtio-net-pci-base", true, true, network_properties, "a network device"},
	{"virtio-net-pci-non-transitional", NULL, ROLE_NETWORK, "virtio-net-pci-base", true, true, network_properties, "the same"},
	{"virtio-net-pci-transitional", NULL, ROLE_NETWORK, "virtio-net-pci-base", true, true, network_properties, "the same"},
	{"virtio-net-device", NULL, ROLE_NETWORK, "virtio-device", false, true, network_properties, "a network device of a microvm"},
	{"e1000", "e1000-82540em", ROLE_NETWORK, "e1000-base", true, false, e1000_properties, "a network device: Intel's 82540EM"},
	{"e1000e", NULL, ROLE_NETWORK, "pci-device", true, false, e1000_properties, "a network device: Intel's 82574L"},
	{"virtio-rng-pci", "virtio-rng", ROLE_ENTROPY, "virtio-rng-pci-base", true, true, entropy_properties, "random numbers"},
	{"virtio-rng-pci-non-transitional", NULL, ROLE_ENTROPY, "virtio-rng-pci-base", true, true, entropy_properties, "the same"},
	{"virtio-rng-pci-transitional", NULL, ROLE_ENTROPY, "virtio-rng-pci-base", true, true, entropy_properties, "the same"},
	{"virtio-rng-device", NULL, ROLE_ENTROPY, "virtio-device", false, true, entropy_properties, "random numbers for a microvm"},
	{"virtio-balloon-pci", "virtio-balloon", ROLE_BALLOON, "virtio-balloon-pci-base", true, true, balloon_properties, "memory that the guest gives back"},
	{"virtio-balloon-pci-non-transitional", NULL, ROLE_BALLOON, "virtio-balloon-pci-base", true, true, balloon_properties, "the same"},
	{"virtio-balloon-pci-transitional", NULL, ROLE_BALLOON, "virtio-balloon-pci-base", true, true, balloon_properties, "the same"},
	{"virtio-balloon-device", NULL, ROLE_BALLOON, "virtio-device", false, true, balloon_properties, "the same of a microvm"},
	{"virtio-9p-pci", "virtio-9p", ROLE_FOLDER, "virtio-9p-pci-base", true, true, folder_properties, "a folder of the host's, by 9P"},
	{"virtio-9p-pci-non-transitional", NULL, ROLE_FOLDER, "virtio-9p-pci-base", true, true, folder_properties, "the same"},
	{"virtio-9p-pci-transitional", NULL, ROLE_FOLDER, "virtio-9p-pci-base", true, true, folder_properties, "the same"},
	{"virtio-9p-device", NULL, ROLE_FOLDER, "virtio-device", false, true, folder_properties, "the same of a microvm"},
	{"vhost-vsock-pci", NULL, ROLE_VSOCK, "vhost-vsock-pci-base", true, true, vsock_properties, "sockets between guest and host"},
	{"vhost-vsock-pci-non-transitional", NULL, ROLE_VSOCK, "vhost-vsock-pci-base", true, true, vsock_properties, "the same"},
	{"vhost-vsock-device", NULL, ROLE_VSOCK, "virtio-device", false, true, vsock_properties, "the same of a microvm"},
	{"virtio-serial-pci", "virtio-serial", ROLE_SERIAL_BUS, "virtio-serial-pci-base", true, true, serial_bus_properties, "consoles and ports"},
	{"virtio-serial-pci-non-transitional", NULL, ROLE_SERIAL_BUS, "virtio-serial-pci-base", true, true, serial_bus_properties, "the same"},
	{"virtio-serial-pci-transitional", NULL, ROLE_SERIAL_BUS, "virtio-serial-pci-base", true, true, serial_bus_properties, "the same"},
	{"virtio-serial-device", NULL, ROLE_SERIAL_BUS, "virtio-device", false, true, serial_bus_properties, "the same of a microvm"},
	{"virtconsole", NULL, ROLE_CONSOLE, "virtserialport", false, false, port_properties, "a console, hvc0 in Linux"},
	{"virtserialport", NULL, ROLE_PORT, "virtio-serial-port", false, false, port_properties, "a port, /dev/virtio-ports/NAME in Linux"},
	{"isa-serial", NULL, ROLE_ISA_SERIAL, "isa-device", false, false, isa_serial_properties, "a serial port, of up to four"},
	{"isa-debugcon", NULL, ROLE_ISA_DEBUGCON, "isa-device", false, false, debugcon_properties, "ports that small kernels print to"},
	{"VGA", NULL, ROLE_DISPLAY, "pci-vga", true, false, display_properties, "a display, as -vga std has it"},
	{"bochs-display", NULL, ROLE_DISPLAY, "pci-device", true, false, display_properties, "a display that is no VGA"},
	{"virtio-vga", NULL, ROLE_DISPLAY, "virtio-vga-base", true, true, gpu_properties, "a VGA, and for its driver a GPU (2D), as -vga virtio has it"},
	{"virtio-gpu-pci", "virtio-gpu", ROLE_DISPLAY, "virtio-gpu-pci-base", true, true, gpu_properties, "a GPU (2D) that is no VGA"},
	{"virtio-gpu-device", NULL, ROLE_DISPLAY, "virtio-gpu-base", false, true, gpu_properties, "the same of a microvm"},
	{"qemu-xhci", "nec-usb-xhci", ROLE_XHCI, "base-xhci", true, false, xhci_properties, "a USB controller"},
	{"usb-tablet", NULL, ROLE_USB_DEVICE, "usb-hid", false, false, usb_properties, "a pointer that tells places"},
	{"usb-mouse", NULL, ROLE_USB_DEVICE, "usb-hid", false, false, usb_properties, "a mouse by USB"},
	{"usb-kbd", NULL, ROLE_USB_DEVICE, "usb-hid", false, false, usb_properties, "a keyboard by USB"},
	{"usb-storage", NULL, ROLE_USB_DISK, "usb-storage-dev", false, false, usb_storage_properties, "a disk or a CD-ROM drive by USB"},
	{"isa-debug-exit", NULL, ROLE_OPTION, "isa-device", false, false, debug_exit_properties, "a write there ends the run"},
	{"pc-testdev", NULL, ROLE_OPTION, "isa-device", false, false, no_properties, "of kvm-unit-tests"},
	{"pcie-root-port", NULL, ROLE_ROOT_PORT, "pcie-root-port-base", true, false, root_port_properties, "a port of PCI Express, for a device that may come and go; of a q35"},
	{"i6300esb", NULL, ROLE_OPTION, "pci-device", true, false, no_properties, "a watchdog"},
	{"pvpanic", NULL, ROLE_OPTION, "isa-device", false, false, pvpanic_properties, "a guest's panic, told by a port"},
	{"pvpanic-pci", NULL, ROLE_OPTION, "pci-device", true, false, no_properties, "the same by PCI"},
	{"vmcoreinfo", NULL, ROLE_OPTION, "device", false, false, no_properties, "where the guest's kernel leaves its note for core files"},
	{"tpm-tis", NULL, ROLE_TPM, "device", false, false, tpm_properties, "a TPM 2.0 by its FIFO"},
	{"tpm-crb", NULL, ROLE_TPM, "device", false, false, tpm_properties, "the same by a buffer"},
	{"max" DEVICE_CPU_SUFFIX, NULL, ROLE_CPU, "x86_64-cpu", false, false, cpu_properties, "a CPU, of -smp's maxcpus, and so for each model"},
	{"pc-dimm", NULL, ROLE_DIMM, "device", false, false, dimm_properties, "memory, of -m's slots"},
	{"pci-testdev", NULL, ROLE_OPTION, "pci-device", true, false, testdev_properties, "likewise"},
};

#define DRIVERS (sizeof(drivers) / sizeof(drivers[0]))

/* Types that are only others' parents, and objects that are no devices. */
static const struct type {
	const char *name, *parent;
	bool is_abstract;
} types[] = {
	{"object", NULL, true},
	{"device", "object", true},
	{"pci-device", "device", true},
	{"isa-device", "device", true},
	{"pci-vga", "pci-device", true},
	{"base-xhci", "pci-device", true},
	{"usb-device", "device", true},
	{"usb-hid", "usb-device", true},
	{"usb-storage-dev", "usb-device", true},
	{"virtio-device", "device", true},
	{"virtio-pci", "pci-device", true},
	{"virtio-blk-pci-base", "virtio-pci", true},
	{"virtio-scsi-pci-base", "virtio-pci", true},
	{"ide-device", "device", true},
	{"scsi-device", "device", true},
	{"virtio-net-pci-base", "virtio-pci", true},
	{"e1000-base", "pci-device", true},
	{"virtio-rng-pci-base", "virtio-pci", true},
	{"virtio-balloon-pci-base", "virtio-pci", true},
	{"virtio-serial-pci-base", "virtio-pci", true},
	{"virtio-9p-pci-base", "virtio-pci", true},
	{"vhost-vsock-pci-base", "virtio-pci", true},
	{"virtio-gpu-pci-base", "virtio-pci", true},
	{"virtio-vga-base", "virtio-pci", true},
	{"virtio-gpu-base", "virtio-device", true},
	{"virtio-serial-port", "device", true},
	{"pci-bridge-base", "pci-device", true},
	{"pcie-port", "pci-bridge-base", true},
	{"pcie-slot", "pcie-port", true},
	{"pcie-root-port-base", "pcie-slot", true},
	{"i440FX-pcihost", "device", false},
	{"q35-pcihost", "device", false},
	{"mch", "pci-device", false},
	{"ICH9-LPC", "pci-device", false},
	{"ICH9-SMB", "pci-device", false},
	{"mc146818rtc", "isa-device", false},
	{"i8042", "isa-device", false},
	{"fw_cfg_io", "device", false},
	{"ioapic", "device", false},
	{"container", "object", false},
	{"memory-backend", "object", true},
	{"memory-backend-ram", "memory-backend", false},
	{"memory-backend-memfd", "memory-backend", false},
	{"memory-backend-file", "memory-backend", false},
	{"rng-backend", "object", true},
	{"rng-random", "rng-backend", false},
	{"rng-builtin", "rng-backend", false},
	{"iothread", "object", false},
	{"secret", "object", false},
	{"accel", "object", true},
	{"kvm-accel", "accel", false},
	{"tcg-accel", "accel", false},
	{"machine", "object", true},
	{"none-machine", "machine", false},
	{"pc-i440fx-7.2-machine", "machine", false},
	{"pc-q35-7.2-machine", "machine", false},
	{"microvm-machine", "machine", false},
	{"cpu", "device", true},
	{"x86_64-cpu", "cpu", true},
	{"host-x86_64-cpu", "max-x86_64-cpu", false},
};

/* Devices that people ask for most, and what there is instead. */
static const struct {
	const char *beginning, *way_out;
} missing[] = {
	{"e1000", "use e1000, e1000e or virtio-net-pci"},
	{"rtl8139", "use virtio-net-pci"},
	{"scsi-", "use scsi-hd or scsi-cd"},
	{"ide-drive", "use ide-hd or ide-cd"},
	{"lsi", "use virtio-scsi-pci"},
	{"megasas", "use virtio-scsi-pci"},
	{"piix3-ide", "a pc has it: leave it out"},
	{"nvme-", "use nvme with drive="},
	{"virtio-vga", "use virtio-vga"},
	{"virtio-gpu", "use virtio-gpu-pci"},
	{"qxl", "use VGA"},
	{"cirrus-vga", "use VGA"},
	{"vmware-svga", "use VGA"},
	{"ramfb", "use bochs-display"},
	{"secondary-vga", "there is one display"},
	{"usb-ehci", "use qemu-xhci"},
	{"usb-bot", "use usb-storage"},
	{"usb-uas", "use usb-storage"},
	{"usb-", "use usb-tablet, usb-mouse, usb-kbd or usb-storage"},
	{"piix3-usb", "use qemu-xhci"},
	{"piix4-usb", "use qemu-xhci"},
	{"ich9-usb", "use qemu-xhci"},
	{"pci-ohci", "use qemu-xhci"},
	{"pci-bridge", "use pcie-root-port on -M q35"},
	{"pcie-", "use pcie-root-port on -M q35"},
	{"ioh3420", "use pcie-root-port"},
	{"ivshmem", "there is no memory that guests share"},
	{"vfio-", "devices of the host's are not given to guests"},
	{"vhost-", "it needs a helper of the host's"},
	{"tpm-", "use tpm-tis or tpm-crb"},
};

/* "MODEL-x86_64-cpu" */
static bool is_cpu(const char *name)
{
	size_t length = strlen(name), suffix = strlen(DEVICE_CPU_SUFFIX), i;

	if (length <= suffix || strcmp(name + length - suffix, DEVICE_CPU_SUFFIX) != 0)
		return false;
	length -= suffix;
	for (i = 0; i < cpu_model_count; i++)
		if (strlen(cpu_models[i].name) == length && strncmp(cpu_models[i].name, name, length) == 0)
			return true;
	return length == strlen("host") && strncmp(name, "host", length) == 0;
}

const struct device_driver *device_driver_find(const char *name, struct error *error)
{
	unsigned i;

	if (!name) {
		error_set(error, EINVAL, "which driver? (see -device help)");
		return NULL;
	}
	if (is_cpu(name))
		name = "max" DEVICE_CPU_SUFFIX;

	for (i = 0; i < DRIVERS; i++)
		if (strcmp(drivers[i].name, name) == 0 ||
		    (drivers[i].other_name && strcmp(drivers[i].other_name, name) == 0))
			return &drivers[i];
	for (i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
		if (strncmp(name, missing[i].beginning, strlen(missing[i].beginning)) == 0)
			break;
	error_set(error, ENODEV, "'%.60s' is not a valid device model name: %s", name,
		  i < sizeof(missing) / sizeof(missing[0]) ? missing[i].way_out
							   : "see -device help");
	return NULL;
}

/* The tables of a driver's properties. Returns how many. */
static unsigned list_tables(const struct device_driver *driver, const struct property *list[5])
{
	unsigned count = 0;

	list[count++] = driver->properties;
	list[count++] = common_properties;
	if (driver->is_pci) {
		list[count++] = pci_properties;
		list[count++] = driver->role == ROLE_NETWORK ? rom_properties : no_rom_properties;
	}
	if (driver->is_virtio)
		list[count++] = virtio_properties;
	return count;
}

/* All of them in one table. */
static void join_tables(const struct device_driver *driver, struct property *all, unsigned room)
{
	const struct property *list[5], *property;
	unsigned i, count = list_tables(driver, list), used = 0;

	for (i = 0; i < count; i++)
		for (property = list[i]; property->name && used < room - 1; property++)
			all[used++] = *property;
	all[used] = (struct property){NULL};
}

int device_check(const struct device_driver *driver, json_t *object, struct error *error)
{
	struct property all[64];

	join_tables(driver, all, sizeof(all) / sizeof(all[0]));
	return keyval_check(object, all, error);
}

bool device_property_is_number(const struct device_driver *driver, const char *key)
{
	const struct property *list[5], *property;
	unsigned i, count = list_tables(driver, list);

	for (i = 0; i < count; i++)
		for (property = list[i]; property->name; property++)
			if (strcmp(property->name, key) == 0)
				return property->type == PROPERTY_NUMBER || property->type == PROPERTY_SIZE;
	return false;
}

void devices_print_help(FILE *file)
{
	unsigned i;

	fputs("Devices:\n", file);
	for (i = 0; i < DRIVERS; i++) {
		fprintf(file, "name \"%s\"%s", drivers[i].name,
			drivers[i].is_pci ? ", bus PCI" : drivers[i].is_virtio ? ", bus virtio-bus" : "");
		if (drivers[i].other_name)
			fprintf(file, ", alias \"%s\"", drivers[i].other_name);
		fprintf(file, ", desc \"%s\"\n", drivers[i].help);
	}
}

void device_print_help(FILE *file, const struct device_driver *driver)
{
	struct property all[64], *property;

	join_tables(driver, all, sizeof(all) / sizeof(all[0]));
	fprintf(file, "%s options:\n", driver->name);
	for (property = all; property->name; property++)
		if (strcmp(property->name, "driver") != 0)
			fprintf(file, "  %s=<%s>%s%s%s\n", property->name, property_type_name(property),
				property->only ? " - only " : "", property->only ? property->only : "",
				property->only && !*property->only ? "nothing" : "");
}

json_t *devices_describe_types(void)
{
	json_t *all = json_object(), *list, *type;
	struct property joined[64], *property;
	unsigned i;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		type = json_pack("{s:b,s:[]}", "abstract", types[i].is_abstract, "properties");
		if (types[i].parent)
			json_object_set_new(type, "parent", json_string(types[i].parent));
		json_object_set_new(all, types[i].name, type);
	}
	for (i = 0; i < DRIVERS; i++) {
		join_tables(&drivers[i], joined, sizeof(joined) / sizeof(joined[0]));
		list = json_array();
		for (property = joined; property->name; property++)
			if (strcmp(property->name, "driver") != 0)
				json_array_append_new(list, json_pack("{s:s,s:s}", "name", property->name,
								      "type", property_type_name(property)));
		json_object_set_new(all, drivers[i].name,
				    json_pack("{s:b,s:s,s:o}", "abstract", 0, "parent",
					      drivers[i].parent, "properties", list));
	}
	return all;
}
