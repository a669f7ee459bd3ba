#include "cli/qemu/options.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/folders.h"
#include "util/log.h"

#define ANY_KEYS NULL

enum option_form {
	FLAG,	/* no value */
	TEXT,	/* the last one counts */
	TEXTS,	/* each counts */
	MERGED, /* keys and values; all of them together */
	EACH,	/* keys and values, each time apart */
	NESTED, /* likewise, with keys in keys */
	HARMLESS_FLAG, HARMLESS, /* without and with a value: taken, and makes no difference */
	VAIN_FLAG, VAIN, /* taken, with a word (`help`) that nothing comes of it */
	MISSING_FLAG, MISSING, /* one of QEMU's that is not there; `help` is the way out */
};

static const struct property machine_properties[] = {
	{"type", PROPERTY_TEXT},
	{"accel", PROPERTY_TEXT},
	{"kernel-irqchip", PROPERTY_TEXT, "on split", false, "kernel_irqchip"},
	{"memory-backend", PROPERTY_TEXT},
	{"acpi", PROPERTY_TEXT, "on auto"},
	{"dump-guest-core", PROPERTY_BOOL},
	{"graphics", PROPERTY_BOOL},
	{"hmat", PROPERTY_BOOL, "off"},
	{"hpet", PROPERTY_BOOL, "off"},
	{"i8042", PROPERTY_BOOL},
	{"isa-serial", PROPERTY_BOOL, "on"},
	{"mem-merge", PROPERTY_BOOL},
	{"memory-encryption", PROPERTY_TEXT, ""},
	{"nvdimm", PROPERTY_BOOL, "off"},
	{"pcie", PROPERTY_TEXT},
	{"pic", PROPERTY_TEXT, "on auto"},
	{"pit", PROPERTY_TEXT, "on auto"},
	{"rtc", PROPERTY_TEXT, "on auto"},
	{"sata", PROPERTY_BOOL, "off"},
	{"smbus", PROPERTY_BOOL, "off"},
	{"smm", PROPERTY_TEXT, "off auto"},
	{"usb", PROPERTY_BOOL},
	{"vmport", PROPERTY_TEXT, "off auto"},
	{"pcspk-audiodev", PROPERTY_TEXT},
	{"x-option-roms", PROPERTY_BOOL, "off", false, "option-roms"},
	{"auto-kernel-cmdline", PROPERTY_BOOL},
	{NULL},
};

const struct property *options_machine_properties(void)
{
	return machine_properties;
}

static const struct property accel_properties[] = {
	{"accel", PROPERTY_TEXT},
	{"thread", PROPERTY_TEXT, "single multi"},
	{"tb-size", PROPERTY_NUMBER},
	{"code-cache-file", PROPERTY_TEXT},
	{"code-cache-file-size", PROPERTY_SIZE},
	{"kernel-irqchip", PROPERTY_TEXT, "on split", false, "kernel_irqchip"},
	{"split-wx", PROPERTY_BOOL},
	{"dirty-ring-size", PROPERTY_NUMBER},
	{"one-insn-per-tb", PROPERTY_BOOL, "off"},
	{NULL},
};

static const struct property smp_properties[] = {
	{"cpus", PROPERTY_NUMBER},    {"sockets", PROPERTY_NUMBER}, {"dies", PROPERTY_NUMBER},
	{"clusters", PROPERTY_NUMBER}, {"cores", PROPERTY_NUMBER},   {"threads", PROPERTY_NUMBER},
	{"maxcpus", PROPERTY_NUMBER}, {NULL},
};

static const struct property numa_properties[] = {
	{"type", PROPERTY_TEXT, "node"}, {"nodeid", PROPERTY_NUMBER}, {"cpus", PROPERTY_TEXT, NULL, true},
	{"memdev", PROPERTY_TEXT},	 {"mem", PROPERTY_SIZE},      {NULL},
};

static const struct property memory_properties[] = {
	{"size", PROPERTY_TEXT}, {"slots", PROPERTY_NUMBER}, {"maxmem", PROPERTY_TEXT}, {NULL}};

static const struct property name_properties[] = {
	{"guest", PROPERTY_TEXT}, {"process", PROPERTY_TEXT}, {"debug-threads", PROPERTY_BOOL}, {NULL}};

static const struct property rtc_properties[] = {
	{"base", PROPERTY_TEXT},
	{"clock", PROPERTY_TEXT, "host rt vm"},
	{"driftfix", PROPERTY_TEXT, "none slew"},
	{NULL},
};

static const struct property boot_properties[] = {
	{"order", PROPERTY_TEXT},   {"once", PROPERTY_TEXT},	   {"menu", PROPERTY_BOOL},
	{"strict", PROPERTY_BOOL},  {"reboot-timeout", PROPERTY_NUMBER},
	{"splash-time", PROPERTY_NUMBER}, {NULL},
};

