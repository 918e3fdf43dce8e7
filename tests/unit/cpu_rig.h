/* SPDX-License-Identifier: MIT
 *
 * A CPU on a bench: 16 MiB of RAM, a bus that only takes notes, and a landing for faults. What a
 * test needs of tables it writes itself; rig_protected() lays out a flat GDT, an IDT and a TSS.
 *
 *     0000h  IVT              3000h  TSS (32 bits)       8000h  page tables
 *     1000h  GDT              4000h  stack of ring 0 (top 5000h)
 *     2000h  IDT              6000h  stack of ring 3 (top 7000h)
 */
#ifndef ANELLO_TESTS_CPU_RIG_H
#define ANELLO_TESTS_CPU_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cpu/decode.h"
#include "cpu/excp.h"
#include "cpu/exec.h"
#include "cpu/flags.h"
#include "cpu/mem.h"
#include "cpu/seg.h"
#include "cpu/vcpu.h"
#include "descriptors.h"

#define RIG_RAM MIB(16)

enum {
    RIG_GDT = 0x1000,
    RIG_IDT = 0x2000,
    RIG_TSS = 0x3000,
    RIG_STACK0 = 0x5000,
    RIG_STACK3 = 0x7000,
    RIG_TABLES = 0x8000,
};

/* Selectors of rig_protected()'s GDT, beside those of descriptors.h. */
enum {
    SEL_TSS2 = 0x30,
    SEL_GATE = 0x38,
    SEL_CONFORMING = 0x40,
    SEL_CODE64 = 0x48,
    SEL_LDT = 0x50,
    SEL_FREE = 0x60, /* and above: the test's own */
};

struct rig {
    struct physmem *pm;
    struct vcpu *v;
    u8 *ram;
    jmp_buf landing;
    /* The bus */
    u32 port_value;
    u16 last_port;
    u32 last_out;
    unsigned port_reads, port_writes, mmio_reads, mmio_writes;
    u64 last_mmio;
    int vector; /* that the interrupt controller gives */
    u64 cr8;
};

/* True when `code` raised a fault (it is then in r->v->fault). */
#define FAULTS(r, code)                                                                            \
    (__extension__({                                                                               \
        volatile bool raised_ = true;                                                              \
        if (!setjmp((r)->landing)) {                                                               \
            code;                                                                                  \
            raised_ = false;                                                                       \
        }                                                                                          \
        raised_;                                                                                   \
    }))

#define ASSERT_FAULT(r, vec, err, code)                                                            \
    do {                                                                                           \
        assert_true(FAULTS(r, code));                                                              \
        assert_int_equal((r)->v->fault.vector, vec);                                               \
        assert_int_equal((r)->v->fault.has_error ? (r)->v->fault.error : 0, err);                  \
    } while (0)

static inline u32 rig_port_read(void *opaque, u16 port, unsigned size)
{
    struct rig *r = opaque;
    (void)size;
    r->last_port = port;
    r->port_reads++;
    return r->port_value;
}

static inline void rig_port_write(void *opaque, u16 port, u32 value, unsigned size)
{
    struct rig *r = opaque;
    (void)size;
    r->last_port = port;
    r->last_out = value;
    r->port_writes++;
}

static inline u64 rig_mmio_read(void *opaque, u64 pa, unsigned size)
{
    struct rig *r = opaque;
    (void)size;
    r->mmio_reads++;
    return pa;
}

static inline void rig_mmio_write(void *opaque, u64 pa, u64 value, unsigned size)
{
    struct rig *r = opaque;
    (void)pa;
    (void)size;
    r->mmio_writes++;
    r->last_mmio = value;
}

static inline int rig_ack(void *opaque)
{
    struct rig *r = opaque;
    vcpu_event_clear(r->v, EVENT_INTR);
    return r->vector;
}

static inline u64 rig_cr8_read(void *opaque)
{
    return ((struct rig *)opaque)->cr8;
}

