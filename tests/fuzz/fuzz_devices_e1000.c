/* SPDX-License-Identifier: MIT
 *
 * A hostile driver of the 82540EM: registers, descriptors and frames of any kind. Rings are laid
 * into the input at the start, so that most steps reach them; other steps send and receive packets
 * of known protocols (packets.h) by descriptors of every kind, segmentation among them.
 */
#include "card.h"
#include "devices/e1000.h"
#include "devices/e1000_regs.h"

#include "packets.h"

static void set(struct card_rig *r, u32 reg, u32 value)
{
    physmem_io_write(r->pm, CARD_MEMORY + reg, value, 4);
}

#define TX_RING      0x0000u
#define RX_RING      0x2000u
#define RING_BYTES   0x1000u
#define RING_ENTRIES (RING_BYTES / DESCRIPTOR_BYTES)
#define FRAME_AT     0x8000u
#define RX_BUFFERS   0x18000u
#define PACKET_STEPS 176 /* and above: the first byte of a step with a packet */

/* ---- packets ---- */

/* The packet that the input describes, in memory; its bytes. */
static size_t put_frame(struct card_rig *r, const u8 *next, size_t left, u8 *frame)
{
    u8 head[PACKET_HEAD + 255] = {0};
    struct packet_maker maker = {0};
    memcpy(head, next, left < sizeof head ? left : sizeof head);
    size_t bytes = packet_make(&maker, head, frame);
    physmem_write(r->pm, FRAME_AT, frame, bytes);
    return bytes;
}

static void transmit(struct card_rig *r, const u8 *descriptor)
{
    u32 tail = (u32)physmem_io_read(r->pm, CARD_MEMORY + TDT, 4) % RING_ENTRIES;
    physmem_write(r->pm, TX_RING + tail * DESCRIPTOR_BYTES, descriptor, DESCRIPTOR_BYTES);
    set(r, TDT, (tail + 1) % RING_ENTRIES);
}

static void legacy_descriptor(u8 *d, const u8 *s, size_t bytes)
{
    store64(d, FRAME_AT);
    store16(d + 8, (u16)bytes);
    d[10] = s[3];
    d[11] = s[2] & (u8)~TXD_DEXT;
    d[13] = s[4];
}

/* For TCP behind IPv4 (or, by s[4], IPv6), with a byte of it changed. */
static void context_descriptor(u8 *d, const u8 *s)
{
    bool six = s[4] & 0x80;
    u8 transport = ETHERNET_HEADER + (six ? IP6_HEADER : IP4_HEADER);
    d[0] = ETHERNET_HEADER;
    d[1] = ETHERNET_HEADER + 10;
    store16(d + 2, (u16)(transport - 1));
    d[4] = transport;
    d[5] = (u8)(transport + 16);
    store32(d + 8, s[3] * 32u | (u32)(s[2] | TXD_DEXT) << 24);
    d[13] = (u8)(transport + TCP_HEADER);
    store16(d + 14, (s[4] & 0x3f) * 8);
    if (s[4] & 0x40)
        d[s[5] & 15] = (u8)(s[5] & 0xf0);
}

static void data_descriptor(u8 *d, const u8 *s, size_t bytes)
{
    store64(d, FRAME_AT);
    store32(d + 8, ((u32)bytes + s[3] * 16u) | 1u << 20 | (u32)(s[2] | TXD_DEXT) << 24);
    d[13] = s[4] & 3;
    store16(d + 14, s[5]);
}

static void packet_step(struct card_rig *r, const u8 *s, const u8 *next, size_t left)
{
    u8 d[DESCRIPTOR_BYTES] = {0}, frame[PACKET_FRAME_MAX];
    size_t bytes = put_frame(r, next, left, frame);
    switch (s[1] & 3) {
    case 0: legacy_descriptor(d, s, bytes); break;
    case 1: context_descriptor(d, s); break;
    case 2: data_descriptor(d, s, bytes); break;
    default:
        if (s[2] & 1)
            set(r, RDT, s[3]);
        netdev_deliver(r->netdev, frame, bytes);
        return;
    }
    transmit(r, d);
}

/* ---- the card ---- */

static void fill_receive_ring(struct card_rig *r)
{
    for (u32 i = 0; i < RING_ENTRIES; i++)
        store64(card_memory(r, RX_RING + i * DESCRIPTOR_BYTES), RX_BUFFERS + i % 16 * 0x1000);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct card_rig r;
    card_open(&r);
    struct nic_board c = {.bus = r.bus, .devfn = CARD_DEVFN, .clock = r.clock, .netdev = r.netdev};
    r.device = e1000_device(e1000_create(&c));
    card_enable(&r, 2, 0);
    card_fill(&r, data, size);
    if (size && data[0] & 1)
        fill_receive_ring(&r);
    set(&r, TDLEN, RING_BYTES);
    set(&r, RDLEN, RING_BYTES);
    set(&r, RDBAL, RX_RING);
    set(&r, RDT, 200);
    set(&r, TCTL, TCTL_EN);
    set(&r, RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_LPE);
    set(&r, TDT, size && !(data[0] & 2) ? data[0] : 0);
    for (size_t n = 0; n < STEPS_MAX && size >= STEP_BYTES; n++) {
        if (data[0] >= PACKET_STEPS)
            packet_step(&r, data, data + STEP_BYTES, size - STEP_BYTES);
        else
            card_step(&r, data, REGISTERS_END);
        data += STEP_BYTES;
        size -= STEP_BYTES;
    }
    card_close(&r);
    return 0;
}
