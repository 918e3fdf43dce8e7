/* SPDX-License-Identifier: MIT
 *
 * An event that another thread sets is seen at once, at whatever moment it comes: in translated
 * code, in C that translated code has called, or between C's last look and the way back.
 */
#include "bt_bench.h"

#include <pthread.h>
#include <time.h>

#define TRIES    5000
#define LONGEST  3000 /* pauses, in turns of an empty loop, from the port's read to the event */
#define VECTOR   0x30
#define HANDLER  (0xf000 + VECTOR)
#define PATIENCE 10 /* seconds: the host may be busy */
#define ENOUGH   20 /* seconds after which no more events are set */

/* The other thread, which interrupts the guest so many times. */
struct other {
    struct rig *r;
    unsigned times;  /* in the end: as many as there were */
    bool after_port; /* each time when the guest has read the port once more */
    unsigned lost;   /* the try that nobody has seen, from 1; 0: none */
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool wait_for(const u32 *counter, u32 value)
{
    double end = seconds() + PATIENCE;
    while (__atomic_load_n(counter, __ATOMIC_SEQ_CST) != value) {
        if (seconds() > end)
            return false;
    }
    return true;
}

static void *set_events(void *opaque)
{
    struct other *o = opaque;
    u32 *handled = (u32 *)(void *)(o->r->ram + BENCH_DATA);
    double end = seconds() + ENOUGH;
    for (u32 n = 1; n <= o->times && !o->lost; n++) {
        if (o->after_port)
            wait_for(&o->r->port_reads, n);
        for (volatile unsigned pause = n * 7919 % LONGEST; pause > 0; pause--)
            ;
        vcpu_event_set(o->r->v, EVENT_INTR);
        if (!wait_for(handled, n))
            o->lost = n;
        if (seconds() > end)
            o->times = n;
    }
    vcpu_event_set(o->r->v, EVENT_STOP);
    return NULL;
}

/* Runs the guest's code beside the other thread; its handler counts at BENCH_DATA. */
static void run_beside(struct other *o, const u8 *code, size_t code_size, const u8 *handler,
                       size_t handler_size)
{
    struct rig *r = o->r;
    pthread_t thread;
    bt_bench_put(r, BENCH_CODE, code, code_size);
    bt_bench_put(r, HANDLER, handler, handler_size);
    r->vector = VECTOR;
    r->v->rip = BENCH_CODE;
    assert_int_equal(pthread_create(&thread, NULL, set_events, o), 0);
    assert_int_equal(bt_run(r->v), VCPU_EXIT_STOP);
    pthread_join(thread, NULL);
    if (o->lost)
        fail_msg("event %u was not seen for %d s", o->lost, PATIENCE);
    assert_int_equal(peek32(r, BENCH_DATA), o->times);
}

/* Each time the guest has read the port it waits for an interrupt without ever calling C. */
static void events_are_seen_at_any_moment(void **state)
{
    (void)state;
    static const u8 code[] = {0xfb,                         /* sti */
                              0xba, 0x10, 0, 0, 0,          /* mov edx, 10h */
                              0xec,                         /* in al, dx */
                              0xeb, 0xfe};                  /* jmp to itself */
    static const u8 handler[] = {0xff, 0x05, 0,    0, 2, 0, /* inc dword [BENCH_DATA] */
                                 0xbc, 0,    0x50, 0, 0,    /* mov esp, RIG_STACK0 */
                                 0xe9, 0xc0, 0x0f, 0, 0};   /* jmp BENCH_CODE */
    struct rig *r = bt_bench_open(false);
    struct other o = {.r = r, .times = TRIES, .after_port = true};
    run_beside(&o, code, sizeof code, handler, sizeof handler);
    bt_bench_close(r, false);
}

/* ---- the stack pointer, whose register follows pushes late ---- */

#define INTERRUPTS 20000

static void the_stack_pointer_is_right_at_any_moment(void **state)
{
    (void)state;
    static const u8 code[] = {0xfb,                         /* sti */
                              0xbc, 0,    0x4f, 0,    0,    /* again: mov esp, 4f00h */
                              0x50,                         /* push eax */
                              0xa1, 0xfe, 0x0f, 2,    0,    /* mov eax, [BENCH_DATA + ffeh]: by C */
                              0x50,                         /* push eax */
                              0x59, 0x59,                   /* pop ecx; pop ecx */
                              0x81, 0xfc, 0,    0x4f, 0, 0, /* cmp esp, 4f00h */
                              0x74, 0xea,                   /* je again */
                              0xff, 0x05, 4,    0,    2, 0, /* inc dword [BENCH_DATA + 4] */
                              0xeb, 0xe2};                  /* jmp again */
    static const u8 handler[] = {0xff, 0x05, 0, 0, 2, 0,    /* inc dword [BENCH_DATA] */
                                 0xcf};                     /* iretd */
    struct rig *r = bt_bench_open(false);
    struct other o = {.r = r, .times = INTERRUPTS};
    run_beside(&o, code, sizeof code, handler, sizeof handler);
    assert_int_equal(peek32(r, BENCH_DATA + 4), 0);
    bt_bench_close(r, false);
}

/* ---- RF, which is good for one instruction and is not there when that runs ---- */

#define INTERRUPTS_OF_RF 3000

/* Of the interrupts between IRET with RF and its target, and of no other, the image has RF. */
static void rf_is_seen_by_an_event_behind_iret_only(void **state)
{
    (void)state;
    static const u8 code[] = {0xfb,                            /* sti */
                              0x68, 0x02, 0x02, 1,   0,        /* again: push RF | IF */
                              0x0e,                            /* push cs */
                              0x68, 0x0d, 0,    1,   0,        /* push target */
                              0xcf,                            /* iretd */
                              0x41, 0x41, 0xeb, 0xf0};         /* target: inc ecx, twice; jmp */
    static const u8 handler[] = {0x50,                         /* push eax */
                                 0xff, 0x05, 0,    0,    2, 0, /* inc dword [BENCH_DATA] */
                                 0x81, 0x7c, 0x24, 0x04,       /* cmp dword [esp + 4], target */
                                 0x0d, 0,    1,    0,          /* */
                                 0x0f, 0x94, 0xc0,             /* sete al */
                                 0x8a, 0x64, 0x24, 0x0e,       /* mov ah, [esp + 14] */
                                 0x80, 0xe4, 0x01,             /* and ah, 1: RF */
                                 0x00, 0x25, 8,    0,    2, 0, /* add [BENCH_DATA + 8], ah */
                                 0x38, 0xe0,                   /* cmp al, ah */
                                 0x0f, 0x95, 0xc0,             /* setne al */
                                 0x08, 0x05, 4,    0,    2, 0, /* or [BENCH_DATA + 4], al */
                                 0x58,                         /* pop eax */
                                 0xcf};                        /* iretd */
    struct rig *r = bt_bench_open(false);
    struct other o = {.r = r, .times = INTERRUPTS_OF_RF};
    run_beside(&o, code, sizeof code, handler, sizeof handler);
    assert_int_equal(peek32(r, BENCH_DATA + 4), 0);
    assert_int_not_equal(peek32(r, BENCH_DATA + 8), 0); /* modulo 256 */
    bt_bench_close(r, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_seen_at_any_moment),
        cmocka_unit_test(the_stack_pointer_is_right_at_any_moment),
        cmocka_unit_test(rf_is_seen_by_an_event_behind_iret_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
