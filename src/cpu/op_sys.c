/* SPDX-License-Identifier: MIT
 *
 * Selects the system instructions; here are only those that do nothing, or nothing but #UD because
 * what they belong to is not there.
 */
#include "cpu/op_sys.h"

/* Execution is in order and memory coherent: nothing to serialize. */
static void op_serialize(struct vcpu *v, const struct insn *in)
{
    sys_done(v, in);
}

/* VMX, SVM, SMX, SMM, protection keys, TSX, MONITOR: CPUID shows none of them. */
static void op_absent(struct vcpu *v, const struct insn *in)
{
    (void)in;
    cpu_raise(v, VEC_UD);
}

static exec_fn select_here(const struct insn *in)
{
    switch (in->op) {
    case OP_SERIALIZE: return op_serialize;
    case OP_CLGI:
    case OP_GETSEC:
    case OP_INVEPT:
    case OP_INVLPGA:
    case OP_INVVPID:
    case OP_MONITOR:
    case OP_MWAIT:
    case OP_RDPKRU:
    case OP_RSM:
    case OP_SKINIT:
    case OP_STGI:
    case OP_TPAUSE:
    case OP_UMONITOR:
    case OP_UMWAIT:
    case OP_VMCALL:
    case OP_VMCLEAR:
    case OP_VMFUNC:
    case OP_VMLAUNCH:
    case OP_VMLOAD:
    case OP_VMMCALL:
    case OP_VMPTRLD:
    case OP_VMPTRST:
    case OP_VMREAD:
    case OP_VMRESUME:
    case OP_VMRUN:
    case OP_VMSAVE:
    case OP_VMWRITE:
    case OP_VMXOFF:
    case OP_VMXON:
    case OP_WRPKRU:
    case OP_XABORT:
    case OP_XBEGIN:
    case OP_XEND:
    case OP_XTEST: return op_absent;
    default: return NULL;
    }
}

exec_fn op_sys_select(const struct insn *in)
{
    static exec_fn (*const files[])(const struct insn *) = {
        op_seg_select,  op_sysflag_select, op_io_select,   op_far_select,
        op_iret_select, op_swint_select,   op_crdr_select, op_table_select,
        op_msr_select,  op_syscall_select, select_here,
    };
    for (unsigned i = 0; i < ARRAY_LEN(files); i++) {
        exec_fn f = files[i](in);
        if (f)
            return f;
    }
    return NULL;
}
