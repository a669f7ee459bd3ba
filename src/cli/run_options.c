#include "cli/run_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/size.h"

const char run_options_help[] =
    "Usage: kvik run (DISK | --kernel FILE | --flat FILE) [OPTION]... [DISK]...\n"
    "       kvik run [--kernel FILE] [OPTION]... -- COMMAND [ARGUMENT]...\n"
    "       kvik run --share DIR[:rw] [OPTION]...\n"
    "The second runs a command in a machine of its own, where kvik is started, on the\n"
    "host's files; what it writes is dropped, but for what is below a --share DIR:rw.\n"
    "The third runs $SHELL so, in DIR.\n"
    "\n"
    "What to boot, if not the first DISK:\n"
    "  --kernel FILE          Linux bzImage, PVH ELF or multiboot kernel\n"
    "  --initrd FILE          initial RAM disk\n"
    "  --append STRING        kernel command line (console=ttyS0 for Linux)\n"
    "  --linux-entry BITS     enter a bzImage in 16, 32 or 64-bit mode (auto)\n"
    "  --firmware bios|uefi|FILE[,vars=FILE]  who boots the disks: SeaBIOS or OVMF as they\n"
    "                         are installed, or FILE (bios); where UEFI's variables are kept\n"
    "  --flat FILE            bare program; ends when it halts with interrupts off\n"
    "  --flat-address ADDRESS where it is put and starts (0x1000)\n"
    "  --flat-mode MODE       real (default), protected or long\n"
    "Machine:\n"
    "  --machine pc|q35|microvm  board (pc)\n"
    "  --irqchip full|split   PIC, I/O APIC, PIT by the CPUs or in the monitor\n"
    "  --memory SIZE          RAM, as 512M or 4G; a bare number is MiB (1G)\n"
    "  --cpus N               virtual CPUs (the host's up to 4; for a bare program 1)\n"
    "  --cpu MODEL[,+F][,-F]  their model (host) with more and fewer features; help\n"
    "                         lists them\n"
    "  --accel auto|kvm|engine  who runs the CPUs: /dev/kvm, kvik's engine (auto)\n"
    "  --engine auto|interp|jit|direct  how the engine runs code (auto: what takes least\n"
    "                         time); lockstep, direct-lockstep: interp and jit, interp and\n"
    "                         direct, compared, to find errors (one CPU)\n"
    "  --code-cache SIZE      translated code that is kept (MEMORY/8, 32M to 128M)\n"
    "  --code-cache-file FILE where it is kept for the next machine; default: a file in\n"
    "                         the user's cache directory (nowhere)\n"
    "  --code-cache-file-size SIZE  at most (128M)\n"
    "  --sandbox on|off       whether kvik confines itself (on)\n"
    "  --no-reboot            end with status 0 when the guest resets the machine\n"
    "Disks:\n"
    "  --disk FILE[,PROPERTY[=VALUE]]...  a disk image, or FILE alone as an argument;\n"
    "                         format=F, readonly, snapshot (writes are dropped),\n"
    "                         serial=S, cache=writeback|none|writethrough|directsync|\n"
    "                         unsafe, discard, aio=auto|io_uring|threads, queues=N, packed,\n"
    "                         bus=virtio|ide|ahci|scsi|nvme|usb, boot=N (its turn),\n"
    "                         on-error=report|ignore|wait|wait-for-room\n"
    "  --cdrom FILE[,PROPERTY[=VALUE]]...  a CD or DVD in a drive, or FILE alone as an argument\n"
    "                         that is an image of one; likewise\n"
    "Network, with --net WHERE[,mac=ADDRESS][,packed], again for each device (none; with\n"
    "firmware, user):\n"
    "  user[,forward=tcp|udp:[ADDRESS:]PORT:GUESTPORT]...[,restrict][,hostname=NAME]\n"
    "                         one of its own that reaches what the host does\n"
    "   [,tftp=FOLDER][,bootfile=NAME]  what the guest boots from there: with boot[=N] (its\n"
    "                         turn) and rom=FILE by any of these\n"
    "  tap=NAME               a tap interface of the host's\n"
    "Folders, with --share DIR[:ro|:rw][,tag=NAME][,type=virtiofs|9p][,cache=C][,owners=O]:\n"
    "                         a folder of the host's, for `mount -t virtiofs NAME DIR` in\n"
    "                         the guest (ro, share0 and so on; cache=auto, always or none;\n"
    "                         owners=host, or those that the guest says: xattr, files);\n"
    "                         by 9P: `mount -t 9p -o trans=virtio,version=9p2000.L ...`\n"
    "Sockets between the guest's programs and the host's (AF_VSOCK), with --vsock PATH[,cid=N]:\n"
    "                         \"CONNECT PORT\" to the socket PATH reaches the guest's port; its\n"
    "                         connections to port N of the host reach the socket PATH_N (3)\n"
    "Consoles, each of stdio, file=PATH or none:\n"
    "  --serial WHERE         first serial port (stdio)\n"
    "  --console WHERE        virtio console, hvc0; also unix=PATH, a socket to connect to\n"
    "  --port NAME=WHERE      virtio port, /dev/virtio-ports/NAME; likewise\n"
    "  --debug-console WHERE  ports 0xe9 and 0x402 (stdio; with firmware, none)\n"
    "  --print-port PORT      print what the guest writes there on standard output\n"
    "  --debug-exit PORT|none a write of N there ends with status N*2+1 (0xf4; with\n"
    "                         firmware, none)\n"
    "  --display file=PATH    a VGA, whose picture ^A d and SIGUSR2 put there as PPM (none)\n"
    "Devices to add, with --device NAME[,PROPERTY=VALUE]...:\n"
    "  isa-debug-exit[,iobase=PORT][,iosize=N]  instead of --debug-exit (0x501, 2)\n"
    "  pc-testdev, pci-testdev[,slot=N][,membar=SIZE]  of kvm-unit-tests\n"
    "  virtio-rng[,slot=N][,packed=0|1]  random numbers\n"
    "  virtio-balloon[,target=SIZE]  memory that the guest gives back\n"
    "  i6300esb[,slot=N]      a watchdog that resets the machine\n"
    "  pci-exercise[,slot=N]  a PCI function with one of each thing\n"
    "Saving:\n"
    "  --save FILE            where SIGUSR1 and ^A s save the machine, which goes on\n"
    "  --end-when-saved       end with status 0 then, and leave the disks as they are\n"
    "  --load FILE            begin as saved there; all other options as they were\n"
    "Watching:\n"
    "  --gdb tcp:PORT|unix:PATH   gdb may connect there, of this host\n"
    "  --gdb-wait             begin when it has\n"
    "  --stats                counters at the end\n"
    "  --dump-code FILE       write what the translator makes, guest and host code\n"
    "  -v, -vv                say what is done; more\n"
    "  --help                 this text\n";

