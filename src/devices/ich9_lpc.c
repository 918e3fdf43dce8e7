/* SPDX-License-Identifier: MIT
 *
 * Intel I/O Controller Hub 9 (order number 316972), chapters 10 and 13, of device 31 function 0:
 * PMBASE and ACPI_CNTL place the ACPI block, PIRQA-H_ROUT (60h-63h, 68h-6Bh) route, RCBA (F0h)
 * places the root complex block. The decode ranges and what tunes the chip are storage.
 *
 * Of the root complex block the interrupt routes D25IR to D31IR (3140h-3151h) exist; the rest reads
 * zero. Cards (slots below 25) are wired to lines E to H, turned by one from slot to slot.
 *
 * Deviations: no System Management Mode, no TCO watchdog, no GPIO; the SCI is hard-wired to 9.
 */
#include "devices/ich9_lpc.h"

#include <stdlib.h>

#define PMBASE        0x40
#define ACPI_CNTL     0x44
#define PIRQA_ROUT    0x60
#define PIRQE_ROUT    0x68
#define RCBA          0xf0
#define PIRQS_IN_BANK 4

#define PMBASE_MASK    0xff80
#define ACPI_CNTL_EN   (1u << 7)
#define RCBA_ENABLE    (1u << 0)
#define RCBA_BASE_MASK 0xffffc000u
#define RCBA_BYTES     KIB(16)

/* Interrupt routes in the root complex block, four bits a pin. */
#define ROUTES_AT       0x3140u
#define ROUTES_BYTES    0x14
#define ROUTE_RESET     0x3210 /* INTA# to INTD#: lines A to D */
#define FIRST_OWN_SLOT  25     /* of the chip */
#define FIRST_CARD_LINE 4      /* E */

/* Where in the routes slots 25 to 31 are. */
static const u8 route_at[] = {0x10, 0x0c, 0x08, 0x06, 0x04, 0x02, 0x00};

struct ich9_lpc {
    struct pci_device pci;
    struct physmem *physmem;
    struct log *log;
    struct pirq_router router;
    struct acpi_pm *acpi; /* NULL: not yet */
    u16 pm_base;          /* where it is now, 0 nowhere */
    u8 routes[ROUTES_BYTES];
    struct phys_region *rcrb;
    u32 rcrb_base; /* as mapped now, 0: not at all */
};

/* ---- the root complex block ---- */

static unsigned wiring(void *opaque, u8 devfn, unsigned pin)
{
    const struct ich9_lpc *lpc = opaque;
    unsigned slot = devfn >> 3;
    if (slot < FIRST_OWN_SLOT)
        return FIRST_CARD_LINE + (slot + pin) % PIRQS_IN_BANK;
    return load16(lpc->routes + route_at[slot - FIRST_OWN_SLOT]) >> 4 * pin & (PCI_PIRQ_COUNT - 1);
}

static u64 rcrb_read(void *opaque, u64 offset, unsigned size)
{
    const struct ich9_lpc *lpc = opaque;
    if (offset < ROUTES_AT || offset + size > ROUTES_AT + ROUTES_BYTES)
        return 0;
    return load_sized(lpc->routes + (offset - ROUTES_AT), size);
}

static void rcrb_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    struct ich9_lpc *lpc = opaque;
    if (offset < ROUTES_AT || offset + size > ROUTES_AT + ROUTES_BYTES) {
        log_unsupported(lpc->log, "ich9-lpc", offset, "ich9-lpc: write to RCBA+%04xh",
                        (unsigned)offset);
        return;
    }
    store_sized(lpc->routes + (offset - ROUTES_AT), value, size);
    pci_bus_rewire(lpc->pci.bus);
}

static const struct mmio_ops rcrb_ops = {
    .name = "ich9-rcrb", .read = rcrb_read, .write = rcrb_write};

/* ---- where the blocks are ---- */

static void update_blocks(struct ich9_lpc *lpc)
{
    const u8 *c = lpc->pci.config;
    u16 pm_base = c[ACPI_CNTL] & ACPI_CNTL_EN ? load16(c + PMBASE) & PMBASE_MASK : 0;
    u32 rcba = load32(c + RCBA), rcrb_base = rcba & RCBA_ENABLE ? rcba & RCBA_BASE_MASK : 0;
    if (lpc->acpi && pm_base != lpc->pm_base)
        acpi_pm_map(lpc->acpi, pm_base);
    lpc->pm_base = pm_base;
    if (rcrb_base == lpc->rcrb_base)
        return;
    physmem_unmap(lpc->physmem, lpc->rcrb);
    lpc->rcrb = rcrb_base ? physmem_map_mmio(lpc->physmem, rcrb_base, RCBA_BYTES, &rcrb_ops, lpc,
                                             PCI_MAP_PRIORITY)
                          : NULL;
    lpc->rcrb_base = rcrb_base;
}

void ich9_lpc_connect_pm(struct ich9_lpc *lpc, struct acpi_pm *acpi)
{
    lpc->acpi = acpi;
    acpi_pm_map(acpi, lpc->pm_base);
}

struct irq_line ich9_lpc_irq_input(struct ich9_lpc *lpc, unsigned isa_irq)
{
    return pirq_input(&lpc->router, isa_irq);
}

static void config_written(void *opaque, u8 reg, unsigned size)
{
    struct ich9_lpc *lpc = opaque;
    (void)reg;
    (void)size;
    update_blocks(lpc);
    pirq_update(&lpc->router);
}

/* ---- life ---- */

