/*
 * What the cards of Intel's gigabit family do alike: the windows on their registers, the PHY by MDIC, the link and the
 * thread that carries frames, saving and loading, creation. A model (e1000_parts.h) says what its registers do.
 */
#include "device/e1000.h"
#include "device/e1000_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* MDIC and the PHY's registers that every one has. */
#define MDIC_READ  0x08000000
#define MDIC_WRITE 0x04000000
#define MDIC_READY 0x10000000
#define MDIC_INTERRUPT 0x20000000
#define MDIC_ERROR 0x40000000
#define PHY_NUMBER 1
#define PHY_CONTROL 0
#define PHY_RESET   0x8000
#define PHY_RESTART 0x0200
#define PHY_STATUS_LINK 0x24 /* link up, negotiation complete */
#define PHY_SPECIFIC_LINK 0x0400
#define PHY_PAGE    22

/* --- on the loop --- */

static void link_ready(void *context)
{
	struct e1000 *e1000 = context;
	unsigned frames;

	pthread_mutex_lock(&e1000->lock);
	if (e1000_is_receiving(e1000)) {
		if (!e1000_receive(e1000))
			event_source_enable(&e1000->source, false);
	} else if (e1000->is_held) {
		event_source_enable(&e1000->source, false);
	} else {
		/* Nobody listens. */
		for (frames = 0; frames < PACKETS_AT_ONCE && e1000_read_frame(e1000); frames++)
			e1000->pending = 0;
		if (!frames)
			event_source_enable(&e1000->source, false);
	}
	pthread_mutex_unlock(&e1000->lock);
}

static void kicked(void *context)
{
	struct e1000 *e1000 = context;

	pthread_mutex_lock(&e1000->lock);
	if (e1000_transmit(e1000))
		e1000_kick(e1000);
	if (!e1000->is_held && e1000_receive(e1000))
		event_source_enable(&e1000->source, true);
	pthread_mutex_unlock(&e1000->lock);
}

/* --- registers; with the lock held --- */

/* Whether there is a partner: the MAC's status, and of the PHY status (1) and specific status (17). */
static void show_link(struct e1000 *e1000)
{
	uint16_t status = e1000->is_down ? 0 : PHY_STATUS_LINK, specific = e1000->is_down ? 0 : PHY_SPECIFIC_LINK;

	e1000->phy[1] = (e1000->phy[1] & ~PHY_STATUS_LINK) | status;
	e1000->phy[17] = (e1000->phy[17] & ~PHY_SPECIFIC_LINK) | specific;
	*e1000_at(e1000, STATUS) = (*e1000_at(e1000, STATUS) & ~STATUS_LU) | (e1000->is_down ? 0 : STATUS_LU);
}

void e1000_phy_reset(struct e1000 *e1000)
{
	memcpy(e1000->phy, e1000->model->phy, sizeof(e1000->phy));
	show_link(e1000);
}

void e1000_reset_registers(struct e1000 *e1000)
{
	memset(e1000->registers, 0, sizeof(e1000->registers));
	e1000_phy_reset(e1000);
	*e1000_at(e1000, STATUS) = STATUS_UP;
	show_link(e1000);
	*e1000_at(e1000, VET) = 0x8100;
	/* The first address comes from the EEPROM. */
	memcpy(e1000_at(e1000, RAL), e1000->mac, 4);
	*e1000_at(e1000, RAL + 4) = RAH_VALID | e1000->mac[4] | e1000->mac[5] << 8;
	memset(e1000->contexts, 0, sizeof(e1000->contexts));
	e1000->told = 0;
	e1000->pending = 0;
	e1000->port_address = 0;
	e1000->model->reset(e1000);
	e1000->model->update_interrupt(e1000);
	event_source_enable(&e1000->source, true);
}

void e1000_write_plain(struct e1000 *e1000, unsigned offset, uint32_t value)
{
	const struct e1000_plain *plain;

	for (plain = e1000->model->plain; plain->count; plain++) {
		if (offset < plain->first || offset >= plain->first + plain->count * 4u)
			continue;
		*e1000_at(e1000, offset) = (*e1000_at(e1000, offset) & ~plain->mask) | (value & plain->mask);
		return;
	}
}

void e1000_write_mdic(struct e1000 *e1000, uint32_t value)
{
	unsigned number = value >> 16 & 0x1f;
	uint32_t result = (value & 0x3ffffff) | MDIC_READY;
	bool is_elsewhere = e1000->model->has_phy_pages && number > 15 && number != PHY_PAGE && e1000->phy[PHY_PAGE];
	bool is_read_only = number == 1 || number == 2 || number == 3 || number == 5 || number == 6 ||
			    number == 10 || number == 15 || number == 17;

	if ((value >> 21 & 0x1f) != PHY_NUMBER) {
		result |= MDIC_ERROR;
	} else if (value & MDIC_READ) {
		/* Nothing is on the PHY's other pages. */
		result = (result & ~0xffffu) | (is_elsewhere ? 0 : e1000->phy[number]);
	} else if ((value & MDIC_WRITE) && number == PHY_CONTROL) {
		if (value & PHY_RESET)
			e1000_phy_reset(e1000);
		else
			e1000->phy[number] = value & 0xffff & ~PHY_RESTART;
		/* The link is there again at once. */
		if ((value & (PHY_RESET | PHY_RESTART)) && !e1000->is_down)
			e1000->model->raise(e1000, ICR_LSC, 0);
	} else if ((value & MDIC_WRITE) && !is_read_only && !is_elsewhere) {
		e1000->phy[number] = value;
	}
	*e1000_at(e1000, MDIC) = result | (value & (MDIC_READ | MDIC_WRITE | MDIC_INTERRUPT));
	if (value & MDIC_INTERRUPT)
		e1000->model->raise(e1000, ICR_MDAC, 0);
}

