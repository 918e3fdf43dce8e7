/* SPDX-License-Identifier: MIT */
#include "bt/verify.h"

#include <capstone/capstone.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/vcpu.h"

/* ---- what is allowed ---- */

/* Instructions whose only effects are on registers, arithmetic flags and their operands. */
static const x86_insn allowed[] = {
    X86_INS_ADC,    X86_INS_ADCX,   X86_INS_ADD,    X86_INS_ADOX,    X86_INS_AND,
    X86_INS_BSF,    X86_INS_BSR,    X86_INS_BSWAP,  X86_INS_BT,      X86_INS_BTC,
    X86_INS_BTR,    X86_INS_BTS,    X86_INS_CBW,    X86_INS_CDQ,     X86_INS_CLC,
    X86_INS_CMC,    X86_INS_CMOVA,  X86_INS_CMOVAE, X86_INS_CMOVB,   X86_INS_CMOVBE,
    X86_INS_CMOVE,  X86_INS_CMOVG,  X86_INS_CMOVGE, X86_INS_CMOVL,   X86_INS_CMOVLE,
    X86_INS_CMOVNE, X86_INS_CMOVNO, X86_INS_CMOVNP, X86_INS_CMOVNS,  X86_INS_CMOVO,
    X86_INS_CMOVP,  X86_INS_CMOVS,  X86_INS_CMP,    X86_INS_CMPXCHG, X86_INS_CMPXCHG8B,
    X86_INS_CRC32,  X86_INS_CWD,    X86_INS_CWDE,   X86_INS_DEC,     X86_INS_DIV,
    X86_INS_IDIV,   X86_INS_IMUL,   X86_INS_INC,    X86_INS_LAHF,    X86_INS_LEA,
    X86_INS_LFENCE, X86_INS_LZCNT,  X86_INS_MFENCE, X86_INS_MOV,     X86_INS_MOVABS,
    X86_INS_MOVBE,  X86_INS_MOVNTI, X86_INS_MOVSX,  X86_INS_MOVSXD,  X86_INS_MOVZX,
    X86_INS_MUL,    X86_INS_NEG,    X86_INS_NOP,    X86_INS_NOT,     X86_INS_OR,
    X86_INS_PAUSE,  X86_INS_POPCNT, X86_INS_RCL,    X86_INS_RCR,     X86_INS_ROL,
    X86_INS_ROR,    X86_INS_SAHF,   X86_INS_SAL,    X86_INS_SAR,     X86_INS_SBB,
    X86_INS_SETA,   X86_INS_SETAE,  X86_INS_SETB,   X86_INS_SETBE,   X86_INS_SETE,
    X86_INS_SETG,   X86_INS_SETGE,  X86_INS_SETL,   X86_INS_SETLE,   X86_INS_SETNE,
    X86_INS_SETNO,  X86_INS_SETNP,  X86_INS_SETNS,  X86_INS_SETO,    X86_INS_SETP,
    X86_INS_SETS,   X86_INS_SFENCE, X86_INS_SHL,    X86_INS_SHLD,    X86_INS_SHR,
    X86_INS_SHRD,   X86_INS_STC,    X86_INS_SUB,    X86_INS_TEST,    X86_INS_TZCNT,
    X86_INS_XADD,   X86_INS_XCHG,   X86_INS_XOR,
};

/* Vector instructions that Capstone has in no group. */
static const x86_insn allowed_vector[] = {
    X86_INS_VSQRTSD,
    X86_INS_VSQRTSS,
    X86_INS_VRSQRTSS,
    X86_INS_VRCPSS,
};

/* Capstone's groups of instructions that are allowed as a whole. */
static const x86_insn_group allowed_groups[] = {
    X86_GRP_ADX,  X86_GRP_AES,  X86_GRP_AVX,  X86_GRP_AVX2,  X86_GRP_BMI,    X86_GRP_BMI2,
    X86_GRP_F16C, X86_GRP_FMA,  X86_GRP_FPU,  X86_GRP_MMX,   X86_GRP_PCLMUL, X86_GRP_SHA,
    X86_GRP_SSE1, X86_GRP_SSE2, X86_GRP_SSE3, X86_GRP_SSE41, X86_GRP_SSE42,  X86_GRP_SSSE3,
};

/* Vector and FPU instructions that do more than their group says: addresses in RDI or in vector
 * registers, or state that the host shares with us. */
