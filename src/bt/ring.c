/* SPDX-License-Identifier: MIT
 *
 * Instructions that do as they did the last time: what a system call is made of, beside the
 * kernel's own code, which is SYSENTER, SYSEXIT, and the loads of DS, ES, FS and GS around them;
 * and CPUID. C does each once and remembers what came of it (struct ring_change, seg_loaded,
 * cpuid_known). The thunks here do it again as long as nothing has changed that it hangs on, and go
 * on in the door `slow` before any effect if something has.
 *
 * Who remembers what is to be forgotten: a ring change hangs on the state of windows and code keys
 * and on SYSENTER_CS, whose writers call vcpu_forget_rings(); on RFLAGS and the mode, which are
 * compared. What counts of control registers is in the mode at both ends, but for CR4.SMAP, which
 * ring 3 does not have in its mode: a change of it flushes the TLB, so that code keys change. A
 * descriptor is compared byte by byte; GDTR and the place of its page are watched by seg.h. CPUID's
 * leaves hang on control registers and MSRs.
 */
#include "bt/thunk.h"
#include "cpu/flags.h"

/* With one of these set C looks. */
#define FLAGS_ODD (FLAG_TF | FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP)

_Static_assert(offsetof(struct segment, sel) == offsetof(struct segment, attr) + 2,
               "selector and rights are stored as one");
_Static_assert(offsetof(struct vcpu, x87_mem) == offsetof(struct vcpu, x87_last) + 4,
               "both are looked at as one");

/* ---- remembering ---- */

static u32 attr_sel(const struct segment *s)
{
    return s->attr | (u32)s->sel << 16;
}

bool ring_now(const struct vcpu *v, u32 from, struct ring_change *c)
{
    bool user = v->cpl == 3;
    if (v->window_settled != 1 + user || (v->rflags & FLAGS_ODD) || !bt_mode(v->mode))
        return false;
    if ((from | v->mode) & MODE_XONLY) /* more of CS than selector and rights would differ */
        return false;
    *c = (struct ring_change){.minus_mode = -from,
                              .mode = v->mode,
                              .cs = attr_sel(&v->seg[SEG_CS]),
                              .ss = attr_sel(&v->seg[SEG_SS]),
                              .at_ring = v->at_ring,
                              .code_key = v->code_key,
                              .code_key_smap = v->code_key_smap,
                              .window = v->window};
    return true;
}

void ring_changed(struct vcpu *v, u32 from)
{
    ring_now(v, from, &v->ring[v->cpl == 3]);
}

/* ---- parts of thunks; RCX is in HR_T3 ---- */

static struct x64_mem seg_field(unsigned seg, size_t field)
{
    return x64_at(HR_VCPU,
                  (i32)(offsetof(struct vcpu, seg) + seg * sizeof(struct segment) + field));
}

/* Selectors are part of what x87_settle() works out. */
static void put_x87_check(struct asm_buf *a, const u8 *slow)
{
    asm_load64(a, X64_RCX, VCPU(x87_last));
    thunk_slow_unless_zero(a, slow);
}

/* ---- segment loads ---- */

/* The index is all but RPL, TI and what is beyond the table; the tag tells those apart. */
static void put_index(struct asm_buf *a)
{
    asm_mov_imm32(a, HR_T1, (SEG_LOADED - 1) << 3);
    asm_pext(a, HR_T1, HR_T0, HR_T1);
}

/* From the entry at HR_T1 to the register. What is flat has nothing but selector and rights of its
 * own; `end_of` may tell that the rest was made for others. */
static void put_segment(struct asm_buf *a, unsigned seg)
{
    const i32 table = (i32)(offsetof(struct vcpu, seg_loaded) + offsetof(struct seg_loaded, seg));
    const i32 rights = (i32)offsetof(struct segment, attr);
    if (seg < SEG_FS) {
        asm_rm(a, XO_MOV_LOAD, HR_T2, x64_indexed(HR_VCPU, HR_T1, 8, table + rights));
        asm_rm(a, XO_MOV_STORE, HR_T2, seg_field(seg, offsetof(struct segment, attr)));
        return;
    }
    for (unsigned at = 0; at < sizeof(struct segment); at += 8) {
        asm_load64(a, HR_T2, x64_indexed(HR_VCPU, HR_T1, 8, table + (i32)at));
        asm_store64(a, HR_T2, seg_field(seg, at));
    }
}

