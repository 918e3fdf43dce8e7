/* SPDX-License-Identifier: MIT
 *
 * Virtio over PCI (4.1): one set of registers in two layouts.
 *
 *   BAR 0, ports    legacy: features, queue address as a page number, status, configuration
 *   BAR 1, memory   MSI-X
 *   BAR 4, memory   1.x: common configuration 0000h, interrupt status 1000h,
 *                   device configuration 2000h, notifications 3000h (4 bytes for each queue)
 *
 * The legacy layout fixes where the rings lie behind the descriptors, and has no FEATURES_OK. Two
 * registers for vectors come into it before the device's configuration while MSI-X is on.
 */
#include "devices/virtio.h"

#define LEGACY_BAR    0
#define LEGACY_BYTES  128
#define MSIX_BAR      1
#define MODERN_BAR    4
#define MODERN_BYTES  KIB(16)
#define AT_COMMON     0x0000u
#define AT_ISR        0x1000u
#define AT_DEVICE     0x2000u
#define AT_NOTIFY     0x3000u
#define WINDOW_BYTES  0x1000u
#define NOTIFY_STRIDE 4

#define SUBSYSTEM_ID_AT PCI_SUBSYSTEM_ID
#define ISR_QUEUE       1
#define ISR_CONFIG      2
#define LEGACY_ALIGN    4096

enum capability_type {
    CAP_COMMON = 1,
    CAP_NOTIFY = 2,
    CAP_ISR = 3,
    CAP_DEVICE = 4,
    CAP_PCI_CFG = 5
};
#define CAP_BYTES      16
#define CAP_LONG_BYTES 20 /* of two types, with a field of their own at the end */
#define CAP_BAR        4
#define CAP_OFFSET     8
#define CAP_LENGTH     12
#define CAP_EXTRA      16 /* multiplier of notifications, or data of the window */

// clang-format off
enum common_register {
    DEVICE_FEATURE_SELECT = 0x00, DEVICE_FEATURE = 0x04, DRIVER_FEATURE_SELECT = 0x08,
    DRIVER_FEATURE = 0x0c, CONFIG_VECTOR = 0x10, NUM_QUEUES = 0x12, DEVICE_STATUS = 0x14,
    CONFIG_GENERATION = 0x15, QUEUE_SELECT = 0x16, QUEUE_SIZE = 0x18, QUEUE_VECTOR = 0x1a,
    QUEUE_ENABLE = 0x1c, QUEUE_NOTIFY_OFF = 0x1e, QUEUE_DESC = 0x20, QUEUE_DRIVER = 0x28,
    QUEUE_DEVICE = 0x30,
};
enum legacy_register {
    LEGACY_OFFERED = 0, LEGACY_ACCEPTED = 4, LEGACY_QUEUE_FRAME = 8, LEGACY_QUEUE_SIZE = 12,
    LEGACY_QUEUE_SELECT = 14, LEGACY_NOTIFY = 16, LEGACY_STATUS = 18, LEGACY_ISR = 19,
    LEGACY_HEADER = 20, /* what follows is the device's, or with MSI-X: */
    LEGACY_CONFIG_VECTOR = 20, LEGACY_QUEUE_VECTOR = 22, LEGACY_MSIX_HEADER = 24,
};
// clang-format on

/* ---- state ---- */

static void drop_queues(struct virtio *v)
{
    for (unsigned i = 0; i < v->type->queues; i++)
        v->queues[i] = (struct virtq){.size = VIRTQ_SIZE_MAX, .vector = VIRTIO_NO_VECTOR};
}

/* Writing 0 to the status register, or a reset of the board. */
static void device_reset(struct virtio *v)
{
    v->status = 0; /* before the device hears of it: what completes now reaches no queue */
    for (unsigned i = 0; i < v->type->queues; i++)
        v->queues[i].enabled = false;
    v->type->reset(v->opaque);
    drop_queues(v);
    v->accepted = 0;
    v->offered_select = v->accepted_select = 0;
    v->queue_select = 0;
    v->config_vector = VIRTIO_NO_VECTOR;
    v->legacy_frame = 0;
    v->isr = 0;
    pci_set_intx(&v->pci, false);
}

