/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_IOAPIC_H
#define ANELLO_DEVICES_IOAPIC_H

#include "bus/device.h"
#include "bus/irq.h"
#include "bus/physmem.h"
#include "devices/lapic.h"

#define IOAPIC_BASE 0xfec00000u
#define IOAPIC_PINS 24

struct ioapic;

/* The 82093AA at IOAPIC_BASE, sending on `apics`. */
struct ioapic *ioapic_create(struct physmem *pm, struct apic_bus *apics);
struct device ioapic_device(struct ioapic *io);
struct irq_line ioapic_input(struct ioapic *io, unsigned pin);
/* EOI from a local APIC (its eoi hook), for edge and level vectors alike. */
void ioapic_eoi(struct ioapic *io, u8 vector);
/* `taken(opaque, pin)` at the EOI of a pin's vector: the interval timer counts by it (pin 2). */
void ioapic_on_taken(struct ioapic *io, void (*taken)(void *opaque, unsigned pin), void *opaque);
/* The redirection entry of a pin, for the monitor. */
u64 ioapic_entry(const struct ioapic *io, unsigned pin);

#endif
