/* SPDX-License-Identifier: MIT
 *
 * x87: arithmetic by stubs, control instructions in C, because they meet what the host must not
 * see (pending errors) or must not show (its own addresses in the instruction pointer).
 *
 * FIP, FCS, FDP, FDS and FOP are kept in struct vcpu. On the 486 and its successors up to Pentium M
 * every instruction that is not a control instruction sets them; on CPUs that report
 * FDP_EXCPTN_ONLY, FDP, FDS and FOP are set on unmasked errors only (v->fpu_dp_on_error). CPUs that
 * report ZERO_FCS_FDS save both selectors as 0 (SDM 1 §8.1.8).
 *
 * Errors. When all exceptions are masked (v->fpu_unmasked clear) nothing can become pending. Else
 * the status word's ES bit is looked at before each waiting instruction, and:
 *   CR0.NE set    #MF before the waiting instruction.
 *   CR0.NE clear  the board is told (FERR#, IRQ 13) as soon as the error arises, and waiting
 *                 instructions that come before the guest has dealt with it run as if IGNNE# were
 *                 asserted, with the error hidden from the host and put back afterwards.
 */
#include "cpu/op_fpu.h"
#include "cpu/seg.h"

/* FNSTENV's image in 64-bit host mode: the 32-bit protected-mode format. */
struct x87_env {
    u32 fcw, fsw, ftw;
    u32 fip, fcs_fop, fdp, fds;
};
struct x87_save {
    struct x87_env env;
    u8 st[8][IMAGE_ST_BYTES];
};
_Static_assert(sizeof(struct x87_save) == 108, "FNSAVE's image has no holes");

/* ---- Host instructions on the guest's registers ---- */

FPU_ASM u16 fpu_status_word(struct vcpu *v)
{
    u16 fsw;
    fpu_enter(v);
    __asm__ volatile("fnstsw %0" : "=m"(fsw));
    fpu_leave(v);
    return fsw;
}

FPU_ASM static u16 control_word(struct vcpu *v)
{
    u16 fcw;
    fpu_enter(v);
    __asm__ volatile("fnstcw %0" : "=m"(fcw));
    fpu_leave(v);
    return fcw;
}

FPU_ASM static void load_control_word(struct vcpu *v, u16 fcw)
{
    fpu_enter(v);
    __asm__ volatile("fldcw %0" : : "m"(fcw));
    v->fpu_unmasked = ~fcw & X87_EXCEPTIONS;
    fpu_leave(v);
}

FPU_ASM static void clear_exceptions(struct vcpu *v)
{
    fpu_enter(v);
    __asm__ volatile("fnclex");
    fpu_leave(v);
}

/* Masks all exceptions, as FNSTENV does. */
FPU_ASM static void store_env(struct vcpu *v, struct x87_env *env)
{
    fpu_enter(v);
    __asm__ volatile("fnstenv %0" : "=m"(*env));
    v->fpu_unmasked = false;
    fpu_leave(v);
}

FPU_ASM static void load_env(struct vcpu *v, const struct x87_env *env)
{
    fpu_enter(v);
    __asm__ volatile("fldenv %0" : : "m"(*env));
    v->fpu_unmasked = ~env->fcw & X87_EXCEPTIONS;
    fpu_leave(v);
}

FPU_ASM static void store_all(struct vcpu *v, struct x87_save *save)
{
    fpu_enter(v);
    __asm__ volatile("fnsave %0" : "=m"(*save));
    v->fpu_unmasked = false;
    fpu_leave(v);
}

FPU_ASM static void load_all(struct vcpu *v, const struct x87_save *save)
{
    fpu_enter(v);
    __asm__ volatile("frstor %0" : : "m"(*save));
    v->fpu_unmasked = ~save->env.fcw & X87_EXCEPTIONS;
    fpu_leave(v);
}

FPU_ASM static void initialize(struct vcpu *v)
{
    fpu_enter(v);
    __asm__ volatile("fninit");
    v->fpu_unmasked = false;
    fpu_leave(v);
}

/* ---- Errors ---- */

/* With NE clear the CPU stops before the instruction until an interrupt comes (SDM 1 §8.7.2). Where
 * none is on its way, because it is masked or was ignored by IGNNE#, it goes on. */
