#include "device/input/ps2_keyboard.h"

#include <string.h>

#define COMMAND_LEDS	 0xed
#define COMMAND_ECHO	 0xee
#define COMMAND_SET	 0xf0
#define COMMAND_IDENTIFY 0xf2
#define COMMAND_RATE	 0xf3
#define COMMAND_ENABLE	 0xf4
#define COMMAND_DISABLE	 0xf5
#define COMMAND_DEFAULTS 0xf6
#define COMMAND_ALL_KEYS 0xf7 /* ..0xfa: what keys do in set 3 */
#define COMMAND_RESEND	 0xfe
#define COMMAND_RESET	 0xff

#define REPLY_ACK     0xfa
#define REPLY_RESEND  0xfe
#define REPLY_TEST_OK 0xaa
#define BREAK_PREFIX  0xf0 /* of set 2 */
#define BREAK_BIT     0x80 /* of set 1 */

static void reply(struct ps2_keyboard *keyboard, uint8_t byte)
{
	ps2_queue_put(&keyboard->replies, byte);
}

static void set_defaults(struct ps2_keyboard *keyboard)
{
	keyboard->set = 2;
	keyboard->leds = 0;
	ps2_queue_clear(&keyboard->codes);
}

void ps2_keyboard_reset(struct ps2_keyboard *keyboard)
{
	memset(keyboard, 0, sizeof(*keyboard));
	set_defaults(keyboard);
}

static void take_argument(struct ps2_keyboard *keyboard, uint8_t value)
{
	uint8_t command = keyboard->awaits;

	keyboard->awaits = 0;
	if (command == COMMAND_SET && value > 2) {
		reply(keyboard, REPLY_RESEND);
		return;
	}
	reply(keyboard, REPLY_ACK);
	if (command == COMMAND_LEDS)
		keyboard->leds = value & 7;
	else if (command == COMMAND_SET && value)
		keyboard->set = value;
	else if (command == COMMAND_SET)
		reply(keyboard, keyboard->set);
}

void ps2_keyboard_command(struct ps2_keyboard *keyboard, uint8_t value)
{
	/* Commands begin at 0xed, arguments end before: one that never came is forgotten. */
	if (keyboard->awaits && value < COMMAND_LEDS) {
		take_argument(keyboard, value);
		return;
	}
	keyboard->awaits = 0;
	switch (value) {
	case COMMAND_LEDS:
	case COMMAND_SET:
	case COMMAND_RATE:
		keyboard->awaits = value;
		reply(keyboard, REPLY_ACK);
		break;
	case COMMAND_ECHO: reply(keyboard, COMMAND_ECHO); break;
	case COMMAND_IDENTIFY:
		reply(keyboard, REPLY_ACK);
		reply(keyboard, 0xab);
		reply(keyboard, 0x83);
		break;
	case COMMAND_ENABLE:
		keyboard->is_off = false;
		ps2_queue_clear(&keyboard->codes);
		reply(keyboard, REPLY_ACK);
		break;
	case COMMAND_DISABLE:
		set_defaults(keyboard);
		keyboard->is_off = true;
		reply(keyboard, REPLY_ACK);
		break;
	case COMMAND_DEFAULTS:
		set_defaults(keyboard);
		reply(keyboard, REPLY_ACK);
		break;
	case COMMAND_ALL_KEYS ... 0xfa: reply(keyboard, REPLY_ACK); break;
	case COMMAND_RESEND: reply(keyboard, keyboard->last); break;
	case COMMAND_RESET:
		set_defaults(keyboard);
		keyboard->is_off = false;
		reply(keyboard, REPLY_ACK);
		reply(keyboard, REPLY_TEST_OK);
		break;
	default: reply(keyboard, REPLY_RESEND); break;
	}
}

/* Make and break at once, and nothing when it is let go. */
static void press_pause(struct ps2_keyboard *keyboard)
{
	static const uint8_t set1[] = {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};
	static const uint8_t set2[] = {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77};
	const uint8_t *codes = keyboard->set == 1 ? set1 : set2;
	unsigned i, count = keyboard->set == 1 ? sizeof(set1) : sizeof(set2);

	for (i = 0; i < count; i++)
		ps2_queue_put(&keyboard->codes, codes[i]);
}

void ps2_keyboard_key(struct ps2_keyboard *keyboard, const struct key *key, bool is_down)
{
	uint16_t code = keyboard->set == 1 ? key->set1 : key->set2;

	if (keyboard->is_off || ps2_queue_room(&keyboard->codes) < 8)
		return;
	if (key->set1 == KEY_PAUSE) {
		if (is_down)
			press_pause(keyboard);
		return;
	}
	if (code >> 8)
		ps2_queue_put(&keyboard->codes, code >> 8);
	if (!is_down && keyboard->set == 2)
		ps2_queue_put(&keyboard->codes, BREAK_PREFIX);
	ps2_queue_put(&keyboard->codes, code | (!is_down && keyboard->set == 1 ? BREAK_BIT : 0));
}

bool ps2_keyboard_take(struct ps2_keyboard *keyboard, uint8_t *byte)
{
	if (!ps2_queue_take(&keyboard->replies, byte) && !ps2_queue_take(&keyboard->codes, byte))
		return false;
	keyboard->last = *byte;
	return true;
}

void ps2_keyboard_transfer(struct ps2_keyboard *keyboard, struct state_stream *state)
{
	ps2_queue_transfer(&keyboard->replies, state);
	ps2_queue_transfer(&keyboard->codes, state);
	state_u8(state, "keyboard_awaits", &keyboard->awaits);
	state_check(state, "keyboard_awaits",
		    !keyboard->awaits || keyboard->awaits == COMMAND_LEDS ||
			    keyboard->awaits == COMMAND_SET || keyboard->awaits == COMMAND_RATE);
	state_u8(state, "scan_code_set", &keyboard->set);
	state_check(state, "scan_code_set", keyboard->set == 1 || keyboard->set == 2);
	state_u8(state, "leds", &keyboard->leds);
	state_u8(state, "keyboard_last", &keyboard->last);
	state_bool(state, "keyboard_is_off", &keyboard->is_off);
}
