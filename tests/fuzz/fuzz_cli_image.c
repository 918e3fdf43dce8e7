/* SPDX-License-Identifier: MIT
 *
 * `anello image` at work on four images, each of any format and perhaps upon another. The input is
 * a row of steps of eight bytes:
 *
 *   byte 0     what is done (see the table at the end)
 *   byte 1     with which images: two bits each for the first, second and third
 *   byte 2     flags, for options of the command
 *   byte 3     which kind of image is made, or which of other choices
 *   bytes 4-7  a place and a value, 16 bits each
 *
 * After each step the images that it touched are compared with the model (image_shelf.h), and so is
 * whether a command that must succeed does. A step may damage a file; after that, only what is
 * copied out of an image that still opens is compared.
 */
#include <fcntl.h>

#include "cli/image.h"
#include "image_shelf.h"
#include "storage/bytes.h"

#define STEP_BYTES    8
#define STEPS_MAX     16
#define ARGUMENTS_MAX 24
#define WRITE_MAX     KIB(64)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

struct step {
    struct slot *a, *b, *c;
    u8 flags, choice;
    u16 place, value;
};

/* Images that are made. */
static const struct kind {
    const char *format, *options;
} kinds[] = {
    // clang-format off
    {"raw", NULL},
    {"raw", "preallocation=falloc"},
    {"qcow2", "cluster_size=512"},
    {"qcow2", "cluster_size=4k,compat=0.10"},
    {"qcow2", "cluster_size=1k,refcount_bits=1"},
    {"qcow2", "cluster_size=2k,lazy_refcounts=on,refcount_bits=64"},
    {"qcow2", "compression_type=zstd"},
    {"qcow2", "cluster_size=4k,preallocation=metadata"},
    {"qcow2", "cluster_size=8k,preallocation=full"},
    {"vmdk", NULL},
    {"vmdk", "zeroed_grain=on"},
    {"vmdk", "subformat=streamOptimized"},
    {"vmdk", "subformat=monolithicFlat"},
    {"vmdk", "subformat=twoGbMaxExtentSparse"},
    {"vmdk", "subformat=twoGbMaxExtentFlat,preallocation=full"},
    {"vdi", NULL},
    {"vdi", "static=on"},
    // clang-format on
};

static const struct kind *kind_of(u8 choice)
{
    return &kinds[choice % ARRAY_LEN(kinds)];
}

/* Most are small; some have several blocks of a VDI. */
static u64 size_of(u16 value)
{
    return SECTOR_BYTES * (1 + value % 512ull) + (value & 0x8000 ? MIB(1 + (value >> 14 & 1)) : 0);
}

static unsigned index_of(const struct shelf *s, const struct slot *slot)
{
    return (unsigned)(slot - s->slots);
}

static bool can_grow(const struct slot *slot)
{
    return !strcmp(slot->format, "raw") || !strcmp(slot->format, "qcow2");
}

/* ---- command lines ---- */

struct command {
    char *words[ARGUMENTS_MAX + 1];
    int count;
};

static void add(struct command *c, const char *word)
{
    if (c->count == ARGUMENTS_MAX)
        abort();
    c->words[c->count++] = (char *)(uintptr_t)word;
}

/* An option and its value, unless that is NULL. */
static void add_option(struct command *c, const char *option, const char *value)
{
    if (!value)
        return;
    add(c, option);
    add(c, value);
}

static struct command start(struct shelf *s, const char *name)
{
    struct command c = {.count = 0};
    s->doing = name;
    add(&c, "image");
    add(&c, name);
    if (strcmp(name, "info"))
        add(&c, "-q");
    return c;
}

static bool runs(struct command *c)
{
    return !image_command(c->count, c->words);
}

/* ---- new images ---- */

static void create(struct shelf *s, const struct step *t)
{
    const struct kind *k = kind_of(t->choice);
    bool upon = t->flags & 1 && t->b != t->a && slot_refresh(s, t->b);
    char size[24];
    snprintf(size, sizeof size, "%llu", (unsigned long long)size_of(t->value));
    struct command c = start(s, "create");
    add_option(&c, "-f", k->format);
    add_option(&c, "-o", k->options);
    add_option(&c, "-b", upon ? t->b->name : NULL);
    add_option(&c, "-F", upon && !(t->flags & 2) ? t->b->format : NULL);
    add(&c, t->a->path);
    if (!upon || !(t->flags & 4))
        add(&c, size);
    if (!runs(&c)) {
        shelf_demand(s, t->a, upon, "it is not there");
        shelf_remove(s, t->a);
        return;
    }
    shelf_put(s, t->a, k->format, upon ? index_of(s, t->b) : SHELF_NONE);
    if (upon)
        view_copy(&t->a->now, &t->b->now);
    else
        view_of_zeros(&t->a->now, 0);
    if (!upon || !(t->flags & 4))
        view_resize(&t->a->now, size_of(t->value));
}

