/* SPDX-License-Identifier: MIT
 *
 * anello-vectors: single-step tests captured from real CPUs, run on ours.
 *
 *     anello-vectors [--engine interp|bt] [-v] PATH...
 *
 * PATH is a .MOO or .MOO.gz file or a folder of them. Ends with a line "N passed, N failed,
 * N skipped" and status 1 when one failed. -v prints a row for each file and why tests were
 * skipped, -vv each difference.
 *
 * The translator (--engine bt) is entered as a machine enters it; what it does not translate, as
 * all of real-address mode today, it leaves to the interpreter.
 *
 * A test runs from CS:IP in real-address mode to a HLT. Compared are all registers and the bytes
 * of memory that the test names. Flags that the manual leaves undefined (the opcode table says
 * which) are not, nor are they in the word that an exception has pushed. What else differs between
 * the captured CPU and those since the 386 is in skip_reason().
 */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bt/bt.h"
#include "cpu/decode.h"
#include "cpu/flags.h"
#include "cpu/interp.h"
#include "cpu/mem.h"
#include "cpu/optable.h"
#include "moo.h"

#define RAM_BYTES  MIB(16)
#define STEP_LIMIT 300000  /* instructions: a REP counts as one */
#define LENGTH_286 10      /* most bytes of an instruction */
#define FLAGS_286  0x0fd7u /* what a 286 shows in real-address mode */
#define FLAGS_386  0x37fd7u

struct totals {
    unsigned passed, failed, skipped;
};

struct bench {
    bool translate; /* engine bt */
    struct physmem *pm;
    u8 *ram;
    struct vcpu *v;
    unsigned verbose;
    struct totals all;
    struct {
        const char *reason;
        unsigned count;
    } skips[8];
};

/* ---- the machine: 16 MiB of RAM and no devices ---- */

static u32 read_port(void *opaque, u16 port, unsigned size)
{
    (void)opaque;
    (void)port;
    return (u32)mask64(size * 8);
}

static void write_port(void *opaque, u16 port, u32 value, unsigned size)
{
    (void)opaque;
    (void)port;
    (void)value;
    (void)size;
}

static bool create(struct bench *b)
{
    static const struct vcpu_hooks hooks = {.port_read = read_port, .port_write = write_port};
    const char *error;
    b->pm = physmem_create(RAM_BYTES, NULL);
    u64 ram = b->pm ? physmem_alloc(b->pm, RAM_BYTES, "ram") : UINT64_MAX;
    if (ram == UINT64_MAX)
        return false;
    physmem_map_ram(b->pm, 0, RAM_BYTES, ram, 0, "ram");
    b->ram = physmem_host(b->pm, ram);
    b->v = vcpu_create(b->pm, &hooks, NULL, 0, NULL, &error);
    return b->v;
}

/* ---- the translator runs until HLT: who does not get there is stopped from outside ---- */

#define BT_SECONDS 10

/* The seconds that the current test has left; 0: none is running. */
static unsigned patience;

static void *watch(void *opaque)
{
    struct vcpu *v = opaque;
    for (;;) {
        sleep(1);
        if (__atomic_load_n(&patience, __ATOMIC_SEQ_CST) &&
            !__atomic_sub_fetch(&patience, 1, __ATOMIC_SEQ_CST))
            vcpu_event_set(v, EVENT_STOP);
    }
    return NULL;
}

static bool use_translator(struct bench *b)
{
    pthread_t watcher;
    const char *reason = bt_unavailable();
    if (!reason && !bt_attach(b->v))
        reason = "no memory for it";
    if (!reason && pthread_create(&watcher, NULL, watch, b->v))
        reason = "no thread to watch it";
    if (reason)
        fprintf(stderr, "anello-vectors: engine bt: %s\n", reason);
    b->translate = !reason;
    return b->translate;
}

static enum vcpu_exit run_engine(struct bench *b)
{
    if (!b->translate)
        return interp_run_some(b->v, STEP_LIMIT);
    __atomic_store_n(&patience, BT_SECONDS, __ATOMIC_SEQ_CST);
    enum vcpu_exit why = bt_run(b->v);
    __atomic_store_n(&patience, 0, __ATOMIC_SEQ_CST);
    vcpu_event_clear(b->v, EVENT_STOP);
    return why;
}

