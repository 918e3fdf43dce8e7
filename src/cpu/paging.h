/* SPDX-License-Identifier: MIT
 *
 * Inside the layer: what page walks, the TLB and memory accesses share. The public side is
 * cpu/mem.h.
 */
#ifndef ANELLO_CPU_PAGING_H
#define ANELLO_CPU_PAGING_H

#include "cpu/mem.h"

/* Error code bits of #PF (SDM 3A §4.7). */
enum page_fault_bits {
    PF_PRESENT = 1 << 0,
    PF_WRITE = 1 << 1,
    PF_USER = 1 << 2,
    PF_RESERVED = 1 << 3,
    PF_FETCH = 1 << 4,
};

/* Loads the four PAE page-directory-pointer entries that CR3 value `cr3` names. False, with
 * nothing changed, when a reserved bit is set in one that is present: the caller raises #GP(0). */
bool paging_load_pdptes(struct vcpu *v, u64 cr3);

/* PAE paging without long mode: the mode that has PDPTE registers. */
static inline bool paging_has_pdptes(u64 cr0, u64 cr4, u64 efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* The entries that a linear address goes through below CR3, and what they held; with PAE, first of
 * all the PDPTE register. */
struct paging_ref {
    const void *hp;
    u64 value;
    u8 bytes;
};
struct paging_refs {
    struct paging_ref ref[2];
    unsigned count;
    u64 la, pdpte; /* pdpte: 0 without PAE */
    u64 pa;        /* where they lead */
};
/* Notes them; false where they are not in RAM, or lead nowhere. Not for long mode. */
bool paging_refs(struct vcpu *v, u64 la, struct paging_refs *refs);
/* What CR3 names, for paging_refs_same(): the page directory of 2-level paging; NULL with PAE,
 * whose PDPTE registers say it, and where there is no memory. */
const u8 *paging_directory(const struct vcpu *v);
/* Whether they hold the same below the page directory that CR3 names now: what is noted for one
 * address space is right in another one that shares it. */
bool paging_refs_same(const struct vcpu *v, const struct paging_refs *refs, const u8 *directory);

/* Where a linear address leads. */
struct place {
    enum phys_kind kind;
    u64 pa;     /* of la itself */
    u64 offset; /* likewise in the memfd; RAM and ROM only */
    u8 *hp;     /* NULL unless RAM or ROM */
};

/* Translates for an access, through the TLB; raises #PF. */
struct place tlb_translate(struct vcpu *v, u64 la, enum access access, unsigned view);

/* A write to the page has gone the slow way: makes the next one direct if nothing forbids it. */
void tlb_relax(struct vcpu *v, u64 la, unsigned view);

/* Writes to an entry's page are direct from now on, if its marks are such, in spite of v->journal;
 * and they are not. */
void tlb_open_writes(struct vcpu *v, struct tlb_entry *e);
void tlb_close_writes(struct tlb_entry *e);

#endif
