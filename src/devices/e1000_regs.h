/* SPDX-License-Identifier: MIT
 *
 * Inside of the 82540EM: register and bit names of the PCI/PCI-X Family of Gigabit Ethernet
 * Controllers Software Developer's Manual (317453; "SDM" in these files), and the state that the
 * card's files share:
 *
 *   e1000.c         the PCI function, registers, interrupts and their moderation
 *   e1000_nvm.c     EEPROM and PHY: what the driver reads before it trusts the card
 *   e1000_tx.c      the transmit ring, checksum offload and segmentation
 *   e1000_rx.c      filters and the receive ring
 */
#ifndef ANELLO_DEVICES_E1000_REGS_H
#define ANELLO_DEVICES_E1000_REGS_H

#include "base/log.h"
#include "devices/e1000.h"

// clang-format off
enum e1000_register {
    CTRL = 0x0000, CTRL_DUP = 0x0004, STATUS = 0x0008, EECD = 0x0010, EERD = 0x0014,
    CTRL_EXT = 0x0018, MDIC = 0x0020, FCAL = 0x0028, FCAH = 0x002c, FCT = 0x0030, VET = 0x0038,
    ICR = 0x00c0, ITR = 0x00c4, ICS = 0x00c8, IMS = 0x00d0, IMC = 0x00d8,
    RCTL = 0x0100, FCTTV = 0x0170, TXCW = 0x0178, RXCW = 0x0180,
    TCTL = 0x0400, TIPG = 0x0410, AIT = 0x0458, LEDCTL = 0x0e00, PBA = 0x1000,
    FCRTL = 0x2160, FCRTH = 0x2168,
    RDBAL = 0x2800, RDBAH = 0x2804, RDLEN = 0x2808, RDH = 0x2810, RDT = 0x2818, RDTR = 0x2820,
    RXDCTL = 0x2828, RADV = 0x282c, RSRPD = 0x2c00,
    TDFH = 0x3410, TDFT = 0x3418, TDFHS = 0x3420, TDFTS = 0x3428, TDFPC = 0x3430,
    TDBAL = 0x3800, TDBAH = 0x3804, TDLEN = 0x3808, TDH = 0x3810, TDT = 0x3818, TIDV = 0x3820,
    TXDCTL = 0x3828, TADV = 0x382c, TSPMT = 0x3830,
    STATISTICS = 0x4000, MPC = 0x4010, PRC64 = 0x405c, GPRC = 0x4074, BPRC = 0x4078,
    MPRC = 0x407c, GPTC = 0x4080, GORCL = 0x4088, GORCH = 0x408c, GOTCL = 0x4090, GOTCH = 0x4094,
    RNBC = 0x40a0, ROC = 0x40ac, TORL = 0x40c0, TORH = 0x40c4, TOTL = 0x40c8, TOTH = 0x40cc,
    TPR = 0x40d0, TPT = 0x40d4, PTC64 = 0x40d8, MPTC = 0x40f0, BPTC = 0x40f4, TSCTC = 0x40f8,
    STATISTICS_END = 0x4100,
    RXCSUM = 0x5000, MTA = 0x5200, RAL = 0x5400, RAH = 0x5404, VFTA = 0x5600,
    WUC = 0x5800, WUFC = 0x5808, WUS = 0x5810, IPAV = 0x5838, WUPL = 0x5900, MANC = 0x5820,
    REGISTERS_END = 0x5a00,
};

enum ctrl_bits { CTRL_FD = 1u << 0, CTRL_SLU = 1u << 6, CTRL_RST = 1u << 26, CTRL_VME = 1u << 30,
                 CTRL_PHY_RST = 1u << 31 };
enum status_bits { STATUS_FD = 1u << 0, STATUS_LU = 1u << 1, STATUS_SPEED_1000 = 2u << 6,
                   STATUS_ASDV_1000 = 2u << 8 };