static void interrupt(struct virtio *v, u16 vector, u8 isr)
{
    if (pci_msix_enabled(&v->pci)) {
        if (vector != VIRTIO_NO_VECTOR)
            pci_msix_send(&v->pci, vector);
        return;
    }
    v->isr |= isr;
    pci_set_intx(&v->pci, true);
}

/* A driver that asks for a vector that is not there reads NO_VECTOR back (4.1.5.1.2). */
static u16 granted_vector(const struct virtio *v, u32 asked)
{
    return asked < v->pci.msix_vectors ? (u16)asked : VIRTIO_NO_VECTOR;
}

void virtio_broken(struct virtio *v, const char *why)
{
    log_unsupported(v->log, v->pci.info->name, 0, "%s: the driver broke a queue: %s",
                    v->pci.info->name, why);
    v->status |= VIRTIO_NEEDS_RESET;
    if (v->status & VIRTIO_DRIVER_OK) /* a change of the configuration (2.1.2) */
        interrupt(v, v->config_vector, ISR_CONFIG);
}

void virtio_interrupt(struct virtio *v, unsigned queue)
{
    interrupt(v, v->queues[queue].vector, ISR_QUEUE);
}

static u8 take_isr(struct virtio *v)
{
    u8 isr = v->isr;
    v->isr = 0;
    pci_set_intx(&v->pci, false);
    return isr;
}

static void set_status(struct virtio *v, u8 value)
{
    if (!value) {
        device_reset(v);
        return;
    }
    bool asks = (value & VIRTIO_FEATURES_OK) && !(v->status & VIRTIO_FEATURES_OK);
    /* A driver of this interface that does not take VERSION_1 is a mistake (6.1). */
    if (asks && !virtio_has(v, VIRTIO_F_VERSION_1))
        value &= (u8)~VIRTIO_FEATURES_OK;
    bool starts = (value & VIRTIO_DRIVER_OK) && !(v->status & VIRTIO_DRIVER_OK);
    v->status = (u8)((v->status & VIRTIO_NEEDS_RESET) | value);
    if (starts) { /* a driver may fill queues before it says that it is there */
        for (unsigned i = 0; i < v->type->queues; i++)
            v->type->notified(v->opaque, i);
    }
}

static struct virtq *selected(struct virtio *v)
{
    return v->queue_select < v->type->queues ? &v->queues[v->queue_select] : NULL;
}

static void notify(struct virtio *v, unsigned queue)
{
    if (queue < v->type->queues && (v->status & VIRTIO_DRIVER_OK))
        v->type->notified(v->opaque, queue);
}

static void accept_features(struct virtio *v, unsigned shift, u32 value)
{
    if (v->status & VIRTIO_FEATURES_OK)
        return; /* settled */
    v->accepted = (v->accepted & ~((u64)UINT32_MAX << shift)) | (u64)value << shift;
    v->accepted &= v->offered;
}

static u32 config_read(const struct virtio *v, u32 at, unsigned size)
{
    u8 bytes[4] = {0};
    for (unsigned i = 0; i < size; i++)
        bytes[i] = at + i < v->type->config_bytes ? v->config[at + i] : 0;
    return load32(bytes);
}

/* ---- the 1.x layout ---- */

static u32 half(u64 value, u32 offset)
{
    return (u32)(value >> (offset & 4 ? 32 : 0));
}

static void set_half(u64 *value, u32 offset, u32 part)
{
    unsigned shift = offset & 4 ? 32 : 0;
    *value = (*value & ~((u64)UINT32_MAX << shift)) | (u64)part << shift;
}