/* True when the new image could only be a success. */
static bool must_convert(const struct shelf *s, const struct step *t)
{
    return !(t->flags & 7) && is_intact(s, t->a);
}

/* The second image is the first, or one that the first needs. */
static bool bites_itself(const struct shelf *s, const struct step *t)
{
    return t->a == t->b || lies_on(s, t->a, t->b);
}

static bool convert_runs(struct shelf *s, const struct step *t, const char *format,
                         const struct slot *below)
{
    static const char *const sparse[] = {"0", "512", "1536", "64k", "100k", "2M"};
    bool existing = t->flags & 2;
    struct command c = start(s, "convert");
    if (t->flags & 1)
        add(&c, "-c");
    if (existing)
        add(&c, "-n");
    add_option(&c, "-S", t->flags & 8 ? sparse[t->place % ARRAY_LEN(sparse)] : NULL);
    add_option(&c, "-f", t->a->format);
    add_option(&c, "-O", format);
    add_option(&c, "-o", existing ? NULL : kind_of(t->choice)->options);
    add_option(&c, "-B", below ? below->name : NULL);
    add_option(&c, "-F", below ? below->format : NULL);
    add(&c, t->a->path);
    add(&c, t->b->path);
    return runs(&c);
}

/* The first image's bytes in place of the second's first ones. */
static void lay_over(struct view *to, const struct view *from)
{
    to->known = to->known && from->known;
    if (to->known && from->size > to->size)
        view_resize(to, from->size);
    if (to->known)
        memcpy(to->bytes, from->bytes, from->size);
}

static void convert_into(struct shelf *s, const struct step *t)
{
    if (!slot_refresh(s, t->b) || bites_itself(s, t))
        return;
    bool good = convert_runs(s, t, t->b->format, NULL);
    shelf_changed(s, t->b, false);
    if (good)
        lay_over(&t->b->now, &t->a->now);
    else
        t->b->now.known = false;
}

static void convert(struct shelf *s, const struct step *t)
{
    if (!slot_refresh(s, t->a))
        return;
    if (t->flags & 2) {
        convert_into(s, t);
        return;
    }
    const struct kind *k = kind_of(t->choice);
    const struct slot *below = t->flags & 4 && t->c != t->b && slot_refresh(s, t->c) ? t->c : NULL;
    bool safe = is_intact(s, t->a),
         bites = bites_itself(s, t) || (below && lies_on(s, below, t->b));
    if (bites && !safe)
        return;
    bool good = convert_runs(s, t, k->format, below);
    shelf_demand(s, t->b, !good || !bites, "its source is gone");
    if (bites)
        return;
    shelf_demand(s, t->b, good || !must_convert(s, t), "it is not there");
    if (!good) {
        shelf_remove(s, t->b);
        return;
    }
    shelf_put(s, t->b, k->format, below ? index_of(s, below) : SHELF_NONE);
    view_copy(&t->b->now, &t->a->now);
}

/* ---- changes ---- */

/* As a guest does it. */
static void write_bytes(struct shelf *s, const struct step *t)
{
    static u8 data[WRITE_MAX];
    struct view *v = &t->a->now;
    struct image *image = slot_refresh(s, t->a) ? slot_open(t->a, true, false) : NULL;
    s->doing = "write";
    if (!image)
        return;
    u64 at = image->size * t->place >> 16, bytes = 1 + t->value * 7u % WRITE_MAX;
    if (t->flags & 4) {
        at = align_down(at, SECTOR_BYTES);
        bytes = align_up(bytes, SECTOR_BYTES);
    }
    if (bytes > image->size - at)
        bytes = image->size - at;
    memset(data, t->flags & 2 ? 0 : t->choice | 1, bytes);
    int error = t->flags & 1 ? image_zero(image, at, bytes) : image_write(image, at, data, bytes);
    if (t->flags & 1)
        memset(data, 0, bytes);
    image_close(image);
    shelf_changed(s, t->a, false);
    if (v->known && !error)
        memcpy(v->bytes + at, data, bytes);
    if (error && !is_intact(s, t->a))
        v->known = false;
    /* A stream of VMDK is written once. */
    shelf_demand(s, t->a, !error || !is_intact(s, t->a) || !strcmp(t->a->format, "vmdk"),
                 "it cannot be written");
}

