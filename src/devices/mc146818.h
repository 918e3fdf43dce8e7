/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_MC146818_H
#define ANELLO_DEVICES_MC146818_H

#include "base/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/ports.h"

#define MC146818_CMOS_BYTES 128

struct mc146818;

/* The AT's real-time clock and CMOS at 70h and 71h. `seconds`: what it shows at the clock's virtual
 * time 0, as Unix seconds of the calendar that it keeps (UTC or local: machine/rtc_base.h). */
struct mc146818 *mc146818_create(struct io_bus *bus, struct irq_line irq8, struct clock *clock,
                                 i64 seconds);
struct device mc146818_device(struct mc146818 *rtc);

/* CMOS memory for the machine (sizes, boot order); time and control registers 00h..0Dh are left
 * alone by the setter. */
void mc146818_set_cmos(struct mc146818 *rtc, u8 index, u8 value);
u8 mc146818_cmos(const struct mc146818 *rtc, u8 index);
/* Bit 7 of port 70h: non-maskable interrupts are blocked. */
bool mc146818_nmi_masked(const struct mc146818 *rtc);
/* HPET legacy replacement: cuts the interrupt output. */
void mc146818_cut_irq8(struct mc146818 *rtc, bool cut);

#endif