static const struct property mon_properties[] = {
	{"chardev", PROPERTY_TEXT},
	{"id", PROPERTY_TEXT},
	{"mode", PROPERTY_TEXT, "readline control"},
	{"pretty", PROPERTY_BOOL},
	{NULL},
};

static const struct property chardev_properties[] = {
	{"backend", PROPERTY_TEXT},
	{"id", PROPERTY_TEXT},
	{"path", PROPERTY_TEXT},
	{"fd", PROPERTY_TEXT},
	{"host", PROPERTY_TEXT},
	{"port", PROPERTY_TEXT},
	{"server", PROPERTY_BOOL},
	{"wait", PROPERTY_BOOL},
	{"nodelay", PROPERTY_BOOL, NULL, false, "delay"},
	{"reconnect", PROPERTY_NUMBER},
	{"telnet", PROPERTY_BOOL},
	{"websocket", PROPERTY_BOOL, "off"},
	{"ipv4", PROPERTY_BOOL},
	{"ipv6", PROPERTY_BOOL},
	{"mux", PROPERTY_BOOL},
	{"signal", PROPERTY_BOOL},
	{"append", PROPERTY_BOOL},
	{"logfile", PROPERTY_TEXT},
	{"logappend", PROPERTY_BOOL},
	{"size", PROPERTY_SIZE},
	{"cols", PROPERTY_NUMBER},
	{"rows", PROPERTY_NUMBER},
	{"width", PROPERTY_NUMBER},
	{"height", PROPERTY_NUMBER},
	{"name", PROPERTY_TEXT}, /* of a viewer's */
	{"clipboard", PROPERTY_BOOL},
	{"mouse", PROPERTY_BOOL},
	{NULL},
};

static const struct property drive_properties[] = {
	{"file", PROPERTY_TEXT},
	{"if", PROPERTY_TEXT},
	{"id", PROPERTY_TEXT},
	{"format", PROPERTY_TEXT, NULL, false, "driver"},
	{"media", PROPERTY_TEXT, "disk cdrom"},
	{"index", PROPERTY_NUMBER},
	{"bus", PROPERTY_NUMBER},
	{"unit", PROPERTY_NUMBER},
	{"readonly", PROPERTY_BOOL, NULL, false, "read-only"},
	{"auto-read-only", PROPERTY_BOOL},
	{"snapshot", PROPERTY_BOOL},
	{"cache", PROPERTY_TEXT},
	{"cache.direct", PROPERTY_BOOL},
	{"cache.no-flush", PROPERTY_BOOL},
	{"cache.writeback", PROPERTY_BOOL},
	{"aio", PROPERTY_TEXT, "threads native io_uring"},
	{"discard", PROPERTY_TEXT, "ignore off unmap on"},
	{"detect-zeroes", PROPERTY_TEXT, "off on unmap"},
	{"copy-on-read", PROPERTY_BOOL},
	{"serial", PROPERTY_TEXT},
	{"werror", PROPERTY_TEXT, "report ignore enospc stop"},
	{"rerror", PROPERTY_TEXT, "report ignore stop"},
	{"file.driver", PROPERTY_TEXT, "file host_device nbd"},
	{"file.filename", PROPERTY_TEXT},
	{"file.locking", PROPERTY_TEXT, "on off auto"},
	{"file.aio", PROPERTY_TEXT, "threads native io_uring"},
	{"file.export", PROPERTY_TEXT},
	{"file.host", PROPERTY_TEXT},
	{"file.port", PROPERTY_TEXT},
	{"file.path", PROPERTY_TEXT},
	{"file.server.type", PROPERTY_TEXT, "inet unix"},
	{"file.server.host", PROPERTY_TEXT},
	{"file.server.port", PROPERTY_TEXT},
	{"file.server.path", PROPERTY_TEXT},
	{"node-name", PROPERTY_TEXT},
	{"throttling.bps-total", PROPERTY_NUMBER, NULL, false, "bps"},
	{"throttling.bps-total-max", PROPERTY_NUMBER, NULL, false, "bps_max"},
	{"throttling.bps-total-max-length", PROPERTY_NUMBER, NULL, false, "bps_max_length"},
	{"throttling.bps-read", PROPERTY_NUMBER, NULL, false, "bps_rd"},
	{"throttling.bps-read-max", PROPERTY_NUMBER, NULL, false, "bps_rd_max"},
	{"throttling.bps-read-max-length", PROPERTY_NUMBER, NULL, false, "bps_rd_max_length"},
	{"throttling.bps-write", PROPERTY_NUMBER, NULL, false, "bps_wr"},
	{"throttling.bps-write-max", PROPERTY_NUMBER, NULL, false, "bps_wr_max"},
	{"throttling.bps-write-max-length", PROPERTY_NUMBER, NULL, false, "bps_wr_max_length"},
	{"throttling.iops-total", PROPERTY_NUMBER, NULL, false, "iops"},
	{"throttling.iops-total-max", PROPERTY_NUMBER, NULL, false, "iops_max"},
	{"throttling.iops-total-max-length", PROPERTY_NUMBER, NULL, false, "iops_max_length"},
	{"throttling.iops-read", PROPERTY_NUMBER, NULL, false, "iops_rd"},
	{"throttling.iops-read-max", PROPERTY_NUMBER, NULL, false, "iops_rd_max"},
	{"throttling.iops-read-max-length", PROPERTY_NUMBER, NULL, false, "iops_rd_max_length"},
	{"throttling.iops-write", PROPERTY_NUMBER, NULL, false, "iops_wr"},
	{"throttling.iops-write-max", PROPERTY_NUMBER, NULL, false, "iops_wr_max"},
	{"throttling.iops-write-max-length", PROPERTY_NUMBER, NULL, false, "iops_wr_max_length"},
	{"throttling.iops-size", PROPERTY_NUMBER, NULL, false, "iops_size"},
	{"throttling.group", PROPERTY_TEXT, NULL, false, "group"},
	{NULL},
};

