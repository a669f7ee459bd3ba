/*
 * Intel 8042 as the PC/AT's keyboard controller (IBM PS/2 Hardware Interface Technical Reference,
 * "Keyboard and Auxiliary Device Controller"), with a keyboard and a mouse (device/input).
 *
 * Modelled: the controller's commands, its output port (reset, A20), translation to scan code set 1, port
 * 0x92. The output buffer is one byte; what devices send behind it waits with them. A20 is remembered but
 * always open, as on every machine of the last decades.
 */
#include "device/i8042.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "device/input/ps2_keyboard.h"
#include "device/input/ps2_mouse.h"

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM	   0x04 /* self-test passed */
#define STATUS_COMMAND	   0x08 /* the last write was to 0x64 */
#define STATUS_UNLOCKED	   0x10
#define STATUS_AUX	   0x20 /* the byte in the output buffer is from the mouse */

#define CONFIG_KEYBOARD_IRQ	 0x01
#define CONFIG_AUX_IRQ		 0x02
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

#define SELF_TEST_OK	   0x55

#define REPLIES_MAX 16

struct i8042 {
	pthread_mutex_t lock; /* guards everything below */
	struct irq_line irq, aux_irq;
	struct power power;
	uint8_t ram[32];       /* [0] is the configuration byte */
	uint8_t output_port;
	bool wrote_command;    /* STATUS_COMMAND */
	uint8_t awaits;	       /* the command that the next byte to 0x60 belongs to; 0: keyboard */
	/* The output buffer, which shows its last byte when it is empty. */
	uint8_t output;
	bool is_full, is_from_aux;
	bool breaks; /* the keyboard has sent the prefix of a key that is let go, which is not passed on */
	/* The controller's own answers, which go before the devices' bytes. */
	uint8_t replies[REPLIES_MAX], reply_count;
	uint16_t aux_replies; /* a bit for each: as if the mouse had sent it */
	struct ps2_keyboard keyboard;
	struct ps2_mouse mouse;
};

/* The line falls between two bytes, so that an edge marks each. */
static void update_irq(struct i8042 *controller)
{
	bool is_on = controller->is_full;
	bool is_aux = controller->is_from_aux;

	irq_line_set(&controller->irq,
		     is_on && !is_aux && (controller->ram[0] & CONFIG_KEYBOARD_IRQ));
	irq_line_set(&controller->aux_irq, is_on && is_aux && (controller->ram[0] & CONFIG_AUX_IRQ));
}

static void reply_as(struct i8042 *controller, uint8_t byte, bool is_from_aux)
{
	unsigned at = controller->reply_count;

	if (at == REPLIES_MAX)
		return;
	controller->replies[at] = byte;
	controller->aux_replies &= ~(1u << at);
	controller->aux_replies |= is_from_aux << at;
	controller->reply_count++;
}

static void reply(struct i8042 *controller, uint8_t byte)
{
	reply_as(controller, byte, false);
}

static bool take_reply(struct i8042 *controller)
{
	if (!controller->reply_count)
		return false;
	controller->output = controller->replies[0];
	controller->is_from_aux = controller->aux_replies & 1;
	memmove(controller->replies, controller->replies + 1, REPLIES_MAX - 1);
	controller->aux_replies >>= 1;
	controller->reply_count--;
	return true;
}

/* A byte of the keyboard's, in scan code set 1 if that is wanted: 0xf0 and a code become the code with its
 * highest bit. */
static bool take_key(struct i8042 *controller)
{
	uint8_t byte;

	while (ps2_keyboard_take(&controller->keyboard, &byte)) {
		if (controller->ram[0] & CONFIG_TRANSLATE) {
			if (byte == 0xf0) {
				controller->breaks = true;
				continue;
			}
			if (byte < 0x80)
				byte = key_set2_to_set1[byte];
			else if (byte == 0x83 || byte == 0x84) /* F7 and SysRq */
				byte = byte == 0x83 ? 0x41 : 0x54;
			byte |= controller->breaks ? 0x80 : 0;
			controller->breaks = false;
		}
		controller->output = byte;
		controller->is_from_aux = false;
		return true;
	}
	return false;
}

/* The next byte to the output buffer, if that is empty. A device whose clock is held cannot send. */
static void fill_output(struct i8042 *controller)
{
	if (!controller->is_full)
		controller->is_full = take_reply(controller);
	if (!controller->is_full && !(controller->ram[0] & CONFIG_KEYBOARD_DISABLED))
		controller->is_full = take_key(controller);
	if (!controller->is_full && !(controller->ram[0] & CONFIG_AUX_DISABLED)) {
		controller->is_full = ps2_mouse_take(&controller->mouse, &controller->output);
		if (controller->is_full)
			controller->is_from_aux = true;
	}
	update_irq(controller);
}

