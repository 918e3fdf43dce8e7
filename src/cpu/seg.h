/* SPDX-License-Identifier: MIT
 *
 * Inside the layer: descriptors, and the checks that loading a segment register makes. The public
 * side is in cpu/mem.h.
 */
#ifndef ANELLO_CPU_SEG_H
#define ANELLO_CPU_SEG_H

#include "cpu/mem.h"

/* ---- selectors ---- */
#define SEL_RPL 3
#define SEL_TI  4 /* in the LDT */

static inline unsigned sel_rpl(u16 sel)
{
    return sel & SEL_RPL;
}
static inline bool sel_null(u16 sel)
{
    return (sel & ~SEL_RPL) == 0;
}
/* As error code: EXT is added by cpu_raise_error(). */
static inline u32 sel_error(u16 sel)
{
    return sel & ~(u32)SEL_RPL;
}

/* ---- descriptors (SDM 3A figures 3-8, 5-8, 6-2, 7-3) ---- */

/* Types of system descriptors (S = 0). In long mode the 32-bit ones are 64-bit. */
enum system_type {
    TYPE_TSS16 = 1,
    TYPE_LDT = 2,
    TYPE_TSS16_BUSY = 3,
    TYPE_CALL16 = 4,
    TYPE_TASK_GATE = 5,
    TYPE_INT16 = 6,
    TYPE_TRAP16 = 7,
    TYPE_TSS32 = 9,
    TYPE_TSS32_BUSY = 11,
    TYPE_CALL32 = 12,
    TYPE_INT32 = 14,
    TYPE_TRAP32 = 15,
};
#define TYPE_BUSY 2

static inline unsigned desc_attr(u64 d)
{
    return (d >> 40) & 0xf0ff;
}
static inline unsigned desc_type(u64 d)
{
    return (d >> 40) & SEG_TYPE;
}
static inline unsigned desc_dpl(u64 d)
{
    return (d >> 45) & 3;
}
static inline bool desc_present(u64 d)
{
    return d >> 47 & 1;
}
/* S: a code or data segment. */
static inline bool desc_is_segment(u64 d)
{
    return d >> 44 & 1;
}
static inline bool desc_is_code(u64 d)
{
    return desc_is_segment(d) && (desc_type(d) & SEG_CODE);
}
static inline bool desc_is_conforming(u64 d)
{
    return desc_type(d) & SEG_CONFORMING;
}
static inline bool desc_is_data(u64 d)
{
    return desc_is_segment(d) && !(desc_type(d) & SEG_CODE);
}
static inline bool desc_is_writable_data(u64 d)
{
    return desc_is_data(d) && (desc_type(d) & SEG_WRITABLE);
}
static inline u32 desc_base(u64 d)
{
    return (u32)((d >> 16 & 0xffffff) | (d >> 56 & 0xff) << 24);
}
static inline u32 desc_limit(u64 d)
{
    u32 limit = (u32)((d & 0xffff) | (d >> 32 & 0xf0000));
    return (d >> 40) & SEG_G ? limit << 12 | 0xfff : limit;
}
static inline unsigned attr_dpl(u16 attr)
{
    return (attr & SEG_DPL) >> SEG_DPL_SHIFT;
}

/* The register contents that the descriptor gives. */
struct segment seg_from_descriptor(u16 sel, u64 desc);
/* A real-mode or virtual-8086 segment. */
struct segment seg_vm86(u16 sel);
/* What remains in a data segment register after a null selector was loaded. */
struct segment seg_null(u16 sel);

/* The GDT may be elsewhere, or its pages. */
static inline void seg_gdt_moved(struct vcpu *v)
{
    v->gdt_host = v->gdt_none;
}
/* GDTR has been written, or all of the state. */
void seg_gdt_changed(struct vcpu *v);

/* Reads the descriptor of a non-null selector; outside its table: raises `vector`(selector). */
u64 seg_descriptor(struct vcpu *v, u16 sel, unsigned vector);
/* The linear address of a selector's descriptor. */
u64 seg_descriptor_address(const struct vcpu *v, u16 sel);
/* The upper eight bytes of a 16-byte descriptor in long mode; checks as #GP(selector). */
u64 seg_descriptor_upper(struct vcpu *v, u16 sel);
/* The code segment behind a gate of `size` bytes (SDM 3A 5.8.3.1 and 6.12.1): raises #GP or #NP
 * where code at CPL may not go through to it. */
u64 seg_gate_code(struct vcpu *v, u16 sel, unsigned size);
/* Sets the accessed bit in the table when it is clear; returns the descriptor with the bit. */
u64 seg_mark_accessed(struct vcpu *v, u16 sel, u64 desc);
/* Sets or clears the busy bit of a TSS descriptor in its table. */
void seg_set_busy(struct vcpu *v, u16 sel, bool busy);

/* What SS must be for privilege level cpl: raises `vector`(selector), or #SS(selector) when not
 * present. Returns the descriptor, marked accessed. */
u64 seg_check_stack(struct vcpu *v, u16 sel, unsigned cpl, unsigned vector);
/* What DS..GS may be at privilege level cpl: raises `vector`(selector) or #NP(selector). */
u64 seg_check_data(struct vcpu *v, u16 sel, unsigned cpl, unsigned vector);

/* Whether an access of size bytes at ea is inside the limit of a segment (expand-down or not). */
bool seg_in_limit(const struct segment *s, u64 ea, u64 size);

/* DS..GS whose DPL is too low for the current CPL become null (returns to outer levels). */
void seg_drop_inaccessible(struct vcpu *v);

/* CS, with the privilege level it brings. The caller calls vcpu_mode_changed(). */
void seg_set_cs(struct vcpu *v, u16 sel, u64 desc, unsigned cpl);
/* Real and virtual-8086 mode: selector and base only. */
void seg_set_cs_real(struct vcpu *v, u16 sel);

#endif
