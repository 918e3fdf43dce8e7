/* SPDX-License-Identifier: MIT
 *
 * -kernel: prepares a Linux kernel (Documentation/arch/x86/boot.rst, protocol 2.00 and later) or a
 * multiboot 1 kernel (Multiboot Specification 0.6.96) and hands it to our option ROM
 * (bootrom.asm) by the fw_cfg items that exist for this purpose. Nothing here touches guest memory:
 * the firmware runs first, and the ROM loads.
 */
#include <elf.h>
#include <stdlib.h>

#include "machine/internal.h"

#define IMAGE_MAX        GIB(2)
#define SETUP_ADDR       0x10000 /* real-mode part, or multiboot information */
#define CMDLINE_ADDR     0x20000
#define SETUP_OLD_ADDR   0x90000 /* protocol 2.00, 2.01: the only place */
#define CMDLINE_OLD_ADDR 0x9a000
#define KERNEL_ADDR      0x100000
#define FIRMWARE_TOP     KIB(512) /* at the end of low RAM: ACPI tables and BIOS data live there */

static const u8 boot_rom[] = {
#include "machine/bootrom.inc"
};

/* What the ROM is told. Zero sizes: nothing to load. */
struct plan {
    u32 setup_addr, cmdline_addr, kernel_addr, initrd_addr, entry;
    const u8 *setup, *kernel, *initrd;
    size_t setup_size, kernel_size, initrd_size;
    const char *cmdline; /* NULL: none */
};

static bool fail(char *error, size_t n, const char *path, const char *what)
{
    snprintf(error, n, "cannot boot '%s': %s", path, what);
    return false;
}

/* ---- Linux ---- */

/* Fields of the setup header. */
enum linux_header {
    LX_SETUP_SECTS = 0x1f1,
    LX_VID_MODE = 0x1fa,
    LX_BOOT_FLAG = 0x1fe,
    LX_HEADER = 0x202,
    LX_VERSION = 0x206,
    LX_TYPE_OF_LOADER = 0x210,
    LX_LOADFLAGS = 0x211,
    LX_RAMDISK_IMAGE = 0x218,
    LX_RAMDISK_SIZE = 0x21c,
    LX_HEAP_END_PTR = 0x224,
    LX_CMD_LINE_PTR = 0x228,
    LX_INITRD_ADDR_MAX = 0x22c,
    LX_CMDLINE_SIZE = 0x238,
    LX_HEADER_END = 0x268,
    LX_OLD_CMD_LINE_MAGIC = 0x20,
    LX_OLD_CMD_LINE_OFFSET = 0x22,
};
#define LX_HEADER_MAGIC   0x53726448 /* "HdrS" */
#define LX_OLD_MAGIC      0xa33f
#define LX_LOADED_HIGH    0x01
#define LX_CAN_USE_HEAP   0x80
#define LX_LOADER_UNKNOWN 0xff
#define LX_SECTOR         512
#define LX_INITRD_MAX_OLD 0x37ffffff

static bool is_linux(const u8 *image, size_t size)
{
    return size > 0x400 && load16(image + LX_BOOT_FLAG) == 0xaa55 &&
           load32(image + LX_HEADER) == LX_HEADER_MAGIC && load16(image + LX_VERSION) >= 0x200;
}

/* vga=ask|normal|extended|NUMBER on the command line: the loader's job to honour. */
static void set_video_mode(u8 *image, const char *cmdline)
{
    const char *vga = cmdline ? strstr(cmdline, "vga=") : NULL;
    if (!vga)
        return;
    vga += 4;
    unsigned mode = (unsigned)strtoul(vga, NULL, 0);
    if (!strncmp(vga, "normal", 6))
        mode = 0xffff;
    else if (!strncmp(vga, "ext", 3))
        mode = 0xfffe;
    else if (!strncmp(vga, "ask", 3))
        mode = 0xfffd;
    store16(image + LX_VID_MODE, (u16)mode);
}

static void place_linux_cmdline(struct plan *p, u8 *image, unsigned version)
{
    if (version >= 0x202) {
        p->setup_addr = SETUP_ADDR;
        p->cmdline_addr = CMDLINE_ADDR;
        store32(image + LX_CMD_LINE_PTR, p->cmdline_addr);
    } else {
        p->setup_addr = SETUP_OLD_ADDR;
        p->cmdline_addr = CMDLINE_OLD_ADDR;
        store16(image + LX_OLD_CMD_LINE_MAGIC, LX_OLD_MAGIC);
        store16(image + LX_OLD_CMD_LINE_OFFSET, CMDLINE_OLD_ADDR - SETUP_OLD_ADDR);
    }
    if (version >= 0x201) {
        image[LX_LOADFLAGS] |= LX_CAN_USE_HEAP;
        store16(image + LX_HEAP_END_PTR, (u16)(p->cmdline_addr - p->setup_addr - 0x200));
    }
}

