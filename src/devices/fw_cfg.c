/* SPDX-License-Identifier: MIT
 *
 * The firmware configuration device that SeaBIOS, OVMF and Linux know: numbered items and named
 * files, read a byte at a time at ports 510h/511h or by DMA through 514h. The interface is QEMU's
 * docs/specs/fw_cfg.
 *
 *     510h  selector, 16 bits, little-endian: item and offset 0
 *     511h  data: the next byte; 0 behind the end
 *     514h  DMA: guest address of a descriptor, 64 bits, big-endian; the write to the low half
 *           starts the transfer, reads give the signature "QEMU CFG"
 *
 *     descriptor (big-endian)  0 control  4 length  8 address
 *     control                  31..16 item when bit 3   4 write  3 select  2 skip  1 read  0 error
 *
 * Deviation: nothing is writable, so a DMA write always ends with the error bit.
 */
#include "devices/fw_cfg.h"

#include <stdlib.h>

enum {
    SELECTOR_PORT = 0x510,
    SELECTOR_PORTS = 2,
    DATA_OFFSET = 1,
    DMA_PORT = 0x514,
    DMA_PORTS = 8,
    DMA_LOW_OFFSET = 4,
};

enum {
    KEY_WRITE = 0x4000, /* a wish to write: not granted */
    ID_TRADITIONAL = 1 << 0,
    ID_DMA = 1 << 1,
};

enum {
    DMA_ERROR = 1 << 0,
    DMA_READ = 1 << 1,
    DMA_SKIP = 1 << 2,
    DMA_SELECT = 1 << 3,
    DMA_WRITE = 1 << 4,
    DMA_KEY_SHIFT = 16,
    DMA_CONTROL_AT = 0,
    DMA_LENGTH_AT = 4,
    DMA_ADDRESS_AT = 8,
    DMA_DESCRIPTOR_BYTES = 16,
};

enum { FILE_NAME_BYTES = 56, DIR_HEADER_BYTES = 4, DIR_ENTRY_BYTES = 64, MAX_FILES = 64 };
enum { ENTRY_SIZE_AT = 0, ENTRY_KEY_AT = 4, ENTRY_NAME_AT = 8 };
enum { MAX_ITEMS = 128, ZERO_BYTES = 4096 };

struct item {
    u16 key;
    u8 *data; /* owned; NULL when made on demand */
    size_t size;
    const void *(*make)(void *opaque, size_t *n);
    void *opaque;
};

struct fw_cfg {
    u16 key;      /* selected */
    u32 offset;   /* of the next byte */
    u32 dma_high; /* first half of the descriptor's address */
    u32 file_count;

    struct item items[MAX_ITEMS];
    unsigned item_count;
    u8 directory[DIR_HEADER_BYTES + MAX_FILES * DIR_ENTRY_BYTES];
    const u8 *data; /* of the selected item: derived from key */
    size_t size;
    struct physmem *pm;
    struct io_bus *bus;
    struct io_claim *claims[2];
};

/* ---- Items ---- */

static void store_be32(u8 *p, u32 v)
{
    store32(p, __builtin_bswap32(v));
}

static struct item *find(struct fw_cfg *fw, u16 key)
{
    for (unsigned i = 0; i < fw->item_count; i++) {
        if (fw->items[i].key == key)
            return &fw->items[i];
    }
    return NULL;
}

static struct item *find_or_add(struct fw_cfg *fw, u16 key)
{
    struct item *item = find(fw, key);
    if (item || fw->item_count == MAX_ITEMS)
        return item;
    item = &fw->items[fw->item_count++];
    *item = (struct item){.key = key};
    return item;
}

static void fw_cfg_select(struct fw_cfg *fw, u16 key)
{
    fw->key = key & (u16)~KEY_WRITE;
    fw->offset = 0;
    fw->data = NULL;
    fw->size = 0;
    struct item *item = find(fw, fw->key);
    if (fw->key == FW_CFG_FILE_DIR) {
        fw->data = fw->directory;
        fw->size = DIR_HEADER_BYTES + fw->file_count * DIR_ENTRY_BYTES;
    } else if (item && item->make) {
        size_t n = 0;
        fw->data = item->make(item->opaque, &n);
        fw->size = !fw->data ? 0 : n < item->size ? n : item->size;
    } else if (item) {
        fw->data = item->data;
        fw->size = item->size;
    }
}

/* The item was replaced: what is selected must not point to the old one. */
static void reselect(struct fw_cfg *fw, u16 key)
{
    if (fw->key == key)
        fw_cfg_select(fw, key);
}

