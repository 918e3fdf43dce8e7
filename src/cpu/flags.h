/* SPDX-License-Identifier: MIT
 *
 * The arithmetic flags OF SF ZF AF PF CF, in the form in which an x86 host gives them away most
 * cheaply: LAHF puts SF:ZF:0:AF:0:PF:1:CF into AH, SETO puts OF into AL, and AX goes to
 * v->oszapc. One load tests a condition; `add al, 127; sahf` brings the flags back.
 *
 * Integer operations run the guest's own instruction on the host and take its flags this way
 * (cpu/alu.h). So nothing is computed twice, nothing has to be remembered for later, and the flags
 * that the manual calls undefined are what this host's silicon makes them, in the interpreter as
 * in translated code, which keeps them in the host's RFLAGS.
 *
 * v->rflags holds all other flags; its OSZAPC bits are always 0.
 */
#ifndef ANELLO_CPU_FLAGS_H
#define ANELLO_CPU_FLAGS_H

#include "cpu/vcpu.h"

/* Bits of v->oszapc. */
enum oszapc {
    OSZAPC_OF = 1 << 0,
    OSZAPC_CF = 1 << 8,
    OSZAPC_PF = 1 << 10,
    OSZAPC_AF = 1 << 12,
    OSZAPC_ZF = 1 << 14,
    OSZAPC_SF = 1 << 15,
};
#define OSZAPC_AH_SHIFT 8 /* SF ZF AF PF CF are RFLAGS bits 7..0, moved up by this */
#define OSZAPC_SF_SHIFT 15

#define FLAG_SZAPC    (FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF)
#define FLAG_OF_SHIFT 11

static inline u64 flags_from_oszapc(u16 f)
{
    return ((u64)(f >> OSZAPC_AH_SHIFT) & FLAG_SZAPC) | (u64)(f & OSZAPC_OF) << FLAG_OF_SHIFT;
}

static inline u16 flags_to_oszapc(u64 rflags)
{
    return (u16)((rflags & FLAG_SZAPC) << OSZAPC_AH_SHIFT | (rflags >> FLAG_OF_SHIFT & OSZAPC_OF));
}

/* RFLAGS as PUSHF, an interrupt or a register dump shows it. */
static inline u64 flags_get(const struct vcpu *v)
{
    return v->rflags | flags_from_oszapc(v->oszapc);
}

/* Replaces all of RFLAGS; the caller has masked what may not change, and calls
 * vcpu_mode_changed() when TF, VM, AC or IOPL-dependent state did. */
static inline void flags_set(struct vcpu *v, u64 rflags)
{
    v->rflags = (rflags & ~(u64)FLAG_OSZAPC) | FLAG_ONE;
    v->oszapc = flags_to_oszapc(rflags);
}

/* Replaces some of the arithmetic flags: `mask` of FLAG_OSZAPC bits. */
static inline void flags_set_arith(struct vcpu *v, u64 mask, u64 value)
{
    v->oszapc = flags_to_oszapc((flags_from_oszapc(v->oszapc) & ~mask) | (value & mask));
}

static inline bool flags_cf(const struct vcpu *v)
{
    return v->oszapc & OSZAPC_CF;
}
static inline bool flags_zf(const struct vcpu *v)
{
    return v->oszapc & OSZAPC_ZF;
}

/* The condition cc of Jcc, SETcc, CMOVcc (SDM 2D, appendix B, table B-10), on an oszapc word. */
static inline bool flags_condition(u16 f, unsigned cc)
{
    bool less = ((f >> OSZAPC_SF_SHIFT) ^ f) & OSZAPC_OF;
    bool result = false;
    switch (cc >> 1) {
    case 0: result = f & OSZAPC_OF; break;
    case 1: result = f & OSZAPC_CF; break;
    case 2: result = f & OSZAPC_ZF; break;
    case 3: result = f & (OSZAPC_CF | OSZAPC_ZF); break;
    case 4: result = f & OSZAPC_SF; break;
    case 5: result = f & OSZAPC_PF; break;
    case 6: result = less; break;
    case 7: result = less || (f & OSZAPC_ZF); break;
    }
    return result ^ (cc & 1);
}

#endif
