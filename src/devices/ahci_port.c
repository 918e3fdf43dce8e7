/* SPDX-License-Identifier: MIT
 *
 * AHCI 1.3.1, sections 3.3 (registers of a port), 4.2 (command list and received frames), 5.3 (what
 * the port does with them), 6.2 (errors), 10.4 (resets).
 *
 * What the drive has to say is noticed in ahci_port_pump(): it is called after every step that may
 * have moved the drive on, and by the drive's interrupt line.
 */
#include "devices/ahci_internal.h"

enum port_register {
    PORT_CLB = 0x00,
    PORT_CLBU = 0x04,
    PORT_FB = 0x08,
    PORT_FBU = 0x0c,
    PORT_IS = 0x10,
    PORT_IE = 0x14,
    PORT_CMD = 0x18,
    PORT_TFD = 0x20,
    PORT_SIG = 0x24,
    PORT_SSTS = 0x28,
    PORT_SCTL = 0x2c,
    PORT_SERR = 0x30,
    PORT_SACT = 0x34,
    PORT_CI = 0x38,
};

#define CLB_MASK (~(u64)0x3ff)
#define FB_MASK  (~(u64)0xff)

#define CMD_ST        (1u << 0)
#define CMD_SUD       (1u << 1)
#define CMD_POD       (1u << 2)
#define CMD_CLO       (1u << 3)
#define CMD_FRE       (1u << 4)
#define CMD_CCS_SHIFT 8
#define CMD_CCS       (0x1fu << CMD_CCS_SHIFT)
#define CMD_FR        (1u << 14)
#define CMD_CR        (1u << 15)
#define CMD_ATAPI     (1u << 24)
#define CMD_DLAE      (1u << 25)
#define CMD_WRITABLE  (CMD_ST | CMD_FRE | CMD_ATAPI | CMD_DLAE)

#define PORT_IS_WRITABLE 0xfd8000afu
#define PORT_IE_WRITABLE 0xfdc000ffu

#define SCTL_DET         0xfu
#define SCTL_WRITABLE    0xfffu
#define DET_RESET        1u
#define DET_OFF          4u
#define SSTS_PRESENT     0x123u /* device and link there, generation 2, active */
#define SSTS_OFF         DET_OFF
#define SERR_EXCHANGED   (1u << 26) /* DIAG.X */
#define SERR_PHY_CHANGED (1u << 16) /* DIAG.N */

#define TFD_NOTHING 0x7fu /* no frame was received yet */
#define SIG_NOTHING 0xffffffffu

enum fis_type { FIS_H2D = 0x27, FIS_D2H = 0x34, FIS_PIO_SETUP = 0x5f };
enum fis_flags { FIS_COMMAND = 1 << 7, FIS_INTERRUPT = 1 << 6, FIS_TO_MEMORY = 1 << 5 };
enum fis_place { PLACE_PIO_SETUP = 0x20, PLACE_D2H = 0x40 };

#define FIS_BYTES      20
#define FIS_E_STATUS   15
#define FIS_COUNT      16
#define FIS_CONTROL    15
#define HEADER_BYTES   32
#define HEADER_MOVED   4
#define TABLE_MASK     (~(u64)0x7f)
#define TABLE_PACKET   0x40
#define TABLE_PRD      0x80
#define PRD_BYTES      16
#define PRD_COUNT      0x3fffffu
#define PRD_INTERRUPT  (1u << 31)
#define H2D_FIS_BYTES  64
#define H2D_MIN_DWORDS 5
#define HEADER_CFL     0x1fu

static bool present(const struct ahci_port *p)
{
    return p->channel.drives[0].kind != IDE_ABSENT;
}

static bool linked(const struct ahci_port *p)
{
    u32 det = p->sctl & SCTL_DET;
    return present(p) && det != DET_RESET && det != DET_OFF;
}

/* ---- frames from the drive ---- */

void ahci_receive(struct ahci_port *p, u32 at, const u8 *fis, u32 bytes)
{
    if (p->cmd & CMD_FRE)
        pci_dma_write(&p->ahci->pci, p->received + at, fis, bytes);
}

