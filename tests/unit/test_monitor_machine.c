/* SPDX-License-Identifier: MIT
 *
 * A whole machine with a firmware of a few bytes: starting, pausing, resetting, ending, being
 * inspected by the monitor, and two of them in one process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cpu/fpu.h"
#include "machine/engine.h"
#include "machine/machine.h"
#include "monitor/hmp.h"

#define ROM_BYTES    KIB(64)
#define RESET_VECTOR 0xfff0
#define DEBUG_PORT   0xf4

struct fixture {
    char folder[64];
    struct machine_config config;
    struct machine *m;
    struct hmp *hmp;
    pthread_t thread;
    int status, fd;
};

/* Code at F000:0000, reached from the reset vector by a near jump. */
static void write_rom(struct fixture *f, const void *code, size_t n)
{
    char path[128];
    u8 *rom = malloc(ROM_BYTES);
    assert_non_null(rom);
    memset(rom, 0xf4, ROM_BYTES);
    memcpy(rom, code, n);
    static const u8 jump[] = {0xea, 0x00, 0x00, 0x00, 0xf0}; /* jmp F000:0000 */
    memcpy(rom + RESET_VECTOR, jump, sizeof jump);
    snprintf(path, sizeof path, "%s/rom", f->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(rom, 1, ROM_BYTES, file), ROM_BYTES);
    fclose(file);
    free(rom);
    config_set(&f->config.bios, path);
}

static void *run(void *opaque)
{
    struct fixture *f = opaque;
    f->status = machine_run(f->m);
    return NULL;
}

static void build(struct fixture *f)
{
    char error[256] = "", spec[128];
    f->config.accel = ACCEL_INTERP;
    f->config.display = DISPLAY_NONE;
    f->config.ram_bytes = MIB(2);
    snprintf(spec, sizeof spec, "unix:%s/mon,server,nowait", f->folder);
    config_set(&f->config.monitor, spec);
    f->m = machine_create(&f->config, error, sizeof error);
    if (!f->m)
        fail_msg("%s", error);
    f->hmp = hmp_attach(f->m, error, sizeof error);
    assert_non_null(f->hmp);
}

static void read_prompt(struct fixture *f, char *text, size_t n)
{
    size_t used = 0;
    text[0] = '\0';
    while (used < n - 1) {
        ssize_t got = read(f->fd, text + used, n - 1 - used);
        if (got <= 0)
            break;
        used += (size_t)got;
        text[used] = '\0';
        if (used >= 7 && !strcmp(text + used - 7, "(qemu) "))
            break;
    }
}

static void start(struct fixture *f)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char text[512];
    assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/mon", f->folder);
    f->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(f->fd, (struct sockaddr *)&addr, sizeof addr), 0);
    read_prompt(f, text, sizeof text);
}

/* Sends a command and returns what it printed. */
static const char *ask(struct fixture *f, const char *command)
{
    static _Thread_local char text[8192];
    assert_true(write(f->fd, command, strlen(command)) > 0);
    assert_int_equal(write(f->fd, "\n", 1), 1);
    read_prompt(f, text, sizeof text);
    return text;
}

static int finish(struct fixture *f)
{
    pthread_join(f->thread, NULL);
    if (f->fd >= 0)
        close(f->fd);
    hmp_detach(f->hmp);
    machine_destroy(f->m);
    f->m = NULL;
    return f->status;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->folder, "/tmp/anello-machine-XXXXXX");
    config_init(&f->config);
    f->fd = -1;
    *state = f;
    return mkdtemp(f->folder) && fpu_host_init() == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    config_free(&f->config);
    snprintf(command, sizeof command, "rm -rf %s", f->folder);
    int err = system(command);
    free(f);
    return err;
}

/* mov al, 21; out F4, al */
static const u8 leave_rom[] = {0xb0, 21, 0xe6, DEBUG_PORT, 0xf4};
/* xor ax,ax; mov ds,ax; loop: inc word [600]; jmp loop */
static const u8 count_rom[] = {0x31, 0xc0, 0x8e, 0xd8, 0xff, 0x06, 0x00, 0x06, 0xeb, 0xfa};
/* lidt [cs:zero], int3: nothing can be delivered */
static const u8 triple_rom[] = {0x2e, 0x0f, 0x01, 0x1e, 0x10, 0x00, 0xcc, 0xf4, 0, 0, 0,
                                0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0};

static void machine_ends_with_the_status_of_debug_exit(void **state)
{
    struct fixture *f = *state;
    write_rom(f, leave_rom, sizeof leave_rom);
    f->config.debug_exit = true;
    f->config.debug_exit_iobase = DEBUG_PORT;
    f->config.debug_exit_iosize = 1;
    build(f);
    assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
    assert_int_equal(finish(f), 43);
}

