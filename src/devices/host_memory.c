/* SPDX-License-Identifier: MIT
 *
 * RAM, shadows and SMRAM as regions of physmem. The bus lies at the bottom (PCI_MAP_PRIORITY), the
 * firmware's low copy above it, RAM above both; a PAM segment is one more region over that.
 */
#include "devices/host_memory.h"

#include "devices/pci.h"

#define ROM_LOW_PRIORITY PCI_MAP_PRIORITY
#define RAM_PRIORITY     0
#define SHADOW_PRIORITY  1
#define SMRAM_PRIORITY   10 /* over the VGA window */

#define PAM_READ  (1u << 0) /* reads come from RAM */
#define PAM_WRITE (1u << 1) /* writes go to RAM */
#define PAM_MASK  (PAM_READ | PAM_WRITE)

#define LEGACY_VGA   0xa0000u
#define LEGACY_BIOS  0xc0000u
#define LEGACY_END   0x100000u
#define ROM_LOW_MAX  0x20000u /* the part of the firmware that is also seen below 1 MiB */
#define SMRAM_WINDOW (LEGACY_BIOS - LEGACY_VGA)

/* The segments in address order: the nibble of which PAM register governs each. */
// clang-format off
static const struct {
    u32 pa, size;
    u8 reg, shift;
} segments[HOST_PAM_SEGMENTS] = {
    {0xc0000, 0x4000, 1, 0}, {0xc4000, 0x4000, 1, 4},
    {0xc8000, 0x4000, 2, 0}, {0xcc000, 0x4000, 2, 4},
    {0xd0000, 0x4000, 3, 0}, {0xd4000, 0x4000, 3, 4},
    {0xd8000, 0x4000, 4, 0}, {0xdc000, 0x4000, 4, 4},
    {0xe0000, 0x4000, 5, 0}, {0xe4000, 0x4000, 5, 4},
    {0xe8000, 0x4000, 6, 0}, {0xec000, 0x4000, 6, 4},
    {0xf0000, 0x10000, 0, 4},
};
// clang-format on

static u64 low_rom(const struct host_memory *h)
{
    return h->rom_bytes < ROM_LOW_MAX ? h->rom_bytes : ROM_LOW_MAX;
}

/* ---- write-only segments ---- */

/* What the bus answers in C0000h-FFFFFh: the firmware ROM's last 128 KiB, else nothing. */
static u64 read_behind_shadow(void *opaque, u64 offset, unsigned size)
{
    const struct host_shadow *s = opaque;
    const struct host_memory *h = s->memory;
    u64 below_end = LEGACY_END - (segments[s->segment].pa + offset); /* to the end of the ROM */
    if (below_end > low_rom(h))
        return ~(u64)0;
    return load_sized(physmem_host(h->physmem, h->rom_offset + h->rom_bytes - below_end), size);
}

static void write_shadow(void *opaque, u64 offset, u64 value, unsigned size)
{
    const struct host_shadow *s = opaque;
    struct host_memory *h = s->memory;
    u64 at = h->ram_offset + segments[s->segment].pa + offset;
    physmem_touch(h->physmem, at, size);
    store_sized(physmem_host(h->physmem, at), value, size);
}

static const struct mmio_ops write_only_ops = {
    .name = "pam-write-only",
    .read = read_behind_shadow,
    .write = write_shadow,
    .max_size = 8,
};

static void map_shadow(struct host_shadow *s, u8 mode)
{
    struct physmem *pm = s->memory->physmem;
    if (mode == s->mode)
        return;
    struct phys_region *before = s->region;
    u64 pa = segments[s->segment].pa, size = segments[s->segment].size;
    u64 ram = s->memory->ram_offset + pa;
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

static void map_smram(struct host_memory *h, bool open)
{
    if (open && !h->smram) {
        h->smram = physmem_map_ram(h->physmem, LEGACY_VGA, SMRAM_WINDOW, h->ram_offset + LEGACY_VGA,
                                   SMRAM_PRIORITY, "smram");
    } else if (!open && h->smram) {
        physmem_unmap(h->physmem, h->smram);
        h->smram = NULL;
    }
}

void host_memory_update(struct host_memory *h, const u8 pam[HOST_PAM_BYTES], u8 smram)
{
    for (unsigned i = 0; i < HOST_PAM_SEGMENTS; i++)
        map_shadow(&h->shadows[i], pam[segments[i].reg] >> segments[i].shift & PAM_MASK);
    map_smram(h, smram & HOST_SMRAM_OPEN);
}

/* D_CLS lets nothing but SMM's code fetches in, and there is none. */
void host_memory_lock_smram(u8 *reg, u8 *writable)
{
    if (*reg & HOST_SMRAM_LOCK) {
        *reg &= (u8)~HOST_SMRAM_OPEN;
        *writable = HOST_SMRAM_CLOSED;
    }
}

/* ---- life ---- */

static void map_fixed(struct host_memory *h)
{
    struct physmem *pm = h->physmem;
    u64 ram = h->ram_offset, rom_end = h->rom_offset + h->rom_bytes;
    h->fixed[0] = physmem_map_ram(pm, 0, LEGACY_VGA, ram, RAM_PRIORITY, "ram");
    if (h->low_ram > LEGACY_END)
        h->fixed[1] = physmem_map_ram(pm, LEGACY_END, h->low_ram - LEGACY_END, ram + LEGACY_END,
                                      RAM_PRIORITY, "ram");
    if (h->high_ram)
        h->fixed[2] = physmem_map_ram(pm, GIB(4), h->high_ram, ram + h->low_ram, RAM_PRIORITY,
                                      "ram-above-4g");
    if (h->rom_bytes) {
        h->fixed[3] = physmem_map_rom(pm, GIB(4) - h->rom_bytes, h->rom_bytes, h->rom_offset,
                                      RAM_PRIORITY, "bios");
        h->fixed[4] = physmem_map_rom(pm, LEGACY_END - low_rom(h), low_rom(h), rom_end - low_rom(h),
                                      ROM_LOW_PRIORITY, "bios-low");
    }
}

bool host_memory_init(struct host_memory *h, const struct host_memory_config *c)
{
    u64 low = c->ram_bytes < c->low_ram_max ? c->ram_bytes : c->low_ram_max;
    *h = (struct host_memory){.physmem = c->physmem,
                              .ram_offset = physmem_alloc(c->physmem, c->ram_bytes, "ram"),
                              .low_ram = low,
                              .high_ram = c->ram_bytes - low,
                              .rom_offset = c->rom_offset,
                              .rom_bytes = c->rom_bytes};
    if (h->ram_offset == UINT64_MAX)
        return false;
    for (unsigned i = 0; i < HOST_PAM_SEGMENTS; i++)
        h->shadows[i] = (struct host_shadow){.memory = h, .segment = i};
    map_fixed(h);
    return true;
}

void host_memory_fini(struct host_memory *h)
{
    for (unsigned i = 0; i < HOST_PAM_SEGMENTS; i++)
        physmem_unmap(h->physmem, h->shadows[i].region);
    for (size_t i = 0; i < ARRAY_LEN(h->fixed); i++)
        physmem_unmap(h->physmem, h->fixed[i]);
    physmem_unmap(h->physmem, h->smram);
}
