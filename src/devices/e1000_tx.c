/* SPDX-License-Identifier: MIT
 *
 * Transmission: from the ring of descriptors to frames on the cable (SDM 3.3 to 3.5).
 *
 *   descriptors --> packet.data --EOP--> checksums, VLAN tag --> cable
 *                      |
 *                      +--TSE, header and MSS bytes there--> one segment, and on with the next
 *
 * Bounds against a hostile driver: a ring is worked off in portions of BUDGET units, and the rest
 * waits for a timer, so that a long or endless ring never keeps the board; packet.data never holds
 * more than one frame, and of a segmented one no more than a segment; a packet keeps the context
 * that it began with; each offset of a context is compared with the frame at hand before use.
 */
#include "devices/e1000_regs.h"

#define BUDGET         512  /* descriptors, frames and KiB of data, together, for each portion */
#define BUDGET_UNIT    1024 /* bytes of data that count as much as a descriptor */
#define SEGMENTS_MAX   4096 /* of a packet; the rest is lost. Drivers stay below 64 KiB / 48 */
#define DATA_BYTES     0xfffff
#define TYPE_SHIFT     20
#define TYPE_CONTEXT   0
#define TYPE_DATA      1
#define IP_LENGTH      2 /* offsets in headers */
#define IP_ID          4
#define IPV6_LENGTH    4
#define IPV6_HEADER    40
#define TCP_SEQUENCE   4
#define TCP_FLAGS      13
#define TCP_FIN_PSH    0x09
#define UDP_LENGTH     4
#define SIZE_CLASS_64  64
#define SIZE_CLASS_MAX 5

/* Sums start..end (0: to the end of the frame) and stores the complement at `at`. What the field
 * held counts too: drivers put the pseudo header's sum there. */
static void insert_checksum(u8 *frame, u32 n, u32 start, u32 end, u32 at)
{
    u32 stop = end && end < n ? end + 1 : n;
    if (start >= stop || at + 2 > n)
        return;
    e1000_put16(frame + at, (u16)~netdev_sum(0, frame + start, stop - start));
}

/* ---- a finished frame ---- */

/* 64, 65-127, 128-255, 256-511, 512-1023, more: six registers in a row. */
static u32 size_class(u32 bytes)
{
    u32 class = 0;
    for (u32 limit = SIZE_CLASS_64; bytes > limit && class < SIZE_CLASS_MAX; class ++)
        limit = limit == SIZE_CLASS_64 ? 127 : limit * 2 + 1;
    return class;
}

static void count_frame(struct e1000 *e, const u8 *frame, u32 bytes)
{
    u32 on_wire = bytes + FCS_BYTES;
    e1000_count(e, GPTC, 1);
    e1000_count(e, TPT, 1);
    e1000_count64(e, GOTCL, on_wire);
    e1000_count64(e, TOTL, on_wire);
    e1000_count(e, PTC64 + 4 * size_class(on_wire), 1);
    if (frame[0] == 0xff)
        e1000_count(e, BPTC, 1);
    else if (frame[0] & 1)
        e1000_count(e, MPTC, 1);
}

static u32 insert_tag(const struct e1000 *e, u8 *frame, u32 n, u16 tag)
{
    memmove(frame + VLAN_AT + VLAN_TAG, frame + VLAN_AT, n - VLAN_AT);
    e1000_put16(frame + VLAN_AT, e1000_get(e, VET));
    e1000_put16(frame + VLAN_AT + 2, tag);
    return n + VLAN_TAG;
}

/* packet.data goes out; there is room for a tag and padding behind it. */
static void send_frame(struct e1000 *e)
{
    struct e1000_packet *p = &e->packet;
    u32 n = p->bytes;
    if (n < ETHERNET_HEADER)
        return;
    if (p->vlan && (e1000_get(e, CTRL) & CTRL_VME))
        n = insert_tag(e, p->data, n, p->tag);
    if (n < ETHERNET_MIN) {
        if (e1000_get(e, TCTL) & TCTL_PSP) {
            memset(p->data + n, 0, ETHERNET_MIN - n);
            n = ETHERNET_MIN;
        }
    }
    count_frame(e, p->data, n);
    e->tx_frames++;
    if (e1000_get(e, RCTL) & RCTL_LBM_MAC)
        e1000_receive(e, p->data, n);
    else
        netdev_send(e->netdev, p->data, n);
}

static void offload_checksums(struct e1000_packet *p)
{
    const struct e1000_context *c = &p->context;
    if (p->options & POPTS_IXSM)
        insert_checksum(p->data, p->bytes, c->ip_start, c->ip_end, c->ip_offset);
    if (p->options & POPTS_TXSM)
        insert_checksum(p->data, p->bytes, c->tu_start, c->tu_end, c->tu_offset);
}

/* ---- segmentation (SDM 3.5) ---- */