/* Of networks that are sockets. */
#define ADDRESS_PROPERTIES(address)                                                                \
	{address ".type", PROPERTY_TEXT, "inet unix fd"}, {address ".host", PROPERTY_TEXT},        \
	{address ".port", PROPERTY_TEXT}, {address ".path", PROPERTY_TEXT},                        \
	{address ".str", PROPERTY_TEXT}
#define SOCKET_NETWORK_PROPERTIES                                                                  \
	{"fd", PROPERTY_TEXT}, {"listen", PROPERTY_TEXT}, {"connect", PROPERTY_TEXT},              \
	{"mcast", PROPERTY_TEXT}, {"udp", PROPERTY_TEXT}, {"localaddr", PROPERTY_TEXT},            \
	{"server", PROPERTY_BOOL}, {"reconnect", PROPERTY_NUMBER}, {"reconnect-ms", PROPERTY_NUMBER}, \
	ADDRESS_PROPERTIES("addr"), ADDRESS_PROPERTIES("local"), ADDRESS_PROPERTIES("remote")

/* vhost's make no difference: frames go through kvik, whatever the host's kernel could do by itself. */
#define TAP_PROPERTIES                                                                             \
	{"ifname", PROPERTY_TEXT}, {"script", PROPERTY_TEXT}, {"downscript", PROPERTY_TEXT},       \
	{"fds", PROPERTY_TEXT}, {"queues", PROPERTY_NUMBER}, {"br", PROPERTY_TEXT},                \
	{"helper", PROPERTY_TEXT}, {"vhost", PROPERTY_BOOL}, {"vhostforce", PROPERTY_BOOL},        \
	{"vhostfd", PROPERTY_TEXT}, {"vhostfds", PROPERTY_TEXT}, {"poll-us", PROPERTY_NUMBER}

#define USER_NETWORK_PROPERTIES                                                                    \
	{"hostfwd", PROPERTY_TEXT, NULL, true}, {"guestfwd", PROPERTY_TEXT, NULL, true},           \
	{"restrict", PROPERTY_BOOL}, {"hostname", PROPERTY_TEXT}, {"domainname", PROPERTY_TEXT},   \
	{"dnssearch", PROPERTY_TEXT, NULL, true}, {"tftp", PROPERTY_TEXT},                         \
	{"bootfile", PROPERTY_TEXT}, {"tftp-server-name", PROPERTY_TEXT}, {"net", PROPERTY_TEXT},  \
	{"host", PROPERTY_TEXT}, {"dns", PROPERTY_TEXT}, {"dhcpstart", PROPERTY_TEXT},             \
	{"ipv4", PROPERTY_BOOL}, {"ipv6", PROPERTY_BOOL}, {"ipv6-net", PROPERTY_TEXT},             \
	{"ipv6-prefix", PROPERTY_TEXT}, {"ipv6-prefixlen", PROPERTY_NUMBER},                       \
	{"ipv6-host", PROPERTY_TEXT}, {"ipv6-dns", PROPERTY_TEXT}

static const struct property netdev_properties[] = {
	{"type", PROPERTY_TEXT},
	{"id", PROPERTY_TEXT},
	USER_NETWORK_PROPERTIES,
	TAP_PROPERTIES,
	SOCKET_NETWORK_PROPERTIES,
	{NULL},
};

/* Those of -netdev, and of the device that comes with it. */
static const struct property nic_properties[] = {
	{"type", PROPERTY_TEXT},
	{"id", PROPERTY_TEXT},
	{"model", PROPERTY_TEXT},
	{"mac", PROPERTY_TEXT, NULL, false, "macaddr"},
	{"netdev", PROPERTY_TEXT},
	{"name", PROPERTY_TEXT},
	USER_NETWORK_PROPERTIES,
	TAP_PROPERTIES,
	SOCKET_NETWORK_PROPERTIES,
	{NULL},
};