static u32 queue_read(struct virtio *v, u32 at)
{
    const struct virtq *q = selected(v);
    if (!q)
        return at == QUEUE_VECTOR ? VIRTIO_NO_VECTOR : 0;
    switch (at) {
    case QUEUE_SIZE: return q->size;
    case QUEUE_VECTOR: return q->vector;
    case QUEUE_ENABLE: return q->enabled;
    case QUEUE_NOTIFY_OFF: return v->queue_select;
    case QUEUE_DESC:
    case QUEUE_DESC + 4: return half(q->descriptors, at);
    case QUEUE_DRIVER:
    case QUEUE_DRIVER + 4: return half(q->available, at);
    case QUEUE_DEVICE:
    case QUEUE_DEVICE + 4: return half(q->used, at);
    default: return 0;
    }
}

static u32 common_read(struct virtio *v, u32 at)
{
    switch (at) {
    case DEVICE_FEATURE_SELECT: return v->offered_select;
    case DEVICE_FEATURE: return v->offered_select < 2 ? half(v->offered, v->offered_select * 4) : 0;
    case DRIVER_FEATURE_SELECT: return v->accepted_select;
    case DRIVER_FEATURE:
        return v->accepted_select < 2 ? half(v->accepted, v->accepted_select * 4) : 0;
    case CONFIG_VECTOR: return v->config_vector;
    case NUM_QUEUES: return v->type->queues;
    case DEVICE_STATUS: return v->status;
    case CONFIG_GENERATION: return v->generation;
    case QUEUE_SELECT: return v->queue_select;
    default: return queue_read(v, at);
    }
}

static void queue_write(struct virtio *v, u32 at, u32 value)
{
    struct virtq *q = selected(v);
    if (q && at == QUEUE_VECTOR)
        q->vector = granted_vector(v, value);
    if (!q || q->enabled)
        return; /* a queue in use cannot be moved */
    switch (at) {
    case QUEUE_SIZE:
        if (value && value <= VIRTQ_SIZE_MAX && !(value & (value - 1)))
            q->size = (u16)value;
        break;
    case QUEUE_ENABLE: q->enabled = value == 1; break;
    case QUEUE_DESC:
    case QUEUE_DESC + 4: set_half(&q->descriptors, at, value); break;
    case QUEUE_DRIVER:
    case QUEUE_DRIVER + 4: set_half(&q->available, at, value); break;
    case QUEUE_DEVICE:
    case QUEUE_DEVICE + 4: set_half(&q->used, at, value); break;
    default: break;
    }
}

static void common_write(struct virtio *v, u32 at, u32 value)
{
    switch (at) {
    case DEVICE_FEATURE_SELECT: v->offered_select = value; break;
    case DRIVER_FEATURE_SELECT: v->accepted_select = value; break;
    case DRIVER_FEATURE:
        if (v->accepted_select < 2)
            accept_features(v, v->accepted_select * 32, value);
        break;
    case CONFIG_VECTOR: v->config_vector = granted_vector(v, value); break;
    case DEVICE_STATUS: set_status(v, (u8)value); break;
    case QUEUE_SELECT: v->queue_select = (u16)value; break;
    default: queue_write(v, at, value); break;
    }
}

static u64 modern_read(void *opaque, u64 offset, unsigned size)
{
    struct virtio *v = opaque;
    u32 at = (u32)offset % WINDOW_BYTES;
    switch ((u32)offset - at) {
    case AT_COMMON: return common_read(v, at);
    case AT_ISR: return at == 0 ? take_isr(v) : 0;
    case AT_DEVICE: return config_read(v, at, size);
    default: return 0;
    }
}

static void modern_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    struct virtio *v = opaque;
    u32 at = (u32)offset % WINDOW_BYTES;
    (void)size;
    switch ((u32)offset - at) {
    case AT_COMMON: common_write(v, at, (u32)value); break;
    case AT_NOTIFY: notify(v, at / NOTIFY_STRIDE); break;
    default: break;
    }
}

