/* SPDX-License-Identifier: MIT
 *
 * Descriptor table registers, and invalidation of caches and the TLB (SDM 2A).
 */
#include "cpu/op_sys.h"
#include "cpu/operand.h"
#include "cpu/seg.h"

/* ---- GDTR, IDTR ---- */

/* Offset n of a memory operand at la. */
static u64 la_plus(const struct vcpu *v, u64 la, unsigned n)
{
    return v->mode & MODE_CS64 ? la + n : (u32)(la + n);
}

static unsigned base_bytes(const struct vcpu *v)
{
    return v->mode & MODE_CS64 ? 8 : 4;
}

static struct table_reg read_table(struct vcpu *v, const struct insn *in)
{
    unsigned bytes = base_bytes(v);
    sys_require_cpl0(v);
    u64 la = operand_la(v, in, 2 + bytes, ACCESS_READ);
    struct table_reg t = {.limit = (u16)mem_read(v, la, 2)};
    t.base = mem_read(v, la_plus(v, la, 2), bytes);
    if (bytes == 8 && !mem_canonical(t.base))
        cpu_raise_error(v, VEC_GP, 0);
    if (bytes == 4 && in->opsize == 2)
        t.base &= 0xffffff;
    return t;
}

static void op_lgdt(struct vcpu *v, const struct insn *in)
{
    v->gdtr = read_table(v, in);
    seg_gdt_changed(v);
    sys_done(v, in);
}

static void op_lidt(struct vcpu *v, const struct insn *in)
{
    v->idtr = read_table(v, in);
    sys_done(v, in);
}

/* User-mode instruction prevention (SDM 3A §2.5, CR4.UMIP). */
static void check_umip(struct vcpu *v)
{
    if ((v->mode & MODE_UMIP) && v->cpl)
        cpu_raise_error(v, VEC_GP, 0);
}

static void store_table(struct vcpu *v, const struct insn *in, const struct table_reg *t)
{
    unsigned bytes = base_bytes(v);
    check_umip(v);
    u64 la = operand_la(v, in, 2 + bytes, ACCESS_WRITE);
    mem_probe(v, la, 2 + bytes, ACCESS_WRITE);
    mem_write(v, la, t->limit, 2);
    mem_write(v, la_plus(v, la, 2), t->base, bytes);
    sys_done(v, in);
}

static void op_sgdt(struct vcpu *v, const struct insn *in)
{
    store_table(v, in, &v->gdtr);
}

static void op_sidt(struct vcpu *v, const struct insn *in)
{
    store_table(v, in, &v->idtr);
}

/* ---- LDTR, TR ---- */

/* A register gets the selector zero-extended, memory 16 bits. */
static void store_selector(struct vcpu *v, const struct insn *in, u16 sel)
{
    sys_require_protected(v);
    check_umip(v);
    operand_write(v, in, 0, sel, operand_is_mem(in, 0) ? 2 : in->opsize);
    sys_done(v, in);
}

static void op_sldt(struct vcpu *v, const struct insn *in)
{
    store_selector(v, in, v->ldtr.sel);
}

static void op_str(struct vcpu *v, const struct insn *in)
{
    store_selector(v, in, v->tr.sel);
}

/* The register contents for a system descriptor, 16 bytes long in long mode. */
static struct segment system_segment(struct vcpu *v, u16 sel, u64 desc)
{
    struct segment s = seg_from_descriptor(sel, desc);
    if (vcpu_long_mode(v)) {
        s.base |= seg_descriptor_upper(v, sel) << 32;
        if (!mem_canonical(s.base))
            cpu_raise_error(v, VEC_GP, sel_error(sel));
    }
    return s;
}

/* The descriptor of a selector that must be in the GDT, of type `type` and present. */
static u64 system_descriptor(struct vcpu *v, u16 sel,
                             bool (*type_ok)(const struct vcpu *, unsigned))
{
    if (sel & SEL_TI)
        cpu_raise_error(v, VEC_GP, sel_error(sel));
    u64 desc = seg_descriptor(v, sel, VEC_GP);
    if (desc_is_segment(desc) || !type_ok(v, desc_type(desc)))
        cpu_raise_error(v, VEC_GP, sel_error(sel));
    if (!desc_present(desc))
        cpu_raise_error(v, VEC_NP, sel_error(sel));
    return desc;
}

