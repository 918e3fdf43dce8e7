/* SPDX-License-Identifier: MIT
 *
 * MSI-X: the table, what is masked and waits, and the vectors of a virtio device.
 */
#include "virtio_net_card.h"

#define TABLE       0xfd000000u
#define PENDING     (TABLE + 0x800)
#define VECTORS     3
#define NO_VECTOR   0xffff
#define ENABLE      0x8000
#define MASK_ALL    0x4000
#define APIC        0xfee00000u
#define DATA(v)     (0x4030u + (v))
#define CFG_VECTOR  0x10
#define QUEUE       0x16
#define VECTOR      0x1a
#define STATUS      0x14
#define LEGACY_CFG  20
#define MSIX_HEADER 24

static void place_table(struct card *c)
{
    bench_config_write(c->b, PCI_BASE_ADDRESS_0 + 4, TABLE, 4);
}

static u8 capability(struct card *c)
{
    return bench_capability(c->b, PCI_CAP_MSIX);
}

static void control(struct card *c, u32 value)
{
    bench_config_write(c->b, (u8)(capability(c) + 2), value, 2);
}

static void mask(struct card *c, unsigned vector, bool masked)
{
    vwr(&c->d, TABLE + 16 * vector + 12, masked, 4);
}

static u32 queue_vector(struct card *c, unsigned q, u32 vector)
{
    vwr(&c->d, c->d.common + QUEUE, q, 2);
    vwr(&c->d, c->d.common + VECTOR, vector, 2);
    return vrd(&c->d, c->d.common + VECTOR, 2);
}

/* A running driver with a message for each event: configuration 0, receive 1, send 2. */
static void start(struct card *c, u32 more)
{
    place_table(c);
    driver_start(&c->d, c->b, 0, 2);
    control(c, ENABLE | more);
    for (unsigned v = 0; v < VECTORS; v++) {
        vwr(&c->d, TABLE + 16 * v, APIC, 4);
        vwr(&c->d, TABLE + 16 * v + 4, v, 4);
        vwr(&c->d, TABLE + 16 * v + 8, DATA(v), 4);
        mask(c, v, false);
    }
    vwr(&c->d, c->d.common + CFG_VECTOR, 0, 2);
    assert_int_equal(queue_vector(c, RECEIVE, 1), 1);
    assert_int_equal(queue_vector(c, SEND, 2), 2);
}

static void send(struct card *c)
{
    struct buffer out = {FRAME, HEADER + 60, 0};
    memset(bench_ram(c->b, FRAME), 0, HEADER + 60);
    driver_post(&c->d, SEND, 0, &out, 1);
}

/* A frame into a buffer at `pa`. */
static void receive(struct card *c, u64 pa)
{
    struct buffer in = {pa, 2048, VQ_WRITE};
    driver_post(&c->d, RECEIVE, 4, &in, 1);
    card_deliver(c, 64, 0xff);
}

static void msix_has_a_masked_vector_for_the_configuration_and_each_queue(void **state)
{
    struct card *c = *state;
    place_table(c);
    driver_find(&c->d, c->b);
    assert_true(capability(c));
    assert_int_equal(bench_config(c->b, (u8)(capability(c) + 2), 2), VECTORS - 1);
    assert_int_equal(bench_config(c->b, (u8)(capability(c) + 4), 4), 1);         /* BAR 1, from 0 */
    assert_int_equal(bench_config(c->b, (u8)(capability(c) + 8), 4), 0x800 | 1); /* and at 800h */
    for (unsigned v = 0; v < VECTORS; v++)
        assert_int_equal(vrd(&c->d, TABLE + 16 * v + 12, 4), 1);
    vwr(&c->d, TABLE + 16 * VECTORS, 0x1234, 4); /* behind the table is nothing */
    assert_int_equal(vrd(&c->d, TABLE + 16 * VECTORS, 4), 0);
    vwr(&c->d, PENDING, ~0u, 4);
    assert_int_equal(vrd(&c->d, PENDING, 4), 0);
}

static void msix_replaces_pin_and_isr(void **state)
{
    struct card *c = *state;
    start(c, 0);
    send(c);
    assert_int_equal(c->b->messages, 1);
    assert_int_equal(c->b->message_data, DATA(2));
    assert_true(c->b->message_address == (UINT64_C(2) << 32 | APIC));
    receive(c, BUFFER);
    assert_int_equal(c->b->messages, 2);
    assert_int_equal(c->b->message_data, DATA(1));
    assert_false(bench_irq(c->b));
    assert_int_equal(vrd(&c->d, c->d.isr, 1), 0);
    control(c, 0);
    send(c);
    assert_int_equal(c->b->messages, 2);
    assert_true(bench_irq(c->b));
    assert_int_equal(vrd(&c->d, c->d.isr, 1), 1);
}

static void msix_message_of_a_masked_vector_waits_and_comes_once(void **state)
{
    struct card *c = *state;
    start(c, 0);
    mask(c, 2, true);
    send(c);
    send(c);
    assert_int_equal(c->b->messages, 0);
    assert_int_equal(vrd(&c->d, PENDING, 4), 1u << 2);
    receive(c, BUFFER); /* the other vector is free */
    assert_int_equal(c->b->messages, 1);
    mask(c, 2, false);
    assert_int_equal(c->b->messages, 2);
    assert_int_equal(c->b->message_data, DATA(2));
    assert_int_equal(vrd(&c->d, PENDING, 4), 0);
}

static void msix_function_mask_holds_all(void **state)
{
    struct card *c = *state;
    start(c, MASK_ALL);
    send(c);
    receive(c, BUFFER);
    assert_int_equal(c->b->messages, 0);
    assert_int_equal(vrd(&c->d, PENDING, 4), 6);
    control(c, ENABLE);
    assert_int_equal(c->b->messages, 2);
    assert_int_equal(vrd(&c->d, PENDING, 4), 0);
}

