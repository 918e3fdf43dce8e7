/* SPDX-License-Identifier: MIT */
#include "subject.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "bt/bt.h"
#include "cpu/excp.h"
#include "cpu/feature.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/fpu_image.h"
#include "cpu/interp.h"
#include "cpu/seg.h"
#include "image.h"

#define SECONDS_MOST 20 /* of CPU time for a program */

struct subject {
    struct physmem *pm;
    struct vcpu *v;
    u64 offset[PARTS];
    bool translated;
    bool left;
    int asked; /* vector, -1 none */
    u32 tick;  /* atomic */
    u32 noise; /* what ports and registers read */
    struct notes notes;
    /* The thread that ticks and ends what takes too long. */
    pthread_t thread;
    pthread_mutex_t lock;
    bool ticking, over; /* atomic */
    bool running, late; /* under the lock */
    u64 since;          /* CPU time at the program's start */
};

/* ---- the board ---- */

static void note(struct subject *s, u64 what)
{
    s->notes.digest = (s->notes.digest ^ what) * 0x100000001b3;
    s->notes.count++;
}

static u32 next_noise(struct subject *s)
{
    s->noise = s->noise * 1664525 + 1013904223;
    return s->noise;
}

static u32 port_read(void *opaque, u16 port, unsigned size)
{
    struct subject *s = opaque;
    note(s, 1 | (u64)port << 8 | (u64)size << 32);
    return next_noise(s) >> (32 - 8 * size);
}

static void port_write(void *opaque, u16 port, u32 value, unsigned size)
{
    struct subject *s = opaque;
    note(s, 2 | (u64)port << 8 | (u64)size << 24 | (u64)value << 32);
    if (port == PORT_LEAVE) {
        s->left = true;
        vcpu_event_set(s->v, EVENT_STOP);
    } else if (port >= PORT_ASK && port <= PORT_ASK_LAST) {
        s->asked = INT_ASKED + (port - PORT_ASK);
        vcpu_event_set(s->v, EVENT_INTR);
    }
}

static u64 device_read(void *opaque, u64 pa, unsigned size)
{
    struct subject *s = opaque;
    note(s, 3 | pa << 8 | (u64)size << 56);
    return next_noise(s) | (u64)s->noise << 32;
}

static void device_write(void *opaque, u64 pa, u64 value, unsigned size)
{
    struct subject *s = opaque;
    note(s, 4 | pa << 8 | (u64)size << 56);
    note(s, size == 8 ? value : value & (((u64)1 << 8 * size) - 1));
}

static int interrupt_ack(void *opaque)
{
    struct subject *s = opaque;
    int vector = s->asked;
    vcpu_event_clear(s->v, EVENT_INTR);
    s->asked = -1;
    if (vector >= 0) {
        if (__atomic_load_n(&s->tick, __ATOMIC_SEQ_CST))
            vcpu_event_set(s->v, EVENT_INTR);
        return vector;
    }
    return __atomic_exchange_n(&s->tick, 0, __ATOMIC_SEQ_CST) ? INT_TICK : -1;
}

static u64 cr8_read(void *opaque)
{
    (void)opaque;
    return 0;
}

static void cr8_write(void *opaque, u64 value)
{
    (void)opaque;
    (void)value;
}

/* ---- the other thread ---- */

static u64 now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

/* What happens to the program that is running now, if one is. */
static void look_after(struct subject *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->running && s->ticking) {
        __atomic_store_n(&s->tick, 1, __ATOMIC_SEQ_CST);
        vcpu_event_set(s->v, EVENT_INTR);
    }
    if (s->running && now_ns() - s->since > (u64)SECONDS_MOST * 1000000000) {
        s->late = true;
        vcpu_event_set(s->v, EVENT_STOP);
    }
    pthread_mutex_unlock(&s->lock);
}

static void *tick_thread(void *opaque)
{
    struct subject *s = opaque;
    struct rng r = {.state = (u64)(uintptr_t)s};
    while (!__atomic_load_n(&s->over, __ATOMIC_SEQ_CST)) {
        bool often = __atomic_load_n(&s->ticking, __ATOMIC_SEQ_CST);
        const struct timespec pause = {0, often ? 1 + rng_below(&r, 60000) : 20000000};
        nanosleep(&pause, NULL);
        look_after(s);
    }
    return NULL;
}

