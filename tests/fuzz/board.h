/* A board for fuzz targets: each device that users can add is on it, and what it raises, requests and
 * prints is swallowed. */
#ifndef KVIK_TESTS_FUZZ_BOARD_H
#define KVIK_TESTS_FUZZ_BOARD_H

#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "machine/board.h"

#define FUZZ_BOARD_RAM_BYTES (4ull << 20)

struct fuzz_board {
	struct ram ram;
	struct board_disk disks[BOARD_DISKS_MAX];
	struct board_net net;
	int wire; /* the other end of its network; -1: it has none */
	struct board_config config;
	struct board *board;
};

static inline void swallow_line(void *context, unsigned gsi, bool level)
{
	(void)context;
	(void)level;
	fuzz_check(gsi < 24);
}

static inline void swallow_request(void *context, enum power_request what, int status)
{
	(void)context;
	(void)status;
	fuzz_check(what <= POWER_WAKE);
}

static inline void swallow_output(void *context, const uint8_t *data, size_t size)
{
	(void)context;
	(void)data;
	(void)size;
}

/* Where the flash memory of a board with firmware is. */
#define FUZZ_ROM_BYTES	 0x10000
#define FUZZ_FLASH_BYTES 0x2000
#define FUZZ_FLASH_GPA	 (0x100000000ull - FUZZ_ROM_BYTES - FUZZ_FLASH_BYTES)

#define FUZZ_DISK_BYTES (256u << 10)

/* Disks, and a drive with a medium, by IDE. They have images of their own for each board. */
static inline void fuzz_add_disks(struct board_config *config, struct board_disk *disks)
{
	const struct block_options options = {.format = "raw", .discard = true, .unlocked = true,
					      .aio = BLOCK_AIO_THREADS};
	const struct board_disk kinds[] = {
		{.bus = BOARD_BUS_IDE},
		{.bus = BOARD_BUS_IDE, .is_cdrom = true, .place_plus_1 = 3},
		{.bus = BOARD_BUS_IDE, .is_cdrom = true, .place_plus_1 = 4},
		{.bus = BOARD_BUS_AHCI, .controller = 0},
		{.bus = BOARD_BUS_AHCI, .controller = 0, .is_cdrom = true},
		{.bus = BOARD_BUS_SCSI, .controller = 1},
		{.bus = BOARD_BUS_NVME},
		{.bus = BOARD_BUS_USB},
	};
	static const struct board_controller controllers[] = {{.bus = BOARD_BUS_AHCI},
							      {.bus = BOARD_BUS_SCSI, .queues = 1}};
	struct error error;
	unsigned i;
	int fd;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		disks[i] = kinds[i];
		if (i == 2)
			continue; /* nothing is in that one */
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		fuzz_check(fd >= 0 && ftruncate(fd, FUZZ_DISK_BYTES) == 0);
		fuzz_check(block_open_fd(fd, "fuzz", &options, &disks[i].block, &error) == 0);
		close(fd);
	}
	config->disks = disks;
	config->controllers = controllers;
	config->controller_count = sizeof(controllers) / sizeof(controllers[0]);
	config->disk_count = i;
}

