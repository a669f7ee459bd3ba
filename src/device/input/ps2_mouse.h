/*
 * A PS/2 mouse at its end of the cable (IBM PS/2 Hardware Interface Technical Reference, "Auxiliary Device",
 * and Microsoft's extension of it, IntelliMouse): three buttons; a wheel and two buttons more for drivers
 * that knock for them by sample rates. What moves while nobody fetches it is added up.
 */
#ifndef KVIK_DEVICE_INPUT_PS2_MOUSE_H
#define KVIK_DEVICE_INPUT_PS2_MOUSE_H

#include "device/input/ps2_queue.h"

enum mouse_button {
	MOUSE_LEFT = 1 << 0,
	MOUSE_RIGHT = 1 << 1,
	MOUSE_MIDDLE = 1 << 2,
	MOUSE_SIDE = 1 << 3,
	MOUSE_EXTRA = 1 << 4,
};

/* Part of the keyboard controller, whose lock guards it. */
struct ps2_mouse {
	struct ps2_queue queue;
	uint8_t awaits;	 /* the command whose argument comes next; 0: none */
	uint8_t id;	 /* 0: three buttons, 3: a wheel, 4: five buttons */
	uint8_t rate, resolution;
	uint8_t knocks[2]; /* the two sample rates before this one */
	uint8_t last;	   /* byte that was sent, for "resend" */
	bool reports;	   /* by itself, in stream mode */
	bool is_remote, is_doubled, echoes; /* modes: remote, scaling 2:1, wrap */
	uint8_t buttons, told_buttons;	    /* enum mouse_button; as they are, as the last packet had them */
	int32_t x, y, wheel; /* not told yet; y grows upwards, the wheel towards the user */
};

void ps2_mouse_reset(struct ps2_mouse *mouse);
void ps2_mouse_command(struct ps2_mouse *mouse, uint8_t value);
void ps2_mouse_move(struct ps2_mouse *mouse, int x, int y, int wheel);
void ps2_mouse_press(struct ps2_mouse *mouse, enum mouse_button button, bool is_down);
bool ps2_mouse_take(struct ps2_mouse *mouse, uint8_t *byte); /* false: nothing to send */
void ps2_mouse_transfer(struct ps2_mouse *mouse, struct state_stream *state);

#endif