enum eecd_bits { EECD_SK = 1u << 0, EECD_CS = 1u << 1, EECD_DI = 1u << 2, EECD_DO = 1u << 3,
                 EECD_FWE_DISABLE = 1u << 4, EECD_REQ = 1u << 6, EECD_GNT = 1u << 7,
                 EECD_PRES = 1u << 8 };
enum eerd_bits { EERD_START = 1u << 0, EERD_DONE = 1u << 4 };
enum mdic_bits { MDIC_OP_WRITE = 1u << 26, MDIC_OP_READ = 2u << 26, MDIC_READY = 1u << 28,
                 MDIC_INTERRUPT = 1u << 29, MDIC_ERROR = 1u << 30 };
enum interrupt_bits { INT_TXDW = 1u << 0, INT_TXQE = 1u << 1, INT_LSC = 1u << 2,
                      INT_RXDMT0 = 1u << 4, INT_RXO = 1u << 6, INT_RXT0 = 1u << 7,
                      INT_MDAC = 1u << 9, INT_ALL = 0x1f6df };
enum rctl_bits { RCTL_EN = 1u << 1, RCTL_UPE = 1u << 3, RCTL_MPE = 1u << 4, RCTL_LPE = 1u << 5,
                 RCTL_LBM_MAC = 1u << 6, RCTL_BAM = 1u << 15, RCTL_VFE = 1u << 18,
                 RCTL_CFIEN = 1u << 19, RCTL_CFI = 1u << 20, RCTL_BSEX = 1u << 25,
                 RCTL_SECRC = 1u << 26 };
enum tctl_bits { TCTL_EN = 1u << 1, TCTL_PSP = 1u << 3 };
enum rxcsum_bits { RXCSUM_IPOFL = 1u << 8, RXCSUM_TUOFL = 1u << 9 };
#define RAH_AV            (1u << 31)
#define RAH_SELECT(rah)   ((rah) >> 16 & 3) /* 0: destination address */
#define RAR_COUNT         16
#define MTA_WORDS         128
#define VFTA_WORDS        128

/* Transmit descriptors (SDM 3.3.3 to 3.3.7): byte 11 is the command, byte 12 the status. */
enum tx_command { TXD_EOP = 1u << 0, TXD_IC = 1u << 2, TXD_TSE = 1u << 2, TXD_RS = 1u << 3,
                  TXD_DEXT = 1u << 5, TXD_VLE = 1u << 6, TXD_IDE = 1u << 7 };
enum tx_context_command { TUCMD_TCP = 1u << 0, TUCMD_IP = 1u << 1 };
enum tx_options { POPTS_IXSM = 1u << 0, POPTS_TXSM = 1u << 1 };
#define TXD_STATUS_DD 1u

/* Receive descriptors (SDM 3.2.3). */
enum rx_status { RXD_DD = 1u << 0, RXD_EOP = 1u << 1, RXD_IXSM = 1u << 2, RXD_VP = 1u << 3,
                 RXD_TCPCS = 1u << 5, RXD_IPCS = 1u << 6 };
enum rx_errors { RXD_TCPE = 1u << 5, RXD_IPE = 1u << 6 };
// clang-format on

#define DESCRIPTOR_BYTES 16
#define FRAME_MAX        16288 /* the longest that the card sends or takes (SDM 3.3.1) */
#define VLAN_TAG         4
#define VLAN_AT          12 /* behind the two addresses */
#define FCS_BYTES        4
#define EEPROM_WORDS     64
#define PHY_REGISTERS    32
#define DELAY_UNIT_NS    1024 /* of RDTR, RADV, TIDV, TADV */
#define ITR_UNIT_NS      256

/* A context descriptor, taken apart. */
struct e1000_context {
    u8 ip_start, ip_offset, tu_start, tu_offset, header;
    u8 command; /* enum tx_context_command */
    u16 ip_end, tu_end, mss;
    u32 payload;
};