static const u8 *make_load(struct asm_buf *a, unsigned seg, unsigned cpl, const u8 *slow)
{
    const u8 *start = asm_here(a);
    const i32 table = (i32)offsetof(struct vcpu, seg_loaded);
    const i32 tag = seg >= SEG_FS ? (i32)offsetof(struct seg_loaded, minus_tag)
                                  : (i32)offsetof(struct seg_loaded, minus_flat_tag);
    asm_copy64(a, HR_T3, X64_RCX);
    put_x87_check(a, slow);
    put_index(a);
    asm_load64(a, HR_T2, VCPU(gdt_host));
    asm_load64(a, X64_RCX, x64_indexed(HR_T2, HR_T1, 8, 0));
    asm_rm(a, XO_LEA, HR_T1, x64_indexed(X64_NONE, HR_T1, 8, 0)); /* an entry is 8 times 8 */
    asm_load64(
        a, HR_T2,
        x64_indexed(HR_VCPU, HR_T1, 8, table + (i32)offsetof(struct seg_loaded, minus_bytes)));
    asm_rm(a, XO_LEA | X64_W, X64_RCX, x64_indexed(X64_RCX, HR_T2, 1, 0));
    thunk_slow_unless_zero(a, slow);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, x64_indexed(HR_VCPU, HR_T1, 8, table + tag));
    asm_rm(a, XO_LEA, X64_RCX, x64_indexed(X64_RCX, HR_T0, 1, (i32)seg_tag(0, cpl)));
    thunk_slow_unless_zero(a, slow);
    put_segment(a, seg);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_ret(a);
    return start;
}

/* ---- CPUID ---- */

static struct x64_mem cpuid_field(size_t field)
{
    return x64_indexed(HR_VCPU, HR_T1, 4, (i32)(offsetof(struct vcpu, cpuid_known) + field));
}

static const u8 *make_cpuid(struct asm_buf *a, const u8 *slow)
{
    const u8 *start = asm_here(a);
    asm_copy64(a, HR_T3, X64_RCX);
    asm_mov_imm32(a, HR_T1, CPUID_KNOWN_INDEX);
    asm_pext(a, HR_T1, X64_RAX, HR_T1);
    asm_rm(a, XO_LEA, HR_T1, x64_indexed(X64_NONE, HR_T1, 8, 0)); /* an entry is 8 times 4 */
    asm_rm(a, XO_MOV_LOAD, X64_RCX, cpuid_field(offsetof(struct cpuid_known, minus_leaf)));
    asm_rm(a, XO_LEA, X64_RCX, x64_indexed(X64_RCX, X64_RAX, 1, 0));
    thunk_slow_unless_zero(a, slow);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, cpuid_field(offsetof(struct cpuid_known, minus_subleaf)));
    asm_rm(a, XO_LEA, X64_RCX, x64_indexed(X64_RCX, HR_T3, 1, 0));
    thunk_slow_unless_zero(a, slow);
    asm_rm(a, XO_MOV_LOAD, X64_RAX, cpuid_field(offsetof(struct cpuid_known, eax)));
    asm_rm(a, XO_MOV_LOAD, X64_RBX, cpuid_field(offsetof(struct cpuid_known, ebx)));
    asm_rm(a, XO_MOV_LOAD, X64_RCX, cpuid_field(offsetof(struct cpuid_known, ecx)));
    asm_rm(a, XO_MOV_LOAD, X64_RDX, cpuid_field(offsetof(struct cpuid_known, edx)));
    asm_ret(a);
    return start;
}

/* ---- SYSENTER, SYSEXIT ---- */

#define RING(which, field)                                                                         \
    x64_at(HR_VCPU, (i32)(offsetof(struct vcpu, ring) + (which) * sizeof(struct ring_change) +     \
                          offsetof(struct ring_change, field)))

/* To `slow` unless what is remembered holds. HR_T0 = rflags; HR_T2 stays. */
static void put_ring_checks(struct asm_buf *a, unsigned user, const u8 *slow)
{
    asm_copy64(a, HR_T3, X64_RCX);
    put_x87_check(a, slow);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU(mode));
    asm_rm(a, XO_MOV_LOAD, HR_T0, RING(user, minus_mode));
    asm_rm(a, XO_LEA, X64_RCX, x64_indexed(X64_RCX, HR_T0, 1, 0));
    thunk_slow_unless_zero(a, slow);
    asm_rm(a, XO_MOV_LOAD, HR_T0, VCPU(rflags));
    asm_mov_imm32(a, HR_T1, FLAGS_ODD);
    asm_pext(a, X64_RCX, HR_T0, HR_T1);
    thunk_slow_unless_zero(a, slow);
    asm_copy64(a, X64_RCX, HR_T3);
}

