/* SPDX-License-Identifier: MIT
 *
 * A virtio function on PCI (OASIS "Virtual I/O Device (VIRTIO) Version 1.1"; sections named here
 * are its own), transitional: drivers of the 1.x interface and of the legacy one find it.
 *
 *   virtio_pci.c     the two register layouts, features, status, interrupts
 *   virtio_queue.c   split virtqueues: chains of buffers from the driver, used ones back
 *   virtio_blk.c, virtio_net.c   the devices
 *
 * A driver that breaks the rules of a queue gets DEVICE_NEEDS_RESET and no service until it resets
 * the device (2.1.2).
 *
 * Interrupts: MSI-X with a vector for the configuration and one for each queue, or the pin.
 */
#ifndef ANELLO_DEVICES_VIRTIO_H
#define ANELLO_DEVICES_VIRTIO_H

#include <sys/uio.h>

#include "base/log.h"
#include "devices/pci.h"

#define VIRTIO_QUEUES      2
#define VIRTQ_SIZE_MAX     256
#define VIRTQ_SEGMENTS_MAX 258 /* buffers of one chain */
#define VIRTIO_CONFIG_MAX  64
#define VIRTIO_NO_VECTOR   0xffff /* no message for this event */

enum virtio_status {
    VIRTIO_ACKNOWLEDGE = 1,
    VIRTIO_DRIVER = 2,
    VIRTIO_DRIVER_OK = 4,
    VIRTIO_FEATURES_OK = 8,
    VIRTIO_NEEDS_RESET = 64,
    VIRTIO_FAILED = 128
};

/* Features of the transport and the queues (6). */
#define VIRTIO_F_ANY_LAYOUT    (UINT64_C(1) << 27)
#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX     (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1     (UINT64_C(1) << 32)

struct virtq {
    u16 size; /* a power of two; the driver may choose less than VIRTQ_SIZE_MAX */
    bool enabled;
    u64 descriptors, available, used; /* physical addresses of the three parts */
    u16 next_available;               /* the device's own counters */
    u16 next_used;
    u16 signalled; /* next_used when the last interrupt was considered */
    bool signalled_valid;
    u16 vector; /* of MSI-X, VIRTIO_NO_VECTOR without */
};

struct virtio;

/* What a device is, constant. */
struct virtio_type {
    const struct pci_info *pci;
    u16 id; /* 1 network, 2 block */
    unsigned queues;
    unsigned config_bytes;
    void (*notified)(void *opaque, unsigned queue);
    void (*reset)(void *opaque); /* by the driver or the board; queues are gone afterwards */
};

struct virtio {
    struct pci_device pci;
    const struct virtio_type *type;
    void *opaque;
    struct log *log;
    u64 offered, accepted;
    u32 offered_select, accepted_select;
    u16 queue_select;
    u16 config_vector;
    u8 status, isr, generation;
    u8 window;        /* the capability that reaches the registers by configuration space */
    u32 legacy_frame; /* as written to the legacy queue address of the selected queue */
    struct virtq queues[VIRTIO_QUEUES];
    u8 config[VIRTIO_CONFIG_MAX];
};

/* `since` 1 rows of the state table of a device struct that embeds the function as `f`. */
#define VIRTQ_STATE_ROWS(s, f, q)                                                                  \
    STATE_ROW(STATE_U16, s, f.queues[q].size, 1, 1),                                               \
        STATE_ROW(STATE_BOOL, s, f.queues[q].enabled, 1, 1),                                       \
        STATE_ROW(STATE_U64, s, f.queues[q].descriptors, 1, 1),                                    \
        STATE_ROW(STATE_U64, s, f.queues[q].available, 1, 1),                                      \
        STATE_ROW(STATE_U64, s, f.queues[q].used, 1, 1),                                           \
        STATE_ROW(STATE_U16, s, f.queues[q].next_available, 1, 1),                                 \
        STATE_ROW(STATE_U16, s, f.queues[q].next_used, 1, 1),                                      \
        STATE_ROW(STATE_U16, s, f.queues[q].signalled, 1, 1),                                      \
        STATE_ROW(STATE_BOOL, s, f.queues[q].signalled_valid, 1, 1),                               \
        STATE_ROW(STATE_U16, s, f.queues[q].vector, 1, 1)
