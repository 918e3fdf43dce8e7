/* SPDX-License-Identifier: MIT
 *
 * What the i440FX/PIIX3 board has of its own: host bridge, ISA bridge with IDE, the power
 * management function of a PIIX4.
 *
 *   IRQ n --> piix3 (shares with PCI INTx) --> isa fan-out of pc.c
 */
#include "devices/i440fx.h"
#include "devices/piix3.h"
#include "devices/piix4_pm.h"
#include "devices/piix_ide.h"
#include "machine/internal.h"

#define ISA_SLOT     1
#define IDE_FUNCTION 1
#define PM_FUNCTION  3
#define IRQ_IDE0     14
#define IRQ_IDE1     15

static bool build_bridges(struct machine *m, struct host_memory_config *memory)
{
    memory->low_ram_max = I440FX_LOW_RAM_MAX;
    struct i440fx *host = i440fx_create(m->pci, memory);
    if (!host)
        return false;
    m->memory = i440fx_memory(host);
    m->pci_memory = m->memory->low_ram;
    machine_add_device(m, i440fx_device(host));
    struct piix3_config config = {.bus = m->pci, .slot = ISA_SLOT};
    memcpy(config.isa, m->isa_fanout, sizeof config.isa);
    struct piix3 *piix3 = piix3_create(&config);
    machine_add_device(m, piix3_device(piix3));
    for (unsigned i = 0; i < PIRQ_ISA_IRQS; i++)
        m->isa[i] = piix3_irq_input(piix3, i);
    return true;
}

static void build_power(struct machine *m)
{
    struct piix4_pm_config pm = {.bus = m->pci,
                                 .devfn = PCI_DEVFN(ISA_SLOT, PM_FUNCTION),
                                 .log = m->log,
                                 .ports = m->ports,
                                 .acpi = m->pm_block};
    machine_add_device(m, piix4_pm_device(piix4_pm_create(&pm)));
}

static bool ide_eject(const struct cd_drive *cd, bool force)
{
    return piix_ide_eject(cd->controller, cd->where / 2, cd->where % 2, force);
}

static void ide_changed(const struct cd_drive *cd)
{
    piix_ide_medium_changed(cd->controller, cd->where / 2, cd->where % 2);
}

static void attach(struct machine *m, struct piix_ide *ide, unsigned i)
{
    struct block *block = m->drives[PLACE_IDE + i];
    if (m->config->drives[PLACE_IDE + i].is_cd) {
        piix_ide_attach_cdrom(ide, i / 2, i % 2, block);
        m->cds[PLACE_IDE + i] = (struct cd_drive){ide, i, ide_eject, ide_changed};
    } else {
        piix_ide_attach_disk(ide, i / 2, i % 2, block);
    }
}

static bool build_disks(struct machine *m, char *error, size_t n)
{
    struct piix_ide_config config = {.bus = m->pci,
                                     .devfn = PCI_DEVFN(ISA_SLOT, IDE_FUNCTION),
                                     .ports = m->ports,
                                     .clock = m->clock,
                                     .log = m->log,
                                     .irq = {m->isa[IRQ_IDE0], m->isa[IRQ_IDE1]}};
    struct piix_ide *ide = piix_ide_create(&config);
    machine_add_device(m, piix_ide_device(ide));
    for (unsigned i = 0; i < MAX_DRIVES; i++) {
        if (!m->config->drives[PLACE_IDE + i].present)
            continue;
        if (!pc_open_drive(m, PLACE_IDE + i, error, n))
            return false;
        attach(m, ide, i);
    }
    return true;
}

static void drive_name(unsigned drive, const char *kind, char *name, size_t n)
{
    snprintf(name, n, "ide%u-%s%u", drive / 2, kind, drive % 2);
}

const struct board board_pc = {
    .name = "pc",
    .chipset = "i440fx",
    .vga_slot = 2,
    .first_card_slot = 3,
    .floppy_always = true,
    .acpi = &acpi_board_pc,
    .pm = &acpi_pm_piix4,
    .build_bridges = build_bridges,
    .build_power = build_power,
    .build_disks = build_disks,
    .drive_name = drive_name,
};
