/*
 * USB devices (Universal Serial Bus 2.0) as a controller's ports see them: control requests, and packets to and from
 * their endpoints. Chapter 9's requests are answered here, by descriptors; each kind of device has the rest.
 *
 * All is called with the controller's lock held, whoever calls; a device that has something to tell later takes that
 * lock (usb_device.lock) and calls usb_wake.
 */
#ifndef KVIK_DEVICE_USB_USB_H
#define KVIK_DEVICE_USB_USB_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/state.h"

/* Speeds as xHCI numbers them (§7.2.1). */
#define USB_SPEED_HIGH 3

#define USB_CONTROL_MAX 4096 /* bytes of a control request's data */

/* What a packet came to, where it is no count of bytes. */
#define USB_NAK	  (-1) /* not now: usb_wake says when */
#define USB_STALL (-2)

struct usb_setup {
	uint8_t type, request;
	uint16_t value, index, length;
};

/* Request types. */
#define USB_TYPE_IN	   0x80
#define USB_TYPE_CLASS_OUT 0x21 /* to an interface */
#define USB_TYPE_CLASS_IN  0xa1
#define USB_TYPE_INTERFACE_IN 0x81

struct usb_device;

struct usb_kind {
	const char *name;
	uint8_t speed;
	const uint8_t *device;		/* its descriptor, of 18 bytes */
	const uint8_t *configuration;	/* with all that belongs to it; one */
	uint16_t configuration_bytes;
	const char *product;
	/* A request that is not chapter 9's. `data` has the bytes that came, or has room for USB_CONTROL_MAX. How many
	 * bytes it answers, or USB_STALL. */
	int (*control)(struct usb_device *device, const struct usb_setup *setup, uint8_t *data);
	/* Packets of up to `size` bytes. How many were taken or given; USB_NAK, USB_STALL. */
	int (*in)(struct usb_device *device, unsigned endpoint, uint8_t *data, size_t size);
	int (*out)(struct usb_device *device, unsigned endpoint, const uint8_t *data, size_t size);
	void (*reset)(struct usb_device *device);
	/* Wait until nothing is under way on other threads; new work is begun only by calls from here. NULL: none ever is. */
	void (*hold)(struct usb_device *device);
	/* It may begin work of its own again, which was held or loaded. NULL: it never does. */
	void (*release)(struct usb_device *device);
	/* Free what it has. Without the lock, which nobody else has by now. NULL: it has nothing. */
	void (*destroy)(struct usb_device *device);
	/* Its own fields, saved from it or loaded into a copy of it, that `loaded` takes over. */
	size_t bytes; /* of the device, with this struct first */
	void (*transfer)(struct usb_device *copy, struct state_stream *state);
	void (*loaded)(struct usb_device *device, const struct usb_device *copy);
};

struct usb_device {
	const struct usb_kind *kind;
	bool is_configured;
	bool can_wake;
	uint16_t halted[2]; /* endpoints, out and in */
	const char *serial; /* NULL: the kind's, "1" */
	/* The controller's; NULL until it is plugged in: */
	pthread_mutex_t *lock;
	void (*wake)(void *controller, unsigned port, unsigned endpoint, bool is_in);
	void *controller;
	unsigned port;
};

/* A device of a kind, in its first state; freed by usb_destroy. NULL: no memory. */
struct usb_device *usb_create(const struct usb_kind *kind);
void usb_destroy(struct usb_device *device);

/* A reset of the port; and nothing under way any more, until the next request. With the controller's lock held. */
void usb_reset(struct usb_device *device);
void usb_hold(struct usb_device *device);
void usb_release(struct usb_device *device);
/* A control request with its data, as kind.control; SET_ADDRESS is the controller's own. */
int usb_control(struct usb_device *device, const struct usb_setup *setup, uint8_t *data);
int usb_in(struct usb_device *device, unsigned endpoint, uint8_t *data, size_t size);
int usb_out(struct usb_device *device, unsigned endpoint, const uint8_t *data, size_t size);

/* There is something to be fetched from an IN endpoint. With the lock held. */
static inline void usb_wake(struct usb_device *device, unsigned endpoint)
{
	if (device->wake)
		device->wake(device->controller, device->port, endpoint, true);
}

/* An OUT endpoint takes more. Likewise. */
static inline void usb_wake_out(struct usb_device *device, unsigned endpoint)
{
	if (device->wake)
		device->wake(device->controller, device->port, endpoint, false);
}

/* The version of a controller's state from which on devices tell what they had under way. */
#define USB_STATE_WORK 2
/* Save a device, or load it into `copy`, of its kind's size, which usb_loaded takes over. */
void usb_transfer(struct usb_device *device, struct usb_device *copy, struct state_stream *state);
void usb_loaded(struct usb_device *device, const struct usb_device *copy);

#endif
