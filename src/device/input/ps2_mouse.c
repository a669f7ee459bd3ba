#include "device/input/ps2_mouse.h"

#include <string.h>

#define COMMAND_SCALE_1	   0xe6
#define COMMAND_SCALE_2	   0xe7
#define COMMAND_RESOLUTION 0xe8
#define COMMAND_STATUS	   0xe9
#define COMMAND_STREAM	   0xea
#define COMMAND_READ	   0xeb
#define COMMAND_UNWRAP	   0xec
#define COMMAND_WRAP	   0xee
#define COMMAND_REMOTE	   0xf0
#define COMMAND_IDENTIFY   0xf2
#define COMMAND_RATE	   0xf3
#define COMMAND_ENABLE	   0xf4
#define COMMAND_DISABLE	   0xf5
#define COMMAND_DEFAULTS   0xf6
#define COMMAND_RESEND	   0xfe
#define COMMAND_RESET	   0xff

#define REPLY_ACK     0xfa
#define REPLY_RESEND  0xfe
#define REPLY_TEST_OK 0xaa

#define ID_WHEEL	3
#define ID_FIVE_BUTTONS 4

#define PACKET_ALWAYS	  0x08 /* of the first byte */
#define PACKET_X_NEGATIVE 0x10
#define PACKET_Y_NEGATIVE 0x20
#define PACKET_BYTES_MAX  4
#define MOTION_MAX	  0x10000 /* that is added up */

static void reply(struct ps2_mouse *mouse, uint8_t byte)
{
	ps2_queue_put(&mouse->queue, byte);
}

static void set_defaults(struct ps2_mouse *mouse)
{
	mouse->rate = 100;
	mouse->resolution = 2;
	mouse->reports = mouse->is_remote = mouse->is_doubled = false;
	memset(mouse->knocks, 0, sizeof(mouse->knocks));
	mouse->x = mouse->y = mouse->wheel = 0;
}

void ps2_mouse_reset(struct ps2_mouse *mouse)
{
	memset(mouse, 0, sizeof(*mouse));
	set_defaults(mouse);
}

/* As much of a motion as fits into a packet. */
static int take_motion(int32_t *motion, int least, int most)
{
	int part = *motion < least ? least : *motion > most ? most : *motion;

	*motion -= part;
	return part;
}

static void send_packet(struct ps2_mouse *mouse)
{
	int x = take_motion(&mouse->x, -255, 255), y = take_motion(&mouse->y, -255, 255), wheel;
	uint8_t first = PACKET_ALWAYS | (mouse->buttons & 7);

	if (x < 0)
		first |= PACKET_X_NEGATIVE;
	if (y < 0)
		first |= PACKET_Y_NEGATIVE;
	reply(mouse, first);
	reply(mouse, x);
	reply(mouse, y);
	if (mouse->id == ID_WHEEL) {
		reply(mouse, take_motion(&mouse->wheel, -127, 127));
	} else if (mouse->id == ID_FIVE_BUTTONS) {
		wheel = take_motion(&mouse->wheel, -7, 7);
		reply(mouse, (wheel & 0x0f) | (mouse->buttons & (MOUSE_SIDE | MOUSE_EXTRA)) << 1);
	} else {
		mouse->wheel = 0;
	}
	mouse->told_buttons = mouse->buttons;
}

static bool has_news(const struct ps2_mouse *mouse)
{
	return mouse->x || mouse->y || mouse->wheel || mouse->buttons != mouse->told_buttons;
}

static void report(struct ps2_mouse *mouse)
{
	if (mouse->reports && !mouse->is_remote && !mouse->echoes && has_news(mouse) &&
	    ps2_queue_room(&mouse->queue) >= PACKET_BYTES_MAX)
		send_packet(mouse);
}

/* Sample rates of 200, 100 and 80, one after the other, ask for the wheel; 200, 200 and 80 for five buttons
 * of a mouse with a wheel. */
static void set_rate(struct ps2_mouse *mouse, uint8_t rate)
{
	if (mouse->knocks[0] == 200 && mouse->knocks[1] == 100 && rate == 80)
		mouse->id = ID_WHEEL;
	else if (mouse->id && mouse->knocks[0] == 200 && mouse->knocks[1] == 200 && rate == 80)
		mouse->id = ID_FIVE_BUTTONS;
	mouse->knocks[0] = mouse->knocks[1];
	mouse->knocks[1] = mouse->rate = rate;
}

static void send_status(struct ps2_mouse *mouse)
{
	/* The buttons have an order of their own here: left, middle, right from bit 2 on. */
	reply(mouse, mouse->is_remote << 6 | mouse->reports << 5 | mouse->is_doubled << 4 |
			     !!(mouse->buttons & MOUSE_LEFT) << 2 | !!(mouse->buttons & MOUSE_MIDDLE) << 1 |
			     !!(mouse->buttons & MOUSE_RIGHT));
	reply(mouse, mouse->resolution);
	reply(mouse, mouse->rate);
}

static void take_argument(struct ps2_mouse *mouse, uint8_t value)
{
	if (mouse->awaits == COMMAND_RATE)
		set_rate(mouse, value);
	else
		mouse->resolution = value;
	mouse->awaits = 0;
	reply(mouse, REPLY_ACK);
}

