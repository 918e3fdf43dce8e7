/* SPDX-License-Identifier: MIT
 *
 * A small virtio driver for tests: finds the windows by the capabilities, negotiates, makes queues
 * of 8 descriptors and posts chains.
 */
#ifndef ANELLO_TESTS_VIRTIO_DRIVER_H
#define ANELLO_TESTS_VIRTIO_DRIVER_H

#include "pci_bench.h"

#define VQ_SIZE           8
#define VQ_BASE(q)        (0x10000u + (q)*0x4000u)
#define VQ_AVAIL(q)       (VQ_BASE(q) + 0x1000u)
#define VQ_USED(q)        (VQ_BASE(q) + 0x2000u)
#define VQ_WRITE          2
#define VQ_NEXT           1
#define VQ_INDIRECT       4
#define FEATURE_VERSION_1 (UINT64_C(1) << 32)
#define FEATURE_INDIRECT  (UINT64_C(1) << 28)
#define FEATURE_EVENT_IDX (UINT64_C(1) << 29)

struct driver {
    struct bench *b;
    u32 common, isr, device, notify; /* addresses of the windows */
    u8 window; /* the capability that reaches the registers by configuration space */
    u16 available[2];
};

struct buffer {
    u64 pa;
    u32 bytes;
    u16 flags; /* VQ_WRITE */
};

static inline u32 vrd(struct driver *d, u32 at, unsigned size)
{
    return (u32)physmem_io_read(d->b->rig.pm, at, size);
}

static inline void vwr(struct driver *d, u32 at, u32 value, unsigned size)
{
    physmem_io_write(d->b->rig.pm, at, value, size);
}

static inline void driver_find(struct driver *d, struct bench *b)
{
    *d = (struct driver){.b = b};
    u32 *windows[] = {NULL, &d->common, &d->notify, &d->isr, &d->device};
    bench_enable(b, 0, 4);
    for (u8 at = (u8)bench_config(b, PCI_CAPABILITY_LIST, 1); at;
         at = (u8)bench_config(b, (u8)(at + 1), 1)) {
        if (bench_config(b, at, 1) != 0x09)
            continue;
        u32 type = bench_config(b, (u8)(at + 3), 1);
        assert_true(type >= 1 && type <= 5);
        if (type == 5) {
            d->window = at;
            continue;
        }
        assert_int_equal(bench_config(b, (u8)(at + 4), 1), 4);
        *windows[type] = BENCH_MEMORY + bench_config(b, (u8)(at + 8), 4);
    }
    assert_true(d->common && d->isr && d->device && d->notify);
}

static inline u64 driver_offered(struct driver *d)
{
    u64 features = 0;
    for (unsigned i = 0; i < 2; i++) {
        vwr(d, d->common + 0x00, i, 4);
        features |= (u64)vrd(d, d->common + 0x04, 4) << (32 * i);
    }
    return features;
}

static inline void driver_negotiate(struct driver *d, u64 features)
{
    vwr(d, d->common + 0x14, 0, 1);
    vwr(d, d->common + 0x14, 3, 1);
    for (unsigned i = 0; i < 2; i++) {
        vwr(d, d->common + 0x08, i, 4);
        vwr(d, d->common + 0x0c, (u32)(features >> (32 * i)), 4);
    }
    vwr(d, d->common + 0x14, 11, 1);
}

static inline void driver_queue(struct driver *d, unsigned q)
{
    vwr(d, d->common + 0x16, q, 2);
    vwr(d, d->common + 0x18, VQ_SIZE, 2);
    vwr(d, d->common + 0x20, VQ_BASE(q), 4);
    vwr(d, d->common + 0x24, 0, 4);
    vwr(d, d->common + 0x28, VQ_AVAIL(q), 4);
    vwr(d, d->common + 0x2c, 0, 4);
    vwr(d, d->common + 0x30, VQ_USED(q), 4);
    vwr(d, d->common + 0x34, 0, 4);
    vwr(d, d->common + 0x1c, 1, 2);
    memset(bench_ram(d->b, VQ_AVAIL(q)), 0, 64);
    memset(bench_ram(d->b, VQ_USED(q)), 0, 128);
    d->available[q] = 0;
}

static inline void driver_start(struct driver *d, struct bench *b, u64 features, unsigned queues)
{
    driver_find(d, b);
    driver_negotiate(d, features | FEATURE_VERSION_1);
    assert_int_equal(vrd(d, d->common + 0x14, 1), 11);
    for (unsigned q = 0; q < queues; q++)
        driver_queue(d, q);
    vwr(d, d->common + 0x14, 15, 1);
}

static inline void driver_descriptor(struct driver *d, u64 at, const struct buffer *f, u16 flags,
                                     u16 next)
{
    u8 *p = bench_ram(d->b, at);
    store64(p, f->pa);
    store32(p + 8, f->bytes);
    store16(p + 12, f->flags | flags);
    store16(p + 14, next);
}

static inline void driver_offer(struct driver *d, unsigned q, u16 head)
{
    u8 *avail = bench_ram(d->b, VQ_AVAIL(q));
    store16(avail + 4 + 2 * (d->available[q] % VQ_SIZE), head);
    store16(avail + 2, ++d->available[q]);
}

static inline void driver_kick(struct driver *d, unsigned q)
{
    vwr(d, d->notify + 4 * q, q, 2);
}

/* Posts a chain that begins at descriptor `head`. */
static inline void driver_post(struct driver *d, unsigned q, u16 head, const struct buffer *f,
                               unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        driver_descriptor(d, VQ_BASE(q) + 16u * (head + i), &f[i], i + 1 < n ? VQ_NEXT : 0,
                          (u16)(head + i + 1));
    driver_offer(d, q, head);
    driver_kick(d, q);
}

static inline u16 driver_used(struct driver *d, unsigned q)
{
    return load16(bench_ram(d->b, VQ_USED(q)) + 2);
}

/* Bytes that were written for the n-th used chain. */
static inline u32 driver_used_bytes(struct driver *d, unsigned q, unsigned n)
{
    return load32(bench_ram(d->b, VQ_USED(q)) + 4 + 8 * (n % VQ_SIZE) + 4);
}

static inline bool driver_broken(struct driver *d)
{
    return vrd(d, d->common + 0x14, 1) & 64;
}

#endif