void fpu_check_pending_slow(struct vcpu *v)
{
    if (!(fpu_status_word(v) & X87_ES))
        return;
    if (v->cr0 & CR0_NE)
        cpu_raise(v, VEC_MF);
    if (vcpu_events(v) & EVENT_INTR && v->rflags & FLAG_IF)
        cpu_restart(v);
}

/* An error has arisen: the FERR# pin, if errors are reported that way. */
static void report_error(struct vcpu *v, u16 before, u16 after)
{
    if (v->cr0 & CR0_NE || before & X87_ES || !(after & X87_ES) || !v->hooks.ferr)
        return;
    fpu_put_away(v);
    v->hooks.ferr(v->hooks.opaque);
}

/* After a control instruction that may have unmasked an old error. */
static void report_unmasked(struct vcpu *v, u16 before)
{
    if (v->fpu_unmasked)
        report_error(v, before, fpu_status_word(v));
}

/* Sets flags in the status word; the host computes ES. */
static void add_flags(struct vcpu *v, u16 flags)
{
    struct x87_env env;
    u16 fcw = control_word(v);
    store_env(v, &env);
    env.fcw = fcw;
    env.fsw |= flags;
    load_env(v, &env);
}

bool fpu_run_watched(struct vcpu *v, stub_fn *stub, void *operand)
{
    u16 before = fpu_status_word(v);
    if (before & X87_ES)
        clear_exceptions(v);
    fpu_run(v, stub, operand);
    u16 after = fpu_status_word(v);
    if (before & X87_ES)
        add_flags(v, before & (X87_EXCEPTIONS | X87_SF));
    report_error(v, before, after);
    return after & X87_ES;
}

/* ---- Arithmetic ---- */

/* As fpu_run_watched(). */
static inline bool run(struct vcpu *v, stub_fn *stub, void *operand)
{
    if (UNLIKELY(v->fpu_unmasked))
        return fpu_run_watched(v, stub, operand);
    fpu_run(v, stub, operand);
    return false;
}

static inline void track_insn(struct vcpu *v, const struct insn *in, bool error)
{
    v->fpu_ip = v->rip;
    v->fpu_cs = v->seg[SEG_CS].sel;
    if (error || !v->fpu_dp_on_error)
        v->fpu_op = (u16)((in->opcode & 7) << 8 | in->modrm);
}

static inline void track_operand(struct vcpu *v, const struct insn *in, u64 ea, bool error)
{
    if (!error && v->fpu_dp_on_error)
        return;
    v->fpu_dp = ea;
    v->fpu_ds = v->seg[in->seg].sel;
}

void op_x87_reg(struct vcpu *v, const struct insn *in)
{
    fpu_check(v, CHECK_X87);
    track_insn(v, in, run(v, fpu_stub_of(v, in), NULL));
}

void op_x87_load(struct vcpu *v, const struct insn *in)
{
    struct fpu_operand op;
    fpu_check(v, CHECK_X87);
    unsigned size = fpu_operand_size(in);
    u64 ea = ea_of(v, in);
    fpu_operand_open_la(v, &op, seg_linear(v, in->seg, ea, size, ACCESS_READ), size, ACCESS_READ);
    bool error = run(v, fpu_stub_of(v, in), op.hp);
    track_insn(v, in, error);
    track_operand(v, in, ea, error);
}

FPU_ASM static void store_image(struct vcpu *v, struct fpu_image *image)
{
    fpu_enter(v);
    __asm__ volatile("fxsave64 %0" : "=m"(*image));
    fpu_leave(v);
}

FPU_ASM static void load_image(struct vcpu *v, const struct fpu_image *image)
{
    fpu_enter(v);
    __asm__ volatile("fxrstor64 %0" : : "m"(*image));
    fpu_leave(v);
}

/* Runs a store on a buffer and takes it back. Returns the exceptions that it finds. */
static u16 try_store(struct vcpu *v, stub_fn *stub, u8 buffer[FPU_OPERAND_MAX])
{
    struct fpu_image before;
    store_image(v, &before);
    clear_exceptions(v);
    fpu_run(v, stub, buffer);
    u16 found = fpu_status_word(v) & X87_EXCEPTIONS;
    load_image(v, &before);
    return found;
}

