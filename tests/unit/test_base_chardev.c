/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/chardev.h"

struct fixture {
    struct clock *clock;
    struct loop *loop;
    char folder[64];
};

struct receiver {
    char text[256];
    size_t used, room;
    int connected;
};

static size_t room(void *opaque)
{
    return ((struct receiver *)opaque)->room;
}

static void receive(void *opaque, const u8 *bytes, size_t n)
{
    struct receiver *r = opaque;
    assert_true(n <= r->room && r->used + n < sizeof r->text);
    memcpy(r->text + r->used, bytes, n);
    r->used += n;
    r->room -= n;
}

static void event(void *opaque, bool connected)
{
    ((struct receiver *)opaque)->connected += connected ? 1 : -1;
}

static struct chardev_sink sink_of(struct receiver *r)
{
    return (struct chardev_sink){room, receive, event, r};
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->clock = clock_create();
    f->loop = loop_create(f->clock);
    strcpy(f->folder, "/tmp/anello-chardev-XXXXXX");
    *state = f;
    return mkdtemp(f->folder) ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    loop_destroy(f->loop);
    clock_destroy(f->clock);
    snprintf(command, sizeof command, "rm -rf %s", f->folder);
    int err = system(command);
    free(f);
    return err;
}

static struct chardev *open_spec(struct fixture *f, const char *fmt, const char *name)
{
    char path[128], spec[256], error[256] = "";
    snprintf(path, sizeof path, "%s/%s", f->folder, name);
    snprintf(spec, sizeof spec, fmt, path);
    struct chardev *c = chardev_open(spec, f->loop, error, sizeof error);
    if (!c)
        print_message("%s\n", error);
    return c;
}

static void chardev_file_takes_everything(void **state)
{
    struct fixture *f = *state;
    struct chardev *c = open_spec(f, "file:%s", "log");
    assert_non_null(c);
    chardev_write(c, "hello ", 6);
    chardev_write(c, "world", 5);
    chardev_close(c);
    char path[128], text[32] = "";
    snprintf(path, sizeof path, "%s/log", f->folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(text, 1, sizeof text - 1, file), 11);
    assert_string_equal(text, "hello world");
    fclose(file);
}

static int connect_to(struct fixture *f, const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/%s", f->folder, name);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0 ? fd : -1;
}

static void chardev_unix_server_serves_one_client_after_another(void **state)
{
    struct fixture *f = *state;
    struct receiver r = {.room = 100};
    struct chardev *c = open_spec(f, "unix:%s,server,nowait", "sock");
    assert_non_null(c);
    struct chardev_sink sink = sink_of(&r);
    chardev_set_sink(c, &sink);
    chardev_write(c, "lost", 4); /* nobody is there */
    for (int round = 1; round <= 2; round++) {
        int fd = connect_to(f, "sock");
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "ping", 4), 4);
        for (int i = 0; i < 10 && r.used < 4u * (unsigned)round; i++)
            loop_turn(f->loop, 100);
        assert_int_equal(r.connected, 1);
        chardev_write(c, "pong", 4);
        char text[8] = "";
        assert_int_equal(read(fd, text, 8), 4);
        assert_string_equal(text, "pong");
        close(fd);
        for (int i = 0; i < 10 && r.connected; i++)
            loop_turn(f->loop, 100);
        assert_int_equal(r.connected, 0);
    }
    assert_memory_equal(r.text, "pingping", 8);
    chardev_close(c);
}

static void chardev_waits_while_the_sink_is_full(void **state)
{
    struct fixture *f = *state;
    struct receiver r = {.room = 2};
    struct chardev *c = open_spec(f, "unix:%s,server,nowait", "sock2");
    struct chardev_sink sink = sink_of(&r);
    chardev_set_sink(c, &sink);
    int fd = connect_to(f, "sock2");
    assert_int_equal(write(fd, "abcd", 4), 4);
    for (int i = 0; i < 5; i++)
        loop_turn(f->loop, 20);
    assert_int_equal(r.used, 2);
    r.room = 10;
    chardev_accept(c);
    for (int i = 0; i < 10 && r.used < 4; i++)
        loop_turn(f->loop, 100);
    assert_memory_equal(r.text, "abcd", 4);
    close(fd);
    chardev_close(c);
}

static void chardev_pair_hands_bytes_over_with_flow_control(void **state)
{
    struct fixture *f = *state;
    struct receiver r = {.room = 3};
    struct chardev *a, *b;
    chardev_pair(f->loop, &a, &b);
    struct chardev_sink sink = sink_of(&r);
    chardev_set_sink(b, &sink);
    chardev_write(a, "12345", 5);
    assert_int_equal(r.used, 0); /* never from inside the write */
    loop_turn(f->loop, 100);
    assert_int_equal(r.used, 3);
    r.room = 10;
    chardev_accept(b);
    loop_turn(f->loop, 100);
    assert_memory_equal(r.text, "12345", 5);
    chardev_close(a);
    chardev_close(b);
}

static void chardev_errors_say_what_to_do(void **state)
{
    struct fixture *f = *state;
    char error[256] = "";
    assert_null(chardev_open("file:/nonexistent/x", f->loop, error, sizeof error));
    assert_non_null(strstr(error, "/nonexistent/x"));
    assert_null(chardev_open("tcp::1", f->loop, error, sizeof error));
    assert_non_null(strstr(error, "unix:PATH"));
    assert_null(chardev_open("unix:/nonexistent/x,server", f->loop, error, sizeof error));
    assert_non_null(strstr(error, "listen"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chardev_file_takes_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(chardev_unix_server_serves_one_client_after_another, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(chardev_waits_while_the_sink_is_full, setup, teardown),
        cmocka_unit_test_setup_teardown(chardev_pair_hands_bytes_over_with_flow_control, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(chardev_errors_say_what_to_do, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