static void poke(struct bench *b, u32 pa, u8 value)
{
    if (pa < RAM_BYTES)
        physmem_write(b->pm, pa, &value, 1);
}

static void set_segment(struct vcpu *v, unsigned s, u32 sel)
{
    v->seg[s] = (struct segment){.base = (sel & 0xffff) << 4,
                                 .limit = 0xffff,
                                 .attr = SEG_PRESENT | SEG_S | SEG_WRITABLE | SEG_ACCESSED,
                                 .sel = (u16)sel};
}

static void load_state(struct bench *b, const struct moo_test *t, u32 flags_mask)
{
    struct vcpu *v = b->v;
    const u32 *value = t->before.regs.value;
    vcpu_reset(v);
    for (unsigned i = 0; i < 8; i++)
        v->gpr[i] = value[MOO_EAX + i];
    for (unsigned i = 0; i < SEG_COUNT; i++)
        set_segment(v, i, value[MOO_ES + i]);
    v->idtr = (struct table_reg){.base = 0, .limit = 0x3ff};
    v->rip = value[MOO_EIP];
    flags_set(v, value[MOO_EFLAGS] & flags_mask);
    vcpu_mode_changed(v);
    tlb_flush(v);
    for (unsigned i = 0; i < t->before.ram_count; i++)
        poke(b, t->before.ram[i].pa, t->before.ram[i].value);
}

static u32 read_register(const struct vcpu *v, unsigned r)
{
    if (r <= MOO_EDI)
        return (u32)v->gpr[r - MOO_EAX];
    if (r <= MOO_GS)
        return v->seg[r - MOO_ES].sel;
    switch (r) {
    case MOO_EIP: return (u32)v->rip;
    case MOO_EFLAGS: return (u32)flags_get(v);
    case MOO_CR0: return (u32)v->cr0;
    case MOO_CR3: return (u32)v->cr3;
    case MOO_DR6: return (u32)v->dr[6];
    default: return (u32)v->dr[7];
    }
}

/* ---- where a 286 is another CPU ---- */

static bool is_286(const struct moo_file *f)
{
    return !strcmp(f->cpu, "C286");
}

/* In real-address mode a 286 reports offsets beyond the limit of SS with vector 13 like all others;
 * since the 386 they have vector 12. So where a test expects 13, 12 leads there too. */
static void alias_stack_fault(struct bench *b, const struct moo_test *t)
{
    if (t->has_exception && t->vector == VEC_GP)
        physmem_write(b->pm, VEC_SS * 4, b->ram + VEC_GP * 4, 4);
}

static bool has_lock(const struct moo_test *t)
{
    for (unsigned i = 0; i < t->len; i++) {
        switch (t->bytes[i]) {
        case 0xf0: return true;
        case 0xf2:
        case 0xf3:
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e: break;
        default: return false;
        }
    }
    return false;
}

static bool names_fs_or_gs(const struct insn *in)
{
    for (unsigned k = 0; k < in->operands; k++) {
        if (in->operand[k].kind == OPD_SEG && in->operand[k].reg >= SEG_FS)
            return true;
    }
    return false;
}

/* Tests that record something else than their instruction's work: one INT of 2,399 that is said to
 * have pushed SS for CS. */
static bool is_misrecorded(const struct moo_file *f, const struct moo_test *t)
{
    return !strncmp(f->mnemonic, "int ", 4) && t->index == 2044 && t->bytes[1] == 0x3b;
}

static const char *skip_reason(const struct moo_file *f, const struct moo_test *t,
                               const struct insn *in, enum decode_status status)
{
    if (is_286(f) && status == DECODE_OK && names_fs_or_gs(in))
        return "FS and GS came with the 386";
    if (is_286(f) && has_lock(t) && status == DECODE_INVALID)
        return "LOCK where the 386 and later raise #UD";
    if (is_286(f) && t->has_exception && t->len > LENGTH_286)
        return "longer than a 286 takes";
    if (is_286(f) && t->has_exception && status == DECODE_OK && in->op == OP_POP)
        return "a 286 has incremented SP when the write of a POP faults";
    if (is_286(f) && is_misrecorded(f, t))
        return "misrecorded";
    return NULL;
}

/* A 286 has stepped the index registers when an element faults; since the 386 the instruction can
 * be restarted. A bit for each register that is not compared. */
