/*
 * Fuzz target: the devices of a board, as a hostile guest drives them.
 *
 * Input: a byte that chooses the board, and whether it begins with firmware, then accesses: reads and writes of every size at I/O ports
 * and device addresses (chosen so that most hit a device) and in the configuration space of any PCI function, bytes in RAM, where
 * devices find descriptors, lists and rings, input from the host's side, resets, and waits until what is under way has ended. The
 * devices run without a CPU; what they raise and request is swallowed.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "board.h"

#define STEPS_MAX  2000
#define WAITS_MAX  20
#define WAIT_NS	   200000 /* for a thread to begin what a doorbell asks it to */
#define POKE_BYTES 64

/* By a byte's lower half, the first ones in two ways. */
enum step { STEP_PORT_READ, STEP_PORT_WRITE, STEP_MMIO_READ, STEP_MMIO_WRITE, STEP_INPUT, STEP_RESET,
	    STEPS, STEP_POKE = 12, STEP_POKE_TOO, STEP_CONFIG, STEP_WAIT };

/* Where a PC has devices; other ports are reached by their number. */
static const uint16_t ports[] = {
	0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80,
	0x92, 0xe9, 0x402, 0xcf8, 0xcfc, 0xcfd, 0xcfe, 0xcf9, 0x510, 0x511, 0x514, 0x518, 0xf4, 0x20,
	0x21, 0xa0, 0xa1, 0x40, 0x43, 0x600, 0x601, 0x602, 0x604, 0x608, 0x620, 0x4d0, 0x4d1, 0xb2,
	0x1ce, 0x1cf, 0x3c0, 0x3c4, 0x3ce, 0x3d4, 0x3c9, 0xe0, 0xe4, 0xe8, 0x200a, 0xc000, 0xc080, 0xc085, 0xc100, 0xc108, 0xc10c, 0xc118, 0xc11c,
	0x1f0, 0x1f1, 0x1f2, 0x1f3, 0x1f4, 0x1f5, 0x1f6, 0x1f7, 0x3f6, 0x170, 0x174, 0x175, 0x176, 0x177,
	0x376, 0xc120, 0xc122, 0xc124, 0xc12a, 0xc12c,
};

/* Where messages by eventfd go: told in turns, and never about a place that isn't one's own. */
static enum { PLACE_FREE, PLACE_CLAIMED, PLACE_ROUTED, PLACE_CONNECTED } places[16];

static int claim_place(void *context, struct error *error)
{
	unsigned i;

	(void)context;
	(void)error;
	for (i = 0; places[i] != PLACE_FREE; i++)
		fuzz_check(i < sizeof(places) / sizeof(places[0]) - 1);
	places[i] = PLACE_CLAIMED;
	return i;
}

static void release_place(void *context, unsigned gsi)
{
	(void)context;
	fuzz_check(places[gsi] == PLACE_CLAIMED || places[gsi] == PLACE_ROUTED);
	places[gsi] = PLACE_FREE;
}

static int route_place(void *context, unsigned gsi, uint64_t address, uint32_t data)
{
	(void)context;
	(void)address;
	fuzz_check(places[gsi] != PLACE_FREE);
	/* Some messages are refused; with them, the place has none. */
	if (data % 16 == 15)
		return -EINVAL;
	if (places[gsi] == PLACE_CLAIMED)
		places[gsi] = PLACE_ROUTED;
	return 0;
}

static int connect_place(void *context, unsigned gsi, int eventfd)
{
	(void)context;
	fuzz_check(places[gsi] == PLACE_ROUTED && eventfd >= 0);
	places[gsi] = PLACE_CONNECTED;
	return 0;
}

static void disconnect_place(void *context, unsigned gsi, int eventfd)
{
	(void)context;
	fuzz_check(places[gsi] == PLACE_CONNECTED && eventfd >= 0);
	places[gsi] = PLACE_ROUTED;
}

static uint16_t take_port(struct fuzz_input *input)
{
	uint8_t choice = fuzz_u8(input);

	if (choice < sizeof(ports) / sizeof(ports[0]))
		return ports[choice];
	return fuzz_u16(input);
}

/* In the first pages of what is there, or with a page more. */
static uint64_t take_gpa(struct fuzz_input *input, bool is_far)
{
	static const uint64_t pages[] = {0xb0000000, 0xfec00000, 0xc0000000, 0xbf000, FUZZ_FLASH_GPA, 0xe0000000,
					 0xfeb00000, 0x100000000};
	uint16_t offset = fuzz_u16(input);

	return pages[offset >> 13] + (offset & 0x1fff) + (is_far ? (uint64_t)fuzz_u8(input) << 13 : 0);
}

