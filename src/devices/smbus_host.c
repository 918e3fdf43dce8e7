/* SPDX-License-Identifier: MIT
 *
 * The registers of 82371AB (order number 290562), 11.2, which the ICH family kept in the same
 * places.
 */
#include "devices/smbus_host.h"

enum smb_register {
    SMBHSTSTS = 0,
    SMBSLVSTS = 1,
    SMBHSTCNT = 2,
    SMBHSTCMD = 3,
    SMBHSTADD = 4,
    SMBHSTDAT0 = 5,
    SMBHSTDAT1 = 6,
    SMBBLKDAT = 7,
};

#define STS_DEVICE_ERROR (1u << 2)
#define STS_FAILED       (1u << 4)
#define STS_CLEARABLE    0x1e
#define CNT_INTERRUPT    (1u << 0)
#define CNT_KILL         (1u << 1)
#define CNT_STORED       0x1d
#define CNT_START        (1u << 6)

static u32 smb_read(void *opaque, u16 offset, unsigned size)
{
    struct smbus_host *s = opaque;
    (void)size;
    switch (offset) {
    case SMBHSTSTS: return s->status;
    case SMBHSTCNT: s->block_at = 0; return s->control;
    case SMBHSTCMD: return s->command;
    case SMBHSTADD: return s->address;
    case SMBHSTDAT0:
    case SMBHSTDAT1: return s->data[offset - SMBHSTDAT0];
    case SMBBLKDAT: {
        u8 value = s->block[s->block_at];
        s->block_at = (u8)((s->block_at + 1) % SMBUS_BLOCK_BYTES);
        return value;
    }
    default: return 0; /* the slave half: never addressed */
    }
}

static void smb_control_write(struct smbus_host *s, u8 value)
{
    s->control = value & CNT_STORED;
    if (value & CNT_KILL)
        s->status |= STS_FAILED;
    if (!(value & CNT_START))
        return;
    if (value & CNT_INTERRUPT)
        log_unsupported(s->log, "smbus", 0, "SMBus: completion interrupts are not modelled");
    s->status |= STS_DEVICE_ERROR;
}

static void smb_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct smbus_host *s = opaque;
    (void)size;
    switch (offset) {
    case SMBHSTSTS: s->status &= (u8) ~(value & STS_CLEARABLE); break;
    case SMBHSTCNT: smb_control_write(s, (u8)value); break;
    case SMBHSTCMD: s->command = (u8)value; break;
    case SMBHSTADD: s->address = (u8)value; break;
    case SMBHSTDAT0:
    case SMBHSTDAT1: s->data[offset - SMBHSTDAT0] = (u8)value; break;
    case SMBBLKDAT:
        s->block[s->block_at] = (u8)value;
        s->block_at = (u8)((s->block_at + 1) % SMBUS_BLOCK_BYTES);
        break;
    default: break;
    }
}

const struct port_ops smbus_host_ops = {.name = "smbus", .read = smb_read, .write = smb_write};

void smbus_host_reset(struct smbus_host *s)
{
    *s = (struct smbus_host){.log = s->log};
}

void smbus_host_loaded(struct smbus_host *s)
{
    s->block_at %= SMBUS_BLOCK_BYTES;
}
