/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_LAPIC_H
#define ANELLO_DEVICES_LAPIC_H

#include "base/clock.h"
#include "base/log.h"
#include "bus/device.h"

#define LAPIC_DEFAULT_BASE 0xfee00000u
#define LAPIC_TIMER_HZ     1000000000u /* before the divide configuration register */

/* Delivery modes of an interrupt message (SDM 3A §11.6.1, §11.11.2). */
enum apic_delivery {
    APIC_FIXED = 0,
    APIC_LOWEST = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_STARTUP = 6,
    APIC_EXTINT = 7,
};

/* What travels on the interrupt bus: an IPI, an IOAPIC message or an MSI. */
struct apic_message {
    u32 dest;     /* physical id or logical set; FFh (or FFFFFFFFh) physical: everybody */
    bool logical; /* meaning of dest */
    bool level;   /* trigger mode */
    u8 vector;
    enum apic_delivery delivery;
};

/* The bus that connects local APICs, IOAPIC and MSI. Owned by the machine; outlives them. */
struct apic_bus;
struct apic_bus *apic_bus_create(void);
void apic_bus_destroy(struct apic_bus *bus);
/* Delivers the message. True when some APIC accepted it and did not already hold it as pending. */
bool apic_bus_send(struct apic_bus *bus, const struct apic_message *message);
/* A write of `data` to an address in FEExxxxxh (SDM 3A §11.11). */
bool apic_bus_msi(struct apic_bus *bus, u64 address, u32 data);

/* How an APIC reaches its CPU and the board. All are called with the board lock held. */
struct lapic_hooks {
    void (*intr)(void *opaque, bool level); /* the CPU's INTR: lapic_ack() has something to give */
    void (*nmi)(void *opaque);
    void (*smi)(void *opaque); /* may be NULL */
    void (*init)(void *opaque);
    void (*startup)(void *opaque, u8 vector); /* SIPI */
    /* INTA to the 8259 pair, for ExtINT and virtual wire; i8259_ack(). NULL: no 8259 */
    int (*pic_ack)(void *opaque);
    /* An EOI for a vector; `level` says whether it was level-triggered. The machine tells the
     * IOAPIC (ioapic_eoi()). */
    void (*eoi)(void *opaque, u8 vector, bool level);
    /* Virtual ns at which this CPU's TSC reaches `tsc`; NULL: no TSC-deadline mode. */
    i64 (*tsc_to_ns)(void *opaque, u64 tsc);
    void *opaque;
};

struct lapic;

/* One per CPU. `id`: initial APIC id, 0 is the bootstrap processor. */
struct lapic *lapic_create(struct apic_bus *bus, struct clock *clock, u32 id,
                           const struct lapic_hooks *hooks, struct log *log);
struct device lapic_device(struct lapic *apic);

/* The MMIO page, `offset` 0..FFFh; size 1, 2, 4 (others are split by the caller). Registers are 32
 * bits at multiples of 16; anything else reads 0 and swallows writes. */
u32 lapic_read(struct lapic *apic, u32 offset, unsigned size);
void lapic_write(struct lapic *apic, u32 offset, u32 value, unsigned size);
/* IA32_APIC_BASE, IA32_TSC_DEADLINE and 800h..8FFh. False: #GP. */
bool lapic_msr_read(struct lapic *apic, u32 msr, u64 *value);
bool lapic_msr_write(struct lapic *apic, u32 msr, u64 value);
/* Where the page is now; 0 when the APIC is disabled or in x2APIC mode (no MMIO). */
u64 lapic_base(const struct lapic *apic);
bool lapic_x2apic(const struct lapic *apic);

u64 lapic_cr8(const struct lapic *apic);
void lapic_set_cr8(struct lapic *apic, u64 cr8);

/* LINT0 carries the 8259's INT (wire it to the bootstrap processor, or to all), LINT1 NMI. */
void lapic_set_lint(struct lapic *apic, unsigned n, bool level);
/* True while the CPU should take an interrupt: from the APIC itself, or from the 8259 when LINT0 is
 * an unmasked ExtINT or the APIC is disabled. The same as the level of hooks.intr. */
bool lapic_intr_pending(const struct lapic *apic);
/* The CPU takes it: the vector, or -1 when there is nothing any more. */
int lapic_ack(struct lapic *apic);
/* A debug view: the highest vectors, or -1. */
int lapic_highest_irr(const struct lapic *apic);
int lapic_highest_isr(const struct lapic *apic);
u32 lapic_id(const struct lapic *apic);

#endif
