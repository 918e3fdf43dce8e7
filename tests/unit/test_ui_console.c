/* SPDX-License-Identifier: MIT
 *
 * The console without a window: typed text, combinations, screenshots that other programs can
 * read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "ui/console.h"
#include "ui/hid.h"

#define WIDTH  37
#define HEIGHT 11

struct rig {
    struct clock *clock;
    struct console *console;
    u32 pixels[HEIGHT][WIDTH + 3];
    struct surface surface;
    struct rect dirty;
    char keys[256]; /* what the keyboard heard: "+04 -04 " */
};

static const struct surface *rig_refresh(void *opaque, struct rect *dirty)
{
    struct rig *r = opaque;
    *dirty = r->dirty;
    r->dirty = (struct rect){0};
    return &r->surface;
}

static void rig_key(void *opaque, hid_key key, bool down)
{
    struct rig *r = opaque;
    size_t n = strlen(r->keys);
    snprintf(r->keys + n, sizeof r->keys - n, "%c%02x ", down ? '+' : '-', key);
}

static struct rig *rig_create(void)
{
    struct rig *r = calloc(1, sizeof *r);
    r->clock = clock_create_stepped();
    for (unsigned y = 0; y < HEIGHT; y++) {
        for (unsigned x = 0; x < WIDTH; x++)
            r->pixels[y][x] = 0xff000000 | ((x * 0x030507) ^ (y * 0x110b0d));
    }
    r->surface = (struct surface){&r->pixels[0][0], WIDTH, HEIGHT, WIDTH + 3};
    r->console = console_create(&(struct console_wiring){
        .display = {.refresh = rig_refresh, .opaque = r},
        .keyboard = {.key = rig_key, .opaque = r},
        .clock = r->clock,
    });
    return r;
}

static void rig_destroy(struct rig *r)
{
    console_destroy(r->console);
    clock_destroy(r->clock);
    free(r);
}

static void console_types_stroke_by_stroke_in_virtual_time(void **state)
{
    (void)state;
    struct rig *r = rig_create();
    char error[100];
    assert_true(console_type(r->console, "aB", error, sizeof error));
    assert_true(console_typing(r->console));
    assert_string_equal(r->keys, ""); /* not before the clock moves */
    clock_step(r->clock, 1000000);
    assert_string_equal(r->keys, "+04 ");
    clock_step(r->clock, 20 * 1000000);
    assert_string_equal(r->keys, "+04 -04 ");
    clock_step(r->clock, 20 * 1000000);
    assert_string_equal(r->keys, "+04 -04 +e1 +05 ");
    clock_step(r->clock, 20 * 1000000);
    assert_string_equal(r->keys, "+04 -04 +e1 +05 -05 -e1 ");
    assert_false(console_typing(r->console));
    rig_destroy(r);
}

static void console_combo_waits_for_text_and_is_held(void **state)
{
    (void)state;
    struct rig *r = rig_create();
    char error[100];
    assert_true(console_type(r->console, "x", error, sizeof error));
    assert_true(console_key_combo(r->console, "ctrl-c", 300, error, sizeof error));
    clock_step(r->clock, 50 * 1000000);
    assert_string_equal(r->keys, "+1b -1b +e0 +06 ");
    clock_step(r->clock, 280 * 1000000);
    assert_string_equal(r->keys, "+1b -1b +e0 +06 ");
    clock_step(r->clock, 20 * 1000000);
    assert_string_equal(r->keys, "+1b -1b +e0 +06 -06 -e0 ");
    assert_true(console_type(r->console, "y", error, sizeof error));
    clock_step(r->clock, 50 * 1000000);
    assert_string_equal(r->keys, "+1b -1b +e0 +06 -06 -e0 +1c -1c ");
    rig_destroy(r);
}

static void console_types_nothing_of_a_wrong_text(void **state)
{
    (void)state;
    struct rig *r = rig_create();
    char error[100] = "";
    assert_false(console_type(r->console, "ab<bogus>", error, sizeof error));
    assert_string_equal(error, "unknown key 'bogus'");
    assert_false(console_key_combo(r->console, "ctrl-bogus", 0, error, sizeof error));
    clock_step(r->clock, NS_PER_SEC);
    assert_string_equal(r->keys, "");
    rig_destroy(r);
}

static u8 *file_bytes(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    u8 *bytes = malloc(1 << 16);
    *n = fread(bytes, 1, 1 << 16, f);
    fclose(f);
    return bytes;
}

