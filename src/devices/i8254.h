/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_I8254_H
#define ANELLO_DEVICES_I8254_H

#include "base/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/ports.h"

#define I8254_HZ 1193182u

struct i8254;

/* The timer at 40h..43h with the AT's port 61h (gate and speaker). `irq0` is OUT of counter 0. */
struct i8254 *i8254_create(struct io_bus *bus, struct irq_line irq0, struct clock *clock);
struct device i8254_device(struct i8254 *pit);

/* The interrupt controllers tell that IRQ0 was taken: 8259 INTA, or EOI of an IOAPIC pin's vector.
 * Ticks that came due before the previous one was taken are owed, and raised one by one then. */
void i8254_irq0_taken(struct i8254 *pit);
/* HPET legacy replacement: counter 0 goes on counting, but its OUT is cut off from IRQ0. */
void i8254_cut_irq0(struct i8254 *pit, bool cut);

/* What a speaker would play now: Hz, or 0 for silence. `changed` (may be NULL) is called when that
 * may have changed. */
u32 i8254_tone(const struct i8254 *pit);
void i8254_on_tone(struct i8254 *pit, void (*changed)(void *opaque), void *opaque);

#endif
