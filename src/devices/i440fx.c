/* SPDX-License-Identifier: MIT
 *
 * Intel 82441FX (order number 290549), as far as a guest can see it without memory sticks to
 * configure: the PAM registers 59h-5Fh and SMRAM at 72h act; DRAM timing, row boundaries and
 * error registers are plain storage.
 *
 * Deviations: there is no System Management Mode, so SMRAM opens A0000h-BFFFFh with D_OPEN only,
 * which is also what firmware uses to fill it.
 *
 * The memory map is built from regions of physmem. The bus lies at the bottom (PCI_MAP_PRIORITY),
 * the firmware's low copy above it, RAM above both; a PAM segment is one more region over that.
 */
#include "devices/i440fx.h"

#include <stdlib.h>

#define ROM_LOW_PRIORITY PCI_MAP_PRIORITY
#define RAM_PRIORITY     0
#define SHADOW_PRIORITY  1
#define SMRAM_PRIORITY   10 /* over the VGA window */

#define PAM_FIRST 0x59
#define PAM_BYTES 7
#define SMRAM     0x72

#define PAM_READ  (1u << 0) /* reads come from RAM */
#define PAM_WRITE (1u << 1) /* writes go to RAM */
#define PAM_MASK  (PAM_READ | PAM_WRITE)

#define SMRAM_OPEN     (1u << 6)
#define SMRAM_CLOSED   (1u << 5)
#define SMRAM_LOCK     (1u << 4)
#define SMRAM_ENABLE   (1u << 3)
#define SMRAM_BASE_SEG 0x02 /* hard-wired: A0000h */

#define LEGACY_VGA   0xa0000u
#define LEGACY_BIOS  0xc0000u
#define LEGACY_END   0x100000u
#define ROM_LOW_MAX  0x20000u /* the part of the firmware that is also seen below 1 MiB */
#define SMRAM_WINDOW (LEGACY_BIOS - LEGACY_VGA)

/* The 13 segments in address order: the nibble of which register governs each. */
struct pam_segment {
    u32 pa, size;
    u8 reg, shift;
};

// clang-format off
static const struct pam_segment segments[] = {
    {0xc0000, 0x4000, 0x5a, 0}, {0xc4000, 0x4000, 0x5a, 4},
    {0xc8000, 0x4000, 0x5b, 0}, {0xcc000, 0x4000, 0x5b, 4},
    {0xd0000, 0x4000, 0x5c, 0}, {0xd4000, 0x4000, 0x5c, 4},
    {0xd8000, 0x4000, 0x5d, 0}, {0xdc000, 0x4000, 0x5d, 4},
    {0xe0000, 0x4000, 0x5e, 0}, {0xe4000, 0x4000, 0x5e, 4},
    {0xe8000, 0x4000, 0x5f, 0}, {0xec000, 0x4000, 0x5f, 4},
    {0xf0000, 0x10000, 0x59, 4},
};
// clang-format on
#define SEGMENT_COUNT ARRAY_LEN(segments)

struct i440fx;

/* A segment's state: what is mapped, and what its write-only mode needs. */
struct shadow {
    struct i440fx *host;
    const struct pam_segment *at;
    u8 mode; /* PAM_READ | PAM_WRITE as mapped now */
    struct phys_region *region;
};

struct i440fx {
    struct pci_device pci;
    struct physmem *physmem;
    struct log *log;
    u64 ram_offset, low_ram, high_ram;
    u64 rom_offset, rom_bytes;
    struct phys_region *fixed[6]; /* RAM and ROM that never move */
    struct phys_region *smram;
    struct shadow shadows[SEGMENT_COUNT];
};

/* ---- write-only segments ---- */

/* What the bus answers in C0000h-FFFFFh: the firmware ROM's last 128 KiB, else nothing. */
static u64 read_behind_shadow(void *opaque, u64 offset, unsigned size)
{
    const struct shadow *s = opaque;
    const struct i440fx *host = s->host;
    u64 below_end = LEGACY_END - (s->at->pa + offset); /* distance to the end of the ROM */
    u64 low = host->rom_bytes < ROM_LOW_MAX ? host->rom_bytes : ROM_LOW_MAX;
    if (below_end > low)
        return ~(u64)0;
    return load_sized(physmem_host(host->physmem, host->rom_offset + host->rom_bytes - below_end),
                      size);
}

static void write_shadow(void *opaque, u64 offset, u64 value, unsigned size)
{
    const struct shadow *s = opaque;
    struct i440fx *host = s->host;
    u64 at = host->ram_offset + s->at->pa + offset;
    physmem_touch(host->physmem, at, size);
    store_sized(physmem_host(host->physmem, at), value, size);
}

