/* SPDX-License-Identifier: MIT
 *
 * The memory map is etc/e820, in the form of INT 15h AX=E820h without extensions: base, length and
 * type of each run of RAM; the firmware subtracts what it keeps for itself. There is no NUMA: the
 * count of nodes is 0.
 */
#include "machine/fw_items.h"

#include "devices/hpet.h"

enum { E820_RAM = 1, E820_ENTRY_BYTES = 20, E820_MAX_ENTRIES = 2 };

/* What FW_CFG_HPET holds: a count and one description for each block. */
enum {
    HPET_COUNT = 1,
    HPET_ITEM_BLOCK_ID = 1,
    HPET_ITEM_ADDRESS = 5,
    HPET_ITEM_MIN_TICKS = 13,
    HPET_ITEM_BYTES = 1 + 15,
};

static size_t put_e820(u8 *at, u64 base, u64 bytes)
{
    if (bytes == 0)
        return 0;
    store64(at, base);
    store64(at + 8, bytes);
    store32(at + 16, E820_RAM);
    return E820_ENTRY_BYTES;
}

static bool add_memory_map(struct fw_cfg *fw, const struct fw_items_config *config)
{
    u8 map[E820_MAX_ENTRIES * E820_ENTRY_BYTES];
    size_t n = put_e820(map, 0, config->low_ram);
    n += put_e820(map + n, GIB(4), config->high_ram);
    return fw_cfg_add_file(fw, "etc/e820", map, n) &&
           fw_cfg_add_u64(fw, FW_CFG_RAM_SIZE, config->low_ram + config->high_ram);
}

static bool add_boot_choices(struct fw_cfg *fw, const struct fw_items_config *config)
{
    u16 wait_ms = (u16)(config->menu_wait_ms < UINT16_MAX ? config->menu_wait_ms : UINT16_MAX);
    bool ok = fw_cfg_add_u16(fw, FW_CFG_BOOT_MENU, config->boot_menu);
    if (config->boot_order)
        ok = ok && fw_cfg_add_u16(fw, FW_CFG_BOOT_DEVICE, (u8)config->boot_order[0]);
    if (wait_ms)
        ok = ok && fw_cfg_add_file(fw, "etc/boot-menu-wait", &wait_ms, sizeof wait_ms);
    if (config->boot_paths)
        ok = ok &&
             fw_cfg_add_file(fw, "bootorder", config->boot_paths, strlen(config->boot_paths) + 1);
    return ok;
}

static bool add_hpet(struct fw_cfg *fw)
{
    u8 item[HPET_ITEM_BYTES] = {HPET_COUNT};
    store32(item + HPET_ITEM_BLOCK_ID, HPET_BLOCK_ID);
    store64(item + HPET_ITEM_ADDRESS, HPET_BASE);
    store16(item + HPET_ITEM_MIN_TICKS, HPET_MIN_TICKS);
    return fw_cfg_add(fw, FW_CFG_HPET, item, sizeof item);
}

bool fw_items_add(struct fw_cfg *fw, const struct fw_items_config *config)
{
    static const u8 irq0_is_pin_2 = 1;
    return add_memory_map(fw, config) && add_boot_choices(fw, config) && add_hpet(fw) &&
           fw_cfg_add(fw, FW_CFG_UUID, config->uuid, sizeof config->uuid) &&
           fw_cfg_add_u16(fw, FW_CFG_NOGRAPHIC, config->nographic) &&
           fw_cfg_add_u16(fw, FW_CFG_NB_CPUS, (u16)config->cpus) &&
           fw_cfg_add_u16(fw, FW_CFG_MAX_CPUS, (u16)config->max_cpus) &&
           fw_cfg_add_u64(fw, FW_CFG_NUMA, 0) &&
           fw_cfg_add(fw, FW_CFG_IRQ0_OVERRIDE, &irq0_is_pin_2, sizeof irq0_is_pin_2);
}