static uint32_t read_register(struct e1000 *e1000, unsigned offset)
{
	return offset < e1000->model->registers_end ? e1000->model->read(e1000, offset) : 0;
}

static void write_register(struct e1000 *e1000, unsigned offset, uint32_t value)
{
	if (offset < e1000->model->registers_end)
		e1000->model->write(e1000, offset, value);
}

/* Registers are dwords (§13.2): a part of one can be read. */
static uint64_t window_read(void *device, uint64_t offset, unsigned size)
{
	struct e1000 *e1000 = device;
	uint64_t value;

	pthread_mutex_lock(&e1000->lock);
	value = (uint64_t)read_register(e1000, offset & ~3u) >> (offset & 3) * 8;
	if (size == 8)
		value |= (uint64_t)read_register(e1000, (offset & ~3u) + 4) << 32;
	pthread_mutex_unlock(&e1000->lock);
	return value;
}

static void window_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct e1000 *e1000 = device;

	if (size < 4 || offset & 3)
		return;
	pthread_mutex_lock(&e1000->lock);
	write_register(e1000, offset, value);
	if (size == 8)
		write_register(e1000, offset + 4, value >> 32);
	pthread_mutex_unlock(&e1000->lock);
}

const struct mmio_ops e1000_window_ops = {window_read, window_write};

/* IOADDR chooses a register, IODATA is it (§13.2.2). */
static uint32_t port_read(void *device, uint16_t offset, unsigned size)
{
	struct e1000 *e1000 = device;
	uint32_t value = 0;

	pthread_mutex_lock(&e1000->lock);
	if (offset == 0 && size == 4)
		value = e1000->port_address;
	else if (offset == 4 && size == 4)
		value = read_register(e1000, e1000->port_address);
	pthread_mutex_unlock(&e1000->lock);
	return value;
}

static void port_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct e1000 *e1000 = device;

	pthread_mutex_lock(&e1000->lock);
	if (offset == 0 && size == 4)
		e1000->port_address = value & (E1000_WINDOW_BYTES - 4);
	else if (offset == 4 && size == 4)
		write_register(e1000, e1000->port_address, value);
	pthread_mutex_unlock(&e1000->lock);
}

const struct pio_ops e1000_port_ops = {port_read, port_write, 4};

/* --- life --- */

static void reset_card(void *device)
{
	struct e1000 *e1000 = device;

	pthread_mutex_lock(&e1000->lock);
	e1000_reset_registers(e1000);
	pthread_mutex_unlock(&e1000->lock);
}

static void hold_card(void *device)
{
	struct e1000 *e1000 = device;

	pthread_mutex_lock(&e1000->lock);
	e1000->is_held = true;
	pthread_mutex_unlock(&e1000->lock);
}

static void release_card(void *device)
{
	struct e1000 *e1000 = device;

	pthread_mutex_lock(&e1000->lock);
	e1000->is_held = false;
	e1000_kick(e1000);
	pthread_mutex_unlock(&e1000->lock);
	event_source_enable(&e1000->source, true);
}

static void transfer(struct state_stream *state, const struct e1000_model *model, struct e1000 *e1000)
{
	unsigned i;

	for (i = 0; i < model->registers_end / 4; i++)
		state_u32(state, "register", &e1000->registers[i]);
	for (i = 0; i < PHY_REGISTERS; i++)
		state_u16(state, "phy", &e1000->phy[i]);
	state_u8(state, "eeprom wires", &e1000->eeprom.wires);
	state_u8(state, "eeprom bits", &e1000->eeprom.taken);
	state_check(state, "eeprom bits", e1000->eeprom.taken <= 9);
	state_u16(state, "eeprom command", &e1000->eeprom.command);
	state_check(state, "eeprom command", e1000->eeprom.command < 512);
	state_u8(state, "eeprom given", &e1000->eeprom.given);
	state_check(state, "eeprom given", e1000->eeprom.given <= 16);
	state_u32(state, "port address", &e1000->port_address);
	state_check(state, "port address", !(e1000->port_address & ~(E1000_WINDOW_BYTES - 4)));
	for (i = 0; i < model->queues; i++) {
		state_u64(state, "context", &e1000->contexts[i].address);
		state_u32(state, "context", &e1000->contexts[i].command);
		state_u32(state, "context", &e1000->contexts[i].status);
	}
	if (model->has_messages)
		state_u32(state, "told", &e1000->told);
	/* Ring sizes are what can be written: the others are only looked at. */
	for (i = 0; i < model->queues; i++)
		state_check(state, "ring", !(*e1000_at(e1000, RDLEN + i * QUEUE_BYTES) & ~0xfff80u) &&
						   !(*e1000_at(e1000, TDLEN + i * QUEUE_BYTES) & ~0xfff80u));
}