/* Any register of any function of the first buses, by memory. */
static uint64_t take_config_gpa(const struct fuzz_board *made, struct fuzz_input *input)
{
	const struct ram_layout *layout = made->ram.layout;
	uint8_t function = fuzz_u8(input);
	uint16_t offset = fuzz_u16(input);

	return layout->ecam_gpa + (((uint64_t)(offset >> 12) << 20 | function << 12 | (offset & 0xfff)) &
				   (layout->ecam_end - layout->ecam_gpa - 1));
}

/* Bytes in the first MiB, where there is RAM, at a multiple of 16. */
static void poke(const struct fuzz_board *made, struct fuzz_input *input)
{
	uint64_t gpa = (uint64_t)fuzz_u16(input) << 4;
	uint8_t bytes[POKE_BYTES], size = fuzz_u8(input) % POKE_BYTES + 1;

	fuzz_take(input, bytes, size);
	if (guest_memory_write(&made->ram.memory, gpa, bytes, size) < 0)
		return;
}

/* event_loop_before_wait: it looks once. */
static void look_once(void *loop)
{
	event_loop_stop(loop);
}

/* What the I/O thread is asked to do is done, and what runs on other threads ends. */
static void wait_for_work(const struct fuzz_board *made, unsigned *waits)
{
	static const struct timespec begin = {.tv_nsec = WAIT_NS};

	if ((*waits)++ >= WAITS_MAX)
		return;
	nanosleep(&begin, NULL);
	fuzz_check(event_loop_run(made->config.loop) == 0);
	board_hold(made->board);
	board_release(made->board);
}

/* A frame from outside, if there is a wire. What does not fit is lost. */
static void send_frame(int wire, const uint8_t *start, size_t size)
{
	uint8_t frame[128] = {0};

	memcpy(frame, start, size);
	if (wire >= 0 && send(wire, frame, sizeof(frame), MSG_DONTWAIT) < 0)
		return;
}

static void drive(const struct fuzz_board *made, struct fuzz_input *input)
{
	const struct board_config *config = &made->config;
	struct board *board = made->board;
	static const uint8_t sizes[] = {1, 2, 4, 8};
	struct picture picture;
	uint8_t data[8], what;
	unsigned size, waits = 0;

	for (unsigned steps = 0; input->size && steps < STEPS_MAX; steps++) {
		what = fuzz_u8(input);
		size = sizes[what >> 4 & 3];
		switch (what % 16 < STEP_POKE ? what % 16 % STEPS : what % 16) {
		case STEP_PORT_READ:
			pio_bus_read(config->pio, take_port(input), size > 4 ? 4 : size);
			break;
		case STEP_PORT_WRITE: {
			uint16_t port = take_port(input);

			pio_bus_write(config->pio, port, size > 4 ? 4 : size, fuzz_u32(input));
			break;
		}
		case STEP_MMIO_READ: mmio_bus_read(config->mmio, take_gpa(input, what & 0x40), data, size); break;
		case STEP_MMIO_WRITE: {
			uint64_t gpa = take_gpa(input, what & 0x40);

			fuzz_take(input, data, sizeof(data));
			mmio_bus_write(config->mmio, gpa, data, size);
			break;
		}
		case STEP_INPUT:
			fuzz_take(input, data, sizeof(data));
			if (what & 0x80)
				send_frame(made->wire, data, sizeof(data));
			else
				char_callback_input(config->streams.serial, data, size);
			break;
		case STEP_RESET:
			/* Whatever the registers say, there is a picture. */
			if (board_take_picture(board, &picture) == 0)
				picture_free(&picture);
			board_reset(board);
			break;
		case STEP_POKE:
		case STEP_POKE_TOO: poke(made, input); break;
		case STEP_CONFIG: {
			uint64_t gpa = take_config_gpa(made, input);
			uint32_t value;

			if (what & 0x80) {
				mmio_bus_read(config->mmio, gpa, data, size);
				break;
			}
			value = fuzz_u32(input);
			memcpy(data, &value, sizeof(value));
			memset(data + 4, 0, 4);
			mmio_bus_write(config->mmio, gpa, data, size);
			break;
		}
		case STEP_WAIT: wait_for_work(made, &waits); break;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct msi_target msi = {.claim = claim_place, .release = release_place,
					      .route = route_place, .connect = connect_place,
					      .disconnect = disconnect_place};
	struct fuzz_input input = {data, size};
	uint8_t choice = fuzz_u8(&input);
	enum board_kind kind = choice & 1 ? BOARD_MICROVM : choice & 4 ? BOARD_Q35 : BOARD_PC;
	struct error error;
	struct event_loop *loop = event_loop_create(&error);
	struct fuzz_board made;

	fuzz_check(loop);
	event_loop_before_wait(loop, look_once, loop);
	fuzz_board_create(&made, kind, board_kind_is_pc(kind) && (choice & 2), loop, &msi);
	/* A machine begins with a reset. */
	board_reset(made.board);
	board_release(made.board);
	drive(&made, &input);
	fuzz_board_destroy(&made);
	event_loop_destroy(loop);
	return 0;
}