static const struct property smbios_properties[] = {
	{"type", PROPERTY_NUMBER},
	{"file", PROPERTY_TEXT, ""},
	{"vendor", PROPERTY_TEXT},
	{"version", PROPERTY_TEXT},
	{"date", PROPERTY_TEXT},
	{"release", PROPERTY_TEXT},
	{"uefi", PROPERTY_TEXT, "on off"},
	{"manufacturer", PROPERTY_TEXT},
	{"product", PROPERTY_TEXT},
	{"serial", PROPERTY_TEXT},
	{"uuid", PROPERTY_TEXT},
	{"sku", PROPERTY_TEXT},
	{"family", PROPERTY_TEXT},
	{"asset", PROPERTY_TEXT},
	{"location", PROPERTY_TEXT},
	{"sock_pfx", PROPERTY_TEXT},
	{"part", PROPERTY_TEXT},
	{"max-speed", PROPERTY_NUMBER},
	{"current-speed", PROPERTY_NUMBER},
	{"loc_pfx", PROPERTY_TEXT},
	{"bank", PROPERTY_TEXT},
	{"speed", PROPERTY_NUMBER},
	{"value", PROPERTY_TEXT, NULL, true},
	{"path", PROPERTY_TEXT, NULL, true},
	{NULL},
};

static const struct property fw_cfg_properties[] = {
	{"name", PROPERTY_TEXT}, {"file", PROPERTY_TEXT}, {"string", PROPERTY_TEXT}, {NULL}};

static const struct property fd_properties[] = {
	{"set", PROPERTY_NUMBER}, {"fd", PROPERTY_NUMBER}, {"opaque", PROPERTY_TEXT}, {NULL}};

static const struct property tpmdev_properties[] = {
	{"type", PROPERTY_TEXT, "emulator"}, {"id", PROPERTY_TEXT}, {"chardev", PROPERTY_TEXT}, {NULL}};

static const struct property action_properties[] = {
	{"reboot", PROPERTY_TEXT, "reset shutdown"},
	{"shutdown", PROPERTY_TEXT, "poweroff pause"},
	{"panic", PROPERTY_TEXT, "pause shutdown exit-failure none"},
	{"watchdog", PROPERTY_TEXT, "reset shutdown poweroff pause debug none inject-nmi"},
	{NULL},
};

static const struct property sandbox_properties[] = {
	{"enable", PROPERTY_BOOL},
	{"obsolete", PROPERTY_TEXT},
	{"elevateprivileges", PROPERTY_TEXT},
	{"spawn", PROPERTY_TEXT},
	{"resourcecontrol", PROPERTY_TEXT},
	{NULL},
};

static const struct property msg_properties[] = {
	{"timestamp", PROPERTY_BOOL}, {"guest-name", PROPERTY_BOOL}, {NULL}};

static const struct property overcommit_properties[] = {
	{"mem-lock", PROPERTY_BOOL, "off"}, {"cpu-pm", PROPERTY_BOOL, "off"}, {NULL}};

static const struct property global_properties[] = {
	{"driver", PROPERTY_TEXT}, {"property", PROPERTY_TEXT}, {"value", PROPERTY_TEXT}, {NULL}};

#define NOBODY_LOOKS "nothing shows the display here: a monitor takes pictures of it (screendump)"

