/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_MACHINE_SMBIOS_H
#define ANELLO_MACHINE_SMBIOS_H

#include "devices/fw_cfg.h"

struct smbios_config {
    unsigned cpus;
    u64 ram;     /* bytes in all */
    u64 low_ram; /* of them below 4 GiB */
    u8 uuid[16]; /* in the order of its text form; zeroes: not set */
};

/* Adds etc/smbios/smbios-anchor and etc/smbios/smbios-tables. */
bool smbios_add_tables(struct fw_cfg *fw, const struct smbios_config *config);

#endif
