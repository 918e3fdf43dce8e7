/* SPDX-License-Identifier: MIT
 *
 * The host code that all translations share: the way in and out, the doors to C, the table of
 * jumps, and the look into the TLB. See hostreg.h for registers.
 *
 * Translated code runs on a stack of its own (returns.h), thunks as well: they keep their return
 * address at [RSP] while they run, which is how a knock finds the translation that is waiting for
 * them, and is not there any more when C code runs.
 */
#include "bt/thunk.h"
#include "cpu/flags.h"

#define TLB_INDEX_LOW (32 - TLB_BITS - PAGE_SHIFT)
_Static_assert(TLB_BITS == 10, "HR_C22 is 32 less this");

#define RF_TO_SHADOW 14
_Static_assert(FLAG_RF >> RF_TO_SHADOW == SHADOW_RF, "both are set by one register");

static const unsigned pushed[] = {X64_RBX, X64_RBP, X64_R12, X64_R13, X64_R14, X64_R15};

static struct x64_mem gpr_slot(unsigned gpr)
{
    return x64_at(HR_VCPU, (i32)(offsetof(struct vcpu, gpr) + gpr * 8));
}

/* Guest registers and flags to struct vcpu. Destroys RAX. */
static void put_spill(struct asm_buf *a)
{
    for (unsigned g = 0; g < 8; g++)
        asm_store64(a, host_gpr(g), gpr_slot(g));
    asm_lahf_seto(a);
    asm_rm(a, XO_MOV_STORE | X64_66, X64_RAX, VCPU(oszapc));
}

/* And back. */
static void put_reload(struct asm_buf *a)
{
    asm_rm(a, XO_MOVZX16, X64_RAX, VCPU(oszapc));
    asm_restore_flags(a);
    for (unsigned g = 8; g-- > 0;)
        asm_rm(a, XO_MOV_LOAD, host_gpr(g), gpr_slot(g));
}

static void put_call_c(struct asm_buf *a, const void *fn)
{
    asm_mov_imm64(a, X64_RAX, (u64)(uintptr_t)fn);
    asm_rr(a, XO_GROUP5, XG5_CALL, X64_RAX);
}

/* An event comes before the instruction that RF was meant for. Destroys RCX. */
static void put_rf(struct asm_buf *a)
{
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU(rf_ahead));
    asm_rm(a, XO_OR_STORE, X64_RCX, VCPU(rflags));
    asm_shr_imm(a, X64_RCX, RF_TO_SHADOW);
    asm_rm(a, XO_OR_STORE8, X64_RCX, VCPU(shadow));
}

/* ---- in and out ---- */

static void make_enter(struct asm_buf *a, struct thunks *t)
{
    t->enter = asm_here(a);
    for (unsigned i = 0; i < ARRAY_LEN(pushed); i++)
        asm_push(a, pushed[i]);
    asm_copy64(a, HR_VCPU, X64_RDI);
    asm_copy64(a, HR_T0, X64_RSI);
    asm_mov_imm32(a, HR_C22, 22);
    asm_mov_imm32(a, HR_C12, PAGE_SHIFT);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU(events));
    asm_rr(a, XO_XOR, X64_RAX, X64_RAX);
    asm_rm(a, XO_AND, X64_RCX, VCPU(event_mask));
    u8 *none = asm_jcc_short(a, XCC_Z);
    put_rf(a);
    u8 *out = asm_jmp(a, NULL);
    asm_short_here(a, none);
    asm_store64(a, X64_RSP, VCPU(c_rsp));
    asm_load64(a, X64_RSP, VCPU(returns_rsp));
    put_reload(a);
    asm_jmp_reg(a, HR_T0);

    t->leave = asm_here(a);
    asm_store64(a, X64_RSP, VCPU(returns_rsp));
    asm_load64(a, X64_RSP, VCPU(c_rsp));
    t->leave_c = asm_here(a);
    asm_rel32_here(a, out);
    for (unsigned i = ARRAY_LEN(pushed); i-- > 0;)
        asm_pop(a, pushed[i]);
    asm_ret(a);
}