static const struct qemu_option {
	const char *name;
	enum option_form form;
	const char *first; /* the key of a first value without one */
	const struct property *properties;
	const char *argument, *help; /* as -help shows them */
	const char *group; /* the name that QMP knows it by, when that is another */
	const char *key;   /* the option that it is the same as, or NULL */
} table[] = {
	{"machine", MERGED, "type", machine_properties, "TYPE[,accel=A:B][,PROPERTY=VALUE]...", "pc, q35, microvm or none; help lists them"},
	{"M", MERGED, "type", machine_properties, "TYPE...", "the same", .key = "machine"},
	{"accel", EACH, "accel", accel_properties, "kvm|tcg|engine[,tb-size=MIB][,code-cache-file=FILE|default]", "what runs the CPUs: /dev/kvm, or kvik's engine (tcg is the same); again: the next to try"},
	{"enable-kvm", FLAG, NULL, NULL, NULL, "as -accel kvm"},
	{"cpu", TEXT, NULL, NULL, "MODEL[,FEATURE=on|off]...", "the CPUs' model; help lists them"},
	{"smp", MERGED, "cpus", smp_properties, "N[,maxcpus=N][,sockets=N][,dies=N][,cores=N][,threads=N]", "how many CPUs, and how many there may be", "smp-opts"},
	{"numa", EACH, "type", numa_properties, "node[,nodeid=0][,cpus=..][,memdev=ID]", "the one node that there is, and its memory"},
	{"m", MERGED, "size", memory_properties, "SIZE[,slots=N,maxmem=SIZE]", "memory, as 512M or 4G; a bare number is MiB (128M); slots for more, up to maxmem", "memory"},
	{"kernel", TEXT, NULL, NULL, "FILE", "a Linux, PVH or multiboot kernel"},
	{"initrd", TEXT, NULL, NULL, "FILE", "its initial RAM disk"},
	{"append", TEXT, NULL, NULL, "STRING", "its command line"},
	{"bios", TEXT, NULL, NULL, "FILE", "who boots the disks without -kernel (SeaBIOS as it is installed)"},
	{"pflash", TEXTS, NULL, NULL, "FILE", "UEFI's code, and again: its variables, as -drive if=pflash"},

	{"drive", EACH, NULL, drive_properties, "file=FILE[,if=ide|scsi|virtio|none|pflash][,media=cdrom][,format=F][,id=ID]...", "a disk, or one for -device; fat:rw:FOLDER: a disk with what a folder has"},
	{"hda", TEXT, NULL, NULL, "FILE", "a disk by IDE (by AHCI on q35), and so on: as -drive file=FILE,index=0"},
	{"hdb", TEXT, NULL, NULL, "FILE", "likewise"},
	{"hdc", TEXT, NULL, NULL, "FILE", "likewise"},
	{"hdd", TEXT, NULL, NULL, "FILE", "likewise"},
	{"cdrom", TEXT, NULL, NULL, "FILE", "a CD or DVD: as -drive file=FILE,index=2,media=cdrom"},
	{"blockdev", NESTED, "driver", ANY_KEYS, "driver=D,node-name=ID,...", "a node of file, host_device, nbd, raw or qcow2, for -device; or JSON"},
	{"snapshot", FLAG, NULL, NULL, NULL, "what is written to disks is dropped at the end"},
	{"device", EACH, "driver", ANY_KEYS, "DRIVER[,PROPERTY=VALUE]...", "a device; help lists them, DRIVER,help what can be said; or JSON"},
	{"netdev", EACH, "type", netdev_properties, "user|tap|bridge|socket|stream|dgram,id=ID,...", "a network for -device; or JSON"},
	{"nic", EACH, "type", nic_properties, "user|tap|bridge|socket|stream|dgram|none[,model=M][,mac=A]...", "a network and its device"},
	{"net", EACH, "type", nic_properties, "none|nic|user|tap|bridge|socket,...", "the old form of it"},

	{"fsdev", EACH, "fsdriver", fsdev_properties, "local,id=ID,path=FOLDER,security_model=none|passthrough|mapped-xattr|mapped-file[,readonly=on]...", "a folder of the host's for -device virtio-9p-pci"},
	{"virtfs", EACH, "fsdriver", virtfs_properties, "local,path=FOLDER,mount_tag=TAG,security_model=M...", "a folder and its device"},

	{"tpmdev", EACH, "type", tpmdev_properties, "emulator,id=ID,chardev=ID", "a TPM 2.0, which swtpm is at its control channel, for -device tpm-tis or tpm-crb"},
	{"chardev", EACH, "backend", chardev_properties, "BACKEND,id=ID,...", "null, stdio, file, pipe, pty, socket, serial, ringbuf or vc; mux=on shares it, logfile=F keeps what is written"},
	{"serial", TEXTS, NULL, NULL, "WHERE", "a serial port, up to four times: stdio, none, null, vc, pty, file:F, pipe:F, unix:F, tcp:H:P, telnet:H:P, /dev/DEVICE, chardev:ID, mon:WHERE"},
	{"parallel", TEXTS, NULL, NULL, "none", "there is no parallel port"},
	{"monitor", TEXTS, NULL, NULL, "WHERE", "a monitor for people"},
	{"qmp", TEXTS, NULL, NULL, "WHERE", "a monitor for programs"},
	{"qmp-pretty", TEXTS, NULL, NULL, "WHERE", "the same, for people to read"},
	{"mon", EACH, "chardev", mon_properties, "ID[,mode=readline|control]", "a monitor on a -chardev"},
	{"debugcon", TEXT, NULL, NULL, "WHERE", "what the guest writes to port 0xe9"},
	{"echr", TEXT, NULL, NULL, "N", "the escape key of shared consoles (1, ^A)"},
	{"nographic", FLAG, NULL, NULL, NULL, "serial port and monitor on the terminal; ^A h helps"},
	{"display", TEXT, NULL, NULL, "none", "the display is seen by monitors' screendump alone, whatever is said here"},
	{"vga", TEXT, NULL, NULL, "std|none", "a graphics adapter (std, with firmware; for cirrus, qxl, virtio and vmware, too)"},

	{"object", NESTED, "qom-type", ANY_KEYS, "TYPE,id=ID,...", "memory-backend-ram|memfd|file, rng-random, rng-builtin, iothread, secret, filter-dump; or JSON"},
	{"name", MERGED, "guest", name_properties, "NAME", "the machine's name"},
	{"uuid", TEXT, NULL, NULL, "UUID", "its UUID, in SMBIOS, too"},
	{"smbios", EACH, NULL, smbios_properties, "type=N,FIELD=VALUE...|type=11,path=FILE", "what SMBIOS tables say"},
	{"fw_cfg", EACH, "name", fw_cfg_properties, "NAME,file=FILE|string=TEXT", "a file for the guest, /sys/firmware/qemu_fw_cfg in Linux"},
	{"rtc", MERGED, NULL, rtc_properties, "base=utc|localtime|DATE[THH:MM:SS]", "what the clock shows at the start (the host's time, UTC)"},
	{"boot", MERGED, "order", boot_properties, "[order=]LETTERS", "what is booted first: c (disks), d (CD-ROMs), n (networks); once=LETTERS until the first reset, menu=on", "boot-opts"},
	{"global", EACH, NULL, global_properties, "DRIVER.PROPERTY=VALUE", "a property of all devices of that driver"},
	{"add-fd", EACH, NULL, fd_properties, "set=N,fd=FD", "the file /dev/fdset/N"},

	{"incoming", TEXT, NULL, NULL, "file:PATH|exec:COMMAND|unix:PATH|tcp:[HOST]:PORT|fd:N|defer", "wait for a machine that is migrated here"},
	{"mem-path", TEXT, NULL, NULL, "FILE", "the machine's memory is a copy of this file, or in a new one in this folder"},
	{"mem-prealloc", FLAG, NULL, NULL, NULL, "all memory is there from the start"},
	{"loadvm", TEXT, NULL, NULL, "NAME", "begin with a snapshot of the machine that is in its disks (savevm)"},
	{"gdb", TEXT, NULL, NULL, "tcp:[HOST]:PORT|unix:PATH|stdio|chardev:ID|none", "gdb may connect there, or is what is there; with -S it starts the CPUs"},
	{"s", FLAG, NULL, NULL, NULL, "as -gdb tcp::1234"},
	{"S", FLAG, NULL, NULL, NULL, "do not start the CPUs: a monitor's cont does"},
	{"no-reboot", FLAG, NULL, NULL, NULL, "end when the guest resets the machine"},
	{"no-shutdown", FLAG, NULL, NULL, NULL, "do not end when the guest powers off, but stop"},
	{"watchdog-action", TEXT, NULL, NULL, "ACTION", "as -action watchdog=ACTION"},
	{"action", MERGED, NULL, action_properties, "reboot=shutdown,shutdown=pause,...", "likewise"},
	{"nodefaults", FLAG, NULL, NULL, NULL, "no devices but those that are asked for"},
	{"daemonize", FLAG, NULL, NULL, NULL, "go on in the background once all is set up"},
	{"pidfile", TEXT, NULL, NULL, "FILE", "write the process' number there"},
	{"sandbox", MERGED, "enable", sandbox_properties, "on|off", "confinement (on); see docs/security.md"},
	{"version", FLAG, NULL, NULL, NULL, "this program's version"},
	{"h", FLAG, NULL, NULL, NULL, "this text"},
	{"help", FLAG, NULL, NULL, NULL, "the same"},

	{"no-user-config", HARMLESS_FLAG},
	{"nodefconfig", HARMLESS_FLAG},
	{"no-hpet", HARMLESS_FLAG},
	{"no-fd-bootchk", HARMLESS_FLAG},
	{"only-migratable", HARMLESS_FLAG},
	{"L", HARMLESS},
	{"k", HARMLESS},
	{"msg", MERGED, NULL, msg_properties},
	{"overcommit", MERGED, NULL, overcommit_properties},
	{"audiodev", EACH, "driver", ANY_KEYS},
	{"trace", HARMLESS},
	{"d", HARMLESS},
	{"D", HARMLESS},

	{"no-acpi", MISSING_FLAG, .help = "ACPI is always there; acpi=off in -append has Linux ignore it"},
	{"option-rom", MISSING, .help = "option ROMs are the devices' own"},
	{"fda", MISSING, .help = "there is no floppy disk drive"},
	{"fdb", MISSING, .help = "there is no floppy disk drive"},
	{"sd", MISSING, .help = "there is no SD card reader"},
	{"mtdblock", MISSING, .help = "there is no flash memory"},
	{"dtb", MISSING, .help = "PCs have no device trees"},
	{"acpitable", MISSING, .help = "tables cannot be added"},
	{"vnc", VAIN, .help = NOBODY_LOOKS},
	{"spice", VAIN, .help = NOBODY_LOOKS},
	{"sdl", VAIN_FLAG, .help = NOBODY_LOOKS},
	{"curses", VAIN_FLAG, .help = NOBODY_LOOKS},
	{"full-screen", VAIN_FLAG, .help = NOBODY_LOOKS},
	{"soundhw", VAIN, .help = "there is no sound"},
	{"audio", VAIN, .help = "there is no sound"},
	{"icount", VAIN, .help = "instructions are not counted, and time is the host's"},
	{"usb", FLAG, NULL, NULL, NULL, "a USB controller (qemu-xhci)"},
	{"usbdevice", TEXTS, NULL, NULL, "tablet|mouse|keyboard", "one of these by USB"},
	{"watchdog", MISSING, .help = "use -device i6300esb"},
	{"plugin", MISSING, .help = "there are no plug-ins"},
	{"runas", MISSING, .help = "start it as that user"},
	{"chroot", MISSING, .help = "leave it out: kvik takes an empty root directory by itself"},
	{"readconfig", MISSING, .help = "say its content as options"},
	{"writeconfig", MISSING, .help = "keep the command line"},
	{"set", MISSING, .help = "say it where the object is made, or by -global"},
	{"semihosting", MISSING_FLAG, .help = "PCs have none"},
	{"compat", MISSING, .help = "leave it out"},
	{"xen-domid", MISSING, .help = "there is no Xen here"},
	{"tb-size", MISSING, .help = "use -accel tcg,tb-size=MIB"},
	{"singlestep", MISSING_FLAG, .help = "leave it out"},
	{"seed", MISSING, .help = "random numbers are the host's"},
	{"iscsi", MISSING, .help = "there is no iSCSI: use -drive with nbd://HOST"},
	{"dfilter", MISSING, .help = "use kvik run --dump-code"},
	{"preconfig", MISSING_FLAG, .help = "say all on the line, or use -S"},
	{"win2k-hack", MISSING_FLAG, .help = "leave it out"},
	{"rotate", MISSING, .help = NOBODY_LOOKS},
	{"portrait", MISSING_FLAG, .help = NOBODY_LOOKS},
	{"dump-vmstate", MISSING, .help = "saved machines are kvik's own"},
	{"async-teardown", MISSING_FLAG, .help = "leave it out"},
};