static void msix_waits_for_bus_mastering(void **state)
{
    struct card *c = *state;
    start(c, MASK_ALL);
    receive(c, BUFFER);
    bench_config_write(c->b, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    control(c, ENABLE);
    assert_int_equal(c->b->messages, 0);
    bench_config_write(c->b, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    assert_int_equal(c->b->messages, 1);
}

static void virtio_event_without_vector_is_silent(void **state)
{
    struct card *c = *state;
    start(c, 0);
    assert_int_equal(queue_vector(c, SEND, NO_VECTOR), NO_VECTOR);
    send(c);
    assert_int_equal(c->b->messages, 0);
    assert_false(bench_irq(c->b));
    assert_int_equal(vrd(&c->d, PENDING, 4), 0);
}

static void virtio_vector_that_is_not_there_is_refused(void **state)
{
    struct card *c = *state;
    start(c, 0);
    assert_int_equal(queue_vector(c, SEND, VECTORS), NO_VECTOR);
    assert_int_equal(queue_vector(c, 7, 1), NO_VECTOR); /* no such queue */
    vwr(&c->d, c->d.common + CFG_VECTOR, 0x100, 2);
    assert_int_equal(vrd(&c->d, c->d.common + CFG_VECTOR, 2), NO_VECTOR);
}

static void virtio_reset_takes_vectors_away_and_leaves_the_table(void **state)
{
    struct card *c = *state;
    start(c, 0);
    vwr(&c->d, c->d.common + STATUS, 0, 1);
    assert_int_equal(vrd(&c->d, c->d.common + CFG_VECTOR, 2), NO_VECTOR);
    vwr(&c->d, c->d.common + QUEUE, SEND, 2);
    assert_int_equal(vrd(&c->d, c->d.common + VECTOR, 2), NO_VECTOR);
    assert_int_equal(vrd(&c->d, TABLE + 16 + 8, 4), DATA(1));
    device_reset(c->dev);
    assert_int_equal(bench_config(c->b, (u8)(capability(c) + 2), 2), VECTORS - 1);
    place_table(c);
    bench_config_write(c->b, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_int_equal(vrd(&c->d, TABLE + 16 + 8, 4), 0);
    assert_int_equal(vrd(&c->d, TABLE + 16 + 12, 4), 1);
}

static void virtio_broken_queue_changes_the_configuration(void **state)
{
    struct card *c = *state;
    struct buffer loop = {FRAME, HEADER + 60, 0};
    start(c, 0);
    driver_descriptor(&c->d, VQ_BASE(SEND), &loop, VQ_NEXT, 0); /* its own successor */
    driver_offer(&c->d, SEND, 0);
    driver_kick(&c->d, SEND);
    assert_true(driver_broken(&c->d));
    assert_int_equal(c->b->messages, 1);
    assert_int_equal(c->b->message_data, DATA(0));
}

/* A driver that names the table as a buffer must not reach it by the device. */
static void msix_table_is_no_memory_for_dma(void **state)
{
    struct card *c = *state;
    start(c, 0);
    receive(c, TABLE);
    for (unsigned v = 0; v < VECTORS; v++) {
        assert_int_equal(vrd(&c->d, TABLE + 16 * v, 4), APIC);
        assert_int_equal(vrd(&c->d, TABLE + 16 * v + 8, 4), DATA(v));
    }
}

static void virtio_legacy_configuration_makes_room_for_vectors(void **state)
{
    struct card *c = *state;
    struct rig *r = &c->b->rig;
    bench_enable(c->b, 0, 4);
    assert_int_equal(inb(r, BENCH_PORTS + LEGACY_CFG), 0x52);
    control(c, ENABLE);
    assert_int_equal(inb(r, BENCH_PORTS + MSIX_HEADER), 0x52);
    assert_int_equal(inb(r, BENCH_PORTS + MSIX_HEADER + 5), 0x56);
    assert_int_equal(inw(r, BENCH_PORTS + LEGACY_CFG), NO_VECTOR);
    outw(r, BENCH_PORTS + LEGACY_CFG, 2);
    assert_int_equal(inw(r, BENCH_PORTS + LEGACY_CFG), 2);
    outw(r, BENCH_PORTS + 14, 1);
    outw(r, BENCH_PORTS + LEGACY_CFG + 2, 9);
    assert_int_equal(inw(r, BENCH_PORTS + LEGACY_CFG + 2), NO_VECTOR);
    outw(r, BENCH_PORTS + LEGACY_CFG + 2, 1);
    assert_int_equal(inw(r, BENCH_PORTS + LEGACY_CFG + 2), 1);
    control(c, 0);
    outw(r, BENCH_PORTS + LEGACY_CFG, 0);
    assert_int_equal(inb(r, BENCH_PORTS + LEGACY_CFG), 0x52);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CARD_TEST(msix_has_a_masked_vector_for_the_configuration_and_each_queue),
        CARD_TEST(msix_replaces_pin_and_isr),
        CARD_TEST(msix_message_of_a_masked_vector_waits_and_comes_once),
        CARD_TEST(msix_function_mask_holds_all),
        CARD_TEST(msix_waits_for_bus_mastering),
        CARD_TEST(virtio_event_without_vector_is_silent),
        CARD_TEST(virtio_vector_that_is_not_there_is_refused),
        CARD_TEST(virtio_reset_takes_vectors_away_and_leaves_the_table),
        CARD_TEST(virtio_broken_queue_changes_the_configuration),
        CARD_TEST(msix_table_is_no_memory_for_dma),
        CARD_TEST(virtio_legacy_configuration_makes_room_for_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
