/*
 * Intel 8042 as the PC/AT's keyboard controller (IBM PS/2 Hardware Interface Technical Reference,
 * "Keyboard and Auxiliary Device Controller"), with an MF2 keyboard on which nobody types.
 *
 * Modelled: the controller's commands, its output port (reset, A20), the keyboard's command set,
 * port 0x92. Not modelled: an auxiliary device (mouse): loop-back for it answers as a controller
 * without one, so that a guest doesn't wait for it. A20 is remembered but always open, as on every
 * machine of the last decades.
 */
#include "device/i8042.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM	   0x04 /* self-test passed */
#define STATUS_COMMAND	   0x08 /* the last write was to 0x64 */
#define STATUS_UNLOCKED	   0x10

#define CONFIG_KEYBOARD_IRQ	 0x01
#define CONFIG_SYSTEM		 0x04
#define CONFIG_KEYBOARD_DISABLED 0x10
#define CONFIG_AUX_DISABLED	 0x20
#define CONFIG_TRANSLATE	 0x40

#define COMMAND_READ_RAM      0x20 /* ..0x3f */
#define COMMAND_WRITE_RAM     0x60 /* ..0x7f */
#define COMMAND_DISABLE_AUX   0xa7
#define COMMAND_ENABLE_AUX    0xa8
#define COMMAND_TEST_AUX      0xa9
#define COMMAND_SELF_TEST     0xaa
#define COMMAND_TEST_KEYBOARD 0xab
#define COMMAND_DISABLE_KEYBOARD 0xad
#define COMMAND_ENABLE_KEYBOARD	 0xae
#define COMMAND_READ_INPUT_PORT	 0xc0
#define COMMAND_READ_OUTPUT_PORT 0xd0
#define COMMAND_WRITE_OUTPUT_PORT 0xd1
#define COMMAND_WRITE_KEYBOARD_BUFFER 0xd2
#define COMMAND_WRITE_AUX_BUFFER 0xd3
#define COMMAND_WRITE_AUX	 0xd4
#define COMMAND_PULSE		 0xf0 /* ..0xff: a 0 in bits 0..3 pulses that output line */

#define OUTPUT_PORT_RESET_OFF 0x01 /* the processor's reset line, active low */
#define OUTPUT_PORT_A20	      0x02
#define OUTPUT_PORT_IDLE      (0xcc | OUTPUT_PORT_RESET_OFF | OUTPUT_PORT_A20)

#define SYSTEM_PORT_RESET 0x01
#define SYSTEM_PORT_A20	  0x02

#define KEYBOARD_ACK	   0xfa
#define KEYBOARD_RESEND	   0xfe
#define KEYBOARD_TEST_OK   0xaa
#define SELF_TEST_OK	   0x55
#define NO_AUX_DEVICE	   0x01 /* of the interface test: clock line stuck low */

#define QUEUE_BYTES 16

struct i8042 {
	pthread_mutex_t lock; /* guards everything below */
	struct irq_line irq;
	struct power power;
	uint8_t ram[32];       /* [0] is the configuration byte */
	uint8_t output_port;
	bool wrote_command;    /* STATUS_COMMAND */
	uint8_t awaits;	       /* the command that the next byte to 0x60 belongs to; 0: keyboard */
	uint8_t keyboard_awaits; /* the keyboard's command that awaits its argument; 0: none */
	uint8_t scan_code_set;
	uint8_t queue[QUEUE_BYTES]; /* to the host: [head] is in the output buffer */
	unsigned head, count;
};

static void update_irq(struct i8042 *controller)
{
	bool full = controller->count && (controller->ram[0] & CONFIG_KEYBOARD_IRQ);

	irq_line_set(&controller->irq, full);
}

static void reply(struct i8042 *controller, uint8_t byte)
{
	if (controller->count < QUEUE_BYTES)
		controller->queue[(controller->head + controller->count++) % QUEUE_BYTES] = byte;
}