/* One of `names` (a list ended by NULL); -1 when it is none of them. */
static int choice(const char *value, const char *const *names)
{
	int i;

	for (i = 0; names[i]; i++)
		if (strcmp(value, names[i]) == 0)
			return i;
	return -1;
}

static int parse_kernel(struct run_options *options, const char *value, struct error *error)
{
	(void)error;
	options->boot.kernel = value;
	return 0;
}

static int parse_initrd(struct run_options *options, const char *value, struct error *error)
{
	(void)error;
	options->boot.initrd = value;
	return 0;
}

static int parse_append(struct run_options *options, const char *value, struct error *error)
{
	(void)error;
	options->boot.command_line = value;
	return 0;
}

static int parse_firmware(struct run_options *options, const char *value, struct error *error)
{
	return firmware_option_parse(&options->firmware, value, error);
}

static int parse_flat(struct run_options *options, const char *value, struct error *error)
{
	(void)error;
	options->boot.flat = value;
	return 0;
}

static int parse_flat_address(struct run_options *options, const char *value, struct error *error)
{
	if (number_parse(value, UINT64_MAX, &options->boot.flat_address) < 0)
		return error_set(error, EINVAL, "'%s' is not an address: use a number as 0x7c00",
				 value);
	return 0;
}

static int parse_flat_mode(struct run_options *options, const char *value, struct error *error)
{
	static const char *const names[] = {"real", "protected", "long", NULL};
	int mode = choice(value, names);

	if (mode < 0)
		return error_set(error, EINVAL, "'%s' is not a mode: use real, protected or long",
				 value);
	options->boot.flat_mode = (enum flat_mode)mode;
	return 0;
}

static int parse_linux_entry(struct run_options *options, const char *value, struct error *error)
{
	static const char *const names[] = {"auto", "16", "32", "64", NULL};
	int how = choice(value, names);

	if (how < 0)
		return error_set(error, EINVAL, "'%s' is not an entry: use auto, 16, 32 or 64",
				 value);
	options->boot.linux_entry = (enum linux_entry)how;
	return 0;
}

