/* SPDX-License-Identifier: MIT */
#include "bt/asm_x64.h"

#include <assert.h>

#define REX    0x40
#define REX_WW 8
#define REX_RR 4
#define REX_XX 2
#define REX_BB 1
#define RM_RIP 5 /* of ModRM with mod 0: RIP and a displacement */

#define MOD_MEM     0
#define MOD_MEM8    1
#define MOD_MEM32   2
#define MOD_REG     3
#define RM_SIB      4
#define RM_DISP32   5
#define SIB_NOINDEX 4

enum opcode_bytes {
    OPC_GS = 0x65,
    OPC_ADDR32 = 0x67,
    OPC_MOV_R_IMM = 0xb8,
    OPC_GROUP1_IMM32 = 0x81,
    OPC_GROUP2_IMM8 = 0xc1,
    OPC_MOV_RM_IMM = 0xc7,
    OPC_JMP = 0xe9,
    OPC_CALL = 0xe8,
    OPC_JRCXZ = 0xe3,
    OPC_JCC8 = 0x70,
    OPC_JCC32 = 0x80, /* after 0F */
    OPC_VEX3 = 0xc4,
    OPC_PEXT = 0xf5,
    OPC_SHRX = 0xf7,
    OPC_RORX = 0xf0,
    OPC_GROUP15 = 0xae,
};
enum group2 { G2_SHL = 4, G2_SHR };
enum group15 { G15_RDGSBASE = 1, G15_WRGSBASE = 3 };

void asm_init(struct asm_buf *a, u8 *at, size_t size, i64 delta)
{
    *a = (struct asm_buf){.start = at, .at = at, .end = at + size, .delta = delta};
}

void asm_byte(struct asm_buf *a, u8 byte)
{
    if (a->at < a->end)
        *a->at++ = byte;
    else
        a->full = true;
}

void asm_bytes(struct asm_buf *a, const void *bytes, size_t n)
{
    if (n > (size_t)(a->end - a->at)) {
        a->full = true;
        return;
    }
    memcpy(a->at, bytes, n);
    a->at += n;
}

void asm_u32(struct asm_buf *a, u32 value)
{
    asm_bytes(a, &value, sizeof value);
}

void asm_u64(struct asm_buf *a, u64 value)
{
    asm_bytes(a, &value, sizeof value);
}

/* Legacy prefixes, REX and opcode bytes. `rex` holds R, X and B. */
static void put_opcode(struct asm_buf *a, u32 op, unsigned rex, bool need_rex)
{
    if (op & X64_LOCK)
        asm_byte(a, 0xf0);
    if (op & X64_66)
        asm_byte(a, 0x66);
    if (op & X64_F3)
        asm_byte(a, 0xf3);
    if (op & X64_F2)
        asm_byte(a, 0xf2);
    if (op & X64_W)
        rex |= REX_WW;
    if (rex || need_rex)
        asm_byte(a, (u8)(REX | rex));
    if (op & X64_MAP)
        asm_byte(a, 0x0f);
    if ((op & X64_MAP) == X64_0F38)
        asm_byte(a, 0x38);
    if ((op & X64_MAP) == X64_0F3A)
        asm_byte(a, 0x3a);
    asm_byte(a, (u8)op);
}

static void put_modrm(struct asm_buf *a, unsigned mod, unsigned reg, unsigned rm)
{
    asm_byte(a, (u8)(mod << 6 | (reg & 7) << 3 | (rm & 7)));
}

/* Without a REX prefix, byte registers 4..7 are AH..BH; SPL..DIL need one. */
static bool byte_needs_rex(u32 op, unsigned reg)
{
    return (op & X64_BYTE) && reg >= X64_RSP && reg <= X64_RDI;
}

void asm_op(struct asm_buf *a, u32 op)
{
    put_opcode(a, op, 0, false);
}

void asm_rr(struct asm_buf *a, u32 op, unsigned reg, unsigned rm)
{
    unsigned rex = (reg >= 8 ? REX_RR : 0) | (rm >= 8 ? REX_BB : 0);
    put_opcode(a, op, rex, byte_needs_rex(op, reg) || byte_needs_rex(op, rm));
    put_modrm(a, MOD_REG, reg, rm);
}

static void put_mem(struct asm_buf *a, unsigned reg, const struct x64_mem *m)
{
    bool sib = m->index != X64_NONE || m->base == X64_NONE || (m->base & 7) == RM_SIB;
    unsigned mod = MOD_MEM;
    if (m->base == X64_NONE)
        mod = MOD_MEM; /* SIB without base: disp32 follows */
    else if (m->disp >= -128 && m->disp <= 127)
        mod = m->disp || (m->base & 7) == X64_RBP ? MOD_MEM8 : MOD_MEM;
    else
        mod = MOD_MEM32;
    put_modrm(a, mod, reg, sib ? RM_SIB : m->base);
    if (sib) {
        static const u8 log2[9] = {0, 0, 1, 0, 2, 0, 0, 0, 3};
        unsigned index = m->index == X64_NONE ? SIB_NOINDEX : m->index;
        unsigned base = m->base == X64_NONE ? RM_DISP32 : m->base;
        asm_byte(a, (u8)(log2[m->scale] << 6 | (index & 7) << 3 | (base & 7)));
    }
    if (mod == MOD_MEM8)
        asm_byte(a, (u8)m->disp);
    else if (mod == MOD_MEM32 || m->base == X64_NONE)
        asm_u32(a, (u32)m->disp);
}