static const x86_insn denied[] = {
    X86_INS_MASKMOVDQU, X86_INS_MASKMOVQ,   X86_INS_VMASKMOVDQU, X86_INS_VGATHERDPD,
    X86_INS_VGATHERDPS, X86_INS_VGATHERQPD, X86_INS_VGATHERQPS,  X86_INS_VPGATHERDD,
    X86_INS_VPGATHERDQ, X86_INS_VPGATHERQD, X86_INS_VPGATHERQQ,  X86_INS_FXSAVE,
    X86_INS_FXSAVE64,   X86_INS_FXRSTOR,    X86_INS_FXRSTOR64,   X86_INS_FRSTOR,
    X86_INS_FNSAVE,     X86_INS_CLFLUSH,
};

/* Fields of struct vcpu that translated code may write, and how many bytes from there. */
#define FIELD(name)                                                                                \
    {                                                                                              \
        offsetof(struct vcpu, name), sizeof(((struct vcpu *)0)->name)                              \
    }
static const struct {
    u32 offset, size;
} written_fields[] = {
    FIELD(jump_to),
    FIELD(fpu_dp),
    FIELD(x87_last),
    FIELD(x87_mem),
};

#define TARGET_TABLE offsetof(struct vcpu, targets)

#define WINDOW_GUARD 64 /* more bytes than any access has */

/* ---- one verification ---- */

enum approved { APPROVED_NO, APPROVED_READ, APPROVED_WRITE };

struct verifier {
    const struct verify_code *code;
    csh handle;
    cs_insn *insn;
    const cs_x86 *x86;
    u8 *starts;  /* by offset, from one part to the next: an instruction begins there */
    u8 *targets; /* the same: how many branches lead there */
    u8 approved; /* enum approved: of [R8] */
    u8 approved_size;
    u64 known;                         /* up to this offset all has been compared with an idiom */
    const struct verify_target *found; /* a VERIFY_FIND has just returned */
    u64 point;                         /* up to here R8 is the address of a place in this code */
    u64 back;                          /* up to here R9 is that of a return's guard */
    u64 reach; /* up to here a register holds `unusable` and `limited` of segment `reach_seg` */
    unsigned reach_reg, reach_seg;
    char *text;
    size_t size;
};

/* Offset of an address in the code, its parts taken together; or NOWHERE. */
#define NOWHERE (~(u64)0)
static u64 offset_of(const struct verify_code *code, u64 address)
{
    u64 before = 0;
    for (unsigned i = 0; i < VERIFY_PARTS; i++) {
        u64 offset = address - (u64)(uintptr_t)code->part[i].at;
        if (offset < code->part[i].size)
            return before + offset;
        before += code->part[i].size;
    }
    return NOWHERE;
}

/* The part that an address of the code is in. */
static const struct verify_part *part_of(const struct verify_code *code, u64 address)
{
    const struct verify_part *p = code->part;
    while (address - (u64)(uintptr_t)p->at >= p->size)
        p++;
    return p;
}

static bool refuse(struct verifier *v, const char *why)
{
    snprintf(v->text, v->size, "+%llx %s %s: %s",
             (unsigned long long)offset_of(v->code, v->insn->address), v->insn->mnemonic,
             v->insn->op_str, why);
    return false;
}

static bool in_list(const x86_insn *list, unsigned n, unsigned id)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i] == id)
            return true;
    }
    return false;
}

static bool in_groups(const cs_insn *insn)
{
    for (unsigned i = 0; i < insn->detail->groups_count; i++) {
        for (unsigned k = 0; k < ARRAY_LEN(allowed_groups); k++) {
            if (insn->detail->groups[i] == allowed_groups[k])
                return true;
        }
    }
    return false;
}

static bool in_group(const cs_insn *insn, unsigned group)
{
    for (unsigned i = 0; i < insn->detail->groups_count; i++) {
        if (insn->detail->groups[i] == group)
            return true;
    }
    return false;
}

/* Opcodes D8 to DF: Capstone's group has only some of them. */
static bool is_x87(const struct verifier *v)
{
    return v->x86->opcode[0] >= 0xd8 && v->x86->opcode[0] <= 0xdf;
}

/* lea rcx, [r10 + r9]; jrcxz over the jmp that follows: is_wide_test() */
static const u8 wide_test[] = {0x4b, 0x8d, 0x0c, 0x0a, 0xe3, 0x05, 0xe9};

/* ---- branches ---- */

static const struct verify_target *target_of(const struct verify_code *code, u64 address)
{
    for (unsigned i = 0; i < code->targets; i++) {
        if ((u64)(uintptr_t)code->target[i].at == address)
            return &code->target[i];
    }
    return NULL;
}

static void add_target(struct verifier *v, u64 address)
{
    u64 offset = offset_of(v->code, address);
    if (offset != NOWHERE && v->targets[offset] < UINT8_MAX)
        v->targets[offset]++;
}

