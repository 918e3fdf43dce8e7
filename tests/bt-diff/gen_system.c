/* SPDX-License-Identifier: MIT
 *
 * Pieces about the system: flags, interrupts, the kernel's services by INT and by SYSENTER, paging,
 * segments.
 */
#include "cpu/insn.h"
#include "cpu/vcpu.h"
#include "descriptors.h"
#include "program.h"

/* As kernel.asm has them. */
enum service {
    SERVICE_SET_ENTRY,
    SERVICE_CHANGE_SPACE,
    SERVICE_RELOAD,
    SERVICE_FLIP_CR0,
    SERVICE_FLIP_CR4,
    SERVICE_SET_AND_RELOAD,
    SERVICE_PROTECT,
    SERVICE_UNMAP,
    SERVICE_FORK,
    SERVICE_SWAP,
    SERVICE_MAP_QUIETLY,
    SERVICE_THREAD,
    SERVICE_CHANGE_GDT,
    SERVICE_CHANGE_LDT,
    SERVICE_INTERRUPT,
    SERVICES_FAST, /* the others not by SYSENTER */
    SERVICE_FLIP_SYSENTER = SERVICES_FAST,
    SERVICE_TO_RING3,
    SERVICE_TO_RING0,
    SERVICE_TO_V86,
};

/* ---- flags and rings ---- */

/* xor dword [esp], some flags */
static void put_flag_noise(struct maker *m, struct piece *q)
{
    static const u8 flip[] = {0x81, 0x34, 0x24};
    struct rng *r = &m->r;
    u32 noise = (u32)rng_next(r) & FLAG_OSZAPC;
    if (rng_one_in(r, 4))
        noise |= FLAG_IF;
    if (rng_one_in(r, 8))
        noise |= FLAG_DF;
    if (rng_one_in(r, 8))
        noise |= FLAG_ID;
    if (rng_one_in(r, 16))
        noise |= FLAG_AC;
    if (rng_one_in(r, 16))
        noise |= (u32)rng_next(r) & FLAG_IOPL;
    if (rng_one_in(r, 32))
        noise |= FLAG_TF;
    if (rng_one_in(r, 32))
        noise |= FLAG_RF;
    piece_bytes(q, flip, sizeof flip);
    piece_u32(q, noise);
}

/* What RDTSC gives is gone at the end of the piece, and the kernel that interrupts it logs zeros.
 * SS is always flat. */
static void put_rdtsc(struct piece *q)
{
    static const u8 store[] = {0x36, 0xc7, 0x05};
    static const u8 code[] = {0x0f, 0x31,  /* rdtsc */
                              0x89, 0xd0,  /* mov eax, edx */
                              0x29, 0xd0,  /* sub eax, edx */
                              0x31, 0xd2}; /* xor edx, edx */
    for (unsigned on = 1;; on--) {
        piece_bytes(q, store, sizeof store);
        piece_u32(q, CONTROL_TIME);
        piece_u32(q, on);
        if (!on)
            return;
        piece_bytes(q, code, sizeof code);
    }
}