static int parse_machine(struct run_options *options, const char *value, struct error *error)
{
	static const char *const names[] = {"pc", "microvm", "q35", NULL};
	int board = choice(value, names);

	if (board < 0)
		return error_set(error, EINVAL, "'%s' is not a machine: use pc, q35 or microvm", value);
	options->board = (enum board_kind)board;
	return 0;
}

static int parse_irqchip(struct run_options *options, const char *value, struct error *error)
{
	static const char *const names[] = {"full", "split", NULL};
	int kind = choice(value, names);

	if (kind < 0)
		return error_set(error, EINVAL, "'%s' is not an irqchip: use full or split", value);
	options->irqchip = (enum interrupts_kind)kind;
	return 0;
}

static int parse_memory(struct run_options *options, const char *value, struct error *error)
{
	options->has_memory = true;
	if (size_parse(value, &options->memory_bytes) < 0)
		return error_set(error, EINVAL, "'%s' is not a size: use one as 512M or 4G", value);
	if (options->memory_bytes < RAM_MIN_BYTES || options->memory_bytes > RAM_MAX_BYTES)
		return error_set(error, EINVAL, "'%s' is out of range: use 1M to %lluG", value,
				 RAM_MAX_BYTES >> 30);
	if (options->memory_bytes % 4096)
		return error_set(error, EINVAL, "'%s' is not a multiple of 4K", value);
	return 0;
}

static int parse_code_cache(struct run_options *options, const char *value, struct error *error)
{
	uint64_t *bytes = &options->code_cache_bytes;

	if (size_parse(value, bytes) < 0)
		return error_set(error, EINVAL, "'%s' is not a size: use one as 512K or 64M", value);
	if (*bytes < KVM_CODE_CACHE_MIN || *bytes > KVM_CODE_CACHE_MAX)
		return error_set(error, EINVAL, "'%s' is out of range: use %lluK to %lluG", value,
				 KVM_CODE_CACHE_MIN >> 10, KVM_CODE_CACHE_MAX >> 30);
	return 0;
}

static int parse_code_cache_file(struct run_options *options, const char *value, struct error *error)
{
	if (!*value)
		return error_set(error, EINVAL, "there is no name: use a file's, or default");
	options->code_cache_file.path = value;
	return 0;
}

static int parse_code_cache_file_size(struct run_options *options, const char *value, struct error *error)
{
	uint64_t *bytes = &options->code_cache_file.size;

	if (size_parse(value, bytes) < 0)
		return error_set(error, EINVAL, "'%s' is not a size: use one as 64M", value);
	if (*bytes < CODE_CACHE_FILE_MIN || *bytes > CODE_CACHE_FILE_MAX)
		return error_set(error, EINVAL, "'%s' is out of range: use %lluM to %lluM", value,
				 CODE_CACHE_FILE_MIN >> 20, CODE_CACHE_FILE_MAX >> 20);
	return 0;
}

static int parse_cpus(struct run_options *options, const char *value, struct error *error)
{
	uint64_t number;

	if (number_parse(value, MACHINE_MAX_CPUS, &number) < 0 || number == 0)
		return error_set(error, EINVAL, "'%s' is not a number of CPUs: use 1 to %u", value,
				 MACHINE_MAX_CPUS);
	options->cpus = number;
	return 0;
}

static int parse_accel(struct run_options *options, const char *value, struct error *error)
{
	static const char *const names[] = {"auto", "kvm", "engine", NULL};
	int accel = choice(value, names);

	if (accel < 0)
		return error_set(error, EINVAL,
				 "'%s' is not an accelerator: use auto, kvm or engine", value);
	options->accel = (enum accel)accel;
	return 0;
}

static int parse_engine(struct run_options *options, const char *value, struct error *error)
{
	static const char *const names[] = {"auto", "interp", "jit", "direct", "lockstep",
					    "direct-lockstep", NULL};
	static const struct kvm_backend *const backends[] = {
		&kvm_backend_engine, &kvm_backend_interpreter, &kvm_backend_translator,
		&kvm_backend_direct, &kvm_backend_lockstep, &kvm_backend_direct_lockstep};
	int engine = choice(value, names);

	if (engine < 0)
		return error_set(error, EINVAL, "'%s' is not an engine: use auto, interp, jit, "
				 "direct, lockstep or direct-lockstep",
				 value);
	options->engine = backends[engine];
	return 0;
}