void ps2_mouse_command(struct ps2_mouse *mouse, uint8_t value)
{
	if (mouse->echoes && value != COMMAND_UNWRAP && value != COMMAND_RESET) {
		reply(mouse, value);
		return;
	}
	if (mouse->awaits) {
		take_argument(mouse, value);
		return;
	}
	if (value != COMMAND_RESEND) /* what it has not sent is void */
		ps2_queue_clear(&mouse->queue);
	if (value == COMMAND_RESEND) {
		reply(mouse, mouse->last);
		return;
	}
	if (value < COMMAND_SCALE_1 || value == 0xed || value == 0xef || value == 0xf1 ||
	    (value > COMMAND_DEFAULTS && value < COMMAND_RESEND)) {
		reply(mouse, REPLY_RESEND);
		return;
	}
	reply(mouse, REPLY_ACK);
	switch (value) {
	case COMMAND_SCALE_1:
	case COMMAND_SCALE_2: mouse->is_doubled = value == COMMAND_SCALE_2; break;
	case COMMAND_RESOLUTION:
	case COMMAND_RATE: mouse->awaits = value; break;
	case COMMAND_STATUS: send_status(mouse); break;
	case COMMAND_STREAM: mouse->is_remote = false; break;
	case COMMAND_READ: send_packet(mouse); break;
	case COMMAND_UNWRAP: mouse->echoes = false; break;
	case COMMAND_WRAP: mouse->echoes = true; break;
	case COMMAND_REMOTE: mouse->is_remote = true; break;
	case COMMAND_IDENTIFY: reply(mouse, mouse->id); break;
	case COMMAND_ENABLE:
	case COMMAND_DISABLE: mouse->reports = value == COMMAND_ENABLE; break;
	case COMMAND_DEFAULTS: set_defaults(mouse); break;
	case COMMAND_RESET:
		set_defaults(mouse);
		mouse->id = 0;
		mouse->echoes = false;
		reply(mouse, REPLY_TEST_OK);
		reply(mouse, mouse->id);
		break;
	}
}

static void add_motion(int32_t *motion, int by)
{
	int64_t sum = (int64_t)*motion + by;

	*motion = sum < -MOTION_MAX ? -MOTION_MAX : sum > MOTION_MAX ? MOTION_MAX : sum;
}

void ps2_mouse_move(struct ps2_mouse *mouse, int x, int y, int wheel)
{
	/* Who does not listen does not hear of it later either. */
	if (!mouse->reports && !mouse->is_remote)
		return;
	add_motion(&mouse->x, x);
	add_motion(&mouse->y, y);
	if (mouse->id)
		add_motion(&mouse->wheel, wheel);
	report(mouse);
}

void ps2_mouse_press(struct ps2_mouse *mouse, enum mouse_button button, bool is_down)
{
	uint8_t known = mouse->id == ID_FIVE_BUTTONS ? 0x1f : 0x07;

	mouse->buttons = (mouse->buttons & ~button) | (is_down ? button & known : 0);
	report(mouse);
}

bool ps2_mouse_take(struct ps2_mouse *mouse, uint8_t *byte)
{
	if (!mouse->queue.count)
		report(mouse);
	if (!ps2_queue_take(&mouse->queue, byte))
		return false;
	mouse->last = *byte;
	return true;
}

static void transfer_motion(struct state_stream *state, const char *field, int32_t *motion)
{
	int64_t value = *motion;

	state_i64(state, field, &value);
	state_check(state, field, value >= -MOTION_MAX && value <= MOTION_MAX);
	*motion = value;
}

void ps2_mouse_transfer(struct ps2_mouse *mouse, struct state_stream *state)
{
	ps2_queue_transfer(&mouse->queue, state);
	state_u8(state, "mouse_awaits", &mouse->awaits);
	state_check(state, "mouse_awaits", !mouse->awaits || mouse->awaits == COMMAND_RATE ||
						   mouse->awaits == COMMAND_RESOLUTION);
	state_u8(state, "mouse_id", &mouse->id);
	state_check(state, "mouse_id",
		    !mouse->id || mouse->id == ID_WHEEL || mouse->id == ID_FIVE_BUTTONS);
	state_u8(state, "mouse_rate", &mouse->rate);
	state_u8(state, "mouse_resolution", &mouse->resolution);
	state_bytes(state, "mouse_knocks", mouse->knocks, sizeof(mouse->knocks));
	state_u8(state, "mouse_last", &mouse->last);
	state_bool(state, "mouse_reports", &mouse->reports);
	state_bool(state, "mouse_is_remote", &mouse->is_remote);
	state_bool(state, "mouse_is_doubled", &mouse->is_doubled);
	state_bool(state, "mouse_echoes", &mouse->echoes);
	state_u8(state, "mouse_buttons", &mouse->buttons);
	state_u8(state, "mouse_told_buttons", &mouse->told_buttons);
	transfer_motion(state, "mouse_x", &mouse->x);
	transfer_motion(state, "mouse_y", &mouse->y);
	transfer_motion(state, "mouse_wheel", &mouse->wheel);
}
