/* SPDX-License-Identifier: MIT
 *
 * 82371SB function 0 (order number 290550). PIRQRCA-D (60h-63h) route; the other registers (BIOS
 * chip select, ISA clock, DMA aliases, SMI control) are storage, because what they tune is not
 * modelled.
 */
#include "devices/piix3.h"

#include <stdlib.h>

#define PIRQRC       0x60
#define PIIX3_PIRQS  4
#define PIRQRC_RESET PIRQ_ROUTE_NONE, PIRQ_ROUTE_BITS

struct piix3 {
    struct pci_device pci;
    struct pirq_router router;
};

struct irq_line piix3_irq_input(struct piix3 *p, unsigned isa_irq)
{
    return pirq_input(&p->router, isa_irq);
}

static void config_written(void *opaque, u8 reg, unsigned size)
{
    struct piix3 *p = opaque;
    if (reg < PIRQRC + PIIX3_PIRQS && reg + size > PIRQRC)
        pirq_update(&p->router);
}

/* ---- life ---- */

static const struct pci_info info = {
    .name = "piix3",
    .vendor = 0x8086,
    .device = 0x7000,
    .class_code = 0x060100,
    .multifunction = true,
    .config_written = config_written,
};

/* Values after reset and writable bits. */
static const struct {
    u8 reg, value, writable;
} own_registers[] = {
    {0x4c, 0x4d, 0xff},                       /* IORT */
    {0x4e, 0x03, 0xff},   {0x4f, 0x00, 0x0f}, /* XBCS */
    {0x60, PIRQRC_RESET}, {0x61, PIRQRC_RESET}, {0x62, PIRQRC_RESET}, {0x63, PIRQRC_RESET},
    {0x69, 0x02, 0xfe},                       /* TOM */
    {0x6a, 0x00, 0xf5},   {0x6b, 0x00, 0x80}, /* MSTAT */
    {0x70, 0x80, 0xef},   {0x71, 0x80, 0xef}, /* MBIRQ */
    {0x76, 0x0c, 0x8f},   {0x77, 0x0c, 0x8f}, /* MBDMA */
    {0x78, 0x02, 0xff},   {0x79, 0x00, 0xff}, /* PCSC */
    {0x80, 0x00, 0x7f},                       /* APICBASE */
    {0x82, 0x00, 0x0f},                       /* DLC */
    {0xa0, 0x08, 0x1f},                       /* SMICNTL */
    {0xa2, 0x00, 0xff},   {0xa3, 0x00, 0x01}, /* SMIEN */
    {0xa4, 0x00, 0xff},   {0xa5, 0x00, 0xff},   {0xa6, 0x00, 0xff},   {0xa7, 0x00, 0xff}, /* SEE */
    {0xa8, 0x0f, 0xff},                                                                   /* FTMR */
    {0xac, 0x00, 0xff},   {0xae, 0x00, 0xff}, /* CTLTMR, CTHTMR */
};

static void piix3_reset(void *dev)
{
    struct piix3 *p = dev;
    pci_device_reset(&p->pci);
    /* The bridge always forwards: these command bits are hard-wired. */
    store16(p->pci.config + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    store16(p->pci.writable + PCI_COMMAND, PCI_COMMAND_SERR);
    for (size_t i = 0; i < ARRAY_LEN(own_registers); i++) {
        p->pci.config[own_registers[i].reg] = own_registers[i].value;
        p->pci.writable[own_registers[i].reg] = own_registers[i].writable;
    }
    pirq_update(&p->router);
}

static void piix3_loaded(void *dev)
{
    struct piix3 *p = dev;
    pci_device_loaded(&p->pci);
    pirq_update(&p->router);
}

static void piix3_destroy(void *dev)
{
    struct piix3 *p = dev;
    pci_bus_set_router(p->pci.bus, NULL, NULL);
    pci_device_fini(&p->pci);
    free(p);
}

struct piix3 *piix3_create(const struct piix3_config *config)
{
    struct piix3 *p = calloc(1, sizeof *p);
    if (!p || !pci_device_init(&p->pci, config->bus, PCI_DEVFN(config->slot, 0), &info, p)) {
        free(p);
        return NULL;
    }
    memcpy(p->router.isa, config->isa, sizeof p->router.isa);
    for (unsigned i = 0; i < PIIX3_PIRQS; i++)
        p->router.route[i] = &p->pci.config[PIRQRC + i];
    pci_bus_set_router(config->bus, pirq_changed, &p->router);
    piix3_reset(p);
    return p;
}

static const struct state_field piix3_state[] = {
    PCI_STATE_ROWS(piix3, pci),
    PIRQ_STATE_ROWS(piix3, router),
    STATE_END,
};

static const struct device_ops piix3_ops = {
    .name = "piix3",
    .version = 1,
    .state = piix3_state,
    .reset = piix3_reset,
    .loaded = piix3_loaded,
    .destroy = piix3_destroy,
};

struct device piix3_device(struct piix3 *p)
{
    return (struct device){.ops = &piix3_ops, .dev = p};
}
