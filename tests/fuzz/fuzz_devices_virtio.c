/* SPDX-License-Identifier: MIT
 *
 * A hostile driver of virtio devices: the disk (first byte even) or the network card. Queues are
 * laid into the input at the start, so that most steps reach them.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "card.h"
#include "devices/virtio_blk.h"
#include "devices/virtio_net.h"

#define DISK_BYTES KIB(64)

enum {
    FEATURE_SELECT = 0x08,
    FEATURE = 0x0c,
    STATUS = 0x14,
    QUEUE = 0x16,
    SIZE = 0x18,
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

static struct block *open_disk(void)
{
    char path[64], error[128];
    int fd = memfd_create("fuzz-disk", MFD_CLOEXEC);
    struct block_options o = {.format = "raw"};
    if (fd < 0 || ftruncate(fd, (off_t)DISK_BYTES) < 0)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct block *block = block_open(path, &o, NULL, error, sizeof error);
    if (!block)
        abort();
    close(fd);
    return block;
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
        set(r, ENABLE, 1, 2);
        if (size > 2)
            physmem_write(r->pm, 0x202 + 0x100 * q, (u8[]){data[2] % 17, 0}, 2);
    }
    set(r, STATUS, 15, 1);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct card_rig r;
    struct block *disk = NULL;
    card_open(&r);
    if (size && data[0] % 2) {
        struct nic_board c = {
            .bus = r.bus, .devfn = CARD_DEVFN, .clock = r.clock, .netdev = r.netdev};
        r.device = virtio_net_device(virtio_net_create(&c));
    } else {
        disk = open_disk();
        struct virtio_blk_config c = {.bus = r.bus, .devfn = CARD_DEVFN, .block = disk};
        r.device = virtio_blk_device(virtio_blk_create(&c));
    }
    card_enable(&r, 0, 4);
    card_fill(&r, data, size);
    make_queues(&r, data, size);
    set(&r, NOTIFY, 0, 2);
    set(&r, NOTIFY + 4, 1, 2);
    for (size_t n = 0; n < STEPS_MAX && size >= STEP_BYTES; n++) {
        card_step(&r, data, KIB(16));
        data += STEP_BYTES;
        size -= STEP_BYTES;
    }
    block_close(disk);
    card_close(&r);
    return 0;
}
