/* SPDX-License-Identifier: MIT
 *
 * The selector of all integer instructions.
 */
#include "cpu/op_int.h"

exec_fn op_int_select(const struct insn *in)
{
    static exec_fn (*const select[])(const struct insn *) = {
        op_move_select, op_arith_select,  op_flow_select, op_stack_select, op_shift_select,
        op_bit_select,  op_string_select, op_hint_select, op_bcd_select,
    };
    for (unsigned i = 0; i < ARRAY_LEN(select); i++) {
        exec_fn fn = select[i](in);
        if (fn)
            return fn;
    }
    return NULL;
}
