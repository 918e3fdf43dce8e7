/* SPDX-License-Identifier: MIT
 *
 * Reception: which frames the card takes, and how they reach the ring of descriptors (SDM 3.2).
 *
 * The card's 64 KiB of packet memory is the queue of net/netdev.h: while the ring has no room for
 * the longest frame, frames wait there; what comes to a card whose receiver is off is lost.
 */
#include "devices/e1000_regs.h"

#define FRAME_MAX_STANDARD 1514 /* without checksum; VLAN tags come on top */
#define TYPE_AT            12
#define TYPE_IPV4          0x0800
#define VLAN_ID            0x0fff
#define VLAN_CFI           0x1000
#define IP_PROTOCOL        9
#define IP_FRAGMENT        6
#define IP_FRAGMENT_MASK   0x3fff /* more fragments, and the offset */
#define IP_SOURCE          12
#define IP_HEADER_MIN      20
#define PROTOCOL_TCP       6
#define PROTOCOL_UDP       17
#define UDP_CHECKSUM       6

/* ---- filters (SDM 3.2.1) ---- */

static bool matches_exactly(const struct e1000 *e, const u8 *frame)
{
    for (unsigned i = 0; i < RAR_COUNT; i++) {
        u32 low = e1000_get(e, RAL + 8 * i), high = e1000_get(e, RAH + 8 * i);
        if ((high & RAH_AV) && RAH_SELECT(high) == 0 && load32(frame) == low &&
            load16(frame + 4) == (u16)high)
            return true;
    }
    return false;
}

/* Twelve bits of the address select a bit of the table; RCTL.MO says which twelve. */
static bool matches_hash(const struct e1000 *e, const u8 *frame)
{
    static const u8 shifts[] = {4, 3, 2, 0};
    u32 hash = load16(frame + 4) >> shifts[e1000_get(e, RCTL) >> 12 & 3] & 0xfff;
    return e1000_get(e, MTA + 4 * (hash >> 5)) >> (hash & 31) & 1;
}

static bool address_passes(const struct e1000 *e, const u8 *frame)
{
    static const u8 broadcast[ETHERNET_ADDRESS] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    u32 rctl = e1000_get(e, RCTL);
    if (!memcmp(frame, broadcast, sizeof broadcast) && (rctl & RCTL_BAM))
        return true;
    if (rctl & (frame[0] & 1 ? RCTL_MPE : RCTL_UPE))
        return true;
    return matches_exactly(e, frame) || ((frame[0] & 1) && matches_hash(e, frame));
}

static bool is_tagged(const struct e1000 *e, const u8 *frame, u32 n)
{
    return n >= ETHERNET_HEADER + VLAN_TAG && e1000_get16(frame + TYPE_AT) == e1000_get(e, VET);
}

static bool vlan_passes(const struct e1000 *e, const u8 *frame)
{
    u32 rctl = e1000_get(e, RCTL);
    u16 tag = e1000_get16(frame + VLAN_AT + 2);
    if (!(rctl & RCTL_VFE))
        return true;
    if ((rctl & RCTL_CFIEN) && !(tag & VLAN_CFI) != !(rctl & RCTL_CFI))
        return false;
    u32 id = tag & VLAN_ID;
    return e1000_get(e, VFTA + 4 * (id >> 5)) >> (id & 31) & 1;
}

static bool passes(struct e1000 *e, const u8 *frame, u32 n, bool tagged)
{
    u32 longest = FRAME_MAX_STANDARD + (tagged ? VLAN_TAG : 0);
    if (n > FRAME_MAX || (n > longest && !(e1000_get(e, RCTL) & RCTL_LPE))) {
        e1000_count(e, ROC, 1);
        return false;
    }
    return address_passes(e, frame) && (!tagged || vlan_passes(e, frame));
}

/* ---- checksums (SDM 3.2.9) ---- */

