/*
 * Where message-signalled interrupts go: the machine's interrupt controllers, as the devices that
 * send see them. A message is an address and data (SDM vol. 3 §11.11); one to nobody is lost, as on
 * hardware. All may be called on any thread, with device locks held: below is the KVM contract alone.
 */
#ifndef KVIK_DEVICE_MSI_H
#define KVIK_DEVICE_MSI_H

#include <stdint.h>

#include "util/error.h"

struct msi_target {
	void (*send)(void *context, uint64_t address, uint32_t data); /* NULL: nobody listens */
	/*
	 * Messages by eventfd (KVM api.rst 4.75, KVM_IRQFD). NULL, all four: there are none.
	 *
	 * A place for one eventfd's message: its GSI, or -errno with `error` filled.
	 */
	int (*claim)(void *context, struct error *error);
	void (*release)(void *context, unsigned gsi); /* when it is not connected */
	/* What the GSI of a place sends from now on. 0, or -errno: the message cannot be sent, and what
	 * was sent before isn't any more. */
	int (*route)(void *context, unsigned gsi, uint64_t address, uint32_t data);
	/* From now on signals of `eventfd`, and what it counts already, send the place's message. */
	int (*connect)(void *context, unsigned gsi, int eventfd);
	/* When it returns no more is sent; later signals, and an earlier one that has not been taken
	 * yet, stay in the eventfd's count. */
	void (*disconnect)(void *context, unsigned gsi, int eventfd);
	void *context;
};

#endif
