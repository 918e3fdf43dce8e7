/* SPDX-License-Identifier: MIT
 *
 * Fragments of IPv4 datagrams, in any order, and what hostile ones must not do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../fuzz/packets.h"
#include "net/fragments.h"
#include "net/netdev.h"

#define MORE      0x2000
#define DATA_AT   (ETHERNET_HEADER + IP4_HEADER)
#define LENGTH_AT (ETHERNET_HEADER + 2)
#define SECOND    INT64_C(1000000000)
#define TYPE_AT   12
#define ROUNDS    200000

struct sent {
    u8 frame[2048];
    size_t bytes;
};

/* Bytes from..to of a datagram whose bytes count up. */
static struct sent fragment(u16 id, unsigned from, unsigned to, unsigned more)
{
    struct sent s = {.bytes = DATA_AT + to - from};
    u8 *ip = put_ethernet(s.frame, TYPE_IP4);
    put_ip(ip, false, PROTOCOL_UDP, 0, to - from);
    put16(ip + 4, id);
    put16(ip + 6, from / 8 | more);
    check_ip4(ip);
    for (unsigned i = from; i < to; i++)
        s.frame[DATA_AT + i - from] = (u8)i;
    return s;
}

static const u8 *take(struct fragments *f, i64 now, const struct sent *s, size_t *bytes)
{
    *bytes = s->bytes;
    return fragments_take(f, now, s->frame, bytes);
}

static void expect_waiting(struct fragments *f, i64 now, struct sent s)
{
    size_t bytes;
    assert_null(take(f, now, &s, &bytes));
}

static void expect_whole(struct fragments *f, i64 now, struct sent s, unsigned data)
{
    size_t bytes;
    const u8 *frame = take(f, now, &s, &bytes);
    assert_non_null(frame);
    assert_int_equal(bytes, DATA_AT + data);
    assert_int_equal(get16(frame + LENGTH_AT), IP4_HEADER + data);
    assert_int_equal(get16(frame + ETHERNET_HEADER + 6), 0);
    assert_int_equal(fold(add_words(0, frame + ETHERNET_HEADER, IP4_HEADER)), 0);
    for (unsigned i = 0; i < data; i++)
        assert_int_equal(frame[DATA_AT + i], (u8)i);
}

static int setup(void **state)
{
    *state = fragments_create();
    return !*state;
}

static int teardown(void **state)
{
    fragments_destroy(*state);
    return 0;
}

static void fragments_leave_other_frames_alone(void **state)
{
    struct sent s = fragment(1, 0, 64, 0), arp = s;
    size_t bytes;
    assert_ptr_equal(take(*state, 0, &s, &bytes), s.frame);
    assert_int_equal(bytes, s.bytes);
    arp = fragment(1, 8, 64, 0);
    put16(arp.frame + TYPE_AT, TYPE_ARP);
    assert_ptr_equal(take(*state, 0, &arp, &bytes), arp.frame);
    arp.bytes = ETHERNET_HEADER;
    assert_ptr_equal(take(*state, 0, &arp, &bytes), arp.frame);
}