static u32 stepped_registers(const struct moo_file *f, const struct moo_test *t,
                             const struct insn *in, enum decode_status status)
{
    if (!is_286(f) || !t->has_exception || status != DECODE_OK)
        return 0;
    if (op_row(in)->cls != CLASS_STRING && in->op != OP_INS && in->op != OP_OUTS)
        return 0;
    return 1u << MOO_ESI | 1u << MOO_EDI | 1u << MOO_ECX;
}

/* After #DE no flag means anything: some CPUs have divided by then. */
static u32 undefined_flags(const struct moo_test *t, const struct insn *in,
                           enum decode_status status)
{
    if (t->has_exception && t->vector == VEC_DE)
        return FLAG_OSZAPC;
    return status == DECODE_OK ? op_row(in)->flags_undefined : 0;
}

/* ---- a test ---- */

struct verdict {
    const struct bench *b;
    const struct moo_test *t;
    u32 width; /* of registers: 16 or 32 ones */
    bool differs;
};

static void differ(struct verdict *r, const char *what, u32 pa, u32 want, u32 got)
{
    if (r->b->verbose > 1) {
        if (!r->differs) {
            printf("  %u %s%s:", r->t->index, r->t->name,
                   r->t->has_exception ? " (exception)" : "");
            for (unsigned i = 0; i < r->t->len; i++)
                printf(" %02x", r->t->bytes[i]);
            printf("\n");
        }
        printf("    %s", what);
        if (pa != UINT32_MAX)
            printf(" %x", pa);
        printf(": %x, not %x\n", got, want);
    }
    r->differs = true;
}

static void compare_registers(struct verdict *r, u32 flags_mask, u32 ignored)
{
    const struct moo_regs *before = &r->t->before.regs, *after = &r->t->after.regs;
    const struct moo_regs *mask = &r->t->mask;
    for (unsigned i = 0; i < MOO_REGS; i++) {
        if (!(((before->present | after->present) & ~ignored) >> i & 1))
            continue;
        bool changed = after->present >> i & 1;
        u32 want = changed ? after->value[i] : before->value[i];
        u32 compared = mask->present >> i & 1 ? mask->value[i] : r->width;
        if (i == MOO_EFLAGS)
            compared &= flags_mask;
        u32 got = read_register(r->b->v, i);
        if ((want ^ got) & compared)
            differ(r, moo_reg_names[i], UINT32_MAX, want & compared, got & compared);
    }
}

static void compare_memory(struct verdict *r, u32 flags_mask)
{
    const struct moo_state *after = &r->t->after;
    /* Pushed below the old stack; t->flags_pa is even even when it was at an odd address. */
    u32 flags_pa = (u32)(r->b->v->seg[SEG_SS].base + ((r->b->v->gpr[REG_SP] + 4) & 0xffff));
    for (unsigned i = 0; i < after->ram_count; i++) {
        u32 pa = after->ram[i].pa;
        u8 compared = 0xff, want = after->ram[i].value;
        if (r->t->has_exception && pa - flags_pa < 2)
            compared = (u8)(flags_mask >> (pa - flags_pa) * 8);
        u8 got = pa < RAM_BYTES ? r->b->ram[pa] : 0xff;
        if ((want ^ got) & compared)
            differ(r, "memory", pa, want, got);
    }
}

/* So that nothing of a test is left for the next one. */
static void clear_memory(struct bench *b, const struct moo_test *t)
{
    for (unsigned i = 0; i < t->before.ram_count; i++)
        poke(b, t->before.ram[i].pa, 0);
    for (unsigned i = 0; i < t->after.ram_count; i++)
        poke(b, t->after.ram[i].pa, 0);
    for (unsigned i = 0; i < 4; i++)
        poke(b, VEC_SS * 4 + i, 0);
}

static void count_skip(struct bench *b, const char *reason)
{
    unsigned i = 0;
    while (b->skips[i].reason && b->skips[i].reason != reason && i < ARRAY_LEN(b->skips) - 1)
        i++;
    b->skips[i].reason = reason;
    b->skips[i].count++;
}

