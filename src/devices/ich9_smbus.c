/* SPDX-License-Identifier: MIT
 *
 * ICH9 (order number 316972), chapter 20: the host controller of its ancestors behind BAR 4, which
 * answers while HST_EN is set. The registers that came later (packet error checking, the slave
 * half) read zero, and there is no BAR for the same registers in memory.
 */
#include "devices/ich9_smbus.h"

#include <stdlib.h>

#include "devices/smbus_host.h"

#define SMB_BAR      4
#define SMB_PORTS    32
#define HOSTC        0x40
#define HOSTC_HST_EN (1u << 0)
#define HOSTC_BITS   0x1f

struct ich9_smbus {
    struct pci_device pci;
    struct smbus_host host;
};

static bool is_on(const struct ich9_smbus *s)
{
    return s->pci.config[HOSTC] & HOSTC_HST_EN;
}

static u32 smb_read(void *opaque, u16 offset, unsigned size)
{
    struct ich9_smbus *s = opaque;
    return is_on(s) ? smbus_host_ops.read(&s->host, offset, size) : UINT8_MAX;
}

static void smb_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct ich9_smbus *s = opaque;
    if (is_on(s))
        smbus_host_ops.write(&s->host, offset, value, size);
}

static const struct port_ops smb_ops = {.name = "ich9-smbus", .read = smb_read, .write = smb_write};

static const struct pci_info info = {
    .name = "ich9-smbus",
    .vendor = 0x8086,
    .device = 0x2930,
    .revision = 0x02,
    .class_code = 0x0c0500,
    .interrupt_pin = 1,
};

static void ich9_smbus_reset(void *dev)
{
    struct ich9_smbus *s = dev;
    pci_device_reset(&s->pci);
    s->pci.config[HOSTC] = 0;
    smbus_host_reset(&s->host);
}

static void ich9_smbus_loaded(void *dev)
{
    struct ich9_smbus *s = dev;
    smbus_host_loaded(&s->host);
    pci_device_loaded(&s->pci);
}

static void ich9_smbus_destroy(void *dev)
{
    struct ich9_smbus *s = dev;
    pci_device_fini(&s->pci);
    free(s);
}

struct ich9_smbus *ich9_smbus_create(struct pci_bus *bus, u8 devfn, struct log *log)
{
    struct ich9_smbus *s = calloc(1, sizeof *s);
    if (!s || !pci_device_init(&s->pci, bus, devfn, &info, s)) {
        free(s);
        return NULL;
    }
    s->host.log = log;
    s->pci.writable[HOSTC] = HOSTC_BITS;
    pci_bar_io(&s->pci, SMB_BAR, SMB_PORTS, &smb_ops, s);
    ich9_smbus_reset(s);
    return s;
}

static const struct state_field ich9_smbus_state[] = {
    PCI_STATE_ROWS(ich9_smbus, pci),
    SMBUS_STATE_ROWS(ich9_smbus, host),
    STATE_END,
};

static const struct device_ops ich9_smbus_ops = {
    .name = "ich9-smbus",
    .version = 1,
    .state = ich9_smbus_state,
    .reset = ich9_smbus_reset,
    .loaded = ich9_smbus_loaded,
    .destroy = ich9_smbus_destroy,
};

struct device ich9_smbus_device(struct ich9_smbus *s)
{
    return (struct device){.ops = &ich9_smbus_ops, .dev = s};
}
