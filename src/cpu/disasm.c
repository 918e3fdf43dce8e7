/* SPDX-License-Identifier: MIT
 *
 * The only file that calls Capstone. A handle is opened for each instruction: that costs about a
 * microsecond, nothing beside showing the line to somebody, and it keeps the library's state out
 * of ours.
 */
#include "cpu/disasm.h"

#include <capstone/capstone.h>
#include <stdio.h>

static cs_mode capstone_mode(unsigned mode)
{
    return mode == 64 ? CS_MODE_64 : mode == 32 ? CS_MODE_32 : CS_MODE_16;
}

unsigned disasm_text(const u8 *bytes, size_t n, unsigned mode, u64 address, char *text, size_t size)
{
    unsigned len = 0;
    csh handle;

    snprintf(text, size, "(bad)");
    if (cs_open(CS_ARCH_X86, capstone_mode(mode), &handle) != CS_ERR_OK)
        return 0;
    cs_insn *insn = NULL;
    if (n > 0 && cs_disasm(handle, bytes, n, address, 1, &insn) == 1) {
        const char *space = insn->op_str[0] ? " " : "";
        snprintf(text, size, "%s%s%s", insn->mnemonic, space, insn->op_str);
        len = insn->size;
        cs_free(insn, 1);
    }
    cs_close(&handle);
    return len;
}