/* The drive's registers as frames carry them from byte 2 on. */
static void fill_task_file(struct ahci_port *p, u8 fis[FIS_BYTES])
{
    const struct ide_drive *d = ahci_drive(p);
    fis[2] = d->status;
    fis[3] = d->error;
    memcpy(fis + 4, d->regs + IDE_LBA_LOW, 4); /* and the device register */
    memcpy(fis + 8, d->previous + IDE_LBA_LOW, 3);
    fis[12] = d->regs[IDE_COUNT];
    fis[13] = d->previous[IDE_COUNT];
}

static void show_task_file(struct ahci_port *p)
{
    const struct ide_drive *d = ahci_drive(p);
    p->tfd = d->status | (u32)d->error << 8;
}

static void receive_d2h(struct ahci_port *p, bool interrupt)
{
    u8 fis[FIS_BYTES] = {FIS_D2H, interrupt ? FIS_INTERRUPT : 0};
    fill_task_file(p, fis);
    show_task_file(p);
    ahci_receive(p, PLACE_D2H, fis, sizeof fis);
    if (interrupt)
        p->is |= PORT_IS_DHRS;
}

/* The frame in front of a PIO block; it is reported when the block was moved, `after` which the
 * drive has this status. */
static void receive_pio_setup(struct ahci_port *p, u8 fis[FIS_BYTES], u8 after, u32 bytes)
{
    fis[FIS_E_STATUS] = after;
    store16(fis + FIS_COUNT, (u16)bytes);
    p->tfd = (p->tfd & ~0xffu) | after;
    ahci_receive(p, PLACE_PIO_SETUP, fis, FIS_BYTES);
    if (fis[1] & FIS_INTERRUPT)
        p->is |= PORT_IS_PSS;
}

/* After a reset a drive shows what it is. Without a place for the frame it waits. */
static void report_signature(struct ahci_port *p)
{
    const u8 *r = ahci_drive(p)->regs;
    p->signature_pending = !(p->cmd & CMD_FRE);
    p->sig = r[IDE_COUNT] | (u32)r[IDE_LBA_LOW] << 8 | (u32)r[IDE_LBA_MID] << 16 |
             (u32)r[IDE_LBA_HIGH] << 24;
    receive_d2h(p, false);
}

/* ---- data ---- */

static void next_descriptor(struct ahci_port *p, struct ahci_prd *prd)
{
    u8 entry[PRD_BYTES];
    pci_dma_read(&p->ahci->pci, prd->table + (u64)prd->next * PRD_BYTES, entry, sizeof entry);
    u32 count = load32(entry + 12);
    prd->next++;
    prd->address = load64(entry) & ~(u64)1;
    prd->left = ((count & PRD_COUNT) | 1) + 1; /* less one, even */
    prd->interrupt = count & PRD_INTERRUPT;
}

u32 ahci_prd_skip(struct ahci_port *p, struct ahci_prd *prd)
{
    next_descriptor(p, prd);
    return prd->left;
}

u32 ahci_prd_move(struct ahci_port *p, struct ahci_prd *prd, u8 *data, u32 n, bool to_memory)
{
    u32 done = 0;
    while (done < n) {
        if (!prd->left) {
            if (prd->next == prd->entries)
                break;
            next_descriptor(p, prd);
        }
        u32 piece = n - done < prd->left ? n - done : prd->left;
        if (to_memory)
            pci_dma_write(&p->ahci->pci, prd->address, data + done, piece);
        else
            pci_dma_read(&p->ahci->pci, prd->address, data + done, piece);
        prd->address += piece;
        prd->left -= piece;
        done += piece;
        if (!prd->left && prd->interrupt)
            p->is |= PORT_IS_DPS;
    }
    return done;
}

static u32 transfer(void *opaque, u8 *data, u32 n, bool to_memory)
{
    struct ahci_port *p = opaque;
    u32 done = ahci_prd_move(p, &p->prd, data, n, to_memory);
    p->moved += done;
    p->short_ |= done < n;
    return done;
}

/* A drive that wants data gets them at once: there is no engine to start. */
static bool started(void *opaque)
{
    const struct ahci_port *p = opaque;
    return p->slot >= 0;
}

static void interrupted(void *opaque)
{
    (void)opaque; /* the line itself is heard */
}

static const struct ide_dma_ops dma_ops = {
    .transfer = transfer, .started = started, .interrupted = interrupted};

static void heard_drive(void *opaque, unsigned n, bool level)
{
    (void)n;
    if (level)
        ahci_port_pump(opaque);
}

/* ---- commands ---- */

