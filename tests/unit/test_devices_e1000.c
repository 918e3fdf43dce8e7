/* SPDX-License-Identifier: MIT
 *
 * The 82540EM as a driver sees it: registers, rings in memory, frames on a cable that remembers.
 */
#include "devices/e1000.h"

#include "devices/e1000_regs.h"
#include "pci_bench.h"

#define TX_RING   0x10000
#define RX_RING   0x20000
#define BUFFERS   0x100000
#define RING_SIZE 8
#define US        1000

static const u8 mac[ETHERNET_ADDRESS] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static const u8 other[ETHERNET_ADDRESS] = {0x02, 1, 2, 3, 4, 5};
static const u8 everybody[ETHERNET_ADDRESS] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static u32 rd(struct bench *b, u32 reg)
{
    return (u32)physmem_io_read(b->rig.pm, BENCH_MEMORY + reg, 4);
}

static void wr(struct bench *b, u32 reg, u32 value)
{
    physmem_io_write(b->rig.pm, BENCH_MEMORY + reg, value, 4);
}

static int setup(void **state)
{
    struct bench *b = bench_open();
    static const u8 rom[600] = {0x55, 0xaa};
    struct nic_board c = {.bus = b->rig.pci,
                          .devfn = BENCH_DEVFN,
                          .clock = b->rig.clock,
                          .netdev = b->netdev,
                          .rom = rom,
                          .rom_bytes = sizeof rom};
    memcpy(c.mac, mac, sizeof mac);
    struct e1000 *e = e1000_create(&c);
    assert_non_null(e);
    rig_add(&b->rig, e1000_device(e));
    bench_enable(b, 2, 0);
    clock_step(b->rig.clock, 1000 * US);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    bench_close(*state);
    return 0;
}

static void start_rings(struct bench *b)
{
    wr(b, TDBAL, TX_RING);
    wr(b, TDLEN, RING_SIZE * DESCRIPTOR_BYTES);
    wr(b, TCTL, TCTL_EN | TCTL_PSP);
    wr(b, RDBAL, RX_RING);
    wr(b, RDLEN, RING_SIZE * DESCRIPTOR_BYTES);
    for (unsigned i = 0; i < RING_SIZE; i++)
        store64(bench_ram(b, RX_RING + i * DESCRIPTOR_BYTES), BUFFERS + i * 0x1000u);
    wr(b, RDT, RING_SIZE - 1);
    wr(b, RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC);
}

static void tx_descriptor(struct bench *b, unsigned at, u64 low, u64 high)
{
    u8 *d = bench_ram(b, TX_RING + at * DESCRIPTOR_BYTES);
    store64(d, low);
    store64(d + 8, high);
}

static u64 legacy(u32 bytes, u8 command)
{
    return bytes | (u64)command << 24;
}

static u64 data(u32 bytes, u8 command, u8 options)
{
    return bytes | 1u << 20 | (u64)(command | TXD_DEXT) << 24 | (u64)options << 40;
}

static u8 *frame_at(struct bench *b, u64 pa, const u8 *to)
{
    u8 *f = bench_ram(b, pa);
    memcpy(f, to, ETHERNET_ADDRESS);
    memcpy(f + 6, mac, ETHERNET_ADDRESS);
    e1000_put16(f + 12, 0x0800);
    return f;
}

static const u8 *rx_descriptor(struct bench *b, unsigned at)
{
    return bench_ram(b, RX_RING + at * DESCRIPTOR_BYTES);
}

static void deliver(struct bench *b, const u8 *to, size_t n)
{
    u8 f[2000] = {0};
    memcpy(f, to, ETHERNET_ADDRESS);
    memcpy(f + 6, other, ETHERNET_ADDRESS);
    e1000_put16(f + 12, 0x88b5);
    f[14] = 0xa5;
    netdev_deliver(b->netdev, f, n);
}

/* ---- identity ---- */

static void e1000_is_an_82540em(void **state)
{
    struct bench *b = *state;
    assert_int_equal(bench_config(b, PCI_VENDOR_ID, 4), 0x100e8086);
    assert_int_equal(bench_config(b, PCI_CLASS_DEVICE, 2), 0x0200);
    assert_int_equal(rd(b, STATUS) & (STATUS_LU | STATUS_FD), STATUS_LU | STATUS_FD);
    bench_config_write(b, PCI_ROM_ADDRESS, 0xfd000001, 4);
    u8 signature[2];
    assert_true(physmem_read(b->rig.pm, 0xfd000000, signature, sizeof signature));
    assert_int_equal(load16(signature), 0xaa55);
}