/* lea r8 or r9, [rip + n] */
static bool is_lea_place(const struct verifier *v, u64 *place)
{
    const cs_x86_op *o = &v->x86->operands[1];
    if (v->insn->id != X86_INS_LEA || o->mem.base != X86_REG_RIP)
        return false;
    *place = v->insn->address + v->insn->size + (u64)o->mem.disp;
    return v->x86->operands[0].reg == X86_REG_R8 || v->x86->operands[0].reg == X86_REG_R9;
}

/* First pass: notes where direct branches within the code lead. */
static void note_target(struct verifier *v)
{
    const cs_x86_op *o = &v->x86->operands[0];
    u64 place;
    if (is_lea_place(v, &place))
        add_target(v, place);
    bool branch = in_group(v->insn, CS_GRP_JUMP) || in_group(v->insn, CS_GRP_CALL);
    if (branch && v->x86->op_count == 1 && o->type == X86_OP_IMM)
        add_target(v, (u64)o->imm);
}

static bool is_branch(const struct verifier *v)
{
    return in_group(v->insn, CS_GRP_JUMP) || in_group(v->insn, CS_GRP_CALL) ||
           in_group(v->insn, CS_GRP_RET) || in_group(v->insn, CS_GRP_INT) ||
           in_group(v->insn, CS_GRP_IRET);
}

/* What a guest's call comes back to must be the guard of a return: see put_return_point(). */
static bool is_return_guard(const struct verifier *v, u64 address)
{
    static const u8 head[] = {0x49, 0x89, 0xcb,
                              0x4d, 0x8b, 0x97};      /* mov r11, rcx; mov r10, [r15 + */
    static const u8 constant[] = {0x49, 0xb9};        /* mov r9, */
    static const u8 sum[] = {0x4f, 0x8d, 0x14, 0x02}; /* lea r10, [r10 + r8] */
    const u32 key = offsetof(struct vcpu, target_key);
    const struct verify_part *p = &v->code->part[0];
    u64 at = address - (u64)(uintptr_t)p->at;
    const u64 size = sizeof head + sizeof key + sizeof constant + sizeof(u64) + sizeof sum;
    if (at >= p->size || p->size - at < size + sizeof wide_test || !v->starts[at])
        return false;
    const u8 *b = p->bytes + at;
    return !memcmp(b, head, sizeof head) && !memcmp(b + sizeof head, &key, sizeof key) &&
           !memcmp(b + sizeof head + sizeof key, constant, sizeof constant) &&
           !memcmp(b + size - sizeof sum, sum, sizeof sum) &&
           !memcmp(b + size, wide_test, sizeof wide_test);
}

/* A call that a guest's return answers, or a jump. */
static bool comes_back_well(const struct verifier *v)
{
    return v->insn->id == X86_INS_JMP ||
           (v->insn->id == X86_INS_CALL && is_return_guard(v, v->insn->address + v->insn->size));
}

/* jmp or call [r10 + n] right after what makes R10 point there. */
static bool is_jump_to_found(const struct verifier *v)
{
    const cs_x86_op *o = &v->x86->operands[0];
    return v->found && comes_back_well(v) && v->x86->op_count == 1 && o->type == X86_OP_MEM &&
           o->mem.base == X86_REG_R10 && o->mem.index == X86_REG_INVALID &&
           o->mem.segment == X86_REG_INVALID && v->x86->addr_size == 8 &&
           o->mem.disp == v->found->size;
}

/* mov r9d, TARGET_MASK; pext r9d, r8d, r9d; jmp or call [r15 + r9 * 8 + targets] */
static bool is_target_jump(const struct verifier *v)
{
    static const u8 index[] = {0x41, 0xb9, 0xff, 0x0f, 0x00, 0x00, 0xc4, 0x42, 0x3a, 0xf5, 0xc9};
    const x86_op_mem *m = &v->x86->operands[0].mem;
    const struct verify_part *p = part_of(v->code, v->insn->address);
    u64 here = v->insn->address - (u64)(uintptr_t)p->at;
    u64 offset = offset_of(v->code, v->insn->address);
    _Static_assert(TARGETS - 1 == 0xfff, "the mask above");
    if (!comes_back_well(v) || v->x86->operands[0].type != X86_OP_MEM || here < sizeof index ||
        memcmp(p->bytes + here - sizeof index, index, sizeof index))
        return false;
    for (u64 at = offset - sizeof index + 1; at <= offset; at++) {
        if (v->targets[at])
            return false;
    }
    return m->base == X86_REG_R15 && m->index == X86_REG_R9 && m->scale == sizeof(u8 *) &&
           m->segment == X86_REG_INVALID && v->x86->addr_size == 8 && m->disp == TARGET_TABLE;
}

