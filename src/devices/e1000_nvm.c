/* SPDX-License-Identifier: MIT
 *
 * EEPROM and PHY of the 82540EM.
 *
 * The EEPROM is a 93C46 (64 words) on a Microwire bus that the driver drives by four bits of EECD,
 * or reads through EERD. A command is a start bit, two bits of operation and six of address; of the
 * operations only READ works: the part is write-protected, as cards in the field are
 * (SDM 5.6; data sheet of the 93C46).
 *
 * The PHY is the integrated 88E1011 at address 1 (IEEE 802.3 clause 22). Negotiation ends
 * at once, with 1000 Mbit/s full duplex, when a cable is there.
 */
#include "devices/e1000_regs.h"

#define PHY_ADDRESS 1

enum eeprom_word {
    WORD_MAC = 0x00,
    WORD_INIT1 = 0x0a,
    WORD_SUBSYSTEM = 0x0b,
    WORD_SUBSYSTEM_VENDOR = 0x0c,
    WORD_DEVICE = 0x0d,
    WORD_VENDOR = 0x0e,
    WORD_INIT2 = 0x0f,
    WORD_CHECKSUM = 0x3f
};
#define EEPROM_SUM     0xbaba /* of all words */
#define INIT1_VALID    0x4000 /* signature 01b in the two highest bits */
#define INIT1_IDS      0x0003 /* load vendor and subsystem from here */
#define COMMAND_BITS   9      /* start, operation, address */
#define COMMAND_READ   6      /* start bit and 10b */
#define COMMAND_OP     6      /* shift */
#define EEPROM_ADDRESS 0x3f

enum phy_register {
    PHY_CONTROL = 0,
    PHY_STATUS = 1,
    PHY_ID1 = 2,
    PHY_ID2 = 3,
    PHY_ADVERTISE = 4,
    PHY_PARTNER = 5,
    PHY_1000_CONTROL = 9,
    PHY_1000_STATUS = 10,
    PHY_EXTENDED_STATUS = 15,
    PHY_SPECIFIC_CONTROL = 16,
    PHY_SPECIFIC_STATUS = 17,
    PHY_EXTENDED_CONTROL = 20
};
#define PHY_CONTROL_RESET    (1u << 15)
#define PHY_CONTROL_RESTART  (1u << 9)
#define PHY_CONTROL_DEFAULT  0x1140 /* negotiate, full duplex, 1000 Mbit/s */
#define PHY_STATUS_ABILITIES 0x7949
#define PHY_STATUS_LINK      (1u << 2)
#define PHY_STATUS_DONE      (1u << 5)
#define PHY_ADVERTISE_ALL    0x01e1
#define PHY_PARTNER_ALL      0x45e1
#define PHY_1000_ADVERTISE   0x0300
#define PHY_1000_PARTNER     0x3c00
#define PHY_EXTENDED_1000T   0x3000
#define PHY_SPECIFIC_DEFAULT 0x0360
#define PHY_SPECIFIC_LINK    0xac00 /* 1000 Mbit/s, full duplex, resolved, link */
#define PHY_EXTENDED_DEFAULT 0x0d60
#define PHY_ID1_MARVELL      0x0141
#define PHY_ID2_88E1011      0x0c20

void e1000_nvm_init(struct e1000 *e, const u8 *mac)
{
    u16 sum = 0;
    memset(e->eeprom, 0xff, sizeof e->eeprom); /* erased */
    for (unsigned i = 0; i < ETHERNET_ADDRESS / 2; i++)
        e->eeprom[WORD_MAC + i] = load16(mac + 2 * i);
    e->eeprom[WORD_INIT1] = INIT1_VALID | INIT1_IDS;
    e->eeprom[WORD_SUBSYSTEM] = load16(e->pci.config + PCI_SUBSYSTEM_ID);
    e->eeprom[WORD_SUBSYSTEM_VENDOR] = load16(e->pci.config + PCI_SUBSYSTEM_VENDOR_ID);
    e->eeprom[WORD_DEVICE] = e->pci.info->device;
    e->eeprom[WORD_VENDOR] = e->pci.info->vendor;
    e->eeprom[WORD_INIT2] = INIT1_VALID;
    for (unsigned i = 0; i < WORD_CHECKSUM; i++)
        sum = (u16)(sum + e->eeprom[i]);
    e->eeprom[WORD_CHECKSUM] = (u16)(EEPROM_SUM - sum);
}

/* What the card loads from the EEPROM after a reset: its address. */
void e1000_nvm_reset(struct e1000 *e)
{
    *e1000_reg(e, RAL) = e->eeprom[WORD_MAC] | (u32)e->eeprom[WORD_MAC + 1] << 16;
    *e1000_reg(e, RAH) = e->eeprom[WORD_MAC + 2] | RAH_AV;
    e->eecd_in = 0;
    e->eecd_out = 0;
    e->eecd_count = 0;
    *e1000_reg(e, EECD) = 0;
}

/* ---- EEPROM ---- */