void asm_rm(struct asm_buf *a, u32 op, unsigned reg, struct x64_mem m)
{
    assert(m.index != X64_RSP);
    unsigned rex = (reg >= 8 ? REX_RR : 0) | (m.index != X64_NONE && m.index >= 8 ? REX_XX : 0) |
                   (m.base != X64_NONE && m.base >= 8 ? REX_BB : 0);
    if (m.gs)
        asm_byte(a, OPC_GS);
    if (m.addr32)
        asm_byte(a, OPC_ADDR32);
    put_opcode(a, op, rex, byte_needs_rex(op, reg));
    put_mem(a, reg, &m);
}

void asm_mov_imm32(struct asm_buf *a, unsigned reg, u32 imm)
{
    if (reg >= 8)
        asm_byte(a, REX | REX_BB);
    asm_byte(a, (u8)(OPC_MOV_R_IMM + (reg & 7)));
    asm_u32(a, imm);
}

void asm_mov_imm64(struct asm_buf *a, unsigned reg, u64 imm)
{
    asm_byte(a, (u8)(REX | REX_WW | (reg >= 8 ? REX_BB : 0)));
    asm_byte(a, (u8)(OPC_MOV_R_IMM + (reg & 7)));
    asm_u64(a, imm);
}

void asm_alu_imm(struct asm_buf *a, enum x64_alu alu, unsigned reg, u32 imm)
{
    asm_rr(a, OPC_GROUP1_IMM32, alu, reg);
    asm_u32(a, imm);
}

void asm_shl_imm(struct asm_buf *a, unsigned reg, u8 count)
{
    asm_rr(a, OPC_GROUP2_IMM8, G2_SHL, reg);
    asm_byte(a, count);
}

void asm_shr_imm(struct asm_buf *a, unsigned reg, u8 count)
{
    asm_rr(a, OPC_GROUP2_IMM8, G2_SHR, reg);
    asm_byte(a, count);
}

void asm_mov_mem_imm32(struct asm_buf *a, struct x64_mem m, u32 imm)
{
    asm_rm(a, OPC_MOV_RM_IMM, 0, m);
    asm_u32(a, imm);
}

/* The three-byte VEX prefix (SDM 2A 2.3.5) and the opcode: R, X, B and vvvv are stored inverted.
 * Only bit 3 of reg, index and rm counts. */
static void put_vex(struct asm_buf *a, struct x64_vex vex, unsigned reg, unsigned index,
                    unsigned rm, unsigned vvvv)
{
    asm_byte(a, OPC_VEX3);
    asm_byte(a, (u8)((~reg & 8) << 4 | (~index & 8) << 3 | (~rm & 8) << 2 | vex.map));
    asm_byte(a, (u8)((vex.w ? 0x80u : 0) | (~vvvv & 15) << 3 | (vex.l ? 4u : 0) | vex.pp));
    asm_byte(a, vex.opcode);
}

void asm_vex_none(struct asm_buf *a, struct x64_vex vex, unsigned vvvv)
{
    put_vex(a, vex, 0, 0, 0, vvvv);
}

void asm_vex_rr(struct asm_buf *a, struct x64_vex vex, unsigned reg, unsigned vvvv, unsigned rm)
{
    put_vex(a, vex, reg, 0, rm, vvvv);
    put_modrm(a, MOD_REG, reg, rm);
}

void asm_vex_rm(struct asm_buf *a, struct x64_vex vex, unsigned reg, unsigned vvvv,
                struct x64_mem m)
{
    if (m.gs)
        asm_byte(a, OPC_GS);
    if (m.addr32)
        asm_byte(a, OPC_ADDR32);
    put_vex(a, vex, reg, m.index == X64_NONE ? 0 : m.index, m.base == X64_NONE ? 0 : m.base, vvvv);
    put_mem(a, reg, &m);
}

void asm_shrx(struct asm_buf *a, unsigned dst, unsigned src, unsigned count)
{
    asm_vex_rr(a, (struct x64_vex){OPC_SHRX, 2, 3, false, false}, dst, count, src);
}

void asm_shlx(struct asm_buf *a, unsigned dst, unsigned src, unsigned count)
{
    asm_vex_rr(a, (struct x64_vex){OPC_SHRX, 2, 1, false, false}, dst, count, src);
}

void asm_rorx(struct asm_buf *a, unsigned dst, unsigned src, u8 count)
{
    asm_vex_rr(a, (struct x64_vex){OPC_RORX, 3, 3, false, false}, dst, 0, src);
    asm_byte(a, count);
}