static u32 be32(const u8 *p)
{
    return (u32)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static unsigned paeth(unsigned a, unsigned b, unsigned c)
{
    int pa = abs((int)b - (int)c), pb = abs((int)a - (int)c);
    int pc = abs((int)a + (int)b - 2 * (int)c);
    return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

/* Undoes the filters of ISO 15948, clause 9, whichever the writer chose. */
static void unfilter(u8 *rows, size_t row, unsigned height)
{
    for (unsigned y = 0; y < height; y++) {
        u8 *line = rows + y * row;
        for (size_t x = 1; x < row; x++) {
            unsigned a = x > 3 ? line[x - 3] : 0, b = y ? line[x - row] : 0;
            unsigned c = x > 3 && y ? line[x - 3 - row] : 0;
            unsigned predicted[5] = {0, a, b, (a + b) / 2, paeth(a, b, c)};
            assert_in_range(line[0], 0, 4);
            line[x] = (u8)(line[x] + predicted[line[0]]);
        }
    }
}

static void console_screenshot_is_a_valid_png_of_the_screen(void **state)
{
    (void)state;
    struct rig *r = rig_create();
    char error[100], path[] = "/tmp/anello-test-XXXXXX";
    close(mkstemp(path));
    assert_true(console_screenshot(r->console, path, error, sizeof error));
    size_t n;
    u8 *png = file_bytes(path, &n), *p = png + 8;
    assert_memory_equal(png, "\x89PNG\r\n\x1a\n", 8);
    u8 rows[HEIGHT * (1 + WIDTH * 3)];
    uLongf size = 0;
    while (p < png + n) {
        u32 length = be32(p);
        assert_true(p + 12 + length <= png + n);
        assert_int_equal(crc32(crc32(0, p + 4, 4), p + 8, length), be32(p + 8 + length));
        if (!memcmp(p + 4, "IHDR", 4)) {
            assert_int_equal(be32(p + 8), WIDTH);
            assert_int_equal(be32(p + 12), HEIGHT);
            assert_memory_equal(p + 16, "\x08\x02\0\0", 5);
        } else if (!memcmp(p + 4, "IDAT", 4)) {
            size = sizeof rows;
            assert_int_equal(uncompress(rows, &size, p + 8, length), Z_OK);
        }
        p += 12 + length;
    }
    assert_memory_equal(png + n - 8, "IEND", 4);
    assert_int_equal(size, sizeof rows);
    unfilter(rows, 1 + WIDTH * 3, HEIGHT);
    for (unsigned y = 0; y < HEIGHT; y++) {
        for (unsigned x = 0; x < WIDTH; x++) {
            const u8 *rgb = rows + y * (1 + WIDTH * 3) + 1 + x * 3;
            assert_int_equal(rgb[0] << 16 | rgb[1] << 8 | rgb[2], r->pixels[y][x] & 0xffffff);
        }
    }
    free(png);
    unlink(path);
    rig_destroy(r);
}

static void console_screendump_is_a_ppm_whatever_the_name(void **state)
{
    (void)state;
    struct rig *r = rig_create();
    char error[100], path[] = "/tmp/anello-test-XXXXXX";
    close(mkstemp(path));
    assert_true(console_screendump(r->console, path, IMAGE_PPM, error, sizeof error));
    size_t n;
    u8 *ppm = file_bytes(path, &n);
    char head[32];
    size_t skip = (size_t)snprintf(head, sizeof head, "P6\n%d %d\n255\n", WIDTH, HEIGHT);
    assert_memory_equal(ppm, head, skip);
    assert_int_equal(n, skip + WIDTH * HEIGHT * 3);
    u32 last = r->pixels[HEIGHT - 1][WIDTH - 1];
    assert_int_equal(ppm[n - 1], last & 0xff);
    assert_int_equal(ppm[n - 3], last >> 16 & 0xff);
    free(ppm);
    unlink(path);
    rig_destroy(r);
}

static void console_screenshot_tells_why_it_failed(void **state)
{
    (void)state;
    struct rig *r = rig_create();
    char error[200] = "";
    assert_false(console_screenshot(r->console, "/nonexistent/x.png", error, sizeof error));
    assert_string_equal(error, "cannot write /nonexistent/x.png: No such file or directory");
    assert_false(console_screenshot(r->console, "/dev/full", error, sizeof error));
    assert_string_equal(error, "cannot write /dev/full: No space left on device");
    struct console *blind = console_create(&(struct console_wiring){.clock = r->clock});
    assert_false(console_screenshot(blind, "/tmp/x.png", error, sizeof error));
    assert_string_equal(error, "this machine has no screen");
    assert_false(console_type(blind, "a", error, sizeof error));
    assert_string_equal(error, "this machine has no keyboard");
    console_destroy(blind);
    rig_destroy(r);
}

static void console_owes_the_window_what_a_screenshot_consumed(void **state)
{
    (void)state;
    struct rig *r = rig_create();
    char error[100];
    struct rect dirty;
    r->dirty = (struct rect){5, 2, 3, 4};
    assert_true(console_screenshot(r->console, "/dev/null", error, sizeof error));
    r->dirty = (struct rect){1, 4, 2, 6};
    console_refresh(r->console, &dirty);
    assert_int_equal(dirty.x, 1);
    assert_int_equal(dirty.y, 2);
    assert_int_equal(dirty.w, 7);
    assert_int_equal(dirty.h, 8);
    console_refresh(r->console, &dirty);
    assert_int_equal(dirty.w, 0);
    rig_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(console_types_stroke_by_stroke_in_virtual_time),
        cmocka_unit_test(console_combo_waits_for_text_and_is_held),
        cmocka_unit_test(console_types_nothing_of_a_wrong_text),
        cmocka_unit_test(console_screenshot_is_a_valid_png_of_the_screen),
        cmocka_unit_test(console_screendump_is_a_ppm_whatever_the_name),
        cmocka_unit_test(console_screenshot_tells_why_it_failed),
        cmocka_unit_test(console_owes_the_window_what_a_screenshot_consumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
