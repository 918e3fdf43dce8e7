/* SPDX-License-Identifier: MIT
 *
 * Which fast handler an instruction gets, if any.
 */
#include "cpu/fast.h"

enum ea_form fast_ea(const struct vcpu *v, const struct insn *in, struct uop *u)
{
    if (v->mode & (MODE_AC | MODE_BREAK))
        return EA_FORMS;
    bool indexed = in->index < 16;
    u->base = in->base < 16 ? in->base : REG_ZERO;
    u->index = indexed ? in->index : REG_ZERO;
    u->scale = in->scale;
    u->disp = in->disp;
    u->seg = in->seg;
    u->adsize = in->adsize;
    if (v->mode & MODE_CS64) {
        if (in->adsize == 8 && in->seg < SEG_FS)
            return indexed ? INDEX64 : BASE64;
    } else if ((v->mode & MODE_FLAT) && in->adsize == 4 && in->seg < SEG_FS && in->seg != SEG_CS) {
        return indexed ? INDEX32 : BASE32;
    }
    return SEGMENT;
}

uop_fn fast_select(const struct vcpu *v, const struct insn *in, u64 next, struct uop *u)
{
    if (in->prefixes & PFX_LOCK)
        return NULL;
    uop_fn fn = fast_move_select(v, in, u);
    if (!fn)
        fn = fast_alu_select(v, in, u);
    if (!fn)
        fn = fast_flow_select(v, in, next, u);
    if (!fn)
        fn = fast_fpu_select(v, in, next, u);
    return fn;
}
