/* SPDX-License-Identifier: MIT */
#include "cpu/flags.h"
#include "cpu/fpu_image.h"
#include "image.h"
#include "subject.h"

struct comparison {
    FILE *f;
    bool same;
};

static void compare(struct comparison *c, const char *name, u64 interp, u64 bt)
{
    if (interp == bt)
        return;
    c->same = false;
    if (c->f)
        fprintf(c->f, "  %-12s interp %016llx  bt %016llx\n", name, (unsigned long long)interp,
                (unsigned long long)bt);
}

static void compare_registers(struct comparison *c, const struct vcpu *a, const struct vcpu *b)
{
    static const char *const gpr[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
    static const char *const seg[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    for (unsigned i = 0; i < 8; i++)
        compare(c, gpr[i], a->gpr[i], b->gpr[i]);
    compare(c, "eip", a->rip, b->rip);
    compare(c, "eflags", flags_get(a), flags_get(b));
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        compare(c, seg[i], a->seg[i].sel | (u64)a->seg[i].attr << 16,
                b->seg[i].sel | (u64)b->seg[i].attr << 16);
        compare(c, seg[i], a->seg[i].base, b->seg[i].base);
    }
    compare(c, "cr0", a->cr0, b->cr0);
    compare(c, "cr2", a->cr2, b->cr2);
    compare(c, "cr3", a->cr3, b->cr3);
    compare(c, "cr4", a->cr4, b->cr4);
    compare(c, "dr6", a->dr[6], b->dr[6]);
    compare(c, "halted", a->halted, b->halted);
}

static void compare_fpu(struct comparison *c, const struct vcpu *a, const struct vcpu *b)
{
    for (unsigned i = 0; i < sizeof a->fpu.bytes; i += 8) {
        char text[16];
        u64 mask = ~(u64)0;
        if (i == IMAGE_FIP || i == IMAGE_FDP || (i >= IMAGE_LEGACY && i < IMAGE_EXTENDED))
            continue; /* the host's own */
        if (i == 0)
            mask >>= 16; /* FOP */
        if (i == IMAGE_MXCSR)
            mask >>= 32;
        snprintf(text, sizeof text, "fpu +%u", i);
        compare(c, text, load64(a->fpu.bytes + i) & mask, load64(b->fpu.bytes + i) & mask);
    }
    compare(c, "fpu ip", a->fpu_ip, b->fpu_ip);
    compare(c, "fpu dp", a->fpu_dp, b->fpu_dp);
    compare(c, "fpu op", a->fpu_op, b->fpu_op);
    compare(c, "fpu cs,ds", a->fpu_cs | (u64)a->fpu_ds << 16, b->fpu_cs | (u64)b->fpu_ds << 16);
}

/* Ticks leave something on stacks. */
static bool may_differ(const struct program *p, u32 pa)
{
    return p->config.ticks && pa >= KERNEL_STACK - PAGE_BYTES && pa < FAST_STACK;
}

#define PAGE_ACCESSED (1 << 5) /* the A bit of a paging entry */

/* Which of several spaces get A bits for a global page depends on when the TLB forgets it, and
 * pages that are opened under the translator only are forgotten there only. */
static u32 mask_of_dword(const struct program *p, u32 pa)
{
    bool table = pa >= TABLES_AT && pa < LOG_AT;
    return p->config.beside && p->config.global && table ? ~(u32)PAGE_ACCESSED : ~(u32)0;
}

#define SHOWN 40 /* dwords that differ */

static void compare_memory(struct comparison *c, const struct subject *a, const struct subject *b,
                           const struct program *p)
{
    unsigned shown = 0;
    for (unsigned i = 0; i < PARTS; i++) {
        const u8 *x = subject_memory(a, i), *y = subject_memory(b, i);
        if (!memcmp(x, y, parts[i].bytes))
            continue;
        for (u32 at = 0; at < parts[i].bytes; at += 4) {
            char text[16];
            u32 pa = parts[i].pa + at, mask = mask_of_dword(p, pa);
            u32 one = load32(x + at) & mask, other = load32(y + at) & mask;
            if (one == other || may_differ(p, pa) || shown++ >= SHOWN)
                continue;
            snprintf(text, sizeof text, "[%08x]", pa);
            compare(c, text, one, other);
        }
    }
}

static void print_record(FILE *f, const char *who, const u8 *r)
{
    fprintf(f, "  %-6s vector %02x error %04x eip %08x cs %04x eflags %08x cr2 %08x\n", who,
            load32(r + LOG_VECTOR), load32(r + LOG_ERROR), load32(r + LOG_EIP), load32(r + LOG_CS),
            load32(r + LOG_FLAGS), load32(r + LOG_CR2));
    fprintf(f, "         eax %08x ecx %08x edx %08x ebx %08x esp %08x ebp %08x esi %08x edi %08x\n",
            load32(r + 36), load32(r + 32), load32(r + 28), load32(r + 24),
            load32(r + LOG_CS) & 3 ? load32(r + LOG_ESP) : load32(r + 20), load32(r + 16),
            load32(r + 12), load32(r + 8));
}

/* The exceptions up to the first that is not the same. */
static void print_log(FILE *f, struct subject *a, struct subject *b)
{
    const u8 *x = subject_memory(a, 0) + LOG_AT;
    const u8 *y = subject_memory(b, 0) + LOG_AT;
    for (unsigned n = 0; n < LOG_RECORDS; n++, x += LOG_RECORD, y += LOG_RECORD) {
        if (!load32(x + LOG_EIP) && !load32(y + LOG_EIP))
            return;
        fprintf(f, "exception %u\n", n);
        print_record(f, "interp", x);
        if (memcmp(x, y, LOG_RECORD) != 0) {
            print_record(f, "bt", y);
            return;
        }
    }
}

bool subject_same(struct subject *interp, struct subject *bt, const struct program *p, FILE *f)
{
    struct comparison c = {.f = f, .same = true};
    compare_registers(&c, subject_cpu(interp), subject_cpu(bt));
    compare_fpu(&c, subject_cpu(interp), subject_cpu(bt));
    struct notes x = subject_notes(interp), y = subject_notes(bt);
    compare(&c, "I/O accesses", x.count, y.count);
    compare(&c, "I/O", x.digest, y.digest);
    compare_memory(&c, interp, bt, p);
    if (f && !c.same)
        print_log(f, interp, bt);
    return c.same;
}
