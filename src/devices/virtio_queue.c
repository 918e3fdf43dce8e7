/* SPDX-License-Identifier: MIT
 *
 * Split virtqueues (2.6): a table of descriptors, a ring of available chains that the driver
 * writes, a ring of used ones that the device writes.
 *
 *   available:  flags  index  ring[size]  used_event
 *   used:       flags  index  ring[size]{id, bytes}  available_event
 *
 * Everything that is read from memory may be wrong, and may change while it is read: each value is
 * fetched once and bounded before use. A chain ends after VIRTQ_SEGMENTS_MAX descriptors, so loops
 * end too.
 */
#include "devices/virtio.h"

#define DESCRIPTOR_BYTES 16
#define USED_BYTES       8
#define RING_AT          4 /* of both rings */
#define INDEX_AT         2

enum descriptor_flags { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
enum available_flags { AVAILABLE_NO_INTERRUPT = 1 };

struct descriptor {
    u64 pa;
    u32 bytes;
    u16 flags, next;
};

static u16 read16(struct virtio *v, u64 pa)
{
    u8 b[2];
    pci_dma_read(&v->pci, pa, b, sizeof b);
    return load16(b);
}

static void write16(struct virtio *v, u64 pa, u16 value)
{
    u8 b[2];
    store16(b, value);
    pci_dma_write(&v->pci, pa, b, sizeof b);
}

static struct descriptor read_descriptor(struct virtio *v, u64 pa)
{
    u8 d[DESCRIPTOR_BYTES];
    pci_dma_read(&v->pci, pa, d, sizeof d);
    return (struct descriptor){load64(d), load32(d + 8), load16(d + 12), load16(d + 14)};
}

static bool in_service(const struct virtio *v, const struct virtq *q)
{
    return q->enabled && !(v->status & VIRTIO_NEEDS_RESET) &&
           (pci_command(&v->pci) & PCI_COMMAND_MASTER);
}

/* How many chains wait; 0 also when the driver's index is impossible. */
static u16 waiting(struct virtio *v, struct virtq *q)
{
    if (!in_service(v, q))
        return 0;
    u16 index = read16(v, q->available + INDEX_AT);
    u16 count = (u16)(index - q->next_available);
    if (count <= q->size) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE); /* the ring was written before the index */
        return count;
    }
    virtio_broken(v, "available index runs ahead");
    return 0;
}

/* ---- chains ---- */

static bool add_segment(struct virtio *v, struct virtq_chain *c, const struct descriptor *d)
{
    bool ours = d->flags & DESC_WRITE;
    if (c->count == VIRTQ_SEGMENTS_MAX || (!ours && c->out_count != c->count)) {
        virtio_broken(v, c->count == VIRTQ_SEGMENTS_MAX ? "chain without end"
                                                        : "buffer to read behind one to write");
        return false;
    }
    c->segment[c->count++] = (struct virtq_segment){d->pa, d->bytes};
    if (ours) {
        c->in_bytes += d->bytes;
    } else {
        c->out_count++;
        c->out_bytes += d->bytes;
    }
    return true;
}

/* Follows a chain in a table of `size` descriptors from `at` on. An indirect table may hang off the
 * main one, at the end of a chain, but not off another (2.6.5.3.1). */
static bool walk(struct virtio *v, struct virtq_chain *c, u64 table, u32 size, u32 at,
                 bool may_indirect)
{
    for (;;) {
        if (at >= size) {
            virtio_broken(v, "descriptor index outside its table");
            return false;
        }
        struct descriptor d = read_descriptor(v, table + (u64)at * DESCRIPTOR_BYTES);
        if (d.flags & DESC_INDIRECT) {
            u32 count = d.bytes / DESCRIPTOR_BYTES;
            if (!may_indirect || !virtio_has(v, VIRTIO_F_INDIRECT_DESC) || !count ||
                d.bytes % DESCRIPTOR_BYTES || (d.flags & DESC_NEXT)) {
                virtio_broken(v, "indirect descriptor where none may be");
                return false;
            }
            return walk(v, c, d.pa, count, 0, false);
        }
        if (!add_segment(v, c, &d))
            return false;
        if (!(d.flags & DESC_NEXT))
            return true;
        at = d.next;
    }
}

