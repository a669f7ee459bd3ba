/* Which key of USB's (HID Usage Tables 1.12 §10, page 7) a key of a PC's keyboard is. */
#ifndef KVIK_DEVICE_USB_HID_KEYS_H
#define KVIK_DEVICE_USB_HID_KEYS_H

#include "device/input/keys.h"

#define HID_FIRST_MODIFIER 0xe0

uint8_t hid_usage_of(const struct key *key); /* 0: none */

#endif
