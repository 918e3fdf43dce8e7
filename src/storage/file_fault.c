/* SPDX-License-Identifier: MIT */
#include "storage/file_fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define TEAR_BYTES 512 /* what the host's disk writes whole or not at all */

struct bytes {
    u8 *at;
    u64 size;
};

/* One change since the last flush: `data` at `offset`, or with data NULL a new size. */
struct change {
    u64 offset, bytes;
    u8 *data;
    struct change *next;
};

struct fault_file {
    struct file file; /* first */
    pthread_mutex_t lock;
    struct bytes seen, stable;
    struct change *changes, **end;
    unsigned change_count;
    struct fault_plan plan;
    unsigned crash_at; /* calls until the power fails on the side; 0: it does not */
    u64 crash_seed;
    struct file *crashed;
};

static struct fault_file *fault(const struct file *f)
{
    return (struct fault_file *)f;
}

/* ---- bytes ---- */

static bool resize(struct bytes *b, u64 size)
{
    u8 *at = realloc(b->at, size + 1);
    if (!at)
        return false;
    if (size > b->size)
        memset(at + b->size, 0, size - b->size);
    *b = (struct bytes){at, size};
    return true;
}

static bool put(struct bytes *b, u64 offset, const u8 *data, u64 bytes)
{
    if (offset + bytes > b->size && !resize(b, offset + bytes))
        return false;
    memcpy(b->at + offset, data, bytes);
    return true;
}

/* ---- changes ---- */

static void remember(struct fault_file *f, u64 offset, const u8 *data, u64 bytes)
{
    struct change *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    *c = (struct change){.offset = offset, .bytes = bytes};
    if (data && !(c->data = malloc(bytes + 1)))
        abort();
    if (data)
        memcpy(c->data, data, bytes);
    *f->end = c;
    f->end = &c->next;
    f->change_count++;
}

static void forget_changes(struct fault_file *f)
{
    while (f->changes) {
        struct change *c = f->changes;
        f->changes = c->next;
        free(c->data);
        free(c);
    }
    f->end = &f->changes;
    f->change_count = 0;
}

/* True when this call is to fail; counts it. */
static bool planned(struct fault_file *f, unsigned *at)
{
    if (!*at)
        return false;
    if (*at > 1) {
        --*at;
        return false;
    }
    if (!f->plan.for_ever)
        *at = 0;
    return true;
}

static struct file *crash_locked(const struct fault_file *f, u64 seed);

static void count_to_crash(struct fault_file *f)
{
    if (f->crash_at && !--f->crash_at) {
        file_close(f->crashed);
        f->crashed = crash_locked(f, f->crash_seed);
    }
}

/* ---- operations ---- */

static int fault_read(struct file *file, u64 offset, void *data, u64 bytes)
{
    struct fault_file *f = fault(file);
    pthread_mutex_lock(&f->lock);
    int error = planned(f, &f->plan.fail_read_at) ? f->plan.error : 0;
    u64 there = offset < f->seen.size ? f->seen.size - offset : 0;
    if (there > bytes)
        there = bytes;
    if (!error) {
        memset((u8 *)data + there, 0, bytes - there);
        if (there)
            memcpy(data, f->seen.at + offset, there);
    }
    pthread_mutex_unlock(&f->lock);
    return error;
}

/* Lock held. */
static int write_locked(struct fault_file *f, u64 offset, const u8 *data, u64 bytes)
{
    count_to_crash(f);
    if (planned(f, &f->plan.fail_write_at))
        return f->plan.error;
    if (f->plan.space_limit && offset + bytes > f->plan.space_limit)
        return -ENOSPC;
    if (!put(&f->seen, offset, data, bytes))
        return -ENOMEM;
    remember(f, offset, data, bytes);
    return 0;
}

static int fault_write(struct file *file, u64 offset, const void *data, u64 bytes)
{
    struct fault_file *f = fault(file);
    pthread_mutex_lock(&f->lock);
    int error = write_locked(f, offset, data, bytes);
    pthread_mutex_unlock(&f->lock);
    return error;
}

static int fault_zero(struct file *file, u64 offset, u64 bytes)
{
    u8 *zeros = calloc(1, bytes + 1);
    int error = zeros ? fault_write(file, offset, zeros, bytes) : -ENOMEM;
    free(zeros);
    return error;
}

/* Discarded bytes turn into something that is neither the old data nor zeros. */
static void fault_discard(struct file *file, u64 offset, u64 bytes)
{
    struct fault_file *f = fault(file);
    u64 size = file_size(file);
    bytes = offset >= size ? 0 : bytes < size - offset ? bytes : size - offset;
    u8 *junk = malloc(bytes + 1);
    if (!junk)
        return;
    memset(junk, 0xdc, bytes);
    pthread_mutex_lock(&f->lock);
    if (bytes && put(&f->seen, offset, junk, bytes))
        remember(f, offset, junk, bytes);
    pthread_mutex_unlock(&f->lock);
    free(junk);
}