void asm_pext(struct asm_buf *a, unsigned dst, unsigned src, unsigned mask)
{
    asm_vex_rr(a, (struct x64_vex){OPC_PEXT, 2, 2, false, false}, dst, src, mask);
}

void asm_pdep(struct asm_buf *a, unsigned dst, unsigned src, unsigned mask)
{
    asm_vex_rr(a, (struct x64_vex){OPC_PEXT, 2, 3, false, false}, dst, src, mask);
}

void asm_not(struct asm_buf *a, unsigned reg)
{
    asm_rr(a, XO_GROUP3, XG3_NOT, reg);
}

void asm_rdgsbase(struct asm_buf *a, unsigned reg)
{
    asm_rr(a, OPC_GROUP15 | X64_0F | X64_F3 | X64_W, G15_RDGSBASE, reg);
}

u8 *asm_lea_here(struct asm_buf *a, unsigned reg)
{
    asm_byte(a, (u8)(REX | REX_WW | (reg >= 8 ? REX_RR : 0)));
    asm_byte(a, XO_LEA);
    asm_byte(a, (u8)((reg & 7) << 3 | RM_RIP));
    u8 *field = a->at;
    asm_u32(a, 0);
    return field;
}

void asm_wrgsbase(struct asm_buf *a, unsigned reg)
{
    asm_rr(a, OPC_GROUP15 | X64_0F | X64_F3 | X64_W, G15_WRGSBASE, reg);
}

void asm_push(struct asm_buf *a, unsigned reg)
{
    if (reg >= 8)
        asm_byte(a, REX | REX_BB);
    asm_byte(a, (u8)(0x50 + (reg & 7)));
}

void asm_pop(struct asm_buf *a, unsigned reg)
{
    if (reg >= 8)
        asm_byte(a, REX | REX_BB);
    asm_byte(a, (u8)(0x58 + (reg & 7)));
}

void asm_ret(struct asm_buf *a)
{
    asm_byte(a, 0xc3);
}

void asm_lahf_seto(struct asm_buf *a)
{
    static const u8 code[] = {0x9f, 0x0f, 0x90, 0xc0};
    asm_bytes(a, code, sizeof code);
}

void asm_restore_flags(struct asm_buf *a)
{
    static const u8 code[] = {0x04, 0x7f, 0x9e};
    asm_bytes(a, code, sizeof code);
}

void asm_patch_rel32(u8 *field, const u8 *executed_field, const u8 *to)
{
    i64 distance = to - (executed_field + 4);
    assert(distance == (i32)distance);
    store32(field, (u32)(i32)distance);
}

static u8 *put_rel32(struct asm_buf *a, const u8 *to)
{
    u8 *field = a->at;
    asm_u32(a, 0);
    if (!a->full && to)
        asm_patch_rel32(field, field + a->delta, to);
    return field;
}

u8 *asm_jmp(struct asm_buf *a, const u8 *to)
{
    asm_byte(a, OPC_JMP);
    return put_rel32(a, to);
}

u8 *asm_jcc(struct asm_buf *a, enum x64_cc cc, const u8 *to)
{
    asm_byte(a, 0x0f);
    asm_byte(a, (u8)(OPC_JCC32 + cc));
    return put_rel32(a, to);
}

u8 *asm_call(struct asm_buf *a, const u8 *to)
{
    asm_byte(a, OPC_CALL);
    return put_rel32(a, to);
}

void asm_jmp_reg(struct asm_buf *a, unsigned reg)
{
    asm_rr(a, XO_GROUP5, XG5_JMP, reg);
}

void asm_call_mem(struct asm_buf *a, struct x64_mem m)
{
    asm_rm(a, XO_GROUP5, XG5_CALL, m);
}

void asm_jmp_mem(struct asm_buf *a, struct x64_mem m)
{
    asm_rm(a, XO_GROUP5, XG5_JMP, m);
}

static u8 *put_rel8(struct asm_buf *a)
{
    u8 *field = a->at;
    asm_byte(a, 0);
    return field;
}

u8 *asm_jrcxz(struct asm_buf *a)
{
    asm_byte(a, OPC_JRCXZ);
    return put_rel8(a);
}

u8 *asm_jecxz(struct asm_buf *a)
{
    asm_byte(a, OPC_ADDR32);
    return asm_jrcxz(a);
}

u8 *asm_jcc_short(struct asm_buf *a, enum x64_cc cc)
{
    asm_byte(a, (u8)(OPC_JCC8 + cc));
    return put_rel8(a);
}

void asm_rel32_here(struct asm_buf *a, u8 *field)
{
    if (!a->full)
        asm_patch_rel32(field, field + a->delta, asm_here(a));
}

void asm_short_here(struct asm_buf *a, u8 *field)
{
    i64 distance = a->at - (field + 1);
    if (a->full)
        return;
    assert(distance >= -128 && distance <= 127);
    *field = (u8)distance;
}