static int parse_stream(struct stream_option *stream, const char *value, struct error *error)
{
	if (strcmp(value, "stdio") == 0) {
		stream->kind = STREAM_STDIO;
	} else if (strcmp(value, "none") == 0) {
		stream->kind = STREAM_NONE;
	} else if (strncmp(value, "file=", 5) == 0 && value[5]) {
		stream->kind = STREAM_FILE;
		stream->path = value + 5;
	} else {
		return error_set(error, EINVAL,
				 "'%s' is no place for it: use stdio, file=PATH or none", value);
	}
	return 0;
}

static int parse_serial(struct run_options *options, const char *value, struct error *error)
{
	options->has_serial = true;
	return parse_stream(&options->serial, value, error);
}

/* Where a virtio port goes: a socket, too. */
static int parse_port_stream(struct stream_option *stream, const char *value, struct error *error)
{
	if (strncmp(value, "unix=", 5) == 0 && value[5]) {
		stream->kind = STREAM_UNIX;
		stream->path = value + 5;
		return 0;
	}
	if (parse_stream(stream, value, error) == 0)
		return 0;
	return error_set(error, EINVAL,
			 "'%s' is no place for it: use stdio, file=PATH, unix=PATH or none", value);
}

static int add_port(struct run_options *options, char *name, const char *value,
		    struct error *error)
{
	struct port_option *port = &options->ports[options->port_count];

	if (options->port_count == VIRTIO_CONSOLE_PORTS_MAX) {
		free(name);
		return error_set(error, EINVAL, "there can be at most %u consoles and ports",
				 VIRTIO_CONSOLE_PORTS_MAX);
	}
	*port = (struct port_option){.name = name};
	options->port_count++;
	return parse_port_stream(&port->where, value, error);
}

static int parse_console(struct run_options *options, const char *value, struct error *error)
{
	return add_port(options, NULL, value, error);
}

static int parse_serial_port(struct run_options *options, const char *value, struct error *error)
{
	size_t length = strcspn(value, "=");
	char *name;

	if (!length || length > VIRTIO_CONSOLE_NAME_MAX || !value[length])
		return error_set(error, EINVAL,
				 "'%s' is no port: use NAME=WHERE, a name of up to %u characters",
				 value, VIRTIO_CONSOLE_NAME_MAX);
	name = strndup(value, length);
	if (!name)
		return error_set_errno(error, ENOMEM, "'%s'", value);
	return add_port(options, name, value + length + 1, error);
}

static int parse_debug_console(struct run_options *options, const char *value, struct error *error)
{
	options->has_debug_console = true;
	return parse_stream(&options->debug_console, value, error);
}

static int parse_port(int *port, unsigned width, const char *value, struct error *error)
{
	uint64_t number;

	if (number_parse(value, 0x10000 - width, &number) < 0)
		return error_set(error, EINVAL, "'%s' is not an I/O port: use 0 to 0x%x", value,
				 0x10000 - width);
	*port = number;
	return 0;
}

static int parse_print_port(struct run_options *options, const char *value, struct error *error)
{
	return parse_port(&options->print_port, 1, value, error);
}

static int parse_debug_exit(struct run_options *options, const char *value, struct error *error)
{
	options->debug_exit_port = -1;
	if (strcmp(value, "none") == 0)
		return 0;
	return parse_port(&options->debug_exit_port, 4, value, error);
}

static int parse_save(struct run_options *options, const char *value, struct error *error)
{
	(void)error;
	options->save_path = value;
	return 0;
}

static int parse_load(struct run_options *options, const char *value, struct error *error)
{
	(void)error;
	options->load_path = value;
	return 0;
}

static int parse_device(struct run_options *options, const char *value, struct error *error)
{
	if (options->device_count == DEVICE_OPTIONS_MAX)
		return error_set(error, EINVAL, "at most %u devices can be added",
				 DEVICE_OPTIONS_MAX);
	return device_option_parse(&options->devices[options->device_count++], value, error);
}

static int parse_display(struct run_options *options, const char *value, struct error *error)
{
	if (strcmp(value, "none") == 0)
		options->picture_path = NULL;
	else if (strncmp(value, "file=", 5) == 0 && value[5])
		options->picture_path = value + 5;
	else
		return error_set(error, EINVAL, "'%s' is no display: use none or file=PATH", value);
	return 0;
}