static inline void rig_cr8_write(void *opaque, u64 value)
{
    ((struct rig *)opaque)->cr8 = value;
}

static inline struct rig *rig_open(const char *model)
{
    struct rig *r = calloc(1, sizeof *r);
    struct vcpu_hooks hooks = {.port_read = rig_port_read,
                               .port_write = rig_port_write,
                               .mmio_read = rig_mmio_read,
                               .mmio_write = rig_mmio_write,
                               .interrupt_ack = rig_ack,
                               .cr8_read = rig_cr8_read,
                               .cr8_write = rig_cr8_write,
                               .opaque = r};
    const char *error = NULL;
    r->pm = physmem_create(RIG_RAM, NULL);
    assert_non_null(r->pm);
    u64 offset = physmem_alloc(r->pm, RIG_RAM, "ram");
    r->ram = physmem_host(r->pm, offset);
    physmem_map_ram(r->pm, 0, RIG_RAM, offset, 0, "ram");
    r->v = vcpu_create(r->pm, &hooks, NULL, 0, model, &error);
    assert_null(error && !r->v ? error : NULL);
    r->v->landing = &r->landing;
    return r;
}

static inline void rig_close(struct rig *r)
{
    vcpu_destroy(r->v);
    physmem_destroy(r->pm);
    free(r);
}

/* ---- memory ---- */

static inline void poke16(struct rig *r, u64 pa, u16 value)
{
    store16(r->ram + pa, value);
}
static inline void poke32(struct rig *r, u64 pa, u32 value)
{
    store32(r->ram + pa, value);
}
static inline void poke64(struct rig *r, u64 pa, u64 value)
{
    store64(r->ram + pa, value);
}
static inline u16 peek16(struct rig *r, u64 pa)
{
    return load16(r->ram + pa);
}
static inline u32 peek32(struct rig *r, u64 pa)
{
    return load32(r->ram + pa);
}
static inline u64 peek64(struct rig *r, u64 pa)
{
    return load64(r->ram + pa);
}

/* ---- descriptors ---- */

enum {
    D_CODE = SEG_PRESENT | SEG_S | SEG_CODE | SEG_WRITABLE,
    D_DATA = SEG_PRESENT | SEG_S | SEG_WRITABLE,
    D_FLAT = SEG_G | SEG_DB,
    D_DPL3 = SEG_DPL,
};

static inline u64 flat_desc(unsigned attr)
{
    return make_desc(0, 0xfffff, attr | SEG_G);
}

static inline void set_desc(struct rig *r, u16 sel, u64 desc)
{
    poke64(r, RIG_GDT + (sel & ~7u), desc);
}

static inline u64 get_desc(struct rig *r, u16 sel)
{
    return peek64(r, RIG_GDT + (sel & ~7u));
}

static inline void set_gate(struct rig *r, unsigned vector, u64 gate)
{
    poke64(r, RIG_IDT + vector * 8, gate);
}

static inline void set_gate64(struct rig *r, unsigned vector, u16 sel, u64 offset, unsigned type,
                              unsigned dpl, unsigned ist)
{
    poke64(r, RIG_IDT + vector * 16, make_gate(sel, (u32)offset, type, dpl, ist));
    poke64(r, RIG_IDT + vector * 16 + 8, offset >> 32);
}

/* ---- modes ---- */

static inline void rig_set_segment(struct rig *r, unsigned s, u16 sel)
{
    r->v->seg[s] = seg_from_descriptor(sel, get_desc(r, sel));
}

/* Code and data of a privilege level, all segments flat. */
static inline void rig_ring(struct rig *r, unsigned cpl)
{
    struct vcpu *v = r->v;
    u16 data = cpl ? SEL_DATA3 : SEL_DATA0;
    rig_set_segment(r, SEG_CS, cpl ? SEL_CODE3 : SEL_CODE0);
    rig_set_segment(r, SEG_SS, data);
    rig_set_segment(r, SEG_DS, data);
    rig_set_segment(r, SEG_ES, data);
    v->seg[SEG_FS] = v->seg[SEG_GS] = seg_null(0);
    v->cpl = (u8)cpl;
    v->gpr[REG_SP] = cpl ? RIG_STACK3 : RIG_STACK0;
    vcpu_mode_changed(v);
}

