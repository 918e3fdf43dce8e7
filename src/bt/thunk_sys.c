/* SPDX-License-Identifier: MIT
 *
 * Host code for what kernels do all day to their own flags: CLI, STI, PUSHF, POPF, STAC, CLAC, and
 * RDTSC. Each thunk does the usual case; where more is to be done, and before anything has changed,
 * it goes on in the door `slow`, which executes the whole instruction by the interpreter's
 * function.
 *
 * Like all code before an instruction's effect they leave guest registers and flags alone: bits of
 * RFLAGS are changed by PEXT and PDEP, which touch no host flag.
 */
#include "bt/internal.h"
#include "cpu/flags.h"

/* What POPF loads by the interpreter only, when it changes. */
#define POPF_ODD (FLAG_TF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_AC | FLAG_ID)
/* MOVZX r32, AH cannot be encoded for R8 to R15. */
#define AH_SHIFT 8

/* Clears a bit of rflags, or sets it. Destroys HR_T0 and HR_T1. */
static void put_flag(struct asm_buf *a, u32 flag, bool on)
{
    asm_rm(a, XO_MOV_LOAD, HR_T0, VCPU(rflags));
    asm_mov_imm32(a, HR_T1, ~flag);
    asm_pext(a, HR_T0, HR_T0, HR_T1);
    asm_pdep(a, HR_T0, HR_T0, HR_T1);
    if (on)
        asm_rm(a, XO_LEA, HR_T0, x64_at(HR_T0, (i32)flag));
    asm_rm(a, XO_MOV_STORE, HR_T0, VCPU(rflags));
}

/* The same where it is known to be the other way round. Destroys HR_T0. */
static void put_flag_turned(struct asm_buf *a, u32 flag, bool on)
{
    asm_rm(a, XO_MOV_LOAD, HR_T0, VCPU(rflags));
    asm_rm(a, XO_LEA, HR_T0, x64_at(HR_T0, on ? (i32)flag : -(i32)flag));
    asm_rm(a, XO_MOV_STORE, HR_T0, VCPU(rflags));
}

static const u8 *make_cli(struct asm_buf *a)
{
    const u8 *start = asm_here(a);
    put_flag(a, FLAG_IF, false);
    asm_ret(a);
    return start;
}

/* An event that is due waits for the instruction after STI: that is left to C. */
static const u8 *make_sti(struct asm_buf *a, const u8 *slow)
{
    const u8 *start = asm_here(a);
    asm_copy64(a, HR_T3, X64_RCX);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU(events));
    u8 *quiet = asm_jrcxz(a);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_jmp(a, slow);
    asm_short_here(a, quiet);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_mov_mem_imm32(a, VCPU(event_mask), UINT32_MAX);
    put_flag(a, FLAG_IF, true);
    asm_ret(a);
    return start;
}

/* HR_T2 = what PUSHF pushes; HR_T0 stays as it is. */
static const u8 *make_pushf(struct asm_buf *a)
{
    const u8 *start = asm_here(a);
    asm_copy64(a, HR_T3, X64_RAX);
    asm_lahf_seto(a);
    asm_rr(a, XO_MOVZX16, HR_T1, X64_RAX);
    asm_rr(a, XO_MOVZX8, HR_T2, X64_RAX);
    asm_shr_imm(a, HR_T1, AH_SHIFT);
    asm_shl_imm(a, HR_T2, FLAG_OF_SHIFT);
    asm_rr(a, XO_OR, HR_T2, HR_T1);
    asm_rm(a, XO_OR, HR_T2, VCPU(rflags));
    asm_alu_imm(a, XG_AND, HR_T2, ~(u32)(FLAG_VM | FLAG_RF));
    asm_restore_flags(a);
    asm_copy64(a, X64_RAX, HR_T3);
    asm_ret(a);
    return start;
}

/* HR_T0 = what POPF has read, at CPL 0. Flags may be destroyed on the way to `slow`: POPF loads
 * them all, and cannot fault any more. */
static const u8 *make_popf(struct asm_buf *a, const u8 *slow)
{
    const u8 *start = asm_here(a);
    asm_rm(a, XO_MOV_LOAD, HR_T1, VCPU(rflags));
    asm_rr(a, XO_MOV_LOAD, HR_T2, HR_T1);
    asm_rr(a, XO_XOR, HR_T2, HR_T0);
    asm_alu_imm(a, XG_AND, HR_T2, POPF_ODD);
    u8 *odd = asm_jcc(a, XCC_NZ, NULL);
    asm_alu_imm(a, XG_AND, HR_T1, ~(u32)(FLAG_IF | FLAG_RF));
    asm_rr(a, XO_MOV_LOAD, HR_T2, HR_T0);
    asm_alu_imm(a, XG_AND, HR_T2, FLAG_IF);
    u8 *closed = asm_jcc_short(a, XCC_Z);
    asm_rm(a, XO_MOV_LOAD, HR_T3, VCPU(events));
    asm_rr(a, XO_TEST, HR_T3, HR_T3);
    u8 *due = asm_jcc(a, XCC_NZ, NULL);
    asm_mov_mem_imm32(a, VCPU(event_mask), UINT32_MAX);
    asm_short_here(a, closed);
    asm_rr(a, XO_OR, HR_T1, HR_T2);
    asm_rm(a, XO_MOV_STORE, HR_T1, VCPU(rflags));
    asm_copy64(a, HR_T3, X64_RAX);
    asm_rr(a, XO_MOV_LOAD, X64_RAX, HR_T0);
    asm_shr_imm(a, HR_T0, FLAG_OF_SHIFT);
    asm_alu_imm(a, XG_AND, HR_T0, OSZAPC_OF);
    asm_shl_imm(a, X64_RAX, AH_SHIFT);
    asm_rr(a, XO_OR, X64_RAX, HR_T0);
    asm_restore_flags(a);
    asm_copy64(a, X64_RAX, HR_T3);
    asm_ret(a);
    asm_rel32_here(a, odd);
    asm_rel32_here(a, due);
    asm_jmp(a, slow);
    return start;
}

