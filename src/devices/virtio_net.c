/* SPDX-License-Identifier: MIT
 *
 * Virtio network device (5.1): queue 0 receives, queue 1 transmits. Of the offloads it has the
 * transmit checksum: the driver leaves a partial one and says where (5.1.6.2).
 *
 * A frame is preceded by a header of 10 bytes, or of 12 for drivers of the 1.x interface.
 * There is no control queue, so every frame of the network comes
 * in: on a user-mode network that is the guest's own ones.
 */
#include "devices/virtio_net.h"

#include <stdlib.h>

#include "devices/virtio.h"

#define DEVICE_TRANSITIONAL 0x1000
#define CLASS_ETHERNET      0x020000
#define VIRTIO_ID_NET       1

#define NET_F_CSUM   (UINT64_C(1) << 0)
#define NET_F_MAC    (UINT64_C(1) << 5)
#define NET_F_STATUS (UINT64_C(1) << 16)

enum { QUEUE_RECEIVE = 0, QUEUE_TRANSMIT = 1, QUEUES = 2 };
enum config_at { CONFIG_MAC = 0, CONFIG_STATUS = 6, CONFIG_BYTES = 8 };
#define STATUS_LINK_UP 1

enum header_at {
    HEADER_FLAGS = 0,
    HEADER_GSO_TYPE = 1,
    HEADER_CSUM_START = 6,
    HEADER_CSUM_OFFSET = 8,
    HEADER_BUFFERS = 10
};
#define HEADER_NEEDS_CSUM 1
#define HEADER_MAX        12
#define HEADER_LEGACY     10
#define FRAMES_AT_ONCE    VIRTQ_SIZE_MAX

struct virtio_net {
    struct virtio virtio;
    struct netdev *netdev;
    struct clock *clock;
    struct timer more;           /* transmission goes on after others had the board */
    u8 buffer[NETDEV_FRAME_MAX]; /* of the frame being sent */
    struct virtq_chain chain;    /* scratch: too large for the stack of a deep call */
};

static u32 header_bytes(const struct virtio_net *n)
{
    bool longer = virtio_has(&n->virtio, VIRTIO_F_VERSION_1);
    return longer ? HEADER_MAX : HEADER_LEGACY;
}

/* ---- transmission ---- */

/* Completes the checksum that the driver began: the field holds the pseudo header's sum. */
static void complete_checksum(u8 *frame, size_t n, u32 start, u32 offset)
{
    if (start >= n || start + offset + 2 > n)
        return;
    u16 value = (u16)~netdev_sum(0, frame + start, n - start);
    if (!value)
        value = 0xffff; /* in UDP 0 means none, in TCP both are the same */
    frame[start + offset] = (u8)(value >> 8);
    frame[start + offset + 1] = (u8)value;
}

static void send_chain(struct virtio_net *n, const struct virtq_chain *c)
{
    u8 header[HEADER_MAX] = {0};
    u32 skip = header_bytes(n);
    if (c->out_bytes < skip + ETHERNET_HEADER || c->out_bytes - skip > sizeof n->buffer)
        return;
    size_t bytes = (size_t)c->out_bytes - skip;
    virtq_read(&n->virtio, c, 0, header, skip);
    virtq_read(&n->virtio, c, skip, n->buffer, bytes);
    if (header[HEADER_GSO_TYPE]) {
        log_unsupported(n->virtio.log, "virtio-net-gso", header[HEADER_GSO_TYPE],
                        "virtio-net: segmentation was not offered");
        return;
    }
    if (header[HEADER_FLAGS] & HEADER_NEEDS_CSUM)
        complete_checksum(n->buffer, bytes, load16(header + HEADER_CSUM_START),
                          load16(header + HEADER_CSUM_OFFSET));
    netdev_send(n->netdev, n->buffer, bytes);
}

static void transmit(struct virtio_net *n)
{
    struct virtio *v = &n->virtio;
    struct virtq_chain *c = malloc(sizeof *c);
    unsigned sent = 0;
    while (c && sent < FRAMES_AT_ONCE && virtq_pop(v, QUEUE_TRANSMIT, c)) {
        send_chain(n, c);
        virtq_push(v, QUEUE_TRANSMIT, c, 0);
        sent++;
    }
    free(c);
    if (sent)
        virtq_signal(v, QUEUE_TRANSMIT);
    if (sent == FRAMES_AT_ONCE)
        timer_arm(&n->more, clock_now(n->clock) + 1);
}

static void transmit_more(void *opaque)
{
    transmit(opaque);
}

/* ---- reception ---- */