static const struct mmio_ops modern_ops = {
    .name = "virtio", .read = modern_read, .write = modern_write};

/* ---- the window in configuration space (4.1.4.7) ---- */

/* Whether reg..reg+size-1 touches the data of a window that is set up for the 1.x registers. */
static bool window_hit(const struct virtio *v, u8 reg, unsigned size, u32 *at, unsigned *bytes)
{
    const u8 *c = v->pci.config + v->window;
    unsigned data = v->window + CAP_EXTRA;
    *at = load32(c + CAP_OFFSET);
    *bytes = load32(c + CAP_LENGTH);
    bool sized = *bytes == 1 || *bytes == 2 || *bytes == 4;
    return v->window && reg < data + 4 && reg + size > data && c[CAP_BAR] == MODERN_BAR && sized &&
           *at < MODERN_BYTES && *at % *bytes == 0;
}

void virtio_config_reading(void *opaque, u8 reg, unsigned size)
{
    struct virtio *v = opaque;
    u32 at;
    unsigned bytes;
    if (window_hit(v, reg, size, &at, &bytes))
        store_sized(v->pci.config + v->window + CAP_EXTRA, modern_read(v, at, bytes), bytes);
}

void virtio_config_written(void *opaque, u8 reg, unsigned size)
{
    struct virtio *v = opaque;
    u32 at;
    unsigned bytes;
    if (window_hit(v, reg, size, &at, &bytes))
        modern_write(v, at, load_sized(v->pci.config + v->window + CAP_EXTRA, bytes), bytes);
}

/* ---- the legacy layout ---- */

/* A page number places all three parts (2.6.2); 0 takes the queue away. */
static void place_queue(struct virtio *v, u32 frame)
{
    struct virtq *q = selected(v);
    if (!q)
        return;
    v->legacy_frame = frame;
    q->size = VIRTQ_SIZE_MAX;
    q->descriptors = (u64)frame * LEGACY_ALIGN;
    q->available = q->descriptors + 16u * q->size;
    q->used = align_up(q->available + 4 + 2u * q->size + 2, LEGACY_ALIGN);
    q->enabled = frame != 0;
    q->next_available = q->next_used = 0;
    q->signalled_valid = false;
}

/* Where the device's configuration begins (4.1.4.8). */
static u16 legacy_header(const struct virtio *v)
{
    return pci_msix_enabled(&v->pci) ? LEGACY_MSIX_HEADER : LEGACY_HEADER;
}

static u32 legacy_read(void *opaque, u16 offset, unsigned size)
{
    struct virtio *v = opaque;
    const struct virtq *q = selected(v);
    u16 header = legacy_header(v);
    if (offset >= header)
        return config_read(v, (u32)offset - header, size);
    switch (offset) {
    case LEGACY_OFFERED: return (u32)v->offered;
    case LEGACY_ACCEPTED: return (u32)v->accepted;
    case LEGACY_QUEUE_FRAME: return q && q->enabled ? (u32)(q->descriptors / LEGACY_ALIGN) : 0;
    case LEGACY_QUEUE_SIZE: return q ? VIRTQ_SIZE_MAX : 0;
    case LEGACY_QUEUE_SELECT: return v->queue_select;
    case LEGACY_STATUS: return v->status;
    case LEGACY_ISR: return take_isr(v);
    case LEGACY_CONFIG_VECTOR: return v->config_vector;
    case LEGACY_QUEUE_VECTOR: return q ? q->vector : VIRTIO_NO_VECTOR;
    default: return 0;
    }
}