static void set_running(struct subject *s, bool running, bool ticking)
{
    pthread_mutex_lock(&s->lock);
    s->running = running;
    s->since = now_ns();
    __atomic_store_n(&s->ticking, ticking, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&s->lock);
}

/* ---- life ---- */

struct subject *subject_create(bool translated)
{
    const struct vcpu_hooks hooks = {.port_read = port_read,
                                     .port_write = port_write,
                                     .mmio_read = device_read,
                                     .mmio_write = device_write,
                                     .interrupt_ack = interrupt_ack,
                                     .cr8_read = cr8_read,
                                     .cr8_write = cr8_write};
    static const struct mmio_ops ops = {.name = "device"};
    const char *error = NULL;
    struct subject *s = calloc(1, sizeof *s);
    u64 all = 0;
    for (unsigned i = 0; i < PARTS; i++)
        all += parts[i].bytes;
    s->translated = translated;
    pthread_mutex_init(&s->lock, NULL);
    s->pm = physmem_create(all, NULL);
    for (unsigned i = 0; i < PARTS; i++) {
        const struct part *p = &parts[i];
        s->offset[i] = physmem_alloc(s->pm, p->bytes, "part");
        if (p->rom)
            physmem_map_rom(s->pm, p->pa, p->bytes, s->offset[i], 0, "rom");
        else
            physmem_map_ram(s->pm, p->pa, p->bytes, s->offset[i], 0, "ram");
        if (p->alias)
            physmem_map_ram(s->pm, p->alias, p->bytes, s->offset[i], 0, "alias");
    }
    physmem_map_mmio(s->pm, DEVICE_PA, PAGE_BYTES, &ops, s, 0);
    struct vcpu_hooks mine = hooks;
    mine.opaque = s;
    s->v = vcpu_create(s->pm, &mine, NULL, 0, "max", &error);
    if (!s->v || (translated && !bt_attach(s->v)) ||
        pthread_create(&s->thread, NULL, tick_thread, s)) {
        fprintf(stderr, "bt-diff: %s\n", error ? error : "no memory for the translator");
        return NULL;
    }
    return s;
}

