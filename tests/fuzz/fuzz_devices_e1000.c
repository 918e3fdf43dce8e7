/* SPDX-License-Identifier: MIT
 *
 * A hostile driver of the 82540EM: registers, descriptors and frames of any kind. Rings are laid
 * into the input at the start, so that most steps reach them.
 */
#include "card.h"
#include "devices/e1000.h"
#include "devices/e1000_regs.h"

static void set(struct card_rig *r, u32 reg, u32 value)
{
    physmem_io_write(r->pm, CARD_MEMORY + reg, value, 4);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct card_rig r;
    card_open(&r);
    struct nic_board c = {.bus = r.bus, .devfn = CARD_DEVFN, .clock = r.clock, .netdev = r.netdev};
    r.device = e1000_device(e1000_create(&c));
    card_enable(&r, 2, 0);
    card_fill(&r, data, size);
    set(&r, TDLEN, 0x1000);
    set(&r, RDLEN, 0x1000);
    set(&r, RDBAL, 0x2000);
    set(&r, RDT, 200);
    set(&r, TCTL, TCTL_EN);
    set(&r, RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_LPE);
    set(&r, TDT, size ? data[0] : 0);
    for (size_t n = 0; n < STEPS_MAX && size >= STEP_BYTES; n++) {
        card_step(&r, data, REGISTERS_END);
        data += STEP_BYTES;
        size -= STEP_BYTES;
    }
    card_close(&r);
    return 0;
}
