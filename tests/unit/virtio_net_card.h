/* SPDX-License-Identifier: MIT
 *
 * A virtio network card on the bench, with the driver that its tests share.
 */
#ifndef ANELLO_TESTS_VIRTIO_NET_CARD_H
#define ANELLO_TESTS_VIRTIO_NET_CARD_H

#include "devices/virtio_net.h"

#include "virtio_driver.h"

#define FRAME   0x40000u
#define BUFFER  0x50000u
#define HEADER  12
#define RECEIVE 0
#define SEND    1

static const u8 card_mac[ETHERNET_ADDRESS] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

struct card {
    struct bench *b;
    struct driver d;
    struct device dev;
};

static inline int card_setup(void **state)
{
    struct card *c = calloc(1, sizeof *c);
    c->b = bench_open();
    struct nic_board config = {.bus = c->b->rig.pci,
                               .devfn = BENCH_DEVFN,
                               .clock = c->b->rig.clock,
                               .netdev = c->b->netdev};
    memcpy(config.mac, card_mac, sizeof card_mac);
    c->dev = virtio_net_device(virtio_net_create(&config));
    rig_add(&c->b->rig, c->dev);
    *state = c;
    return 0;
}

static inline int card_teardown(void **state)
{
    struct card *c = *state;
    bench_close(c->b);
    free(c);
    return 0;
}

/* A broadcast of `n` bytes from the network, the rest of it `fill`. */
static inline void card_deliver(struct card *c, size_t n, u8 fill)
{
    u8 frame[2000];
    memset(frame, fill, sizeof frame);
    memset(frame, 0xff, ETHERNET_ADDRESS);
    netdev_deliver(c->b->netdev, frame, n);
}

#define CARD_TEST(f) cmocka_unit_test_setup_teardown(f, card_setup, card_teardown)

#endif