/* A store that finds an unmasked error does not store (SDM 1 §8.5), unless the error is only that
 * the result is inexact; it does not even look at its operand, so that cannot fault. */
static bool stores(struct vcpu *v, stub_fn *stub)
{
    u8 buffer[FPU_OPERAND_MAX];
    u16 fcw = control_word(v);
    return !(try_store(v, stub, buffer) & ~fcw & ~X87_PE);
}

/* Whether of a store of ten bytes only the last two are beyond the limit, or in a page that may not
 * be written. */
static bool last_two_fault(struct vcpu *v, const struct insn *in, u64 ea, u64 la)
{
    struct walk walk;
    u32 error;
    u64 page = align_down(la + IMAGE_ST_BYTES - 1, PAGE_BYTES);
    if (!(v->mode & MODE_CS64) && !seg_in_limit(&v->seg[in->seg], ea, IMAGE_ST_BYTES))
        return true;
    return page >= la + sizeof(u64) &&
           !paging_walk(v, page, ACCESS_WRITE, v->view, true, &walk, &error);
}

/* Ten bytes are written as eight and two: where only the two fault, the eight are there (observed
 * on Intel Cascade Lake; SDM 3A §8.1.1 allows it). */
static void store_first_eight(struct vcpu *v, const struct insn *in, u64 ea, stub_fn *stub)
{
    u8 buffer[FPU_OPERAND_MAX];
    u64 la = seg_linear(v, in->seg, ea, sizeof(u64), ACCESS_WRITE);
    if (LIKELY(!last_two_fault(v, in, ea, la)))
        return;
    fpu_check_alignment(v, la, IMAGE_ST_BYTES);
    try_store(v, stub, buffer);
    mem_write(v, la, load64(buffer), sizeof(u64));
}

void op_x87_store(struct vcpu *v, const struct insn *in)
{
    struct fpu_operand op;
    fpu_check(v, CHECK_X87);
    unsigned size = fpu_operand_size(in);
    u64 ea = ea_of(v, in);
    stub_fn *stub = fpu_stub_of(v, in);
    bool error;
    if (LIKELY(!v->fpu_unmasked) || stores(v, stub)) {
        if (size == IMAGE_ST_BYTES)
            store_first_eight(v, in, ea, stub);
        u64 la = seg_linear(v, in->seg, ea, size, ACCESS_WRITE);
        fpu_operand_open_la(v, &op, la, size, ACCESS_WRITE);
        error = run(v, stub, op.hp);
        fpu_operand_write_back(v, &op, size);
    } else
        error = run(v, stub, op.bounce);
    track_insn(v, in, error);
    track_operand(v, in, ea, error);
}

/* ---- Control instructions ---- */

static void x87_fwait(struct vcpu *v, const struct insn *in)
{
    (void)in;
    if ((v->mode & (MODE_MP | MODE_TS)) == (MODE_MP | MODE_TS))
        cpu_raise(v, VEC_NM);
    fpu_check_pending(v);
}

static void no_wait(struct vcpu *v)
{
    if (UNLIKELY(v->mode & (MODE_EM | MODE_TS)))
        cpu_raise(v, VEC_NM);
}

/* FNENI, FNDISI, FNSETPM: instructions of the 8087 and the 287 that later ones ignore. */
static void x87_ignored(struct vcpu *v, const struct insn *in)
{
    (void)in;
    no_wait(v);
}

static void forget_pointers(struct vcpu *v)
{
    v->fpu_ip = v->fpu_dp = 0;
    v->fpu_cs = v->fpu_ds = v->fpu_op = 0;
}

static void x87_fninit(struct vcpu *v, const struct insn *in)
{
    (void)in;
    no_wait(v);
    initialize(v);
    forget_pointers(v);
}

static void x87_fnclex(struct vcpu *v, const struct insn *in)
{
    (void)in;
    no_wait(v);
    clear_exceptions(v);
}

static u64 word_la(struct vcpu *v, const struct insn *in, enum access access)
{
    u64 la = fpu_operand_la(v, in, sizeof(u16), access);
    fpu_check_alignment(v, la, sizeof(u16));
    return la;
}