/* As high as kernel, RAM and firmware allow. */
static bool place_initrd(struct plan *p, u8 *image, unsigned version, u64 low_ram)
{
    u64 max = LX_INITRD_MAX_OLD;
    if (version >= 0x203)
        max = load32(image + LX_INITRD_ADDR_MAX);
    if (low_ram < FIRMWARE_TOP)
        return false;
    if (max >= low_ram - FIRMWARE_TOP)
        max = low_ram - FIRMWARE_TOP - 1;
    u64 lowest = align_up(p->kernel_addr + p->kernel_size, PAGE_BYTES);
    if (p->initrd_size > max || max - p->initrd_size < lowest)
        return false;
    p->initrd_addr = (u32)align_down(max - p->initrd_size + 1, PAGE_BYTES);
    store32(image + LX_RAMDISK_IMAGE, p->initrd_addr);
    store32(image + LX_RAMDISK_SIZE, (u32)p->initrd_size);
    return true;
}

static bool plan_linux(struct plan *p, u8 *image, size_t size, u64 low_ram, const char *path,
                       char *error, size_t n)
{
    unsigned version = load16(image + LX_VERSION);
    unsigned sects = image[LX_SETUP_SECTS] ? image[LX_SETUP_SECTS] : 4;
    size_t setup_size = (sects + 1) * LX_SECTOR;
    if (setup_size >= size)
        return fail(error, n, path, "the file is cut off inside its setup code");
    if (!(image[LX_LOADFLAGS] & LX_LOADED_HIGH))
        return fail(error, n, path, "a zImage that loads low is not supported: use a bzImage");
    size_t cmdline_max = version >= 0x206 ? load32(image + LX_CMDLINE_SIZE) : 255;
    if (p->cmdline && strlen(p->cmdline) > cmdline_max)
        return fail(error, n, path, "the command line is longer than the kernel accepts");
    p->setup = image;
    p->setup_size = setup_size;
    p->kernel = image + setup_size;
    p->kernel_size = size - setup_size;
    p->kernel_addr = KERNEL_ADDR;
    image[LX_TYPE_OF_LOADER] = LX_LOADER_UNKNOWN;
    place_linux_cmdline(p, image, version);
    set_video_mode(image, p->cmdline);
    if (p->kernel_addr + p->kernel_size > low_ram)
        return fail(error, n, path, "the kernel does not fit into guest memory: use a larger -m");
    if (p->initrd && !place_initrd(p, image, version, low_ram))
        return fail(error, n, path, "the initrd does not fit into guest memory: use a larger -m");
    return true;
}

/* ---- multiboot ---- */

#define MB_MAGIC       0x1badb002
#define MB_SEARCH      8192
#define MB_FLAG_ALIGN  (1u << 0)
#define MB_FLAG_VIDEO  (1u << 2)
#define MB_FLAG_ADDR   (1u << 16)
#define MB_REQUIRED    0xffffu /* flags that must be understood */
#define MB_MODULES_MAX 64
#define MB_MMAP_BYTES  (32 * 24)

enum mbi_offset {
    MBI_FLAGS = 0,
    MBI_CMDLINE = 16,
    MBI_MODS_COUNT = 20,
    MBI_MODS_ADDR = 24,
    MBI_MMAP_LENGTH = 44,
    MBI_MMAP_ADDR = 48,
    MBI_LOADER_NAME = 64,
    MBI_BYTES = 88,
};
enum mbi_flags {
    MBI_HAS_MEM = 1 << 0,
    MBI_HAS_CMDLINE = 1 << 2,
    MBI_HAS_MODS = 1 << 3,
    MBI_HAS_MMAP = 1 << 6,
    MBI_HAS_LOADER = 1 << 9
};

/* Offset of the header, or SIZE_MAX. */
static size_t find_multiboot(const u8 *image, size_t size)
{
    size_t end = size < MB_SEARCH ? size : MB_SEARCH;
    for (size_t at = 0; at + 12 <= end; at += 4) {
        if (load32(image + at) == MB_MAGIC &&
            load32(image + at) + load32(image + at + 4) + load32(image + at + 8) == 0)
            return at;
    }
    return SIZE_MAX;
}

/* The loaded image in one piece of guest memory: addr .. addr + size. Owned by the caller. */
struct loaded {
    u8 *bytes;
    u64 addr, size;
    u32 entry;
};

static bool load_addressed(const u8 *image, size_t size, size_t header, struct loaded *out)
{
    if (header + 32 > size)
        return false;
    u32 header_addr = load32(image + header + 12), load_addr = load32(image + header + 16);
    u32 load_end = load32(image + header + 20), bss_end = load32(image + header + 24);
    if (load_addr > header_addr || header_addr - load_addr > header)
        return false;
    size_t from = header - (header_addr - load_addr);
    size_t bytes = load_end ? (size_t)load_end - load_addr : size - from;
    if (load_end < load_addr && load_end)
        return false;
    if (bytes > size - from)
        return false;
    u64 total = bss_end > load_addr + bytes ? bss_end - load_addr : bytes;
    if (total > IMAGE_MAX)
        return false;
    out->bytes = calloc(1, total ? total : 1);
    if (!out->bytes)
        return false;
    memcpy(out->bytes, image + from, bytes);
    out->addr = load_addr;
    out->size = total;
    out->entry = load32(image + header + 28);
    return true;
}

/* Checks the program header table and finds the range of physical addresses. */
static bool elf_range(const u8 *image, size_t size, const Elf32_Ehdr *eh, u64 *low, u64 *high)
{
    *low = UINT64_MAX;
    *high = 0;
    if (eh->e_phentsize != sizeof(Elf32_Phdr) || eh->e_phoff > size ||
        (u64)eh->e_phnum * sizeof(Elf32_Phdr) > size - eh->e_phoff)
        return false;
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        Elf32_Phdr ph;
        memcpy(&ph, image + eh->e_phoff + i * sizeof ph, sizeof ph);
        if (ph.p_type != PT_LOAD || !ph.p_memsz)
            continue;
        if (ph.p_offset > size || ph.p_filesz > size - ph.p_offset || ph.p_filesz > ph.p_memsz ||
            (u64)ph.p_paddr + ph.p_memsz > GIB(4))
            return false;
        if (ph.p_paddr < *low)
            *low = ph.p_paddr;
        if ((u64)ph.p_paddr + ph.p_memsz > *high)
            *high = (u64)ph.p_paddr + ph.p_memsz;
    }
    return *low < *high && *high - *low <= IMAGE_MAX;
}

static bool load_elf(const u8 *image, size_t size, struct loaded *out)
{
    Elf32_Ehdr eh;
    u64 low, high;
    if (size < sizeof eh)
        return false;
    memcpy(&eh, image, sizeof eh);
    if (memcmp(eh.e_ident, ELFMAG, SELFMAG) || eh.e_ident[EI_CLASS] != ELFCLASS32 ||
        eh.e_machine != EM_386 || !elf_range(image, size, &eh, &low, &high))
        return false;
    out->bytes = calloc(1, high - low);
    if (!out->bytes)
        return false;
    for (unsigned i = 0; i < eh.e_phnum; i++) {
        Elf32_Phdr ph;
        memcpy(&ph, image + eh.e_phoff + i * sizeof ph, sizeof ph);
        if (ph.p_type == PT_LOAD && ph.p_memsz)
            memcpy(out->bytes + (ph.p_paddr - low), image + ph.p_offset, ph.p_filesz);
    }
    out->addr = low;
    out->size = high - low;
    out->entry = eh.e_entry;
    return true;
}

/* The information structure with its strings and tables, laid out for address `base`. */
struct info {
    u8 bytes[0x10000];
    size_t used;
    u32 base;
};

static u32 info_add(struct info *i, const void *data, size_t n, size_t align)
{
    i->used = align_up(i->used, align);
    if (n > sizeof i->bytes - i->used)
        return 0;
    u32 addr = i->base + (u32)i->used;
    if (data)
        memcpy(i->bytes + i->used, data, n);
    i->used += n;
    return addr;
}

static u32 info_string(struct info *i, const char *a, const char *b)
{
    char text[4096];
    snprintf(text, sizeof text, "%s%s%s", a, b && *b ? " " : "", b ? b : "");
    return info_add(i, text, strlen(text) + 1, 1);
}

/* -initrd "FILE [ARGS],FILE [ARGS]": loads the modules page-aligned behind each other into
 * *blob, which will lie at `addr`, and describes them. */