static bool check_branch(struct verifier *v)
{
    const cs_x86_op *o = &v->x86->operands[0];
    if (is_jump_to_found(v) || is_target_jump(v))
        return true;
    if (v->insn->id == X86_INS_RET && !v->x86->op_count)
        return true; /* to a guard: nothing else is on the stack */
    bool call = v->insn->id == X86_INS_CALL;
    bool jump = in_group(v->insn, CS_GRP_JUMP) && v->insn->id != X86_INS_LJMP &&
                v->insn->id != X86_INS_XBEGIN;
    if ((!call && !jump) || v->x86->op_count != 1 || o->type != X86_OP_IMM)
        return refuse(v, "a branch of a forbidden kind");
    u64 to = (u64)o->imm;
    const struct verify_target *t = target_of(v->code, to);
    if (t) {
        if (call != (t->kind != VERIFY_JUMP))
            return refuse(v, call ? "calls what does not return" : "jumps to what returns");
        if (t->kind == VERIFY_FIND)
            v->found = t;
        if (t->kind == VERIFY_ACCESS) {
            v->approved = t->write ? APPROVED_WRITE : APPROVED_READ;
            v->approved_size = t->size;
        } else if (t->kind != VERIFY_KEEPING_CALL) {
            v->approved = APPROVED_NO;
        }
        return true;
    }
    u64 offset = offset_of(v->code, to);
    if (offset == NOWHERE)
        return refuse(v, "leads to where no thunk is");
    if (call && !comes_back_well(v))
        return refuse(v, "a call that comes back to no guard");
    if (!v->starts[offset])
        return refuse(v, "leads into the middle of an instruction");
    return true;
}

/* ---- memory ---- */

static bool field_writable(u64 at, unsigned size)
{
    for (unsigned i = 0; i < ARRAY_LEN(written_fields); i++) {
        if (at >= written_fields[i].offset &&
            at + size <= written_fields[i].offset + written_fields[i].size)
            return true;
    }
    return false;
}

/* Whether an operand in memory may be written: Capstone calls some that are only read written,
 * and x87 stores reads; elsewhere destinations come first. */
static bool may_write(const struct verifier *v, const cs_x86_op *o)
{
    static const x86_insn x87_stores[] = {X86_INS_FST,    X86_INS_FSTP,   X86_INS_FIST,
                                          X86_INS_FISTP,  X86_INS_FISTTP, X86_INS_FBSTP,
                                          X86_INS_FNSTCW, X86_INS_FNSTSW, X86_INS_FNSTENV};
    static const x86_insn readers[] = {X86_INS_CMP,  X86_INS_TEST,    X86_INS_BT,
                                       X86_INS_MUL,  X86_INS_IMUL,    X86_INS_DIV,
                                       X86_INS_IDIV, X86_INS_LDMXCSR, X86_INS_VLDMXCSR};
    if (in_list(readers, ARRAY_LEN(readers), v->insn->id))
        return false;
    if (is_x87(v))
        return in_list(x87_stores, ARRAY_LEN(x87_stores), v->insn->id);
    return (o->access & CS_AC_WRITE) || o == &v->x86->operands[0];
}

static bool is_mmx(const cs_x86_op *o)
{
    return o->type == X86_OP_REG && o->reg >= X86_REG_MM0 && o->reg <= X86_REG_MM7;
}

/* What Capstone has too large. */
static unsigned size_of(const struct verifier *v, const cs_x86_op *o)
{
    switch (v->insn->id) {
    case X86_INS_PUNPCKLBW:
    case X86_INS_PUNPCKLWD:
    case X86_INS_PUNPCKLDQ: return is_mmx(&v->x86->operands[0]) ? 4 : o->size;
    case X86_INS_FNSTSW: return 2;
    case X86_INS_COMISS:
    case X86_INS_UCOMISS:
    case X86_INS_VCOMISS:
    case X86_INS_VUCOMISS: return 4;
    case X86_INS_COMISD:
    case X86_INS_UCOMISD:
    case X86_INS_VCOMISD:
    case X86_INS_VUCOMISD: return 8;
    default: return o->size;
    }
}

static bool check_approved(struct verifier *v, const cs_x86_op *o)
{
    i64 end = o->mem.disp + size_of(v, o);
    if (v->approved == APPROVED_NO)
        return refuse(v, "an access that the TLB has not approved");
    if (o->mem.disp < 0 || end > v->approved_size)
        return refuse(v, "more bytes than the TLB has approved");
    if (v->approved != APPROVED_WRITE && may_write(v, o))
        return refuse(v, "a write that the TLB has approved as a read");
    return true;
}

