/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_HPET_H
#define ANELLO_DEVICES_HPET_H

#include "base/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/physmem.h"
#include "devices/lapic.h"

#define HPET_BASE  0xfed00000u
#define HPET_LINES 24

/* What ACPI tells of it: low half of the capabilities register, shortest periodic interval. */
#define HPET_BLOCK_ID  0x8086a201u
#define HPET_MIN_TICKS 2000 /* 20 us */

struct hpet_lines {
    struct irq_line pin[HPET_LINES]; /* IOAPIC inputs */
    struct irq_line irq0, irq8;      /* ISA lines, for legacy replacement */
    struct irq_line legacy;          /* level: legacy replacement is on, cut off 8254 and RTC */
};

struct hpet;

/* A 64-bit main counter at 100 MHz with three comparators. `apics` for FSB delivery. */
struct hpet *hpet_create(struct physmem *pm, struct clock *clock, const struct hpet_lines *lines,
                         struct apic_bus *apics);
struct device hpet_device(struct hpet *hpet);
/* The guest has taken the interrupt of the line irq0. */
void hpet_irq0_taken(struct hpet *hpet);

#endif
