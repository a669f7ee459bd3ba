/*
 * The PC's two cascaded 8259A interrupt controllers, as a pure state machine: no locks, no threads,
 * no knowledge of who drives its lines and who takes its output. The engine's interrupt controllers
 * wrap it for a full in-kernel irqchip, the monitor's for a split one.
 */
#ifndef KVIK_UTIL_I8259_H
#define KVIK_UTIL_I8259_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/state.h"

/* What the pair tells its owner; each may be NULL. */
struct i8259_host {
	/* The master's INT output changed. */
	void (*output)(void *context, bool level);
	/* The in-service bit of `irq` (0..15) was cleared (EOI): a level source may lower its
	 * line. */
	void (*acked)(void *context, unsigned irq);
	/* The mask bit of `irq` was changed by the guest. */
	void (*mask_changed)(void *context, unsigned irq, bool masked);
};

struct i8259 {
	struct kvm_pic_state chip[2]; /* master, slave */
	bool output;                  /* the master's INT pin */
	const struct i8259_host *host;
	void *context;
};

/* As after power-on: neither chip initialized. `host` and `context` outlive it. */
void i8259_init(struct i8259 *pic, const struct i8259_host *host, void *context);

/*
 * Drive input `irq` (0..15, as numbered over both chips). Returns 1 when a request was latched,
 * 0 when one was pending already, -1 when the input is masked.
 */
int i8259_set_line(struct i8259 *pic, unsigned irq, bool level);

/* The CPU's INTA cycle: the vector. A request that is gone gives the spurious IRQ7 or IRQ15. */
uint8_t i8259_acknowledge(struct i8259 *pic);

/* Ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, byte-wide. */
bool i8259_has_port(uint16_t port);
uint8_t i8259_read(struct i8259 *pic, uint16_t port);
void i8259_write(struct i8259 *pic, uint16_t port, uint8_t value);

/* Replace chip 0 or 1's whole state (KVM_SET_IRQCHIP); values out of range are made valid. */
void i8259_set_state(struct i8259 *pic, unsigned index, const struct kvm_pic_state *state);

/* Save or load a chip's registers, checked; i8259_set_state takes over what was loaded. */
void i8259_transfer(struct kvm_pic_state *chip, struct state_stream *state);

#endif
