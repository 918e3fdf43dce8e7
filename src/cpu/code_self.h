/* SPDX-License-Identifier: MIT
 *
 * Blocks that check themselves. Private to the code cache and to the translator.
 *
 * A page with blocks is held: each write to it is heard of, which is slow. Where code lies beside
 * data that change all the time (code made at run time, trampolines on the stack) the page is
 * *opened*: writes are as anywhere, and each block of the page keeps a copy of the bytes that it
 * was made from, with which it is compared whenever it is entered, by the interpreter (uop_self) as
 * in translations (bt/xl_self.c). Who finds a difference goes to cache_find(), which makes the
 * block anew.
 *
 * Nothing is compared within a block, so it ends after each instruction that may write memory: the
 * next one is another block. It is short, too. What others write (DMA) is seen from the next block
 * on; so is an A or D bit that the CPU itself sets in code.
 *
 * After a while the page is closed again, to see whether writes still come; it stays open for twice
 * as long each time.
 */
#ifndef ANELLO_CPU_CODE_SELF_H
#define ANELLO_CPU_CODE_SELF_H

#include "cpu/code_cache.h"

/* The bytes that translated code would read from guest memory for a block: parts of it that are
 * contiguous there, without immediates that it does not depend on. Calls `part` for each, with the
 * offset in the memfd, and in the block. */
typedef void code_self_part(void *opaque, u64 offset, u64 at, u64 size);
void code_self_parts(const struct block *b, code_self_part *part, void *opaque);

/* Whether b is still what it was made from. */
bool code_self_same(const struct vcpu *v, const struct block *b);
/* What has changed, from the first byte of b to behind the last; false: nothing has. */
bool code_self_difference(const struct vcpu *v, const struct block *b, u64 *from, u64 *to);

/* A block that checks itself ends after this instruction. */
bool code_self_ends(const struct cached_insn *ci);

/* There has been a write to a page with blocks, but beside them. */
void code_self_beside(struct vcpu *v, struct page_record *page);

/* The record of an open page goes. */
void code_self_forget(struct vcpu *v, struct page_record *page);

/* Closes what has been open for long enough. Only between blocks. */
void code_self_reconsider(struct vcpu *v);

#endif