static void put_copy32(struct asm_buf *a, struct x64_mem to, struct x64_mem from)
{
    asm_rm(a, XO_MOV_LOAD, HR_T1, from);
    asm_rm(a, XO_MOV_STORE, HR_T1, to);
}

static void put_copy64(struct asm_buf *a, struct x64_mem to, struct x64_mem from)
{
    asm_load64(a, HR_T1, from);
    asm_store64(a, HR_T1, to);
}

static void put_ring_change(struct asm_buf *a, unsigned user)
{
    put_copy32(a, seg_field(SEG_CS, offsetof(struct segment, attr)), RING(user, cs));
    put_copy32(a, seg_field(SEG_SS, offsetof(struct segment, attr)), RING(user, ss));
    put_copy32(a, VCPU(mode), RING(user, mode));
    put_copy64(a, VCPU(code_key), RING(user, code_key));
    asm_store64(a, HR_T1, VCPU(target_key));
    put_copy64(a, VCPU(code_key_smap), RING(user, code_key_smap));
    put_copy64(a, VCPU(window), RING(user, window));
    asm_wrgsbase(a, HR_T1);
    put_copy32(a, VCPU(at_ring), RING(user, at_ring));
}

/* SYSENTER and SYSEXIT are jumped to, with the place of the instruction in HR_T2. */
static const u8 *make_whole(struct asm_buf *a, const struct thunks *t)
{
    const u8 *start = asm_here(a);
    asm_rr(a, XO_MOV_LOAD, HR_T0, HR_T2);
    asm_jmp(a, t->last_callout);
    return start;
}

/* To HR_T0. A knock may have been forgotten with the old target_key. */
static void put_jump(struct asm_buf *a, const struct thunks *t)
{
    asm_copy64(a, HR_T3, X64_RCX);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU(events));
    asm_vex_rm(a, (struct x64_vex){.opcode = 0xf5, .map = 2, .pp = 2}, X64_RCX, X64_RCX,
               VCPU(event_mask)); /* pext: 0 only if none of the mask's bits is set */
    u8 *quiet = asm_jrcxz(a);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_jmp(a, t->exit);
    asm_short_here(a, quiet);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_mov_imm32(a, HR_T1, TARGET_MASK);
    asm_pext(a, HR_T1, HR_T0, HR_T1);
    asm_jmp_mem(a, x64_indexed(HR_VCPU, HR_T1, sizeof(u8 *), (i32)offsetof(struct vcpu, targets)));
}

static const u8 *make_sysenter(struct asm_buf *a, const struct thunks *t)
{
    const u8 *whole = make_whole(a, t), *start = asm_here(a);
    put_ring_checks(a, 0, whole);
    asm_mov_imm32(a, HR_T1, ~(u32)FLAG_IF);
    asm_pext(a, HR_T0, HR_T0, HR_T1);
    asm_pdep(a, HR_T0, HR_T0, HR_T1);
    asm_rm(a, XO_MOV_STORE, HR_T0, VCPU(rflags));
    put_ring_change(a, 0);
    asm_rm(a, XO_MOV_LOAD, HR_SP, VCPU(sysenter_esp));
    asm_rm(a, XO_MOV_LOAD, HR_T0, VCPU(sysenter_eip));
    put_jump(a, t);
    return start;
}

static const u8 *make_sysexit(struct asm_buf *a, const struct thunks *t)
{
    const u8 *whole = make_whole(a, t), *start = asm_here(a);
    put_ring_checks(a, 1, whole);
    put_ring_change(a, 1);
    asm_rr(a, XO_MOV_LOAD, HR_SP, X64_RCX);
    asm_rr(a, XO_MOV_LOAD, HR_T0, X64_RDX);
    put_jump(a, t);
    return start;
}

void thunks_make_ring(struct asm_buf *a, struct thunks *t)
{
    for (unsigned seg = 0; seg < SEG_COUNT; seg++) {
        if (seg == SEG_CS || seg == SEG_SS)
            continue;
        t->load[0][seg] = make_load(a, seg, 0, t->slow);
        t->load[1][seg] = make_load(a, seg, 3, t->slow);
    }
    t->cpuid = make_cpuid(a, t->slow);
    t->sysenter = make_sysenter(a, t);
    t->sysexit = make_sysexit(a, t);
}