static void reset_registers(struct i8042 *controller)
{
	memset(controller->ram, 0, sizeof(controller->ram));
	controller->ram[0] = CONFIG_SYSTEM | CONFIG_KEYBOARD_IRQ | CONFIG_TRANSLATE |
			     CONFIG_AUX_DISABLED;
	controller->output_port = OUTPUT_PORT_IDLE;
	controller->awaits = controller->keyboard_awaits = 0;
	controller->scan_code_set = 2;
	controller->wrote_command = false;
	controller->head = controller->count = 0;
}

static void i8042_reset(void *device)
{
	struct i8042 *controller = device;

	pthread_mutex_lock(&controller->lock);
	reset_registers(controller);
	update_irq(controller);
	pthread_mutex_unlock(&controller->lock);
}

static void write_output_port(struct i8042 *controller, uint8_t value)
{
	controller->output_port = value;
	if (!(value & OUTPUT_PORT_RESET_OFF))
		power_request(&controller->power, POWER_RESET, 0);
}

static void keyboard_argument(struct i8042 *controller, uint8_t value)
{
	uint8_t command = controller->keyboard_awaits;

	controller->keyboard_awaits = 0;
	reply(controller, KEYBOARD_ACK);
	if (command != 0xf0)
		return; /* LEDs and typematic rate: nobody looks */
	if (value == 0)
		reply(controller, controller->scan_code_set);
	else if (value <= 3)
		controller->scan_code_set = value;
}

static void keyboard_command(struct i8042 *controller, uint8_t value)
{
	if (controller->keyboard_awaits) {
		keyboard_argument(controller, value);
		return;
	}
	switch (value) {
	case 0xed: /* LEDs */
	case 0xf0: /* scan code set */
	case 0xf3: /* typematic rate */
		controller->keyboard_awaits = value;
		reply(controller, KEYBOARD_ACK);
		break;
	case 0xee: reply(controller, 0xee); break; /* echo */
	case 0xf2:				   /* identify; translated when that is on */
		reply(controller, KEYBOARD_ACK);
		reply(controller, 0xab);
		reply(controller, controller->ram[0] & CONFIG_TRANSLATE ? 0x41 : 0x83);
		break;
	case 0xf4: /* enable */
	case 0xf5: /* disable */
	case 0xf6: /* defaults */
	case 0xf7 ... 0xfa:
		reply(controller, KEYBOARD_ACK);
		break;
	case 0xff: /* reset */
		controller->scan_code_set = 2;
		reply(controller, KEYBOARD_ACK);
		reply(controller, KEYBOARD_TEST_OK);
		break;
	default: reply(controller, KEYBOARD_RESEND); break;
	}
}

static void controller_command(struct i8042 *controller, uint8_t command)
{
	controller->awaits = 0;
	switch (command) {
	case COMMAND_READ_RAM ... COMMAND_READ_RAM + 31:
		reply(controller, controller->ram[command & 31]);
		break;
	case COMMAND_WRITE_RAM ... COMMAND_WRITE_RAM + 31:
	case COMMAND_WRITE_OUTPUT_PORT:
	case COMMAND_WRITE_KEYBOARD_BUFFER:
	case COMMAND_WRITE_AUX_BUFFER:
	case COMMAND_WRITE_AUX: controller->awaits = command; break;
	case COMMAND_DISABLE_AUX: controller->ram[0] |= CONFIG_AUX_DISABLED; break;
	case COMMAND_ENABLE_AUX: controller->ram[0] &= ~CONFIG_AUX_DISABLED; break;
	case COMMAND_TEST_AUX: reply(controller, NO_AUX_DEVICE); break;
	case COMMAND_SELF_TEST:
		controller->head = controller->count = 0;
		controller->ram[0] |= CONFIG_SYSTEM;
		reply(controller, SELF_TEST_OK);
		break;
	case COMMAND_TEST_KEYBOARD: reply(controller, 0); break;
	case COMMAND_DISABLE_KEYBOARD: controller->ram[0] |= CONFIG_KEYBOARD_DISABLED; break;
	case COMMAND_ENABLE_KEYBOARD: controller->ram[0] &= ~CONFIG_KEYBOARD_DISABLED; break;
	case COMMAND_READ_INPUT_PORT: reply(controller, 0x80); break; /* keyboard not locked */
	case COMMAND_READ_OUTPUT_PORT: reply(controller, controller->output_port); break;
	case COMMAND_PULSE ... 0xff:
		if (!(command & OUTPUT_PORT_RESET_OFF))
			power_request(&controller->power, POWER_RESET, 0);
		break;
	default: break;
	}
}