static void machine_triple_fault_without_reboot_is_status_3(void **state)
{
    struct fixture *f = *state;
    write_rom(f, triple_rom, sizeof triple_rom);
    f->config.no_reboot = true;
    build(f);
    assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
    assert_int_equal(finish(f), 3);
}

static u16 counter(struct fixture *f)
{
    unsigned value = 0;
    const char *colon = strchr(ask(f, "xp /1xh 0x600"), ':');
    assert_non_null(colon);
    assert_int_equal(sscanf(colon + 1, " 0x%x", &value), 1);
    return (u16)value;
}

static void machine_pauses_goes_on_and_resets(void **state)
{
    struct fixture *f = *state;
    write_rom(f, count_rom, sizeof count_rom);
    build(f);
    start(f);
    assert_non_null(strstr(ask(f, "info status"), "running"));
    ask(f, "stop");
    assert_non_null(strstr(ask(f, "info status"), "paused"));
    u16 then = counter(f);
    usleep(20000);
    assert_int_equal(counter(f), then);
    ask(f, "cont");
    for (int i = 0; i < 2000 && counter(f) == then; i++)
        usleep(5000);
    assert_int_not_equal(counter(f), then);
    ask(f, "system_reset");
    assert_non_null(strstr(ask(f, "info status"), "running"));
    ask(f, "quit");
    assert_int_equal(finish(f), 0);
}

static void monitor_shows_the_parts_of_the_machine(void **state)
{
    static const struct {
        const char *command, *expect;
    } table[] = {
        {"info registers", "CS =f000 000f0000 0000ffff"},
        {"info pic", "pic1: irr="},
        {"info pci", "8086:1237"},
        {"info mtree", "i8042"},
        {"info events", "nothing was delivered"},
        {"x /2i 0xf0004", "inc"},
        {"x /1xb 0xf0004", "0xff"},
        {"xp /3xb 0xffffc", "0xf4 0xf4"},
        {"info nonsense", "info what?"},
        {"nonsense", "unknown command"},
        {"xp", "usage"},
        {"xp /4xq 0", "unknown format"},
        {"xp /1xb 12z", "not a number"},
        {"xp /1xb $cs-0xf000+0xffff0", "0xea"},
        {"sendkey nokey", "nokey"},
        {"mouse_move 1 x", "not a motion"},
        {"help", "system_powerdown"},
    };
    struct fixture *f = *state;
    write_rom(f, count_rom, sizeof count_rom);
    build(f);
    start(f);
    /* The answers are those of a guest that has left its reset vector. */
    for (int i = 0; i < 2000 && counter(f) == 0; i++)
        usleep(5000);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const char *answer = ask(f, table[i].command);
        if (!strstr(answer, table[i].expect))
            fail_msg("%s: %s", table[i].command, answer);
    }
    ask(f, "quit");
    assert_int_equal(finish(f), 0);
}

static void write_image(struct fixture *f, const char *name, char *path, size_t n)
{
    u8 sector[512] = {0};
    snprintf(path, n, "%s/%s", f->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 2880; i++)
        assert_int_equal(fwrite(sector, 1, sizeof sector, file), sizeof sector);
    fclose(file);
}

static void add_drive(struct fixture *f, unsigned place, const char *path, bool cd)
{
    struct drive_config *d = &f->config.drives[place];
    d->present = true;
    d->is_cd = cd;
    d->is_floppy = place >= PLACE_FLOPPY;
    config_set(&d->path, path);
    config_set(&d->format, "raw");
}

/* The drives of both boards, which call them differently. */
static void media_change(struct fixture *f, const char *board, const char *cd)
{
    char first[2][128], disk[128], second[128], command[300];
    write_image(f, "cd", first[0], sizeof first[0]);
    write_image(f, "floppy", first[1], sizeof first[1]);
    write_image(f, "disk", disk, sizeof disk);
    write_image(f, "second", second, sizeof second);
    config_set(&f->config.board, board);
    add_drive(f, PLACE_IDE + 2, first[0], true);
    add_drive(f, PLACE_FLOPPY, first[1], false);
    add_drive(f, PLACE_CARD + 4, disk, false);
    write_rom(f, count_rom, sizeof count_rom);
    build(f);
    start(f);
    const char *const names[] = {cd, "floppy0"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(command, sizeof command, "%s: %s", names[i], first[i]);
        assert_non_null(strstr(ask(f, "info block"), command));
        snprintf(command, sizeof command, "eject %s", names[i]);
        assert_int_equal(strcmp(ask(f, command), "(qemu) "), 0);
        snprintf(command, sizeof command, "%s: [not inserted]", names[i]);
        assert_non_null(strstr(ask(f, "info block"), command));
        snprintf(command, sizeof command, "change %s %s", names[i], second);
        assert_int_equal(strcmp(ask(f, command), "(qemu) "), 0);
        snprintf(command, sizeof command, "%s: %s", names[i], second);
        assert_non_null(strstr(ask(f, "info block"), command));
        snprintf(command, sizeof command, "change %s /nonexistent/medium", names[i]);
        assert_non_null(strstr(ask(f, command), "/nonexistent/medium"));
        snprintf(command, sizeof command, "eject -f %s", names[i]);
        assert_int_equal(strcmp(ask(f, command), "(qemu) "), 0);
    }
    assert_non_null(strstr(ask(f, "info block"), "virtio4: "));
    assert_non_null(strstr(ask(f, "eject virtio4"), "it is a disk"));
    assert_non_null(strstr(ask(f, "eject floppy1"), "no drive 'floppy1'"));
    assert_non_null(strstr(ask(f, "eject -f"), "which drive"));
    ask(f, "quit");
    assert_int_equal(finish(f), 0);
}

