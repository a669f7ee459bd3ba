/*
 * Intel 8259A Programmable Interrupt Controller (data sheet 231468), twice, cascaded on the
 * master's IR2 as in the IBM PC/AT, with the edge/level control registers (ELCR) of the PIIX and
 * EISA.
 *
 * Modelled: ICW1-4, OCW1-3, fixed and rotating priority, automatic EOI with and without rotation,
 * special mask mode, special fully nested mode, poll, level and edge inputs, spurious IRQ7/IRQ15.
 * Not modelled: buffered mode, MCS-80/85 mode, a single chip (ICW1.SNGL), other cascades.
 *
 * As in Linux's KVM an edge stays latched when its line falls before the acknowledge; sources in a
 * virtual machine pulse their lines.
 */
#include "util/i8259.h"

#include <stddef.h>
#include <string.h>

enum {
	PORT_MASTER_COMMAND = 0x20,
	PORT_MASTER_DATA = 0x21,
	PORT_SLAVE_COMMAND = 0xa0,
	PORT_SLAVE_DATA = 0xa1,
	PORT_ELCR_MASTER = 0x4d0,
	PORT_ELCR_SLAVE = 0x4d1,
};

enum { MASTER, SLAVE };

#define CASCADE_IRQ  2
#define SPURIOUS_IRQ 7
#define NO_PRIORITY  8 /* what priority_of gives for an empty set */

/* IRQ 0, 1, 2, 8 and 13 are always edge-triggered (82371SB, ELCR1 and ELCR2). */
#define ELCR_MASK_MASTER 0xf8
#define ELCR_MASK_SLAVE  0xde

#define ICW1_SELECT     0x10 /* command port: this is ICW1 */
#define ICW1_NEEDS_ICW4 0x01
#define ICW4_AUTO_EOI   0x02
#define ICW4_NESTED     0x10 /* special fully nested mode */

#define OCW3_SELECT       0x08 /* command port: OCW3 rather than OCW2 */
#define OCW3_READ_ISR     0x01
#define OCW3_READ_CHANGE  0x02
#define OCW3_POLL         0x04
#define OCW3_SPECIAL_MASK 0x20
#define OCW3_MASK_CHANGE  0x40

/* Which initialization word the data port takes next (kvm_pic_state.init_state). */
enum { INIT_DONE, INIT_ICW2, INIT_ICW3, INIT_ICW4 };

/* How urgent the most urgent of `lines` is: 0 is first; NO_PRIORITY when there is none. */
static unsigned priority_of(const struct kvm_pic_state *chip, uint8_t lines)
{
	unsigned priority = 0;

	if (!lines)
		return NO_PRIORITY;
	while (!(lines & (1 << ((priority + chip->priority_add) & 7))))
		priority++;
	return priority;
}

/* The input that `index` would interrupt for now, or -1. */
static int request_of(const struct i8259 *pic, unsigned index)
{
	const struct kvm_pic_state *chip = &pic->chip[index];
	unsigned requested = priority_of(chip, chip->irr & ~chip->imr);
	uint8_t in_service = chip->isr;

	if (requested == NO_PRIORITY)
		return -1;
	/* Special mask mode: what is masked no longer holds back lower priorities. */
	if (chip->special_mask)
		in_service &= ~chip->imr;
	/* Special fully nested mode: the slave may interrupt again within its own service. */
	if (chip->special_fully_nested_mode && index == MASTER)
		in_service &= ~(1 << CASCADE_IRQ);
	if (requested >= priority_of(chip, in_service))
		return -1;
	return (requested + chip->priority_add) & 7;
}

/* One chip's input: as the return value of i8259_set_line. */
static int drive_input(struct kvm_pic_state *chip, unsigned line, bool level)
{
	uint8_t bit = 1 << line;
	int result = 1;

	if (chip->elcr & bit) {
		if (level) {
			result = !(chip->irr & bit);
			chip->irr |= bit;
			chip->last_irr |= bit;
		} else {
			chip->irr &= ~bit;
			chip->last_irr &= ~bit;
		}
	} else if (level) {
		if (!(chip->last_irr & bit)) {
			result = !(chip->irr & bit);
			chip->irr |= bit;
		}
		chip->last_irr |= bit;
	} else {
		chip->last_irr &= ~bit;
	}
	return chip->imr & bit ? -1 : result;
}

/* The one place where the cascade and the output follow from the registers. */
static void update_output(struct i8259 *pic)
{
	bool output;

	if (request_of(pic, SLAVE) >= 0) {
		drive_input(&pic->chip[MASTER], CASCADE_IRQ, true);
		drive_input(&pic->chip[MASTER], CASCADE_IRQ, false);
	}
	output = request_of(pic, MASTER) >= 0;
	if (output == pic->output)
		return;
	pic->output = output;
	if (pic->host->output)
		pic->host->output(pic->context, output);
}

static void notify_acked(struct i8259 *pic, unsigned index, unsigned line)
{
	if (pic->host->acked)
		pic->host->acked(pic->context, index * 8 + line);
}

