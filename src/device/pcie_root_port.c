/*
 * A PCI Express root port (PCI Express Base 3.0 §7.8) with a hot-plug slot (§6.7): attention button, power
 * controller, attention and power indicators, presence detection, and a link that is there with the device. It
 * interrupts by MSI or its pin (§6.7.3.4).
 *
 * A device that comes is announced by presence and link state, so that the guest's driver takes it at once. One that
 * shall go is announced by the button; the guest lets go of it and switches the slot off, and then it goes.
 *
 * Not modelled: what a slot without power would keep a device from, errors and power management events. There is no
 * command that takes time, and so no completion to be told (§7.8.9, No Command Completed Support).
 */
#include "device/pcie_root_port.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "device/bus/pci_bridge.h"

/* As QEMU's root port is known by (QEMU docs/specs/pci-ids.rst). */
#define VENDOR	 0x1b36
#define DEVICE	 0x000c
#define CLASS	 0x060400

#define SLOT_BUTTON	  (1u << 0)
#define SLOT_POWER	  (1u << 1)
#define SLOT_ATTENTION	  (1u << 3)
#define SLOT_POWER_LIGHT  (1u << 4)
#define SLOT_SURPRISE	  (1u << 5)
#define SLOT_HOT_PLUG	  (1u << 6)
#define SLOT_NO_COMPLETED (1u << 18)
#define SLOT_NUMBER_SHIFT 19
#define SLOT_CAPABILITIES (SLOT_BUTTON | SLOT_POWER | SLOT_ATTENTION | SLOT_POWER_LIGHT |              \
			   SLOT_SURPRISE | SLOT_HOT_PLUG | SLOT_NO_COMPLETED)

#define CONTROL_BUTTON_ENABLE	0x0001
#define CONTROL_INTERRUPT	0x0020
#define CONTROL_ATTENTION_OFF	0x00c0
#define CONTROL_LIGHT		0x0300
#define CONTROL_LIGHT_ON	0x0100
#define CONTROL_LIGHT_BLINKS	0x0200
#define CONTROL_LIGHT_OFF	0x0300
#define CONTROL_POWER_OFF	0x0400
#define CONTROL_LINK_ENABLE	0x1000
#define CONTROL_BITS		0x17ff /* but the interlock */

#define STATUS_BUTTON	0x0001
#define STATUS_PRESENCE 0x0008 /* has changed */
#define STATUS_PRESENT	0x0040
#define STATUS_LINK	0x0100 /* its state has changed */
#define STATUS_EVENTS	(STATUS_BUTTON | STATUS_PRESENCE | STATUS_LINK)

#define LINK_IS_ACTIVE 0x2000

#define ROOT_CONTROL_BITS 0x000f

struct pcie_root_port {
	struct pci_function function;
	void (*switched_off)(void *context, unsigned slot_function);
	void *context;
	pthread_mutex_t lock; /* guards what follows, and is held while the interrupt is driven */
	bool has_event;	      /* as the interrupt was driven last */
	bool was_off;
};

static uint32_t get(struct pcie_root_port *port, unsigned offset)
{
	return pci_config_get(&port->function, port->function.express + offset, 2);
}

static void change(struct pcie_root_port *port, unsigned offset, uint32_t cleared, uint32_t set)
{
	pci_config_change(&port->function, port->function.express + offset, 2, cleared, set);
}

static bool is_off(uint32_t control)
{
	return (control & CONTROL_POWER_OFF) && (control & CONTROL_LIGHT) == CONTROL_LIGHT_OFF;
}

static bool is_occupied(struct pcie_root_port *port)
{
	unsigned i;

	for (i = 0; i < 8; i++)
		if (pci_bus_at(port->function.secondary, i))
			return true;
	return false;
}

/* The events that the guest has asked for. */
static bool has_event(struct pcie_root_port *port)
{
	uint32_t control = get(port, PCI_EXPRESS_SLOT_CONTROL), status = get(port, PCI_EXPRESS_SLOT_STATUS);

	/* The first enables are at their events' places. */
	return (control & CONTROL_INTERRUPT) &&
	       ((status & control & (STATUS_BUTTON | STATUS_PRESENCE)) ||
		((status & STATUS_LINK) && (control & CONTROL_LINK_ENABLE)));
}