static void resize(struct shelf *s, const struct step *t)
{
    static const char *const modes[] = {"off", "metadata", "falloc", "full"};
    bool shrink = t->flags & 1, more = t->flags & 2;
    const char *mode = t->flags & 4 ? modes[t->choice % ARRAY_LEN(modes)] : NULL;
    if (!slot_refresh(s, t->a))
        return;
    u64 by = size_of(t->value), before = t->a->now.size, bytes = more ? before + by : by;
    char size[24];
    snprintf(size, sizeof size, "%s%llu", more ? "+" : "", (unsigned long long)by);
    struct command c = start(s, "resize");
    add_option(&c, "-f", t->a->format);
    add_option(&c, "--preallocation", mode);
    if (shrink)
        add(&c, "--shrink");
    add(&c, t->a->path);
    add(&c, size);
    bool good = runs(&c), must = !mode && bytes >= before; /* with snapshots it cannot shrink */
    shelf_demand(s, t->a, good || !must || !can_grow(t->a) || !is_intact(s, t->a),
                 "it has its old size");
    shelf_demand(s, t->a, !good || bytes >= before || shrink, "it lost its end");
    shelf_changed(s, t->a, false);
    if (good)
        view_resize(&t->a->now, bytes);
    else if (mode)
        t->a->now.known = false;
}

static void snapshot(struct shelf *s, const struct step *t)
{
    static const char *const names[SHELF_SNAPSHOTS] = {"one", "two"};
    static const char *const actions[] = {"-c", "-a", "-d", "-l"};
    unsigned which = t->choice % SHELF_SNAPSHOTS, action = t->flags % ARRAY_LEN(actions);
    struct view *v = &t->a->snapshots[which];
    if (!slot_refresh(s, t->a))
        return;
    struct command c = start(s, "snapshot");
    add_option(&c, "-f", t->a->format);
    if (action == 3)
        add(&c, "-l");
    else
        add_option(&c, actions[action], names[which]);
    add(&c, t->a->path);
    if (!runs(&c))
        return;
    if (action == 0)
        view_copy(v, &t->a->now);
    if (action == 2)
        v->known = false;
    if (action == 1) {
        shelf_changed(s, t->a, false);
        view_copy(&t->a->now, v);
    }
}

/* ---- chains ---- */

/* The base got other bytes by way of `a`. Its chain was intact, and has to be: it has followed. */
static void base_changed(struct shelf *s, struct slot *a, const struct slot *base)
{
    bool known = a->now.known;
    shelf_changed(s, base, false);
    a->now.known = known;
    a->damaged = false;
    for (unsigned i = 0; i < SHELF_SLOTS; i++)
        if (lies_on(s, a, &s->slots[i]))
            s->slots[i].damaged = false;
}

/* The bytes go down: the image shows the same afterwards, and so does its base. */
static void commit(struct shelf *s, const struct step *t)
{
    struct slot *a = t->a;
    bool drop = t->flags & 1, named = t->flags & 2, safe = is_intact(s, a);
    if (!slot_refresh(s, a))
        return;
    struct command c = start(s, "commit");
    add_option(&c, "-f", a->format);
    add_option(&c, "-b", named ? t->b->name : NULL);
    if (drop)
        add(&c, "-d");
    add(&c, a->path);
    struct slot *base = named ? t->b : a->below == SHELF_NONE ? NULL : &s->slots[a->below];
    base = base && lies_on(s, a, base) ? base : NULL;
    if (base)
        slot_refresh(s, base);
    bool good = runs(&c);
    if (!safe) {
        shelf_damage_all(s);
        return;
    }
    shelf_demand(s, a, base || !good, "it claims to have a base");
    if (!base)
        return;
    shelf_demand(s, a, good || !can_grow(base), "its base has not got its bytes");
    base_changed(s, a, base);
    if (good)
        lay_over(&base->now, &a->now);
    else
        base->now.known = false;
}

static bool rebase_runs(struct shelf *s, const struct step *t, const struct slot *below)
{
    struct command c = start(s, "rebase");
    add_option(&c, "-f", t->a->format);
    add_option(&c, "-b", below ? below->name : "");
    add_option(&c, "-F", below ? below->format : NULL);
    if (t->flags & 2)
        add(&c, "-u");
    add(&c, t->a->path);
    return runs(&c);
}