static int parse_cpu(struct run_options *options, const char *value, struct error *error)
{
	if (strcmp(value, "help") == 0) {
		options->wants_cpu_help = true;
		return 0;
	}
	return cpu_spec_parse(&options->cpu, value, error);
}

static int parse_disk(struct run_options *options, const char *value, struct error *error)
{
	int result;

	if (options->disk_count == BOARD_DISKS_MAX)
		return error_set(error, EINVAL, "there can be at most %u disks", BOARD_DISKS_MAX);
	result = disk_option_parse(&options->disks[options->disk_count], value, error);
	if (result == 0)
		options->disk_count++;
	return result;
}

static int parse_cdrom(struct run_options *options, const char *value, struct error *error)
{
	int result = parse_disk(options, value, error);

	if (result == 0)
		options->disks[options->disk_count - 1].is_cdrom = true;
	return result;
}

/* A file alone: what it is shows in it. */
static int parse_image(struct run_options *options, const char *value, struct error *error)
{
	struct disk_option *disk = &options->disks[options->disk_count];
	int result = parse_disk(options, value, error);

	if (result == 0 && !disk->has_bus && disk_option_is_cdrom_image(disk))
		disk->is_cdrom = true;
	return result;
}

static int parse_net(struct run_options *options, const char *value, struct error *error)
{
	int result;

	options->has_net = true;
	if (strcmp(value, "none") == 0)
		return 0;
	if (options->net_count == BOARD_NETS_MAX)
		return error_set(error, EINVAL, "there can be at most %u networks", BOARD_NETS_MAX);
	result = net_option_parse(&options->nets[options->net_count], value, error);
	if (result == 0)
		options->net_count++;
	return result;
}

static int parse_share(struct run_options *options, const char *value, struct error *error)
{
	int result;

	if (options->share_count == BOARD_SHARES_MAX)
		return error_set(error, EINVAL, "there can be at most %u shares", BOARD_SHARES_MAX);
	result = share_option_parse(&options->shares[options->share_count], value, error);
	if (result == 0)
		options->share_count++;
	return result;
}

static int parse_vsock(struct run_options *options, const char *value, struct error *error)
{
	return vsock_option_parse(&options->vsock, value, error);
}

static int parse_sandbox(struct run_options *options, const char *value, struct error *error)
{
	static const char *const names[] = {"off", "on", NULL};
	int is_on = choice(value, names);

	if (is_on < 0)
		return error_set(error, EINVAL, "'%s' is neither: use on or off", value);
	options->is_confined = is_on;
	return 0;
}

static int parse_no_reboot(struct run_options *options, const char *value, struct error *error)
{
	(void)value;
	(void)error;
	options->ends_at_reset = true;
	return 0;
}

static int parse_end_when_saved(struct run_options *options, const char *value,
				struct error *error)
{
	(void)value;
	(void)error;
	options->ends_when_saved = true;
	return 0;
}

static int parse_stats(struct run_options *options, const char *value, struct error *error)
{
	(void)value;
	(void)error;
	options->wants_statistics = true;
	return 0;
}

static int parse_gdb(struct run_options *options, const char *value, struct error *error)
{
	(void)error;
	options->gdb = value;
	return 0;
}

static int parse_gdb_wait(struct run_options *options, const char *value, struct error *error)
{
	(void)value;
	(void)error;
	options->waits_for_gdb = true;
	return 0;
}

static int parse_dump_code(struct run_options *options, const char *value, struct error *error)
{
	(void)error;
	options->code_dump = value;
	return 0;
}

static int parse_verbose(struct run_options *options, const char *value, struct error *error)
{
	(void)value;
	(void)error;
	options->verbosity++;
	return 0;
}

static int parse_very_verbose(struct run_options *options, const char *value, struct error *error)
{
	(void)value;
	(void)error;
	options->verbosity += 2;
	return 0;
}

static int parse_help(struct run_options *options, const char *value, struct error *error)
{
	(void)value;
	(void)error;
	options->wants_help = true;
	return 0;
}