/* Protected mode, 32 bits, ring 0, no paging. All vectors go to CODE0:(F000h + vector). */
static inline void rig_protected(struct rig *r)
{
    struct vcpu *v = r->v;
    set_desc(r, SEL_CODE0, flat_desc(D_CODE | D_FLAT));
    set_desc(r, SEL_DATA0, flat_desc(D_DATA | D_FLAT));
    set_desc(r, SEL_CODE3, flat_desc(D_CODE | D_FLAT | D_DPL3));
    set_desc(r, SEL_DATA3, flat_desc(D_DATA | D_FLAT | D_DPL3));
    set_desc(r, SEL_CONFORMING, flat_desc(D_CODE | D_FLAT | SEG_CONFORMING));
    set_desc(r, SEL_CODE64, flat_desc(D_CODE | SEG_L));
    set_desc(r, SEL_TSS, make_desc(RIG_TSS, 0x67, SEG_PRESENT | TYPE_TSS32_BUSY));
    for (unsigned i = 0; i < 256; i++)
        set_gate(r, i,
                 make_gate(SEL_CODE0, 0xf000 + i, TYPE_INT32, i == 3 || i == 0x80 ? 3 : 0, 0));
    poke32(r, RIG_TSS + 4, RIG_STACK0);
    poke32(r, RIG_TSS + 8, SEL_DATA0);
    poke16(r, RIG_TSS + 102, 0x68);
    v->gdtr = (struct table_reg){RIG_GDT, 0xff};
    v->idtr = (struct table_reg){RIG_IDT, 0x7ff};
    v->tr = seg_from_descriptor(SEL_TSS, get_desc(r, SEL_TSS));
    v->ldtr = seg_null(0);
    v->cr0 = CR0_PE | CR0_ET | CR0_NE;
    v->rip = 0x10000;
    rig_ring(r, 0);
}

/* 64-bit mode, ring 0: the first 16 MiB mapped one to one for user and kernel. */
static inline void rig_long(struct rig *r)
{
    struct vcpu *v = r->v;
    rig_protected(r);
    poke64(r, RIG_TABLES, (RIG_TABLES + 0x1000) | 7);
    poke64(r, RIG_TABLES + 0x1000, (RIG_TABLES + 0x2000) | 7);
    for (unsigned i = 0; i < 8; i++)
        poke64(r, RIG_TABLES + 0x2000 + i * 8, (u64)i << 21 | 0x87);
    for (unsigned i = 0; i < 128; i++)
        set_gate64(r, i, SEL_CODE64, 0xf000 + i, TYPE_INT32, i == 3 ? 3 : 0, 0);
    poke64(r, RIG_TSS + 4, RIG_STACK0);
    v->cr3 = RIG_TABLES;
    v->cr4 = CR4_PAE;
    v->cr0 |= CR0_PG;
    v->efer = EFER_LME | EFER_LMA | EFER_NXE;
    rig_set_segment(r, SEG_CS, SEL_CODE64);
    vcpu_mode_changed(v);
}

/* ---- instructions ---- */

static inline unsigned rig_code_size(const struct rig *r)
{
    return r->v->mode & MODE_CS64 ? 64 : r->v->mode & MODE_CS32 ? 32 : 16;
}

/* Executes the one system instruction that the bytes are; rip names it, and moves as its row says.
 */
static inline void rig_exec(struct rig *r, const void *bytes, size_t n)
{
    struct insn in;
    assert_int_equal(decode(bytes, n, rig_code_size(r), &in), DECODE_OK);
    exec_fn f = op_sys_select(&in);
    assert_non_null(f);
    f(r->v, &in);
}
#define EXEC(r, ...) rig_exec(r, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

#endif
