/* SPDX-License-Identifier: MIT
 *
 * A hostile driver of virtio devices: the disk (first byte even) or the network card, with MSI-X in
 * every other pair of inputs. Queues are laid into the input at the start, so that most steps reach
 * them. The MSI-X table lies behind the other registers.
 */
#include "card.h"
#include "devices/virtio_blk.h"
#include "devices/virtio_net.h"

enum {
    FEATURE_SELECT = 0x08,
    FEATURE = 0x0c,
    STATUS = 0x14,
    QUEUE = 0x16,
    SIZE = 0x18,
    VECTOR = 0x1a,
    ENABLE = 0x1c,
    TABLE = 0x20,
    DRIVER = 0x28,
    DEVICE = 0x30,
    NOTIFY = 0x3000
};

static void set(struct card_rig *r, u32 at, u32 value, unsigned size)
{
    physmem_io_write(r->pm, CARD_MEMORY + at, value, size);
}

static void make_queues(struct card_rig *r, const u8 *data, size_t size)
{
    set(r, STATUS, 3, 1);
    for (u32 i = 0; i < 2; i++) {
        set(r, FEATURE_SELECT, i, 4);
        set(r, FEATURE, i ? 1 : size > 1 ? (u32)data[1] << 24 : 0, 4);
    }
    set(r, STATUS, 11, 1);
    for (u32 q = 0; q < 2; q++) {
        set(r, QUEUE, q, 2);
        set(r, SIZE, 16, 2);
        set(r, TABLE, 0x100 * q, 4);
        set(r, DRIVER, 0x200 + 0x100 * q, 4);
        set(r, DEVICE, 0x20000 + 0x1000 * q, 4);
        set(r, VECTOR, q + 1, 2);
        set(r, ENABLE, 1, 2);
        if (size > 2)
            physmem_write(r->pm, 0x202 + 0x100 * q, (u8[]){data[2] % 17, 0}, 2);
    }
    set(r, STATUS, 15, 1);
}

#define REGISTERS    KIB(16)
#define MSIX_BAR     1
#define MSIX_CONTROL 2
#define MSIX_ENABLE  0x8000

static void enable_msix(struct card_rig *r)
{
    pci_config_write(r->bus, 0, CARD_DEVFN, PCI_BASE_ADDRESS_0 + 4 * MSIX_BAR,
                     CARD_MEMORY + REGISTERS, 4);
    u8 at = (u8)pci_config_read(r->bus, 0, CARD_DEVFN, PCI_CAPABILITY_LIST, 1);
    while (at && pci_config_read(r->bus, 0, CARD_DEVFN, at, 1) != PCI_CAP_MSIX)
        at = (u8)pci_config_read(r->bus, 0, CARD_DEVFN, (u8)(at + 1), 1);
    pci_config_write(r->bus, 0, CARD_DEVFN, (u8)(at + MSIX_CONTROL), MSIX_ENABLE, 2);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct card_rig r;
    card_open(&r);
    if (size && data[0] % 2) {
        struct nic_board c = {
            .bus = r.bus, .devfn = CARD_DEVFN, .clock = r.clock, .netdev = r.netdev};
        r.device = virtio_net_device(virtio_net_create(&c));
    } else {
        card_add_disks(&r);
        struct virtio_blk_config c = {.bus = r.bus, .devfn = CARD_DEVFN, .block = r.disk};
        r.device = virtio_blk_device(virtio_blk_create(&c));
    }
    card_enable(&r, 0, 4);
    card_fill(&r, data, size);
    if (size && data[0] & 2)
        enable_msix(&r);
    make_queues(&r, data, size);
    set(&r, NOTIFY, 0, 2);
    set(&r, NOTIFY + 4, 1, 2);
    for (size_t n = 0; n < STEPS_MAX && size >= STEP_BYTES; n++) {
        card_step(&r, data, REGISTERS + PAGE_BYTES);
        data += STEP_BYTES;
        size -= STEP_BYTES;
    }
    card_close(&r);
    return 0;
}