#define VIRTIO_STATE_ROWS(s, f)                                                                    \
    PCI_STATE_ROWS(s, f.pci), PCI_MSIX_STATE_ROWS(s, f.pci),                                       \
        STATE_ROW(STATE_U64, s, f.accepted, 1, 1), STATE_ROW(STATE_U16, s, f.config_vector, 1, 1), \
        STATE_ROW(STATE_U32, s, f.offered_select, 1, 1),                                           \
        STATE_ROW(STATE_U32, s, f.accepted_select, 1, 1),                                          \
        STATE_ROW(STATE_U16, s, f.queue_select, 1, 1), STATE_ROW(STATE_U8, s, f.status, 1, 1),     \
        STATE_ROW(STATE_U8, s, f.isr, 1, 1), STATE_ROW(STATE_U8, s, f.generation, 1, 1),           \
        STATE_ROW(STATE_U32, s, f.legacy_frame, 1, 1), VIRTQ_STATE_ROWS(s, f, 0),                  \
        VIRTQ_STATE_ROWS(s, f, 1)

/* ---- virtio_pci.c ---- */

/* Puts the function on the bus. `features`: the device's own; those of queues are added. */
bool virtio_init(struct virtio *v, struct pci_bus *bus, u8 devfn, const struct virtio_type *type,
                 u64 features, struct log *log, void *opaque);
void virtio_fini(struct virtio *v);
/* For the struct pci_info of every virtio device; opaque is the struct virtio. */
void virtio_config_written(void *opaque, u8 reg, unsigned size);
void virtio_config_reading(void *opaque, u8 reg, unsigned size);
/* Reset of the board. */
void virtio_reset(struct virtio *v);
void virtio_loaded(struct virtio *v);
/* The driver has accepted this feature. */
static inline bool virtio_has(const struct virtio *v, u64 feature)
{
    return v->accepted & feature;
}
/* The driver broke the rules. */
void virtio_broken(struct virtio *v, const char *why);
/* Tells the driver of used buffers, by the vector of the queue or by the pin. */
void virtio_interrupt(struct virtio *v, unsigned queue);

/* ---- virtio_queue.c ---- */

struct virtq_segment {
    u64 pa;
    u32 bytes;
};

/* A request: what the driver gives to read, then what it gives to be written. */
struct virtq_chain {
    u16 head;
    unsigned out_count, count; /* segment[0..out_count-1] are the driver's, up to count ours */
    u64 out_bytes, in_bytes;
    struct virtq_segment segment[VIRTQ_SEGMENTS_MAX];
};

/* When it is empty the driver is asked to notify of the next request (event indexes). */
bool virtq_is_empty(struct virtio *v, unsigned queue);
/* The next request; false when there is none. */
bool virtq_pop(struct virtio *v, unsigned queue, struct virtq_chain *chain);
/* Returns a request of which `written` bytes were filled; virtq_signal() tells the driver. */
void virtq_push(struct virtio *v, unsigned queue, const struct virtq_chain *chain, u32 written);
void virtq_signal(struct virtio *v, unsigned queue);

/* Copies between a buffer and the chain, from `offset` on; returns how many bytes there were. */
size_t virtq_read(struct virtio *v, const struct virtq_chain *chain, u64 offset, void *to,
                  size_t n);
size_t virtq_write(struct virtio *v, const struct virtq_chain *chain, u64 offset, const void *from,
                   size_t n);
/* Where the bytes from `offset` on, of the driver or for it, lie on the host, in at most `room`
 * buffers: how many, or 0 when they do not lie in memory, or in more. */
unsigned virtq_locate(struct virtio *v, const struct virtq_chain *chain, bool to_guest, u64 offset,
                      struct iovec *buffers, unsigned room);

#endif
