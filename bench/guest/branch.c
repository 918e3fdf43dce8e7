/* SPDX-License-Identifier: MIT
 *
 * Control flow: conditional branches that cannot be predicted, jump tables, calls through pointers
 * with one and with many targets, shallow and deep recursion. Binary translators differ most here.
 */
#include "bench.h"

static uint64_t unpredictable(unsigned scale)
{
    uint32_t state = 3;
    uint32_t up = 0;
    uint32_t down = 0;
    uint32_t mixed = 1;
    for (uint32_t i = 0; i < scaled(20000000, scale); i++) {
        uint32_t r = next_random(&state);
        if (r & 0x100) {
            up++;
            mixed += r;
        } else {
            down += 3;
            mixed ^= up;
        }
        if (r & 0x20000) {
            mixed = mixed << 1 | mixed >> 31;
        }
    }
    return (uint64_t)up << 32 ^ down ^ mixed;
}

/* A small stack machine: its dispatch is the indirect jump of every interpreter. */
enum opcode { OP_PUSH, OP_ADD, OP_XOR, OP_DUP, OP_SWAP, OP_ROTATE, OP_LOOP, OP_END };

static uint32_t interpret(const uint8_t *code, uint32_t loops)
{
    uint32_t stack[16] = {0};
    uint32_t top = 0;
    uint32_t at = 0;
    stack[0] = 1;
    for (;;) {
        switch ((enum opcode)code[at++]) {
        case OP_PUSH: stack[++top & 15] = code[at++]; break;
        case OP_ADD:
            top--;
            stack[top & 15] += stack[(top + 1) & 15];
            break;
        case OP_XOR:
            top--;
            stack[top & 15] ^= stack[(top + 1) & 15];
            break;
        case OP_DUP:
            top++;
            stack[top & 15] = stack[(top - 1) & 15];
            break;
        case OP_SWAP: {
            uint32_t spare = stack[top & 15];
            stack[top & 15] = stack[(top - 1) & 15];
            stack[(top - 1) & 15] = spare;
            break;
        }
        case OP_ROTATE: stack[top & 15] = stack[top & 15] << 7 | stack[top & 15] >> 25; break;
        case OP_LOOP:
            if (--loops) {
                at = 0;
            }
            break;
        case OP_END: return stack[top & 15];
        }
    }
}

static uint64_t bytecode(unsigned scale)
{
    static const uint8_t code[] = {
        OP_PUSH,   17,      OP_ADD,  OP_DUP,  OP_ROTATE, OP_XOR,  OP_DUP, OP_PUSH,
        99,        OP_SWAP, OP_ADD,  OP_SWAP, OP_PUSH,   5,       OP_XOR, OP_ADD,
        OP_ROTATE, OP_XOR,  OP_PUSH, 1,       OP_ADD,    OP_LOOP, OP_END,
    };
    return interpret(code, scaled(4500000, scale));
}

static uint32_t shape_square(uint32_t v)
{
    return v * v;
}
static uint32_t shape_half(uint32_t v)
{
    return v / 2 + 1;
}
static uint32_t shape_flip(uint32_t v)
{
    return ~v;
}
static uint32_t shape_turn(uint32_t v)
{
    return v << 9 | v >> 23;
}

typedef uint32_t (*shape_fn)(uint32_t);

/* The same call site with one, then with four targets in random order. */
static uint64_t indirect_calls(unsigned scale)
{
    shape_fn volatile table[4] = {shape_square, shape_half, shape_flip, shape_turn};
    uint32_t state = 21;
    uint32_t value = 1;
    for (uint32_t i = 0; i < scaled(12000000, scale); i++) {
        value += table[0](value + i);
    }
    for (uint32_t i = 0; i < scaled(12000000, scale); i++) {
        value += table[next_random(&state) >> 7 & 3](value);
    }
    return value;
}

static __attribute__((noinline)) uint32_t fibonacci(uint32_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t recursion(unsigned scale)
{
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(240, scale); round++) {
        sum = fold(sum, fibonacci(27));
    }
    return sum;
}

static __attribute__((noinline)) uint32_t walk_odd(uint32_t depth, uint32_t value);

static __attribute__((noinline)) uint32_t walk_even(uint32_t depth, uint32_t value)
{
    return depth ? walk_odd(depth - 1, value + 3) ^ depth : value;
}

static __attribute__((noinline)) uint32_t walk_odd(uint32_t depth, uint32_t value)
{
    return depth ? walk_even(depth - 1, value * 5) + depth : value;
}

/* Far deeper than any return stack of a CPU. */
static uint64_t deep_recursion(unsigned scale)
{
    uint32_t value = 1;
    for (uint32_t i = 0; i < scaled(20000, scale); i++) {
        value = walk_even(1500, value);
    }
    return value;
}

/* A leaf with many callers: its return has no stable target. */
static __attribute__((noinline)) uint32_t leaf(uint32_t v)
{
    return (v ^ v >> 3) + 1;
}

static uint64_t many_callers(unsigned scale)
{
    uint32_t v = 7;
    for (uint32_t i = 0; i < scaled(7000000, scale); i++) {
        v = leaf(v) + leaf(v ^ i);
        if (v & 4) {
            v += leaf(v + 1);
        } else {
            v ^= leaf(v - 1);
        }
        v = leaf(leaf(v) | 1);
    }
    return v;
}

const struct workload branch_workloads[] = {
    {"branch-random", unpredictable},
    {"branch-bytecode", bytecode},
    {"branch-indirect", indirect_calls},
    {"branch-fibonacci", recursion},
    {"branch-deep", deep_recursion},
    {"branch-callers", many_callers},
    {NULL, NULL},
};