static void reset_registers(struct i8042 *controller)
{
	memset(controller->ram, 0, sizeof(controller->ram));
	controller->ram[0] = CONFIG_SYSTEM | CONFIG_KEYBOARD_IRQ | CONFIG_TRANSLATE |
			     CONFIG_AUX_DISABLED;
	controller->output_port = OUTPUT_PORT_IDLE;
	controller->awaits = controller->output = controller->reply_count = 0;
	controller->aux_replies = 0;
	controller->wrote_command = controller->is_full = controller->is_from_aux = false;
	controller->breaks = false;
	ps2_keyboard_reset(&controller->keyboard);
	ps2_mouse_reset(&controller->mouse);
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
	case COMMAND_TEST_AUX: reply(controller, 0); break;
	case COMMAND_SELF_TEST:
		controller->reply_count = 0;
		controller->is_full = false;
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
		reply_as(controller, value, true);
		break;
	case COMMAND_WRITE_AUX:
		controller->ram[0] &= ~CONFIG_AUX_DISABLED;
		ps2_mouse_command(&controller->mouse, value);
		break;
	default:
		controller->ram[0] &= ~CONFIG_KEYBOARD_DISABLED;
		ps2_keyboard_command(&controller->keyboard, value);
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
	value = controller->output;
	controller->is_full = false;
	update_irq(controller);
	fill_output(controller);
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
	fill_output(controller);
	pthread_mutex_unlock(&controller->lock);
}

static uint32_t status_read(void *device, uint16_t offset, unsigned size)
{
	struct i8042 *controller = device;
	uint8_t value = STATUS_UNLOCKED;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&controller->lock);
	if (controller->is_full)
		value |= STATUS_OUTPUT_FULL | (controller->is_from_aux ? STATUS_AUX : 0);
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
	fill_output(controller);
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
	state_bytes(state, "ram", controller->ram, sizeof(controller->ram));
	state_u8(state, "output_port", &controller->output_port);
	state_bool(state, "wrote_command", &controller->wrote_command);
	state_u8(state, "awaits", &controller->awaits);
	state_check(state, "awaits", !controller->awaits || takes_argument(controller->awaits));
	state_u8(state, "output", &controller->output);
	state_bool(state, "is_full", &controller->is_full);
	state_bool(state, "is_from_aux", &controller->is_from_aux);
	state_bool(state, "breaks", &controller->breaks);
	state_bytes(state, "replies", controller->replies, sizeof(controller->replies));
	state_u8(state, "reply_count", &controller->reply_count);
	state_check(state, "reply_count", controller->reply_count <= REPLIES_MAX);
	state_u16(state, "aux_replies", &controller->aux_replies);
	ps2_keyboard_transfer(&controller->keyboard, state);
	ps2_mouse_transfer(&controller->mouse, state);
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
	struct i8042 *controller = device, *loaded = calloc(1, sizeof(*loaded));

	if (!loaded) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	transfer(state, loaded);
	if (state_complete(state)) {
		pthread_mutex_lock(&controller->lock);
		memcpy(controller->ram, loaded->ram, sizeof(controller->ram));
		controller->output_port = loaded->output_port;
		controller->wrote_command = loaded->wrote_command;
		controller->awaits = loaded->awaits;
		controller->output = loaded->output;
		controller->is_full = loaded->is_full;
		controller->is_from_aux = loaded->is_from_aux;
		controller->breaks = loaded->breaks;
		memcpy(controller->replies, loaded->replies, sizeof(controller->replies));
		controller->reply_count = loaded->reply_count;
		controller->aux_replies = loaded->aux_replies;
		controller->keyboard = loaded->keyboard;
		controller->mouse = loaded->mouse;
		update_irq(controller);
		pthread_mutex_unlock(&controller->lock);
	}
	free(loaded);
}

void i8042_key(struct i8042 *controller, const struct key *key, bool is_down)
{
	pthread_mutex_lock(&controller->lock);
	ps2_keyboard_key(&controller->keyboard, key, is_down);
	fill_output(controller);
	pthread_mutex_unlock(&controller->lock);
}

void i8042_move(struct i8042 *controller, int x, int y, int wheel)
{
	pthread_mutex_lock(&controller->lock);
	ps2_mouse_move(&controller->mouse, x, y, wheel);
	fill_output(controller);
	pthread_mutex_unlock(&controller->lock);
}

void i8042_press(struct i8042 *controller, enum mouse_button button, bool is_down)
{
	pthread_mutex_lock(&controller->lock);
	ps2_mouse_press(&controller->mouse, button, is_down);
	fill_output(controller);
	pthread_mutex_unlock(&controller->lock);
}

static void i8042_destroy(void *device)
{
	struct i8042 *controller = device;

	pthread_mutex_destroy(&controller->lock);
	free(controller);
}

const struct device_ops i8042_device_ops = {
	.version = 2,
	.reset = i8042_reset,
	.save = i8042_save,
	.load = i8042_load,
	.destroy = i8042_destroy,
};

struct i8042 *i8042_create(const struct irq_line *keyboard_irq, const struct irq_line *mouse_irq,
			   const struct power *power, struct error *error)
{
	struct i8042 *controller = calloc(1, sizeof(*controller));

	if (!controller) {
		error_set_errno(error, ENOMEM, "cannot create the keyboard controller");
		return NULL;
	}
	pthread_mutex_init(&controller->lock, NULL);
	controller->irq = *keyboard_irq;
	controller->aux_irq = *mouse_irq;
	controller->power = *power;
	reset_registers(controller);
	return controller;
}
