/* SPDX-License-Identifier: MIT
 *
 * What stands where a kernel's decompressor was (unpacked_kernel.py). The boot loader has put it at
 * 1 MiB with the image behind it and jumped to it as Linux' 32-bit boot protocol says: flat segments,
 * no paging, boot parameters at ESI. The image goes to TARGET, in pieces and the last one first,
 * because it may reach over TARGET where it lies; then the kernel is entered in the same state.
 */
        .code32
        .globl _start
_start:
        cld
        movl    %esi, %ebp
        movl    $image + PIECES * PIECE, %esi
        movl    $TARGET + PIECES * PIECE, %edi
        movl    $PIECES, %edx
1:      subl    $PIECE, %esi
        subl    $PIECE, %edi
        movl    $PIECE / 4, %ecx
        pushl   %esi
        pushl   %edi
        rep movsl
        popl    %edi
        popl    %esi
        decl    %edx
        jnz     1b
        movl    %ebp, %esi
        movl    $ENTRY, %eax
        jmp     *%eax
        .balign 4096
image:
