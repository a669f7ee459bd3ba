/*
 * Fuzz target: virtio devices, as a driver drives them that writes whatever it likes.
 *
 * Input: a byte that chooses the device (random numbers, balloon, network, disk, SCSI, console,
 * sockets, a folder by FUSE or 9P, a GPU; a network as a tap interface has it, or with four queues each way), its interface and the
 * features that are agreed on,
 * then steps: bytes anywhere in RAM; descriptors that are nearly good, split and packed; entries in the
 * rings; notifications; registers; frames from the network's other side; packets that nearly belong to a
 * connection; SCSI's commands, and a GPU's; what the process that shares the folder answers, which is hostile, too; resets,
 * holding and releasing, saving and loading. Devices handle their queues as they do in a machine, but for the thread. What must
 * hold: no access outside of RAM (AddressSanitizer), an end to every step, and a device that has work
 * under way in no reset.
 */
#include <errno.h>
#include <linux/virtio_gpu.h>
#include <linux/virtio_net.h>
#include <linux/virtio_scsi.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/virtio/balloon.h"
#include "device/virtio/console.h"
#include "device/virtio/disk.h"
#include "device/virtio/entropy.h"
#include "device/virtio/filesystem.h"
#include "device/virtio/gpu.h"
#include "device/virtio/network.h"
#include "device/virtio/scsi.h"
#include "device/virtio/vsock.h"
#include "fuzz.h"
#include "sandbox/helper.h"

#define RAM_GPA	  0x10000
#define RAM_BYTES 0x8000
#define SIZE	  8
#define DISK_BYTES 0x4000
#define STEPS_MAX 400
#define REGIONS	  4 /* of RAM, with rings */
#define MORE_PAIRS 3
#define SOCKETS   6 /* that the guest can be connected to */
#define CID	  3
#define GPU_BYTES 0x40000 /* of the host's, for resources */
#define SETTLE_WAITS 20 /* of a millisecond */

enum step { POKE, DESCRIPTOR, OFFER, NOTIFY, START, REGISTER, CONFIG, FRAME, RESET, HOLD, SAVE, STEPS };

struct world {
	uint8_t *ram;
	struct guest_memory memory;
	struct virtio_device *virtio;
	struct char_stream *streams[2]; /* of a console; NULL: none */
	uint64_t features;
	bool is_legacy;
	uint16_t available[REGIONS];
	int peer; /* of a network, or who connects for sockets; -1: none */
	int more_peers[MORE_PAIRS]; /* of a network of several queues */
	bool has_pairs, has_header;
	bool has_sockets, has_scsi, has_gpu, is_shared;
	int sockets[SOCKETS];
	struct exchange_end exchange; /* of the folder's process */
	uint32_t reply; /* how that answers next */
};

/* In the place of net/tap.c's: what is behind a header here is no interface. */
int __wrap_net_tap_set_offloads(const struct net_link *link, const struct net_offloads *offloads);
int __wrap_net_tap_set_offloads(const struct net_link *link, const struct net_offloads *offloads)
{
	return link->has_header && offloads ? 0 : -EINVAL;
}

static void swallow(void *context, const uint8_t *data, size_t size)
{
	(void)context;
	(void)data;
	(void)size;
}

static struct virtio_device *create_console(struct world *world, const struct virtio_host *host)
{
	struct virtio_console_port ports[2] = {{NULL, NULL}, {NULL, "name"}};
	struct error error;
	unsigned i;

	for (i = 0; i < 2; i++) {
		ports[i].stream = world->streams[i] = char_callback_create(swallow, NULL, &error);
		fuzz_check(ports[i].stream);
	}
	return virtio_console_create(host, ports, 2, NULL, &error);
}

/* What the helper would say to the first requests is there already. */
static struct virtio_device *create_vsock(struct world *world, const struct virtio_host *host)
{
	struct vsock_host vsock = {.listener = -1};
	static const char bytes[3000];
	struct error error;
	int ends[2], result = 0, i;

	fuzz_check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
	vsock.connector = ends[0];
	world->peer = ends[1];
	world->has_sockets = true;
	for (i = 0; i < SOCKETS; i++) {
		fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
		fuzz_check(write(ends[1], bytes, 1000 * (i % 4)) >= 0);
		fuzz_check(helper_send(world->peer, &result, sizeof(result), &ends[0], 1) == 0);
		close(ends[0]);
		world->sockets[i] = ends[1];
	}
	shutdown(world->peer, SHUT_WR);
	return virtio_vsock_create(host, &vsock, CID, &error);
}

static struct block *open_disk(bool is_readonly)
{
	const struct block_options options = {.format = "raw", .readonly = is_readonly, .unlocked = true,
					      .discard = true, .aio = BLOCK_AIO_THREADS};
	struct block *block;
	struct error error;
	int fd = memfd_create("disk", MFD_CLOEXEC);

	fuzz_check(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
	fuzz_check(block_open_fd(fd, "disk", &options, &block, &error) == 0);
	close(fd);
	return block;
}

/* A disk, a CD-ROM drive with a medium, and one without. */
static struct virtio_device *create_scsi(struct world *world, const struct virtio_host *host)
{
	const struct drive_config drives[] = {
		{.is_present = true, .block = open_disk(false)},
		{.is_present = true, .is_cdrom = true, .block = open_disk(true)},
		{.is_present = true, .is_cdrom = true},
	};
	struct virtio_device *virtio;
	struct error error;
	unsigned i;

	world->has_scsi = true;
	virtio = virtio_scsi_create(host, 1, &error);
	for (i = 0; i < sizeof(drives) / sizeof(drives[0]); i++)
		fuzz_check(virtio_scsi_plug(virtio, (struct virtio_scsi_address){i, i & 1}, &drives[i], &error) == 0);
	return virtio;
}

/* The process that shares it is played by settle. */
static struct virtio_device *create_filesystem(struct world *world, const struct virtio_host *host, bool is_9p)
{
	struct share share = {.protocol = is_9p ? SHARE_9P : SHARE_FUSE};
	struct error error;
	int ends[2];

	fuzz_check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
	share.socket = ends[0];
	share.slots = mmap(NULL, SHARE_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fuzz_check(share.slots != MAP_FAILED);
	exchange_open(&share.exchange, share.slots + SHARE_SLOTS_BYTES, false, ends[0]);
	exchange_open(&world->exchange, share.slots + SHARE_SLOTS_BYTES, true, ends[1]);
	world->peer = ends[1];
	world->is_shared = true;
	return virtio_filesystem_create(host, &share, "folder", &error);
}

static struct virtio_device *create_network(struct world *world, const struct virtio_host *host)
{
	static const struct virtio_network_config card = {.mac = {0x52}, .has_mq = true};
	struct net_link link = {.helper = -1, .has_header = world->has_header};
	struct error error;
	int ends[2];
	unsigned i;

	fuzz_check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
	link.fd = ends[0];
	world->peer = ends[1];
	for (i = 0; world->has_pairs && i < MORE_PAIRS; i++) {
		fuzz_check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
		link.more_fds[link.more_count++] = ends[0];
		world->more_peers[i] = ends[1];
	}
	return virtio_network_create(host, &link, &card, &error);
}

static struct virtio_device *create_device(struct world *world, uint8_t kind)
{
	static const struct virtio_balloon_setup balloon = {.may_deflate_on_oom = true, .has_reporting = true};
	static const struct virtio_gpu_setup gpu = {
		.outputs = 2, .width = 640, .height = 480, .has_edid = true, .memory_bytes = GPU_BYTES};
	struct virtio_host host = {&world->memory, NULL, VIRTIO_RING_FEATURES | VIRTIO_PACKED};
	struct error error;