u32 e1000_eecd_read(const struct e1000 *e)
{
    u32 eecd = e1000_get(e, EECD) | EECD_FWE_DISABLE | EECD_PRES;
    /* While nothing comes out the line is pulled up: also "ready" after a write. */
    if (!e->eecd_count || (e->eecd_out >> (e->eecd_count - 1) & 1))
        eecd |= EECD_DO;
    if (eecd & EECD_REQ)
        eecd |= EECD_GNT;
    return eecd;
}

/* A rising edge of the clock with the chip selected. */
static void eeprom_clock(struct e1000 *e, bool bit)
{
    if (e->eecd_count) {
        e->eecd_count--;
        return;
    }
    if (!e->eecd_in && !bit)
        return; /* before the start bit */
    e->eecd_in = e->eecd_in << 1 | bit;
    if (e->eecd_in >> (COMMAND_BITS - 1) == 0)
        return;
    if (e->eecd_in >> COMMAND_OP == COMMAND_READ) {
        e->eecd_out = e->eeprom[e->eecd_in & EEPROM_ADDRESS];
        e->eecd_count = 17; /* a dummy zero comes first */
    } else {
        log_unsupported(e->log, "e1000-eeprom", e->eecd_in, "e1000: the EEPROM is write-protected");
    }
    e->eecd_in = 0;
}

void e1000_eecd_write(struct e1000 *e, u32 value)
{
    u32 before = e1000_get(e, EECD);
    *e1000_reg(e, EECD) = value & (EECD_SK | EECD_CS | EECD_DI | EECD_REQ);
    if (!(value & EECD_CS)) {
        e->eecd_in = 0;
        e->eecd_count = 0;
    } else if ((value & EECD_SK) && !(before & EECD_SK)) {
        eeprom_clock(e, value & EECD_DI);
    }
}

void e1000_eerd_write(struct e1000 *e, u32 value)
{
    u32 address = value >> 8 & 0xff;
    if (!(value & EERD_START))
        return;
    u32 word = address < EEPROM_WORDS ? e->eeprom[address] : 0xffff;
    *e1000_reg(e, EERD) = word << 16 | address << 8 | EERD_DONE;
}

/* ---- PHY ---- */

void e1000_phy_reset(struct e1000 *e)
{
    memset(e->phy, 0, sizeof e->phy);
    e->phy[PHY_CONTROL] = PHY_CONTROL_DEFAULT;
    e->phy[PHY_ID1] = PHY_ID1_MARVELL;
    e->phy[PHY_ID2] = PHY_ID2_88E1011;
    e->phy[PHY_ADVERTISE] = PHY_ADVERTISE_ALL;
    e->phy[PHY_1000_CONTROL] = PHY_1000_ADVERTISE;
    e->phy[PHY_EXTENDED_STATUS] = PHY_EXTENDED_1000T;
    e->phy[PHY_SPECIFIC_CONTROL] = PHY_SPECIFIC_DEFAULT;
    e->phy[PHY_EXTENDED_CONTROL] = PHY_EXTENDED_DEFAULT;
}

static u16 phy_read(const struct e1000 *e, unsigned reg)
{
    bool link = e1000_link(e);
    switch (reg) {
    case PHY_STATUS: return PHY_STATUS_ABILITIES | (link ? PHY_STATUS_LINK | PHY_STATUS_DONE : 0);
    case PHY_PARTNER: return link ? PHY_PARTNER_ALL : 0;
    case PHY_1000_STATUS: return link ? PHY_1000_PARTNER : 0;
    case PHY_SPECIFIC_STATUS: return link ? PHY_SPECIFIC_LINK : 0;
    default: return e->phy[reg];
    }
}

static void phy_write(struct e1000 *e, unsigned reg, u16 value)
{
    switch (reg) {
    case PHY_CONTROL:
        if (value & PHY_CONTROL_RESET)
            e1000_phy_reset(e);
        else
            e->phy[reg] = value & (u16)~PHY_CONTROL_RESTART;
        if (value & (PHY_CONTROL_RESET | PHY_CONTROL_RESTART))
            e1000_raise(e, INT_LSC);
        break;
    case PHY_STATUS:
    case PHY_ID1:
    case PHY_ID2:
    case PHY_PARTNER:
    case PHY_1000_STATUS:
    case PHY_EXTENDED_STATUS:
    case PHY_SPECIFIC_STATUS: break; /* read only */
    default: e->phy[reg] = value; break;
    }
}

void e1000_mdic_write(struct e1000 *e, u32 value)
{
    unsigned reg = value >> 16 & 0x1f, address = value >> 21 & 0x1f;
    u32 result = value & ~(u32)(MDIC_READY | MDIC_ERROR);
    if (address != PHY_ADDRESS)
        result |= MDIC_ERROR | 0xffff;
    else if (value & MDIC_OP_READ)
        result = (result & 0xffff0000) | phy_read(e, reg);
    else if (value & MDIC_OP_WRITE)
        phy_write(e, reg, (u16)value);
    *e1000_reg(e, MDIC) = result | MDIC_READY;
    if (value & MDIC_INTERRUPT)
        e1000_raise(e, INT_MDAC);
}
