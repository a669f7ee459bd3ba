/*
 * PC16550D Universal Asynchronous Receiver/Transmitter with FIFOs (National Semiconductor, 1995),
 * as wired in a PC: OUT2 gates the interrupt line.
 *
 * Modelled: all registers, both FIFOs, all interrupt sources with their priorities, loopback,
 * break, overrun. Not modelled: the time that characters take. A character leaves the transmitter
 * at once while the line takes it; when the line doesn't, the transmitter stays full, as with a
 * modem that holds it back. Characters that are written even so are kept. The receiver's character
 * time-out has always passed already.
 */
#include "device/char/serial16550.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Register offsets (§8.0, table II). */
#define REG_DATA 0 /* RBR read, THR write; DLL when DLAB */
#define REG_IER	 1 /* DLM when DLAB */
#define REG_IIR	 2 /* read */
#define REG_FCR	 2 /* write */
#define REG_LCR	 3
#define REG_MCR	 4
#define REG_LSR	 5
#define REG_MSR	 6
#define REG_SCR	 7

#define IER_RECEIVE  0x01
#define IER_TRANSMIT 0x02
#define IER_LINE     0x04
#define IER_MODEM    0x08

#define IIR_NONE     0x01
#define IIR_MODEM    0x00
#define IIR_TRANSMIT 0x02
#define IIR_RECEIVE  0x04
#define IIR_LINE     0x06
#define IIR_TIMEOUT  0x0c
#define IIR_FIFO     0xc0

#define FCR_ENABLE	   0x01
#define FCR_RESET_RECEIVE  0x02
#define FCR_RESET_TRANSMIT 0x04
#define FCR_TRIGGER_SHIFT  6

#define LCR_DLAB 0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_MASK 0x1f

#define LSR_DATA_READY	   0x01
#define LSR_OVERRUN	   0x02
#define LSR_PARITY	   0x04
#define LSR_FRAMING	   0x08
#define LSR_BREAK	   0x10
#define LSR_THR_EMPTY	   0x20
#define LSR_TRANSMIT_EMPTY 0x40
#define LSR_ERRORS	   (LSR_OVERRUN | LSR_PARITY | LSR_FRAMING | LSR_BREAK)

#define MSR_DELTA_CTS 0x01
#define MSR_DELTA_DSR 0x02
#define MSR_TRAIL_RI  0x04
#define MSR_DELTA_DCD 0x08
#define MSR_CTS	      0x10
#define MSR_DSR	      0x20
#define MSR_RI	      0x40
#define MSR_DCD	      0x80
#define MSR_DELTAS    0x0f

#define FIFO_BYTES 16

struct serial16550 {
	pthread_mutex_t lock; /* guards everything below; held while irq and stream are called */
	struct char_stream *stream;
	struct char_watch line_ready;
	struct irq_line irq;
	uint8_t ier, fcr, lcr, mcr, msr, scr;
	uint8_t lsr_errors; /* LSR's error bits; its other bits follow from the state */
	uint8_t divisor_low, divisor_high;
	bool thr_interrupt; /* "transmitter holding register empty" awaits the guest */
	bool awaits_line;   /* it does not, and line_ready is to say when it does */
	uint8_t fifo[FIFO_BYTES]; /* received */
	unsigned fifo_head, fifo_count;
};

static unsigned fifo_capacity(const struct serial16550 *uart)
{
	return uart->fcr & FCR_ENABLE ? FIFO_BYTES : 1;
}