/* "Notify me when you make the next one available" (2.6.10). True when one came meanwhile. */
static bool ask_for_notification(struct virtio *v, struct virtq *q)
{
    if (!virtio_has(v, VIRTIO_F_EVENT_IDX))
        return false;
    write16(v, q->used + RING_AT + (u64)q->size * USED_BYTES, q->next_available);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return waiting(v, q) != 0;
}

bool virtq_is_empty(struct virtio *v, unsigned queue)
{
    struct virtq *q = &v->queues[queue];
    return !waiting(v, q) && !(in_service(v, q) && ask_for_notification(v, q));
}

bool virtq_pop(struct virtio *v, unsigned queue, struct virtq_chain *c)
{
    struct virtq *q = &v->queues[queue];
    if (virtq_is_empty(v, queue))
        return false;
    u64 slot = q->available + RING_AT + 2u * (q->next_available & (q->size - 1u));
    c->head = read16(v, slot);
    c->out_count = c->count = 0;
    c->out_bytes = c->in_bytes = 0;
    if (!walk(v, c, q->descriptors, q->size, c->head, true))
        return false;
    q->next_available++;
    return true;
}

void virtq_push(struct virtio *v, unsigned queue, const struct virtq_chain *c, u32 written)
{
    struct virtq *q = &v->queues[queue];
    u8 element[USED_BYTES];
    if (!in_service(v, q))
        return;
    store32(element, c->head);
    store32(element + 4, written);
    pci_dma_write(&v->pci, q->used + RING_AT + USED_BYTES * (u64)(q->next_used & (q->size - 1u)),
                  element, sizeof element);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    write16(v, q->used + INDEX_AT, ++q->next_used);
}

/* Whether the driver wants to hear of what was used since it was asked last. */
static bool wants_interrupt(struct virtio *v, struct virtq *q)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!virtio_has(v, VIRTIO_F_EVENT_IDX))
        return !(read16(v, q->available) & AVAILABLE_NO_INTERRUPT);
    u16 event = read16(v, q->available + RING_AT + 2u * q->size);
    u16 since = (u16)(q->next_used - q->signalled);
    bool wants = !q->signalled_valid || (u16)(q->next_used - event - 1) < since;
    q->signalled = q->next_used;
    q->signalled_valid = true;
    return wants;
}

void virtq_signal(struct virtio *v, unsigned queue)
{
    struct virtq *q = &v->queues[queue];
    if (in_service(v, q) && wants_interrupt(v, q))
        virtio_interrupt(v, queue);
}

/* ---- data ---- */

/* Bytes offset..offset+n-1 of segments first..last-1, in either direction. */
static size_t copy(struct virtio *v, const struct virtq_segment *s, const struct virtq_segment *end,
                   u64 offset, void *data, size_t n, bool to_guest)
{
    size_t done = 0;
    for (; s < end && done < n; s++) {
        if (offset >= s->bytes) {
            offset -= s->bytes;
            continue;
        }
        u64 room = s->bytes - offset;
        size_t piece = n - done < room ? n - done : (size_t)room;
        if (to_guest)
            pci_dma_write(&v->pci, s->pa + offset, (u8 *)data + done, piece);
        else
            pci_dma_read(&v->pci, s->pa + offset, (u8 *)data + done, piece);
        done += piece;
        offset = 0;
    }
    return done;
}

size_t virtq_read(struct virtio *v, const struct virtq_chain *c, u64 offset, void *to, size_t n)
{
    return copy(v, c->segment, c->segment + c->out_count, offset, to, n, false);
}

size_t virtq_write(struct virtio *v, const struct virtq_chain *c, u64 offset, const void *from,
                   size_t n)
{
    return copy(v, c->segment + c->out_count, c->segment + c->count, offset,
                (void *)(uintptr_t)from, n, true);
}

unsigned virtq_locate(struct virtio *v, const struct virtq_chain *c, bool to_guest, u64 offset,
                      struct iovec *buffers, unsigned room)
{
    unsigned n = 0, end = to_guest ? c->count : c->out_count;
    for (unsigned i = to_guest ? c->out_count : 0; i < end; i++) {
        const struct virtq_segment *s = &c->segment[i];
        u64 skipped = offset < s->bytes ? offset : s->bytes;
        offset -= skipped;
        for (u64 at = skipped, run; at < s->bytes; at += run) {
            u8 *host = pci_dma_map(&v->pci, s->pa + at, s->bytes - at, &run, to_guest);
            if (!host || n == room)
                return 0;
            buffers[n++] = (struct iovec){host, run};
        }
    }
    return n;
}