static const struct mmio_ops write_only_ops = {
    .name = "pam-write-only",
    .read = read_behind_shadow,
    .write = write_shadow,
    .max_size = 8,
};

static void map_shadow(struct shadow *s, u8 mode)
{
    struct i440fx *host = s->host;
    struct physmem *pm = host->physmem;
    if (mode == s->mode)
        return;
    struct phys_region *before = s->region;
    u64 pa = s->at->pa, size = s->at->size, ram = host->ram_offset + pa;
    s->mode = mode;
    switch (mode) {
    case 0: s->region = NULL; break;
    case PAM_READ:
        s->region = physmem_map_rom(pm, pa, size, ram, SHADOW_PRIORITY, "ram-read-only");
        break;
    case PAM_WRITE:
        s->region = physmem_map_mmio(pm, pa, size, &write_only_ops, s, SHADOW_PRIORITY);
        break;
    default: s->region = physmem_map_ram(pm, pa, size, ram, SHADOW_PRIORITY, "ram-shadow"); break;
    }
    physmem_unmap(pm, before);
}

static void map_smram(struct i440fx *host)
{
    bool open = host->pci.config[SMRAM] & SMRAM_OPEN;
    if (open && !host->smram) {
        host->smram = physmem_map_ram(host->physmem, LEGACY_VGA, SMRAM_WINDOW,
                                      host->ram_offset + LEGACY_VGA, SMRAM_PRIORITY, "smram");
    } else if (!open && host->smram) {
        physmem_unmap(host->physmem, host->smram);
        host->smram = NULL;
    }
}

/* ---- registers ---- */

static void update_map(struct i440fx *host)
{
    for (size_t i = 0; i < SEGMENT_COUNT; i++) {
        const struct pam_segment *at = &segments[i];
        map_shadow(&host->shadows[i], host->pci.config[at->reg] >> at->shift & PAM_MASK);
    }
    map_smram(host);
}

/* Setting D_LCK closes the space and freezes the register until reset; D_CLS lets nothing but
 * SMM's code fetches in, and there is none. */
static void smram_written(struct i440fx *host)
{
    u8 *reg = &host->pci.config[SMRAM];
    if (*reg & SMRAM_LOCK) {
        *reg &= (u8)~SMRAM_OPEN;
        host->pci.writable[SMRAM] = SMRAM_CLOSED;
    }
}

static void config_written(void *opaque, u8 reg, unsigned size)
{
    struct i440fx *host = opaque;
    if (reg <= SMRAM && reg + size > SMRAM)
        smram_written(host);
    if (reg < SMRAM + 1 && reg + size > PAM_FIRST)
        update_map(host);
}

static const struct pci_info info = {
    .name = "i440fx",
    .vendor = 0x8086,
    .device = 0x1237,
    .revision = 0x02,
    .class_code = 0x060000,
    .config_written = config_written,
};

/* Value after reset and writable bits of each register of the device's own range; what is not
 * listed reads as zero. */
static const struct {
    u8 reg, value, writable;
} own_registers[] = {
    {0x50, 0x00, 0xff}, /* PMCCFG */
    {0x51, 0x01, 0xef},
    {0x52, 0x00, 0xff}, /* DETURBO.. */
    {0x53, 0x80, 0xff}, /* DBC */
    {0x57, 0x01, 0xff}, /* DRAMC */
    {0x58, 0x10, 0xff}, /* DRAMT */
    {0x59, 0x00, 0x30}, /* PAM0: F0000h in its high nibble */
    {0x5a, 0x00, 0x33},
    {0x5b, 0x00, 0x33},
    {0x5c, 0x00, 0x33},
    {0x5d, 0x00, 0x33},
    {0x5e, 0x00, 0x33},
    {0x5f, 0x00, 0x33},
    {0x60, 0x01, 0xff},
    {0x61, 0x01, 0xff},
    {0x62, 0x01, 0xff}, /* DRB0-7 */
    {0x63, 0x01, 0xff},
    {0x64, 0x01, 0xff},
    {0x65, 0x01, 0xff},
    {0x66, 0x01, 0xff},
    {0x67, 0x01, 0xff},
    {0x68, 0x00, 0xc0}, /* FDHC */
    {0x70, 0x00, 0xff}, /* MTT */
    {0x71, 0x10, 0x70}, /* CLT */
    {SMRAM, SMRAM_BASE_SEG, SMRAM_OPEN | SMRAM_CLOSED | SMRAM_LOCK | SMRAM_ENABLE},
    {0x90, 0x00, 0xff},
    {0x91, 0x00, 0xff}, /* ERRCMD, ERRSTS */
    {0x93, 0x00, 0xff}, /* TRC: the reset control register itself is the south bridge's */
};