static void clear_in_service(struct i8259 *pic, unsigned index, unsigned line)
{
	pic->chip[index].isr &= ~(1 << line);
	notify_acked(pic, index, line);
}

static void acknowledge_line(struct i8259 *pic, unsigned index, unsigned line)
{
	struct kvm_pic_state *chip = &pic->chip[index];

	chip->isr |= 1 << line;
	if (!(chip->elcr & (1 << line)))
		chip->irr &= ~(1 << line);
	if (chip->auto_eoi) {
		if (chip->rotate_on_auto_eoi)
			chip->priority_add = (line + 1) & 7;
		clear_in_service(pic, index, line);
	}
}

uint8_t i8259_acknowledge(struct i8259 *pic)
{
	int line = request_of(pic, MASTER);
	int slave_line;
	uint8_t vector;

	if (line < 0) {
		vector = pic->chip[MASTER].irq_base + SPURIOUS_IRQ;
	} else if (line == CASCADE_IRQ) {
		acknowledge_line(pic, MASTER, CASCADE_IRQ);
		slave_line = request_of(pic, SLAVE);
		if (slave_line >= 0)
			acknowledge_line(pic, SLAVE, slave_line);
		else
			slave_line = SPURIOUS_IRQ;
		vector = pic->chip[SLAVE].irq_base + slave_line;
	} else {
		acknowledge_line(pic, MASTER, line);
		vector = pic->chip[MASTER].irq_base + line;
	}
	update_output(pic);
	return vector;
}

int i8259_set_line(struct i8259 *pic, unsigned irq, bool level)
{
	int result = drive_input(&pic->chip[irq >> 3], irq & 7, level);

	update_output(pic);
	return result;
}

static void write_icw1(struct i8259 *pic, unsigned index, uint8_t value)
{
	struct kvm_pic_state *chip = &pic->chip[index];
	uint8_t dropped = chip->isr | (chip->irr & ~chip->elcr);
	unsigned line;

	chip->init4 = value & ICW1_NEEDS_ICW4;
	chip->last_irr = 0;
	chip->irr &= chip->elcr;
	chip->imr = 0;
	chip->isr = 0;
	chip->priority_add = 0;
	chip->special_mask = 0;
	chip->read_reg_select = 0;
	chip->poll = 0;
	if (!chip->init4) {
		chip->special_fully_nested_mode = 0;
		chip->auto_eoi = 0;
	}
	chip->init_state = INIT_ICW2;
	/* Nobody will ever end these: whoever waits for it must not wait any longer. */
	for (line = 0; line < 8; line++)
		if (dropped & (1 << line))
			notify_acked(pic, index, line);
}

static void write_ocw2(struct i8259 *pic, unsigned index, uint8_t value)
{
	struct kvm_pic_state *chip = &pic->chip[index];
	unsigned command = value >> 5, line = value & 7, priority;
	uint8_t in_service = chip->isr;

	switch (command) {
	case 0: /* clear, set rotation in automatic EOI mode */
	case 4:
		chip->rotate_on_auto_eoi = command >> 2;
		break;
	case 1: /* non-specific EOI; with rotation */
	case 5:
		/* In special mask mode a masked in-service bit is left alone. */
		if (chip->special_mask)
			in_service &= ~chip->imr;
		priority = priority_of(chip, in_service);
		if (priority == NO_PRIORITY)
			break;
		line = (priority + chip->priority_add) & 7;
		if (command == 5)
			chip->priority_add = (line + 1) & 7;
		clear_in_service(pic, index, line);
		break;
	case 3: /* specific EOI */
		clear_in_service(pic, index, line);
		break;
	case 6: /* set priority */
		chip->priority_add = (line + 1) & 7;
		break;
	case 7: /* specific EOI with rotation */
		chip->priority_add = (line + 1) & 7;
		clear_in_service(pic, index, line);
		break;
	default: /* 2: no operation */
		break;
	}
}

static void write_command(struct i8259 *pic, unsigned index, uint8_t value)
{
	struct kvm_pic_state *chip = &pic->chip[index];

	if (value & ICW1_SELECT) {
		write_icw1(pic, index, value);
	} else if (value & OCW3_SELECT) {
		if (value & OCW3_POLL)
			chip->poll = 1;
		if (value & OCW3_READ_CHANGE)
			chip->read_reg_select = value & OCW3_READ_ISR;
		if (value & OCW3_MASK_CHANGE)
			chip->special_mask = !!(value & OCW3_SPECIAL_MASK);
	} else {
		write_ocw2(pic, index, value);
	}
}

static void write_mask(struct i8259 *pic, unsigned index, uint8_t value)
{
	struct kvm_pic_state *chip = &pic->chip[index];
	uint8_t changed = chip->imr ^ value;
	unsigned line;

	chip->imr = value;
	if (!pic->host->mask_changed)
		return;
	for (line = 0; line < 8; line++)
		if (changed & (1 << line))
			pic->host->mask_changed(pic->context, index * 8 + line,
						value & (1 << line));
}

