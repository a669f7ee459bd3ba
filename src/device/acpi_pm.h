/* ACPI fixed hardware: power-management events, control (power-off), timer, general events. */
#ifndef KVIK_DEVICE_ACPI_PM_H
#define KVIK_DEVICE_ACPI_PM_H

#include "device/bus/pio.h"
#include "device/device.h"
#include "device/irq_line.h"
#include "device/power.h"
#include "util/event_loop.h"

/* Offsets in its 64 ports, for the FADT. */
#define ACPI_PM_PORTS	      64
#define ACPI_PM_EVENT_OFFSET  0x00 /* PM1a_EVT_BLK, 4 bytes */
#define ACPI_PM_CONTROL_OFFSET 0x04 /* PM1a_CNT_BLK, 2 bytes */
#define ACPI_PM_TIMER_OFFSET  0x08 /* PM_TMR_BLK, 4 bytes */
#define ACPI_PM_GPE_OFFSET    0x0c /* GPE0_BLK, 4 bytes: 16 events */

/* Where an ICH9 has it instead, in its 128 ports (ICH9 data sheet §13.8.3); the rest is the same. */
#define ACPI_PM_ICH9_PORTS	128
#define ACPI_PM_ICH9_GPE_OFFSET 0x20 /* 16 bytes, of which the first 16 events are there */
#define ACPI_PM_ICH9_GPE_BYTES	16

/* SLP_TYP, for \_S3 and \_S5. */
#define ACPI_PM_SLEEP_TYPE_S3 1
#define ACPI_PM_SLEEP_TYPE_S5 5

struct acpi_pm;

/* With `can_sleep` there is S3. */
struct acpi_pm *acpi_pm_create(struct event_loop *loop, const struct irq_line *sci,
			       const struct power *power, bool can_sleep, struct error *error);

/* The power button was pressed: asks a guest to power off, and wakes one that falls asleep. Any thread. */
void acpi_pm_press_power_button(struct acpi_pm *pm);

/* The clock's alarm rings, which wakes a machine whose software has enabled that. Any thread. */
void acpi_pm_ring_alarm(struct acpi_pm *pm);

/* The machine sleeps, as POWER_SLEEP has asked for: what came since then wakes it now. */
void acpi_pm_fell_asleep(struct acpi_pm *pm);

/* A machine that slept was reset, which woke it: its software finds out by what. */
enum acpi_pm_waker { ACPI_PM_WOKEN_BY_BUTTON, ACPI_PM_WOKEN_BY_ALARM };
void acpi_pm_woke(struct acpi_pm *pm, enum acpi_pm_waker by);

/* A general-purpose event, 0 to 15, has happened; whether software has enabled it. Any thread. */
void acpi_pm_raise_event(struct acpi_pm *pm, unsigned event);
bool acpi_pm_hears_event(struct acpi_pm *pm, unsigned event);

/* device: struct acpi_pm */
extern const struct device_ops acpi_pm_device_ops;
extern const struct pio_ops acpi_pm_pio_ops;
extern const struct pio_ops acpi_pm_ich9_pio_ops;

#endif