static void make_exits(struct asm_buf *a, struct thunks *t)
{
    t->link = asm_here(a);
    asm_pop(a, HR_T0);
    put_spill(a);
    asm_copy64(a, X64_RAX, HR_T0);
    asm_jmp(a, t->leave);

    t->exit = asm_here(a);
    put_spill(a);
    asm_store64(a, HR_T0, VCPU(rip));
    asm_rr(a, XO_XOR, X64_RAX, X64_RAX);
    asm_jmp(a, t->leave);
}

/* ---- the table of jumps ---- */

/* HR_T2 = the entry for HR_T0, or away by one of the two jumps in `out`, with RCX in R11. R8 stays
 * as it is, and RCX is in R11 from the second instruction on: a knock here starts again from the
 * beginning (run.c). */
static void put_find(struct asm_buf *a, u8 *out[2])
{
    asm_copy64(a, HR_T3, X64_RCX);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU(events));
    asm_vex_rm(a, (struct x64_vex){.opcode = 0xf5, .map = 2, .pp = 2}, X64_RCX, X64_RCX,
               VCPU(event_mask)); /* pext: 0 only if none of the mask's bits is set */
    u8 *quiet = asm_jrcxz(a);
    out[0] = asm_jmp(a, NULL);
    asm_short_here(a, quiet);
    asm_rorx(a, HR_T1, HR_T0, 16); /* jump_index() */
    asm_rm(a, XO_MOV_LOAD, HR_T2, VCPU_UPPER(code_key));
    asm_rm(a, XO_MOV_STORE, HR_T2, VCPU_UPPER(target_key)); /* what has knocked is not due */
    asm_rm(a, XO_LEA, HR_T1, x64_indexed(HR_T1, HR_T0, 1, 0));
    asm_rm(a, XO_LEA, HR_T1, x64_indexed(HR_T1, HR_T2, 1, 0));
    asm_rr(a, XO_MOVZX16, HR_T1, HR_T1);
    asm_load64(a, HR_T2, VCPU(jumps));
    asm_rm(a, XO_LEA | X64_W, HR_T1, x64_indexed(HR_T1, HR_T1, 1, 0));
    asm_rm(a, XO_LEA | X64_W, HR_T2, x64_indexed(HR_T2, HR_T1, 8, 0));
    asm_load64(a, X64_RCX, x64_at(HR_T2, offsetof(struct tjump, ntag)));
    asm_load64(a, HR_T1, VCPU(code_key));
    asm_rm(a, XO_LEA | X64_W, X64_RCX, x64_indexed(X64_RCX, HR_T0, 1, 0));
    asm_rm(a, XO_LEA | X64_W, X64_RCX, x64_indexed(X64_RCX, HR_T1, 1, 0));
    u8 *hit = asm_jrcxz(a);
    out[1] = asm_jmp(a, NULL);
    asm_short_here(a, hit);
    asm_copy64(a, X64_RCX, HR_T3);
}

/* Where the two jumps of put_find() lead: an event is due; the entry is another one's. */
static void put_out(struct asm_buf *a, const struct thunks *t, u8 *out[2])
{
    asm_rel32_here(a, out[0]);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_jmp(a, t->exit);
    asm_rel32_here(a, out[1]);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_push(a, HR_T0); /* the door takes it for its return address */
    asm_jmp(a, t->lookup);
}

/* Every so often a jump that the table has served goes to C (run.c), which gives its target a guard
 * if it has none: who comes by a guard is predicted better. */
