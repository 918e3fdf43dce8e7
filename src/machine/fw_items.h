/* SPDX-License-Identifier: MIT
 *
 * What firmware asks the board by fw_cfg, apart from tables: sizes, counts, memory map, boot order.
 */
#ifndef ANELLO_MACHINE_FW_ITEMS_H
#define ANELLO_MACHINE_FW_ITEMS_H

#include "devices/fw_cfg.h"

struct fw_items_config {
    u64 low_ram;  /* bytes of RAM from 0 */
    u64 high_ram; /* bytes of RAM from 4 GiB */
    unsigned cpus, max_cpus;
    bool nographic;
    bool boot_menu;
    unsigned menu_wait_ms;  /* etc/boot-menu-wait; 0: firmware's default */
    const char *boot_order; /* "cdn", as -boot order=; NULL: firmware's default */
    const char *boot_paths; /* lines of Open Firmware paths for `bootorder`; NULL: none */
    u8 uuid[16];
};

bool fw_items_add(struct fw_cfg *fw, const struct fw_items_config *config);

#endif