static bool is_ldt(const struct vcpu *v, unsigned type)
{
    (void)v;
    return type == TYPE_LDT;
}

static bool is_free_tss(const struct vcpu *v, unsigned type)
{
    return type == TYPE_TSS32 || (type == TYPE_TSS16 && !vcpu_long_mode(v));
}

static void op_lldt(struct vcpu *v, const struct insn *in)
{
    sys_require_protected(v);
    sys_require_cpl0(v);
    u16 sel = (u16)operand_read(v, in, 0, 2);
    if (sel_null(sel))
        v->ldtr = seg_null(sel);
    else
        v->ldtr = system_segment(v, sel, system_descriptor(v, sel, is_ldt));
    sys_done(v, in);
}

static void op_ltr(struct vcpu *v, const struct insn *in)
{
    sys_require_protected(v);
    sys_require_cpl0(v);
    u16 sel = (u16)operand_read(v, in, 0, 2);
    if (sel_null(sel))
        cpu_raise_error(v, VEC_GP, 0);
    u64 desc = system_descriptor(v, sel, is_free_tss);
    struct segment tr = system_segment(v, sel, desc);
    seg_set_busy(v, sel, true);
    tr.attr |= TYPE_BUSY;
    v->tr = tr;
    sys_done(v, in);
}

/* ---- TLB and caches ---- */

static void op_invlpg(struct vcpu *v, const struct insn *in)
{
    sys_require_cpl0(v);
    u64 ea = ea_of(v, in), base = v->seg[in->seg].base;
    if (v->mode & MODE_CS64)
        tlb_flush_page(v, in->seg >= SEG_FS ? base + ea : ea);
    else
        tlb_flush_page(v, (u32)(base + ea));
    sys_done(v, in);
}

/* PCIDs are not kept apart in the TLB: MOV CR3 flushes all that is not global. So what an INVPCID
 * for another PCID names is not there. */
static void op_invpcid(struct vcpu *v, const struct insn *in)
{
    enum { ONE_ADDRESS, ONE_PCID, ALL_AND_GLOBAL, ALL };
    sys_require_cpl0(v);
    u64 type = gpr_read(v, in->operand[0].reg, base_bytes(v));
    u64 la = operand_la(v, in, 16, ACCESS_READ);
    u64 pcid = mem_read(v, la, 8), address = mem_read(v, la_plus(v, la, 8), 8);
    if (type > ALL || pcid >> 12 || (pcid && type <= ONE_PCID && !(v->cr4 & CR4_PCIDE)))
        cpu_raise_error(v, VEC_GP, 0);
    if (type == ONE_ADDRESS && !mem_canonical(address))
        cpu_raise_error(v, VEC_GP, 0);
    switch (type) {
    case ONE_ADDRESS: tlb_flush_page(v, address); break;
    case ALL_AND_GLOBAL: tlb_flush(v); break;
    default: tlb_flush_nonglobal(v); break;
    }
    sys_done(v, in);
}

/* There are no caches to write back. */
static void op_cache(struct vcpu *v, const struct insn *in)
{
    sys_require_cpl0(v);
    sys_done(v, in);
}

exec_fn op_table_select(const struct insn *in)
{
    switch (in->op) {
    case OP_LGDT: return op_lgdt;
    case OP_LIDT: return op_lidt;
    case OP_SGDT: return op_sgdt;
    case OP_SIDT: return op_sidt;
    case OP_LLDT: return op_lldt;
    case OP_LTR: return op_ltr;
    case OP_SLDT: return op_sldt;
    case OP_STR: return op_str;
    case OP_INVLPG: return op_invlpg;
    case OP_INVPCID: return op_invpcid;
    case OP_INVD:
    case OP_WBINVD: return op_cache;
    default: return NULL;
    }
}
