/* SPDX-License-Identifier: MIT */
#include "cpu/trace.h"

#include <stdio.h>

#include "cpu/code_cache.h"
#include "cpu/disasm.h"

static unsigned code_bits(u32 mode)
{
    return mode & MODE_CS64 ? 64 : mode & MODE_CS32 ? 32 : 16;
}

void trace_block(struct vcpu *v, const struct block *b, const u8 *code)
{
    log_printf(v->log, "IN: cpu%u %04x:%llx, linear %llx, %u bits, CPL %u\n", v->index,
               v->seg[SEG_CS].sel, (unsigned long long)b->rip, (unsigned long long)b->la,
               code_bits(b->mode), v->cpl);
    for (unsigned n = 0, at = 0; n < b->insns; at += b->insn[n++].in.len) {
        unsigned in_page = PAGE_BYTES - b->offset - at, len = b->insn[n].in.len;
        unsigned long long la = b->la + at;
        char text[96];
        if (b->insn[n].faults || len > in_page)
            snprintf(text, sizeof text, "%s",
                     len > in_page ? "(goes on in the next page)" : "(bad)");
        else
            disasm_text(code + at, len, code_bits(b->mode), b->rip + at, text, sizeof text);
        log_printf(v->log, "%08llx  %s\n", la, text);
    }
}