/* A message for each time that the condition comes to be; the pin as long as it is (§6.7.3.4). With the lock held. */
static void update_interrupt(struct pcie_root_port *port)
{
	bool event = has_event(port);

	if (event && !port->has_event)
		pci_notify(&port->function, 0);
	port->has_event = event;
	pci_set_intx(&port->function, event);
}

/* What the slot's registers say of what is in it. Whether that is new. With the lock held. */
static bool update_presence(struct pcie_root_port *port)
{
	bool is_present = is_occupied(port);

	if (is_present == !!(get(port, PCI_EXPRESS_SLOT_STATUS) & STATUS_PRESENT))
		return false;
	change(port, PCI_EXPRESS_SLOT_STATUS, is_present ? 0 : STATUS_PRESENT,
	       is_present ? STATUS_PRESENT : 0);
	change(port, PCI_EXPRESS_LINK_STATUS, is_present ? 0 : LINK_IS_ACTIVE,
	       is_present ? LINK_IS_ACTIVE : 0);
	return true;
}

void pcie_root_port_changed(struct pcie_root_port *port)
{
	pthread_mutex_lock(&port->lock);
	if (update_presence(port)) {
		change(port, PCI_EXPRESS_SLOT_STATUS, 0, STATUS_PRESENCE | STATUS_LINK);
		update_interrupt(port);
	}
	pthread_mutex_unlock(&port->lock);
}

bool pcie_root_port_press_button(struct pcie_root_port *port)
{
	uint32_t control = get(port, PCI_EXPRESS_SLOT_CONTROL);

	pthread_mutex_lock(&port->lock);
	change(port, PCI_EXPRESS_SLOT_STATUS, 0, STATUS_BUTTON);
	update_interrupt(port);
	pthread_mutex_unlock(&port->lock);
	return (control & CONTROL_INTERRUPT) && (control & CONTROL_BUTTON_ENABLE);
}

bool pcie_root_port_is_busy(struct pcie_root_port *port)
{
	return (get(port, PCI_EXPRESS_SLOT_CONTROL) & CONTROL_LIGHT) == CONTROL_LIGHT_BLINKS;
}

bool pcie_root_port_is_off(struct pcie_root_port *port)
{
	return is_off(get(port, PCI_EXPRESS_SLOT_CONTROL));
}

struct pci_bus *pcie_root_port_bus(struct pcie_root_port *port)
{
	return port->function.secondary;
}

static void config_written(struct pci_function *function, unsigned offset, unsigned size)
{
	struct pcie_root_port *port =
		(struct pcie_root_port *)((char *)function - offsetof(struct pcie_root_port, function));
	unsigned slot = function->express + PCI_EXPRESS_SLOT_CONTROL;
	bool goes_off, off;

	if (offset >= slot + 4 || offset + size <= slot)
		return;
	pthread_mutex_lock(&port->lock);
	off = pcie_root_port_is_off(port);
	goes_off = off && !port->was_off && (get(port, PCI_EXPRESS_SLOT_STATUS) & STATUS_PRESENT);
	port->was_off = off;
	update_interrupt(port);
	pthread_mutex_unlock(&port->lock);
	if (goes_off && port->switched_off)
		port->switched_off(port->context, function->slot_function);
}

/* The bus has reset the function. A slot with something in it is on (as firmware would leave it). */
static void root_port_reset(void *device)
{
	struct pcie_root_port *port = device;
	bool occupied;

	pthread_mutex_lock(&port->lock);
	port->has_event = false;
	update_presence(port);
	occupied = is_occupied(port);
	change(port, PCI_EXPRESS_SLOT_CONTROL, CONTROL_BITS,
	       CONTROL_ATTENTION_OFF | (occupied ? CONTROL_LIGHT_ON : CONTROL_LIGHT_OFF | CONTROL_POWER_OFF));
	port->was_off = !occupied;
	update_interrupt(port);
	pthread_mutex_unlock(&port->lock);
}