static void rebase(struct shelf *s, const struct step *t)
{
    struct slot *a = t->a;
    const struct slot *below = t->flags & 1 || !slot_refresh(s, t->b) ? NULL : t->b;
    bool unsafe = t->flags & 2, safe = is_intact(s, a);
    if (!slot_refresh(s, a))
        return;
    bool loop = below && (below == a || lies_on(s, below, a));
    bool good = rebase_runs(s, t, below);
    shelf_demand(s, a, !good || !loop || unsafe || !safe, "it lies on itself");
    bool must = safe && !loop && !strcmp(a->format, "qcow2") && (!below || is_intact(s, below));
    shelf_demand(s, a, good || !must, "it lies on what it did before");
    if (!good)
        return;
    forget_snapshots(a);
    a->below = below ? index_of(s, below) : SHELF_NONE;
    a->damaged |= loop || !safe;
    if (unsafe || !safe) {
        a->now.known = false;
        shelf_changed(s, a, false);
    }
}

/* ---- others ---- */

static void check(struct shelf *s, const struct step *t)
{
    static const char *const repairs[] = {NULL, "leaks", "all"};
    if (!slot_refresh(s, t->a))
        return;
    struct command c = start(s, "check");
    add_option(&c, "-f", t->a->format);
    add_option(&c, "-r", repairs[t->choice % ARRAY_LEN(repairs)]);
    add(&c, t->a->path);
    bool good = runs(&c);
    /* A raw image has nothing to check; a stream of VMDK cannot be repaired. */
    bool must = strcmp(t->a->format, "raw") && strcmp(t->a->format, "vmdk");
    shelf_demand(s, t->a, good || !must || !is_intact(s, t->a), "something is wrong with it");
}

static void info(struct shelf *s, const struct step *t)
{
    struct command c = start(s, "info");
    add_option(&c, "-f", t->flags & 1 ? t->a->format : NULL);
    add_option(&c, "--output", t->flags & 2 ? "json" : "human");
    if (t->flags & 4)
        add(&c, "--backing-chain");
    add(&c, t->a->path);
    bool good = runs(&c);
    shelf_demand(s, t->a, good || !is_intact(s, t->a), "it is not known");
}

/* Two bytes, four or eight become others: near the file's start, or anywhere. */
static void damage(struct shelf *s, const struct step *t)
{
    u8 bytes[8];
    for (unsigned i = 0; i < sizeof bytes; i += 2)
        store16(bytes + i, t->value);
    int fd = t->a->format ? open(t->a->path, O_RDWR) : -1;
    if (fd < 0)
        return;
    off_t end = lseek(fd, 0, SEEK_END), at = t->flags & 1 ? t->place % 512 : end * t->place >> 16;
    size_t count = (size_t)2 << t->choice % 3;
    if (at + (off_t)count <= end && pwrite(fd, bytes, count, at) != (ssize_t)count)
        abort();
    close(fd);
    shelf_damage(s, t->a);
}

/* ---- steps ---- */

static void (*const deeds[])(struct shelf *s, const struct step *t) = {
    create, write_bytes, convert, commit,  rebase,      resize,   snapshot,    check,
    info,   damage,      create,  convert, write_bytes, snapshot, write_bytes, rebase,
};

static void do_step(struct shelf *s, const u8 *bytes)
{
    struct step t = {.a = &s->slots[bytes[1] & 3],
                     .b = &s->slots[bytes[1] >> 2 & 3],
                     .c = &s->slots[bytes[1] >> 4 & 3],
                     .flags = bytes[2],
                     .choice = bytes[3],
                     .place = load16(bytes + 4),
                     .value = load16(bytes + 6)};
    deeds[bytes[0] % ARRAY_LEN(deeds)](s, &t);
    shelf_verify(s, t.a);
    if (t.b != t.a)
        shelf_verify(s, t.b);
}

/* Nobody reads what `info` prints. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return freopen("/dev/null", "w", stdout) ? 0 : 1;
}

static struct shelf *the_shelf(void)
{
    static struct shelf shelf;
    return &shelf;
}

static void remove_folder(void)
{
    shelf_empty(the_shelf());
    rmdir(the_shelf()->folder);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct shelf *s = the_shelf();
    if (!*s->folder) {
        shelf_make(s);
        shelf_empty(s);
        atexit(remove_folder);
    }
    for (size_t i = 0; i < STEPS_MAX && size >= STEP_BYTES; i++) {
        do_step(s, data);
        data += STEP_BYTES;
        size -= STEP_BYTES;
    }
    for (unsigned i = 0; i < SHELF_SLOTS; i++)
        shelf_verify(s, &s->slots[i]);
    shelf_empty(s);
    return 0;
}