#define OPTIONS (sizeof(table) / sizeof(table[0]))

static const struct qemu_option *find_option(const char *argument)
{
	unsigned i;

	argument += argument[1] == '-' ? 2 : 1;
	for (i = 0; i < OPTIONS; i++)
		if (strcmp(table[i].name, argument) == 0)
			return &table[i];
	return NULL;
}

static json_t *list_of(json_t *line, const char *name)
{
	json_t *list = json_object_get(line, name);

	if (!list) {
		list = json_array();
		json_object_set_new(line, name, list);
	}
	return list;
}

static int merge(json_t *line, const char *name, json_t *values)
{
	json_t *earlier = json_object_get(line, name);

	if (!earlier)
		return json_object_set_new(line, name, values);
	json_object_update(earlier, values);
	json_decref(values);
	return 0;
}

/* "driver.property=value", whose first dot is no key's. */
static json_t *parse_global(const char *value, struct error *error)
{
	const char *dot = strchr(value, '.'), *equals = strchr(value, '=');

	if (!dot || !equals || dot > equals || strncmp(value, "driver=", 7) == 0)
		return keyval_parse(value, NULL, global_properties, false, error);
	return json_pack("{s:s%,s:s%,s:s}", "driver", value, (size_t)(dot - value), "property", dot + 1,
			 (size_t)(equals - dot - 1), "value", equals + 1);
}

