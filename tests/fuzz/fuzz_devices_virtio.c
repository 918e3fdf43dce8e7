/* SPDX-License-Identifier: MIT
 *
 * A hostile driver of virtio devices: the disk (first byte even) or the network card, with MSI-X in
 * every other pair of inputs. Queues are laid into the input at the start, so that most steps reach
 * them; other steps build whole requests. The MSI-X table lies behind the other registers.
 */
#include "card.h"
#include "devices/virtio_blk.h"
#include "devices/virtio_net.h"
#include "packets.h"

enum {
    OFFERED_SELECT = 0x00,
    OFFERED = 0x04,
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

/* What the driver asks for: the queues' features by a byte of the input, and all of the device's.
 */
static u32 wanted(struct card_rig *r, u32 i, const u8 *data, size_t size)
{
    if (i)
        return 1;
    set(r, OFFERED_SELECT, 0, 4);
    u32 offered = (u32)physmem_io_read(r->pm, CARD_MEMORY + OFFERED, 4);
    u32 queues = size > 1 ? (u32)data[1] << 24 : 0;
    return size && data[0] & 4 ? offered & (queues | 0xffffff) : queues;
}

static void make_queues(struct card_rig *r, const u8 *data, size_t size)
{
    set(r, STATUS, 3, 1);
    for (u32 i = 0; i < 2; i++) {
        u32 features = wanted(r, i, data, size);
        set(r, FEATURE_SELECT, i, 4);
        set(r, FEATURE, features, 4);
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

#define REGISTERS     KIB(16)
#define REQUEST_STEPS 176 /* and above: the first byte of a step that is a request */

/* ---- whole requests ---- */

#define DESCRIPTOR     16
#define QUEUE_SIZE     16
#define TABLE_PA(q)    (0x100u * (q))
#define AVAILABLE(q)   (0x200u + 0x100u * (q))
#define INDIRECT_TABLE 0x4000u
#define HEADER         0x5000u
#define BUFFER         0x8000u
#define HEADER_BYTES   16
#define F_NEXT         1
#define F_WRITE        2
#define F_INDIRECT     4

/* A chain of buffers under construction. */
struct chain {
    u32 table;
    unsigned first, count;
};

static void put_descriptor(struct card_rig *r, u32 at, u64 pa, u32 bytes, unsigned flags,
                           unsigned next)
{
    u8 d[DESCRIPTOR];
    store64(d, pa);
    store32(d + 8, bytes);
    store16(d + 12, (u16)flags);
    store16(d + 14, (u16)next);
    physmem_write(r->pm, at, d, sizeof d);
}

static void add_buffer(struct card_rig *r, struct chain *c, u64 pa, u32 bytes, unsigned flags)
{
    unsigned i = (c->first + c->count++) % QUEUE_SIZE;
    put_descriptor(r, c->table + DESCRIPTOR * i, pa, bytes, flags, (i + 1) % QUEUE_SIZE);
}

static void publish(struct card_rig *r, struct chain *c, unsigned q, bool indirect)
{
    u32 last = c->table + DESCRIPTOR * ((c->first + c->count - 1) % QUEUE_SIZE);
    u8 *flags = card_memory(r, last + 12), *index = card_memory(r, AVAILABLE(q) + 2);
    unsigned head = c->first;
    *flags &= (u8)~F_NEXT;
    if (indirect) {
        put_descriptor(r, TABLE_PA(q) + DESCRIPTOR * head, c->table, DESCRIPTOR * c->count,
                       F_INDIRECT, 0);
    }
    store16(card_memory(r, AVAILABLE(q) + 4 + 2 * (load16(index) % QUEUE_SIZE)), (u16)head);
    store16(index, (u16)(load16(index) + 1));
    set(r, NOTIFY + 4 * q, q, 2);
}

/* Of the disk: a type that exists, a sector, up to 16 KiB in one or two pieces. */
static void disk_request(struct card_rig *r, struct chain *c, const u8 *s)
{
    static const u8 types[] = {0, 1, 4, 8, 11, 13, 0, 99};
    u8 type = types[s[2] % ARRAY_LEN(types)], header[HEADER_BYTES] = {type};
    unsigned data = F_NEXT | (type == 0 || type == 8 ? F_WRITE : 0);
    u32 bytes = s[5] * 64u;
    store64(header + 8, s[3] | (u64)(s[4] & 3) << 8);
    physmem_write(r->pm, HEADER, header, sizeof header);
    if (s[1] & 4) { /* the ranges to discard: a sector, how many, flags */
        store64(card_memory(r, BUFFER), s[3]);
        store32(card_memory(r, BUFFER + 8), s[4]);
        store32(card_memory(r, BUFFER + 12), s[1] >> 7);
        bytes = 16 + (s[5] & 16);
    }
    add_buffer(r, c, HEADER, s[1] & 8 ? 8 : HEADER_BYTES, F_NEXT);
    if (s[1] & 8)
        add_buffer(r, c, HEADER + 8, 8, F_NEXT);
    if (s[1] & 16)
        add_buffer(r, c, BUFFER + 0x8000, 512, data);
    if (bytes)
        add_buffer(r, c, BUFFER, bytes, data);
    add_buffer(r, c, HEADER + HEADER_BYTES, s[1] & 32 ? 3 : 1, F_WRITE | F_NEXT);
}

/* Of the card: a packet with a header that may ask for a checksum, or room for some. */
static void card_request(struct card_rig *r, struct chain *c, const u8 *s, const u8 *next,
                         size_t left)
{
    u8 head[PACKET_HEAD + 255] = {0}, frame[PACKET_FRAME_MAX];
    struct packet_maker maker = {0};
    if (!(s[1] & 1)) {
        for (unsigned i = 0; i <= (s[2] & 3); i++)
            add_buffer(r, c, BUFFER + 0x1000 * i, s[3] * 8u, F_WRITE | F_NEXT);
        return;
    }
    memcpy(head, next, left < sizeof head ? left : sizeof head);
    size_t bytes = packet_make(&maker, head, frame);
    u8 header[12] = {s[2] & 1, s[2] >> 1 & 3, 54, 0, 100, 0, s[3], 0, s[4], 0, 0, 0};
    physmem_write(r->pm, HEADER, header, sizeof header);
    physmem_write(r->pm, BUFFER, frame, bytes);
    add_buffer(r, c, HEADER, sizeof header, F_NEXT);
    if (s[2] & 8)
        add_buffer(r, c, BUFFER, ETHERNET_HEADER, F_NEXT);
    u32 from = s[2] & 8 ? ETHERNET_HEADER : 0;
    add_buffer(r, c, BUFFER + from, (u32)bytes + s[5] * 16u, F_NEXT);
}

/* s[1]: bit 0 the queue, bit 1 in a table of its own, the rest as above. */
static void request(struct card_rig *r, bool disk, const u8 *s, const u8 *next, size_t left)
{
    unsigned q = disk ? 0 : s[1] & 1;
    bool indirect = s[1] & 2;
    struct chain c = {.table = indirect ? INDIRECT_TABLE : TABLE_PA(q),
                      .first = indirect ? 0 : s[1] >> 6};
    if (disk)
        disk_request(r, &c, s);
    else
        card_request(r, &c, s, next, left);
    publish(r, &c, q, indirect);
}

static void step(struct card_rig *r, const u8 *s, const u8 *next, size_t left)
{
    if (s[0] < REQUEST_STEPS)
        card_step(r, s, REGISTERS + PAGE_BYTES);
    else if (s[0] == 255 && r->disk_file)
        memory_file_fail(r->disk_file, 1, s[1] & 1 ? -EIO : -ENOSPC);
    else
        request(r, r->disk_file, s, next, left);
}

/* ---- the card ---- */

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
        step(&r, data, data + STEP_BYTES, size - STEP_BYTES);
        data += STEP_BYTES;
        size -= STEP_BYTES;
    }
    card_close(&r);
    return 0;
}
