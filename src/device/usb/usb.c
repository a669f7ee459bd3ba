#include "device/usb/usb.h"

#include <stdlib.h>
#include <string.h>

/* Standard requests (§9.4). */
#define GET_STATUS	  0
#define CLEAR_FEATURE	  1
#define SET_FEATURE	  3
#define GET_DESCRIPTOR	  6
#define GET_CONFIGURATION 8
#define SET_CONFIGURATION 9
#define GET_INTERFACE	  10
#define SET_INTERFACE	  11

#define RECIPIENT(type)	    ((type) & 0x1f)
#define RECIPIENT_DEVICE    0
#define RECIPIENT_ENDPOINT  2
#define TYPE_MASK	    0x60 /* 0: standard */

#define FEATURE_HALT	    0
#define FEATURE_REMOTE_WAKE 1

#define DESCRIPTOR_DEVICE	 1
#define DESCRIPTOR_CONFIGURATION 2
#define DESCRIPTOR_STRING	 3
#define DESCRIPTOR_QUALIFIER	 6

#define CONFIGURATION_VALUE 5 /* its place in the descriptor */
#define STRING_MAX	    126 /* characters: its length is one byte (§9.6.7) */

struct usb_device *usb_create(const struct usb_kind *kind)
{
	struct usb_device *device = calloc(1, kind->bytes);

	if (device) {
		device->kind = kind;
		kind->reset(device);
	}
	return device;
}

void usb_destroy(struct usb_device *device)
{
	if (device && device->kind->destroy)
		device->kind->destroy(device);
	free(device);
}

void usb_hold(struct usb_device *device)
{
	if (device->kind->hold)
		device->kind->hold(device);
}

void usb_release(struct usb_device *device)
{
	if (device->kind->release)
		device->kind->release(device);
}

void usb_reset(struct usb_device *device)
{
	device->is_configured = device->can_wake = false;
	device->halted[0] = device->halted[1] = 0;
	device->kind->reset(device);
}

static int put_string(uint8_t *data, const char *text)
{
	size_t length = strnlen(text, STRING_MAX), i;

	data[0] = 2 + 2 * length;
	data[1] = DESCRIPTOR_STRING;
	for (i = 0; i < length; i++) {
		data[2 + 2 * i] = text[i];
		data[3 + 2 * i] = 0;
	}
	return data[0];
}

static int get_descriptor(const struct usb_device *device, const struct usb_setup *setup, uint8_t *data)
{
	const struct usb_kind *kind = device->kind;

	switch (setup->value >> 8) {
	case DESCRIPTOR_DEVICE: memcpy(data, kind->device, 18); return 18;
	case DESCRIPTOR_CONFIGURATION:
		if (setup->value & 0xff)
			return USB_STALL;
		memcpy(data, kind->configuration, kind->configuration_bytes);
		return kind->configuration_bytes;
	case DESCRIPTOR_QUALIFIER: /* a device that is fast may be slow elsewhere, in the same way */
		if (kind->speed != USB_SPEED_HIGH)
			return USB_STALL;
		memcpy(data, kind->device, 8);
		data[0] = 10;
		data[1] = DESCRIPTOR_QUALIFIER;
		data[8] = 1;
		data[9] = 0;
		return 10;
	case DESCRIPTOR_STRING:
		switch (setup->value & 0xff) {
		case 0: /* languages: English */
			memcpy(data, (const uint8_t[]){4, DESCRIPTOR_STRING, 0x09, 0x04}, 4);
			return 4;
		case 1: return put_string(data, "QEMU");
		case 2: return put_string(data, kind->product);
		case 3: return put_string(data, device->serial ? device->serial : "1");
		default: return USB_STALL;
		}
	default: return USB_STALL;
	}
}

static int change_feature(struct usb_device *device, const struct usb_setup *setup, bool set)
{
	uint16_t *halted = &device->halted[setup->index >> 7 & 1];
	uint16_t bit = 1u << (setup->index & 0xf);

	if (RECIPIENT(setup->type) == RECIPIENT_DEVICE && setup->value == FEATURE_REMOTE_WAKE)
		device->can_wake = set;
	else if (RECIPIENT(setup->type) == RECIPIENT_ENDPOINT && setup->value == FEATURE_HALT)
		*halted = set ? *halted | bit : *halted & ~bit;
	else
		return USB_STALL;
	return 0;
}

static int get_status(const struct usb_device *device, const struct usb_setup *setup, uint8_t *data)
{
	data[0] = data[1] = 0;
	if (RECIPIENT(setup->type) == RECIPIENT_DEVICE)
		data[0] = 1 | device->can_wake << 1; /* it has power of its own */
	else if (RECIPIENT(setup->type) == RECIPIENT_ENDPOINT)
		data[0] = device->halted[setup->index >> 7 & 1] >> (setup->index & 0xf) & 1;
	return 2;
}

static int set_configuration(struct usb_device *device, uint8_t value)
{
	if (value && value != device->kind->configuration[CONFIGURATION_VALUE])
		return USB_STALL;
	device->is_configured = value;
	device->halted[0] = device->halted[1] = 0;
	return 0;
}

static int answer(struct usb_device *device, const struct usb_setup *setup, uint8_t *data)
{
	if (setup->type & TYPE_MASK)
		return device->kind->control(device, setup, data);
	switch (setup->request) {
	case GET_STATUS: return get_status(device, setup, data);
	case CLEAR_FEATURE: return change_feature(device, setup, false);
	case SET_FEATURE: return change_feature(device, setup, true);
	case GET_CONFIGURATION:
		data[0] = device->is_configured ? device->kind->configuration[CONFIGURATION_VALUE] : 0;
		return 1;
	case SET_CONFIGURATION: return set_configuration(device, setup->value);
	case GET_INTERFACE: data[0] = 0; return 1;
	case SET_INTERFACE: return setup->value ? USB_STALL : 0;
	case GET_DESCRIPTOR:
		return RECIPIENT(setup->type) == RECIPIENT_DEVICE ? get_descriptor(device, setup, data)
								  : device->kind->control(device, setup, data);
	default: return USB_STALL;
	}
}

int usb_control(struct usb_device *device, const struct usb_setup *setup, uint8_t *data)
{
	int result = answer(device, setup, data);

	return result > setup->length ? setup->length : result;
}

int usb_in(struct usb_device *device, unsigned endpoint, uint8_t *data, size_t size)
{
	if (!device->is_configured || (device->halted[1] >> endpoint & 1))
		return USB_STALL;
	return device->kind->in ? device->kind->in(device, endpoint, data, size) : USB_STALL;
}

int usb_out(struct usb_device *device, unsigned endpoint, const uint8_t *data, size_t size)
{
	if (!device->is_configured || (device->halted[0] >> endpoint & 1))
		return USB_STALL;
	return device->kind->out ? device->kind->out(device, endpoint, data, size) : USB_STALL;
}

void usb_transfer(struct usb_device *device, struct usb_device *copy, struct state_stream *state)
{
	/* Also what is loaded goes into a copy: its kind may check it by what the device is. */
	memcpy(copy, device, device->kind->bytes);
	state_bool(state, "configured", &copy->is_configured);
	state_bool(state, "remote wake", &copy->can_wake);
	state_u16(state, "halted out", &copy->halted[0]);
	state_u16(state, "halted in", &copy->halted[1]);
	device->kind->transfer(copy, state);
}

void usb_loaded(struct usb_device *device, const struct usb_device *copy)
{
	device->is_configured = copy->is_configured;
	device->can_wake = copy->can_wake;
	memcpy(device->halted, copy->halted, sizeof(device->halted));
	device->kind->loaded(device, copy);
}
