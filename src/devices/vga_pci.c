/* SPDX-License-Identifier: MIT
 *
 * The VGA as PCI function 1234:1111 (QEMU's "standard VGA" specification, revision 2):
 *
 *   BAR 0   linear frame buffer: video memory itself
 *   BAR 2   registers (vga_mmio_ops)
 *   ROM     video BIOS
 *
 * The legacy ports and A0000h-BFFFFh answer whatever the command register says, as on the original:
 * firmware relies on text output before it has configured the bus.
 */
#include "devices/vga_pci.h"

#include <stdlib.h>

#define PCI_VENDOR_BOCHS     0x1234
#define PCI_DEVICE_BOCHS_VGA 0x1111
#define PCI_CLASS_VGA        0x030000
#define ROM_MAX              KIB(128)

enum vga_bar { BAR_FRAME_BUFFER = 0, BAR_REGISTERS = 2 };

struct vga_pci {
    struct pci_device pci;
};

static const struct pci_info vga_pci_info = {
    .name = "vga-pci",
    .vendor = PCI_VENDOR_BOCHS,
    .device = PCI_DEVICE_BOCHS_VGA,
    .revision = 2,
    .class_code = PCI_CLASS_VGA,
};

static void vga_pci_reset(void *dev)
{
    struct vga_pci *p = dev;
    pci_device_reset(&p->pci);
}

static void vga_pci_loaded(void *dev)
{
    struct vga_pci *p = dev;
    pci_device_loaded(&p->pci);
}

static void vga_pci_destroy(void *dev)
{
    struct vga_pci *p = dev;
    pci_device_fini(&p->pci);
    free(p);
}

static const struct state_field vga_pci_state[] = {
    PCI_STATE_ROWS(vga_pci, pci),
    STATE_END,
};

static const struct device_ops vga_pci_ops = {
    .name = "vga-pci",
    .version = 1,
    .state = vga_pci_state,
    .reset = vga_pci_reset,
    .loaded = vga_pci_loaded,
    .destroy = vga_pci_destroy,
};

struct vga_pci *vga_pci_create(struct pci_bus *bus, u8 devfn, struct vga *vga, const void *rom,
                               u32 rom_bytes)
{
    if (rom_bytes > ROM_MAX)
        return NULL;
    struct vga_pci *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    if (!pci_device_init(&p->pci, bus, devfn, &vga_pci_info, p)) {
        free(p);
        return NULL;
    }
    pci_bar_ram(&p->pci, BAR_FRAME_BUFFER, vga_vram_bytes(vga), PCI_BAR_PREFETCH,
                vga_vram_offset(vga), "vga-lfb");
    pci_bar_mmio(&p->pci, BAR_REGISTERS, VGA_MMIO_BYTES, 0, &vga_mmio_ops, vga);
    if (!pci_rom_load(&p->pci, rom, rom_bytes, "vga-rom")) {
        vga_pci_destroy(p);
        return NULL;
    }
    return p;
}

struct device vga_pci_device(struct vga_pci *pci)
{
    return (struct device){.ops = &vga_pci_ops, .dev = pci};
}