/* A byte to 0x60: the argument of a controller's command, or the keyboard's. */
static void data_written(struct i8042 *controller, uint8_t value)
{
	uint8_t command = controller->awaits;

	controller->awaits = 0;
	switch (command) {
	case COMMAND_WRITE_RAM ... COMMAND_WRITE_RAM + 31:
		controller->ram[command & 31] = value;
		break;
	case COMMAND_WRITE_OUTPUT_PORT: write_output_port(controller, value); break;
	case COMMAND_WRITE_KEYBOARD_BUFFER: reply(controller, value); break;
	case COMMAND_WRITE_AUX_BUFFER:
		/* Without the status bit that says "from the auxiliary device". */
		reply(controller, value);
		break;
	case COMMAND_WRITE_AUX: reply(controller, KEYBOARD_RESEND); break;
	default:
		controller->ram[0] &= ~CONFIG_KEYBOARD_DISABLED;
		keyboard_command(controller, value);
		break;
	}
}

static uint32_t data_read(void *device, uint16_t offset, unsigned size)
{
	struct i8042 *controller = device;
	uint8_t value;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&controller->lock);
	/* When it is empty, the buffer still shows its last byte. */
	value = controller->queue[controller->head];
	if (controller->count && --controller->count) {
		controller->head = (controller->head + 1) % QUEUE_BYTES;
		/* The line falls between two bytes, so that an edge marks each. */
		irq_line_set(&controller->irq, false);
	}
	update_irq(controller);
	pthread_mutex_unlock(&controller->lock);
	return value;
}

static void data_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct i8042 *controller = device;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&controller->lock);
	controller->wrote_command = false;
	data_written(controller, value);
	update_irq(controller);
	pthread_mutex_unlock(&controller->lock);
}

static uint32_t status_read(void *device, uint16_t offset, unsigned size)
{
	struct i8042 *controller = device;
	uint8_t value = STATUS_UNLOCKED;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&controller->lock);
	if (controller->count)
		value |= STATUS_OUTPUT_FULL;
	if (controller->ram[0] & CONFIG_SYSTEM)
		value |= STATUS_SYSTEM;
	if (controller->wrote_command)
		value |= STATUS_COMMAND;
	pthread_mutex_unlock(&controller->lock);
	return value;
}

static void command_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct i8042 *controller = device;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&controller->lock);
	controller->wrote_command = true;
	controller_command(controller, value);
	update_irq(controller);
	pthread_mutex_unlock(&controller->lock);
}

static uint32_t system_read(void *device, uint16_t offset, unsigned size)
{
	struct i8042 *controller = device;
	uint8_t value;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&controller->lock);
	value = controller->output_port & OUTPUT_PORT_A20 ? SYSTEM_PORT_A20 : 0;
	pthread_mutex_unlock(&controller->lock);
	return value;
}

static void system_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct i8042 *controller = device;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&controller->lock);
	controller->output_port &= ~OUTPUT_PORT_A20;
	if (value & SYSTEM_PORT_A20)
		controller->output_port |= OUTPUT_PORT_A20;
	if (value & SYSTEM_PORT_RESET)
		power_request(&controller->power, POWER_RESET, 0);
	pthread_mutex_unlock(&controller->lock);
}