/* Before its keys, which are of those that there are. */
static int check_network_type(const json_t *values, struct error *error)
{
	static const char *const types[] = {"user", "tap", "bridge", "socket", "stream", "dgram", "none", "nic"};
	const char *type = keyval_text(values, "type");
	unsigned i;

	for (i = 0; type && i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i], type) == 0)
			return 0;
	return type ? error_set(error, ENOTSUP, "'%.60s' is no network here: use user, tap, bridge, socket, stream or dgram", type)
		    : 0;
}

static int take_keys(json_t *line, const struct qemu_option *option, const char *value, struct error *error)
{
	json_t *values;
	int result = 0;

	values = option->properties == global_properties
			 ? parse_global(value, error)
			 : keyval_parse(value, option->first, option->properties, option->form == NESTED,
					error);
	if (!values)
		return -EINVAL;
	if (option->properties == netdev_properties || option->properties == nic_properties)
		result = check_network_type(values, error);
	if (option->properties && result == 0)
		result = keyval_check(values, option->properties, error);
	if (result < 0) {
		json_decref(values);
		return result;
	}
	if (option->form == MERGED)
		return merge(line, option->key ? option->key : option->name, values);
	return json_array_append_new(list_of(line, option->name), values);
}

/* One that is said to be none is none. What a run records cannot be played. */
static int take_in_vain(json_t *line, const struct qemu_option *option, const char *value, struct error *error)
{
	if (value && strstr(value, "rr=re"))
		return error_set(error, ENOTSUP, "runs are neither recorded nor replayed");
	if (!value || strcmp(value, "none") != 0)
		log_hint("-%s%s%.100s: %s", option->name, value ? " " : "", value ? value : "", option->help);
	return json_object_set_new(line, option->name, json_true());
}

