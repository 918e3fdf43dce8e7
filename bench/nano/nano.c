/* SPDX-License-Identifier: MIT
 *
 * The benchmarks. Each runs its event COUNT times in a loop; the best of ROUNDS loops, divided by
 * COUNT, is printed as
 *
 *     NANO name cycles
 *
 * in cycles of the time stamp counter, loop included. After the last line comes NANO-DONE and
 * the machine is switched off. Every benchmark also checks that its event really happened, where
 * that can be seen: a page fault that is not delivered must not count as a fast one.
 */
#include "nano.h"

enum { ROUNDS = 9, COUNT = 2000 };

enum { VECTOR_DE = 0, VECTOR_PF = 14 };

enum {
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    KERNEL_CS = 0x08,
    KERNEL_DS = 0x10,
    PORT_TESTED = 0x3fb, /* line control of COM1: a register that only holds its value */
    LAPIC_TPR = LAPIC_BASE + 0x80,
};

static void fail(const char *why)
{
    console_text("NANO-FAILED ");
    console_text(why);
    console_text("\n");
    power_off();
}

static void write_msr(uint32_t msr, uint32_t value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"(value), "d"(0));
}

static void run_empty(uint32_t n)
{
    __asm__ volatile("1: dec %0; jnz 1b" : "+r"(n));
}

static __attribute__((noinline)) void leaf(void)
{
    __asm__ volatile("");
}

static void run_call(uint32_t n)
{
    while (n--) {
        leaf();
    }
}

static void run_int80(uint32_t n)
{
    __asm__ volatile("1: int $0x80; dec %0; jnz 1b" : "+r"(n) : : "memory");
}

static void run_port_read(uint32_t n)
{
    while (n--) {
        read_port8(PORT_TESTED);
    }
}

static void run_port_write(uint32_t n)
{
    uint8_t value = read_port8(PORT_TESTED);
    while (n--) {
        write_port8(PORT_TESTED, value);
    }
}

static void run_cr3(uint32_t n)
{
    while (n--) {
        write_cr3(paging_space(0));
        load32(TEST_AREA);
    }
}

static void run_tpr(uint32_t n)
{
    volatile uint32_t *tpr = (volatile uint32_t *)LAPIC_TPR;
    while (n--) {
        *tpr = n & 0xf0;
    }
    *tpr = 0;
}

/* Reads a page that is not there; the handler steps over the read. */
static void run_page_fault(uint32_t n)
{
    volatile uint32_t *pte = paging_pte(0, 0);
    *pte = 0;
    invlpg(TEST_AREA);
    traps_set(VECTOR_PF, trap_skip_load);
    uint32_t value = 0x5a5a5a5a;
    while (n--) {
        __asm__ volatile("mov (%%ecx), %%eax" : "+a"(value) : "c"(TEST_AREA) : "memory");
    }
    traps_set(VECTOR_PF, trap_unexpected);
    *pte = paging_frame(0, 0);
    if (value != 0x5a5a5a5a) {
        fail("page-fault");
    }
}

/* Reads a page that the handler makes present. */
static void run_demand_fault(uint32_t n)
{
    volatile uint32_t *pte = paging_pte(0, 1);
    demand_pte = pte;
    demand_pte_value = paging_frame(0, 1);
    traps_set(VECTOR_PF, trap_map_page);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        *pte = 0;
        invlpg(TEST_AREA + PAGE_SIZE);
        sum += load32(TEST_AREA + PAGE_SIZE);
    }
    traps_set(VECTOR_PF, trap_unexpected);
    if (sum != n * 1) {
        fail("demand-fault");
    }
}

static void run_divide_error(uint32_t n)
{
    traps_set(VECTOR_DE, trap_skip_divide);
    while (n--) {
        uint32_t low = 1;
        uint32_t high = 0;
        __asm__ volatile("div %%ecx" : "+a"(low), "+d"(high) : "c"(0) : "cc");
    }
    traps_set(VECTOR_DE, trap_unexpected);
}

/* The same linear page shows two frames in turn: without INVLPG a stale one could be read. */
static void run_pte_invlpg(uint32_t n)
{
    volatile uint32_t *pte = paging_pte(0, 2);
    for (uint32_t i = 0; i < n; i++) {
        *pte = paging_frame(i & 1, 2);
        invlpg(TEST_AREA + 2 * PAGE_SIZE);
        if (load32(TEST_AREA + 2 * PAGE_SIZE) != ((i & 1) << 8 | 2)) {
            fail("pte-invlpg");
        }
    }
    *pte = paging_frame(0, 2);
    invlpg(TEST_AREA + 2 * PAGE_SIZE);
}

