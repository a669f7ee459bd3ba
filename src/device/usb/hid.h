/*
 * What people point and type with, by USB (Device Class Definition for HID 1.11): a tablet that tells places, a mouse,
 * a keyboard. Events may come on any thread: what is not fetched yet is kept, and when that is too much, the last one
 * counts.
 */
#ifndef KVIK_DEVICE_USB_HID_H
#define KVIK_DEVICE_USB_HID_H

#include "device/input/keys.h"
#include "device/usb/usb.h"

#define HID_PLACE_MAX 0x7fff /* of a tablet's axes, from 0 on */

/* Buttons, a bit each. */
#define HID_LEFT   0x01
#define HID_RIGHT  0x02
#define HID_MIDDLE 0x04

extern const struct usb_kind hid_tablet, hid_mouse, hid_keyboard;

/* Whether the guest has a driver for it that asks. Any thread, like all here, without the lock. */
bool hid_is_used(struct usb_device *device);

/* One axis of a tablet, to HID_PLACE_MAX; a mouse by counts, y downwards. */
void hid_place(struct usb_device *tablet, bool is_vertical, unsigned place);
void hid_move(struct usb_device *mouse, int x, int y);
void hid_turn(struct usb_device *pointer, int wheel); /* upwards is positive */
void hid_press(struct usb_device *pointer, uint8_t button, bool is_down);
void hid_key(struct usb_device *keyboard, const struct key *key, bool is_down);

#endif