static int take(json_t *line, const struct qemu_option *option, const char *value, struct error *error)
{
	switch (option->form) {
	case FLAG: return json_object_set_new(line, option->name, json_true());
	case TEXT:
	case TEXTS:
		if (option->form == TEXT ? json_object_set_new(line, option->name, json_string(value)) < 0
					 : json_array_append_new(list_of(line, option->name),
								 json_string(value)) < 0)
			return error_set(error, EINVAL, "its value is no UTF-8");
		return 0;
	case MERGED:
	case EACH:
	case NESTED: return take_keys(line, option, value, error);
	case HARMLESS:
	case HARMLESS_FLAG: return 0;
	case VAIN:
	case VAIN_FLAG: return take_in_vain(line, option, value, error);
	default: return error_set(error, ENOTSUP, "%s", option->help);
	}
}

static bool takes_value(const struct qemu_option *option)
{
	return option->form != FLAG && option->form != HARMLESS_FLAG && option->form != VAIN_FLAG &&
	       option->form != MISSING_FLAG;
}

json_t *options_parse(int count, char **arguments, struct error *error)
{
	json_t *line = json_object();
	const struct qemu_option *option;
	const char *value;
	int i, result = 0;

	for (i = 0; i < count && result == 0; i++) {
		if (arguments[i][0] != '-') {
			/* The first disk. */
			result = json_object_set_new(line, "hda", json_string(arguments[i])) < 0
					 ? error_set(error, EINVAL, "'%s' is no text", arguments[i])
					 : 0;
			continue;
		}
		option = find_option(arguments[i]);
		if (!option) {
			result = error_set(error, EINVAL, "%s: invalid option (see -help)", arguments[i]);
			break;
		}
		value = NULL;
		if (takes_value(option)) {
			if (i + 1 == count) {
				result = error_set(error, EINVAL, "%s: requires an argument", arguments[i]);
				break;
			}
			value = arguments[++i];
		}
		result = take(line, option, value, error);
		if (result < 0)
			error_prefix(error, "-%s%s%.200s", option->name, value ? " " : "",
				     value ? value : "");
	}
	if (result == 0)
		return line;
	json_decref(line);
	return NULL;
}

void options_print_help(FILE *file)
{
	unsigned i;

	fputs("Usage: kvik-system-x86_64 [OPTION]...\n\nRuns a virtual machine by QEMU's options:\n", file);
	for (i = 0; i < OPTIONS; i++)
		if (table[i].help && table[i].form < HARMLESS_FLAG)
			fprintf(file, "  -%s%s%s\n      %s\n", table[i].name, table[i].argument ? " " : "",
				table[i].argument ? table[i].argument : "", table[i].help);
	fputs("Taken, without a difference:\n ", file);
	for (i = 0; i < OPTIONS; i++)
		if (!table[i].help)
			fprintf(file, " -%s", table[i].name);
	fputs("\nTaken, with a word that nothing comes of it:\n ", file);
	for (i = 0; i < OPTIONS; i++)
		if (table[i].form == VAIN_FLAG || table[i].form == VAIN)
			fprintf(file, " -%s", table[i].name);
	fputs("\nNot there:\n ", file);
	for (i = 0; i < OPTIONS; i++)
		if (table[i].form >= MISSING_FLAG)
			fprintf(file, " -%s", table[i].name);
	fputs("\n", file);
}

int options_check_network(json_t *options, struct error *error)
{
	return keyval_check(options, netdev_properties, error);
}

json_t *options_parse_chardev(const char *text, struct error *error)
{
	json_t *options = keyval_parse(text, "backend", chardev_properties, false, error);

	if (options && keyval_check(options, chardev_properties, error) == 0)
		return options;
	json_decref(options);
	return NULL;
}

json_t *options_describe(void)
{
	static const char *const types[] = {
		[PROPERTY_TEXT] = "string",
		[PROPERTY_BOOL] = "boolean",
		[PROPERTY_NUMBER] = "number",
		[PROPERTY_SIZE] = "size",
	};
	json_t *answer = json_array(), *parameters;
	const struct property *property;
	unsigned i;

	for (i = 0; i < OPTIONS; i++) {
		if ((table[i].form != MERGED && table[i].form != EACH && table[i].form != NESTED) ||
		    table[i].key)
			continue;
		parameters = json_array();
		for (property = table[i].properties; property && property->name; property++)
			json_array_append_new(parameters,
					      json_pack("{s:s,s:s}", "name", property->name, "type",
							types[property->type]));
		json_array_append_new(answer,
				      json_pack("{s:s,s:o}", "option",
						table[i].group ? table[i].group : table[i].name,
						"parameters", parameters));
	}
	return answer;
}