static const struct run_option {
	const char *name;
	bool takes_value;
	int (*parse)(struct run_options *options, const char *value, struct error *error);
} option_table[] = {
	{"--kernel", true, parse_kernel},
	{"--initrd", true, parse_initrd},
	{"--append", true, parse_append},
	{"--linux-entry", true, parse_linux_entry},
	{"--flat", true, parse_flat},
	{"--flat-address", true, parse_flat_address},
	{"--flat-mode", true, parse_flat_mode},
	{"--machine", true, parse_machine},
	{"--irqchip", true, parse_irqchip},
	{"--memory", true, parse_memory},
	{"--cpus", true, parse_cpus},
	{"--cpu", true, parse_cpu},
	{"--accel", true, parse_accel},
	{"--engine", true, parse_engine},
	{"--code-cache", true, parse_code_cache},
	{"--code-cache-file", true, parse_code_cache_file},
	{"--code-cache-file-size", true, parse_code_cache_file_size},
	{"--serial", true, parse_serial},
	{"--console", true, parse_console},
	{"--port", true, parse_serial_port},
	{"--debug-console", true, parse_debug_console},
	{"--print-port", true, parse_print_port},
	{"--debug-exit", true, parse_debug_exit},
	{"--device", true, parse_device},
	{"--save", true, parse_save},
	{"--end-when-saved", false, parse_end_when_saved},
	{"--load", true, parse_load},
	{"--net", true, parse_net},
	{"--share", true, parse_share},
	{"--vsock", true, parse_vsock},
	{"--display", true, parse_display},
	{"--disk", true, parse_disk},
	{"--cdrom", true, parse_cdrom},
	{"--firmware", true, parse_firmware},
	{"--sandbox", true, parse_sandbox},
	{"--no-reboot", false, parse_no_reboot},
	{"--stats", false, parse_stats},
	{"--gdb", true, parse_gdb},
	{"--gdb-wait", false, parse_gdb_wait},
	{"--dump-code", true, parse_dump_code},
	{"-v", false, parse_verbose},
	{"-vv", false, parse_very_verbose},
	{"--help", false, parse_help},
	{"-h", false, parse_help},
};

static const struct run_option *find_option(const char *argument, size_t length)
{
	unsigned i;

	for (i = 0; i < sizeof(option_table) / sizeof(option_table[0]); i++)
		if (strlen(option_table[i].name) == length &&
		    strncmp(option_table[i].name, argument, length) == 0)
			return &option_table[i];
	return NULL;
}

int run_options_parse(struct run_options *options, int count, char **arguments, struct error *error)
{
	const struct run_option *option;
	const char *argument, *value;
	size_t length;
	int i, result;

	*options = (struct run_options){
		.engine = &kvm_backend_engine,
		.memory_bytes = 1ull << 30,
		.is_confined = true,
		.boot.flat_address = FLAT_DEFAULT_ADDRESS,
		.print_port = -1,
		.debug_exit_port = DEBUG_EXIT_NOT_SAID,
	};
	for (i = 0; i < count; i++) {
		argument = arguments[i];
		if (strcmp(argument, "--") == 0) {
			options->command = &arguments[i + 1];
			options->command_count = count - i - 1;
			if (!options->command_count)
				return error_set(error, EINVAL, "-- needs a command behind it");
			break;
		}
		if (argument[0] != '-') {
			result = parse_image(options, argument, error);
			if (result < 0)
				return result;
			continue;
		}
		length = strcspn(argument, "=");
		option = find_option(argument, length);
		if (!option)
			return error_set(error, EINVAL, "unknown option '%.*s'", (int)length,
					 argument);
		value = argument[length] ? argument + length + 1 : NULL;
		if (!option->takes_value && value)
			return error_set(error, EINVAL, "%s takes no value", option->name);
		if (option->takes_value && !value) {
			if (i + 1 == count)
				return error_set(error, EINVAL, "%s needs a value", option->name);
			value = arguments[++i];
		}
		result = option->parse(options, value, error);
		if (result < 0) {
			error_prefix(error, "%s", option->name);
			return result;
		}
		if (options->wants_help || options->wants_cpu_help)
			return 0;
	}
	return 0;
}

void run_options_free(struct run_options *options)
{
	while (options->disk_count)
		disk_option_free(&options->disks[--options->disk_count]);
	while (options->port_count)
		free(options->ports[--options->port_count].name);
	firmware_option_free(&options->firmware);
	while (options->net_count)
		net_option_free(&options->nets[--options->net_count]);
	while (options->share_count)
		share_option_free(&options->shares[--options->share_count]);
	vsock_option_free(&options->vsock);
}