static void fragments_make_a_datagram_in_any_order(void **state)
{
    static const u8 orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                   {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (u16 i = 0; i < ARRAY_LEN(orders); i++) {
        struct sent s[] = {fragment(i, 0, 800, MORE), fragment(i, 800, 1600, MORE),
                           fragment(i, 1600, 1999, 0)};
        expect_waiting(*state, 0, s[orders[i][0]]);
        expect_waiting(*state, 0, s[orders[i][1]]);
        expect_whole(*state, 0, s[orders[i][2]], 1999);
    }
}

static void fragments_of_two_datagrams_are_kept_apart(void **state)
{
    expect_waiting(*state, 0, fragment(1, 0, 80, MORE));
    expect_waiting(*state, 0, fragment(2, 80, 120, 0));
    expect_whole(*state, 0, fragment(1, 80, 100, 0), 100);
    expect_whole(*state, 0, fragment(2, 0, 80, MORE), 120);
}

static void fragments_that_overlap_or_come_twice_do_no_harm(void **state)
{
    expect_waiting(*state, 0, fragment(1, 8, 80, MORE));
    expect_waiting(*state, 0, fragment(1, 8, 80, MORE));
    expect_waiting(*state, 0, fragment(1, 40, 160, MORE));
    expect_waiting(*state, 0, fragment(1, 152, 200, 0));
    expect_whole(*state, 0, fragment(1, 0, 16, MORE), 200);
}

static void fragments_that_contradict_end_their_datagram(void **state)
{
    expect_waiting(*state, 0, fragment(1, 80, 160, 0));
    expect_waiting(*state, 0, fragment(1, 160, 240, MORE)); /* behind the end */
    expect_waiting(*state, 0, fragment(1, 0, 80, MORE));    /* of a new one */
    expect_whole(*state, 0, fragment(1, 80, 160, 0), 160);
    expect_waiting(*state, 0, fragment(2, 160, 240, MORE));
    expect_waiting(*state, 0, fragment(2, 80, 160, 0)); /* an end before what has come */
    expect_waiting(*state, 0, fragment(2, 0, 80, MORE));
    expect_whole(*state, 0, fragment(2, 80, 88, 0), 88);
}

static void fragments_are_forgotten_after_half_a_minute(void **state)
{
    expect_waiting(*state, 0, fragment(1, 0, 80, MORE));
    expect_waiting(*state, 31 * SECOND, fragment(1, 80, 100, 0));
    expect_whole(*state, 32 * SECOND, fragment(1, 0, 80, MORE), 100);
}

static void fragments_give_the_oldest_datagram_up_for_a_new_one(void **state)
{
    for (u16 i = 0; i < 9; i++)
        expect_waiting(*state, i, fragment(i, 0, 80, MORE));
    expect_whole(*state, 9, fragment(8, 80, 96, 0), 96);
    expect_whole(*state, 10, fragment(1, 80, 96, 0), 96);
    expect_waiting(*state, 11, fragment(0, 80, 96, 0));
}

static void fragments_that_break_rules_are_dropped(void **state)
{
    struct sent s = fragment(1, 0, 80, MORE);
    s.frame[ETHERNET_HEADER + 10] ^= 1;
    expect_waiting(*state, 0, s); /* checksum */
    expect_waiting(*state, 0, fragment(1, 0, 78, MORE));
    expect_waiting(*state, 0, fragment(1, 65528, 65600, 0));
    s = fragment(1, 0, 80, MORE);
    s.bytes -= 8;
    expect_waiting(*state, 0, s);
    expect_waiting(*state, 0, fragment(1, 80, 100, 0)); /* none of them counted */
    expect_whole(*state, 0, fragment(1, 0, 80, MORE), 100);
}

static void fragments_of_any_kind_are_survived(void **state)
{
    u32 random = 1;
    for (unsigned i = 0; i < ROUNDS; i++) {
        random = random * 1103515245 + 12345;
        unsigned from = (random >> 8 & 0x1fff) * 8, bytes = (random >> 4 & 0x7f) * 8 + (i & 7);
        struct sent s = fragment(random >> 30, from, from + bytes, random & 1 << 22 ? MORE : 0);
        size_t n;
        const u8 *frame = take(*state, (i64)i << (random >> 27), &s, &n);
        assert_true(!frame || n <= ETHERNET_HEADER + 65535);
    }
}

/* The numbers of RFC 1071, section 3; an odd byte counts as if a zero followed. */
static void sums_are_those_of_the_rfc(void **state)
{
    (void)state;
    static const u8 bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    assert_int_equal(netdev_sum(0, bytes, sizeof bytes), 0xddf2);
    assert_int_equal(netdev_sum(0, bytes, 7), 0xdcfb);
    assert_int_equal(netdev_sum(0x10000, bytes, sizeof bytes), 0xddf3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fragments_leave_other_frames_alone),
        TEST(fragments_make_a_datagram_in_any_order),
        TEST(fragments_of_two_datagrams_are_kept_apart),
        TEST(fragments_that_overlap_or_come_twice_do_no_harm),
        TEST(fragments_that_contradict_end_their_datagram),
        TEST(fragments_are_forgotten_after_half_a_minute),
        TEST(fragments_give_the_oldest_datagram_up_for_a_new_one),
        TEST(fragments_that_break_rules_are_dropped),
        TEST(fragments_of_any_kind_are_survived),
        cmocka_unit_test(sums_are_those_of_the_rfc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