static void i440fx_reset(void *dev)
{
    struct i440fx *host = dev;
    pci_device_reset(&host->pci);
    /* The host bridge is always a master, and always decodes memory. */
    store16(host->pci.config + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    for (size_t i = 0; i < ARRAY_LEN(own_registers); i++) {
        host->pci.config[own_registers[i].reg] = own_registers[i].value;
        host->pci.writable[own_registers[i].reg] = own_registers[i].writable;
    }
    update_map(host);
}

static void i440fx_loaded(void *dev)
{
    struct i440fx *host = dev;
    pci_device_loaded(&host->pci);
    smram_written(host);
    update_map(host);
}

/* ---- life ---- */

static void i440fx_destroy(void *dev)
{
    struct i440fx *host = dev;
    for (size_t i = 0; i < SEGMENT_COUNT; i++)
        physmem_unmap(host->physmem, host->shadows[i].region);
    for (size_t i = 0; i < ARRAY_LEN(host->fixed); i++)
        physmem_unmap(host->physmem, host->fixed[i]);
    physmem_unmap(host->physmem, host->smram);
    pci_device_fini(&host->pci);
    free(host);
}

static void map_fixed(struct i440fx *host)
{
    struct physmem *pm = host->physmem;
    u64 ram = host->ram_offset, rom_end = host->rom_offset + host->rom_bytes;
    u64 rom_low = host->rom_bytes < ROM_LOW_MAX ? host->rom_bytes : ROM_LOW_MAX;
    host->fixed[0] = physmem_map_ram(pm, 0, LEGACY_VGA, ram, RAM_PRIORITY, "ram");
    if (host->low_ram > LEGACY_END)
        host->fixed[1] = physmem_map_ram(pm, LEGACY_END, host->low_ram - LEGACY_END,
                                         ram + LEGACY_END, RAM_PRIORITY, "ram");
    if (host->high_ram)
        host->fixed[2] = physmem_map_ram(pm, GIB(4), host->high_ram, ram + host->low_ram,
                                         RAM_PRIORITY, "ram-above-4g");
    if (host->rom_bytes) {
        host->fixed[3] = physmem_map_rom(pm, GIB(4) - host->rom_bytes, host->rom_bytes,
                                         host->rom_offset, RAM_PRIORITY, "bios");
        host->fixed[4] = physmem_map_rom(pm, LEGACY_END - rom_low, rom_low, rom_end - rom_low,
                                         ROM_LOW_PRIORITY, "bios-low");
    }
}

struct i440fx *i440fx_create(const struct i440fx_config *config)
{
    struct i440fx *host = calloc(1, sizeof *host);
    if (!host)
        return NULL;
    host->physmem = config->physmem;
    host->log = config->log;
    host->low_ram = config->ram_bytes < I440FX_LOW_RAM_MAX ? config->ram_bytes : I440FX_LOW_RAM_MAX;
    host->high_ram = config->ram_bytes - host->low_ram;
    host->rom_offset = config->rom_offset;
    host->rom_bytes = config->rom_bytes;
    host->ram_offset = physmem_alloc(config->physmem, config->ram_bytes, "ram");
    if (host->ram_offset == UINT64_MAX ||
        !pci_device_init(&host->pci, config->bus, PCI_DEVFN(0, 0), &info, host)) {
        free(host);
        return NULL;
    }
    for (size_t i = 0; i < SEGMENT_COUNT; i++)
        host->shadows[i] = (struct shadow){.host = host, .at = &segments[i]};
    map_fixed(host);
    i440fx_reset(host);
    return host;
}

u64 i440fx_ram_offset(const struct i440fx *host)
{
    return host->ram_offset;
}

u64 i440fx_low_ram(const struct i440fx *host)
{
    return host->low_ram;
}

u64 i440fx_high_ram(const struct i440fx *host)
{
    return host->high_ram;
}

static const struct state_field i440fx_state[] = {
    PCI_STATE_ROWS(i440fx, pci),
    STATE_END,
};

static const struct device_ops i440fx_ops = {
    .name = "i440fx",
    .version = 1,
    .state = i440fx_state,
    .reset = i440fx_reset,
    .loaded = i440fx_loaded,
    .destroy = i440fx_destroy,
};

struct device i440fx_device(struct i440fx *host)
{
    return (struct device){.ops = &i440fx_ops, .dev = host};
}