bool fw_cfg_add(struct fw_cfg *fw, u16 key, const void *data, size_t n)
{
    if (n > UINT32_MAX)
        return false;
    u8 *copy = malloc(n ? n : 1);
    struct item *item = copy ? find_or_add(fw, key) : NULL;
    if (!item) {
        free(copy);
        return false;
    }
    if (n)
        memcpy(copy, data, n);
    free(item->data);
    *item = (struct item){.key = key, .data = copy, .size = n};
    reselect(fw, key);
    return true;
}

bool fw_cfg_add_u16(struct fw_cfg *fw, u16 key, u16 value)
{
    return fw_cfg_add(fw, key, &value, sizeof value);
}

bool fw_cfg_add_u32(struct fw_cfg *fw, u16 key, u32 value)
{
    return fw_cfg_add(fw, key, &value, sizeof value);
}

bool fw_cfg_add_u64(struct fw_cfg *fw, u16 key, u64 value)
{
    return fw_cfg_add(fw, key, &value, sizeof value);
}

bool fw_cfg_add_string(struct fw_cfg *fw, u16 key, const char *text)
{
    return fw_cfg_add(fw, key, text, strlen(text) + 1);
}

/* ---- Files ---- */

static u8 *directory_entry(struct fw_cfg *fw, unsigned n)
{
    return fw->directory + DIR_HEADER_BYTES + n * DIR_ENTRY_BYTES;
}

/* The number of the file called `name`, made if need be; MAX_FILES when there is no room. */
static unsigned name_file(struct fw_cfg *fw, const char *name, size_t size)
{
    size_t length = strlen(name);
    if (length >= FILE_NAME_BYTES || size > UINT32_MAX)
        return MAX_FILES;
    unsigned n = 0;
    while (n < fw->file_count && strcmp((char *)directory_entry(fw, n) + ENTRY_NAME_AT, name))
        n++;
    if (n == MAX_FILES)
        return MAX_FILES;
    u8 *entry = directory_entry(fw, n);
    memset(entry, 0, DIR_ENTRY_BYTES);
    store_be32(entry + ENTRY_SIZE_AT, (u32)size);
    store16(entry + ENTRY_KEY_AT, __builtin_bswap16((u16)(FW_CFG_FILE_FIRST + n)));
    memcpy(entry + ENTRY_NAME_AT, name, length);
    if (n == fw->file_count)
        fw->file_count++;
    store_be32(fw->directory, fw->file_count);
    return n;
}

bool fw_cfg_add_file(struct fw_cfg *fw, const char *name, const void *data, size_t n)
{
    unsigned file = name_file(fw, name, n);
    return file < MAX_FILES && fw_cfg_add(fw, (u16)(FW_CFG_FILE_FIRST + file), data, n);
}

bool fw_cfg_add_made_file(struct fw_cfg *fw, const char *name, size_t size,
                          const void *(*make)(void *opaque, size_t *n), void *opaque)
{
    unsigned file = name_file(fw, name, size);
    struct item *item = file < MAX_FILES ? find_or_add(fw, (u16)(FW_CFG_FILE_FIRST + file)) : NULL;
    if (!item)
        return false;
    free(item->data);
    *item = (struct item){.key = item->key, .size = size, .make = make, .opaque = opaque};
    reselect(fw, item->key);
    return true;
}

/* ---- Reading ---- */

static size_t bytes_left(const struct fw_cfg *fw)
{
    return fw->offset < fw->size ? fw->size - fw->offset : 0;
}

static void skip(struct fw_cfg *fw, u32 n)
{
    u64 to = (u64)fw->offset + n;
    fw->offset = to > UINT32_MAX ? UINT32_MAX : (u32)to;
}

static u8 read_byte(struct fw_cfg *fw)
{
    u8 v = bytes_left(fw) ? fw->data[fw->offset] : 0;
    skip(fw, 1);
    return v;
}

static u32 selector_read(void *opaque, u16 offset, unsigned size)
{
    if (offset == DATA_OFFSET && size == 1)
        return read_byte(opaque);
    return 0; /* the selector is write-only */
}

static void selector_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    if (offset == 0 && size == 2)
        fw_cfg_select(opaque, (u16)value);
}

/* ---- DMA ---- */

/* Stores n bytes of the item at pa, and zeroes behind its end. Ends at the first byte that is no
 * memory, which also bounds a hostile length. */
static bool dma_read(struct fw_cfg *fw, u64 pa, u32 n)
{
    static const u8 zeroes[ZERO_BYTES];
    size_t left = bytes_left(fw), run = n < left ? n : left;
    bool ok = run == 0 || physmem_write(fw->pm, pa, fw->data + fw->offset, run);
    for (u64 at = run; ok && at < n; at += ZERO_BYTES) {
        u64 chunk = n - at < ZERO_BYTES ? n - at : ZERO_BYTES;
        ok = physmem_write(fw->pm, pa + at, zeroes, chunk);
    }
    skip(fw, n);
    return ok;
}

