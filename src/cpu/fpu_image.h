/* SPDX-License-Identifier: MIT
 *
 * Where things lie in struct fpu_image, which is the XSAVE area in standard format (SDM 1 §10.5.1,
 * §13.4), and the bits of the control and status registers in it.
 */
#ifndef ANELLO_CPU_FPU_IMAGE_H
#define ANELLO_CPU_FPU_IMAGE_H

#include "cpu/vcpu.h"

enum fpu_image_offset {
    IMAGE_FCW = 0,
    IMAGE_FSW = 2,
    IMAGE_FTW = 4, /* abridged: a bit for each physical register, 1 = not empty */
    IMAGE_FOP = 6,
    IMAGE_FIP = 8,
    IMAGE_FCS = 12,
    IMAGE_FDP = 16,
    IMAGE_FDS = 20,
    IMAGE_MXCSR = 24,
    IMAGE_MXCSR_MASK = 28,
    IMAGE_ST = 32,      /* ST(0)..ST(7), 10 bytes each */
    IMAGE_XMM = 160,    /* XMM0..XMM15 */
    IMAGE_LEGACY = 416, /* the CPU writes nothing from here on in the FXSAVE region */
    IMAGE_HEADER = 512, /* of XSAVE: XSTATE_BV, XCOMP_BV, reserved */
    IMAGE_XCOMP_BV = 520,
    IMAGE_EXTENDED = 576, /* YMM upper halves in the standard format */
};
#define IMAGE_ST_STEP   16
#define IMAGE_XMM_STEP  16
#define IMAGE_MMX_STEP  IMAGE_ST_STEP
#define IMAGE_FXSAVE    512
#define IMAGE_YMM_BYTES 256
#define IMAGE_ST_BYTES  10
#define IMAGE_XMM_BYTES 256

_Static_assert(IMAGE_EXTENDED + IMAGE_YMM_BYTES == FPU_IMAGE_BYTES,
               "the image ends with AVX state");

/* XSAVE components, XCR0 bits. */
enum xstate { XSTATE_X87 = 1 << 0, XSTATE_SSE = 1 << 1, XSTATE_AVX = 1 << 2 };
#define XCOMP_COMPACTED ((u64)1 << 63)

/* x87 control and status words (SDM 1 §8.1). */
enum x87_bits {
    X87_EXCEPTIONS = 0x3f, /* IE DE ZE OE UE PE; the masks are the same bits of the control word */
    X87_PE = 1 << 5,
    X87_SF = 1 << 6, /* stack fault */
    X87_ES = 1 << 7, /* an unmasked exception is pending */
    X87_BUSY = 1 << 15,
};
#define X87_FLAGS          (X87_EXCEPTIONS | X87_SF | X87_ES | X87_BUSY)
#define X87_TOP_SHIFT      11
#define X87_FCW_FNINIT     0x037f
#define X87_FCW_RESET      0x0040
#define MXCSR_RESET        0x1f80
#define MXCSR_DEFAULT_MASK 0xffbf /* where FXSAVE reports 0: no DAZ */

#endif