static void add16(u8 *frame, u32 n, u32 at, u32 value)
{
    if (at + 2 > n)
        return;
    u32 sum = e1000_get16(frame + at) + value;
    e1000_put16(frame + at, (sum & 0xffff) + (sum >> 16));
}

static void put_length(u8 *frame, u32 n, u32 at, u32 value)
{
    if (at + 2 <= n)
        e1000_put16(frame + at, value);
}

static void advance_sequence(u8 *frame, u32 n, u32 at, u32 by)
{
    if (at + 4 > n)
        return;
    u32 sequence = (u32)e1000_get16(frame + at) << 16 | e1000_get16(frame + at + 2);
    sequence += by;
    e1000_put16(frame + at, sequence >> 16);
    e1000_put16(frame + at + 2, sequence);
}

static void fix_headers(struct e1000_packet *p, bool last)
{
    const struct e1000_context *c = &p->context;
    u8 *f = p->data;
    u32 n = p->bytes, ip = c->ip_start, tu = c->tu_start;
    if (c->command & TUCMD_IP) {
        put_length(f, n, ip + IP_LENGTH, n - ip);
        if (ip + IP_ID + 2 <= n)
            e1000_put16(f + ip + IP_ID, e1000_get16(f + ip + IP_ID) + p->segments);
    } else {
        put_length(f, n, ip + IPV6_LENGTH, n - ip - IPV6_HEADER);
    }
    if (c->command & TUCMD_TCP) {
        advance_sequence(f, n, tu + TCP_SEQUENCE, p->segments * c->mss);
        if (!last && tu + TCP_FLAGS < n)
            f[tu + TCP_FLAGS] &= (u8)~TCP_FIN_PSH;
    } else {
        put_length(f, n, tu + UDP_LENGTH, n - tu);
    }
    /* The driver's pseudo header lacks the length, which it could not know. */
    if (p->options & POPTS_TXSM)
        add16(f, n, c->tu_offset, n - tu);
}

static void send_segment(struct e1000 *e, bool last)
{
    struct e1000_packet *p = &e->packet;
    const struct e1000_context *c = &p->context;
    if (p->bytes <= c->header || p->segments == SEGMENTS_MAX)
        return;
    fix_headers(p, last);
    offload_checksums(p);
    send_frame(e);
    p->segments++;
    memcpy(p->data, p->header, c->header);
    p->bytes = c->header;
}

/* Takes n bytes of a segmented packet from pa. */
static void segment_data(struct e1000 *e, u64 pa, u32 n, bool last)
{
    struct e1000_packet *p = &e->packet;
    const struct e1000_context *c = &p->context;
    u32 full = c->header + c->mss;
    while (n && p->payload_left && p->segments < SEGMENTS_MAX && p->bytes < full) {
        u32 want = p->bytes < c->header && !p->segments ? c->header : full;
        u32 piece = want - p->bytes < n ? want - p->bytes : n;
        if (want == full && piece > p->payload_left)
            piece = p->payload_left;
        pci_dma_read(&e->pci, pa, p->data + p->bytes, piece);
        p->bytes += piece;
        pa += piece;
        n -= piece;
        if (want == full)
            p->payload_left -= piece;
        else if (p->bytes == c->header)
            memcpy(p->header, p->data, c->header);
        if (p->bytes == full && p->payload_left)
            send_segment(e, false);
    }
    if (last)
        send_segment(e, true);
}

/* ---- descriptors ---- */

static void take_context(struct e1000 *e, const u8 *d, u8 command)
{
    struct e1000_context *c = command & TXD_TSE ? &e->segment_context : &e->checksum_context;
    *c = (struct e1000_context){.ip_start = d[0],
                                .ip_offset = d[1],
                                .ip_end = load16(d + 2),
                                .tu_start = d[4],
                                .tu_offset = d[5],
                                .tu_end = load16(d + 6),
                                .payload = load32(d + 8) & DATA_BYTES,
                                .command = command,
                                .header = d[13],
                                .mss = load16(d + 14)};
}

/* A legacy descriptor in the midst of a segmented packet spoils that: nothing says what to make of
 * it. */
static void append(struct e1000 *e, u64 pa, u32 n)
{
    struct e1000_packet *p = &e->packet;
    if (p->too_long || p->segmented || n > FRAME_MAX - p->bytes) {
        p->too_long = true;
        return;
    }
    pci_dma_read(&e->pci, pa, p->data + p->bytes, n);
    p->bytes += n;
}

static void close_packet(struct e1000 *e)
{
    struct e1000_packet *p = &e->packet;
    if (p->segmented && !p->too_long && p->segments)
        e1000_count(e, TSCTC, 1);
    p->open = false;
    p->bytes = 0;
}