void add_flags(struct maker *m)
{
    struct rng *r = &m->r;
    struct piece *q = piece_add(m, "flags");
    switch (rng_below(r, 8)) {
    case 0: piece_byte(q, rng_one_in(r, 2) ? OPC_CLI : OPC_STI); break;
    case 3: put_rdtsc(q); break;
    case 1: /* PUSHF; PUSH CS; PUSH to; IRET */
        piece_byte(q, OPC_PUSHF);
        put_flag_noise(m, q);
        piece_byte(q, OPC_PUSH_CS);
        piece_byte(q, OPC_PUSH_IMM);
        piece_fix(q, FIX_ABS32, maker_ahead(m, rng_below(r, 2)), 0);
        piece_byte(q, OPC_IRET);
        break;
    case 2: /* PUSH CS; PUSH to; RETF */
        piece_byte(q, OPC_PUSH_CS);
        piece_byte(q, OPC_PUSH_IMM);
        piece_fix(q, FIX_ABS32, maker_ahead(m, rng_below(r, 2)), 0);
        piece_byte(q, OPC_RETF);
        break;
    case 4: { /* pushfw; xor byte [esp + 1], some; popfw */
        static const u8 short_pushf[] = {0x66, OPC_PUSHF, 0x80, 0x74, 0x24, 0x01};
        piece_bytes(q, short_pushf, sizeof short_pushf);
        piece_byte(q, (u8)(rng_next(r) & 0x3e));
        piece_byte(q, 0x66);
        piece_byte(q, OPC_POPF);
        break;
    }
    default:
        piece_byte(q, OPC_PUSHF);
        put_flag_noise(m, q);
        piece_byte(q, OPC_POPF);
    }
    add_raw(m);
}

static void put_interrupt(struct maker *m, struct piece *q)
{
    piece_byte(q, OPC_OUT_IMM);
    piece_byte(q, (u8)(PORT_ASK + rng_below(&m->r, PORT_ASK_LAST - PORT_ASK + 1)));
}

void add_interrupt(struct maker *m)
{
    struct rng *r = &m->r;
    struct piece *q = piece_add(m, "interrupt");
    bool kernel = m->p->config.ring == 0 && !m->p->config.both;
    switch (rng_below(r, 6)) {
    case 0: /* CLI; ask; STI; something */
        piece_byte(q, OPC_CLI);
        put_interrupt(m, q);
        piece_byte(q, OPC_STI);
        add_raw(m);
        break;
    case 1: /* CLI; ask; STI; HLT */
        piece_byte(q, OPC_CLI);
        put_interrupt(m, q);
        piece_byte(q, OPC_STI);
        if (kernel)
            piece_byte(q, OPC_HLT);
        break;
    case 2: { /* ask; mov ax, ss; mov ss, ax */
        static const u8 shadow[] = {0x8c, 0xd0, OPC_STI, 0x8e, 0xd0};
        put_interrupt(m, q);
        piece_bytes(q, shadow, sizeof shadow);
        add_raw(m);
        break;
    }
    case 3: /* CLI; ask; PUSHF; noise; POPF */
        piece_byte(q, OPC_CLI);
        put_interrupt(m, q);
        piece_byte(q, OPC_PUSHF);
        put_flag_noise(m, q);
        piece_byte(q, OPC_POPF);
        break;
    default: put_interrupt(m, q);
    }
}

/* ---- services ---- */

static void put_service(struct piece *q, enum service s, u32 ecx, u32 edx, unsigned vector)
{
    if (s == SERVICE_TO_RING0)
        piece_mov(q, REG_SP, STACK_MIDDLE);
    piece_mov(q, REG_AX, s);
    piece_mov(q, REG_CX, ecx);
    piece_mov(q, REG_DX, edx);
    piece_byte(q, OPC_INT);
    piece_byte(q, (u8)vector);
}

#define BY_IRET 0x100 /* in EAX: SYSENTER's service returns by IRET */

/* mov ecx, esp; mov edx, next; sysenter */
static void put_fast_service(struct maker *m, struct piece *q, enum service s, u32 ecx, u32 edx)
{
    static const u8 mov_ecx_esp[] = {0x89, 0xe1}, sysenter[] = {0x0f, 0x34};
    piece_mov(q, REG_AX, s | (rng_one_in(&m->r, 3) ? BY_IRET : 0));
    piece_mov(q, REG_SI, ecx);
    piece_mov(q, REG_DI, edx);
    piece_bytes(q, mov_ecx_esp, sizeof mov_ecx_esp);
    piece_mov_address(q, REG_DX, maker_ahead(m, rng_one_in(&m->r, 4)), 0);
    piece_bytes(q, sysenter, sizeof sysenter);
}

