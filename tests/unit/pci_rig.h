/* SPDX-License-Identifier: MIT
 *
 * What tests of PCI functions stand on: the rig of device tests, guest memory and a PCI bus.
 */
#ifndef ANELLO_TESTS_PCI_RIG_H
#define ANELLO_TESTS_PCI_RIG_H

#include "bus/physmem.h"
#include "device_rig.h"
#include "devices/pci.h"

struct pci_rig {
    struct clock *clock;
    struct io_bus *ports;
    struct physmem *physmem;
    struct pci_bus *bus;
};

static inline void pci_rig_open(struct pci_rig *r, u64 memory_bytes)
{
    r->clock = clock_create_stepped();
    r->ports = io_bus_create(NULL);
    r->physmem = physmem_create(memory_bytes, NULL);
    r->bus = pci_bus_create(&(struct pci_bus_config){.ports = r->ports, .physmem = r->physmem});
    assert_non_null(r->clock);
    assert_non_null(r->bus);
}

static inline void pci_rig_close(struct pci_rig *r)
{
    pci_bus_destroy(r->bus);
    io_bus_destroy(r->ports);
    physmem_destroy(r->physmem);
    clock_destroy(r->clock);
}

#endif