static void make_jump(struct asm_buf *a, struct thunks *t)
{
    u8 *find_out[2], *jump_out[2];
    t->find = asm_here(a);
    put_find(a, find_out);
    asm_ret(a);
    t->find_end = t->jump = asm_here(a);
    put_find(a, jump_out);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU(jump_patience));
    asm_rm(a, XO_LEA, X64_RCX, x64_at(X64_RCX, -1));
    asm_rm(a, XO_MOV_STORE, X64_RCX, VCPU(jump_patience));
    u8 *look = asm_jrcxz(a);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_jmp_mem(a, x64_at(HR_T2, offsetof(struct tjump, host)));
    t->jump_end = asm_here(a);
    asm_short_here(a, look);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_mov_mem_imm32(a, VCPU(jump_patience), 0);
    asm_jmp(a, t->exit);
    put_out(a, t, jump_out);
    for (unsigned i = 0; i < ARRAY_LEN(find_out); i++)
        asm_rel32_here(a, find_out[i]);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_pop(a, HR_T1); /* the return address */
    asm_jmp(a, t->exit);
}

/* A guard has not found its key. Mostly its link serves another program that runs the same code:
 * now and then the exit is linked for the one that asks. */
#define MISSES_TO_LINK 16

static void make_miss(struct asm_buf *a, struct thunks *t)
{
    t->miss = asm_here(a);
    asm_copy64(a, HR_T3, X64_RCX);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU(patience));
    asm_rm(a, XO_LEA, X64_RCX, x64_at(X64_RCX, -1));
    asm_rm(a, XO_MOV_STORE, X64_RCX, VCPU(patience));
    u8 *enough = asm_jrcxz(a);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_pop(a, HR_T1); /* the return address */
    asm_jmp(a, t->jump);
    asm_short_here(a, enough);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_mov_mem_imm32(a, VCPU(patience), MISSES_TO_LINK);
    asm_jmp(a, t->link);
}

/* Nothing is known of where the guest returns to: HR_T0. */
static void make_underflow(struct asm_buf *a, struct thunks *t)
{
    t->underflow = asm_here(a);
    asm_rm(a, XO_LEA | X64_W, X64_RSP, x64_at(X64_RSP, -(i32)sizeof(u64)));
    asm_jmp(a, t->jump);
}

/* ---- doors to C ---- */

/* After C: RAX is where to go on, or NULL. An event that has knocked while C code ran was not heard
 * by the translation. */
static void put_tail(struct asm_buf *a, const struct thunks *t, bool called)
{
    asm_rr(a, XO_TEST | X64_W, X64_RAX, X64_RAX);
    u8 *off = asm_jcc_short(a, XCC_Z);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU(events));
    asm_rm(a, XO_AND, X64_RCX, VCPU(event_mask));
    u8 *on = asm_jcc_short(a, XCC_Z);
    put_rf(a);
    asm_rr(a, XO_XOR, X64_RAX, X64_RAX);
    asm_short_here(a, off);
    asm_load64(a, X64_RSP, VCPU(c_rsp));
    asm_jmp(a, t->leave_c);
    asm_short_here(a, on);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, gpr_slot(REG_SP));
    asm_rm(a, XO_SUB, X64_RCX, VCPU(sp_ahead)); /* not before it is sure that nothing is due */
    asm_rm(a, XO_MOV_STORE, X64_RCX, gpr_slot(REG_SP));
    asm_load64(a, X64_RSP, VCPU(returns_rsp));
    if (called)
        asm_push(a, X64_RAX);
    else
        asm_copy64(a, HR_T0, X64_RAX);
    put_reload(a);
    if (called)
        asm_ret(a);
    else
        asm_jmp_reg(a, HR_T0);
}

/* C gets the vcpu, the return address and R8. A door that is not called but jumped to, by what does
 * not come back, has no return address. */
