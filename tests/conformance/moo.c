/* SPDX-License-Identifier: MIT */
#include "moo.h"

#include <stdlib.h>
#include <zlib.h>

const char *const moo_reg_names[MOO_REGS] = {
    "eax", "ecx", "edx", "ebx", "esp", "ebp",   "esi", "edi", "es",  "cs",
    "ss",  "ds",  "fs",  "gs",  "eip", "flags", "cr0", "cr3", "dr6", "dr7",
};

/* The order of bits and values in the chunks. */
static const u8 regs16[] = {MOO_EAX, MOO_EBX, MOO_ECX, MOO_EDX, MOO_CS,  MOO_SS,  MOO_DS,
                            MOO_ES,  MOO_ESP, MOO_EBP, MOO_ESI, MOO_EDI, MOO_EIP, MOO_EFLAGS};
static const u8 regs32[] = {MOO_CR0, MOO_CR3, MOO_EAX, MOO_EBX,    MOO_ECX, MOO_EDX, MOO_ESI,
                            MOO_EDI, MOO_EBP, MOO_ESP, MOO_CS,     MOO_DS,  MOO_ES,  MOO_FS,
                            MOO_GS,  MOO_SS,  MOO_EIP, MOO_EFLAGS, MOO_DR6, MOO_DR7};

/* ---- chunks ---- */

struct chunk {
    char type[4];
    const u8 *data;
    size_t size;
};

#define CHUNK_HEADER 8

static bool is_type(const struct chunk *c, const char *type)
{
    return !memcmp(c->type, type, sizeof c->type);
}

/* Takes the chunk at *at of data[0..size). False: there is none whole. */
static bool next_chunk(const u8 *data, size_t size, size_t *at, struct chunk *c)
{
    if (size - *at < CHUNK_HEADER)
        return false;
    memcpy(c->type, data + *at, sizeof c->type);
    c->size = load32(data + *at + 4);
    c->data = data + *at + CHUNK_HEADER;
    if (c->size > size - *at - CHUNK_HEADER)
        return false;
    *at += CHUNK_HEADER + c->size;
    return true;
}

/* ---- payloads: each false when the payload is too short ---- */

static bool read_regs(const struct chunk *c, struct moo_regs *r)
{
    bool wide = c->type[2] == '3'; /* RG32, RM32 */
    size_t width = wide ? 4 : 2, at = width;
    const u8 *order = wide ? regs32 : regs16;
    unsigned count = wide ? ARRAY_LEN(regs32) : ARRAY_LEN(regs16);
    if (c->size < width)
        return false;
    u32 mask = (u32)load_sized(c->data, (unsigned)width);
    for (unsigned i = 0; i < count; i++) {
        if (!(mask >> i & 1))
            continue;
        if (c->size - at < width)
            return false;
        r->value[order[i]] = (u32)load_sized(c->data + at, (unsigned)width);
        r->present |= 1u << order[i];
        at += width;
    }
    return true;
}

#define RAM_ENTRY 5

static bool read_ram(const struct chunk *c, struct moo_state *s)
{
    if (c->size < 4)
        return false;
    size_t count = load32(c->data);
    if (count > (c->size - 4) / RAM_ENTRY || s->ram)
        return false;
    s->ram = calloc(count + 1, sizeof *s->ram);
    for (size_t i = 0; s->ram && i < count; i++) {
        const u8 *entry = c->data + 4 + i * RAM_ENTRY;
        s->ram[i] = (struct moo_byte){.pa = load32(entry), .value = entry[4]};
    }
    s->ram_count = s->ram ? (unsigned)count : 0;
    return s->ram;
}

static bool read_state(const struct chunk *c, struct moo_state *s, struct moo_regs *mask)
{
    struct chunk part;
    size_t at = 0;
    bool ok = true;
    while (ok && next_chunk(c->data, c->size, &at, &part)) {
        if (is_type(&part, "REGS") || is_type(&part, "RG32"))
            ok = read_regs(&part, &s->regs);
        else if (is_type(&part, "RMSK") || is_type(&part, "RM32"))
            ok = read_regs(&part, mask);
        else if (is_type(&part, "RAM "))
            ok = read_ram(&part, s);
    }
    return ok;
}