static bool transport_is_right(const u8 *ip, u32 header, u32 total)
{
    u32 pseudo = ip[IP_PROTOCOL] + (total - header);
    pseudo = netdev_sum(pseudo, ip + IP_SOURCE, 8);
    return netdev_sum(pseudo, ip + header, total - header) == 0xffff;
}

/* Status and error bits for an IPv4 frame; IXSM where the card cannot tell. */
static u16 check_sums(const struct e1000 *e, const u8 *frame, u32 n)
{
    u32 enabled = e1000_get(e, RXCSUM), status = 0, errors = 0;
    const u8 *ip = frame + ETHERNET_HEADER;
    u32 room = n - ETHERNET_HEADER;
    if (n < ETHERNET_HEADER + IP_HEADER_MIN || e1000_get16(frame + TYPE_AT) != TYPE_IPV4)
        return RXD_IXSM;
    u32 header = (ip[0] & 0xfu) * 4, total = e1000_get16(ip + 2);
    if (ip[0] >> 4 != 4 || header < IP_HEADER_MIN || total < header || total > room)
        return RXD_IXSM;
    if (enabled & RXCSUM_IPOFL) {
        status |= RXD_IPCS;
        errors |= netdev_sum(0, ip, header) == 0xffff ? 0 : RXD_IPE;
    }
    bool whole = !(e1000_get16(ip + IP_FRAGMENT) & IP_FRAGMENT_MASK);
    u8 protocol = ip[IP_PROTOCOL];
    bool summed = protocol == PROTOCOL_TCP || (protocol == PROTOCOL_UDP && total >= header + 8 &&
                                               e1000_get16(ip + header + UDP_CHECKSUM) != 0);
    if ((enabled & RXCSUM_TUOFL) && whole && summed) {
        status |= RXD_TCPCS;
        errors |= transport_is_right(ip, header, total) ? 0 : RXD_TCPE;
    }
    return (u16)(status ? status | errors << 8 : RXD_IXSM);
}

/* CRC-32 of IEEE 802.3, four bits at a time. */
static u32 frame_crc(const u8 *p, u32 n)
{
    static const u32 table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                  0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                  0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                  0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    u32 crc = ~0u;
    for (u32 i = 0; i < n; i++) {
        crc = crc >> 4 ^ table[(crc ^ p[i]) & 15];
        crc = crc >> 4 ^ table[(crc ^ p[i] >> 4) & 15];
    }
    return ~crc;
}

/* ---- the ring ---- */

static u32 buffer_bytes(const struct e1000 *e)
{
    u32 rctl = e1000_get(e, RCTL);
    u32 bytes = 2048u >> (rctl >> 16 & 3);
    bool times_16 = (rctl & RCTL_BSEX) && bytes != 2048; /* that combination is reserved */
    return times_16 ? bytes * 16 : bytes;
}

/* Descriptors that the driver has handed out. */
static u32 free_descriptors(const struct e1000 *e)
{
    u32 size = e1000_ring_size(e, RDLEN), head = e1000_get(e, RDH), tail = e1000_get(e, RDT);
    if (head >= size || tail >= size)
        return 0;
    return tail >= head ? tail - head : size - head + tail;
}

static bool has_room(const struct e1000 *e, u32 n)
{
    return (u64)free_descriptors(e) * buffer_bytes(e) >= n;
}

static bool is_on(const struct e1000 *e)
{
    return (e1000_get(e, RCTL) & RCTL_EN) && (pci_command(&e->pci) & PCI_COMMAND_MASTER);
}

bool e1000_can_receive(void *opaque)
{
    const struct e1000 *e = opaque;
    u32 longest = e1000_get(e, RCTL) & RCTL_LPE ? FRAME_MAX : FRAME_MAX_STANDARD + VLAN_TAG;
    return !is_on(e) || has_room(e, longest + FCS_BYTES);
}

struct received {
    const u8 *data;
    u32 bytes;
    u16 status; /* and errors above */
    u16 sum, tag;
};