static const u8 *make_door(struct asm_buf *a, const struct thunks *t, const void *fn, bool called)
{
    const u8 *start = asm_here(a);
    put_spill(a);
    asm_copy64(a, X64_RDI, HR_VCPU);
    asm_load64(a, X64_RSI, x64_at(X64_RSP, 0));
    asm_rr(a, XO_MOV_STORE, HR_T0, X64_RDX);
    asm_rm(a, XO_LEA | X64_W, X64_RAX, x64_at(X64_RSP, called ? sizeof(u64) : 0));
    asm_store64(a, X64_RAX, VCPU(returns_rsp));
    asm_mov_mem_imm32(a, VCPU(sp_ahead), 0);
    asm_mov_mem_imm32(a, VCPU(rf_ahead), 0);
    asm_load64(a, X64_RAX, VCPU(c_rsp));
    asm_rm(a, XO_LEA | X64_W, X64_RSP, x64_at(X64_RAX, -(i32)sizeof(u64))); /* as C wants it */
    put_call_c(a, fn);
    put_tail(a, t, called);
    return start;
}

static void make_doors(struct asm_buf *a, struct thunks *t)
{
    t->callout = make_door(a, t, (const void *)callout_insn, true);
    t->last_callout = make_door(a, t, (const void *)callout_insn, false);
    t->port = make_door(a, t, (const void *)callout_port, true);
    t->fpu = make_door(a, t, (const void *)callout_fpu, true);
    t->lookup = make_door(a, t, (const void *)callout_lookup, true);
    /* A trap has no return address yet: it takes where it happened for one. */
    t->trap = asm_here(a);
    asm_push(a, HR_T1);
    make_door(a, t, (const void *)callout_trap, true);
}

/* ---- the TLB ---- */

static const u8 access_size[ACCESS_SIZES] = {1, 2, 4, 8, 10, 16, 32};

unsigned thunk_size_index(unsigned size)
{
    unsigned i = 0;
    while (access_size[i] != size)
        i++;
    return i;
}

#define WORD_SHIFT 6 /* of page_record's map of code: 64 bytes a word */

/* To `slow` if the access is in more than one word of the map. */
static void put_one_word(struct asm_buf *a, unsigned size, const u8 *slow)
{
    if (size == 1)
        return;
    asm_mov_imm32(a, HR_T1, (1 << WORD_SHIFT) - 1);
    asm_pext(a, X64_RCX, HR_T0, HR_T1);
    asm_mov_imm32(a, HR_T1, WORD_SHIFT);
    asm_rm(a, XO_LEA, X64_RCX, x64_at(X64_RCX, (i32)size - 1));
    asm_shrx(a, X64_RCX, X64_RCX, HR_T1);
    thunk_slow_unless_zero(a, slow);
}

/* A write that is no hit. It is one all the same if the page is kept from direct writes by code
 * only, and there is none in the bytes written. HR_T1 is the negative page of the last byte, less
 * 1. A page without any code is for C, which lets go of it after a while; and now and then another
 * one, which C may open (cpu/code_self.h). */
