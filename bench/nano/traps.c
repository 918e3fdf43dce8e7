/* SPDX-License-Identifier: MIT
 *
 * The interrupt descriptor table. Whatever a benchmark has not asked for ends the run with a
 * message: a wrong trap must never look like a fast one.
 */
#include "nano.h"

enum {
    VECTORS = 256,
    VECTOR_SYSCALL = 0x80,
    VECTOR_LEAVE_RING3 = 0x81,
    KERNEL_CS = 0x08,
    GATE_INTERRUPT = 0x8e00,  /* present, 32-bit interrupt gate */
    GATE_FROM_RING3 = 0x6000, /* DPL 3 */
};

struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint16_t attributes;
    uint16_t offset_high;
};

static struct gate idt[VECTORS];

static void set_gate(uint8_t vector, trap_handler handler, uint16_t attributes)
{
    uint32_t offset = (uint32_t)handler;
    idt[vector] = (struct gate){
        .offset_low = (uint16_t)offset,
        .selector = KERNEL_CS,
        .attributes = attributes,
        .offset_high = (uint16_t)(offset >> 16),
    };
}

void traps_set(uint8_t vector, trap_handler handler)
{
    set_gate(vector, handler, GATE_INTERRUPT);
}

void unexpected_trap(void)
{
    console_text("NANO-UNEXPECTED-TRAP\n");
    power_off();
}

void traps_init(void)
{
    for (unsigned vector = 0; vector < VECTORS; vector++) {
        set_gate((uint8_t)vector, trap_unexpected, GATE_INTERRUPT);
    }
    set_gate(VECTOR_SYSCALL, trap_return, GATE_INTERRUPT | GATE_FROM_RING3);
    set_gate(VECTOR_LEAVE_RING3, trap_leave_ring3, GATE_INTERRUPT | GATE_FROM_RING3);
    load_idt(idt, sizeof(idt));
}