static void save_card(void *device, struct state_stream *state)
{
	struct e1000 *e1000 = device;

	pci_function_save(&e1000->function, state);
	pthread_mutex_lock(&e1000->lock);
	transfer(state, e1000->model, e1000);
	pthread_mutex_unlock(&e1000->lock);
}

static void load_card(void *device, struct state_stream *state)
{
	struct e1000 *e1000 = device, *loaded = calloc(1, sizeof(*loaded));
	struct pci_function_state saved;

	if (!loaded) {
		state_fail(state, "out of memory");
		return;
	}
	pci_function_transfer(&e1000->function, &saved, state);
	transfer(state, e1000->model, loaded);
	if (state_complete(state)) {
		pci_function_restore(&e1000->function, &saved);
		pthread_mutex_lock(&e1000->lock);
		e1000_reset_registers(e1000);
		memcpy(e1000->registers, loaded->registers, sizeof(e1000->registers));
		memcpy(e1000->phy, loaded->phy, sizeof(e1000->phy));
		show_link(e1000);
		e1000->eeprom.wires = loaded->eeprom.wires;
		e1000->eeprom.taken = loaded->eeprom.taken;
		e1000->eeprom.command = loaded->eeprom.command;
		e1000->eeprom.given = loaded->eeprom.given;
		e1000->port_address = loaded->port_address;
		memcpy(e1000->contexts, loaded->contexts, sizeof(e1000->contexts));
		e1000->told = loaded->told;
		e1000->model->update_interrupt(e1000);
		pthread_mutex_unlock(&e1000->lock);
	}
	pci_function_state_free(&saved);
	free(loaded);
}

void e1000_set_link(struct e1000 *e1000, bool is_up)
{
	pthread_mutex_lock(&e1000->lock);
	if (e1000->is_down == is_up) {
		e1000->is_down = !is_up;
		show_link(e1000);
		e1000->model->raise(e1000, ICR_LSC, 0);
	}
	pthread_mutex_unlock(&e1000->lock);
}

void e1000_destroy(void *device)
{
	struct e1000 *e1000 = device;

	loop_thread_stop(&e1000->thread);
	if (e1000->source.loop)
		event_loop_remove(&e1000->source);
	event_signal_destroy(&e1000->kick);
	pci_function_destroy(&e1000->function);
	loop_thread_destroy(&e1000->thread);
	net_link_close(&e1000->link);
	pthread_mutex_destroy(&e1000->lock);
	free(e1000);
}

const struct device_ops e1000_device_ops = {
	.version = 1,
	.reset = reset_card,
	.save = save_card,
	.load = load_card,
	.destroy = e1000_destroy,
	.hold = hold_card,
	.release = release_card,
};

static int watch(struct e1000 *e1000, struct event_loop *loop, struct error *error)
{
	int result = event_signal_init(&e1000->kick, loop, kicked, e1000);

	if (result == 0)
		result = event_loop_add(loop, &e1000->source);
	if (result < 0)
		return error_set_errno(error, -result, "cannot watch the network's link");
	return e1000->thread.loop ? loop_thread_start(&e1000->thread, error) : 0;
}

struct e1000 *e1000_begin(const struct e1000_model *model, const struct net_link *link, const uint8_t mac[E1000_MAC_BYTES],
			  struct event_loop *loop, struct error *error)
{
	struct e1000 *e1000 = calloc(1, sizeof(*e1000));
	struct net_link own = *link;

	if (!e1000 || (!loop && loop_thread_create(&e1000->thread, "kvik net", error) < 0)) {
		error_set_errno(error, ENOMEM, "cannot create an %s", model->name);
		net_link_close(&own);
		free(e1000);
		return NULL;
	}
	pthread_mutex_init(&e1000->lock, NULL);
	e1000->model = model;
	e1000->link = own;
	e1000->is_held = true;
	memcpy(e1000->mac, mac, E1000_MAC_BYTES);
	e1000->source = (struct event_source){.fd = own.fd, .ready = link_ready, .context = e1000};
	return e1000;
}

struct e1000 *e1000_complete(struct e1000 *e1000, struct pci_bus *bus, unsigned slot_function,
			     const struct pci_rom *rom, struct event_loop *loop, struct error *error)
{
	static const struct net_offloads none;
	int result = pci_function_set_rom(&e1000->function, rom, error);

	pci_bus_add(bus, slot_function, &e1000->function);
	e1000_reset_registers(e1000);
	/* Frames come as they were sent: whole, and no longer than a frame. */
	if (e1000->link.has_header)
		net_tap_set_offloads(&e1000->link, &none);
	if (result < 0 || watch(e1000, loop ? loop : e1000->thread.loop, error) < 0) {
		e1000_destroy(e1000);
		return NULL;
	}
	return e1000;
}