static bool add_modules(struct info *info, const char *list, u32 addr, u8 **blob, size_t *blob_size,
                        char *error, size_t n)
{
    char *copy = strdup(list), *save = NULL;
    u8 table[MB_MODULES_MAX * 16] = {0};
    unsigned count = 0;
    bool ok = true;
    for (char *w = strtok_r(copy, ",", &save); ok && w; w = strtok_r(NULL, ",", &save)) {
        size_t size;
        char *args = strchr(w, ' ');
        if (args)
            *args++ = '\0';
        u8 *module = firmware_read_file(w, IMAGE_MAX, &size, error, n);
        size_t at = align_up(*blob_size, PAGE_BYTES);
        u8 *grown = module && count < MB_MODULES_MAX ? realloc(*blob, at + size) : NULL;
        ok = grown != NULL;
        if (ok) {
            memset(grown + *blob_size, 0, at - *blob_size);
            memcpy(grown + at, module, size);
            *blob = grown;
            *blob_size = at + size;
            store32(table + count * 16, addr + (u32)at);
            store32(table + count * 16 + 4, addr + (u32)(at + size));
            store32(table + count * 16 + 8, info_string(info, w, args));
            count++;
        }
        free(module);
    }
    free(copy);
    store32(info->bytes + MBI_MODS_COUNT, count);
    store32(info->bytes + MBI_MODS_ADDR, info_add(info, table, count * 16, 4));
    return ok;
}

/* A 64 KiB place below the EBDA that the kernel does not cover. */
static u32 place_info(const struct loaded *k)
{
    static const u32 places[] = {0x10000, 0x80000, 0x40000};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (k->addr >= places[i] + 0x10000 || k->addr + k->size <= places[i])
            return places[i];
    }
    return 0;
}

static void fill_info(struct info *info, const struct machine_config *c)
{
    u32 flags = MBI_HAS_MEM | MBI_HAS_CMDLINE | MBI_HAS_MMAP | MBI_HAS_LOADER;
    info_add(info, NULL, MBI_BYTES, 4);
    store32(info->bytes + MBI_MMAP_ADDR, info_add(info, NULL, MB_MMAP_BYTES, 4));
    store32(info->bytes + MBI_CMDLINE, info_string(info, c->kernel, c->append));
    store32(info->bytes + MBI_LOADER_NAME, info_string(info, "anello", NULL));
    store32(info->bytes + MBI_FLAGS, flags);
}

static bool add_multiboot(struct machine *m, const u8 *image, size_t size, size_t header,
                          struct plan *p, struct loaded *kernel, struct info *info, u8 **modules,
                          char *error, size_t n)
{
    const struct machine_config *c = m->config;
    u32 flags = load32(image + header + 4);
    if (flags & MB_REQUIRED & ~(MB_FLAG_ALIGN | 2u | MB_FLAG_VIDEO))
        return fail(error, n, c->kernel, "it requires a multiboot feature that does not exist");
    bool ok = flags & MB_FLAG_ADDR ? load_addressed(image, size, header, kernel)
                                   : load_elf(image, size, kernel);
    if (!ok)
        return fail(error, n, c->kernel, "its multiboot load addresses make no sense");
    info->base = place_info(kernel);
    fill_info(info, c);
    u64 modules_at = align_up(kernel->addr + kernel->size, PAGE_BYTES);
    if (modules_at < KERNEL_ADDR)
        modules_at = KERNEL_ADDR;
    size_t modules_size = 0;
    if (c->initrd) {
        store32(info->bytes, load32(info->bytes) | MBI_HAS_MODS);
        if (!add_modules(info, c->initrd, (u32)modules_at, modules, &modules_size, error, n))
            return false;
    }
    u64 end = modules_size ? modules_at + modules_size : kernel->addr + kernel->size;
    if (!info->base || end + FIRMWARE_TOP > m->memory->low_ram)
        return fail(error, n, c->kernel, "it does not fit into guest memory: use a larger -m");
    *p = (struct plan){.setup_addr = info->base,
                       .setup = info->bytes,
                       .setup_size = info->used,
                       .kernel_addr = (u32)kernel->addr,
                       .kernel = kernel->bytes,
                       .kernel_size = kernel->size,
                       .initrd_addr = (u32)modules_at,
                       .initrd = *modules,
                       .initrd_size = modules_size,
                       .entry = kernel->entry};
    return true;
}

/* ---- fw_cfg ---- */

static u8 checksum(const u8 *bytes, size_t n)
{
    u8 sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (u8)(sum + bytes[i]);
    return (u8)-sum;
}

/* Offsets in the option ROM (PnP BIOS specification §3.2). */
#define ROM_PNP_POINTER 0x1a
#define PNP_BYTES       32
#define PNP_CHECKSUM    9