static void dma_start(struct fw_cfg *fw, u64 descriptor)
{
    u8 d[DMA_DESCRIPTOR_BYTES];
    if (!physmem_read(fw->pm, descriptor, d, sizeof d))
        return; /* nowhere to report to */
    u32 control = __builtin_bswap32(load32(d + DMA_CONTROL_AT));
    u32 length = __builtin_bswap32(load32(d + DMA_LENGTH_AT));
    u64 address = __builtin_bswap64(load64(d + DMA_ADDRESS_AT));
    bool ok = true;
    if (control & DMA_SELECT)
        fw_cfg_select(fw, (u16)(control >> DMA_KEY_SHIFT));
    if (control & DMA_READ)
        ok = dma_read(fw, address, length);
    else if (control & DMA_WRITE)
        ok = false;
    else if (control & DMA_SKIP)
        skip(fw, length);
    u8 result[4];
    store_be32(result, ok ? 0 : DMA_ERROR);
    physmem_write(fw->pm, descriptor + DMA_CONTROL_AT, result, sizeof result);
}

static u32 dma_register_read(void *opaque, u16 offset, unsigned size)
{
    static const u8 signature[DMA_PORTS] = {'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G'};
    (void)opaque;
    return (u32)load_sized(signature + offset, size);
}

static void dma_register_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct fw_cfg *fw = opaque;
    if (size != 4)
        return;
    if (offset == 0) {
        fw->dma_high = __builtin_bswap32(value);
    } else if (offset == DMA_LOW_OFFSET) {
        u64 descriptor = (u64)fw->dma_high << 32 | __builtin_bswap32(value);
        fw->dma_high = 0;
        dma_start(fw, descriptor);
    }
}

/* ---- Life ---- */

static void fw_cfg_reset(void *dev)
{
    struct fw_cfg *fw = dev;
    fw->dma_high = 0;
    fw_cfg_select(fw, FW_CFG_SIGNATURE);
}

static void fw_cfg_loaded(void *dev)
{
    struct fw_cfg *fw = dev;
    u32 offset = fw->offset;
    fw_cfg_select(fw, fw->key);
    fw->offset = offset;
}

static void fw_cfg_destroy(void *dev)
{
    struct fw_cfg *fw = dev;
    for (size_t i = 0; i < ARRAY_LEN(fw->claims); i++)
        io_bus_release(fw->bus, fw->claims[i]);
    for (unsigned i = 0; i < fw->item_count; i++)
        free(fw->items[i].data);
    free(fw);
}

/* Items and files are configuration: the machine adds them again before it loads state. */
// clang-format off
static const struct state_field fw_cfg_state[] = {
    STATE_ROW(STATE_U16, fw_cfg, key,      1, 1),
    STATE_ROW(STATE_U32, fw_cfg, offset,   1, 1),
    STATE_ROW(STATE_U32, fw_cfg, dma_high, 1, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops fw_cfg_ops = {
    .name = "fw_cfg",
    .version = 1,
    .state = fw_cfg_state,
    .reset = fw_cfg_reset,
    .loaded = fw_cfg_loaded,
    .destroy = fw_cfg_destroy,
};

static const struct port_ops selector_ops = {
    .name = "fw_cfg", .read = selector_read, .write = selector_write, .max_size = 2};
static const struct port_ops dma_ops = {
    .name = "fw_cfg", .read = dma_register_read, .write = dma_register_write, .max_size = 4};

struct fw_cfg *fw_cfg_create(struct io_bus *bus, struct physmem *pm)
{
    struct fw_cfg *fw = calloc(1, sizeof *fw);
    if (!fw)
        return NULL;
    fw->bus = bus;
    fw->pm = pm;
    if (!fw_cfg_add(fw, FW_CFG_SIGNATURE, "QEMU", 4) ||
        !fw_cfg_add_u32(fw, FW_CFG_ID, ID_TRADITIONAL | ID_DMA)) {
        fw_cfg_destroy(fw);
        return NULL;
    }
    fw->claims[0] = io_bus_claim(bus, SELECTOR_PORT, SELECTOR_PORTS, &selector_ops, fw);
    fw->claims[1] = io_bus_claim(bus, DMA_PORT, DMA_PORTS, &dma_ops, fw);
    fw_cfg_reset(fw);
    return fw;
}

struct device fw_cfg_device(struct fw_cfg *fw)
{
    return (struct device){.ops = &fw_cfg_ops, .dev = fw};
}