static bool is_target_tag(u64 at, unsigned size)
{
    return at >= offsetof(struct vcpu, target_tags) && size == sizeof(u64) &&
           at - offsetof(struct vcpu, target_tags) <= (TARGETS - 1) * sizeof(u64);
}

/* mov [a slot of targets], r8 right after R8 was made the address of a place. */
static bool is_target_store(const struct verifier *v, const cs_x86_op *o)
{
    u64 slot = (u64)o->mem.disp - TARGET_TABLE;
    return v->point == v->insn->address && v->insn->id == X86_INS_MOV && o->size == sizeof(u8 *) &&
           o == &v->x86->operands[0] && v->x86->operands[1].reg == X86_REG_R8 &&
           slot < TARGETS * sizeof(u8 *) && slot % sizeof(u8 *) == 0;
}

static bool check_field(struct verifier *v, const cs_x86_op *o)
{
    if (is_target_store(v, o))
        return true;
    if (o->mem.disp < 0 || (u64)o->mem.disp + o->size > sizeof(struct vcpu))
        return refuse(v, "beyond struct vcpu");
    if (may_write(v, o) && !field_writable((u64)o->mem.disp, o->size) &&
        !is_target_tag((u64)o->mem.disp, o->size))
        return refuse(v, "writes a field that translated code may not write");
    return true;
}

static u64 segment_field(unsigned seg, size_t field)
{
    return offsetof(struct vcpu, seg) + seg * sizeof(struct segment) + field;
}

/* mov r, [r15 + FS's or GS's `unusable`], both halves */
static void note_reach(struct verifier *v)
{
    const cs_x86_op *to = &v->x86->operands[0], *from = &v->x86->operands[1];
    if (v->insn->id != X86_INS_MOV || to->type != X86_OP_REG || from->type != X86_OP_MEM ||
        from->size != sizeof(u64) || from->mem.base != X86_REG_R15 ||
        from->mem.index != X86_REG_INVALID)
        return;
    for (unsigned seg = SEG_FS; seg <= SEG_GS; seg++) {
        if ((u64)from->mem.disp == segment_field(seg, offsetof(struct segment, unusable))) {
            v->reach = v->insn->address + v->insn->size;
            v->reach_reg = to->reg;
            v->reach_seg = seg;
        }
    }
}

/* mov r, [r15 + r + base] right behind it: the base, or an address that traps. */
static bool is_base_within_reach(const struct verifier *v, const cs_x86_op *o)
{
    return v->reach == v->insn->address && !v->targets[offset_of(v->code, v->insn->address)] &&
           v->insn->id == X86_INS_MOV && o == &v->x86->operands[1] && o->size == sizeof(u32) &&
           o->mem.base == X86_REG_R15 && o->mem.index == (x86_reg)v->reach_reg &&
           o->mem.scale == 1 && o->mem.segment == X86_REG_INVALID && v->x86->addr_size == 8 &&
           (u64)o->mem.disp == segment_field(v->reach_seg, offsetof(struct segment, base));
}

static bool check_memory(struct verifier *v, const cs_x86_op *o)
{
    if (v->insn->id == X86_INS_LEA || v->insn->id == X86_INS_NOP)
        return true;
    bool only_base = o->mem.index == X86_REG_INVALID && o->mem.segment == X86_REG_INVALID &&
                     v->x86->addr_size == 8;
    if (o->mem.segment == X86_REG_GS && v->x86->addr_size == 4) {
        if (!v->code->window)
            return refuse(v, "there is no window");
        return o->size > WINDOW_GUARD ? refuse(v, "more than the window's guard") : true;
    }
    if (only_base && o->mem.base == X86_REG_R8)
        return check_approved(v, o);
    if (only_base && o->mem.base == X86_REG_R15)
        return check_field(v, o);
    if (is_base_within_reach(v, o))
        return true;
    return refuse(v, "an address of its own");
}

/* ---- registers ---- */

/* All 64 bits of a register that holds one of the guest's. */
#define GUEST_REGISTER X86_REG_RAX