static bool add_rom(struct fw_cfg *fw)
{
    u8 rom[sizeof boot_rom];
    memcpy(rom, boot_rom, sizeof rom);
    u8 *pnp = rom + load16(rom + ROM_PNP_POINTER);
    pnp[PNP_CHECKSUM] = checksum(pnp, PNP_BYTES);
    rom[sizeof rom - 1] = checksum(rom, sizeof rom);
    return fw_cfg_add_file(fw, BOOTLOAD_ROM_FILE, rom, sizeof rom);
}

static bool publish(struct fw_cfg *fw, const struct plan *p)
{
    size_t cmdline = p->cmdline ? strlen(p->cmdline) + 1 : 0;
    return fw_cfg_add_u32(fw, FW_CFG_SETUP_ADDR, p->setup_addr) &&
           fw_cfg_add_u32(fw, FW_CFG_SETUP_SIZE, (u32)p->setup_size) &&
           fw_cfg_add(fw, FW_CFG_SETUP_DATA, p->setup, p->setup_size) &&
           fw_cfg_add_u32(fw, FW_CFG_CMDLINE_ADDR, p->cmdline_addr) &&
           fw_cfg_add_u32(fw, FW_CFG_CMDLINE_SIZE, (u32)cmdline) &&
           fw_cfg_add(fw, FW_CFG_CMDLINE_DATA, p->cmdline ? p->cmdline : "", cmdline) &&
           fw_cfg_add_u32(fw, FW_CFG_KERNEL_ADDR, p->kernel_addr) &&
           fw_cfg_add_u32(fw, FW_CFG_KERNEL_SIZE, (u32)p->kernel_size) &&
           fw_cfg_add(fw, FW_CFG_KERNEL_DATA, p->kernel, p->kernel_size) &&
           fw_cfg_add_u32(fw, FW_CFG_KERNEL_ENTRY, p->entry) &&
           fw_cfg_add_u32(fw, FW_CFG_INITRD_ADDR, p->initrd_addr) &&
           fw_cfg_add_u32(fw, FW_CFG_INITRD_SIZE, (u32)p->initrd_size) &&
           fw_cfg_add(fw, FW_CFG_INITRD_DATA, p->initrd ? p->initrd : (const u8 *)"",
                      p->initrd_size) &&
           add_rom(fw);
}

static bool add_linux(struct machine *m, u8 *image, size_t size, char *error, size_t n)
{
    const struct machine_config *c = m->config;
    struct plan p = {.cmdline = c->append ? c->append : ""};
    u8 *initrd = NULL;
    if (c->initrd) {
        initrd = firmware_read_file(c->initrd, IMAGE_MAX, &p.initrd_size, error, n);
        if (!initrd)
            return false;
        p.initrd = initrd;
    }
    bool ok = plan_linux(&p, image, size, m->memory->low_ram, c->kernel, error, n);
    if (ok && !publish(m->fw_cfg, &p))
        ok = fail(error, n, c->kernel, "out of memory");
    free(initrd);
    return ok;
}

static bool add_multiboot_kernel(struct machine *m, const u8 *image, size_t size, size_t header,
                                 char *error, size_t n)
{
    struct plan p;
    struct loaded kernel = {0};
    struct info *info = calloc(1, sizeof *info);
    u8 *modules = NULL;
    bool ok = info && add_multiboot(m, image, size, header, &p, &kernel, info, &modules, error, n);
    if (ok && !publish(m->fw_cfg, &p))
        ok = fail(error, n, m->config->kernel, "out of memory");
    free(modules);
    free(kernel.bytes);
    free(info);
    return ok;
}

bool bootload_add(struct machine *m, char *error, size_t n)
{
    const struct machine_config *c = m->config;
    if (!c->kernel) {
        if (c->initrd || c->append) {
            snprintf(error, n, "-initrd and -append need -kernel");
            return false;
        }
        return true;
    }
    size_t size;
    char why[256];
    u8 *image = firmware_read_file(c->kernel, IMAGE_MAX, &size, why, sizeof why);
    if (!image) {
        /* Scripts made for QEMU look for these words. */
        snprintf(error, n, "could not load kernel: %s", why);
        return false;
    }
    size_t header = find_multiboot(image, size);
    bool ok;
    if (is_linux(image, size))
        ok = add_linux(m, image, size, error, n);
    else if (header != SIZE_MAX)
        ok = add_multiboot_kernel(m, image, size, header, error, n);
    else
        ok = fail(error, n, c->kernel, "it is neither a Linux bzImage nor a multiboot kernel");
    free(image);
    return ok;
}