static void run_test(struct bench *b, const struct moo_file *f, const struct moo_test *t,
                     struct totals *totals)
{
    struct insn in;
    enum decode_status status = decode(t->bytes, t->len, 16, &in);
    const char *skip = skip_reason(f, t, &in, status);
    if (skip) {
        totals->skipped++;
        count_skip(b, skip);
        if (b->verbose > 1)
            printf("  %u %s: skipped: %s\n", t->index, t->name, skip);
        return;
    }
    u32 flags_mask = is_286(f) ? FLAGS_286 : FLAGS_386;
    struct verdict r = {.b = b, .t = t, .width = is_286(f) ? 0xffff : ~0u};
    load_state(b, t, flags_mask);
    if (is_286(f))
        alias_stack_fault(b, t);
    enum vcpu_exit why = run_engine(b);
    if (why != VCPU_EXIT_HALT)
        differ(&r, "no HLT reached: end", UINT32_MAX, VCPU_EXIT_HALT, why);
    flags_mask &= ~undefined_flags(t, &in, status);
    compare_registers(&r, flags_mask, stepped_registers(f, t, &in, status));
    compare_memory(&r, flags_mask);
    clear_memory(b, t);
    if (r.differs)
        totals->failed++;
    else
        totals->passed++;
}

/* ---- files and folders ---- */

static bool run_file(struct bench *b, const char *path)
{
    struct moo_file f;
    struct moo_test t;
    struct totals totals = {0};
    const char *error = moo_open(&f, path);
    if (!error) {
        while (moo_next(&f, &t, &error)) {
            run_test(b, &f, &t, &totals);
            moo_test_free(&t);
        }
        if (b->verbose)
            printf("%-28s %-8s %6u passed %5u failed %5u skipped\n", strrchr(path, '/') + 1,
                   f.mnemonic, totals.passed, totals.failed, totals.skipped);
        moo_close(&f);
    }
    if (error)
        fprintf(stderr, "anello-vectors: %s: %s\n", path, error);
    b->all.passed += totals.passed;
    b->all.failed += totals.failed;
    b->all.skipped += totals.skipped;
    return !error;
}

static int is_vector_file(const struct dirent *d)
{
    return strstr(d->d_name, ".MOO") != NULL;
}

static bool run_folder(struct bench *b, const char *path)
{
    struct dirent **names;
    int count = scandir(path, &names, is_vector_file, alphasort);
    bool ok = count >= 0;
    for (int i = 0; i < count; i++) {
        char *file;
        if (asprintf(&file, "%s/%s", path, names[i]->d_name) < 0)
            abort();
        ok &= run_file(b, file);
        free(file);
        free(names[i]);
    }
    if (count >= 0)
        free(names);
    else
        perror(path);
    return ok;
}

static bool run_path(struct bench *b, const char *path)
{
    struct stat st;
    if (stat(path, &st)) {
        perror(path);
        return false;
    }
    if (S_ISDIR(st.st_mode))
        return run_folder(b, path);
    char *whole = realpath(path, NULL); /* with a slash in it */
    bool ok = whole && run_file(b, whole);
    free(whole);
    return ok;
}

static int usage(void)
{
    fprintf(stderr, "usage: anello-vectors [--engine interp|bt] [-v] PATH...\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    bool translate = false;
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (!strcmp(argv[i], "-v")) {
            b.verbose++;
        } else if (!strcmp(argv[i], "-vv")) {
            b.verbose += 2;
        } else if (!strcmp(argv[i], "--engine") && i + 1 < argc) {
            translate = !strcmp(argv[++i], "bt");
            if (!translate && strcmp(argv[i], "interp") != 0) {
                fprintf(stderr, "anello-vectors: there is no engine \"%s\": interp or bt\n",
                        argv[i]);
                return 1;
            }
        } else {
            return usage();
        }
    }
    if (i == argc)
        return usage();
    if (!create(&b)) {
        fprintf(stderr, "anello-vectors: no memory for a guest\n");
        return 1;
    }
    if (translate && !use_translator(&b))
        return 1;
    bool ok = true;
    for (; i < argc; i++)
        ok &= run_path(&b, argv[i]);
    for (unsigned k = 0; b.verbose && k < ARRAY_LEN(b.skips) && b.skips[k].reason; k++)
        printf("skipped %u: %s\n", b.skips[k].count, b.skips[k].reason);
    printf("%u passed, %u failed, %u skipped\n", b.all.passed, b.all.failed, b.all.skipped);
    if (b.translate)
        return !ok || b.all.failed; /* the watcher still knows the CPU */
    vcpu_destroy(b.v);
    physmem_destroy(b.pm);
    return !ok || b.all.failed;
}
