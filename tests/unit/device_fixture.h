/* What device tests share: wires and requests that are remembered. */
#ifndef KVIK_TESTS_UNIT_DEVICE_FIXTURE_H
#define KVIK_TESTS_UNIT_DEVICE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "device/bus/pio.h"
#include "device/irq_line.h"
#include "device/power.h"
#include "util/event_loop.h"

struct fixture {
	bool irq_level;
	unsigned irq_rises;
	unsigned requests;
	enum power_request request;
	int request_status;
	struct irq_line irq;
	struct power power;
};

static inline void fixture_set_irq(void *context, unsigned gsi, bool level)
{
	struct fixture *fixture = context;

	(void)gsi;
	fixture->irq_rises += level && !fixture->irq_level;
	fixture->irq_level = level;
}

static inline void fixture_request(void *context, enum power_request what, int status)
{
	struct fixture *fixture = context;

	fixture->requests++;
	fixture->request = what;
	fixture->request_status = status;
}

static inline void fixture_init(struct fixture *fixture)
{
	memset(fixture, 0, sizeof(*fixture));
	fixture->irq = (struct irq_line){fixture_set_irq, fixture, 1};
	fixture->power = (struct power){fixture_request, fixture};
}

#endif
