/* SPDX-License-Identifier: MIT
 *
 * What the Q35/ICH9 board has of its own: the MCH as host bridge, and of the ICH9 the LPC bridge,
 * AHCI and SMBus. Disks and CDs are at AHCI ports in the order of hda to hdd; slots from 1 on are
 * for the display and for cards.
 *
 *   PIRQ A-H --+--> pins 16-23 of the I/O APIC
 *              +--> ich9_lpc (shares with ISA interrupts) --> isa fan-out of pc.c
 */
#include "devices/ahci.h"
#include "devices/ich9_lpc.h"
#include "devices/ich9_smbus.h"
#include "devices/mch.h"
#include "machine/internal.h"

#define FIRST_PIRQ_PIN 16

/* The I/O APIC is made after the bridges. */
static void wire_pirq(void *opaque, unsigned pirq, bool level)
{
    struct machine *m = opaque;
    struct irq_line pin = ioapic_input(m->ioapic, FIRST_PIRQ_PIN + pirq);
    irq_set(&pin, level);
}

static bool build_bridges(struct machine *m, struct host_memory_config *memory)
{
    memory->low_ram_max = MCH_LOW_RAM_MAX;
    struct mch *mch = mch_create(m->pci, memory);
    if (!mch)
        return false;
    m->memory = mch_memory(mch);
    m->pci_memory = MCH_PCI_MEMORY;
    machine_add_device(m, mch_device(mch));
    struct ich9_lpc_config config = {.bus = m->pci, .physmem = m->pm, .log = m->log};
    memcpy(config.isa, m->isa_fanout, sizeof config.isa);
    for (unsigned i = 0; i < PCI_PIRQ_COUNT; i++)
        config.apic[i] = (struct irq_line){wire_pirq, m, i};
    m->lpc = ich9_lpc_create(&config);
    machine_add_device(m, ich9_lpc_device(m->lpc));
    for (unsigned i = 0; i < PIRQ_ISA_IRQS; i++)
        m->isa[i] = ich9_lpc_irq_input(m->lpc, i);
    return true;
}

static void build_power(struct machine *m)
{
    u8 devfn = PCI_DEVFN(ICH9_SLOT, ICH9_SMBUS_FUNCTION);
    ich9_lpc_connect_pm(m->lpc, m->pm_block);
    machine_add_device(m, ich9_smbus_device(ich9_smbus_create(m->pci, devfn, m->log)));
}

static bool build_disks(struct machine *m, char *error, size_t n)
{
    if (m->config->ahci) {
        snprintf(error, n,
                 "the q35 board has an AHCI controller: leave -device ahci away; its "
                 "buses are ide.0 to ide.5");
        return false;
    }
    if (!pc_build_ahci(m, PCI_DEVFN(ICH9_SLOT, ICH9_AHCI_FUNCTION), error, n))
        return false;
    for (unsigned i = 0; i < MAX_DRIVES; i++) {
        if (!m->config->drives[PLACE_IDE + i].present)
            continue;
        if (!pc_open_drive(m, PLACE_IDE + i, error, n))
            return false;
        pc_attach_sata(m, i, PLACE_IDE + i);
    }
    return true;
}

/* Each port is a bus of its own. */
static void drive_name(unsigned drive, const char *kind, char *name, size_t n)
{
    snprintf(name, n, "ide%u-%s0", drive, kind);
}

const struct board board_q35 = {
    .name = "q35",
    .chipset = "pc-q35",
    .vga_slot = 1,
    .first_card_slot = 2,
    .acpi = &acpi_board_q35,
    .pm = &acpi_pm_ich9,
    .build_bridges = build_bridges,
    .build_power = build_power,
    .build_disks = build_disks,
    .drive_name = drive_name,
};