static struct piece *add_service(struct maker *m, const char *what, enum service s, u32 ecx,
                                 u32 edx)
{
    struct rng *r = &m->r;
    struct piece *q = piece_add(m, what);
    if (!maker_can_ring0(m) && s < SERVICES_FAST && rng_one_in(r, 2))
        put_fast_service(m, q, s, ecx, edx);
    else
        put_service(q, s, ecx, edx, rng_one_in(r, 4) ? INT_OPEN_SERVICE : INT_SERVICE);
    return q;
}

/* ---- paging ---- */

static u32 page_number(u32 la)
{
    return la >> PAGE_SHIFT & 0x3ff; /* in the region of 4 MiB that all is in */
}

static u32 draw_data_page(struct maker *m)
{
    return page_number(rng_one_in(&m->r, 4) ? DATA_ALIAS : DATA) + rng_below(&m->r, DATA_PAGES);
}

static void add_page_change(struct maker *m)
{
    struct rng *r = &m->r;
    const struct config *c = &m->p->config;
    u32 page = draw_data_page(m);
    if (rng_one_in(r, 4))
        page = page_number(CODE) + rng_below(r, CODE_PAGES);
    u32 flags = rng_one_in(r, 3) ? 0 : 7; /* P W U */
    if (rng_one_in(r, 2))
        flags = (u32)rng_next(r) & 0x67; /* and A D */
    if (c->global && c->spaces < 2 && rng_one_in(r, 4))
        flags |= 0x100;
    if (c->nx && rng_one_in(r, 4))
        flags |= 1u << 31;
    add_service(m, "page", rng_one_in(r, 3) ? SERVICE_SET_AND_RELOAD : SERVICE_SET_ENTRY, page,
                flags);
}

/* How the kernel drops what it has changed for many pages; by CR3 alone only without global ones.
 */
static u32 draw_flush(struct maker *m)
{
    return rng_below(&m->r, m->p->config.global ? 2 : 3);
}

/* Pages become read only or go away, as fork() and munmap() do it. */
static void add_many_pages(struct maker *m)
{
    static const enum service services[] = {SERVICE_PROTECT, SERVICE_PROTECT, SERVICE_UNMAP,
                                            SERVICE_FORK};
    struct rng *r = &m->r;
    u32 first = rng_below(r, DATA_PAGES), n = 1 + rng_below(r, DATA_PAGES - first);
    u32 page = page_number(rng_one_in(r, 4) ? DATA_ALIAS : DATA) + first;
    enum service s = RNG_PICK(r, services);
    add_service(m, "many pages", s, page, n | draw_flush(m) << 8 | rng_below(r, SPACES) << 16);
}

static void add_paging(struct maker *m)
{
    struct rng *r = &m->r;
    switch (rng_below(r, 6)) {
    case 0:
    case 1: add_page_change(m); break;
    case 2: add_service(m, "swap", SERVICE_SWAP, draw_data_page(m), draw_data_page(m)); break;
    case 3: add_service(m, "map", SERVICE_MAP_QUIETLY, draw_data_page(m), 0); break;
    default: add_many_pages(m);
    }
}

void add_system(struct maker *m)
{
    static const u32 cr0_bits[] = {CR0_TS, CR0_TS, CR0_WP, CR0_AM};
    struct rng *r = &m->r;
    const struct config *c = &m->p->config;
    bool small = c->paging == PAGING_32 || c->paging == PAGING_PAE;
    switch (rng_below(r, 10)) {
    case 0: add_service(m, "reload CR3", SERVICE_RELOAD, 0, 0); break;
    case 1: add_service(m, "CR0", SERVICE_FLIP_CR0, 0, RNG_PICK(r, cr0_bits)); break;
    case 2: add_service(m, "CR4", SERVICE_FLIP_CR4, 0, CR4_PGE); break;
    case 3:
    case 4:
        if (c->spaces > 1)
            add_service(m, "space", SERVICE_CHANGE_SPACE, rng_below(r, SPACES), 0);
        break;
    case 5:
        if (c->both)
            add_service(m, "ring", rng_one_in(r, 2) ? SERVICE_TO_RING0 : SERVICE_TO_RING3, 0, 0);
        else if (rng_one_in(r, 4))
            add_service(m, "SYSENTER_CS", SERVICE_FLIP_SYSENTER, 0, 0);
        break;
    case 6: add_service(m, "interrupt in the kernel", SERVICE_INTERRUPT, rng_below(r, 7), 0); break;
    default:
        if (small)
            add_paging(m);
    }
    add_raw(m);
}