static int fault_truncate(struct file *file, u64 bytes)
{
    struct fault_file *f = fault(file);
    pthread_mutex_lock(&f->lock);
    count_to_crash(f);
    int error = planned(f, &f->plan.fail_write_at) ? f->plan.error : 0;
    if (!error && f->plan.space_limit && bytes > f->plan.space_limit)
        error = -ENOSPC;
    if (!error && !resize(&f->seen, bytes))
        error = -ENOMEM;
    if (!error)
        remember(f, bytes, NULL, 0);
    pthread_mutex_unlock(&f->lock);
    return error;
}

static int fault_reserve(struct file *file, u64 offset, u64 bytes)
{
    u64 size = file_size(file);
    return offset + bytes > size ? fault_truncate(file, offset + bytes) : 0;
}

static int fault_flush(struct file *file)
{
    struct fault_file *f = fault(file);
    pthread_mutex_lock(&f->lock);
    count_to_crash(f);
    int error = planned(f, &f->plan.fail_flush_at) ? f->plan.error : 0;
    if (!error && !resize(&f->stable, f->seen.size))
        error = -ENOMEM;
    if (!error) {
        memcpy(f->stable.at, f->seen.at, f->seen.size);
        forget_changes(f);
    }
    pthread_mutex_unlock(&f->lock);
    return error;
}

static u64 fault_size(struct file *file)
{
    struct fault_file *f = fault(file);
    pthread_mutex_lock(&f->lock);
    u64 size = f->seen.size;
    pthread_mutex_unlock(&f->lock);
    return size;
}

static int fault_extent(struct file *file, u64 offset, u64 *run)
{
    u64 size = fault_size(file);
    *run = offset < size ? size - offset : 0;
    return offset < size;
}

static void fault_close(struct file *file)
{
    struct fault_file *f = fault(file);
    forget_changes(f);
    file_close(f->crashed);
    free(f->seen.at);
    free(f->stable.at);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static const struct file_ops fault_ops = {
    .read = fault_read,
    .write = fault_write,
    .flush = fault_flush,
    .zero = fault_zero,
    .discard = fault_discard,
    .reserve = fault_reserve,
    .truncate = fault_truncate,
    .size = fault_size,
    .allocated = fault_size,
    .extent = fault_extent,
    .close = fault_close,
};

/* ---- for the test ---- */

struct file *fault_file_create(void)
{
    struct fault_file *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->file.ops = &fault_ops;
    f->end = &f->changes;
    pthread_mutex_init(&f->lock, NULL);
    if (!resize(&f->seen, 0) || !resize(&f->stable, 0))
        abort();
    return &f->file;
}

void fault_file_plan(struct file *f, const struct fault_plan *plan)
{
    fault(f)->plan = *plan;
}

void fault_file_crash_at(struct file *file, unsigned nth, u64 seed)
{
    fault(file)->crash_at = nth;
    fault(file)->crash_seed = seed;
}

struct file *fault_file_crashed(struct file *file)
{
    struct fault_file *f = fault(file);
    struct file *crashed = f->crashed;
    f->crashed = NULL;
    return crashed;
}

const u8 *fault_file_bytes(const struct file *f)
{
    return fault(f)->seen.at;
}

unsigned fault_file_unstable(const struct file *f)
{
    return fault(f)->change_count;
}

static u64 next_random(u64 *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Applies a change as a dying disk does: each sector or not. `odds` of 256 that one is kept. */
static void apply_torn(struct bytes *b, const struct change *c, u64 *random, unsigned odds)
{
    if (!c->data) {
        if ((next_random(random) & 0xff) < odds)
            resize(b, c->offset);
        return;
    }
    for (u64 at = 0, piece; at < c->bytes; at += piece) {
        piece = TEAR_BYTES - (c->offset + at) % TEAR_BYTES;
        if (piece > c->bytes - at)
            piece = c->bytes - at;
        if ((next_random(random) & 0xff) < odds)
            put(b, c->offset + at, c->data + at, piece);
    }
}

/* Half of the seeds drop whole changes (reordering), the other half tear them too. */
static struct file *crash_locked(const struct fault_file *f, u64 seed)
{
    struct file *copy = fault_file_create();
    struct fault_file *to = fault(copy);
    u64 random = seed * 0x9e3779b97f4a7c15 + 0x2545f4914f6cdd1d;
    bool tear = seed & 1;
    unsigned odds = (unsigned)(next_random(&random) >> 8 & 0xff);
    if (!put(&to->seen, 0, f->stable.at, f->stable.size))
        abort();
    for (const struct change *c = f->changes; c; c = c->next) {
        bool keep = (next_random(&random) & 0xff) < odds;
        if (tear || keep)
            apply_torn(&to->seen, c, &random, tear ? odds : 256);
    }
    if (!put(&to->stable, 0, to->seen.at, to->seen.size))
        abort();
    return copy;
}

struct file *fault_file_after_crash(struct file *file, u64 seed)
{
    struct fault_file *f = fault(file);
    pthread_mutex_lock(&f->lock);
    struct file *copy = crash_locked(f, seed);
    pthread_mutex_unlock(&f->lock);
    return copy;
}