/* EDX:EAX = the guest's time stamp counter. */
static const u8 *make_rdtsc(struct asm_buf *a)
{
    static const u8 rdtsc[] = {0x0f, 0x31};
    const struct x64_vex shlx64 = {.opcode = 0xf7, .map = 2, .pp = 1, .w = true};
    const struct x64_vex shrx64 = {.opcode = 0xf7, .map = 2, .pp = 3, .w = true};
    const u8 *start = asm_here(a);
    asm_bytes(a, rdtsc, sizeof rdtsc);
    asm_mov_imm32(a, HR_T1, 32);
    asm_vex_rr(a, shlx64, X64_RDX, HR_T1, X64_RDX);
    asm_load64(a, HR_T0, VCPU(tsc_offset));
    asm_rm(a, XO_LEA | X64_W, X64_RAX, x64_indexed(X64_RAX, X64_RDX, 1, 0));
    asm_rm(a, XO_LEA | X64_W, X64_RAX, x64_indexed(X64_RAX, HR_T0, 1, 0));
    asm_vex_rr(a, shrx64, X64_RDX, HR_T1, X64_RAX);
    asm_rr(a, XO_MOV_STORE, X64_RAX, X64_RAX);
    asm_ret(a);
    return start;
}

/* To `clear` or `set` by a bit of CR4. Destroys HR_T1 and HR_T3. */
static const u8 *make_cr4_switch(struct asm_buf *a, u32 bit, const u8 *clear, const u8 *set)
{
    const u8 *start = asm_here(a);
    asm_copy64(a, HR_T3, X64_RCX);
    asm_mov_imm32(a, HR_T1, bit);
    asm_rm(a, XO_MOV_LOAD, X64_RCX, VCPU(cr4));
    asm_pext(a, X64_RCX, X64_RCX, HR_T1);
    u8 *is_clear = asm_jrcxz(a);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_jmp(a, set);
    asm_short_here(a, is_clear);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_jmp(a, clear);
    return start;
}

/* Between the kernel's modes with and without MODE_SMAP. */
static const u8 *make_ac(struct asm_buf *a, bool on)
{
    const u8 *start = asm_here(a);
    asm_load64(a, HR_T0, VCPU(code_key));
    asm_load64(a, HR_T1, VCPU(code_key_smap));
    asm_store64(a, HR_T0, VCPU(code_key_smap));
    asm_store64(a, HR_T1, VCPU(code_key));
    asm_copy64(a, HR_T3, X64_RCX);
    asm_load64(a, X64_RCX, VCPU(target_key));
    u8 *knocked = asm_jrcxz(a);
    asm_store64(a, HR_T1, VCPU(target_key));
    asm_short_here(a, knocked);
    asm_copy64(a, X64_RCX, HR_T3);
    asm_rm(a, XO_MOV_LOAD, HR_T0, VCPU(mode));
    asm_rm(a, XO_LEA, HR_T0, x64_at(HR_T0, on ? -MODE_SMAP : MODE_SMAP));
    asm_rm(a, XO_MOV_STORE, HR_T0, VCPU(mode));
    asm_mov_imm32(a, HR_T1, on ? TLB_KERNEL : TLB_KERNEL_SMAP);
    asm_rm(a, XO_MOV_STORE8, HR_T1, VCPU(view));
    put_flag_turned(a, FLAG_AC, on); /* MODE_SMAP says that it is clear */
    asm_ret(a);
    return start;
}

void thunks_make_sys(struct asm_buf *a, struct thunks *t)
{
    t->cli = make_cli(a);
    t->sti = make_sti(a, t->slow);
    t->pushf = make_pushf(a);
    t->popf = make_popf(a, t->slow);
    t->rdtsc = make_rdtsc(a);
    t->rdtsc_user = make_cr4_switch(a, CR4_TSD, t->rdtsc, t->slow);
    t->stac = make_ac(a, true);
    t->clac = make_ac(a, false);
    t->clac_if_smap = make_cr4_switch(a, CR4_SMAP, t->slow, t->clac);
}