static void x87_fldcw(struct vcpu *v, const struct insn *in)
{
    fpu_check(v, CHECK_X87);
    u16 fcw = (u16)mem_read(v, word_la(v, in, ACCESS_READ), sizeof(u16));
    u16 before = v->cr0 & CR0_NE ? 0 : fpu_status_word(v);
    load_control_word(v, fcw);
    report_unmasked(v, before);
}

static void x87_fnstcw(struct vcpu *v, const struct insn *in)
{
    no_wait(v);
    mem_write(v, word_la(v, in, ACCESS_WRITE), control_word(v), sizeof(u16));
}

static void x87_fnstsw(struct vcpu *v, const struct insn *in)
{
    no_wait(v);
    u16 fsw = fpu_status_word(v);
    if (in->operand[0].kind == OPD_MEM)
        mem_write(v, word_la(v, in, ACCESS_WRITE), fsw, sizeof(u16));
    else
        v->gpr[REG_AX] = (v->gpr[REG_AX] & ~(u64)0xffff) | fsw;
}

/* ---- Environments (SDM 1 figures 8-9 to 8-12) ----
 *
 *              protected mode                        real-address and virtual-8086 mode
 *   word 0..2  FCW, FSW, FTW                         the same
 *   3          FIP                                   linear instruction address, low 16 bits
 *   4          FCS (32-bit: FOP in bits 26..16)      its rest from bit 12 up, FOP in bits 10..0
 *   5          FDP                                   linear operand address, low 16 bits
 *   6          FDS                                   its rest from bit 12 up
 *
 * The words are 16 or 32 bits wide, by operand size. Words 0, 1, 2 and 6 (and 3 and 5 in real
 * mode) of the 32-bit format are 16-bit values; hardware fills the upper halves with ones.
 */
#define ENV_WORDS      7
#define ENV_HIGH_SHIFT 12
#define FOP_MASK       0x7ffu
#define FOP_SHIFT      16

struct env_format {
    unsigned width; /* bytes of a word */
    bool real;
};

static struct env_format env_format(const struct vcpu *v, const struct insn *in)
{
    return (struct env_format){.width = in->opsize == 2 ? 2 : 4, .real = !vcpu_protected(v)};
}

static u32 env_linear(u16 sel, u64 offset)
{
    return (u32)(((u32)sel << 4) + offset);
}

/* The host's words become the guest's image. */
static void env_compose(const struct vcpu *v, struct env_format f, const struct x87_env *env,
                        u8 *out)
{
    const u32 ones = 0xffff0000;
    u16 cs = fpu_saved_selector(v, v->fpu_cs), ds = fpu_saved_selector(v, v->fpu_ds);
    u32 word[ENV_WORDS] = {env->fcw | ones, env->fsw | ones, env->ftw | ones};
    if (f.real) {
        u32 ip = env_linear(cs, v->fpu_ip), dp = env_linear(ds, v->fpu_dp);
        word[3] = (ip & 0xffff) | ones;
        word[4] = ip >> 16 << ENV_HIGH_SHIFT | v->fpu_op;
        word[5] = (dp & 0xffff) | ones;
        word[6] = dp >> 16 << ENV_HIGH_SHIFT;
    } else {
        word[3] = (u32)v->fpu_ip;
        word[4] = cs | (u32)v->fpu_op << FOP_SHIFT;
        word[5] = (u32)v->fpu_dp;
        word[6] = ds | ones;
    }
    for (unsigned i = 0; i < ENV_WORDS; i++)
        store_sized(out + i * f.width, word[i], f.width);
}

/* The guest's image becomes the host's words, and the pointers. */
static void env_parse(struct vcpu *v, struct env_format f, const u8 *in, struct x87_env *env)
{
    const u32 ones = 0xffff0000;
    u32 word[ENV_WORDS];
    for (unsigned i = 0; i < ENV_WORDS; i++)
        word[i] = (u32)load_sized(in + i * f.width, f.width);
    *env = (struct x87_env){
        .fcw = word[0] | ones, .fsw = word[1] | ones, .ftw = word[2] | ones, .fds = ones};
    v->fpu_cs = v->fpu_ds = 0;
    if (f.real) {
        v->fpu_ip = (word[3] & 0xffff) | word[4] >> ENV_HIGH_SHIFT << 16;
        v->fpu_dp = (word[5] & 0xffff) | word[6] >> ENV_HIGH_SHIFT << 16;
        v->fpu_op = word[4] & FOP_MASK;
    } else {
        v->fpu_ip = word[3];
        v->fpu_cs = (u16)word[4];
        v->fpu_dp = word[5];
        v->fpu_ds = (u16)word[6];
        if (f.width == 4)
            v->fpu_op = word[4] >> FOP_SHIFT & FOP_MASK;
    }
}