static void put_write_beside_code(struct asm_buf *a, unsigned size, unsigned view, const u8 *slow)
{
    const struct x64_vex shrx64 = {.opcode = 0xf7, .map = 2, .pp = 3, .w = true};
    const i32 map = (i32)offsetof(struct page_record, code);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, thunk_tlb_field(view, offsetof(struct tlb_entry, page)));
    asm_rm(a, XO_LEA, X64_RCX, x64_indexed(X64_RCX, HR_T1, 1, 1));
    thunk_slow_unless_zero(a, slow);
    put_one_word(a, size, slow);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, thunk_tlb_field(view, offsetof(struct tlb_entry, code)));
    u8 *unknown = asm_jrcxz(a);
    asm_load64(a, HR_T1, VCPU(interp));
    asm_rm(a, XO_LEA | X64_W, HR_T1, x64_indexed(HR_T1, X64_RCX, 1, 0));
    asm_load64(a, X64_RCX, x64_at(HR_T1, offsetof(struct page_record, blocks)));
    u8 *no_code = asm_jrcxz(a);
    asm_mov_imm32(a, X64_RCX, PAGE_OFFSET_MASK & ~((1u << WORD_SHIFT) - 1));
    asm_pext(a, X64_RCX, HR_T0, X64_RCX);
    asm_load64(a, X64_RCX, x64_indexed(HR_T1, X64_RCX, 8, map));
    asm_vex_rr(a, shrx64, X64_RCX, HR_T0, X64_RCX); /* the count is taken modulo 64 */
    asm_mov_imm32(a, HR_T1, (u32)mask64(size));
    asm_pext(a, X64_RCX, X64_RCX, HR_T1);
    u8 *beside = asm_jrcxz(a), *within = asm_jmp(a, NULL);
    asm_short_here(a, beside);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU(beside_wait));
    asm_rm(a, XO_LEA, X64_RCX, x64_at(X64_RCX, -1));
    asm_rm(a, XO_MOV_STORE, X64_RCX, VCPU(beside_wait));
    u8 *sample = asm_jrcxz(a), *done = asm_jmp(a, NULL);
    asm_short_here(a, unknown);
    asm_short_here(a, no_code);
    asm_short_here(a, sample);
    asm_rel32_here(a, within);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_jmp(a, slow);
    asm_rel32_here(a, done);
}

/* HR_T0 from linear to host address, and back. */
static void put_host_address(struct asm_buf *a, unsigned view)
{
    asm_copy64(a, X64_RCX, HR_T3);
    asm_load64(a, HR_T1, thunk_tlb_field(view, offsetof(struct tlb_entry, addend)));
    asm_rm(a, XO_LEA | X64_W, HR_T0, x64_indexed(HR_T0, HR_T1, 1, 0));
    asm_ret(a);
}

/* R8: linear address in, host address out. The tag is compared with the page of the last byte, so
 * that crossings miss. No flag is touched: a difference is tested for by JECXZ. */
static const u8 *make_access(struct asm_buf *a, bool write, unsigned size, unsigned view,
                             const u8 *slow)
{
    const u8 *start = asm_here(a);
    const size_t tag = write ? offsetof(struct tlb_entry, write) : offsetof(struct tlb_entry, read);
    unsigned last = HR_T0;
    asm_rorx(a, HR_T2, HR_T0, PAGE_SHIFT + TLB_BITS); /* index to bits 31..22 */
    if (size > 1) {
        asm_rm(a, XO_LEA, HR_T1, x64_at(HR_T0, (i32)size - 1));
        last = HR_T1;
    }
    asm_shrx(a, HR_T2, HR_T2, HR_C22);
    asm_shrx(a, HR_T1, last, HR_C12);
    asm_shlx(a, HR_T1, HR_T1, HR_C12);
    asm_rm(a, XO_LEA, HR_T2, x64_indexed(X64_NONE, HR_T2, 8, 0));
    asm_not(a, HR_T1);
    asm_copy64(a, HR_T3, X64_RCX);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, thunk_tlb_field(view, tag));
    asm_rm(a, XO_LEA, X64_RCX, x64_indexed(X64_RCX, HR_T1, 1, 1));
    u8 *hit = asm_jrcxz(a), *miss = NULL;
    if (write) {
        miss = asm_jmp(a, NULL);
    } else {
        asm_copy64(a, X64_RCX, HR_T3);
        asm_jmp(a, slow);
    }
    asm_short_here(a, hit);
    put_host_address(a, view);
    if (!write)
        return start;
    asm_rel32_here(a, miss);
    put_write_beside_code(a, size, view, slow);
    put_host_address(a, view);
    return start;
}
void thunks_make(struct bt *bt)
{
    struct asm_buf a;
    struct thunks *t = &bt->thunk;
    asm_init(&a, bt->mem.write, bt->mem.size, bt->mem.exec - bt->mem.write);
    make_enter(&a, t);
    make_exits(&a, t);
    make_doors(&a, t);
    make_jump(&a, t);
    make_miss(&a, t);
    make_underflow(&a, t);
    t->slow = make_door(&a, t, (const void *)callout_slow, true);
    thunks_make_sys(&a, t);
    thunks_make_string(&a, t);
    thunks_make_ring(&a, t);
    for (unsigned view = 0; view < TLB_VIEWS; view++) {
        for (unsigned write = 0; write < 2; write++) {
            for (unsigned i = 0; i < ACCESS_SIZES; i++)
                t->access[view][write][i] = make_access(&a, write, access_size[i], view, t->slow);
        }
    }
    t->end = asm_here(&a);
    bt->used = bt->thunk_used = align_up((u64)(a.at - a.start), 64);
}