/* The 64-bit register that a part belongs to, of those that matter here; else 0. */
static unsigned whole(unsigned reg)
{
    switch (reg) {
    case X86_REG_R8:
    case X86_REG_R8D:
    case X86_REG_R8W:
    case X86_REG_R8B: return X86_REG_R8;
    case X86_REG_R13:
    case X86_REG_R13D:
    case X86_REG_R13W:
    case X86_REG_R13B: return X86_REG_R13;
    case X86_REG_R14:
    case X86_REG_R14D:
    case X86_REG_R14W:
    case X86_REG_R14B: return X86_REG_R14;
    case X86_REG_R15:
    case X86_REG_R15D:
    case X86_REG_R15W:
    case X86_REG_R15B: return X86_REG_R15;
    case X86_REG_RSP:
    case X86_REG_ESP:
    case X86_REG_SP:
    case X86_REG_SPL: return X86_REG_RSP;
    case X86_REG_RAX:
    case X86_REG_RCX:
    case X86_REG_RDX:
    case X86_REG_RBX:
    case X86_REG_RBP:
    case X86_REG_RSI:
    case X86_REG_RDI:
    case X86_REG_R12: return GUEST_REGISTER;
    default: return 0;
    }
}

/* RCX comes back from where it was put for a JRCXZ. */
static bool is_mov_rcx_r11(const struct verifier *v)
{
    return v->insn->id == X86_INS_MOV && v->x86->operands[0].reg == X86_REG_RCX &&
           v->x86->operands[1].type == X86_OP_REG && v->x86->operands[1].reg == X86_REG_R11;
}

/* lea rcx, [r10 + r9], whose 64 bits are looked at by a JRCXZ right behind it: 0 goes on there,
 * with anything else a jump leads to where RCX is written again at once. Nothing leads in between.
 */
static bool is_wide_test(const struct verifier *v)
{
    static const u8 back[] = {0x4c, 0x89, 0xd9}; /* mov rcx, r11 */
    static const u8 difference[] = {0x41, 0x8d,
                                    0x08}; /* lea ecx, [r8 + n], but for the MOD field */
    const struct verify_part *p = &v->code->part[0], *cold = &v->code->part[1];
    u64 here = v->insn->address - (u64)(uintptr_t)p->at,
        end = here + sizeof wide_test + sizeof(i32);
    i32 distance;
    if (here >= p->size || end > p->size || memcmp(p->bytes + here, wide_test, sizeof wide_test) ||
        v->targets[here + 4] || v->targets[here + 6])
        return false;
    memcpy(&distance, p->bytes + here + sizeof wide_test, sizeof distance);
    u64 to = (u64)(uintptr_t)p->at + end + (u64)(i64)distance - (u64)(uintptr_t)cold->at;
    if (to >= cold->size || cold->size - to < sizeof back)
        return false;
    const u8 *next = cold->bytes + to;
    return !memcmp(next, back, sizeof back) ||
           (!memcmp(next, difference, 2) && (next[2] & 0x3f) == difference[2]);
}

static bool check_registers(struct verifier *v)
{
    cs_regs read, written;
    u8 reads, writes;
    if (cs_regs_access(v->handle, v->insn, read, &reads, written, &writes))
        return refuse(v, "Capstone does not know its registers");
    for (unsigned i = 0; i < writes; i++) {
        unsigned reg = whole(written[i]);
        if (reg == X86_REG_R8)
            v->approved = APPROVED_NO;
        else if (reg == GUEST_REGISTER && !is_mov_rcx_r11(v) && !is_wide_test(v))
            return refuse(v, "writes 64 bits of a guest register");
        else if (reg == GUEST_REGISTER)
            continue;
        else if (reg && !(reg == X86_REG_RSP && v->insn->id == X86_INS_CALL))
            return refuse(v, "writes a register of the translator's");
        if (written[i] == X86_REG_FS || written[i] == X86_REG_GS)
            return refuse(v, "writes a segment register");
    }
    return true;
}

/* ---- repeated string instructions ---- */

#define ANY 256 /* in an idiom: any byte */

/* What comes before RDGSBASE: RCX below 2^16, or the instruction is done by C. */
static const u16 rep_guard[] = {
    0x49, 0x89, 0xcb,                /* mov r11, rcx */
    0x41, 0xb9, 16,   0,    0,    0, /* mov r9d, 16 */
    0xc4, 0xe2, 0x33, 0xf7, 0xc9,    /* shrx ecx, ecx, r9d */
    0xe3, 8,                         /* jrcxz few */
    0x4c, 0x89, 0xd9,                /* mov rcx, r11 */
    0xe8, ANY,  ANY,  ANY,  ANY,     /* call slow */
    0x4c, 0x89, 0xd9,                /* few: mov rcx, r11 */
};
#define REP_FEW 24 /* offset of `few` */
static const u16 rdgsbase_r10[] = {0xf3, 0x49, 0x0f, 0xae, 0xca};
static const u16 lea_rsi_host[] = {0x4a, 0x8d, 0x34, 0x16};        /* [rsi + r10] */
static const u16 lea_rdi_host[] = {0x4a, 0x8d, 0x3c, 0x17};        /* [rdi + r10] */
static const u16 not_r10[] = {0x49, 0xf7, 0xd2};                   /* - r10 - 1 */
static const u16 lea_esi_guest[] = {0x42, 0x8d, 0x74, 0x16, 0x01}; /* [rsi + r10 + 1] */
static const u16 lea_edi_guest[] = {0x42, 0x8d, 0x7c, 0x17, 0x01};

