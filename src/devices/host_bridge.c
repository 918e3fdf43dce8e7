/* SPDX-License-Identifier: MIT
 *
 * Registers of a host bridge, and the memory map that follows from them.
 */
#include "devices/host_bridge.h"

void host_bridge_update(struct host_bridge *h)
{
    u8 *config = h->pci.config, smram = h->chip->smram;
    host_memory_lock_smram(&config[smram], &h->pci.writable[smram]);
    host_memory_update(&h->memory, config + h->chip->pam, config[smram]);
}

void host_bridge_reset(struct host_bridge *h)
{
    pci_device_reset(&h->pci);
    /* The host bridge is always a master, and always decodes memory. */
    store16(h->pci.config + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    for (size_t i = 0; i < h->chip->register_count; i++) {
        const struct host_register *r = &h->chip->registers[i];
        h->pci.config[r->reg] = r->value;
        h->pci.writable[r->reg] = r->writable;
    }
    host_bridge_update(h);
}

void host_bridge_loaded(struct host_bridge *h)
{
    pci_device_loaded(&h->pci);
    host_bridge_update(h);
}

bool host_bridge_init(struct host_bridge *h, const struct host_bridge_chip *chip,
                      struct pci_bus *bus, const struct host_memory_config *config, void *opaque)
{
    h->chip = chip;
    if (!host_memory_init(&h->memory, config))
        return false;
    if (pci_device_init(&h->pci, bus, PCI_DEVFN(0, 0), &chip->pci, opaque))
        return true;
    host_memory_fini(&h->memory);
    return false;
}

void host_bridge_fini(struct host_bridge *h)
{
    host_memory_fini(&h->memory);
    pci_device_fini(&h->pci);
}