const struct pio_ops i8042_data_pio_ops = {data_read, data_write, 1};
const struct pio_ops i8042_command_pio_ops = {status_read, command_write, 1};
const struct pio_ops i8042_system_pio_ops = {system_read, system_write, 1};

static bool takes_argument(uint8_t command)
{
	return (command >= COMMAND_WRITE_RAM && command < COMMAND_WRITE_RAM + 32) ||
	       (command >= COMMAND_WRITE_OUTPUT_PORT && command <= COMMAND_WRITE_AUX);
}

static void transfer(struct state_stream *state, struct i8042 *controller)
{
	uint8_t head = controller->head, count = controller->count;

	state_bytes(state, "ram", controller->ram, sizeof(controller->ram));
	state_u8(state, "output_port", &controller->output_port);
	state_bool(state, "wrote_command", &controller->wrote_command);
	state_u8(state, "awaits", &controller->awaits);
	state_check(state, "awaits", !controller->awaits || takes_argument(controller->awaits));
	state_u8(state, "keyboard_awaits", &controller->keyboard_awaits);
	state_check(state, "keyboard_awaits",
		    !controller->keyboard_awaits || controller->keyboard_awaits == 0xed ||
			    controller->keyboard_awaits == 0xf0 ||
			    controller->keyboard_awaits == 0xf3);
	state_u8(state, "scan_code_set", &controller->scan_code_set);
	state_check(state, "scan_code_set",
		    controller->scan_code_set >= 1 && controller->scan_code_set <= 3);
	state_bytes(state, "queue", controller->queue, sizeof(controller->queue));
	state_u8(state, "head", &head);
	state_check(state, "head", head < QUEUE_BYTES);
	state_u8(state, "count", &count);
	state_check(state, "count", count <= QUEUE_BYTES);
	controller->head = head;
	controller->count = count;
}

static void i8042_save(void *device, struct state_stream *state)
{
	struct i8042 *controller = device;

	pthread_mutex_lock(&controller->lock);
	transfer(state, controller);
	pthread_mutex_unlock(&controller->lock);
}

static void i8042_load(void *device, struct state_stream *state)
{
	struct i8042 *controller = device, loaded = {.head = 0};

	transfer(state, &loaded);
	if (!state_complete(state))
		return;
	pthread_mutex_lock(&controller->lock);
	memcpy(controller->ram, loaded.ram, sizeof(controller->ram));
	controller->output_port = loaded.output_port;
	controller->wrote_command = loaded.wrote_command;
	controller->awaits = loaded.awaits;
	controller->keyboard_awaits = loaded.keyboard_awaits;
	controller->scan_code_set = loaded.scan_code_set;
	memcpy(controller->queue, loaded.queue, sizeof(controller->queue));
	controller->head = loaded.head;
	controller->count = loaded.count;
	update_irq(controller);
	pthread_mutex_unlock(&controller->lock);
}

static void i8042_destroy(void *device)
{
	struct i8042 *controller = device;

	pthread_mutex_destroy(&controller->lock);
	free(controller);
}

const struct device_ops i8042_device_ops = {
	.version = 1,
	.reset = i8042_reset,
	.save = i8042_save,
	.load = i8042_load,
	.destroy = i8042_destroy,
};

struct i8042 *i8042_create(const struct irq_line *keyboard_irq, const struct power *power,
			   struct error *error)
{
	struct i8042 *controller = calloc(1, sizeof(*controller));

	if (!controller) {
		error_set_errno(error, ENOMEM, "cannot create the keyboard controller");
		return NULL;
	}
	pthread_mutex_init(&controller->lock, NULL);
	controller->irq = *keyboard_irq;
	controller->power = *power;
	reset_registers(controller);
	return controller;
}
