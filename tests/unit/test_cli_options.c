/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/options.h"

struct parsed {
    struct machine_config config;
    bool ok;
    enum options_help help;
    char error[512];
};

static struct parsed parse(char **argv)
{
    struct parsed p = {0};
    int argc = 0;
    while (argv[argc])
        argc++;
    config_init(&p.config);
    p.ok = options_parse(&p.config, argc, argv, &p.help, p.error, sizeof p.error);
    return p;
}

#define PARSE(...) parse((char *[]){"anello", __VA_ARGS__, NULL})

static void options_take_one_dash_two_dashes_and_equals(void **state)
{
    (void)state;
    struct parsed p = PARSE("-m", "256M", "--kernel=vmlinuz", "-append", "a=b,c", "--initrd", "rd");
    assert_true(p.ok);
    assert_int_equal(p.config.ram_bytes, MIB(256));
    assert_string_equal(p.config.kernel, "vmlinuz");
    assert_string_equal(p.config.append, "a=b,c");
    assert_string_equal(p.config.initrd, "rd");
    config_free(&p.config);
}

static void options_accept_what_scripts_made_for_qemu_ask_and_give(void **state)
{
    (void)state;
    struct parsed p = PARSE("-device", "?");
    assert_true(p.ok);
    assert_int_equal(p.help, HELP_DEVICES);
    config_free(&p.config);
    p = PARSE("-global", "kvm-pit.lost_tick_policy=discard");
    assert_true(p.ok);
    config_free(&p.config);
    p = PARSE("-device", "pc-testdev");
    assert_true(p.ok && p.config.testdev);
    assert_int_equal(p.help, HELP_NONE);
    config_free(&p.config);
}

static void options_sizes_have_units_and_limits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        u64 bytes;
    } good[] = {{"64", MIB(64)}, {"2G", GIB(2)}, {"1.5G", MIB(1536)}, {"2048k", MIB(2)}};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct parsed p = PARSE("-m", (char *)good[i].text);
        assert_true(p.ok);
        assert_int_equal(p.config.ram_bytes, good[i].bytes);
        config_free(&p.config);
    }
    static const char *const bad[] = {"0", "-1", "x", "12Q", "1e30", "100K", "128G", "nan", ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct parsed p = PARSE("-m", (char *)bad[i]);
        assert_false(p.ok);
        assert_true(p.error[0]);
        config_free(&p.config);
    }
}

static void options_drives_find_their_places(void **state)
{
    (void)state;
    struct parsed p = PARSE("-hda", "a.img", "-cdrom", "c.iso", "-drive",
                            "file=d,,1.img,format=raw,if=ide,cache=none,snapshot=on", "-drive",
                            "file=e.iso,media=cdrom");
    assert_true(p.ok);
    assert_string_equal(p.config.drives[0].path, "a.img");
    assert_true(p.config.drives[2].is_cd);
    assert_string_equal(p.config.drives[1].path, "d,1.img");
    assert_string_equal(p.config.drives[1].format, "raw");
    assert_true(p.config.drives[1].snapshot);
    assert_true(p.config.drives[3].is_cd);
    config_free(&p.config);
    struct parsed q = PARSE("disk.img");
    assert_true(q.ok);
    assert_string_equal(q.config.drives[0].path, "disk.img");
    config_free(&q.config);
}

static void options_cards_meet_their_networks(void **state)
{
    (void)state;
    struct parsed p = PARSE("-nic", "user,mac=02:00:00:00:00:09,hostfwd=tcp::2222-:22", "-netdev",
                            "user,id=lan,net=192.168.1.0/24", "-device", "e1000,netdev=lan");
    assert_true(p.ok);
    assert_int_equal(p.config.nic_count, 2);
    assert_int_equal(p.config.nics[0].mac[5], 9);
    assert_string_equal(p.config.nics[0].netdev, p.config.netdevs[0].id);
    assert_int_equal(p.config.netdevs[0].user.forward_count, 1);
    assert_string_equal(p.config.nics[1].netdev, "lan");
    assert_string_equal(p.config.netdevs[1].id, "lan");
    assert_int_equal(p.config.nics[1].mac[5], 0x57); /* the second card's own */
    config_free(&p.config);
    struct parsed q = PARSE("-net", "nic,macaddr=02:00:00:00:00:01", "-net", "user");
    assert_true(q.ok);
    assert_string_equal(q.config.nics[0].netdev, q.config.netdevs[0].id);
    config_free(&q.config);
}