static void halt(struct ahci_port *p, u32 why)
{
    p->is |= why;
    p->halted = true;
}

static void end_of_slot(struct ahci_port *p)
{
    u8 moved[4];
    store32(moved, p->moved);
    pci_dma_write(&p->ahci->pci, p->header + HEADER_MOVED, moved, sizeof moved);
    p->slot = -1;
}

/* The drive is idle again. A failed command keeps its CI bit, by which the driver knows it. */
static void complete(struct ahci_port *p)
{
    struct ide_drive *d = ahci_drive(p);
    unsigned slot = (unsigned)p->slot;
    bool failed = d->status & STATUS_ERR;
    ide_channel_read(&p->channel, IDE_COMMAND, 1); /* takes the interrupt */
    end_of_slot(p);
    if (p->short_) {
        show_task_file(p);
        halt(p, PORT_IS_OFS);
        return;
    }
    if (!p->pio_in || failed)
        receive_d2h(p, true);
    if (failed)
        halt(p, PORT_IS_TFES);
    else
        p->ci &= ~(1u << slot);
}

/* A block by PIO, which the driver does not see as such: it goes along the descriptors too. */
static void move_block(struct ahci_port *p)
{
    struct ide_drive *d = ahci_drive(p);
    u8 setup[FIS_BYTES] = {FIS_PIO_SETUP};
    u32 bytes;
    bool in = d->phase == IDE_PIO_IN;
    u8 *data = ide_pio_block(d, &bytes);
    setup[1] = (u8)((in ? FIS_TO_MEMORY : 0) | (in || !p->first_block ? FIS_INTERRUPT : 0));
    fill_task_file(p, setup);
    ide_channel_read(&p->channel, IDE_COMMAND, 1);
    p->first_block = false;
    p->pio_in = in;
    if (transfer(p, data, bytes, in) < bytes) {
        ide_abandon(d);
        return;
    }
    ide_pio_moved(d);
    receive_pio_setup(p, setup, d->status, bytes);
}

static void give_packet(struct ahci_port *p)
{
    struct ide_drive *d = ahci_drive(p);
    u8 header[HEADER_BYTES], setup[FIS_BYTES] = {FIS_PIO_SETUP};
    u32 bytes;
    u8 *packet = ide_pio_block(d, &bytes);
    pci_dma_read(&p->ahci->pci, p->header, header, sizeof header);
    fill_task_file(p, setup);
    pci_dma_read(&p->ahci->pci, (load64(header + 8) & TABLE_MASK) + TABLE_PACKET, packet, bytes);
    ide_pio_moved(d);
    receive_pio_setup(p, setup, d->status, bytes);
}

/* The two frames of a software reset set and clear SRST; both are done when they are sent. */
static void take_control(struct ahci_port *p, unsigned slot, u8 control)
{
    p->ci &= ~(1u << slot);
    if (control & CONTROL_SRST) {
        p->resetting = true;
        p->tfd = STATUS_BSY;
    } else if (p->resetting) {
        p->resetting = false;
        ide_channel_write_control(&p->channel, CONTROL_SRST);
        ide_channel_write_control(&p->channel, 0);
        report_signature(p);
    }
}

static void take_command(struct ahci_port *p, unsigned slot, const u8 *fis,
                         const struct ahci_prd *prd)
{
    u8 regs[IDE_REGISTERS] = {
        [IDE_FEATURES] = fis[3], [IDE_COUNT] = fis[12],   [IDE_LBA_LOW] = fis[4],
        [IDE_LBA_MID] = fis[5],  [IDE_LBA_HIGH] = fis[6], [IDE_DEVICE] = fis[7],
        [IDE_COMMAND] = fis[2]};
    u8 previous[IDE_REGISTERS] = {[IDE_FEATURES] = fis[11],
                                  [IDE_COUNT] = fis[13],
                                  [IDE_LBA_LOW] = fis[8],
                                  [IDE_LBA_MID] = fis[9],
                                  [IDE_LBA_HIGH] = fis[10]};
    p->slot = (i8)slot;
    p->prd = *prd;
    p->moved = 0;
    p->short_ = p->pio_in = false;
    p->first_block = true;
    p->tfd = STATUS_BSY;
    ide_channel_command(&p->channel, regs, previous);
}

