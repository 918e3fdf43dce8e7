/* SPDX-License-Identifier: MIT
 *
 * Two address spaces with 4 KiB pages. Both map the first 8 MiB to themselves, open to ring 3, and
 * the local APIC; they differ in the sixteen pages of TEST_AREA, so that a switch is visible.
 */
#include "nano.h"

enum {
    IDENTITY_TABLES = 2,
    SPACES = 2,
    PAGE_OFFSET_BITS = 12,
    TABLE_BITS = 22,
    CR0_PG = (int)0x80000000,
    CR0_WP = 1 << 16,
    CR4_PSE = 1 << 4,
};

#define PAGE_ALIGNED __attribute__((aligned(PAGE_SIZE)))

static PAGE_ALIGNED uint32_t directories[SPACES][PAGE_ENTRIES];
static PAGE_ALIGNED uint32_t identity[IDENTITY_TABLES][PAGE_ENTRIES];
static PAGE_ALIGNED uint32_t test_tables[SPACES][PAGE_ENTRIES];
static PAGE_ALIGNED uint8_t test_frames[SPACES][TEST_PAGES][PAGE_SIZE];

volatile uint32_t *demand_pte;
uint32_t demand_pte_value;

uint32_t paging_space(unsigned which)
{
    return (uint32_t)directories[which];
}

volatile uint32_t *paging_pte(unsigned which, unsigned page)
{
    return &test_tables[which][page];
}

uint32_t paging_frame(unsigned which, unsigned page)
{
    return (uint32_t)test_frames[which][page] | PTE_P | PTE_W;
}

static void fill_directory(unsigned which)
{
    uint32_t *directory = directories[which];
    for (unsigned table = 0; table < IDENTITY_TABLES; table++) {
        directory[table] = (uint32_t)identity[table] | PTE_P | PTE_W | PTE_U;
    }
    directory[(uint32_t)TEST_AREA >> TABLE_BITS] = (uint32_t)test_tables[which] | PTE_P | PTE_W;
    uint32_t lapic_region = (uint32_t)LAPIC_BASE >> TABLE_BITS;
    directory[lapic_region] = lapic_region << TABLE_BITS | PTE_P | PTE_W | PTE_PCD | PDE_PS;
    for (unsigned page = 0; page < TEST_PAGES; page++) {
        test_tables[which][page] = paging_frame(which, page);
        *(uint32_t *)(void *)test_frames[which][page] = which << 8 | page;
    }
}

void paging_init(void)
{
    for (unsigned page = 0; page < IDENTITY_TABLES * PAGE_ENTRIES; page++) {
        identity[page / PAGE_ENTRIES][page % PAGE_ENTRIES] =
            page << PAGE_OFFSET_BITS | PTE_P | PTE_W | PTE_U;
    }
    for (unsigned which = 0; which < SPACES; which++) {
        fill_directory(which);
    }
    uint32_t cr;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr));
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr | CR4_PSE));
    write_cr3(paging_space(0));
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr));
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr | (uint32_t)CR0_PG | CR0_WP) : "memory");
}