/* ---- for the verifier ---- */

unsigned thunks_verify_targets(const struct bt *bt, const struct block *b,
                               struct verify_target target[VERIFY_TARGETS])
{
    const struct thunks *t = &bt->thunk;
    const struct verify_target fixed[] = {
        {.at = t->link, .kind = VERIFY_CALL},
        {.at = t->miss, .kind = VERIFY_CALL},
        {.at = t->callout, .kind = VERIFY_CALL},
        {.at = t->last_callout, .kind = VERIFY_JUMP},
        {.at = t->port, .kind = VERIFY_CALL},
        {.at = t->fpu, .kind = VERIFY_CALL},
        {.at = t->slow, .kind = VERIFY_CALL},
        {.at = t->sysenter, .kind = VERIFY_JUMP},
        {.at = t->sysexit, .kind = VERIFY_JUMP},
        {.at = t->cpuid, .kind = VERIFY_CALL},
        {.at = t->cli, .kind = VERIFY_CALL},
        {.at = t->sti, .kind = VERIFY_CALL},
        {.at = t->popf, .kind = VERIFY_CALL},
        {.at = t->rdtsc, .kind = VERIFY_CALL},
        {.at = t->rdtsc_user, .kind = VERIFY_CALL},
        {.at = t->stac, .kind = VERIFY_CALL},
        {.at = t->clac, .kind = VERIFY_CALL},
        {.at = t->clac_if_smap, .kind = VERIFY_CALL},
        {.at = t->pushf, .kind = VERIFY_KEEPING_CALL},
        {.at = t->find, .kind = VERIFY_FIND, .size = offsetof(struct tjump, host)},
        {.at = t->exit, .kind = VERIFY_JUMP},
        {.at = t->jump, .kind = VERIFY_JUMP},
    };
    unsigned n = 0;
    _Static_assert(ARRAY_LEN(fixed) + SEG_COUNT + TLB_VIEWS * (4 + 2 * ACCESS_SIZES) <=
                       VERIFY_TARGETS,
                   "all have room");
    for (; n < ARRAY_LEN(fixed); n++)
        target[n] = fixed[n];
    for (unsigned seg = 0; seg < SEG_COUNT; seg++) {
        const u8 *load = t->load[(b->mode & MODE_CPL) == 3][seg];
        if (load)
            target[n++] = (struct verify_target){.at = load, .kind = VERIFY_CALL};
    }
    for (unsigned view = 0; view < TLB_VIEWS; view++) {
        if (((b->mode & MODE_CPL) == 3) != (view == TLB_USER))
            continue;
        for (unsigned wide = 0; wide < 2; wide++) {
            target[n++] =
                (struct verify_target){.at = t->rep_movs[view][wide], .kind = VERIFY_CALL};
            target[n++] =
                (struct verify_target){.at = t->rep_stos[view][wide], .kind = VERIFY_CALL};
        }
        for (unsigned i = 0; i < 2 * ACCESS_SIZES; i++)
            target[n++] = (struct verify_target){.at = t->access[view][i & 1][i / 2],
                                                 .kind = VERIFY_ACCESS,
                                                 .size = access_size[i / 2],
                                                 .write = i & 1};
    }
    return n;
}
