/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_DEVICES_FW_CFG_H
#define ANELLO_DEVICES_FW_CFG_H

#include "bus/device.h"
#include "bus/physmem.h"
#include "bus/ports.h"

/* Well-known selectors (QEMU's docs/specs/fw_cfg and what SeaBIOS reads). */
enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_MACHINE_ID = 0x06,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_KERNEL_CMDLINE = 0x09,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_DEVICE = 0x0c,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_ACPI_TABLES = 0x8000,
    FW_CFG_SMBIOS_ENTRIES = 0x8001,
    FW_CFG_IRQ0_OVERRIDE = 0x8002,
    FW_CFG_E820_TABLE = 0x8003,
    FW_CFG_HPET = 0x8004,
};

struct fw_cfg;

/* Ports 510h/511h and the DMA register at 514h. */
struct fw_cfg *fw_cfg_create(struct io_bus *bus, struct physmem *pm);
struct device fw_cfg_device(struct fw_cfg *fw);

/* Items are copied; adding a key or name again replaces it. False when out of memory or full. */
bool fw_cfg_add(struct fw_cfg *fw, u16 key, const void *data, size_t n);
bool fw_cfg_add_u16(struct fw_cfg *fw, u16 key, u16 value);
bool fw_cfg_add_u32(struct fw_cfg *fw, u16 key, u32 value);
bool fw_cfg_add_u64(struct fw_cfg *fw, u16 key, u64 value);
bool fw_cfg_add_string(struct fw_cfg *fw, u16 key, const char *text); /* with its NUL */

/* Named files; names have at most 55 characters. */
bool fw_cfg_add_file(struct fw_cfg *fw, const char *name, const void *data, size_t n);
/* A file that is made when the guest selects it: `make` returns its bytes (valid until the next
 * call) and sets *n, at most `size` given here, which the directory shows. */
bool fw_cfg_add_made_file(struct fw_cfg *fw, const char *name, size_t size,
                          const void *(*make)(void *opaque, size_t *n), void *opaque);

#endif