void add_to_v86(struct maker *m, u32 ip)
{
    add_service(m, "to virtual-8086 mode", SERVICE_TO_V86, ip, 0);
}

/* CLAC or STAC before an access; what then faults goes on with AC set. */
void add_access_check(struct maker *m)
{
    static const u8 ac[] = {0x0f, 0x01};
    enum { MODRM_CLAC = 0xca, MODRM_STAC = 0xcb };
    if (!m->p->config.smap || m->p->config.ring)
        return;
    for (unsigned i = 0; i < 2; i++) {
        struct piece *q = piece_add(m, "access check");
        piece_bytes(q, ac, sizeof ac);
        piece_byte(q, i ? MODRM_STAC : rng_one_in(&m->r, 4) ? MODRM_STAC : MODRM_CLAC);
        add_raw(m);
    }
}

void add_cpuid(struct maker *m)
{
    static const u32 leaves[] = {0,    1,          2,          4,          7,          0xb,
                                 0xd,  0x14,       0x15,       0x40000000, 0x80000000, 0x80000001,
                                 0x15, 0x80000004, 0x80000008, 0x12345678};
    static const u8 cpuid[] = {0x0f, 0xa2};
    struct piece *q = piece_add(m, "cpuid");
    piece_mov(q, REG_AX, RNG_PICK(&m->r, leaves));
    piece_mov(q, REG_CX, rng_below(&m->r, 4));
    piece_bytes(q, cpuid, sizeof cpuid);
}

/* ---- segments ---- */

/* IRET to an outer ring makes null selectors 0, so that ticks would be seen by their RPL. */
static u32 draw_selector(struct maker *m)
{
    struct rng *r = &m->r;
    static const u16 selectors[] = {
        SEL_DATA3, SEL_DATA3,     SEL_NEAR,   SEL_NEAR,   SEL_BELOW,     SEL_LIMITED,
        SEL_LOCAL, SEL_WRAPPING,  SEL_THREAD, SEL_THREAD, SEL_THREAD,    SEL_DATA0,
        SEL_DOWN,  SEL_READ_ONLY, 0,          3,          SEL_LOCAL_FLAT};
    static const u16 bad[] = {SEL_GONE, SEL_LDT, 0x1000, SEL_CODE0, SEL_TSS};
    u32 sel = rng_one_in(r, 12) ? RNG_PICK(r, bad) : RNG_PICK(r, selectors);
    if (rng_one_in(r, 8))
        sel ^= rng_below(r, 4);
    return sel_null((u16)sel) && m->p->config.ticks ? 0 : sel;
}

/* One of those that a program may have as it likes; now and then DS or ES. */
static unsigned draw_segment(struct rng *r)
{
    if (rng_one_in(r, 6))
        return rng_one_in(r, 2) ? SEG_DS : SEG_ES;
    return rng_one_in(r, 2) ? SEG_FS : SEG_GS;
}

enum {
    OPC_MOV_FROM_SEG = 0x8c,
    OPC_MOV_TO_SEG = 0x8e,
    MODRM_EAX = 0xc0,
    MODRM_TOP = 0x04, /* with SIB_TOP: [esp] */
    SIB_TOP = 0x24,
};