/* Bytes of code that are still to be compared. */
struct rest {
    const u8 *at, *end;
    bool same;
};

static void take(struct rest *r, const u16 *idiom, unsigned n)
{
    for (unsigned i = 0; i < n && r->same; i++)
        r->same = r->at + i < r->end && (idiom[i] == ANY || idiom[i] == r->at[i]);
    r->at += n;
}
#define TAKE(r, idiom) take(r, idiom, ARRAY_LEN(idiom))

/* [66] F2/F3 and MOVS, CMPS, STOS or SCAS. *source: it has one. */
static void take_string(struct rest *r, bool *source)
{
    if (r->same && r->at < r->end && *r->at == 0x66)
        r->at++;
    r->same = r->same && r->at + 2 <= r->end && (r->at[0] == 0xf3 || r->at[0] == 0xf2);
    u8 op = r->same ? r->at[1] : 0;
    bool both = op >= 0xa4 && op <= 0xa7;
    r->same = r->same && both == *source &&
              (both || op == 0xaa || op == 0xab || op == 0xae || op == 0xaf);
    r->at += 2;
}

/* At RDGSBASE: all around it must be as xl_string.c writes it. */
static bool check_repeated(struct verifier *v)
{
    const struct verify_part *c = &v->code->part[0];
    u64 here = v->insn->address - (u64)(uintptr_t)c->at;
    const unsigned guard = ARRAY_LEN(rep_guard);
    if (here >= c->size || here < guard || !v->starts[here - guard] || !v->code->window)
        return refuse(v, "without a guard, or a window");
    struct rest r = {c->bytes + here - guard, c->bytes + c->size, true};
    TAKE(&r, rep_guard);
    TAKE(&r, rdgsbase_r10);
    bool source = r.same && r.at + 3 <= r.end && r.at[2] == (lea_rsi_host[2] & 0xff);
    if (source)
        TAKE(&r, lea_rsi_host);
    TAKE(&r, lea_rdi_host);
    take_string(&r, &source);
    TAKE(&r, not_r10);
    if (source)
        TAKE(&r, lea_esi_guest);
    TAKE(&r, lea_edi_guest);
    if (!r.same)
        return refuse(v, "not the idiom of a repeated string instruction");
    v->known = (u64)(r.at - c->bytes);
    for (u64 at = here - guard + 1; at < v->known; at++) {
        if (v->targets[at] != (at == here - guard + REP_FEW ? 1 : 0))
            return refuse(v, "something jumps into the idiom");
    }
    return true;
}

/* ---- instructions ---- */

static bool check_operands(struct verifier *v)
{
    for (unsigned i = 0; i < v->x86->op_count; i++) {
        const cs_x86_op *o = &v->x86->operands[i];
        if (o->type == X86_OP_MEM && !check_memory(v, o))
            return false;
        if (o->type != X86_OP_REG)
            continue;
        if ((o->reg >= X86_REG_CR0 && o->reg <= X86_REG_DR15) || o->reg == X86_REG_CS ||
            o->reg == X86_REG_DS || o->reg == X86_REG_ES || o->reg == X86_REG_FS ||
            o->reg == X86_REG_GS || o->reg == X86_REG_SS)
            return refuse(v, "names a system register");
    }
    return true;
}

static bool check_place(struct verifier *v, u64 place)
{
    u64 offset = offset_of(v->code, place);
    if (offset == NOWHERE || !v->starts[offset])
        return refuse(v, "the address of no instruction of this code");
    v->approved = APPROVED_NO;
    if (v->x86->operands[0].reg == X86_REG_R8)
        v->point = v->insn->address + v->insn->size;
    return true;
}

/* A thunk that knows no more of a return than where it goes. */
static bool is_place_of_return(const struct verifier *v, u64 place)
{
    const struct verify_target *t = target_of(v->code, place);
    return t && t->kind == VERIFY_JUMP;
}

