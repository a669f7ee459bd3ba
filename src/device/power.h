/*
 * What a device may ask of the whole machine. The request is carried out later, on the machine's
 * main thread, after the vCPU that caused it has left the guest. Any thread, device locks held.
 */
#ifndef KVIK_DEVICE_POWER_H
#define KVIK_DEVICE_POWER_H

enum power_request {
	POWER_OFF,   /* end the run, exit status 0 */
	POWER_RESET, /* boot again */
	POWER_EXIT,  /* end the run with a status of the guest's own */
	POWER_CRASH, /* the guest cannot go on */
	POWER_WATCHDOG, /* it has not answered its watchdog in time */
	POWER_PANIC, /* its kernel says that it has panicked (pvpanic.h, whose bits are the status) */
	POWER_SLEEP, /* sleep with memory on (ACPI's S3), until: */
	POWER_WAKE, /* wake, of which acpi_pm.h's reason is the status; nothing for one that is awake */
};

struct power {
	void (*request)(void *context, enum power_request what, int status);
	void *context;
};

static inline void power_request(const struct power *power, enum power_request what, int status)
{
	if (power->request)
		power->request(power->context, what, status);
}

#endif