static bool is_driven(const struct virtio_net *n)
{
    return (n->virtio.status & VIRTIO_DRIVER_OK) && n->virtio.queues[QUEUE_RECEIVE].enabled &&
           !(n->virtio.status & VIRTIO_NEEDS_RESET);
}

/* Frames for a card that nobody drives are lost, not kept. */
static bool can_receive(void *opaque)
{
    struct virtio_net *n = opaque;
    return !is_driven(n) || !virtq_is_empty(&n->virtio, QUEUE_RECEIVE);
}

static void receive(void *opaque, const u8 *frame, size_t bytes)
{
    struct virtio_net *n = opaque;
    struct virtio *v = &n->virtio;
    struct virtq_chain *c = &n->chain;
    u8 header[HEADER_MAX] = {0};
    u32 skip = header_bytes(n);
    if (!is_driven(n) || !virtq_pop(v, QUEUE_RECEIVE, c))
        return;
    store16(header + HEADER_BUFFERS, 1);
    u32 written = 0;
    if (c->in_bytes >= skip + bytes) {
        virtq_write(v, c, 0, header, skip);
        virtq_write(v, c, skip, frame, bytes);
        written = (u32)(skip + bytes);
    } else {
        log_unsupported(v->log, "virtio-net-short", c->in_bytes,
                        "virtio-net: a buffer of %u bytes for a frame of %u", (unsigned)c->in_bytes,
                        (unsigned)bytes);
    }
    virtq_push(v, QUEUE_RECEIVE, c, written);
    virtq_signal(v, QUEUE_RECEIVE);
}

static void notified(void *opaque, unsigned queue)
{
    struct virtio_net *n = opaque;
    if (queue == QUEUE_TRANSMIT)
        transmit(n);
    else
        netdev_ready(n->netdev);
}

static void driver_reset(void *opaque)
{
    struct virtio_net *n = opaque;
    timer_cancel(&n->more);
    netdev_forget(n->netdev);
}

/* ---- life ---- */

static const struct pci_info pci = {
    .name = "virtio-net",
    .vendor = 0x1af4,
    .device = DEVICE_TRANSITIONAL,
    .class_code = CLASS_ETHERNET,
    .interrupt_pin = 1,
    .config_written = virtio_config_written,
    .config_reading = virtio_config_reading,
};

static const struct virtio_type net_type = {
    .pci = &pci,
    .id = VIRTIO_ID_NET,
    .queues = QUEUES,
    .config_bytes = CONFIG_BYTES,
    .notified = notified,
    .reset = driver_reset,
};

static void net_reset(void *dev)
{
    virtio_reset(&((struct virtio_net *)dev)->virtio);
}

static void net_loaded(void *dev)
{
    struct virtio_net *n = dev;
    virtio_loaded(&n->virtio);
    netdev_ready(n->netdev);
}

static void net_destroy(void *dev)
{
    struct virtio_net *n = dev;
    netdev_attach(n->netdev, NULL);
    timer_cancel(&n->more);
    virtio_fini(&n->virtio);
    free(n);
}

static const struct state_field net_state[] = {
    VIRTIO_STATE_ROWS(virtio_net, virtio),
    STATE_ROW(STATE_TIMER, virtio_net, more, 1, 1),
    STATE_END,
};

static const struct device_ops net_ops = {
    .name = "virtio-net",
    .version = 1,
    .state = net_state,
    .reset = net_reset,
    .loaded = net_loaded,
    .destroy = net_destroy,
};

struct virtio_net *virtio_net_create(const struct nic_board *board)
{
    struct virtio_net *n = calloc(1, sizeof *n);
    u64 features = NET_F_CSUM | NET_F_MAC | NET_F_STATUS;
    if (!n ||
        !virtio_init(&n->virtio, board->bus, board->devfn, &net_type, features, board->log, n)) {
        free(n);
        return NULL;
    }
    n->netdev = board->netdev;
    n->clock = board->clock;
    timer_init(&n->more, n->clock, transmit_more, n);
    memcpy(n->virtio.config + CONFIG_MAC, board->mac, ETHERNET_ADDRESS);
    store16(n->virtio.config + CONFIG_STATUS, n->netdev ? STATUS_LINK_UP : 0);
    if (!pci_rom_load(&n->virtio.pci, board->rom, board->rom_bytes, "virtio-net-rom")) {
        net_destroy(n);
        return NULL;
    }
    struct netdev_card card = {can_receive, receive, n};
    netdev_attach(n->netdev, &card);
    return n;
}

struct device virtio_net_device(struct virtio_net *n)
{
    return (struct device){.ops = &net_ops, .dev = n};
}