static void options_that_do_not_exist_are_refused_with_advice(void **state)
{
    (void)state;
    char *const bad[][2] = {
        {"--frobnicate", "x"},
        {"-smp", "64"},
        {"-machine", "microvm"},
        {"-nic", "tap"},
        {"-drive", "if=virtio"},
        {"-gdb", "tcp::1"},
        {"-qmp", "stdio"},
        {"-vnc", ":1"},
        {"-device", "e1000,speed=10"},
        {"-netdev", "user"},
        {"-nic", "user,model=ne2k"},
        {"-nic", "user,mac=1:2:3"},
        {"-boot", "order=z"},
        {"-drive", "if=scsi,file=x"},
        {"-display", "curses"},
        {"-timeout", "-3"},
        {"-accel", "hvf"},
        {"-rtc", "x=y"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct parsed p = PARSE(bad[i][0], bad[i][1]);
        if (p.ok)
            print_message("accepted: %s\n", bad[i][0]);
        assert_false(p.ok);
        assert_null(strchr(p.error, '\n'));
        assert_true(strlen(p.error) > 10);
        config_free(&p.config);
    }
    struct parsed p = PARSE("-kernel");
    assert_false(p.ok);
    config_free(&p.config);
}

static void options_injections_split_at_the_last_number(void **state)
{
    (void)state;
    struct parsed p = PARSE("--type", "root\\n@2.5", "--type", "a@b", "--screenshot", "s.png@7",
                            "--screenshot", "end.png");
    assert_true(p.ok);
    assert_string_equal(p.config.types[0].text, "root\\n");
    assert_true(p.config.types[0].at == 2.5);
    assert_string_equal(p.config.types[1].text, "a@b");
    assert_true(p.config.screenshots[0].at == 7);
    assert_true(p.config.screenshots[1].at < 0);
    config_free(&p.config);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void options_config_file_is_relative_and_the_command_line_wins(void **state)
{
    (void)state;
    char path[] = "/tmp/anello-options-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    write_file(path,
               "# a machine\n[machine]\nmemory = 64M\nkernel = k\nserial = stdio\n"
               "no-reboot = yes\nname = \"two words\"\n[drive]\nfile = d,x.img\nformat=raw\n");
    struct parsed p = PARSE("--config", path, "-m", "128M", "-serial", "none");
    if (!p.ok)
        print_message("%s\n", p.error);
    assert_true(p.ok);
    assert_int_equal(p.config.ram_bytes, MIB(128));
    assert_string_equal(p.config.kernel, "/tmp/k");
    assert_string_equal(p.config.drives[0].path, "/tmp/d,x.img");
    assert_int_equal(p.config.serials, 1);
    assert_string_equal(p.config.serial[0], "none");
    assert_string_equal(p.config.name, "two words");
    assert_true(p.config.no_reboot);
    config_free(&p.config);
    write_file(path, "\n[machine]\ncolour = red\n");
    struct parsed q = PARSE("--config", path);
    assert_false(q.ok);
    assert_non_null(strstr(q.error, ":3: unknown key 'colour'"));
    config_free(&q.config);
    unlink(path);
}

static void options_debug_exit_takes_its_ports(void **state)
{
    (void)state;
    struct parsed p =
        PARSE("-device", "isa-debug-exit,iobase=0xf4,iosize=0x4", "-device", "pc-testdev");
    assert_true(p.ok && p.config.debug_exit && p.config.testdev);
    assert_int_equal(p.config.debug_exit_iobase, 0xf4);
    assert_int_equal(p.config.debug_exit_iosize, 4);
    config_free(&p.config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_take_one_dash_two_dashes_and_equals),
        cmocka_unit_test(options_accept_what_scripts_made_for_qemu_ask_and_give),
        cmocka_unit_test(options_sizes_have_units_and_limits),
        cmocka_unit_test(options_drives_find_their_places),
        cmocka_unit_test(options_cards_meet_their_networks),
        cmocka_unit_test(options_that_do_not_exist_are_refused_with_advice),
        cmocka_unit_test(options_injections_split_at_the_last_number),
        cmocka_unit_test(options_config_file_is_relative_and_the_command_line_wins),
        cmocka_unit_test(options_debug_exit_takes_its_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