static void e1000_eerd_reads_words_whose_sum_is_baba(void **state)
{
    struct bench *b = *state;
    u16 sum = 0;
    for (u32 i = 0; i < EEPROM_WORDS; i++) {
        wr(b, EERD, i << 8 | EERD_START);
        assert_true(rd(b, EERD) & EERD_DONE);
        sum = (u16)(sum + (rd(b, EERD) >> 16));
        if (i < 3)
            assert_int_equal(rd(b, EERD) >> 16, load16(mac + 2 * i));
    }
    assert_int_equal(sum, 0xbaba);
}

static void microwire_bit(struct bench *b, bool bit)
{
    u32 base = EECD_CS | EECD_REQ | (bit ? EECD_DI : 0);
    wr(b, EECD, base);
    wr(b, EECD, base | EECD_SK);
    wr(b, EECD, base);
}

static u16 microwire_read(struct bench *b, unsigned word)
{
    u32 command = 6u << 6 | word;
    u16 value = 0;
    wr(b, EECD, EECD_REQ);
    assert_true(rd(b, EECD) & EECD_GNT);
    wr(b, EECD, EECD_REQ | EECD_CS);
    for (int i = 8; i >= 0; i--)
        microwire_bit(b, command >> i & 1);
    for (unsigned i = 0; i < 16; i++) {
        microwire_bit(b, false);
        value = (u16)(value << 1 | !!(rd(b, EECD) & EECD_DO));
    }
    wr(b, EECD, EECD_REQ);
    wr(b, EECD, 0);
    return value;
}

static void e1000_eeprom_answers_on_its_microwire_bus(void **state)
{
    struct bench *b = *state;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(microwire_read(b, i), load16(mac + 2 * i));
    assert_int_equal(microwire_read(b, 13), 0x100e);
}

static void e1000_phy_has_negotiated_a_link(void **state)
{
    struct bench *b = *state;
    wr(b, MDIC, MDIC_OP_READ | 1u << 21 | 2u << 16);
    assert_int_equal(rd(b, MDIC) & (MDIC_READY | MDIC_ERROR | 0xffff), MDIC_READY | 0x0141);
    wr(b, MDIC, MDIC_OP_READ | 1u << 21 | 1u << 16);
    assert_int_equal(rd(b, MDIC) & 0x24, 0x24);
    wr(b, MDIC, MDIC_OP_READ | 2u << 21 | 1u << 16); /* nobody there */
    assert_true(rd(b, MDIC) & MDIC_ERROR);
}

static void e1000_registers_are_reached_through_ports_too(void **state)
{
    struct bench *b = *state;
    io_bus_write(b->rig.bus, BENCH_PORTS, VET, 4);
    assert_int_equal(io_bus_read(b->rig.bus, BENCH_PORTS + 4, 4), 0x8100);
    io_bus_write(b->rig.bus, BENCH_PORTS, 0xffffffff, 4);
    io_bus_write(b->rig.bus, BENCH_PORTS + 4, 1, 4); /* beyond the last register */
}

/* ---- transmission ---- */

static void e1000_sends_a_frame_of_two_descriptors(void **state)
{
    struct bench *b = *state;
    u8 *f = frame_at(b, BUFFERS, everybody);
    start_rings(b);
    memset(f + 14, 0x5a, 86);
    tx_descriptor(b, 0, BUFFERS, legacy(40, 0));
    tx_descriptor(b, 1, BUFFERS + 40, legacy(60, TXD_EOP | TXD_RS));
    wr(b, IMS, INT_TXDW);
    wr(b, TDT, 2);
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(b->sent[0].bytes, 100);
    assert_memory_equal(b->sent[0].data, f, 100);
    assert_int_equal(rd(b, TDH), 2);
    assert_int_equal(bench_ram(b, TX_RING + 12)[0] & 1, 0); /* did not ask for a report */
    assert_int_equal(bench_ram(b, TX_RING + 28)[0] & 1, 1);
    assert_true(bench_irq(b));
    assert_int_equal(rd(b, ICR), INT_TXDW | INT_TXQE);
    assert_false(bench_irq(b));
    assert_int_equal(rd(b, GPTC), 1);
    assert_int_equal(rd(b, GPTC), 0); /* reading clears it */
}

