/*
 * An MF2 keyboard at its end of the cable (IBM PS/2 Hardware Interface Technical Reference, "Keyboards"):
 * commands come in, replies and scan codes go out.
 *
 * Modelled: scan code sets 1 and 2, enabling, LEDs (remembered). Not modelled: set 3 (a request for it is
 * answered by "resend", as from keyboards without it), and repeating by itself: who presses keys here says how
 * often.
 */
#ifndef KVIK_DEVICE_INPUT_PS2_KEYBOARD_H
#define KVIK_DEVICE_INPUT_PS2_KEYBOARD_H

#include "device/input/keys.h"
#include "device/input/ps2_queue.h"

/* Part of the keyboard controller, whose lock guards it. */
struct ps2_keyboard {
	struct ps2_queue replies, codes; /* replies go first */
	uint8_t awaits;			 /* the command whose argument comes next; 0: none */
	uint8_t set;			 /* 1 or 2 */
	uint8_t leds;
	uint8_t last; /* byte that was sent, for "resend" */
	bool is_off;  /* scanning is disabled: keys are lost */
};

void ps2_keyboard_reset(struct ps2_keyboard *keyboard);
void ps2_keyboard_command(struct ps2_keyboard *keyboard, uint8_t value);
/* What is lost when its buffer is full is lost whole. */
void ps2_keyboard_key(struct ps2_keyboard *keyboard, const struct key *key, bool is_down);
bool ps2_keyboard_take(struct ps2_keyboard *keyboard, uint8_t *byte); /* false: nothing to send */
void ps2_keyboard_transfer(struct ps2_keyboard *keyboard, struct state_stream *state);

#endif