/* push seg; pop seg: one and two bytes by segment. */
static void put_push_pop(struct piece *q, unsigned seg, bool pop)
{
    static const u8 old[] = {[SEG_ES] = 0x06, [SEG_CS] = 0x0e, [SEG_SS] = 0x16, [SEG_DS] = 0x1e};
    if (seg >= SEG_FS) {
        piece_byte(q, 0x0f);
        piece_byte(q, (u8)((seg == SEG_FS ? 0xa0 : 0xa8) | pop));
    } else {
        piece_byte(q, (u8)(old[seg] | pop));
    }
}

/* A selector from a register, from memory, from the stack, or with an offset (LFS, LGS). */
static void put_segment_load(struct maker *m, struct piece *q, unsigned seg)
{
    struct rng *r = &m->r;
    u32 sel = draw_selector(m);
    switch (rng_below(r, 6)) {
    case 0: /* push sel; mov seg, [esp]; pop eax */
        piece_byte(q, OPC_PUSH_IMM);
        piece_u32(q, sel);
        piece_byte(q, OPC_MOV_TO_SEG);
        piece_byte(q, (u8)(MODRM_TOP | seg << 3));
        piece_byte(q, SIB_TOP);
        piece_byte(q, 0x58);
        break;
    case 1: /* push sel; pop seg */
        piece_byte(q, OPC_PUSH_IMM);
        piece_u32(q, sel);
        put_push_pop(q, seg, true);
        break;
    case 2: /* push sel; push offset; lfs edx, [esp]; pop; pop */
        if (seg >= SEG_FS) {
            piece_byte(q, OPC_PUSH_IMM);
            piece_u32(q, sel);
            piece_byte(q, OPC_PUSH_IMM);
            piece_u32(q, rng_value(r));
            piece_byte(q, 0x0f);
            piece_byte(q, seg == SEG_FS ? 0xb4 : 0xb5);
            piece_byte(q, MODRM_TOP | REG_DX << 3);
            piece_byte(q, SIB_TOP);
            piece_byte(q, 0x58);
            piece_byte(q, 0x58);
        }
        break;
    default:
        piece_mov(q, REG_AX, sel);
        piece_byte(q, OPC_MOV_TO_SEG);
        piece_byte(q, (u8)(MODRM_EAX | seg << 3));
    }
}

/* As interrupt handlers do: keep one, load another, put the first back. */
static void put_segment_kept(struct maker *m, struct piece *q, unsigned seg)
{
    bool stack = rng_one_in(&m->r, 2);
    if (stack) {
        put_push_pop(q, seg, false);
    } else { /* mov ebx, seg */
        piece_byte(q, OPC_MOV_FROM_SEG);
        piece_byte(q, (u8)(MODRM_EAX | seg << 3 | REG_BX));
    }
    put_segment_load(m, q, seg);
    if (stack) {
        put_push_pop(q, seg, true);
    } else {
        piece_byte(q, OPC_MOV_TO_SEG);
        piece_byte(q, (u8)(MODRM_EAX | seg << 3 | REG_BX));
    }
}

void add_segment(struct maker *m)
{
    struct rng *r = &m->r;
    unsigned seg = draw_segment(r);
    switch (rng_below(r, 6)) {
    case 0:
        add_service(m, "thread", SERVICE_THREAD, (u32)rng_next(r) & 0x3ffc, 0);
        put_segment_load(m, piece_add(m, "segment"), seg);
        break;
    case 1: add_service(m, "GDT", SERVICE_CHANGE_GDT, 0, 0); break;
    case 2: add_service(m, "LDT", SERVICE_CHANGE_LDT, 0, 0); break;
    case 3: put_segment_kept(m, piece_add(m, "segment kept"), seg); break;
    default: put_segment_load(m, piece_add(m, "segment"), seg);
    }
    add_raw(m);
    add_raw(m);
}