/* Section 4.2.2: the header, and the table that it points to. False: no command was started. */
static bool fetch(struct ahci_port *p, unsigned slot)
{
    u8 header[HEADER_BYTES], fis[H2D_FIS_BYTES];
    p->header = p->command_list + (u64)slot * HEADER_BYTES;
    bool there = pci_dma_read(&p->ahci->pci, p->header, header, sizeof header);
    u32 flags = load32(header);
    u64 table = load64(header + 8) & TABLE_MASK;
    there = there && pci_dma_read(&p->ahci->pci, table, fis, sizeof fis);
    if (!there) {
        halt(p, PORT_IS_HBFS);
        return false;
    }
    if (fis[0] != FIS_H2D || (flags & HEADER_CFL) < H2D_MIN_DWORDS) {
        halt(p, PORT_IS_IFS);
        return false;
    }
    struct ahci_prd prd = {.table = table + TABLE_PRD, .entries = flags >> 16};
    bool queued = (fis[2] == ATA_READ_QUEUED || fis[2] == ATA_WRITE_QUEUED) &&
                  ahci_drive(p)->kind == IDE_DISK;
    if (!(fis[1] & FIS_COMMAND)) {
        take_control(p, slot, fis[FIS_CONTROL]);
    } else if (queued) {
        p->moved = 0;
        end_of_slot(p); /* nothing is counted for queued commands */
        ahci_ncq_start(p, slot, fis, &prd);
    } else if (ahci_ncq_busy(p)) {
        return false; /* when the queue is empty */
    } else {
        take_command(p, slot, fis, &prd);
    }
    return true;
}

/* The next command, in turn from the last one on. */
static bool start_next(struct ahci_port *p)
{
    if (p->halted || !(p->cmd & CMD_ST) || !p->ci || !linked(p))
        return false;
    unsigned slot = p->next_slot;
    while (!(p->ci >> slot & 1))
        slot = (slot + 1) % AHCI_SLOTS;
    p->cmd = (p->cmd & ~CMD_CCS) | slot << CMD_CCS_SHIFT;
    if (!fetch(p, slot))
        return false;
    p->next_slot = (u8)((slot + 1) % AHCI_SLOTS);
    return true;
}

/* One step; false when there is none to do now. */
static bool step(struct ahci_port *p)
{
    if (p->slot < 0)
        return start_next(p);
    struct ide_drive *d = ahci_drive(p);
    if (d->io)
        return false;
    switch (d->phase) {
    case IDE_PACKET: give_packet(p); return true;
    case IDE_PIO_IN:
    case IDE_PIO_OUT: move_block(p); return true;
    case IDE_IDLE: complete(p); return true;
    default: return false;
    }
}

void ahci_port_pump(struct ahci_port *p)
{
    p->again = true;
    if (p->pumping)
        return;
    p->pumping = true;
    while (p->again) {
        p->again = false;
        while (step(p))
            continue;
    }
    p->pumping = false;
    ahci_update(p->ahci);
}

/* Clearing PxCMD.ST: the list is forgotten, and no data of it may be moved any more. */
static void stop(struct ahci_port *p)
{
    if (p->slot >= 0) {
        p->slot = -1;
        ide_abandon(ahci_drive(p));
        show_task_file(p);
    }
    ahci_ncq_abandon(p);
    p->ci = p->sact = 0;
    p->cmd &= ~CMD_CCS;
    p->next_slot = 0;
    p->halted = false;
}

/* ---- registers ---- */

u32 ahci_port_status(const struct ahci_port *p)
{
    return p->is | (p->serr & SERR_EXCHANGED ? PORT_IS_PCS : 0) |
           (p->serr & SERR_PHY_CHANGED ? PORT_IS_PRCS : 0);
}

static u32 link_status(const struct ahci_port *p)
{
    if ((p->sctl & SCTL_DET) == DET_OFF)
        return SSTS_OFF;
    return linked(p) ? SSTS_PRESENT : 0;
}

static u32 command_and_status(const struct ahci_port *p)
{
    return p->cmd | CMD_SUD | CMD_POD | (p->cmd & CMD_ST ? CMD_CR : 0) |
           (p->cmd & CMD_FRE ? CMD_FR : 0);
}

