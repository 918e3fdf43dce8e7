/* SPDX-License-Identifier: MIT
 *
 * The virtio network card: frames through both queues.
 */
#include "virtio_net_card.h"

static void virtio_net_has_an_address_and_a_link(void **state)
{
    struct card *c = *state;
    driver_start(&c->d, c->b, 0, 2);
    assert_int_equal(bench_config(c->b, PCI_VENDOR_ID, 4), 0x10001af4);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(vrd(&c->d, c->d.device + i, 1), card_mac[i]);
    assert_int_equal(vrd(&c->d, c->d.device + 6, 2), 1);
}

static void virtio_net_sends_frames(void **state)
{
    struct card *c = *state;
    u8 *f = bench_ram(c->b, FRAME);
    struct buffer out[] = {{FRAME, HEADER, 0}, {FRAME + HEADER, 100, 0}};
    driver_start(&c->d, c->b, 0, 2);
    memset(f, 0, HEADER);
    memset(f + HEADER, 0x3c, 100);
    driver_post(&c->d, SEND, 0, out, 2);
    assert_int_equal(c->b->sent_count, 1);
    assert_int_equal(c->b->sent[0].bytes, 100);
    assert_int_equal(c->b->sent[0].data[99], 0x3c);
    assert_int_equal(driver_used(&c->d, SEND), 1);
    assert_true(bench_irq(c->b));
}

static void virtio_net_completes_checksums(void **state)
{
    struct card *c = *state;
    u8 *f = bench_ram(c->b, FRAME);
    struct buffer out = {FRAME, HEADER + 54, 0};
    driver_start(&c->d, c->b, 1, 2);
    memset(f, 0, HEADER + 54);
    f[0] = 1;           /* needs a checksum */
    store16(f + 6, 34); /* from here on */
    store16(f + 8, 16); /* stored there */
    f[HEADER + 34] = 0x12;
    f[HEADER + 35] = 0x34;
    driver_post(&c->d, SEND, 0, &out, 1);
    assert_int_equal(c->b->sent[0].data[50], 0xed);
    assert_int_equal(c->b->sent[0].data[51], 0xcb);
    store16(f + 6, 60000); /* outside: the frame goes as it is */
    driver_post(&c->d, SEND, 0, &out, 1);
    assert_int_equal(c->b->sent_count, 2);
}

static void virtio_net_receives_into_posted_buffers(void **state)
{
    struct card *c = *state;
    struct buffer in = {BUFFER, 2048, VQ_WRITE};
    driver_start(&c->d, c->b, 0, 2);
    card_deliver(c, 100, 0xa5); /* waits for a buffer */
    assert_int_equal(driver_used(&c->d, RECEIVE), 0);
    driver_post(&c->d, RECEIVE, 0, &in, 1);
    assert_int_equal(driver_used(&c->d, RECEIVE), 1);
    assert_int_equal(driver_used_bytes(&c->d, RECEIVE, 0), HEADER + 100);
    assert_int_equal(bench_ram(c->b, BUFFER)[HEADER + 14], 0xa5);
    assert_int_equal(load16(bench_ram(c->b, BUFFER) + 10), 1);
    assert_true(bench_irq(c->b));
}

static void virtio_net_asks_to_be_told_of_new_buffers(void **state)
{
    struct card *c = *state;
    struct buffer in = {BUFFER, 2048, VQ_WRITE};
    driver_start(&c->d, c->b, FEATURE_EVENT_IDX, 2);
    driver_post(&c->d, RECEIVE, 0, &in, 1);
    card_deliver(c, 100, 0xa5);
    card_deliver(c, 100, 0xa5); /* none left */
    assert_int_equal(load16(bench_ram(c->b, VQ_USED(RECEIVE)) + 4 + 8 * VQ_SIZE), 1);
}

static void virtio_net_short_buffers_take_nothing(void **state)
{
    struct card *c = *state;
    struct buffer in = {BUFFER, 60, VQ_WRITE};
    driver_start(&c->d, c->b, 0, 2);
    driver_post(&c->d, RECEIVE, 0, &in, 1);
    bench_ram(c->b, BUFFER)[0] = 0x99;
    card_deliver(c, 100, 0xa5);
    assert_int_equal(driver_used_bytes(&c->d, RECEIVE, 0), 0);
    assert_int_equal(bench_ram(c->b, BUFFER)[0], 0x99);
}

static void virtio_net_frames_before_the_driver_are_lost(void **state)
{
    struct card *c = *state;
    struct buffer in = {BUFFER, 2048, VQ_WRITE};
    bench_enable(c->b, 0, 4);
    card_deliver(c, 100, 0xa5);
    driver_start(&c->d, c->b, 0, 2);
    driver_post(&c->d, RECEIVE, 0, &in, 1);
    assert_int_equal(driver_used(&c->d, RECEIVE), 0);
}

static void virtio_net_oversized_and_empty_frames_are_dropped(void **state)
{
    struct card *c = *state;
    struct buffer huge[] = {{FRAME, HEADER, 0}, {FRAME, 0xffffffff, 0}};
    struct buffer tiny = {FRAME, HEADER + 3, 0};
    driver_start(&c->d, c->b, 0, 2);
    driver_post(&c->d, SEND, 0, huge, 2);
    driver_post(&c->d, SEND, 0, &tiny, 1);
    assert_int_equal(c->b->sent_count, 0);
    assert_int_equal(driver_used(&c->d, SEND), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CARD_TEST(virtio_net_has_an_address_and_a_link),
        CARD_TEST(virtio_net_sends_frames),
        CARD_TEST(virtio_net_completes_checksums),
        CARD_TEST(virtio_net_receives_into_posted_buffers),
        CARD_TEST(virtio_net_asks_to_be_told_of_new_buffers),
        CARD_TEST(virtio_net_short_buffers_take_nothing),
        CARD_TEST(virtio_net_frames_before_the_driver_are_lost),
        CARD_TEST(virtio_net_oversized_and_empty_frames_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