static void fill_ring(struct e1000 *e, const struct received *r)
{
    u64 base = e1000_get(e, RDBAL) | (u64)e1000_get(e, RDBAH) << 32;
    u32 size = e1000_ring_size(e, RDLEN), head = e1000_get(e, RDH), room = buffer_bytes(e);
    for (u32 done = 0; done < r->bytes;) {
        u8 d[DESCRIPTOR_BYTES];
        u64 pa = base + (u64)head * DESCRIPTOR_BYTES;
        u32 piece = r->bytes - done < room ? r->bytes - done : room;
        pci_dma_read(&e->pci, pa, d, sizeof d);
        if (load64(d)) /* a null address takes nothing, but is used up (SDM 3.2.5) */
            pci_dma_write(&e->pci, load64(d), r->data + done, piece);
        done += piece;
        bool last = done == r->bytes;
        store16(d + 8, (u16)piece);
        store16(d + 10, r->sum);
        store16(d + 12, last ? r->status | RXD_DD | RXD_EOP : RXD_DD);
        store16(d + 14, r->tag);
        pci_dma_write(&e->pci, pa + 8, d + 8, 8);
        head = head + 1 == size ? 0 : head + 1;
    }
    *e1000_reg(e, RDH) = head;
}

static void count_received(struct e1000 *e, const u8 *frame, u32 n)
{
    e1000_count(e, GPRC, 1);
    e1000_count(e, TPR, 1);
    e1000_count64(e, GORCL, n + FCS_BYTES);
    e1000_count64(e, TORL, n + FCS_BYTES);
    if (frame[0] == 0xff)
        e1000_count(e, BPRC, 1);
    else if (frame[0] & 1)
        e1000_count(e, MPRC, 1);
}

static void announce(struct e1000 *e, u32 free_before)
{
    u32 causes = 0;
    u32 threshold = e1000_ring_size(e, RDLEN) >> (1 + (e1000_get(e, RCTL) >> 8 & 3));
    if (free_before > threshold && free_descriptors(e) <= threshold)
        causes |= INT_RXDMT0;
    if (e1000_get(e, RDTR))
        e1000_delayed(e, &e->rx_delay, e1000_get(e, RDTR), e1000_get(e, RADV));
    else
        causes |= INT_RXT0;
    e1000_raise(e, causes);
}

void e1000_receive(void *opaque, const u8 *frame, size_t bytes)
{
    struct e1000 *e = opaque;
    u8 copy[FRAME_MAX + VLAN_TAG + FCS_BYTES];
    u32 n = (u32)bytes;
    if (!is_on(e) || n < ETHERNET_HEADER)
        return;
    bool tagged = is_tagged(e, frame, n);
    if (!passes(e, frame, n, tagged))
        return;
    struct received r = {.data = copy, .bytes = n};
    count_received(e, frame, n);
    memcpy(copy, frame, n);
    if (tagged && (e1000_get(e, CTRL) & CTRL_VME)) {
        r.tag = e1000_get16(frame + VLAN_AT + 2);
        r.bytes = n -= VLAN_TAG;
        memmove(copy + VLAN_AT, copy + VLAN_AT + VLAN_TAG, n - VLAN_AT);
        r.status |= RXD_VP;
    }
    r.status |= check_sums(e, copy, n);
    u32 start = e1000_get(e, RXCSUM) & 0xff;
    r.sum = start < n ? (u16)~netdev_sum(0, copy + start, n - start) : 0;
    if (!(e1000_get(e, RCTL) & RCTL_SECRC)) {
        store32(copy + n, frame_crc(copy, n));
        r.bytes = n + FCS_BYTES;
    }
    u32 before = free_descriptors(e);
    if (!has_room(e, r.bytes)) {
        e1000_count(e, MPC, 1);
        e1000_count(e, RNBC, 1);
        e1000_raise(e, INT_RXO);
        return;
    }
    fill_ring(e, &r);
    announce(e, before);
}