/* The packet that is being put together. */
struct e1000_packet {
    bool open;                    /* its first descriptor has been seen */
    bool segmented;               /* TSE */
    bool too_long;                /* dropped at its end */
    u8 options;                   /* POPTS */
    struct e1000_context context; /* as it was then: a later one is for later packets */
    bool vlan;
    u16 tag;
    u32 bytes;        /* in data */
    u32 segments;     /* sent so far */
    u32 payload_left; /* of a segmented packet */
    u8 header[256];   /* of a segmented packet, as the driver wrote it */
    u8 data[FRAME_MAX + VLAN_TAG];
};

/* A delayed interrupt: `timer` restarts with each event, but not beyond `limit`. */
struct e1000_delay {
    struct timer timer;
    i64 limit; /* CLOCK_NEVER: no event is waiting */
};

struct e1000 {
    struct pci_device pci;
    struct log *log;
    struct clock *clock;
    struct netdev *netdev;
    u32 regs[REGISTERS_END / 4];
    u32 io_address; /* of the window in port space */
    u16 eeprom[EEPROM_WORDS];
    u16 phy[PHY_REGISTERS];
    /* The Microwire interface of the EEPROM, a bit at a time. */
    u32 eecd_in;   /* bits taken since the start bit, which is the highest */
    u16 eecd_out;  /* bits still to come out, highest first */
    u8 eecd_count; /* of eecd_out */
    /* Interrupt moderation. */
    i64 last_interrupt; /* when INTA# rose last */
    struct timer throttle;
    struct e1000_delay rx_delay, tx_delay;
    /* Transmission. */
    struct e1000_context checksum_context, segment_context;
    struct e1000_packet packet;
    u32 tx_frames;        /* sent in this portion of the ring */
    struct timer tx_more; /* a long ring goes on after others had the board */
};

static inline u32 *e1000_reg(struct e1000 *e, u32 offset)
{
    return &e->regs[offset / 4];
}

static inline u32 e1000_get(const struct e1000 *e, u32 offset)
{
    return e->regs[offset / 4];
}

/* Adds to a statistics register, which sticks at its end (SDM 13.7). */
static inline void e1000_count(struct e1000 *e, u32 offset, u32 n)
{
    u32 *r = e1000_reg(e, offset);
    *r = *r + n < *r ? UINT32_MAX : *r + n;
}

static inline void e1000_count64(struct e1000 *e, u32 low, u32 n)
{
    u64 sum = (e1000_get(e, low) | (u64)e1000_get(e, low + 4) << 32) + n;
    *e1000_reg(e, low) = (u32)sum;
    *e1000_reg(e, low + 4) = (u32)(sum >> 32);
}

/* Network order. */
static inline u16 e1000_get16(const u8 *p)
{
    return (u16)(p[0] << 8 | p[1]);
}

static inline void e1000_put16(u8 *p, u32 v)
{
    p[0] = (u8)(v >> 8);
    p[1] = (u8)v;
}

/* Number of descriptors that a RDLEN or TDLEN stands for, and whether the pointers are in it. */
static inline u32 e1000_ring_size(const struct e1000 *e, u32 length_register)
{
    return e1000_get(e, length_register) / DESCRIPTOR_BYTES;
}

/* e1000.c */
void e1000_raise(struct e1000 *e, u32 causes);
/* One more event of a kind whose interrupt is `wait` units late, at most `limit` (0: no limit). */
void e1000_delayed(struct e1000 *e, struct e1000_delay *d, u32 wait, u32 limit);
bool e1000_link(const struct e1000 *e);

/* e1000_nvm.c */
void e1000_nvm_init(struct e1000 *e, const u8 *mac);
void e1000_nvm_reset(struct e1000 *e);
u32 e1000_eecd_read(const struct e1000 *e);
void e1000_eecd_write(struct e1000 *e, u32 value);
void e1000_eerd_write(struct e1000 *e, u32 value);
void e1000_mdic_write(struct e1000 *e, u32 value);
void e1000_phy_reset(struct e1000 *e);

/* e1000_tx.c */
void e1000_transmit(struct e1000 *e);
void e1000_tx_reset(struct e1000 *e);

/* e1000_rx.c */
bool e1000_can_receive(void *opaque);
void e1000_receive(void *opaque, const u8 *frame, size_t n);

#endif
