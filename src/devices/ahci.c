/* SPDX-License-Identifier: MIT
 *
 * AHCI 1.3.1, chapters 2 and 3: the PCI function, the controller's own registers, interrupts.
 *
 * Deviations: 64-bit addresses and queued commands, but no command completion coalescing, no
 * enclosure management, no port multipliers, no staggered spin-up, no power states of the link, no
 * hot plug, no BIOS handoff (CAP and CAP2 say so). Registers are taken as whole words: a narrower
 * write has no effect. There is no index/data port pair (BAR 4 of the ICH9).
 */
#include <stdlib.h>

#include "devices/ahci_internal.h"

#define ABAR       5
#define ABAR_BYTES KIB(4)

enum hba_register {
    HBA_CAP = 0x00,
    HBA_GHC = 0x04,
    HBA_IS = 0x08,
    HBA_PI = 0x0c,
    HBA_VS = 0x10,
    HBA_PORTS = 0x100,
    HBA_PORT_BYTES = 0x80,
};

#define CAP_PORTS_SHIFT 0
#define CAP_SLOTS_SHIFT 8
#define CAP_AHCI_ONLY   (1u << 18)
#define CAP_SPEED_GEN2  (2u << 20)
#define CAP_CLO         (1u << 24)
#define CAP_NCQ         (1u << 30)
#define CAP_64          (1u << 31)
#define VERSION_1_3_1   0x00010301u

#define GHC_RESET  (1u << 0)
#define GHC_IE     (1u << 1)
#define GHC_ENABLE (1u << 31)

#define CAPABILITIES                                                                               \
    ((AHCI_PORTS - 1) << CAP_PORTS_SHIFT | (AHCI_SLOTS - 1) << CAP_SLOTS_SHIFT | CAP_AHCI_ONLY |   \
     CAP_SPEED_GEN2 | CAP_CLO | CAP_NCQ | CAP_64)

#define PCI_CAP_SATA      0x12
#define SATA_CAP_BYTES    8
#define SATA_CAP_REVISION 0x10
#define SATA_CAP_NO_IDP   0x00 /* no index/data pair */

/* ---- interrupts ---- */

/* A message goes out when the first port asks, and for each port that asks anew: also right after
 * software has cleared the port's bit in IS while the port still asks (10.6.2). */
static void signal_change(struct ahci *a, bool fresh)
{
    bool line = (a->ghc & GHC_IE) && a->is;
    bool rises = line && !a->line;
    a->line = line;
    if (pci_msi_enabled(&a->pci)) {
        pci_set_intx(&a->pci, false);
        if (rises || (line && fresh))
            pci_msi_send(&a->pci, 0);
    } else {
        pci_set_intx(&a->pci, line);
    }
}

void ahci_update(struct ahci *a)
{
    u32 before = a->is;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        if (ahci_port_status(&a->ports[i]) & a->ports[i].ie)
            a->is |= 1u << i;
    }
    signal_change(a, a->is & ~before);
}

/* ---- registers ---- */

static void controller_reset(struct ahci *a, bool power_on)
{
    a->ghc = GHC_ENABLE;
    a->is = 0;
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        ahci_port_reset(&a->ports[i], power_on);
    ahci_update(a);
}

static u32 read_word(struct ahci *a, u32 reg)
{
    if (reg >= HBA_PORTS) {
        u32 port = (reg - HBA_PORTS) / HBA_PORT_BYTES;
        return port < AHCI_PORTS ? ahci_port_read(&a->ports[port], reg % HBA_PORT_BYTES) : 0;
    }
    switch (reg) {
    case HBA_CAP: return CAPABILITIES;
    case HBA_GHC: return a->ghc;
    case HBA_IS: return a->is;
    case HBA_PI: return (1u << AHCI_PORTS) - 1;
    case HBA_VS: return VERSION_1_3_1;
    default: return 0;
    }
}

static void write_word(struct ahci *a, u32 reg, u32 value)
{
    if (reg >= HBA_PORTS) {
        u32 port = (reg - HBA_PORTS) / HBA_PORT_BYTES;
        if (port < AHCI_PORTS)
            ahci_port_write(&a->ports[port], reg % HBA_PORT_BYTES, value);
    } else if (reg == HBA_GHC) {
        a->ghc = GHC_ENABLE | (value & GHC_IE);
        if (value & GHC_RESET)
            controller_reset(a, false);
    } else if (reg == HBA_IS) {
        a->is &= ~value;
    }
    ahci_update(a);
}

static u64 abar_read(void *opaque, u64 offset, unsigned size)
{
    u32 word = read_word(opaque, (u32)offset & ~3u);
    return word >> (8 * (offset & 3)) & mask64(8 * size);
}

static void abar_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    struct ahci *a = opaque;
    if (size == 4)
        write_word(a, (u32)offset, (u32)value);
    else
        log_unsupported(a->log, "ahci", offset, "ahci: write of %u bytes to register %#x", size,
                        (unsigned)offset);
}

static const struct mmio_ops abar_ops = {.name = "ahci", .read = abar_read, .write = abar_write};

/* ---- drives ---- */