void subject_destroy(struct subject *s)
{
    __atomic_store_n(&s->over, true, __ATOMIC_SEQ_CST);
    pthread_join(s->thread, NULL);
    if (s->translated)
        bt_detach(s->v);
    vcpu_destroy(s->v);
    physmem_destroy(s->pm);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const u32 *subject_features(const struct subject *s)
{
    return s->v->feature;
}

struct vcpu *subject_cpu(const struct subject *s)
{
    return s->v;
}

const u8 *subject_memory(const struct subject *s, unsigned part)
{
    return physmem_host(s->pm, s->offset[part]);
}

struct notes subject_notes(const struct subject *s)
{
    return s->notes;
}

/* ---- the start ---- */

/* Only what differs is written: what has been translated before may stay. */
static void load_image(struct subject *s, const struct image *m)
{
    for (unsigned i = 0; i < PARTS; i++) {
        u8 *to = physmem_host(s->pm, s->offset[i]);
        for (u32 at = 0; at < parts[i].bytes; at += 64) {
            if (!memcmp(to + at, m->part[i] + at, 64))
                continue;
            physmem_touch_range(s->pm, s->offset[i] + at, 64);
            memcpy(to + at, m->part[i] + at, 64);
        }
    }
}

static struct segment from_gdt(const struct image *m, u16 sel)
{
    return seg_from_descriptor(sel, load64(m->part[0] + GDT_AT + (sel & ~(SEL_RPL | SEL_TI))));
}

static void load_segments(struct vcpu *v, const struct image *m, bool user)
{
    v->gdtr = (struct table_reg){.base = GDT_AT, .limit = GDT_LIMIT};
    v->idtr = (struct table_reg){.base = IDT_AT, .limit = IDT_LIMIT};
    v->tr = from_gdt(m, SEL_TSS);
    v->ldtr = seg_null(0);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        v->seg[i] = from_gdt(m, SEL_DATA3);
    v->seg[SEG_CS] = from_gdt(m, user ? SEL_CODE3 : SEL_CODE0);
    if (!user)
        v->seg[SEG_SS] = from_gdt(m, SEL_DATA0);
    v->sysenter_cs = SEL_CODE0;
    v->sysenter_esp = FAST_STACK;
    v->sysenter_eip = m->fast;
}

static void load_control(struct vcpu *v, const struct config *c)
{
    v->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | (c->wp ? CR0_WP : 0) |
             (c->alignment_checks ? CR0_AM : 0) | (c->paging ? CR0_PG : 0);
    v->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_PSE | (c->global ? CR4_PGE : 0) |
             (c->paging == PAGING_PAE ? CR4_PAE : 0) | (c->smap ? CR4_SMAP : 0) |
             (c->smep ? CR4_SMEP : 0) | (c->pvi ? CR4_PVI : 0);
    v->xcr0 = 3;
    if (feature_shown(v->feature, CPUID_AVX)) {
        v->cr4 |= CR4_OSXSAVE;
        v->xcr0 = 7;
    }
    v->efer = c->nx ? EFER_NXE : 0;
}

static void load_fpu(struct vcpu *v, const struct program *p)
{
    program_data(p, v->fpu.bytes + IMAGE_XMM, 128);
    store16(v->fpu.bytes + IMAGE_FCW, X87_FCW_FNINIT);
    store32(v->fpu.bytes + IMAGE_MXCSR, MXCSR_RESET);
    store64(v->fpu.bytes + IMAGE_HEADER, XSTATE_X87 | XSTATE_SSE | (v->xcr0 & XSTATE_AVX));
    fpu_edited(v);
}

static void load_registers(struct subject *s, const struct program *p, const struct image *m)
{
    struct vcpu *v = s->v;
    const struct config *c = &p->config;
    vcpu_reset(v);
    vcpu_event_clear(v, EVENT_INTR | EVENT_STOP);
    v->tsc_offset = 0;
    load_control(v, c);
    v->cr3 = m->cr3;
    memcpy(v->pdpte, m->pdpte, sizeof m->pdpte);
    load_segments(v, m, c->ring == 3);
    v->cpl = (u8)c->ring;
    for (unsigned g = 0; g < 8; g++)
        v->gpr[g] = p->gpr[g];
    v->rip = p->start;
    flags_set(v, p->flags | c->iopl << FLAG_IOPL_SHIFT | (c->interrupts ? FLAG_IF : 0) |
                     (c->smap && !c->ring ? FLAG_AC : 0));
    tlb_flush(v);
    vcpu_mode_changed(v);
    load_fpu(v, p);
}

/* ---- running ---- */

static enum ending run(struct subject *s, u64 limit)
{
    for (;;) {
        u64 before = s->v->instructions;
        enum vcpu_exit why = s->translated ? bt_run(s->v) : interp_run_some(s->v, limit);
        u64 done = s->v->instructions - before;
        if (s->left)
            return ENDED;
        if (why == VCPU_EXIT_SHUTDOWN)
            return SHUT_DOWN;
        if (why == VCPU_EXIT_HALT && !excp_wakes(s->v))
            return ASLEEP;
        if (s->late || (!s->translated && done >= limit))
            return TOO_LONG;
        limit -= done < limit ? done : limit;
    }
}

enum ending subject_run(struct subject *s, const struct program *p, u64 limit)
{
    struct image m = image_make(p);
    load_image(s, &m);
    load_registers(s, p, &m);
    image_free(&m);
    if (s->translated)
        bt_tune(s->v, &(struct bt_tuning){.hot = p->config.hot,
                                          .window_after = p->config.window_after,
                                          .traces_at_once = p->config.traces,
                                          .beside = p->config.beside});
    if (s->translated)
        bt_verify(s->v, true);
    s->left = s->late = false;
    s->asked = -1;
    s->tick = 0;
    s->noise = (u32)p->seed;
    s->notes = (struct notes){0};
    set_running(s, true, s->translated && p->config.ticks);
    enum ending e = run(s, limit);
    set_running(s, false, false);
    return e;
}