static void transfer(struct pcie_root_port *port, struct pci_function_state *function, bool *event,
		     struct state_stream *state)
{
	pci_function_transfer(&port->function, function, state);
	state_bool(state, "has_event", event);
}

static void root_port_save(void *device, struct state_stream *state)
{
	struct pcie_root_port *port = device;
	struct pci_function_state function;
	bool event = port->has_event;

	transfer(port, &function, &event, state);
	pci_function_state_free(&function);
}

static void root_port_load(void *device, struct state_stream *state)
{
	struct pcie_root_port *port = device;
	struct pci_function_state function;
	bool event = false;

	transfer(port, &function, &event, state);
	if (state_complete(state)) {
		pci_function_restore(&port->function, &function);
		pthread_mutex_lock(&port->lock);
		port->has_event = event;
		port->was_off = pcie_root_port_is_off(port);
		/* What is in the slot is what is there, whatever the file says. */
		update_presence(port);
		update_interrupt(port);
		pthread_mutex_unlock(&port->lock);
	}
	pci_function_state_free(&function);
}

static void root_port_destroy(void *device)
{
	struct pcie_root_port *port = device;

	pci_bridge_destroy_bus(&port->function);
	pci_function_destroy(&port->function);
	pthread_mutex_destroy(&port->lock);
	free(port);
}

const struct device_ops pcie_root_port_device_ops = {
	.version = 1,
	.reset = root_port_reset,
	.save = root_port_save,
	.load = root_port_load,
	.destroy = root_port_destroy,
};

static void describe_slot(struct pci_function *function, uint16_t number)
{
	unsigned at = function->express;
	uint32_t slot = SLOT_CAPABILITIES | (uint32_t)number << SLOT_NUMBER_SHIFT;

	pci_config_set(function, at + PCI_EXPRESS_SLOT, 4, slot);
	function->writable[at + PCI_EXPRESS_SLOT_CONTROL] = CONTROL_BITS & 0xff;
	function->writable[at + PCI_EXPRESS_SLOT_CONTROL + 1] = CONTROL_BITS >> 8;
	function->volatile_bits[at + PCI_EXPRESS_SLOT_STATUS] = (STATUS_EVENTS | STATUS_PRESENT) & 0xff;
	function->volatile_bits[at + PCI_EXPRESS_SLOT_STATUS + 1] = STATUS_EVENTS >> 8;
	function->cleared_by_ones[at + PCI_EXPRESS_SLOT_STATUS] = STATUS_EVENTS & 0xff;
	function->cleared_by_ones[at + PCI_EXPRESS_SLOT_STATUS + 1] = STATUS_EVENTS >> 8;
	function->volatile_bits[at + PCI_EXPRESS_LINK_STATUS + 1] = LINK_IS_ACTIVE >> 8;
	function->writable[at + PCI_EXPRESS_ROOT_CONTROL] = ROOT_CONTROL_BITS;
}

struct pcie_root_port *pcie_root_port_create(const struct pcie_root_port_config *config,
					     struct error *error)
{
	struct pcie_root_port *port = calloc(1, sizeof(*port));
	struct pci_function *function;

	if (!port) {
		error_set_errno(error, ENOMEM, "cannot create a root port");
		return NULL;
	}
	port->switched_off = config->switched_off;
	port->context = config->context;
	pthread_mutex_init(&port->lock, NULL);
	function = &port->function;
	pci_function_init(function, VENDOR, DEVICE, CLASS, 0);
	pci_bridge_describe(function);
	pci_function_set_pin(function, 1);
	pci_add_express(function, PCI_EXPRESS_ROOT_PORT, config->port);
	describe_slot(function, config->slot_number);
	pci_add_msi(function, 1);
	function->config_written = config_written;
	pci_bus_add(config->bus, config->slot_function, function);
	if (!pci_bridge_create_bus(function, error)) {
		root_port_destroy(port);
		return NULL;
	}
	return port;
}