/* push r9 right after R9 was made the address of a return's guard or of such a thunk. */
static bool check_push(struct verifier *v)
{
    u64 offset = offset_of(v->code, v->insn->address);
    if (v->x86->operands[0].reg != X86_REG_R9 || v->back != v->insn->address || v->targets[offset])
        return refuse(v, "not the address of a guard");
    return true;
}

/* mov r8, imm64, when that is where code of the block is. Up to its end it may be read. */
static bool approve_own(struct verifier *v)
{
    const cs_x86_op *o = v->x86->operands;
    if (v->insn->id != X86_INS_MOVABS || o[0].type != X86_OP_REG || o[0].reg != X86_REG_R8 ||
        o[1].type != X86_OP_IMM)
        return false;
    for (unsigned i = 0; i < VERIFY_OWN; i++) {
        const struct verify_own *own = &v->code->own[i];
        u64 at = (u64)o[1].imm - (u64)(uintptr_t)own->at;
        if (at >= own->size || own->size - at > UINT8_MAX)
            continue;
        v->approved = APPROVED_READ;
        v->approved_size = (u8)(own->size - at);
        return true;
    }
    return false;
}

static bool check_insn(struct verifier *v)
{
    u64 place;
    if (approve_own(v))
        return true;
    if (is_lea_place(v, &place)) {
        bool r9 = v->x86->operands[0].reg == X86_REG_R9, thunk = r9 && is_place_of_return(v, place);
        if (thunk || (r9 && is_return_guard(v, place)))
            v->back = v->insn->address + v->insn->size;
        return thunk || check_place(v, place);
    }
    if (v->insn->id == X86_INS_PUSH)
        return check_push(v);
    if (is_branch(v))
        return check_branch(v);
    if (v->insn->id == X86_INS_RDGSBASE)
        return check_repeated(v);
    unsigned id = v->insn->id;
    bool vector =
        in_groups(v->insn) || is_x87(v) || in_list(allowed_vector, ARRAY_LEN(allowed_vector), id);
    bool ok = in_list(allowed, ARRAY_LEN(allowed), id) ||
              (vector && !in_list(denied, ARRAY_LEN(denied), id));
    if (!ok)
        return refuse(v, "not an instruction of translated code");
    note_reach(v);
    return check_operands(v) && check_registers(v);
}

/* Calls `check` for each instruction of a part in order; NULL only notes them. */
static bool each_insn(struct verifier *v, const struct verify_part *p,
                      bool (*check)(struct verifier *v))
{
    const u8 *bytes = p->bytes;
    size_t left = p->size;
    u64 address = (u64)(uintptr_t)p->at;
    while (left) {
        u64 offset = offset_of(v->code, address);
        if (!cs_disasm_iter(v->handle, &bytes, &left, &address, v->insn)) {
            snprintf(v->text, v->size, "+%llx: not an instruction", (unsigned long long)offset);
            return false;
        }
        v->x86 = &v->insn->detail->x86;
        if (!check) {
            v->starts[offset] = true;
            note_target(v);
            continue;
        }
        if (offset < v->known)
            continue;
        if (v->targets[offset])
            v->approved = APPROVED_NO;
        const struct verify_target *found = v->targets[offset] ? NULL : v->found;
        v->found = found;
        if (!check(v))
            return false;
        if (v->found == found)
            v->found = NULL;
    }
    if (check && p->size && v->insn->id != X86_INS_JMP && v->insn->id != X86_INS_CALL &&
        v->insn->id != X86_INS_RET)
        return refuse(v, "runs off the end of the code");
    return true;
}

static bool each_part(struct verifier *v, bool (*check)(struct verifier *v))
{
    for (unsigned i = 0; i < VERIFY_PARTS; i++) {
        v->approved = APPROVED_NO;
        v->found = NULL;
        if (!each_insn(v, &v->code->part[i], check))
            return false;
    }
    return true;
}

bool verify_code(const struct verify_code *code, char *text, size_t size)
{
    struct verifier v = {.code = code, .text = text, .size = size};
    size_t all = 1;
    for (unsigned i = 0; i < VERIFY_PARTS; i++)
        all += code->part[i].size;
    snprintf(text, size, "out of memory");
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &v.handle) != CS_ERR_OK)
        return false;
    cs_option(v.handle, CS_OPT_DETAIL, CS_OPT_ON);
    v.insn = cs_malloc(v.handle);
    v.starts = calloc(2, all);
    v.targets = v.starts + all;
    bool good = v.insn && v.starts && each_part(&v, NULL) && each_part(&v, check_insn);
    if (v.insn)
        cs_free(v.insn, 1);
    free(v.starts);
    cs_close(&v.handle);
    return good;
}
