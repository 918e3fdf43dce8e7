/* SPDX-License-Identifier: MIT
 *
 * Looking at guest memory: x, xp, memsave, pmemsave. Nothing that is looked at is changed: page
 * walks are quiet, and registers are read only through their peek callback.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/disasm.h"
#include "cpu/mem.h"
#include "monitor/session.h"

#define SAVE_MAX GIB(64)

/* Reads what is mapped; false at the first byte that is not. */
static bool read_linear(struct session *s, u64 la, void *to, size_t n)
{
    struct vcpu *v = machine_cpu(s->m, 0);
    for (size_t part; n; la += part, to = (u8 *)to + part, n -= part) {
        struct walk walk;
        u32 error;
        part = PAGE_BYTES - (la & PAGE_OFFSET_MASK);
        if (part > n)
            part = n;
        if (!paging_walk(v, la, ACCESS_READ, TLB_KERNEL, true, &walk, &error))
            return false;
        physmem_peek(machine_physmem(s->m), walk.pa, to, part);
    }
    return true;
}

static bool read_memory(struct session *s, bool physical, u64 at, void *to, size_t n)
{
    if (!physical)
        return read_linear(s, at, to, n);
    physmem_peek(machine_physmem(s->m), at, to, n);
    return true;
}

/* /NFS as in gdb: count, format, size. */
struct format {
    u64 count;
    char kind; /* x d u o c i s */
    unsigned size;
};

static bool parse_format(struct session *s, const char *text, struct format *f)
{
    *f = (struct format){.count = 1, .kind = 'x', .size = 4};
    char *end;
    if (isdigit((unsigned char)*text)) {
        f->count = strtoull(text, &end, 10);
        text = end;
    }
    for (; *text; text++) {
        switch (*text) {
        case 'b': f->size = 1; break;
        case 'h': f->size = 2; break;
        case 'w': f->size = 4; break;
        case 'g': f->size = 8; break;
        case 'c': f->size = 1; /* fall through */
        case 'x':
        case 'd':
        case 'u':
        case 'o':
        case 'i':
        case 's': f->kind = *text; break;
        default: session_print(s, "unknown format letter '%c'\n", *text); return false;
        }
    }
    if (f->count > 4096) {
        session_print(s, "at most 4096 items\n");
        return false;
    }
    return true;
}

static void print_value(struct session *s, const struct format *f, u64 value)
{
    unsigned bits = f->size * 8;
    switch (f->kind) {
    case 'd': session_print(s, " %lld", (long long)sext64(value, bits)); break;
    case 'u': session_print(s, " %llu", (unsigned long long)value); break;
    case 'o': session_print(s, " 0%llo", (unsigned long long)value); break;
    case 'c': session_print(s, " '%c'", isprint((int)value) ? (int)value : '.'); break;
    default: session_print(s, " 0x%0*llx", (int)f->size * 2, (unsigned long long)value); break;
    }
}

static void dump_values(struct session *s, bool physical, u64 at, const struct format *f)
{
    unsigned per_line = f->kind == 'c' ? 8 : 16 / f->size;
    for (u64 i = 0; i < f->count; i++, at += f->size) {
        u8 bytes[8] = {0};
        if (i % per_line == 0)
            session_print(s, "%s%016llx:", i ? "\n" : "", (unsigned long long)at);
        if (!read_memory(s, physical, at, bytes, f->size)) {
            session_print(s, " cannot access memory");
            break;
        }
        print_value(s, f, load_sized(bytes, f->size));
    }
    session_print(s, "\n");
}

static void dump_code(struct session *s, bool physical, u64 at, u64 count)
{
    const struct vcpu *v = machine_cpu(s->m, 0);
    unsigned mode = v->mode & MODE_CS64 ? 64 : v->mode & MODE_CS32 ? 32 : 16;
    for (u64 i = 0; i < count; i++) {
        u8 bytes[INSN_MAX_BYTES];
        size_t got = 0;
        while (got < sizeof bytes && read_memory(s, physical, at + got, bytes + got, 1))
            got++;
        if (!got) {
            session_print(s, "0x%08llx:  cannot access memory\n", (unsigned long long)at);
            return;
        }
        char text[160];
        unsigned len = disasm_text(bytes, got, mode, at, text, sizeof text);
        session_print(s, "0x%08llx:  %s\n", (unsigned long long)at, text);
        at += len ? len : 1;
    }
}

static void dump_string(struct session *s, bool physical, u64 at)
{
    char text[256];
    size_t n = 0;
    while (n < sizeof text - 1 && read_memory(s, physical, at + n, text + n, 1) && text[n])
        n++;
    text[n] = '\0';
    for (size_t i = 0; i < n; i++)
        text[i] = isprint((unsigned char)text[i]) ? text[i] : '.';
    session_print(s, "%016llx: \"%s\"\n", (unsigned long long)at, text);
}

static void examine(struct session *s, int argc, char **args, bool physical)
{
    struct format f;
    u64 at;
    const char *format = argc > 2 ? args[1] : "";
    if (argc < 2) {
        session_print(s, "usage: %s /FMT ADDR\n", args[0]);
        return;
    }
    if (*format == '/')
        format++;
    machine_hold(s->m);
    if (parse_format(s, format, &f) && session_number(s, args[argc > 2 ? 2 : 1], &at)) {
        if (f.kind == 'i')
            dump_code(s, physical, at, f.count);
        else if (f.kind == 's')
            dump_string(s, physical, at);
        else
            dump_values(s, physical, at, &f);
    }
    machine_release(s->m);
}

void command_x(struct session *s, int argc, char **args)
{
    examine(s, argc, args, false);
}

void command_xp(struct session *s, int argc, char **args)
{
    examine(s, argc, args, true);
}

static void save(struct session *s, char **args, bool physical)
{
    u64 at, size;
    if (!session_number(s, args[1], &at) || !session_number(s, args[2], &size))
        return;
    if (size > SAVE_MAX) {
        session_print(s, "at most 64 GiB\n");
        return;
    }
    FILE *f = fopen(args[3], "we");
    if (!f) {
        session_print(s, "cannot write '%s': %s\n", args[3], strerror(errno));
        return;
    }
    u8 page[PAGE_BYTES];
    bool ok = true;
    machine_hold(s->m);
    for (u64 part; ok && size; at += part, size -= part) {
        part = size < sizeof page ? size : sizeof page;
        ok = read_memory(s, physical, at, page, part);
        if (!ok)
            session_print(s, "cannot access memory at 0x%llx\n", (unsigned long long)at);
        else if (fwrite(page, 1, part, f) != part)
            break;
    }
    machine_release(s->m);
    if (fclose(f) || (ok && size))
        session_print(s, "cannot write '%s': %s\n", args[3], strerror(errno));
}

void command_memsave(struct session *s, int argc, char **args)
{
    (void)argc;
    save(s, args, false);
}

void command_pmemsave(struct session *s, int argc, char **args)
{
    (void)argc;
    save(s, args, true);
}
