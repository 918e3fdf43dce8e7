/* SPDX-License-Identifier: MIT
 *
 * interp_bench: guest instructions a second of the interpreter on bare loops, without a board.
 *
 *     interp_bench [--paging] [NAME...]
 *
 * --paging runs them on 4 KiB pages. Processor time, and the best of three runs, because hosts are
 * busy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cpu/flags.h"
#include "cpu/interp.h"
#include "cpu/mem.h"

#define RAM_BYTES  MIB(8)
#define IMAGE_AT   0x100000u
#define STACK_TOP  0x180000u
#define TABLES_AT  0x80000u
#define ENTRY_STEP 16

static const char *const names[] = {"sieve", "crc",     "sort",    "matrix", "calls",
                                    "hash",  "machine", "strings", "bignum"};

static u32 read_port(void *opaque, u16 port, unsigned size)
{
    (void)opaque;
    (void)port;
    return (u32)mask64(size * 8);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool load_image(u8 *ram)
{
    FILE *f = fopen(LOOPS_IMAGE, "rb");
    if (!f) {
        perror(LOOPS_IMAGE);
        return false;
    }
    size_t n = fread(ram + IMAGE_AT, 1, STACK_TOP - IMAGE_AT - PAGE_BYTES, f);
    fclose(f);
    return n > 0;
}

/* Identity: a directory and two tables. */
static void make_tables(u8 *ram)
{
    for (unsigned n = 0; n < RAM_BYTES / PAGE_BYTES; n++)
        store32(ram + TABLES_AT + PAGE_BYTES + n * 4, (u32)(n * PAGE_BYTES) | 7);
    for (unsigned n = 0; n < RAM_BYTES / MIB(4); n++)
        store32(ram + TABLES_AT + n * 4, (u32)(TABLES_AT + (n + 1) * PAGE_BYTES) | 7);
}

static void enter_flat(struct vcpu *v, bool paging)
{
    v->cr0 = CR0_PE | CR0_ET | (paging ? CR0_PG | CR0_WP : 0);
    v->cr3 = TABLES_AT;
    for (unsigned s = 0; s < SEG_COUNT; s++)
        v->seg[s] = (struct segment){.limit = UINT32_MAX, .attr = 0xc093};
    v->seg[SEG_CS].attr = 0xc09b;
    v->gpr[REG_SP] = STACK_TOP;
    v->halted = false;
    vcpu_mode_changed(v);
    tlb_flush(v);
}

static void bench(struct vcpu *v, unsigned n, bool paging)
{
    double best = 1e9;
    u64 count = 0;
    for (unsigned repeat = 0; repeat < 3; repeat++) {
        enter_flat(v, paging);
        v->rip = IMAGE_AT + n * ENTRY_STEP;
        u64 before = v->instructions;
        double start = now();
        if (interp_run(v) != VCPU_EXIT_HALT) {
            printf("%s: did not end at its HLT (eip %llx)\n", names[n], (unsigned long long)v->rip);
            exit(1);
        }
        double took = now() - start;
        count = v->instructions - before;
        best = took < best ? took : best;
    }
    printf("%-8s %10llu instructions %8.1f MIPS\n", names[n], (unsigned long long)count,
           (double)count / best / 1e6);
}

static bool chosen(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], name))
            return true;
    }
    return argc < 2;
}

int main(int argc, char **argv)
{
    const struct vcpu_hooks hooks = {.port_read = read_port};
    const char *error = "no memory";
    bool paging = argc > 1 && !strcmp(argv[1], "--paging");
    if (paging) {
        argc--;
        argv++;
    }
    struct physmem *pm = physmem_create(RAM_BYTES, NULL);
    u64 ram = pm ? physmem_alloc(pm, RAM_BYTES, "ram") : UINT64_MAX;
    if (ram == UINT64_MAX)
        return 1;
    physmem_map_ram(pm, 0, RAM_BYTES, ram, 0, "ram");
    struct vcpu *v = vcpu_create(pm, &hooks, NULL, 0, NULL, &error);
    if (!v || !load_image(physmem_host(pm, ram))) {
        fprintf(stderr, "interp_bench: %s\n", error);
        return 1;
    }
    make_tables(physmem_host(pm, ram));
    for (unsigned n = 0; n < ARRAY_LEN(names); n++) {
        if (chosen(names[n], argc, argv))
            bench(v, n, paging);
    }
    vcpu_destroy(v);
    physmem_destroy(pm);
    return 0;
}