static void e1000_pads_short_frames(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    frame_at(b, BUFFERS, other);
    tx_descriptor(b, 0, BUFFERS, legacy(20, TXD_EOP));
    wr(b, TDT, 1);
    assert_int_equal(b->sent[0].bytes, ETHERNET_MIN);
}

static void e1000_inserts_a_vlan_tag(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    frame_at(b, BUFFERS, other);
    wr(b, CTRL, CTRL_VME | CTRL_FD);
    tx_descriptor(b, 0, BUFFERS, legacy(80, TXD_EOP | TXD_VLE) | (u64)0x2007 << 48);
    wr(b, TDT, 1);
    assert_int_equal(b->sent[0].bytes, 84);
    assert_memory_equal(b->sent[0].data + 12, "\x81\x00\x20\x07\x08\x00", 6);
}

/* An IPv4 TCP frame with n bytes of payload; checksum field: pseudo header without length. */
static u8 *tcp_frame(struct bench *b, u32 n)
{
    u8 *f = frame_at(b, BUFFERS, other), *ip = f + 14, *tcp = ip + 20;
    memset(ip, 0, 40);
    ip[0] = 0x45;
    e1000_put16(ip + 4, 0x1234);
    ip[8] = 64;
    ip[9] = 6;
    memcpy(ip + 12, "\x0a\0\2\x0f\x0a\0\2\2", 8);
    tcp[7] = 100; /* sequence number */
    tcp[12] = 0x50;
    tcp[13] = 0x19; /* ACK, PSH, FIN */
    e1000_put16(tcp + 16, netdev_sum(6, ip + 12, 8));
    for (u32 i = 0; i < n; i++)
        tcp[20 + i] = (u8)i;
    return f;
}

static void check_tcp(const u8 *f, u32 payload, u32 sequence, u8 flags)
{
    const u8 *ip = f + 14, *tcp = ip + 20;
    assert_int_equal(e1000_get16(ip + 2), 40 + payload);
    assert_int_equal(netdev_sum(0, ip, 20), 0xffff);
    assert_int_equal(e1000_get16(tcp + 6), sequence);
    assert_int_equal(tcp[13], flags);
    u32 pseudo = netdev_sum(6 + 20 + payload, ip + 12, 8);
    assert_int_equal(netdev_sum(pseudo, tcp, 20 + payload), 0xffff);
}

static void tcp_context(struct bench *b, unsigned at, u8 command, u32 payload, u8 header, u16 mss)
{
    u64 low = 14 | 24u << 8 | 33u << 16 | (u64)34 << 32 | (u64)50 << 40;
    u64 high = payload | (u64)(command | TXD_DEXT | TUCMD_IP | TUCMD_TCP) << 24 |
               (u64)header << 40 | (u64)mss << 48;
    tx_descriptor(b, at, low, high);
}

static void e1000_inserts_checksums(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    u8 *f = tcp_frame(b, 100);
    e1000_put16(f + 16, 140);
    e1000_put16(f + 50, netdev_sum(6 + 120, f + 26, 8));
    tcp_context(b, 0, 0, 0, 0, 0);
    tx_descriptor(b, 1, BUFFERS, data(154, TXD_EOP, POPTS_IXSM | POPTS_TXSM));
    wr(b, TDT, 2);
    assert_int_equal(b->sent_count, 1);
    check_tcp(b->sent[0].data, 100, 100, 0x19);
}

static void e1000_cuts_a_large_packet_into_segments(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    tcp_frame(b, 2500);
    tcp_context(b, 0, TXD_TSE, 2500, 54, 1000);
    tx_descriptor(b, 1, BUFFERS, data(54, TXD_TSE, POPTS_IXSM | POPTS_TXSM));
    tx_descriptor(b, 2, BUFFERS + 54, data(700, TXD_TSE, 0));
    tx_descriptor(b, 3, BUFFERS + 754, data(1800, TXD_TSE | TXD_EOP, 0));
    wr(b, TDT, 4);
    assert_int_equal(b->sent_count, 3);
    check_tcp(b->sent[0].data, 1000, 100, 0x10);
    check_tcp(b->sent[1].data, 1000, 1100, 0x10);
    check_tcp(b->sent[2].data, 500, 2100, 0x19);
    assert_int_equal(e1000_get16(b->sent[2].data + 18), 0x1236);
    assert_int_equal(b->sent[2].data[54], (u8)2000);
    assert_int_equal(rd(b, TSCTC), 1);
}