static void write_data(struct i8259 *pic, unsigned index, uint8_t value)
{
	struct kvm_pic_state *chip = &pic->chip[index];

	switch (chip->init_state) {
	case INIT_DONE:
		write_mask(pic, index, value);
		break;
	case INIT_ICW2:
		chip->irq_base = value & 0xf8;
		chip->init_state = INIT_ICW3;
		break;
	case INIT_ICW3:
		chip->init_state = chip->init4 ? INIT_ICW4 : INIT_DONE;
		break;
	case INIT_ICW4:
		chip->special_fully_nested_mode = !!(value & ICW4_NESTED);
		chip->auto_eoi = !!(value & ICW4_AUTO_EOI);
		chip->init_state = INIT_DONE;
		break;
	}
}

/* A read after OCW3's poll command is an acknowledge: bit 7 and the line, or 0. */
static uint8_t read_poll(struct i8259 *pic, unsigned index)
{
	int line = request_of(pic, index);

	pic->chip[index].poll = 0;
	if (line < 0)
		return 0;
	acknowledge_line(pic, index, line);
	update_output(pic);
	return 0x80 | line;
}

bool i8259_has_port(uint16_t port)
{
	switch (port) {
	case PORT_MASTER_COMMAND:
	case PORT_MASTER_DATA:
	case PORT_SLAVE_COMMAND:
	case PORT_SLAVE_DATA:
	case PORT_ELCR_MASTER:
	case PORT_ELCR_SLAVE:
		return true;
	default:
		return false;
	}
}

uint8_t i8259_read(struct i8259 *pic, uint16_t port)
{
	unsigned index = port & 0x80 ? SLAVE : MASTER;
	const struct kvm_pic_state *chip = &pic->chip[index];

	switch (port) {
	case PORT_ELCR_MASTER:
		return pic->chip[MASTER].elcr;
	case PORT_ELCR_SLAVE:
		return pic->chip[SLAVE].elcr;
	}
	if (chip->poll)
		return read_poll(pic, index);
	if (port & 1)
		return chip->imr;
	return chip->read_reg_select ? chip->isr : chip->irr;
}

void i8259_write(struct i8259 *pic, uint16_t port, uint8_t value)
{
	unsigned index = port & 0x80 ? SLAVE : MASTER;

	switch (port) {
	case PORT_ELCR_MASTER:
		pic->chip[MASTER].elcr = value & ELCR_MASK_MASTER;
		return;
	case PORT_ELCR_SLAVE:
		pic->chip[SLAVE].elcr = value & ELCR_MASK_SLAVE;
		return;
	}
	if (port & 1)
		write_data(pic, index, value);
	else
		write_command(pic, index, value);
	update_output(pic);
}

void i8259_set_state(struct i8259 *pic, unsigned index, const struct kvm_pic_state *state)
{
	struct kvm_pic_state *chip = &pic->chip[index];
	uint8_t elcr_mask = chip->elcr_mask;

	*chip = *state;
	chip->elcr_mask = elcr_mask;
	chip->elcr &= elcr_mask;
	chip->priority_add &= 7;
	chip->init_state &= 3;
	chip->read_reg_select = !!chip->read_reg_select;
	update_output(pic);
}

void i8259_init(struct i8259 *pic, const struct i8259_host *host, void *context)
{
	memset(pic, 0, sizeof(*pic));
	pic->chip[MASTER].elcr_mask = ELCR_MASK_MASTER;
	pic->chip[SLAVE].elcr_mask = ELCR_MASK_SLAVE;
	pic->host = host;
	pic->context = context;
}

static void transfer_flag(struct state_stream *state, const char *field, uint8_t *flag)
{
	state_u8(state, field, flag);
	state_check(state, field, *flag <= 1);
}

void i8259_transfer(struct kvm_pic_state *chip, struct state_stream *state)
{
	state_u8(state, "last_irr", &chip->last_irr);
	state_u8(state, "irr", &chip->irr);
	state_u8(state, "imr", &chip->imr);
	state_u8(state, "isr", &chip->isr);
	state_u8(state, "priority_add", &chip->priority_add);
	state_check(state, "priority_add", chip->priority_add < 8);
	state_u8(state, "irq_base", &chip->irq_base);
	state_check(state, "irq_base", (chip->irq_base & 7) == 0);
	transfer_flag(state, "read_reg_select", &chip->read_reg_select);
	transfer_flag(state, "poll", &chip->poll);
	transfer_flag(state, "special_mask", &chip->special_mask);
	state_u8(state, "init_state", &chip->init_state);
	state_check(state, "init_state", chip->init_state <= INIT_ICW4);
	transfer_flag(state, "auto_eoi", &chip->auto_eoi);
	transfer_flag(state, "rotate_on_auto_eoi", &chip->rotate_on_auto_eoi);
	transfer_flag(state, "special_fully_nested_mode", &chip->special_fully_nested_mode);
	transfer_flag(state, "init4", &chip->init4);
	state_u8(state, "elcr", &chip->elcr);
}
