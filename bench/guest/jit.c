/* SPDX-License-Identifier: MIT
 *
 * What just-in-time compilers do to a virtual machine: code is written, run, patched and run
 * again. Every function made here is a handful of bytes, so nearly all the time goes into noticing
 * that code has changed.
 */
#include "bench.h"

#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

typedef uint32_t (*code_fn)(uint32_t);

static uint8_t *map_code(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(memory != MAP_FAILED, "mmap of writable and executable memory");
    return memory;
}

static code_fn as_function(const uint8_t *code)
{
    code_fn function;
    memcpy(&function, &code, sizeof(function));
    return function;
}

enum { TEMPLATE_SIZE = 19, XOR_OPERAND = 5, ADD_OPERAND = 10 };

/* uint32_t f(uint32_t v) { return rotate_left((v ^ first) + second, 3); } */
static void write_function(uint8_t *at, uint32_t first, uint32_t second)
{
    static const uint8_t template[TEMPLATE_SIZE] = {
        0x8b, 0x44, 0x24, 0x04,    /* mov eax, [esp + 4] */
        0x35, 0,    0,    0,    0, /* xor eax, first */
        0x05, 0,    0,    0,    0, /* add eax, second */
        0xc1, 0xc0, 0x03,          /* rol eax, 3 */
        0xc3, 0x90,                /* ret */
    };
    memcpy(at, template, sizeof(template));
    memcpy(at + XOR_OPERAND, &first, sizeof(first));
    memcpy(at + ADD_OPERAND, &second, sizeof(second));
}

/* One function, its constant patched before every call. */
static uint64_t patch(unsigned scale)
{
    uint8_t *code = map_code(PAGE);
    uint32_t value = 1;
    write_function(code, 1, 2);
    for (uint32_t i = 0; i < scaled(200000, scale); i++) {
        memcpy(code + ADD_OPERAND, &i, sizeof(i));
        value = as_function(code)(value);
    }
    return value;
}

/* Many functions are made in fresh memory, each is called a few times, then all are dropped. */
static uint64_t compile(unsigned scale)
{
    enum { FUNCTIONS = 2048, CALLS = 20, SLOT = 32, SIZE = FUNCTIONS * SLOT };
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(60, scale); round++) {
        uint8_t *code = map_code(SIZE);
        uint32_t value = round;
        for (uint32_t i = 0; i < FUNCTIONS; i++) {
            uint8_t *at = code + i * SLOT;
            write_function(at, i * 77, round);
            for (uint32_t call = 0; call < CALLS; call++) {
                value = as_function(at)(value);
            }
        }
        sum = fold(sum, value);
        munmap(code, SIZE);
    }
    return sum;
}

/* Data that changes all the time in the very page that holds the running code. */
static uint64_t data_beside_code(unsigned scale)
{
    uint8_t *page = map_code(PAGE);
    uint32_t *counter = (uint32_t *)(void *)(page + PAGE / 2);
    uint32_t value = 1;
    write_function(page, 3, 4);
    for (uint32_t i = 0; i < scaled(4000000, scale); i++) {
        value = as_function(page)(value);
        *counter += value;
    }
    return value + *counter;
}

const struct workload jit_workloads[] = {
    {"jit-patch", patch},
    {"jit-compile", compile},
    {"jit-data", data_beside_code},
    {NULL, NULL},
};
