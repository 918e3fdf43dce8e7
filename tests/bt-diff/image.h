/* SPDX-License-Identifier: MIT
 *
 * What memory is when a program starts: the kernel, its tables, code and data. Both subjects copy
 * it.
 */
#ifndef ANELLO_TESTS_IMAGE_H
#define ANELLO_TESTS_IMAGE_H

#include "descriptors.h"
#include "program.h"

/* Below the program; kernel.asm names some of it too. */
enum {
    LOW_BYTES = 0x60000,
    GDT_AT = 0x1000,
    OTHER_GDT_AT = 0x1800,
    GDT_LIMIT = 17 * 8 - 1,
    IDT_AT = 0x2000,
    IDT_LIMIT = 0x83 * 8 - 1,
    TSS_AT = 0x3000,
    TSS_LIMIT = 103,
    FAULT_TSS_AT = 0x3100, /* of the double fault's task */
    LDT_AT = 0x3200,
    FAULT_STACK = 0x5000, /* tops */
    KERNEL_STACK = 0x9000,
    FAST_STACK = 0xb000, /* of SYSENTER */
    KERNEL_AT = 0x10000,
    REPAIRS_AT = 0x20000, /* SPACES of REPAIRS_BYTES */
    REPAIRS_BYTES = 0x2000,
    TABLES_AT = 0x30000,
    LOG_AT = 0x50000,
    LOG_RECORD = 80,
    LOG_RECORDS = 256,
    LOG_VECTOR = 40, /* in a record, which begins with ES, DS and PUSHAD's */
    LOG_ERROR = 44,
    LOG_EIP = 48,
    LOG_CS = 52,
    LOG_FLAGS = 56,
    LOG_ESP = 60,
    LOG_CR2 = 68,
};

/* The parts of memory, which are compared. */
#define PARTS 7
extern const struct part {
    u32 pa, bytes;
    u32 alias; /* or 0 */
    bool rom;
} parts[PARTS];

struct image {
    u8 *part[PARTS];
    u32 cr3;
    u64 pdpte[4]; /* PAE */
    u32 fast;     /* the entry of SYSENTER */
};

struct image image_make(const struct program *p);
void image_free(struct image *m);

/* What the kernel did for the program, by its notes at the start of memory. */
struct work {
    u32 exceptions, services, fast_services;
    u32 small, v86; /* exceptions of 16-bit code */
};
struct work image_work(const u8 *low);

#endif