	world->peer = -1;
	world->has_gpu = (kind & 0xca) == 0xca;
	if (world->has_gpu)
		return virtio_gpu_create(&host, &gpu, &error);
	if ((kind & 0xc8) == 0xc8)
		return create_filesystem(world, &host, kind & 1);
	if ((kind & 0x88) == 0x88)
		return create_scsi(world, &host);
	if ((kind & 0x48) == 0x48)
		return create_vsock(world, &host);
	if (kind & 0x08)
		return create_console(world, &host);
	if (kind % 4 == 0)
		return kind & 0x80 ? virtio_balloon_create(&host, &balloon, &error)
				   : virtio_entropy_create(&host, &error);
	if (kind % 4 < 3) {
		world->has_pairs = kind & 2;
		world->has_header = kind & 0x80;
		return create_network(world, &host);
	}
	return virtio_disk_create(&host, open_disk(false), 2, &error);
}

/* By the legacy interface a queue of SIZE takes two pages, its driver's ring right behind the descriptors. */
static uint32_t region_gpa(const struct world *world, unsigned region)
{
	return RAM_GPA + region % REGIONS * (world->is_legacy ? 0x2000 : 0x1000);
}

/* Several queues share rings; of a network with many, the last one, which controls it, has its own. */
static unsigned region_of(const struct world *world, unsigned queue)
{
	if (!world->has_pairs)
		return queue % REGIONS;
	return queue == world->virtio->queue_count - 1 ? REGIONS - 1 : queue % (REGIONS - 1);
}

static uint32_t queue_gpa(const struct world *world, unsigned queue)
{
	return region_gpa(world, region_of(world, queue));
}

static uint32_t driver_ring(const struct world *world)
{
	return world->is_legacy ? 16 * SIZE : 0x400;
}

static void start_legacy(struct world *world)
{
	struct virtio_device *virtio = world->virtio;
	unsigned i;

	virtio_legacy_set_status(virtio, 0);
	virtio_legacy_set_status(virtio, 3);
	virtio_legacy_set_driver_features(virtio, virtio_legacy_offered(virtio) & world->features);
	memset(world->ram, 0, RAM_BYTES);
	memset(world->available, 0, sizeof(world->available));
	for (i = 0; i < virtio->queue_count; i++)
		virtio_legacy_set_queue(virtio, i, queue_gpa(world, i) / 4096);
	virtio_legacy_set_status(virtio, 7);
}

/* Agree on features and enable all queues at good places. */
static void start(struct world *world)
{
	struct virtio_device *virtio = world->virtio;
	uint64_t features = (virtio_offered(virtio) & world->features) | 1ull << VIRTIO_F_VERSION_1;
	unsigned i;

	if (world->is_legacy) {
		start_legacy(world);
		return;
	}
	virtio_set_status(virtio, 0);
	virtio_set_status(virtio, 3);
	virtio_set_driver_features(virtio, features, 0);
	virtio_set_driver_features(virtio, features >> 32, 1);
	virtio_set_status(virtio, 3 | 8);
	for (i = 0; i < virtio->queue_count; i++) {
		virtio_queue_set_size(virtio, i, SIZE);
		virtio_queue_set_address(virtio, i, VIRTIO_DESCRIPTORS, 0, queue_gpa(world, i));
		virtio_queue_set_address(virtio, i, VIRTIO_DRIVER_AREA, 0, queue_gpa(world, i) + 0x400);
		virtio_queue_set_address(virtio, i, VIRTIO_DEVICE_AREA, 0, queue_gpa(world, i) + 0x800);
		virtio_queue_enable(virtio, i);
	}
	memset(world->available, 0, sizeof(world->available));
	memset(world->ram, 0, 0x4000);
	virtio_set_status(virtio, 3 | 8 | 4);
}

static void poke(struct world *world, struct fuzz_input *input)
{
	uint16_t offset = fuzz_u16(input) % RAM_BYTES;
	uint8_t bytes[32], count = fuzz_u8(input) % sizeof(bytes);

	fuzz_take(input, bytes, count);
	if (count > RAM_BYTES - offset)
		count = RAM_BYTES - offset;
	memcpy(world->ram + offset, bytes, count);
}

/* One whose buffer is in RAM or a little beyond. */
static void put_descriptor(struct world *world, struct fuzz_input *input)
{
	uint8_t region = fuzz_u8(input), index = fuzz_u8(input) % SIZE, flags = fuzz_u8(input);
	uint64_t gpa = RAM_GPA + fuzz_u16(input) % (RAM_BYTES + 0x100);
	uint32_t length = fuzz_u16(input) % 0x1400;
	uint8_t *at = world->ram + region_gpa(world, region) - RAM_GPA + 16 * index;
	uint16_t words[2] = {flags & 7, fuzz_u8(input) % (SIZE + 1)};

	if (world->features >> VIRTIO_F_RING_PACKED & 1) {
		words[1] = (flags & 7) | (flags & 8 ? 1 << 7 : 0) | (flags & 16 ? 1 << 15 : 0);
		words[0] = index;
	}
	memcpy(at, &gpa, 8);
	memcpy(at + 8, &length, 4);
	memcpy(at + 12, words, 4);
}

static void offer(struct world *world, struct fuzz_input *input)
{
	uint8_t region = fuzz_u8(input) % REGIONS, head = fuzz_u8(input) % (SIZE + 1);
	uint16_t *ring = (uint16_t *)(void *)(world->ram + region_gpa(world, region) - RAM_GPA + driver_ring(world));

	ring[2 + world->available[region] % SIZE] = head;
	ring[1] = ++world->available[region];
}

static void set_register(struct world *world, struct fuzz_input *input)
{
	struct virtio_device *virtio = world->virtio;
	uint8_t which = fuzz_u8(input), queue = fuzz_u8(input) % (world->has_pairs ? world->virtio->queue_count : 5);
	uint32_t value = fuzz_u32(input);

	switch (which % 9) {
	case 0: virtio_set_status(virtio, value); break;
	case 1: virtio_set_driver_features(virtio, value, which >> 7); break;
	case 2: virtio_queue_set_size(virtio, queue, value); break;
	case 3: virtio_queue_set_address(virtio, queue, which / 9 % 3, which >> 7, value); break;
	case 4: virtio_queue_enable(virtio, queue); break;
	case 5: virtio_clear_isr(virtio, value); break;
	case 6: virtio_legacy_set_status(virtio, value); break;
	case 7: virtio_legacy_set_driver_features(virtio, value); break;
	case 8: virtio_legacy_set_queue(virtio, queue, value >> (value & 31)); break;
	}
}

static void access_config(struct world *world, struct fuzz_input *input)
{
	uint8_t bytes[8], offset = fuzz_u8(input), size = 1 << fuzz_u8(input) % 4;

	fuzz_take(input, bytes, sizeof(bytes));
	virtio_write_config(world->virtio, offset, size, bytes);
	virtio_read_config(world->virtio, offset, size, bytes);
}

/* A command that is whole: a header and what comes from the guest, a response and what goes to it. */
static void send_command(struct world *world, struct fuzz_input *input)
{
	static const uint8_t opcodes[] = {0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x35, 0x41, 0x42,
					  0x43, 0x46, 0x4a, 0x51, 0x5a, 0x88, 0x8a, 0x8f, 0x93, 0x9e, 0xa0, 0xa8};
	uint8_t flags = fuzz_u8(input), operation = fuzz_u8(input);
	uint16_t size = fuzz_u16(input) % 0x1000;
	uint8_t *table = world->ram + queue_gpa(world, 2) - RAM_GPA;
	uint16_t *ring = (uint16_t *)(void *)(table + driver_ring(world));
	struct virtio_scsi_cmd_req header = {.lun = {1, flags & 3, 0x40, 0}};
	bool is_in = flags & 4;
	unsigned i;

	fuzz_take(input, header.cdb + 1, 15);
	header.cdb[0] = operation < sizeof(opcodes) ? opcodes[operation] : operation;
	memcpy(world->ram + 0x6000, &header, sizeof(header));
	for (i = 0; i < 2; i++) {
		const uint64_t gpa = RAM_GPA + (i ? 0x7000 : 0x6000) - (i && !is_in ? 0x80 : 0);
		uint32_t length = (i ? sizeof(struct virtio_scsi_cmd_resp) : sizeof(header)) + (is_in == i ? size : 0);
		uint16_t bits[2] = {i ? 2 : 1, 1};

		if (length > RAM_GPA + RAM_BYTES - gpa)
			length = RAM_GPA + RAM_BYTES - gpa;
		if (world->features & VIRTIO_PACKED) {
			bits[1] = bits[0] | (flags & 0x40 ? 1 << 15 : 1 << 7);
			bits[0] = 0;
		}
		memcpy(table + 16 * i, &gpa, 8);
		memcpy(table + 16 * i + 8, &length, 4);
		memcpy(table + 16 * i + 12, bits, 4);
	}
	ring[2 + world->available[2] % SIZE] = 0;
	ring[1] = ++world->available[2];
	virtio_notify(world->virtio, 2);
}

/* A byte is a number that is small, or near 2 to the 32. */
static uint32_t take_number(struct fuzz_input *input)
{
	uint8_t value = fuzz_u8(input);

	return value < 0xf0 ? value : UINT32_MAX << (value & 15);
}

/*
 * A command that is whole, of one of few resources, in a descriptor; its answer in the next. The numbers of all kinds come
 * one after the other behind the header, but for a list's entries, which are nearly in RAM. What is shown is looked at.
 */
static void send_gpu_command(struct world *world, struct fuzz_input *input)
{
	uint8_t flags = fuzz_u8(input), type = fuzz_u8(input);
	struct {
		struct virtio_gpu_ctrl_hdr header;
		uint32_t numbers[8];
		struct virtio_gpu_mem_entry entries[4];
	} command = {.header = {.type = (type & 0x80 ? VIRTIO_GPU_CMD_UPDATE_CURSOR : VIRTIO_GPU_CMD_GET_DISPLAY_INFO) + (type & 15),
				.flags = flags & 1, .fence_id = type}};
	unsigned queue = type >> 7, first = 2 * (world->available[queue] % (SIZE / 2)), i;
	bool wraps = world->available[queue] / (SIZE / 2) % 2;
	uint8_t *table = world->ram + queue_gpa(world, queue) - RAM_GPA;
	uint16_t *ring = (uint16_t *)(void *)(table + driver_ring(world));
	struct picture picture;

	for (i = 0; i < 8; i++)
		command.numbers[i] = take_number(input);
	if (command.header.type == VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING)
		for (i = 0; i < 4; i++)
			memcpy(command.numbers + 2 + 4 * i, &(struct virtio_gpu_mem_entry){RAM_GPA + fuzz_u16(input), fuzz_u16(input), 0}, 16);
	memcpy(world->ram + 0x6000, &command, sizeof(command));
	for (i = 0; i < 2; i++) {
		const uint64_t gpa = RAM_GPA + (i ? 0x7000 : 0x6000);
		uint32_t length = i ? 0x500 : sizeof(command) - (flags >> 1 & 0x1f);
		uint16_t bits[2] = {i ? 2 : 1, first + 1};

		if (world->features & VIRTIO_PACKED) {
			bits[1] = bits[0] | (wraps ? 1 << 15 : 1 << 7);
			bits[0] = 0;
		}
		memcpy(table + 16 * (first + i), &gpa, 8);
		memcpy(table + 16 * (first + i) + 8, &length, 4);
		memcpy(table + 16 * (first + i) + 12, bits, 4);
	}
	if (!(world->features & VIRTIO_PACKED))
		ring[2 + world->available[queue] % SIZE] = first;
	world->available[queue]++;
	if (!(world->features & VIRTIO_PACKED))
		ring[1] = world->available[queue];
	virtio_notify(world->virtio, queue);
	if (flags & 0x80 && virtio_gpu_take_picture(world->virtio, &picture) == 0)
		picture_free(&picture);
}

/* The folder's process says what the step before told it to, to whatever it is asked. */
static void settle(struct world *world)
{
	struct virtio_device *virtio = world->virtio;
	struct pollfd peer = {.fd = world->peer, .events = POLLIN};
	struct exchange_message message;
	unsigned waits = 0;

	if (!world->is_shared)
		return;
	/* Those that had no slot are asked later. */
	while (__atomic_load_n(&virtio->under_way, __ATOMIC_ACQUIRE) > 0) {
		if (exchange_take(&world->exchange, &message) <= 0) {
			/* It has answered another request in place of one: now it ends. */
			if (exchange_sleep(&world->exchange) && poll(&peer, 1, 1) <= 0 && ++waits == SETTLE_WAITS)
				shutdown(world->peer, SHUT_RDWR);
			exchange_hear(&world->exchange);
			continue;
		}
		message.size = world->reply & 0x8000 ? world->reply << 8 : world->reply % (message.room + 1);
		if ((world->reply >> 16 & 0x1f) == 0x1f)
			message.slot = world->reply >> 24;
		/* More replies than there can be. */
		if ((world->reply >> 16 & 0x3f) == 0x20)
			world->exchange.put += world->reply >> 24;
		exchange_put(&world->exchange, &message);
	}
}

/* The guest says something of one of few connections, in a chain of one descriptor. */
static void send_packet(struct world *world, struct fuzz_input *input)
{
	uint16_t flags = fuzz_u8(input), size = fuzz_u16(input) % 0x1000;
	uint8_t *table = world->ram + queue_gpa(world, 1) - RAM_GPA;
	uint16_t *ring = (uint16_t *)(void *)(table + 0x400);
	struct virtio_vsock_hdr header = {
		.src_cid = CID,
		.dst_cid = 2,
		.src_port = flags & 1,
		.dst_port = flags >> 1 & 1,
		.len = flags & 0x80 ? size : 0,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = fuzz_u8(input) % 9,
		.flags = flags >> 2,
		.buf_alloc = fuzz_u16(input),
		.fwd_cnt = fuzz_u8(input),
	};
	const uint64_t gpa = RAM_GPA + 0x5000;
	const uint32_t length = sizeof(header) + size;

	memcpy(world->ram + 0x5000, &header, sizeof(header));
	memset(table, 0, 16);
	memcpy(table, &gpa, 8);
	memcpy(table + 8, &length, 4);
	if (world->features & VIRTIO_PACKED) {
		table[15] = flags & 0x40 ? 0x80 : 0;
		table[14] = flags & 0x40 ? 0 : 0x80;
	}
	ring[2 + world->available[1] % SIZE] = 0;
	ring[1] = ++world->available[1];
	recv(world->peer, table + 0x300, 16, MSG_DONTWAIT); /* what it asked for before */
	virtio_notify(world->virtio, 1);
}

static void send_frame(struct world *world, struct fuzz_input *input)
{
	static const uint8_t nothing[4000];
	/* What is behind a header is of any kind where the guest's RAM is: its bytes, from here on. */
	const uint8_t *frame = world->has_header ? world->ram + 0x4000 : nothing;
	uint16_t size, queue;
	int peer;

	if (world->has_sockets) {
		send_packet(world, input);
		return;
	}
	if (world->has_scsi) {
		send_command(world, input);
		return;
	}
	if (world->has_gpu) {
		send_gpu_command(world, input);
		return;
	}
	if (world->is_shared) {
		world->reply = fuzz_u32(input);
		return;
	}
	size = fuzz_u16(input);
	queue = size % (MORE_PAIRS + 1);
	peer = world->has_pairs && queue ? world->more_peers[queue - 1] : world->peer;
	size %= sizeof(nothing);
	if (world->streams[0])
		char_callback_input(world->streams[size & 1], frame, size);
	if (peer >= 0 && send(peer, frame, size + 1, MSG_DONTWAIT) < 0)
		return;
	virtio_notify(world->virtio, 0);
}

/* A device goes on with what it saved, or with none of what a hostile stream says. */
static void save_and_load(struct world *world, struct fuzz_input *input)
{
	struct virtio_state saved = {0};
	struct state_stream state;
	uint8_t *copy;
	const void *bytes;
	size_t size, at;

	virtio_hold(world->virtio);
	state_save_begin(&state);
	state_section_begin(&state, "virtio", VIRTIO_STATE_LEGACY);
	virtio_transfer(world->virtio, &saved, &state);
	state_section_end(&state);
	fuzz_check(state_saved(&state, &bytes, &size, NULL) == 0);
	copy = malloc(size);
	fuzz_check(copy);
	memcpy(copy, bytes, size);
	state_end(&state);
	at = fuzz_u16(input) % size;
	copy[at] ^= fuzz_u8(input);
	state_load_begin(&state, copy, size);
	state_section_begin(&state, "virtio", VIRTIO_STATE_LEGACY);
	memset(&saved, 0, sizeof(saved));
	virtio_transfer(world->virtio, &saved, &state);
	if (state_complete(&state))
		virtio_restore(world->virtio, &saved);
	free(copy);
	virtio_release(world->virtio);
}

static void drive(struct world *world, struct fuzz_input *input)
{
	unsigned steps;

	for (steps = 0; input->size && steps < STEPS_MAX; steps++) {
		switch (fuzz_u8(input) % STEPS) {
		case POKE: poke(world, input); break;
		case DESCRIPTOR: put_descriptor(world, input); break;
		case OFFER: offer(world, input); break;
		case NOTIFY:
			virtio_notify(world->virtio, fuzz_u8(input) % (world->has_pairs ? world->virtio->queue_count : 5));
			break;
		case START: start(world); break;
		case REGISTER: set_register(world, input); break;
		case CONFIG: access_config(world, input); break;
		case FRAME: send_frame(world, input); break;
		case RESET:
			virtio_reset(world->virtio);
			fuzz_check(world->virtio->under_way == 0);
			break;
		case HOLD:
			virtio_hold(world->virtio);
			fuzz_check(world->virtio->under_way == 0);
			virtio_release(world->virtio);
			break;
		case SAVE:
			/* What a guest has open in a folder cannot be saved. */
			if (!world->is_shared)
				save_and_load(world, input);
			break;
		}
		settle(world);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct world world = {.features = UINT64_MAX};
	uint8_t kind = fuzz_u8(&input);
	int i;

	/* Its own allocation, so that what lies beside it is noticed. */
	world.ram = aligned_alloc(4096, RAM_BYTES);
	fuzz_check(world.ram);
	memset(world.ram, 0, RAM_BYTES);
	world.memory.region_count = 1;
	world.memory.regions[0] = (struct guest_region){RAM_GPA, RAM_BYTES, world.ram, NULL};
	if (kind & 0x10)
		world.features &= ~VIRTIO_PACKED;
	if (kind & 0x20)
		world.features &= ~(1ull << VIRTIO_RING_F_EVENT_IDX);
	if (kind & 0x40)
		world.features &= ~(1ull << VIRTIO_NET_F_MRG_RXBUF);
	world.virtio = create_device(&world, kind);
	fuzz_check(world.virtio);
	world.is_legacy = kind & 4;
	world.virtio->has_legacy = world.is_legacy;
	/* Its size is the device's to say. */
	for (i = 0; world.is_legacy && i < (int)world.virtio->queue_count; i++)
		world.virtio->queues[i].ring.size_max = SIZE;
	virtio_release(world.virtio);
	start(&world);
	drive(&world, &input);
	world.virtio->kind->destroy(world.virtio);
	if (world.peer >= 0)
		close(world.peer);
	for (i = 0; i < (world.has_pairs ? MORE_PAIRS : 0); i++)
		close(world.more_peers[i]);
	for (i = 0; i < (world.has_sockets ? SOCKETS : 0); i++)
		close(world.sockets[i]);
	char_destroy(world.streams[0]);
	char_destroy(world.streams[1]);
	free(world.ram);
	return 0;
}