/* A counted string: as much of it as fits. */
static unsigned read_bytes(const struct chunk *c, void *to, size_t room)
{
    size_t n = c->size < 4 ? 0 : load32(c->data);
    if (n > c->size - 4)
        n = c->size - 4;
    if (n > room)
        n = room;
    memcpy(to, c->data + 4, n);
    return (unsigned)n;
}

static bool read_part(const struct chunk *c, struct moo_test *t)
{
    if (is_type(c, "NAME")) {
        t->name[read_bytes(c, t->name, sizeof t->name - 1)] = 0;
    } else if (is_type(c, "BYTS")) {
        t->len = read_bytes(c, t->bytes, sizeof t->bytes);
        t->len -= t->len > 0; /* the HLT */
    } else if (is_type(c, "INIT")) {
        return read_state(c, &t->before, &t->mask);
    } else if (is_type(c, "FINA")) {
        return read_state(c, &t->after, &t->mask);
    } else if (is_type(c, "EXCP")) {
        if (c->size < 5)
            return false;
        t->has_exception = true;
        t->vector = c->data[0];
        t->flags_pa = load32(c->data + 1);
    }
    return true;
}

/* ---- files ---- */

static u8 *unpack(const char *path, size_t *size)
{
    gzFile z = gzopen(path, "rb"); /* reads plain files as they are */
    size_t room = 0, n = 0;
    u8 *data = NULL;
    int got = z ? 1 : -1;
    while (got > 0) {
        if (n == room) {
            room = room ? room * 2 : MIB(1);
            u8 *more = realloc(data, room);
            if (!more)
                break;
            data = more;
        }
        got = gzread(z, data + n, (unsigned)(room - n));
        n += got > 0 ? (size_t)got : 0;
    }
    if (z)
        gzclose(z);
    *size = n;
    if (got == 0)
        return data;
    free(data);
    return NULL;
}

const char *moo_open(struct moo_file *f, const char *path)
{
    *f = (struct moo_file){0};
    struct chunk c;
    f->data = unpack(path, &f->size);
    if (!f->data)
        return "cannot be read";
    if (!next_chunk(f->data, f->size, &f->at, &c) || !is_type(&c, "MOO ") || c.size < 12) {
        moo_close(f);
        return "is not a MOO file";
    }
    memcpy(f->cpu, c.data + 8, 4);
    return NULL;
}

void moo_close(struct moo_file *f)
{
    free(f->data);
    f->data = NULL;
}

static bool read_test(const struct moo_file *f, const struct chunk *c, struct moo_test *t)
{
    struct chunk part;
    size_t at = 4;
    bool ok = c->size >= 4;
    t->index = ok ? load32(c->data) : 0;
    t->mask = f->mask;
    while (ok && next_chunk(c->data, c->size, &at, &part))
        ok = read_part(&part, t);
    return ok;
}

bool moo_next(struct moo_file *f, struct moo_test *t, const char **error)
{
    struct chunk c;
    *error = NULL;
    *t = (struct moo_test){0};
    while (next_chunk(f->data, f->size, &f->at, &c)) {
        if (is_type(&c, "META") && c.size >= 15)
            memcpy(f->mnemonic, c.data + 7, 8);
        if (is_type(&c, "RMSK") || is_type(&c, "RM32"))
            read_regs(&c, &f->mask);
        if (!is_type(&c, "TEST"))
            continue;
        if (read_test(f, &c, t))
            return true;
        moo_test_free(t);
        *error = "damaged test";
        return false;
    }
    if (f->at != f->size)
        *error = "ends within a chunk";
    return false;
}

void moo_test_free(struct moo_test *t)
{
    free(t->before.ram);
    free(t->after.ram);
    *t = (struct moo_test){0};
}