/* ---- reception ---- */

static void e1000_receives_what_is_addressed_to_it(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    wr(b, IMS, INT_RXT0);
    deliver(b, other, 60);
    assert_int_equal(rd(b, RDH), 0);
    deliver(b, mac, 60);
    deliver(b, everybody, 1514);
    assert_int_equal(rd(b, RDH), 2);
    assert_int_equal(load16(rx_descriptor(b, 0) + 8), 60);
    assert_int_equal(rx_descriptor(b, 0)[12] & (RXD_DD | RXD_EOP), RXD_DD | RXD_EOP);
    assert_int_equal(bench_ram(b, BUFFERS)[14], 0xa5);
    assert_int_equal(load16(rx_descriptor(b, 1) + 8), 1514);
    assert_true(bench_irq(b));
}

static void e1000_appends_the_frames_checksum_unless_told_not_to(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    wr(b, RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE);
    deliver(b, mac, 60);
    assert_int_equal(load16(rx_descriptor(b, 0) + 8), 64);
    /* A frame followed by its checksum has this CRC, whatever it holds. */
    u32 crc = ~0u;
    for (unsigned i = 0; i < 64; i++) {
        crc ^= bench_ram(b, BUFFERS)[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    assert_int_equal(~crc, 0x2144df1c);
}

static void e1000_hash_table_lets_groups_in(void **state)
{
    struct bench *b = *state;
    static const u8 group[] = {0x01, 0, 0x5e, 0, 0, 0xfb};
    start_rings(b);
    deliver(b, group, 60);
    assert_int_equal(rd(b, RDH), 0);
    wr(b, MTA + 4 * (0xfb0 >> 5), 1u << (0xfb0 & 31)); /* bits 47 to 36 */
    deliver(b, group, 60);
    assert_int_equal(rd(b, RDH), 1);
}

static void e1000_vlan_filter_and_stripping(void **state)
{
    struct bench *b = *state;
    u8 f[80] = {0};
    memcpy(f, mac, sizeof mac);
    memcpy(f + 12, "\x81\x00\x20\x07\x88\xb5", 6);
    start_rings(b);
    wr(b, CTRL, CTRL_VME);
    wr(b, RCTL, RCTL_EN | RCTL_SECRC | RCTL_VFE);
    netdev_deliver(b->netdev, f, sizeof f);
    assert_int_equal(rd(b, RDH), 0);
    wr(b, VFTA, 1u << 7);
    netdev_deliver(b->netdev, f, sizeof f);
    assert_int_equal(rd(b, RDH), 1);
    assert_int_equal(load16(rx_descriptor(b, 0) + 8), 76);
    assert_int_equal(load16(rx_descriptor(b, 0) + 14), 0x2007);
    assert_true(rx_descriptor(b, 0)[12] & RXD_VP);
    assert_memory_equal(bench_ram(b, BUFFERS + 12), "\x88\xb5", 2);
}

static void e1000_long_frames_use_several_buffers(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    wr(b, RCTL, RCTL_EN | RCTL_SECRC | 2u << 16); /* 512 bytes each */
    deliver(b, mac, 1100);
    assert_int_equal(rd(b, RDH), 3);
    assert_int_equal(rx_descriptor(b, 0)[12] & RXD_EOP, 0);
    assert_int_equal(load16(rx_descriptor(b, 2) + 8), 76);
    assert_true(rx_descriptor(b, 2)[12] & RXD_EOP);
}

static void e1000_frames_wait_while_the_ring_is_full(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    for (unsigned i = 0; i < RING_SIZE + 2; i++)
        deliver(b, mac, 60);
    assert_int_equal(rd(b, RDH), RING_SIZE - 1);
    wr(b, RDT, 3); /* four more, of which three are needed */
    assert_int_equal(rd(b, RDH), 2);
}

static void e1000_receiver_tells_right_checksums_from_wrong(void **state)
{
    struct bench *b = *state;
    u8 f[154];
    start_rings(b);
    wr(b, RXCSUM, RXCSUM_IPOFL | RXCSUM_TUOFL);
    memcpy(f, tcp_frame(b, 100), sizeof f);
    memcpy(f, mac, sizeof mac);
    e1000_put16(f + 16, 140);
    e1000_put16(f + 24, (u16)~netdev_sum(0, f + 14, 20));
    memset(f + 50, 0, 2);
    e1000_put16(f + 50, (u16)~netdev_sum(netdev_sum(6 + 120, f + 26, 8), f + 34, 120));
    netdev_deliver(b->netdev, f, sizeof f);
    assert_int_equal(load16(rx_descriptor(b, 0) + 12), RXD_DD | RXD_EOP | RXD_IPCS | RXD_TCPCS);
    f[100] ^= 1;
    netdev_deliver(b->netdev, f, sizeof f);
    assert_int_equal(load16(rx_descriptor(b, 1) + 12) >> 8, RXD_TCPE);
}

/* ---- interrupts ---- */

static void e1000_itr_spaces_interrupts(void **state)
{
    struct bench *b = *state;
    wr(b, ITR, 400); /* 102.4 us */
    wr(b, IMS, INT_LSC);
    wr(b, ICS, INT_LSC);
    assert_true(bench_irq(b));
    rd(b, ICR);
    wr(b, ICS, INT_LSC);
    assert_false(bench_irq(b));
    clock_step(b->rig.clock, 102 * US);
    assert_false(bench_irq(b));
    clock_step(b->rig.clock, 1 * US);
    assert_true(bench_irq(b));
}

static void e1000_rdtr_waits_for_more_frames_but_not_beyond_radv(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    wr(b, RDTR, 10);
    wr(b, RADV, 25);
    wr(b, IMS, INT_RXT0);
    for (unsigned i = 0; i < 3; i++) {
        deliver(b, mac, 60);
        clock_step(b->rig.clock, 8 * US);
        assert_false(bench_irq(b));
    }
    clock_step(b->rig.clock, 2 * US); /* 26 us after the first, 10 after the last */
    assert_true(bench_irq(b));
    rd(b, ICR);
    deliver(b, mac, 60);
    wr(b, RDTR, 10 | 1u << 31); /* now */
    assert_true(bench_irq(b));
}

static void e1000_reset_forgets_all_but_the_address(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    wr(b, IMS, INT_LSC);
    wr(b, ICS, INT_LSC);
    wr(b, RAL, 0);
    wr(b, CTRL, CTRL_RST);
    assert_false(bench_irq(b));
    assert_int_equal(rd(b, CTRL) & CTRL_RST, 0);
    assert_int_equal(rd(b, RCTL) | rd(b, TCTL) | rd(b, IMS) | rd(b, TDBAL), 0);
    assert_int_equal(rd(b, RAL), load32(mac));
    assert_int_equal(rd(b, RAH), load16(mac + 4) | RAH_AV);
}

/* ---- hostile guests ---- */

static void e1000_endless_ring_leaves_the_board_to_others(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    wr(b, TDLEN, 0xfff80); /* 65,528 descriptors; memory behind the ring is zeros */
    wr(b, TDT, 65000);
    assert_true(rd(b, TDH) > 0 && rd(b, TDH) < 1000);
    for (unsigned i = 0; i < 200 && rd(b, TDH) != 65000; i++)
        clock_step(b->rig.clock, 10);
    assert_int_equal(rd(b, TDH), 65000);
}

static void e1000_tiny_segments_are_bounded(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    frame_at(b, BUFFERS, other);
    tcp_context(b, 0, TXD_TSE, 0xfffff, 14, 1);
    tx_descriptor(b, 1, BUFFERS, data(0xfffff, TXD_TSE, 3));
    tx_descriptor(b, 2, BUFFERS, data(0xfffff, TXD_TSE | TXD_EOP, 3));
    wr(b, TDT, 3);
    clock_step(b->rig.clock, 1000);
    assert_int_equal(rd(b, TDH), 3);
    assert_true(b->sent_count <= 4096);
}

static void e1000_context_change_within_a_packet_is_harmless(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    frame_at(b, BUFFERS, other);
    tcp_context(b, 0, TXD_TSE, 0xffff, 200, 8000);
    tx_descriptor(b, 1, BUFFERS, data(8000, TXD_TSE, 3));
    tcp_context(b, 2, TXD_TSE, 10, 14, 1);
    tx_descriptor(b, 3, BUFFERS, data(8000, TXD_TSE | TXD_EOP, 3));
    wr(b, TDT, 4);
    assert_int_equal(b->sent_count, 2);
}

static void e1000_legacy_descriptor_spoils_a_segmented_packet(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    frame_at(b, BUFFERS, other);
    tcp_context(b, 0, TXD_TSE, 0xffff, 54, 100);
    tx_descriptor(b, 1, BUFFERS, data(60, TXD_TSE, 0));
    tx_descriptor(b, 2, BUFFERS, legacy(1000, 0)); /* more than a segment holds */
    tx_descriptor(b, 3, BUFFERS, data(0xffff, TXD_TSE | TXD_EOP, 0));
    tx_descriptor(b, 4, BUFFERS, legacy(80, TXD_EOP));
    wr(b, TDT, 5);
    assert_int_equal(rd(b, TDH), 5);
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(b->sent[0].bytes, 80);
}

static void e1000_rings_outside_memory_end(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    wr(b, TDBAH, 0xffffffff);
    wr(b, RDBAH, 0xffffffff);
    wr(b, TDT, 7); /* all ones: extended descriptors of no known type */
    deliver(b, mac, 60);
    assert_int_equal(rd(b, TDH), 7);
    wr(b, TDH, 5000);
    wr(b, TDT, 5001); /* beyond the ring: the card stands still */
    assert_int_equal(rd(b, TDH), 5000);
    wr(b, RDT, 0xffff);
    deliver(b, mac, 60);
}

static void e1000_dma_into_its_own_registers_goes_nowhere(void **state)
{
    struct bench *b = *state;
    start_rings(b);
    store64(bench_ram(b, RX_RING), BENCH_MEMORY + CTRL);
    u32 before = rd(b, CTRL);
    u8 f[60];
    memset(f, 0xff, sizeof f); /* would reset the card */
    netdev_deliver(b->netdev, f, sizeof f);
    assert_int_equal(rd(b, RDH), 1);
    assert_int_equal(rd(b, CTRL), before);
    wr(b, TDBAL, BENCH_MEMORY);
    wr(b, TDT, 3);
    assert_int_equal(rd(b, TDH), 3);
}

static void e1000_state_table_is_whole(void **state)
{
    struct bench *b = *state;
    for (const struct state_field *f = b->rig.devices[0].ops->state; f->name; f++)
        assert_true(f->count >= 1 && f->offset < sizeof(struct e1000) && f->type <= STATE_BYTES);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(e1000_is_an_82540em),
        TEST(e1000_eerd_reads_words_whose_sum_is_baba),
        TEST(e1000_eeprom_answers_on_its_microwire_bus),
        TEST(e1000_phy_has_negotiated_a_link),
        TEST(e1000_registers_are_reached_through_ports_too),
        TEST(e1000_sends_a_frame_of_two_descriptors),
        TEST(e1000_pads_short_frames),
        TEST(e1000_inserts_a_vlan_tag),
        TEST(e1000_inserts_checksums),
        TEST(e1000_cuts_a_large_packet_into_segments),
        TEST(e1000_receives_what_is_addressed_to_it),
        TEST(e1000_appends_the_frames_checksum_unless_told_not_to),
        TEST(e1000_hash_table_lets_groups_in),
        TEST(e1000_vlan_filter_and_stripping),
        TEST(e1000_long_frames_use_several_buffers),
        TEST(e1000_frames_wait_while_the_ring_is_full),
        TEST(e1000_receiver_tells_right_checksums_from_wrong),
        TEST(e1000_itr_spaces_interrupts),
        TEST(e1000_rdtr_waits_for_more_frames_but_not_beyond_radv),
        TEST(e1000_reset_forgets_all_but_the_address),
        TEST(e1000_endless_ring_leaves_the_board_to_others),
        TEST(e1000_tiny_segments_are_bounded),
        TEST(e1000_context_change_within_a_packet_is_harmless),
        TEST(e1000_legacy_descriptor_spoils_a_segmented_packet),
        TEST(e1000_rings_outside_memory_end),
        TEST(e1000_dma_into_its_own_registers_goes_nowhere),
        TEST(e1000_state_table_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
