/* SPDX-License-Identifier: MIT
 *
 * The words of opforms.inc: private to the decoder.
 */
#ifndef ANELLO_CPU_DECODE_FORMS_H
#define ANELLO_CPU_DECODE_FORMS_H

enum where {
    AT_IMM8,
    AT_SIMM8,
    AT_IMM16,
    AT_IMMZ,
    AT_IMMV,
    AT_ONE,
    AT_REL8,
    AT_RELZ,
    AT_FAR,
    AT_MOFFS,
    AT_OPCODE,
    AT_FIXED,
    AT_HIDDEN,
    AT_STRING,
    AT_BASED,
    AT_RM,
    AT_RM_B, /* register of the form's size, or 1 byte of memory */
    AT_RM_W,
    AT_MEM,
    AT_RMREG,
    AT_REG,
    AT_VVVV,
    AT_IS4,
};

/* Register kinds of a form; resolved to enum operand_kind by size and REX. */
enum form_kind {
    KIND_NONE,
    KIND_GPR,
    KIND_GPR8,
    KIND_GPR8H,
    KIND_GPRA, /* as wide as an address */
    KIND_SEG,
    KIND_CR,
    KIND_DR,
    KIND_ST,
    KIND_MMX,
    KIND_VEC
};

#endif
