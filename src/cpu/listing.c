/* SPDX-License-Identifier: MIT */
#include "cpu/listing.h"

#include <stdio.h>

#include "cpu/disasm.h"

/* What Capstone does not know is shown as bytes. */
static void put_bytes(char *text, size_t size, const u8 *bytes, size_t n)
{
    size_t used = strlen(text);
    for (size_t i = 0; i < n && i < INSN_MAX_BYTES && used + 4 < size; i++)
        used += (size_t)snprintf(text + used, size - used, " %02x", bytes[i]);
}

void listing_code(const u8 *bytes, size_t n, unsigned mode, u64 address, listing_line *line,
                  void *opaque)
{
    for (size_t at = 0; at < n;) {
        char insn[200], text[256];
        unsigned len = disasm_text(bytes + at, n - at, mode, address + at, insn, sizeof insn);
        if (!len)
            put_bytes(insn, sizeof insn, bytes + at, n - at);
        snprintf(text, sizeof text, "  %08llx  %s", (unsigned long long)(address + at), insn);
        line(opaque, text);
        at += len ? len : n;
    }
}

void listing_block(struct vcpu *v, const struct block *b, listing_line *line, void *opaque)
{
    u8 bytes[INSN_MAX_BYTES];
    unsigned mode = b->mode & MODE_CS64 ? 64 : b->mode & MODE_CS32 ? 32 : 16;
    for (unsigned n = 0; n < b->insns; n++) {
        const struct cached_insn *ci = &b->insn[n];
        for (unsigned i = 0; i < ci->in.len; i++) {
            u64 at = b->offset + ci->offset + i;
            u64 offset = at < PAGE_BYTES ? b->page + at : b->next_page + at - PAGE_BYTES;
            bytes[i] = *physmem_host(v->pm, offset);
        }
        listing_code(bytes, ci->in.len, mode, b->rip + ci->offset, line, opaque);
    }
}

void listing_to_log(void *log, const char *text)
{
    log_printf(log, "%s\n", text);
}

void listing_to_stderr(void *opaque, const char *text)
{
    (void)opaque;
    fprintf(stderr, "%s\n", text);
}