static void open_packet(struct e1000 *e, bool segmented, u8 options)
{
    struct e1000_packet *p = &e->packet;
    const struct e1000_context *c = segmented ? &e->segment_context : &e->checksum_context;
    p->open = true;
    p->context = *c;
    p->segmented = segmented;
    p->options = options;
    p->bytes = p->segments = 0;
    p->payload_left = c->payload;
    p->vlan = false;
    /* Without a header or a size there is nothing to make segments of. */
    p->too_long = segmented &&
                  (!c->mss || c->header < ETHERNET_HEADER || (u32)c->header + c->mss > FRAME_MAX);
}

static void take_legacy(struct e1000 *e, const u8 *d, u8 command)
{
    struct e1000_packet *p = &e->packet;
    if (!p->open)
        open_packet(e, false, 0);
    append(e, load64(d), load16(d + 8));
    if (!(command & TXD_EOP))
        return;
    p->vlan = command & TXD_VLE;
    p->tag = load16(d + 14);
    if (!p->too_long) {
        if (command & TXD_IC)
            insert_checksum(p->data, p->bytes, d[13], 0, d[10]);
        send_frame(e);
    }
    close_packet(e);
}

static void take_data(struct e1000 *e, const u8 *d, u8 command)
{
    struct e1000_packet *p = &e->packet;
    u32 n = load32(d + 8) & DATA_BYTES;
    bool first = !p->open, last = command & TXD_EOP;
    if (first)
        open_packet(e, command & TXD_TSE, d[13]);
    if (p->segmented ? first : last) { /* SDM 3.3.7.1: where the tag is valid */
        p->vlan = command & TXD_VLE;
        p->tag = load16(d + 14);
    }
    if (!p->segmented)
        append(e, load64(d), n);
    else if (!p->too_long)
        segment_data(e, load64(d), n, last);
    if (!last)
        return;
    if (!p->segmented && !p->too_long) {
        offload_checksums(p);
        send_frame(e);
    }
    close_packet(e);
}

/* Returns what the descriptor costs of the budget. */
static u32 take_descriptor(struct e1000 *e, const u8 *d)
{
    u8 command = d[11];
    if (!(command & TXD_DEXT)) {
        take_legacy(e, d, command);
        return 1u + load16(d + 8) / BUDGET_UNIT;
    }
    switch (load32(d + 8) >> TYPE_SHIFT & 0xf) {
    case TYPE_CONTEXT: take_context(e, d, command); return 1;
    case TYPE_DATA:
        take_data(e, d, command);
        return 1u + (load32(d + 8) & DATA_BYTES) / BUDGET_UNIT;
    default:
        log_unsupported(e->log, "e1000-txd", load32(d + 8) >> TYPE_SHIFT & 0xf,
                        "e1000: unknown transmit descriptor type");
        return 1;
    }
}

/* Status back to memory, and which interrupt follows. */
static u32 report(struct e1000 *e, u64 pa, u8 *d)
{
    if (!(d[11] & TXD_RS))
        return 0;
    d[12] |= TXD_STATUS_DD;
    pci_dma_write(&e->pci, pa + 12, d + 12, 1);
    if (!(d[11] & TXD_IDE) || !e1000_get(e, TIDV))
        return INT_TXDW;
    e1000_delayed(e, &e->tx_delay, e1000_get(e, TIDV), e1000_get(e, TADV));
    return 0;
}

static bool ring_is_sane(const struct e1000 *e)
{
    u32 size = e1000_ring_size(e, TDLEN);
    return e1000_get(e, TDH) < size && e1000_get(e, TDT) < size;
}

void e1000_transmit(struct e1000 *e)
{
    u32 causes = 0, used = 0;
    e->tx_frames = 0;
    if (!(e1000_get(e, TCTL) & TCTL_EN) || !ring_is_sane(e))
        return;
    u64 base = e1000_get(e, TDBAL) | (u64)e1000_get(e, TDBAH) << 32;
    u32 size = e1000_ring_size(e, TDLEN), head = e1000_get(e, TDH);
    if (head == e1000_get(e, TDT))
        return;
    while (head != e1000_get(e, TDT) && used + e->tx_frames < BUDGET) {
        u8 d[DESCRIPTOR_BYTES];
        u64 pa = base + (u64)head * DESCRIPTOR_BYTES;
        pci_dma_read(&e->pci, pa, d, sizeof d);
        used += take_descriptor(e, d);
        causes |= report(e, pa, d);
        head = head + 1 == size ? 0 : head + 1;
        *e1000_reg(e, TDH) = head;
    }
    if (head == e1000_get(e, TDT))
        causes |= INT_TXQE;
    else
        timer_arm(&e->tx_more, clock_now(e->clock) + 1);
    e1000_raise(e, causes);
}

void e1000_tx_reset(struct e1000 *e)
{
    timer_cancel(&e->tx_more);
    e->packet.open = false;
    e->packet.bytes = 0;
    e->checksum_context = e->segment_context = (struct e1000_context){0};
}