static void legacy_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct virtio *v = opaque;
    struct virtq *q = selected(v);
    (void)size;
    if (offset >= legacy_header(v))
        return; /* nothing there can be written */
    switch (offset) {
    case LEGACY_ACCEPTED: accept_features(v, 0, value); break;
    case LEGACY_QUEUE_FRAME: place_queue(v, value); break;
    case LEGACY_QUEUE_SELECT: v->queue_select = (u16)value; break;
    case LEGACY_NOTIFY: notify(v, value & 0xffff); break;
    case LEGACY_STATUS: set_status(v, (u8)(value & ~(u32)VIRTIO_FEATURES_OK)); break;
    case LEGACY_CONFIG_VECTOR: v->config_vector = granted_vector(v, value & 0xffff); break;
    case LEGACY_QUEUE_VECTOR:
        if (q)
            q->vector = granted_vector(v, value & 0xffff);
        break;
    default: break;
    }
}

static const struct port_ops legacy_ops = {
    .name = "virtio", .read = legacy_read, .write = legacy_write, .max_size = 4};

/* ---- life ---- */

static u8 add_capability(struct virtio *v, enum capability_type type, u32 at, u32 bytes)
{
    u8 size = type == CAP_NOTIFY || type == CAP_PCI_CFG ? CAP_LONG_BYTES : CAP_BYTES;
    u8 where = pci_add_capability(&v->pci, PCI_CAP_VENDOR, size);
    u8 *c = v->pci.config + where;
    c[2] = size;
    c[3] = (u8)type;
    c[CAP_BAR] = type == CAP_PCI_CFG ? 0 : MODERN_BAR;
    store32(c + CAP_OFFSET, at);
    store32(c + CAP_LENGTH, bytes);
    if (type == CAP_NOTIFY)
        store32(c + CAP_EXTRA, NOTIFY_STRIDE);
    return where;
}

static void add_window(struct virtio *v)
{
    v->window = add_capability(v, CAP_PCI_CFG, 0, 0);
    u8 *writable = v->pci.writable + v->window;
    writable[CAP_BAR] = 0xff;
    memset(writable + CAP_OFFSET, 0xff, CAP_LONG_BYTES - CAP_OFFSET);
}

bool virtio_init(struct virtio *v, struct pci_bus *bus, u8 devfn, const struct virtio_type *type,
                 u64 features, struct log *log, void *opaque)
{
    *v = (struct virtio){.type = type, .opaque = opaque, .log = log};
    if (!pci_device_init(&v->pci, bus, devfn, type->pci, v))
        return false;
    v->offered = features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
                 VIRTIO_F_ANY_LAYOUT;
    store16(v->pci.config + SUBSYSTEM_ID_AT, type->id);
    pci_bar_io(&v->pci, LEGACY_BAR, LEGACY_BYTES, &legacy_ops, v);
    pci_bar_mmio(&v->pci, MODERN_BAR, MODERN_BYTES, 0, &modern_ops, v);
    add_capability(v, CAP_COMMON, AT_COMMON, WINDOW_BYTES);
    add_capability(v, CAP_ISR, AT_ISR, WINDOW_BYTES);
    add_capability(v, CAP_DEVICE, AT_DEVICE, WINDOW_BYTES);
    add_capability(v, CAP_NOTIFY, AT_NOTIFY, WINDOW_BYTES);
    add_window(v);
    pci_add_msix(&v->pci, type->queues + 1, MSIX_BAR);
    drop_queues(v);
    v->config_vector = VIRTIO_NO_VECTOR;
    return true;
}

void virtio_fini(struct virtio *v)
{
    pci_device_fini(&v->pci);
}

void virtio_reset(struct virtio *v)
{
    device_reset(v);
    pci_device_reset(&v->pci);
}

void virtio_loaded(struct virtio *v)
{
    pci_device_loaded(&v->pci);
    v->accepted &= v->offered;
    for (unsigned i = 0; i < v->type->queues; i++) {
        struct virtq *q = &v->queues[i];
        if (!q->size || q->size > VIRTQ_SIZE_MAX || (q->size & (q->size - 1)))
            *q = (struct virtq){.size = VIRTQ_SIZE_MAX};
        q->vector = granted_vector(v, q->vector);
    }
    v->config_vector = granted_vector(v, v->config_vector);
}