static unsigned fifo_trigger(const struct serial16550 *uart)
{
	static const uint8_t levels[] = {1, 4, 8, 14};

	return uart->fcr & FCR_ENABLE ? levels[uart->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* The highest-priority enabled interrupt (§8.6, table IV). */
static uint8_t pending_interrupt(const struct serial16550 *uart)
{
	if ((uart->ier & IER_LINE) && uart->lsr_errors)
		return IIR_LINE;
	if ((uart->ier & IER_RECEIVE) && uart->fifo_count >= fifo_trigger(uart))
		return IIR_RECEIVE;
	if ((uart->ier & IER_RECEIVE) && uart->fifo_count)
		return IIR_TIMEOUT;
	if ((uart->ier & IER_TRANSMIT) && uart->thr_interrupt)
		return IIR_TRANSMIT;
	if ((uart->ier & IER_MODEM) && (uart->msr & MSR_DELTAS))
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct serial16550 *uart)
{
	bool enabled = (uart->mcr & MCR_OUT2) && !(uart->mcr & MCR_LOOP);

	irq_line_set(&uart->irq, enabled && pending_interrupt(uart) != IIR_NONE);
}

/* In loopback nothing goes over the line. */
static bool transmitter_is_empty(const struct serial16550 *uart)
{
	return (uart->mcr & MCR_LOOP) || char_is_ready(uart->stream);
}

/* The transmit interrupt rises now, or with line_ready. */
static void raise_when_empty(struct serial16550 *uart)
{
	uart->thr_interrupt = transmitter_is_empty(uart);
	uart->awaits_line |= !uart->thr_interrupt;
}

static void fifo_clear(struct serial16550 *uart)
{
	uart->fifo_head = 0;
	uart->fifo_count = 0;
}

static void receive_byte(struct serial16550 *uart, uint8_t byte)
{
	if (uart->fifo_count >= fifo_capacity(uart)) {
		uart->lsr_errors |= LSR_OVERRUN;
		return;
	}
	uart->fifo[(uart->fifo_head + uart->fifo_count++) % FIFO_BYTES] = byte;
}

/* Input lines: the modem's, or in loopback the UART's own outputs (§8.7, MCR bit 4). */
static void update_modem_lines(struct serial16550 *uart)
{
	uint8_t lines = MSR_CTS | MSR_DSR | MSR_DCD;
	uint8_t changed;

	if (uart->mcr & MCR_LOOP) {
		lines = (uart->mcr & MCR_RTS ? MSR_CTS : 0) | (uart->mcr & MCR_DTR ? MSR_DSR : 0) |
			(uart->mcr & MCR_OUT1 ? MSR_RI : 0) | (uart->mcr & MCR_OUT2 ? MSR_DCD : 0);
	}
	changed = (uart->msr ^ lines) & ~MSR_DELTAS;
	uart->msr = lines | (uart->msr & MSR_DELTAS);
	uart->msr |= (changed & MSR_CTS ? MSR_DELTA_CTS : 0) |
		     (changed & MSR_DSR ? MSR_DELTA_DSR : 0) |
		     (changed & MSR_RI & ~lines ? MSR_TRAIL_RI : 0) |
		     (changed & MSR_DCD ? MSR_DELTA_DCD : 0);
}

static void reset_registers(struct serial16550 *uart)
{
	/* Table III. The divisor is undefined at reset; 9600 baud is what a BIOS leaves. */
	uart->ier = uart->fcr = uart->lcr = uart->mcr = uart->scr = 0;
	uart->lsr_errors = 0;
	uart->msr = MSR_CTS | MSR_DSR | MSR_DCD;
	uart->divisor_low = 12;
	uart->divisor_high = 0;
	uart->thr_interrupt = uart->awaits_line = false;
	fifo_clear(uart);
}

static void serial16550_reset(void *device)
{
	struct serial16550 *uart = device;

	pthread_mutex_lock(&uart->lock);
	reset_registers(uart);
	update_irq(uart);
	pthread_mutex_unlock(&uart->lock);
	char_resume_input(uart->stream);
}

static uint8_t read_data(struct serial16550 *uart)
{
	uint8_t byte = uart->fifo[uart->fifo_head];

	if (uart->fifo_count) {
		uart->fifo_head = (uart->fifo_head + 1) % FIFO_BYTES;
		uart->fifo_count--;
		if (uart->fifo_count == 0)
			char_resume_input(uart->stream);
	}
	return byte;
}

static uint8_t read_iir(struct serial16550 *uart)
{
	uint8_t id = pending_interrupt(uart);

	if (id == IIR_TRANSMIT)
		uart->thr_interrupt = false;
	return id | (uart->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct serial16550 *uart)
{
	uint8_t value = uart->lsr_errors;

	if (transmitter_is_empty(uart))
		value |= LSR_THR_EMPTY | LSR_TRANSMIT_EMPTY;
	if (uart->fifo_count)
		value |= LSR_DATA_READY;
	uart->lsr_errors = 0;
	return value;
}

static uint32_t serial16550_read(void *device, uint16_t offset, unsigned size)
{
	struct serial16550 *uart = device;
	bool dlab;
	uint8_t value = 0;

	(void)size;
	pthread_mutex_lock(&uart->lock);
	dlab = uart->lcr & LCR_DLAB;
	switch (offset) {
	case REG_DATA: value = dlab ? uart->divisor_low : read_data(uart); break;
	case REG_IER: value = dlab ? uart->divisor_high : uart->ier; break;
	case REG_IIR: value = read_iir(uart); break;
	case REG_LCR: value = uart->lcr; break;
	case REG_MCR: value = uart->mcr; break;
	case REG_LSR: value = read_lsr(uart); break;
	case REG_MSR:
		value = uart->msr;
		uart->msr &= ~MSR_DELTAS;
		break;
	case REG_SCR: value = uart->scr; break;
	}
	update_irq(uart);
	pthread_mutex_unlock(&uart->lock);
	return value;
}

static void write_data(struct serial16550 *uart, uint8_t byte)
{
	if (uart->mcr & MCR_LOOP)
		receive_byte(uart, byte);
	else
		char_write(uart->stream, &byte, 1);
	raise_when_empty(uart);
}

static void write_ier(struct serial16550 *uart, uint8_t value)
{
	/* Enabling the transmit interrupt while the register is empty raises it. */
	if ((value & IER_TRANSMIT) && !(uart->ier & IER_TRANSMIT))
		raise_when_empty(uart);
	uart->ier = value & (IER_RECEIVE | IER_TRANSMIT | IER_LINE | IER_MODEM);
}

static void write_fcr(struct serial16550 *uart, uint8_t value)
{
	/* Changing the enable bit clears both FIFOs; the reset bits clear themselves. */
	if (((value ^ uart->fcr) & FCR_ENABLE) || (value & FCR_RESET_RECEIVE))
		fifo_clear(uart);
	/* What was written is on the line's side already and stays. */
	if (value & FCR_RESET_TRANSMIT)
		raise_when_empty(uart);
	/* Without the enable bit the other bits aren't programmed (§8.5). */
	uart->fcr = value & FCR_ENABLE ? value & ~(FCR_RESET_RECEIVE | FCR_RESET_TRANSMIT) : 0;
	char_resume_input(uart->stream);
}

static void serial16550_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct serial16550 *uart = device;
	bool dlab;

	(void)size;
	pthread_mutex_lock(&uart->lock);
	dlab = uart->lcr & LCR_DLAB;
	switch (offset) {
	case REG_DATA:
		if (dlab)
			uart->divisor_low = value;
		else
			write_data(uart, value);
		break;
	case REG_IER:
		if (dlab)
			uart->divisor_high = value;
		else
			write_ier(uart, value);
		break;
	case REG_FCR: write_fcr(uart, value); break;
	case REG_LCR: uart->lcr = value; break;
	case REG_MCR:
		uart->mcr = value & MCR_MASK;
		update_modem_lines(uart);
		break;
	case REG_SCR: uart->scr = value; break;
	default: break; /* LSR and MSR are the factory's test registers: writes do nothing here */
	}
	update_irq(uart);
	pthread_mutex_unlock(&uart->lock);
}

const struct pio_ops serial16550_pio_ops = {
	.read = serial16550_read,
	.write = serial16550_write,
	.widest_access = 1,
};

static size_t serial16550_room(void *context)
{
	struct serial16550 *uart = context;
	size_t room;

	pthread_mutex_lock(&uart->lock);
	room = uart->mcr & MCR_LOOP ? 0 : fifo_capacity(uart) - uart->fifo_count;
	pthread_mutex_unlock(&uart->lock);
	return room;
}

static void serial16550_receive(void *context, const uint8_t *data, size_t size)
{
	struct serial16550 *uart = context;

	pthread_mutex_lock(&uart->lock);
	/* In loopback the receiver is disconnected from the line. */
	while (size-- && !(uart->mcr & MCR_LOOP))
		receive_byte(uart, *data++);
	update_irq(uart);
	pthread_mutex_unlock(&uart->lock);
}

static void serial16550_receive_break(void *context)
{
	struct serial16550 *uart = context;

	pthread_mutex_lock(&uart->lock);
	if (!(uart->mcr & MCR_LOOP)) {
		receive_byte(uart, 0);
		uart->lsr_errors |= LSR_BREAK;
	}
	update_irq(uart);
	pthread_mutex_unlock(&uart->lock);
}

static void serial16550_line_ready(void *context)
{
	struct serial16550 *uart = context;

	pthread_mutex_lock(&uart->lock);
	uart->thr_interrupt = true;
	uart->awaits_line = false;
	update_irq(uart);
	pthread_mutex_unlock(&uart->lock);
}

static void transfer(struct state_stream *state, struct serial16550 *uart)
{
	uint8_t head = uart->fifo_head, count = uart->fifo_count;

	state_u8(state, "ier", &uart->ier);
	state_check(state, "ier",
		    !(uart->ier & ~(IER_RECEIVE | IER_TRANSMIT | IER_LINE | IER_MODEM)));
	state_u8(state, "fcr", &uart->fcr);
	state_check(state, "fcr", !(uart->fcr & (FCR_RESET_RECEIVE | FCR_RESET_TRANSMIT)) &&
					  (!uart->fcr || (uart->fcr & FCR_ENABLE)));
	state_u8(state, "lcr", &uart->lcr);
	state_u8(state, "mcr", &uart->mcr);
	state_check(state, "mcr", !(uart->mcr & ~MCR_MASK));
	state_u8(state, "msr", &uart->msr);
	state_u8(state, "scr", &uart->scr);
	state_u8(state, "lsr_errors", &uart->lsr_errors);
	state_check(state, "lsr_errors", !(uart->lsr_errors & ~LSR_ERRORS));
	state_u8(state, "divisor_low", &uart->divisor_low);
	state_u8(state, "divisor_high", &uart->divisor_high);
	state_bool(state, "thr_interrupt", &uart->thr_interrupt);
	state_bytes(state, "fifo", uart->fifo, sizeof(uart->fifo));
	state_u8(state, "fifo_head", &head);
	state_check(state, "fifo_head", head < FIFO_BYTES);
	state_u8(state, "fifo_count", &count);
	state_check(state, "fifo_count", count <= fifo_capacity(uart));
	uart->fifo_head = head;
	uart->fifo_count = count;
}

static void serial16550_save(void *device, struct state_stream *state)
{
	struct serial16550 *uart = device;

	pthread_mutex_lock(&uart->lock);
	/* Where the state is loaded the line is another, and nobody says that this one has become ready.
	 * So the interrupt rises here, before the interrupt controllers are saved, which would not see one
	 * that came with the loading. Here it is one too many: LSR says that the transmitter is full. */
	if (uart->awaits_line) {
		uart->thr_interrupt = true;
		update_irq(uart);
	}
	transfer(state, uart);
	pthread_mutex_unlock(&uart->lock);
}

static void serial16550_load(void *device, struct state_stream *state)
{
	struct serial16550 *uart = device, loaded = {.ier = 0};

	transfer(state, &loaded);
	if (!state_complete(state))
		return;
	pthread_mutex_lock(&uart->lock);
	uart->ier = loaded.ier;
	uart->fcr = loaded.fcr;
	uart->lcr = loaded.lcr;
	uart->mcr = loaded.mcr;
	uart->msr = loaded.msr;
	uart->scr = loaded.scr;
	uart->lsr_errors = loaded.lsr_errors;
	uart->divisor_low = loaded.divisor_low;
	uart->divisor_high = loaded.divisor_high;
	/* Whether the line here is ready or not: interrupt controllers are loaded as they were with it. */
	uart->thr_interrupt = loaded.thr_interrupt;
	uart->awaits_line = !transmitter_is_empty(uart);
	memcpy(uart->fifo, loaded.fifo, sizeof(uart->fifo));
	uart->fifo_head = loaded.fifo_head;
	uart->fifo_count = loaded.fifo_count;
	update_irq(uart);
	pthread_mutex_unlock(&uart->lock);
	char_resume_input(uart->stream);
}

struct serial16550 *serial16550_create(struct char_stream *stream, const struct irq_line *irq,
				       struct error *error)
{
	struct serial16550 *uart = calloc(1, sizeof(*uart));
	struct char_reader reader = {
		.room = serial16550_room,
		.receive = serial16550_receive,
		.receive_break = serial16550_receive_break,
		.context = uart,
	};

	if (!uart) {
		error_set_errno(error, ENOMEM, "cannot create a serial port");
		return NULL;
	}
	pthread_mutex_init(&uart->lock, NULL);
	uart->stream = stream;
	uart->irq = *irq;
	reset_registers(uart);
	char_set_reader(stream, &reader);
	uart->line_ready = (struct char_watch){.ready = serial16550_line_ready, .context = uart};
	char_watch(stream, &uart->line_ready);
	return uart;
}

static void serial16550_destroy(void *device)
{
	static const struct char_reader none;
	struct serial16550 *uart = device;

	char_unwatch(uart->stream, &uart->line_ready);
	uart->stream->reader = none;
	pthread_mutex_destroy(&uart->lock);
	free(uart);
}

const struct device_ops serial16550_device_ops = {
	.version = 1,
	.reset = serial16550_reset,
	.save = serial16550_save,
	.load = serial16550_load,
	.destroy = serial16550_destroy,
};
