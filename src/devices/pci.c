/* SPDX-License-Identifier: MIT
 *
 * The bus: configuration mechanism 1 and the wires of the interrupt pins.
 *
 * CONFADD (CF8h) exists for aligned double words only; narrower accesses in CF8h-CFBh do not reach
 * it, which is how the reset control register can live at CF9h (devices/acpi_pm.h). CONFDATA
 * (CFCh-CFFh) takes bytes, words and double words, the low two address bits selecting the bytes of
 * the register.
 */
#include "devices/pci.h"

#include <assert.h>
#include <stdlib.h>

#include "devices/pci_internal.h"

#define CONFADD         0xcf8
#define CONFDATA        0xcfc
#define CONFADD_ENABLE  (1u << 31)
#define CONFADD_MASK    (CONFADD_ENABLE | 0x00fffffc)
#define CONFIG_NO_REPLY 0xffffffff /* master abort */

static u32 ones(unsigned size)
{
    return (u32)mask64(size * 8);
}

/* ---- configuration mechanism 1 ---- */

static u32 address_read(void *opaque, u16 offset, unsigned size)
{
    const struct pci_bus *bus = opaque;
    (void)offset;
    return size == 4 ? bus->address : ones(size);
}

static void address_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct pci_bus *bus = opaque;
    (void)offset;
    if (size == 4)
        bus->address = value & CONFADD_MASK;
}

static u32 data_read(void *opaque, u16 offset, unsigned size)
{
    struct pci_bus *bus = opaque;
    u32 a = bus->address;
    if (!(a & CONFADD_ENABLE))
        return ones(size);
    return pci_config_read(bus, (u8)bits64(a, 23, 16), (u8)bits64(a, 15, 8),
                           (u8)((a & 0xfc) + offset), size);
}

static void data_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct pci_bus *bus = opaque;
    u32 a = bus->address;
    if (a & CONFADD_ENABLE)
        pci_config_write(bus, (u8)bits64(a, 23, 16), (u8)bits64(a, 15, 8),
                         (u8)((a & 0xfc) + offset), value, size);
}

static const struct port_ops address_ops = {
    .name = "pci-address", .read = address_read, .write = address_write, .max_size = 4};
static const struct port_ops data_ops = {
    .name = "pci-data", .read = data_read, .write = data_write, .max_size = 4};

/* The function that answers, or NULL; this board has bus 0 only. */
static struct pci_device *addressed(const struct pci_bus *bus, u8 bus_number, u8 devfn, u8 reg,
                                    unsigned size)
{
    if (bus_number != 0 || reg + size > PCI_CONFIG_BYTES)
        return NULL;
    return bus->functions[devfn];
}

u32 pci_config_read(struct pci_bus *bus, u8 bus_number, u8 devfn, u8 reg, unsigned size)
{
    const struct pci_device *d = addressed(bus, bus_number, devfn, reg, size);
    u32 value = d ? pci_device_read(d, reg, size) : CONFIG_NO_REPLY & ones(size);
    if (d && log_on(bus->log, LOG_DEV) && log_device_on(bus->log, "pci-config"))
        log_printf(bus->log, "pci-config: %02x.%x %s [%02x]/%u -> %x\n", devfn >> 3, devfn & 7,
                   d->info->name, reg, size, value);
    return value;
}

void pci_config_write(struct pci_bus *bus, u8 bus_number, u8 devfn, u8 reg, u32 value,
                      unsigned size)
{
    struct pci_device *d = addressed(bus, bus_number, devfn, reg, size);
    if (!d)
        return;
    if (log_on(bus->log, LOG_DEV) && log_device_on(bus->log, "pci-config"))
        log_printf(bus->log, "pci-config: %02x.%x %s [%02x]/%u <- %x\n", devfn >> 3, devfn & 7,
                   d->info->name, reg, size, value);
    pci_device_write(d, reg, value, size);
}

struct pci_device *pci_bus_function(struct pci_bus *bus, u8 devfn)
{
    return bus->functions[devfn];
}

/* ---- interrupts ---- */

/* The four pins of each slot are turned by one from slot to slot, so that the INTA# pins of
 * neighbours land on different lines; slot 1 starts at PIRQA. Firmware assumes exactly this. */
static unsigned piix_wiring(void *opaque, u8 devfn, unsigned pin)
{
    (void)opaque;
    return ((devfn >> 3) + 3u + pin) % 4;
}

void pci_bus_drive_pin(struct pci_bus *bus, struct pci_device *d, bool level)
{
    if (level)
        d->pirq = (u8)bus->wiring(bus->wiring_opaque, d->devfn, d->info->interrupt_pin - 1u);
    unsigned pirq = d->pirq;
    unsigned before = bus->pirq_drivers[pirq];
    assert(level || before);
    bus->pirq_drivers[pirq] = level ? before + 1 : before - 1;
    if (!bus->pirq_drivers[pirq] != !before && bus->route)
        bus->route(bus->route_opaque, pirq, bus->pirq_drivers[pirq] != 0);
}

void pci_bus_set_wiring(struct pci_bus *bus, unsigned (*pirq)(void *opaque, u8 devfn, unsigned pin),
                        void *opaque)
{
    bus->wiring = pirq ? pirq : piix_wiring;
    bus->wiring_opaque = opaque;
    pci_bus_rewire(bus);
}

void pci_bus_rewire(struct pci_bus *bus)
{
    for (size_t i = 0; i < ARRAY_LEN(bus->functions); i++) {
        struct pci_device *d = bus->functions[i];
        if (d && d->intx_seen) {
            pci_bus_drive_pin(bus, d, false);
            pci_bus_drive_pin(bus, d, true);
        }
    }
}

void pci_bus_set_router(struct pci_bus *bus, void (*set)(void *opaque, unsigned pirq, bool level),
                        void *opaque)
{
    bus->route = set;
    bus->route_opaque = opaque;
}

void pci_bus_set_msi(struct pci_bus *bus, void (*deliver)(void *opaque, u64 address, u32 data),
                     void *opaque)
{
    bus->msi = deliver;
    bus->msi_opaque = opaque;
}

/* ---- life ---- */

struct pci_bus *pci_bus_create(const struct pci_bus_config *config)
{
    struct pci_bus *bus = calloc(1, sizeof *bus);
    if (!bus)
        return NULL;
    bus->ports = config->ports;
    bus->physmem = config->physmem;
    bus->log = config->log;
    bus->wiring = piix_wiring;
    bus->address_claim = io_bus_claim(bus->ports, CONFADD, 4, &address_ops, bus);
    bus->data_claim = io_bus_claim(bus->ports, CONFDATA, 4, &data_ops, bus);
    return bus;
}

void pci_bus_destroy(struct pci_bus *bus)
{
    if (!bus)
        return;
    io_bus_release(bus->ports, bus->address_claim);
    io_bus_release(bus->ports, bus->data_claim);
    free(bus);
}

static void bus_reset(void *dev)
{
    ((struct pci_bus *)dev)->address = 0;
}

static void bus_destroy(void *dev)
{
    pci_bus_destroy(dev);
}

static const struct state_field bus_state[] = {
    STATE_ROW(STATE_U32, pci_bus, address, 1, 1),
    STATE_END,
};

static const struct device_ops bus_ops = {
    .name = "pci",
    .version = 1,
    .state = bus_state,
    .reset = bus_reset,
    .destroy = bus_destroy,
};

struct device pci_bus_device(struct pci_bus *bus)
{
    return (struct device){.ops = &bus_ops, .dev = bus};
}