static const struct pci_info info = {
    .name = "ich9-lpc",
    .vendor = 0x8086,
    .device = 0x2918,
    .revision = 0x02,
    .class_code = 0x060100,
    .multifunction = true,
    .config_written = config_written,
};

#define ROUT(reg)                                                                                  \
    {                                                                                              \
        reg, PIRQ_ROUTE_NONE, PIRQ_ROUTE_BITS                                                      \
    }

/* Values after reset and writable bits. */
static const struct {
    u8 reg, value, writable;
} own_registers[] = {
    {PMBASE, 0x01, PMBASE_MASK & 0xff}, /* bit 0 is hard-wired: I/O space */
    {PMBASE + 1, 0x00, PMBASE_MASK >> 8},
    {ACPI_CNTL, 0x00, ACPI_CNTL_EN},
    {0x48, 0x01, 0x80}, /* GPIOBASE */
    {0x49, 0x00, 0xff},
    ROUT(PIRQA_ROUT),
    ROUT(PIRQA_ROUT + 1),
    ROUT(PIRQA_ROUT + 2),
    ROUT(PIRQA_ROUT + 3),
    {0x64, 0x10, 0xfc}, /* SIRQ_CNTL */
    ROUT(PIRQE_ROUT),
    ROUT(PIRQE_ROUT + 1),
    ROUT(PIRQE_ROUT + 2),
    ROUT(PIRQE_ROUT + 3),
    {0x80, 0x00, 0x77}, /* LPC_I/O_DEC */
    {0x81, 0x00, 0x13},
    {0x82, 0x00, 0x0f}, /* LPC_EN */
    {0x83, 0x00, 0x3f},
    {0xa0, 0x00, 0xff}, /* GEN_PMCON_1 */
    {0xa1, 0x00, 0x06},
    {0xdc, 0x00, 0x03}, /* BIOS_CNTL */
    {RCBA, 0x00, RCBA_ENABLE},
    {RCBA + 1, 0x00, 0xc0},
    {RCBA + 2, 0x00, 0xff},
    {RCBA + 3, 0x00, 0xff},
};

static void ich9_lpc_reset(void *dev)
{
    struct ich9_lpc *lpc = dev;
    pci_device_reset(&lpc->pci);
    /* The bridge always forwards: these command bits are hard-wired. */
    store16(lpc->pci.config + PCI_COMMAND,
            PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    store16(lpc->pci.writable + PCI_COMMAND, PCI_COMMAND_SERR);
    for (size_t i = 0; i < ARRAY_LEN(own_registers); i++) {
        lpc->pci.config[own_registers[i].reg] = own_registers[i].value;
        lpc->pci.writable[own_registers[i].reg] = own_registers[i].writable;
    }
    memset(lpc->routes, 0, sizeof lpc->routes);
    for (size_t i = 0; i < ARRAY_LEN(route_at); i++)
        store16(lpc->routes + route_at[i], ROUTE_RESET);
    update_blocks(lpc);
    pci_bus_rewire(lpc->pci.bus);
    pirq_update(&lpc->router);
}

static void ich9_lpc_loaded(void *dev)
{
    struct ich9_lpc *lpc = dev;
    pci_device_loaded(&lpc->pci);
    update_blocks(lpc);
    pci_bus_rewire(lpc->pci.bus);
    pirq_update(&lpc->router);
}

static void ich9_lpc_destroy(void *dev)
{
    struct ich9_lpc *lpc = dev;
    pci_bus_set_router(lpc->pci.bus, NULL, NULL);
    pci_bus_set_wiring(lpc->pci.bus, NULL, NULL);
    physmem_unmap(lpc->physmem, lpc->rcrb);
    pci_device_fini(&lpc->pci);
    free(lpc);
}

struct ich9_lpc *ich9_lpc_create(const struct ich9_lpc_config *config)
{
    struct ich9_lpc *lpc = calloc(1, sizeof *lpc);
    if (!lpc || !pci_device_init(&lpc->pci, config->bus, PCI_DEVFN(ICH9_SLOT, 0), &info, lpc)) {
        free(lpc);
        return NULL;
    }
    lpc->physmem = config->physmem;
    lpc->log = config->log;
    memcpy(lpc->router.isa, config->isa, sizeof lpc->router.isa);
    memcpy(lpc->router.direct, config->apic, sizeof lpc->router.direct);
    for (unsigned i = 0; i < PIRQS_IN_BANK; i++) {
        lpc->router.route[i] = &lpc->pci.config[PIRQA_ROUT + i];
        lpc->router.route[PIRQS_IN_BANK + i] = &lpc->pci.config[PIRQE_ROUT + i];
    }
    pci_bus_set_router(config->bus, pirq_changed, &lpc->router);
    pci_bus_set_wiring(config->bus, wiring, lpc);
    ich9_lpc_reset(lpc);
    return lpc;
}

static const struct state_field ich9_lpc_state[] = {
    PCI_STATE_ROWS(ich9_lpc, pci),
    PIRQ_STATE_ROWS(ich9_lpc, router),
    STATE_ROW(STATE_BYTES, ich9_lpc, routes, ROUTES_BYTES, 1),
    STATE_END,
};

static const struct device_ops ich9_lpc_ops = {
    .name = "ich9-lpc",
    .version = 1,
    .state = ich9_lpc_state,
    .reset = ich9_lpc_reset,
    .loaded = ich9_lpc_loaded,
    .destroy = ich9_lpc_destroy,
};

struct device ich9_lpc_device(struct ich9_lpc *lpc)
{
    return (struct device){.ops = &ich9_lpc_ops, .dev = lpc};
}