/* #AC: aligned as its words. */
static u64 env_la(struct vcpu *v, const struct insn *in, struct env_format f, unsigned size,
                  enum access access)
{
    u64 la = fpu_operand_la(v, in, size, access);
    fpu_check_alignment(v, la, f.width);
    return la;
}

static void x87_fnstenv(struct vcpu *v, const struct insn *in)
{
    struct env_format f = env_format(v, in);
    struct x87_env env;
    u8 image[sizeof env];
    unsigned size = ENV_WORDS * f.width;
    no_wait(v);
    u64 la = env_la(v, in, f, size, ACCESS_WRITE);
    mem_probe_area(v, la, f.width, size, ACCESS_WRITE);
    store_env(v, &env);
    env_compose(v, f, &env, image);
    mem_write_bytes(v, la, image, size);
}

static void x87_fldenv(struct vcpu *v, const struct insn *in)
{
    struct env_format f = env_format(v, in);
    struct x87_env env;
    u8 image[sizeof env];
    unsigned size = ENV_WORDS * f.width;
    fpu_check(v, CHECK_X87);
    u64 la = env_la(v, in, f, size, ACCESS_READ);
    mem_probe_area(v, la, f.width, size, ACCESS_READ);
    mem_read_bytes(v, la, image, size);
    u16 before = v->cr0 & CR0_NE ? 0 : fpu_status_word(v);
    env_parse(v, f, image, &env);
    load_env(v, &env);
    report_unmasked(v, before);
}

static void x87_fnsave(struct vcpu *v, const struct insn *in)
{
    struct env_format f = env_format(v, in);
    struct x87_save save;
    u8 image[sizeof save];
    unsigned env_size = ENV_WORDS * f.width, size = env_size + sizeof save.st;
    no_wait(v);
    u64 la = env_la(v, in, f, size, ACCESS_WRITE);
    mem_probe_area(v, la, f.width, size, ACCESS_WRITE);
    store_all(v, &save);
    env_compose(v, f, &save.env, image);
    memcpy(image + env_size, save.st, sizeof save.st);
    mem_write_bytes(v, la, image, size);
    forget_pointers(v);
}

static void x87_frstor(struct vcpu *v, const struct insn *in)
{
    struct env_format f = env_format(v, in);
    struct x87_save save;
    u8 image[sizeof save];
    unsigned env_size = ENV_WORDS * f.width, size = env_size + sizeof save.st;
    fpu_check(v, CHECK_X87);
    u64 la = env_la(v, in, f, size, ACCESS_READ);
    mem_probe_area(v, la, f.width, size, ACCESS_READ);
    mem_read_bytes(v, la, image, size);
    u16 before = v->cr0 & CR0_NE ? 0 : fpu_status_word(v);
    env_parse(v, f, image, &save.env);
    memcpy(save.st, image + env_size, sizeof save.st);
    load_all(v, &save);
    report_unmasked(v, before);
}

exec_fn op_x87_select(const struct insn *in)
{
    switch (in->op) {
    case OP_FWAIT: return x87_fwait;
    case OP_FNENI:
    case OP_FNDISI:
    case OP_FNSETPM: return x87_ignored;
    case OP_FNINIT: return x87_fninit;
    case OP_FNCLEX: return x87_fnclex;
    case OP_FLDCW: return x87_fldcw;
    case OP_FNSTCW: return x87_fnstcw;
    case OP_FNSTSW: return x87_fnstsw;
    case OP_FNSTENV: return x87_fnstenv;
    case OP_FLDENV: return x87_fldenv;
    case OP_FNSAVE: return x87_fnsave;
    case OP_FRSTOR: return x87_frstor;
    default: return NULL;
    }
}
