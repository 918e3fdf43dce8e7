/* SPDX-License-Identifier: MIT
 *
 * What a row of the opcode table says beside encoding (access, flags, CPUID bit, privilege, LOCK)
 * against what Zydis knows of the instruction.
 */
#include "compare.h"

#include "cpu/vcpu.h"

enum { COMPARED_FLAGS = FLAG_OSZAPC | FLAG_DF };

/* Access to the written register and memory operands, 2 bits each. */
static u32 access_of(const struct view *v)
{
    u32 access = 0;
    for (unsigned i = 0; i < v->count; i++) {
        u8 kind = v->op[i].kind;
        if (kind == VIEW_REGISTER || kind == VIEW_MEMORY)
            access |= (u32)v->op[i].access << 2 * i;
    }
    return access;
}

/* The CPUID bit of Zydis' instruction sets. What every processor of ours has needs none. */
static bool same_feature(unsigned feature, ZydisISASet set)
{
    static const struct {
        u16 set, feature;
    } features[] = {
#define SET(set, feature) {ZYDIS_ISA_SET_##set, feature},
#include "features.inc"
#undef SET
    };
    for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
        if (features[i].set == set && features[i].feature == feature)
            return true;
    }
    return false;
}

static bool lockable(const struct insn *in)
{
    return (op_row(in)->attr & ATTR_LOCK) && in->operand[0].kind == OPD_MEM;
}

unsigned facts_compare(const struct situation *s, struct fact *facts)
{
    static const ZydisAccessedFlags no_flags;
    const struct op_row *row = op_row(s->in);
    const ZydisDecodedInstruction *z = &s->oracle->zydis_insn;
    const ZydisAccessedFlags *f = z->cpu_flags ? z->cpu_flags : &no_flags;
    bool same_count = s->ours->count == s->theirs->count; /* else reported as operands */

    const struct fact all[FACTS] = {
        {ACCESS, access_of(s->ours), same_count ? access_of(s->theirs) : access_of(s->ours)},
        {FLAGS_READ, op_flags_read(s->in) & COMPARED_FLAGS, f->tested & COMPARED_FLAGS},
        {FLAGS_WRITTEN, row->flags_written & COMPARED_FLAGS,
         (f->modified | f->set_0 | f->set_1) & ~f->undefined & COMPARED_FLAGS},
        {FLAGS_UNDEFINED, row->flags_undefined, f->undefined},
        {FEATURE, true, same_feature(row->feature, z->meta.isa_set)},
        {PRIVILEGE, !!(row->attr & ATTR_CPL0), !!(z->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED)},
        {LOCKABLE, lockable(s->in), !!(z->attributes & ZYDIS_ATTRIB_ACCEPTS_LOCK)},
    };
    unsigned n = 0;
    for (unsigned i = 0; i < FACTS; i++) {
        if (all[i].ours != all[i].theirs)
            facts[n++] = all[i];
    }
    return n;
}