static void attach(struct ahci *a, unsigned port, enum ide_kind kind, struct block *block)
{
    char serial[IDE_SERIAL_CHARS + 1];
    struct ahci_port *p = &a->ports[port];
    snprintf(serial, sizeof serial, "ANS%05u", port + 1);
    ide_channel_attach(&p->channel, 0, kind, block, serial);
    ahci_drive(p)->sata = true;
    ahci_port_reset(p, true);
}

void ahci_attach_disk(struct ahci *ahci, unsigned port, struct block *block)
{
    attach(ahci, port, IDE_DISK, block);
}

void ahci_attach_cdrom(struct ahci *ahci, unsigned port, struct block *block)
{
    attach(ahci, port, IDE_CDROM, block);
}

static struct ide_drive *cdrom(struct ahci *a, unsigned port)
{
    struct ide_drive *d = ahci_drive(&a->ports[port]);
    return d->kind == IDE_CDROM ? d : NULL;
}

bool ahci_eject(struct ahci *ahci, unsigned port, bool force)
{
    struct ide_drive *d = cdrom(ahci, port);
    return d && atapi_eject(d, force);
}

void ahci_medium_changed(struct ahci *ahci, unsigned port)
{
    struct ide_drive *d = cdrom(ahci, port);
    if (d)
        atapi_medium_changed(d);
}

bool ahci_busy(const struct ahci *ahci)
{
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        const struct ahci_port *p = &ahci->ports[i];
        if (p->channel.drives[0].io || ahci_ncq_busy(p))
            return true;
    }
    return false;
}

/* ---- life ---- */

static void config_written(void *opaque, u8 reg, unsigned size)
{
    (void)reg;
    (void)size;
    ahci_update(opaque);
}

static const struct pci_info info = {
    .name = "ahci",
    .vendor = 0x8086,
    .device = 0x2922,
    .revision = 2,
    .class_code = 0x010601,
    .interrupt_pin = 1,
    .config_written = config_written,
};

static void ahci_reset(void *dev)
{
    struct ahci *a = dev;
    pci_device_reset(&a->pci);
    controller_reset(a, true);
}

static void ahci_loaded(void *dev)
{
    struct ahci *a = dev;
    pci_device_loaded(&a->pci);
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        ahci_port_loaded(&a->ports[i]);
    ahci_update(a);
}

static void ahci_destroy(void *dev)
{
    struct ahci *a = dev;
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        ahci_port_fini(&a->ports[i]);
    pci_device_fini(&a->pci);
    free(a);
}

/* ---- state ---- */

#define ROW(t, f) STATE_ROW(t, ahci, f, 1, 1)
#define PORT_ROWS(p)                                                                               \
    ROW(STATE_U64, p.command_list), ROW(STATE_U64, p.received), ROW(STATE_U32, p.is),              \
        ROW(STATE_U32, p.ie), ROW(STATE_U32, p.cmd), ROW(STATE_U32, p.tfd), ROW(STATE_U32, p.sig), \
        ROW(STATE_U32, p.sctl), ROW(STATE_U32, p.serr), ROW(STATE_U32, p.sact),                    \
        ROW(STATE_U32, p.ci), ROW(STATE_BOOL, p.halted), ROW(STATE_BOOL, p.resetting),             \
        ROW(STATE_BOOL, p.signature_pending), ROW(STATE_U8, p.next_slot)

/* Saved while ahci_busy() is false: no command is in a drive's hands then. What SET FEATURES has
 * set in a drive is not saved yet. */
static const struct state_field ahci_state[] = {
    PCI_STATE_ROWS(ahci, pci), ROW(STATE_U32, ghc), ROW(STATE_U32, is),  PORT_ROWS(ports[0]),
    PORT_ROWS(ports[1]),       PORT_ROWS(ports[2]), PORT_ROWS(ports[3]), PORT_ROWS(ports[4]),
    PORT_ROWS(ports[5]),       STATE_END,
};

static const struct device_ops ahci_ops = {
    .name = "ahci",
    .version = 1,
    .state = ahci_state,
    .reset = ahci_reset,
    .loaded = ahci_loaded,
    .destroy = ahci_destroy,
};

struct ahci *ahci_create(const struct ahci_config *config)
{
    struct ahci *a = calloc(1, sizeof *a);
    if (!a || !pci_device_init(&a->pci, config->bus, config->devfn, &info, a)) {
        free(a);
        return NULL;
    }
    a->log = config->log;
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        ahci_port_init(a, i, config->clock);
    pci_bar_mmio(&a->pci, ABAR, ABAR_BYTES, 0, &abar_ops, a);
    u8 at = pci_add_capability(&a->pci, PCI_CAP_SATA, SATA_CAP_BYTES);
    a->pci.config[at + 2] = SATA_CAP_REVISION;
    a->pci.config[at + 4] = SATA_CAP_NO_IDP;
    pci_add_msi(&a->pci, 0);
    ahci_reset(a);
    return a;
}

struct device ahci_device(struct ahci *ahci)
{
    return (struct device){.ops = &ahci_ops, .dev = ahci};
}