u32 ahci_port_read(const struct ahci_port *p, u32 reg)
{
    switch (reg) {
    case PORT_CLB: return (u32)p->command_list;
    case PORT_CLBU: return (u32)(p->command_list >> 32);
    case PORT_FB: return (u32)p->received;
    case PORT_FBU: return (u32)(p->received >> 32);
    case PORT_IS: return ahci_port_status(p);
    case PORT_IE: return p->ie;
    case PORT_CMD: return command_and_status(p);
    case PORT_TFD: return p->tfd;
    case PORT_SIG: return p->sig;
    case PORT_SSTS: return link_status(p);
    case PORT_SCTL: return p->sctl;
    case PORT_SERR: return p->serr;
    case PORT_SACT: return p->sact;
    case PORT_CI: return p->ci;
    default: return 0;
    }
}

static void write_command_register(struct ahci_port *p, u32 value)
{
    u32 before = p->cmd;
    p->cmd = (p->cmd & ~CMD_WRITABLE) | (value & CMD_WRITABLE);
    if ((value & CMD_CLO) && !(p->cmd & CMD_ST))
        p->tfd &= ~(u32)(STATUS_BSY | STATUS_DRQ);
    if ((before & CMD_ST) && !(value & CMD_ST))
        stop(p);
    if ((p->cmd & CMD_FRE) && p->signature_pending && linked(p))
        report_signature(p);
}

/* COMRESET lasts as long as DET is 1; when it ends, the drive reports. */
static void write_control(struct ahci_port *p, u32 value)
{
    bool was_linked = linked(p);
    p->sctl = value & SCTL_WRITABLE;
    if (was_linked && !linked(p)) {
        stop(p);
        p->tfd = TFD_NOTHING;
        p->sig = SIG_NOTHING;
        p->signature_pending = p->resetting = false;
    } else if (!was_linked && linked(p)) {
        ide_channel_reset(&p->channel);
        p->serr |= SERR_EXCHANGED | SERR_PHY_CHANGED;
        report_signature(p);
    }
}

static u64 with_low(u64 old, u32 value)
{
    return (old & ~(u64)UINT32_MAX) | value;
}

static u64 with_high(u64 old, u32 value)
{
    return (old & UINT32_MAX) | (u64)value << 32;
}

void ahci_port_write(struct ahci_port *p, u32 reg, u32 value)
{
    switch (reg) {
    case PORT_CLB: p->command_list = with_low(p->command_list, value) & CLB_MASK; break;
    case PORT_CLBU: p->command_list = with_high(p->command_list, value); break;
    case PORT_FB: p->received = with_low(p->received, value) & FB_MASK; break;
    case PORT_FBU: p->received = with_high(p->received, value); break;
    case PORT_IS: p->is &= ~(value & PORT_IS_WRITABLE); break;
    case PORT_IE: p->ie = value & PORT_IE_WRITABLE; break;
    case PORT_CMD: write_command_register(p, value); break;
    case PORT_SCTL: write_control(p, value); break;
    case PORT_SERR: p->serr &= ~value; break;
    case PORT_SACT: p->sact |= p->cmd & CMD_ST ? value : 0; break;
    case PORT_CI: p->ci |= p->cmd & CMD_ST ? value : 0; break;
    default: return;
    }
    ahci_port_pump(p);
}

/* ---- life ---- */

void ahci_port_reset(struct ahci_port *p, bool power_on)
{
    p->cmd = 0;
    stop(p);
    p->is = p->ie = p->sctl = p->serr = 0;
    p->resetting = p->signature_pending = false;
    p->tfd = TFD_NOTHING;
    p->sig = SIG_NOTHING;
    if (power_on)
        p->command_list = p->received = 0;
    if (!present(p))
        return;
    ide_channel_reset(&p->channel);
    report_signature(p);
}

void ahci_port_loaded(struct ahci_port *p)
{
    ide_channel_loaded(&p->channel);
    p->slot = -1;
    p->next_slot %= AHCI_SLOTS;
    p->command_list &= CLB_MASK;
    p->received &= FB_MASK;
}

void ahci_port_init(struct ahci *a, unsigned number, struct clock *clock)
{
    struct ahci_port *p = &a->ports[number];
    struct irq_line line = {.set = heard_drive, .opaque = p};
    p->ahci = a;
    p->number = (u8)number;
    p->slot = -1;
    ide_channel_init(&p->channel, line, &dma_ops, p, clock, a->log);
}

void ahci_port_fini(struct ahci_port *p)
{
    p->slot = -1;
    ahci_ncq_forget(p);
    ide_channel_fini(&p->channel);
}