static void monitor_changes_media_on_a_pc(void **state)
{
    media_change(*state, "pc", "ide1-cd0");
}

static void monitor_changes_media_on_a_q35(void **state)
{
    media_change(*state, "q35", "ide2-cd0");
}

static void monitor_saves_memory_and_screen(void **state)
{
    struct fixture *f = *state;
    char command[256], path[128], head[16] = "";
    write_rom(f, count_rom, sizeof count_rom);
    build(f);
    start(f);
    snprintf(command, sizeof command, "pmemsave 0xf0000 10 \"%s/with space\"", f->folder);
    ask(f, command);
    snprintf(path, sizeof path, "%s/with space", f->folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(head, 1, sizeof head, file), 10);
    assert_memory_equal(head, count_rom, 10);
    fclose(file);
    assert_non_null(strstr(ask(f, "pmemsave 0 1 /nonexistent/x"), "cannot write"));
    snprintf(command, sizeof command, "screendump %s/shot.ppm", f->folder);
    ask(f, command);
    snprintf(path, sizeof path, "%s/shot.ppm", f->folder);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(head, 1, 2, file), 2);
    assert_memory_equal(head, "P6", 2);
    fclose(file);
    ask(f, "quit");
    assert_int_equal(finish(f), 0);
}

static void two_machines_run_in_one_process(void **state)
{
    struct fixture *f = *state;
    void *second = NULL;
    assert_int_equal(setup(&second), 0);
    struct fixture *g = second;
    write_rom(f, count_rom, sizeof count_rom);
    write_rom(g, leave_rom, sizeof leave_rom);
    g->config.debug_exit = true;
    g->config.debug_exit_iobase = DEBUG_PORT;
    g->config.debug_exit_iosize = 1;
    build(f);
    build(g);
    start(f);
    assert_int_equal(pthread_create(&g->thread, NULL, run, g), 0);
    assert_int_equal(finish(g), 43);
    u16 then = counter(f);
    for (int i = 0; i < 2000 && counter(f) == then; i++)
        usleep(5000);
    assert_int_not_equal(counter(f), then);
    ask(f, "quit");
    assert_int_equal(finish(f), 0);
    teardown(&second);
}

static void machine_errors_are_one_line_that_names_the_cause(void **state)
{
    struct fixture *f = *state;
    char error[256], bad[128];
    write_rom(f, count_rom, sizeof count_rom);
    snprintf(bad, sizeof bad, "%s/rom", f->folder);
    f->config.accel = ACCEL_INTERP;
    f->config.display = DISPLAY_NONE;
    f->config.ram_bytes = MIB(16);
    const struct {
        char **field;
        const char *value, *expect;
    } table[] = {{&f->config.bios, "/nonexistent/bios", "/nonexistent/bios"},
                 {&f->config.kernel, "/nonexistent/k", "/nonexistent/k"},
                 {&f->config.kernel, bad, "neither a Linux bzImage nor a multiboot"},
                 {&f->config.append, "x", "need -kernel"},
                 {&f->config.cpu, "z80", "unknown model"},
                 {&f->config.rtc_base, "yesterday", "yesterday"},
                 {&f->config.debugcon, "file:/nonexistent/x", "/nonexistent/x"},
                 {&f->config.trace, "everything", "everything"}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char *before = *table[i].field ? strdup(*table[i].field) : NULL;
        config_set(table[i].field, table[i].value);
        error[0] = '\0';
        assert_null(machine_create(&f->config, error, sizeof error));
        if (!strstr(error, table[i].expect) || strchr(error, '\n'))
            fail_msg("%s: %s", table[i].value, error);
        config_set(table[i].field, before);
        free(before);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(machine_ends_with_the_status_of_debug_exit),
        TEST(machine_triple_fault_without_reboot_is_status_3),
        TEST(machine_pauses_goes_on_and_resets),
        TEST(monitor_shows_the_parts_of_the_machine),
        TEST(monitor_saves_memory_and_screen),
        TEST(monitor_changes_media_on_a_pc),
        TEST(monitor_changes_media_on_a_q35),
        TEST(two_machines_run_in_one_process),
        TEST(machine_errors_are_one_line_that_names_the_cause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