/* A network card, at whose wire frames come and go. */
static inline void fuzz_add_net(struct fuzz_board *made, enum board_kind kind)
{
	int ends[2];

	fuzz_check(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
	made->wire = ends[1];
	made->net = (struct board_net){.link = {.fd = ends[0], .helper = -1},
				       .mac = {0x52, 0x54, 0, 0x12, 0x34, 0x56},
				       .place = BOARD_PLACE(0, PCI_SLOT_FUNCTION(0x1b, 0)),
				       .model = kind == BOARD_Q35 ? BOARD_NET_E1000E : BOARD_NET_E1000};
	made->config.nets = &made->net;
	made->config.net_count = 1;
}

/* `msi` may be all zeroes. */
static inline void fuzz_board_create(struct fuzz_board *made, enum board_kind kind, bool has_firmware,
				     struct event_loop *loop, const struct msi_target *msi)
{
	static uint8_t code[FUZZ_ROM_BYTES], vars[FUZZ_FLASH_BYTES];
	static const struct firmware firmware = {code, vars, sizeof(code), sizeof(vars), -1};
	static const char *const devices[] = {"pc-testdev", "pci-testdev,membar=8G", "pci-exercise", "i6300esb"};
	static const char *const of_pcs[] = {"vmcoreinfo", "pvpanic", "pvpanic-pci"};
	static const char *const of_microvms[] = {"virtio-rng", "virtio-balloon,target=1M"}; /* by MMIO */
	const char *const *more = kind == BOARD_MICROVM ? of_microvms : of_pcs;
	struct board_config *config = &made->config;
	struct error error = {.message = ""};
	unsigned i;

	*config = (struct board_config){
		.kind = kind,
		.ram = &made->ram,
		.cpus = 2,
		.loop = loop,
		.irq = {.set = swallow_line},
		.msi = *msi,
		.power = {.request = swallow_request},
		.print_port = 0xf1,
		.debug_exit_port = 0xf4,
		.max_cpus = kind == BOARD_MICROVM ? 0 : 5,
		.memory_slots = 3,
		.physical_bits = 40,
		.firmware = has_firmware ? &firmware : NULL,
		.firmware_prints = true,
		.root_port_count = kind == BOARD_Q35 ? 2 : 0,
		.root_ports = {{BOARD_PLACE(0, PCI_SLOT_FUNCTION(0, 1)), 1, 1},
			       {BOARD_PLACE(0, PCI_SLOT_FUNCTION(2, 0)), 2, 2}},
		.usb = {.has_controller = kind != BOARD_MICROVM,
			.place = BOARD_PLACE(0, PCI_SLOT_FUNCTION(0x1c, 0)),
			.devices = {{BOARD_USB_TABLET, 0}, {BOARD_USB_KEYBOARD, 0}},
			.device_count = 2},
		.display = !has_firmware ? BOARD_NO_DISPLAY : kind == BOARD_Q35 ? BOARD_VIRTIO_VGA : BOARD_VGA,
		.gpu = {.outputs = 2, .width = 640, .height = 480, .memory_bytes = 1 << 20},
	};
	for (i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
		fuzz_check(device_option_parse(&config->options[i], devices[i], &error) == 0);
	config->option_count = i;
	for (i = 0; i < (kind == BOARD_MICROVM ? sizeof(of_microvms) : sizeof(of_pcs)) / sizeof(*more); i++)
		fuzz_check(device_option_parse(&config->options[config->option_count++], more[i], &error) == 0);
	/* Behind the port that the window of configuration space reaches. */
	if (kind == BOARD_Q35)
		config->options[1].place = BOARD_PLACE(1, 0);
	fuzz_check(ram_create(&made->ram, kind == BOARD_Q35 ? &ram_layout_q35 : &ram_layout_pc,
			      FUZZ_BOARD_RAM_BYTES, NULL, NULL, &error) == 0);
	made->wire = -1;
	if (kind == BOARD_PC)
		fuzz_add_disks(config, made->disks);
	if (kind != BOARD_MICROVM)
		fuzz_add_net(made, kind);
	config->pio = pio_bus_create();
	config->mmio = mmio_bus_create();
	config->streams.serial = char_callback_create(swallow_output, NULL, &error);
	config->streams.debug_console = char_none_create(&error);
	config->streams.print = char_none_create(&error);
	fuzz_check(config->pio && config->mmio && config->streams.serial);
	made->board = board_create(config, &error);
	fuzz_check(made->board);
	board_fill_memory(made->board, 1, 1ull << 32, 1 << 30, true);
}

static inline void fuzz_board_destroy(struct fuzz_board *made)
{
	board_destroy(made->board);
	if (made->wire >= 0)
		close(made->wire);
	char_destroy(made->config.streams.print);
	char_destroy(made->config.streams.debug_console);
	char_destroy(made->config.streams.serial);
	mmio_bus_destroy(made->config.mmio);
	pio_bus_destroy(made->config.pio);
	ram_destroy(&made->ram);
}

#endif