/* A software bit of an entry that is in use; no INVLPG is needed, the page is read all the same. */
static void run_pte_write(uint32_t n)
{
    enum { PTE_AVAILABLE = 1 << 9 };
    volatile uint32_t *pte = paging_pte(0, 3);
    while (n--) {
        *pte ^= PTE_AVAILABLE;
        load32(TEST_AREA + 3 * PAGE_SIZE);
    }
    *pte = paging_frame(0, 3);
}

static void run_popf(uint32_t n)
{
    __asm__ volatile("1: pushf; cli; popf; dec %0; jnz 1b" : "+r"(n) : : "memory", "cc");
}

static void run_pushf(uint32_t n)
{
    uint32_t flags;
    __asm__ volatile("1: pushf; pop %1; dec %0; jnz 1b" : "+r"(n), "=&r"(flags) : : "memory", "cc");
}

static void run_segment(uint32_t n)
{
    __asm__ volatile("1: mov %1, %%es; dec %0; jnz 1b" : "+r"(n) : "r"(KERNEL_DS) : "cc");
}

static void run_cpuid(uint32_t n)
{
    while (n--) {
        uint32_t a = 0, b, c = 0, d;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    }
}

static void run_rdtsc(uint32_t n)
{
    while (n--) {
        read_tsc();
    }
}

/* mov eax, imm32; ret -- in a page of its own, called through a pointer */
enum { CODE_OPERAND = 1, CODE_DATA = 2048 };
static uint8_t code_page[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE))) = {0xb8, 0, 0, 0, 0, 0xc3};

static uint32_t call_code_page(void)
{
    return ((uint32_t(*)(void))(uint32_t)code_page)();
}

static void run_smc(uint32_t n)
{
    while (n--) {
        *(volatile uint32_t *)(code_page + CODE_OPERAND) = n;
        if (call_code_page() != n) {
            fail("smc");
        }
    }
}

static void run_write_beside(uint32_t n)
{
    uint32_t before = call_code_page();
    while (n--) {
        *(volatile uint32_t *)(code_page + CODE_DATA) = n;
        if (call_code_page() != before) {
            fail("write-beside");
        }
    }
}

static void run_switch(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        unsigned space = i & 1;
        write_cr3(paging_space(space));
        for (unsigned page = 0; page < TEST_PAGES; page++) {
            if (load32(TEST_AREA + page * PAGE_SIZE) != (space << 8 | page)) {
                fail("switch-16");
            }
        }
    }
    write_cr3(paging_space(0));
}

struct nano {
    const char *name;
    void (*run)(uint32_t n);
    int ring3;
    uint32_t cycles;
};

static void measure(void *argument)
{
    struct nano *nano = argument;
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = read_tsc();
        nano->run(COUNT);
        uint64_t spent = read_tsc() - start;
        best = spent < best ? spent : best;
    }
    nano->cycles = (uint32_t)best / COUNT;
}

static struct nano nanos[] = {
    {"loop", run_empty, 0, 0},
    {"call-ret", run_call, 0, 0},
    {"int80", run_int80, 1, 0},
    {"sysenter", sysenter_loop, 1, 0},
    {"port-read", run_port_read, 0, 0},
    {"port-write", run_port_write, 0, 0},
    {"cr3-write", run_cr3, 0, 0},
    {"tpr-write", run_tpr, 0, 0},
    {"page-fault", run_page_fault, 0, 0},
    {"demand-fault", run_demand_fault, 0, 0},
    {"divide-error", run_divide_error, 0, 0},
    {"pte-invlpg", run_pte_invlpg, 0, 0},
    {"pte-write", run_pte_write, 0, 0},
    {"cli-popf", run_popf, 0, 0},
    {"pushf", run_pushf, 0, 0},
    {"segment-load", run_segment, 0, 0},
    {"far-call", far_calls, 0, 0},
    {"iret", iret_loop, 0, 0},
    {"cpuid", run_cpuid, 0, 0},
    {"rdtsc", run_rdtsc, 0, 0},
    {"smc", run_smc, 0, 0},
    {"write-beside", run_write_beside, 0, 0},
    {"switch-16", run_switch, 0, 0},
};

static void sysenter_init(void)
{
    write_msr(MSR_SYSENTER_CS, KERNEL_CS);
    write_msr(MSR_SYSENTER_ESP, (uint32_t)sysenter_stack_top);
    write_msr(MSR_SYSENTER_EIP, (uint32_t)sysenter_target);
}

void nano_main(void)
{
    console_init();
    console_text("NANO-START\n");
    traps_init();
    paging_init();
    sysenter_init();
    for (unsigned i = 0; i < sizeof(nanos) / sizeof(nanos[0]); i++) {
        struct nano *nano = &nanos[i];
        if (nano->ring3) {
            call_in_ring3(measure, nano);
        } else {
            measure(nano);
        }
        console_text("NANO ");
        console_text(nano->name);
        console_text(" ");
        console_number(nano->cycles);
        console_text("\n");
    }
    console_text("NANO-DONE\n");
    power_off();
}
