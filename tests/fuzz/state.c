/*
 * Fuzz target: saved states of all devices, as a hostile file has them.
 *
 * Input: a byte that chooses what is loaded (a board's devices, the split interrupt controllers); a
 * 16-bit number, how many bytes of a state that was really saved stay in front (ffff: all); and the
 * bytes that follow instead. What is refused must say so. What is accepted must be saved and loaded
 * again, and the devices must stand all accesses afterwards.
 */
#include <stdbool.h>
#include <string.h>

#include "board.h"
#include "device/split_irqchip.h"

enum target { TARGET_PC, TARGET_MICROVM, TARGET_IRQCHIP, TARGET_Q35, TARGETS };

static void swallow_kick(void *context)
{
	(void)context;
}

static int swallow_ioctl(int fd, unsigned long request, void *argument)
{
	const struct kvm_irq_routing *routing = argument;

	(void)fd;
	fuzz_check(request != KVM_SET_GSI_ROUTING || routing->nr <= 24);
	return request == KVM_SIGNAL_MSI;
}

static const struct kvm_backend backend = {.name = "swallow", .ioctl = swallow_ioctl};
static const struct kvm_system kvm = {.backend = &backend};
static const struct kvm_vm vm = {.system = &kvm};

struct subject {
	struct board *board; /* or: */
	struct device irqchip;
};

static void save(const struct subject *subject, struct state_stream *state)
{
	state_save_begin(state);
	if (subject->board)
		board_save(subject->board, state);
	else
		device_save(&subject->irqchip, state);
}

static int load(const struct subject *subject, const void *bytes, size_t size, struct error *error)
{
	struct state_stream state;

	state_load_begin(&state, bytes, size);
	if (subject->board)
		board_load(subject->board, &state);
	else
		device_load(&subject->irqchip, &state);
	return state_loaded(&state, error);
}

/* The first bytes of a good state, then the input's. */
static void load_mixed(const struct subject *subject, struct fuzz_input *input)
{
	struct error error = {.message = ""};
	struct state_stream state;
	const void *good;
	size_t kept = fuzz_u16(input), good_size;
	uint8_t *mixed;

	save(subject, &state);
	fuzz_check(state_saved(&state, &good, &good_size, &error) == 0);
	if (kept > good_size || kept == UINT16_MAX)
		kept = good_size;
	mixed = malloc(kept + input->size + 1);
	memcpy(mixed, good, kept);
	memcpy(mixed + kept, input->data, input->size);
	if (load(subject, mixed, kept + input->size, &error) < 0)
		fuzz_check(error.message[0]);
	free(mixed);
	state_end(&state);
}

static void check_again(const struct subject *subject)
{
	struct error error;
	struct state_stream state;
	const void *bytes;
	size_t size;

	save(subject, &state);
	fuzz_check(state_saved(&state, &bytes, &size, &error) == 0);
	fuzz_check(load(subject, bytes, size, &error) == 0);
	state_end(&state);
}

static void touch_board(const struct board_config *config)
{
	unsigned port;

	for (port = 0; port < 0x1000; port++) {
		pio_bus_read(config->pio, port, 1);
		pio_bus_write(config->pio, port, 1, port);
	}
}

static void touch_irqchip(void *chips)
{
	static const struct pio_ops *const ops[] = {
	    &split_irqchip_master_pio_ops, &split_irqchip_slave_pio_ops,
	    &split_irqchip_elcr_pio_ops, &split_irqchip_pit_pio_ops,
	    &split_irqchip_port_61_pio_ops};
	unsigned i, port;

	for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		for (port = 0; port < (i == 3 ? 4 : i == 4 ? 1 : 2); port++)
			ops[i]->read(chips, port, 1);
	for (i = 0; i < 24; i++) {
		split_irqchip_set_line(chips, i, true);
		split_irqchip_set_line(chips, i, false);
	}
	for (i = 0; i < 256; i++)
		split_irqchip_eoi(chips, i);
}

static void run_board(enum target target, struct event_loop *loop, struct fuzz_input *input)
{
	static const struct msi_target msi;
	struct fuzz_board made;
	struct subject subject = {0};

	fuzz_board_create(&made, target == TARGET_PC ? BOARD_PC : target == TARGET_Q35 ? BOARD_Q35 : BOARD_MICROVM, false, loop,
			  &msi);
	subject.board = made.board;
	load_mixed(&subject, input);
	check_again(&subject);
	touch_board(&made.config);
	board_reset(made.board);
	fuzz_board_destroy(&made);
}

static void run_irqchip(struct event_loop *loop, struct fuzz_input *input)
{
	struct error error = {.message = ""};
	struct subject subject = {
	    .irqchip = {.name = "irqchip", .ops = &split_irqchip_device_ops},
	};
	struct gsi_routes *routes;

	routes = gsi_routes_create(&vm, &error);
	fuzz_check(routes);
	subject.irqchip.device =
		split_irqchip_create(&vm, routes, loop, swallow_kick, NULL, &error);
	fuzz_check(subject.irqchip.device);
	load_mixed(&subject, input);
	check_again(&subject);
	touch_irqchip(subject.irqchip.device);
	device_destroy(&subject.irqchip);
	gsi_routes_destroy(routes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct error error;
	struct event_loop *loop = event_loop_create(&error);
	enum target target = fuzz_u8(&input) % TARGETS;

	fuzz_check(loop);
	if (target == TARGET_IRQCHIP)
		run_irqchip(loop, &input);
	else
		run_board(target, loop, &input);
	event_loop_destroy(loop);
	return 0;
}
