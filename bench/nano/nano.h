/* SPDX-License-Identifier: MIT
 *
 * What the files of the nanobenchmark share: a 32-bit kernel without an operating system that
 * counts, by RDTSC, the cycles of the single events that a virtual machine monitor has to deal
 * with.
 */
#ifndef NANO_NANO_H
#define NANO_NANO_H

#include <stddef.h>
#include <stdint.h>

enum { PAGE_SIZE = 4096, PAGE_ENTRIES = 1024 };

/* Page table entry bits, SDM volume 3, 4.3. */
enum { PTE_P = 1 << 0, PTE_W = 1 << 1, PTE_U = 1 << 2, PTE_PCD = 1 << 4, PDE_PS = 1 << 7 };

static inline uint64_t read_tsc(void)
{
    uint64_t tsc;
    __asm__ volatile("rdtsc" : "=A"(tsc) : : "memory");
    return tsc;
}

static inline void write_port8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void write_port16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void write_port32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t read_port8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t read_port32(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void write_cr3(uint32_t value)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

static inline void invlpg(uint32_t la)
{
    __asm__ volatile("invlpg (%0)" : : "r"(la) : "memory");
}

static inline uint32_t load32(uint32_t la)
{
    return *(volatile uint32_t *)la;
}

/* console.c */
void console_init(void);
void console_text(const char *text);
void console_number(uint32_t value);
void power_off(void);

/* traps.c */
typedef void (*trap_handler)(void);
void traps_init(void);
void traps_set(uint8_t vector, trap_handler handler);
void unexpected_trap(void);

/* paging.c: linear TEST_AREA is where the benchmarks play with page tables. */
enum { TEST_AREA = 0x40000000, TEST_PAGES = 16 };
enum { LAPIC_BASE = (int)0xfee00000 };
void paging_init(void);
uint32_t paging_space(unsigned which);                        /* CR3 of address space 0 or 1 */
volatile uint32_t *paging_pte(unsigned which, unsigned page); /* entry of a page of TEST_AREA */
uint32_t paging_frame(unsigned which, unsigned page); /* its frame, with present and writable */
extern volatile uint32_t *demand_pte;
extern uint32_t demand_pte_value;

/* entry.asm */
void load_idt(const void *table, uint32_t bytes);
void call_in_ring3(void (*function)(void *), void *argument);
void far_calls(uint32_t count);
void iret_loop(uint32_t count);
void sysenter_loop(uint32_t count);
void sysenter_target(void);
void trap_leave_ring3(void);
void trap_return(void);
void trap_skip_divide(void);
void trap_skip_load(void);
void trap_map_page(void);
void trap_unexpected(void);
extern char sysenter_stack_top[];

void nano_main(void);

#endif
