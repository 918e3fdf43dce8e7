/* SPDX-License-Identifier: MIT
 *
 * The firmware configuration device from the bus side, by ports and by DMA.
 */
#include "device_rig.h"

#include "devices/fw_cfg.h"

#define RAM_BYTES MIB(1)

struct fixture {
    struct rig rig;
    struct fw_cfg *fw;
    unsigned made;
    char text[16];
};

static int setup(void **state)
{
    struct fixture *f = rig_setup(state, sizeof *f);
    rig_add_memory(&f->rig, RAM_BYTES, RAM_BYTES);
    f->fw = fw_cfg_create(f->rig.bus, f->rig.pm);
    rig_add(&f->rig, fw_cfg_device(f->fw));
    return 0;
}

static void read_item(struct fixture *f, u16 key, void *to, size_t n)
{
    outw(&f->rig, 0x510, key);
    for (size_t i = 0; i < n; i++)
        ((u8 *)to)[i] = inb(&f->rig, 0x511);
}

/* Runs a DMA descriptor at 1000h; the control word that comes back. */
static u32 dma(struct fixture *f, u32 control, u32 length, u64 address)
{
    u8 d[16];
    store32(d, __builtin_bswap32(control));
    store32(d + 4, __builtin_bswap32(length));
    store64(d + 8, __builtin_bswap64(address));
    physmem_write(f->rig.pm, 0x1000, d, sizeof d);
    outl(&f->rig, 0x514, 0);
    outl(&f->rig, 0x518, __builtin_bswap32(0x1000));
    physmem_read(f->rig.pm, 0x1000, d, sizeof d);
    return __builtin_bswap32(load32(d));
}

static void fw_cfg_shows_signature_and_features(void **state)
{
    struct fixture *f = *state;
    char signature[4];
    u32 id;
    read_item(f, FW_CFG_SIGNATURE, signature, 4);
    assert_memory_equal(signature, "QEMU", 4);
    read_item(f, FW_CFG_ID, &id, sizeof id);
    assert_int_equal(id, 3);
    assert_int_equal(inl(&f->rig, 0x514), 0x554d4551);
    assert_int_equal(inl(&f->rig, 0x518), 0x47464320);
    assert_int_equal(inb(&f->rig, 0x514), 'Q');
}

static void fw_cfg_reads_zero_behind_the_end_and_for_unknown_items(void **state)
{
    struct fixture *f = *state;
    u8 bytes[8];
    fw_cfg_add_u16(f->fw, FW_CFG_NB_CPUS, 0x1234);
    read_item(f, FW_CFG_NB_CPUS, bytes, 8);
    assert_memory_equal(bytes, "\x34\x12\0\0\0\0\0\0", 8);
    read_item(f, 0x1777, bytes, 8);
    assert_memory_equal(bytes, "\0\0\0\0\0\0\0\0", 8);
}

static void fw_cfg_selecting_rewinds(void **state)
{
    struct fixture *f = *state;
    u32 v;
    fw_cfg_add_u32(f->fw, FW_CFG_RAM_SIZE, 0xcafebabe);
    read_item(f, FW_CFG_RAM_SIZE, &v, 2);
    read_item(f, FW_CFG_RAM_SIZE, &v, 4);
    assert_int_equal(v, 0xcafebabe);
}

static void fw_cfg_adding_again_replaces(void **state)
{
    struct fixture *f = *state;
    u32 v = 0;
    fw_cfg_add_u32(f->fw, FW_CFG_RAM_SIZE, 1);
    fw_cfg_add_u32(f->fw, FW_CFG_RAM_SIZE, 2);
    read_item(f, FW_CFG_RAM_SIZE, &v, 4);
    assert_int_equal(v, 2);
    fw_cfg_add_file(f->fw, "etc/x", "one", 3);
    fw_cfg_add_file(f->fw, "etc/x", "three", 5);
    u8 dir[8];
    read_item(f, FW_CFG_FILE_DIR, dir, 8);
    assert_memory_equal(dir, "\0\0\0\1\0\0\0\5", 8);
}

static void fw_cfg_lists_files_big_endian(void **state)
{
    struct fixture *f = *state;
    u8 dir[4 + 2 * 64];
    fw_cfg_add_file(f->fw, "etc/e820", "0123456789", 10);
    fw_cfg_add_file(f->fw, "bootorder", "abc", 3);
    read_item(f, FW_CFG_FILE_DIR, dir, sizeof dir);
    assert_memory_equal(dir, "\0\0\0\2\0\0\0\xa\0\x20\0\0etc/e820\0", 21);
    assert_memory_equal(dir + 68, "\0\0\0\3\0\x21\0\0bootorder\0", 18);
    char data[3];
    read_item(f, 0x21, data, 3);
    assert_memory_equal(data, "abc", 3);
}

static void fw_cfg_refuses_long_names_and_too_many_files(void **state)
{
    struct fixture *f = *state;
    char name[80];
    memset(name, 'n', sizeof name);
    name[56] = '\0';
    assert_false(fw_cfg_add_file(f->fw, name, "", 0));
    name[55] = '\0';
    assert_true(fw_cfg_add_file(f->fw, name, "", 0));
    unsigned added = 1;
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "file%d", i);
        added += fw_cfg_add_file(f->fw, name, "x", 1);
    }
    assert_int_equal(added, 64);
}

static const void *make_text(void *opaque, size_t *n)
{
    struct fixture *f = opaque;
    *n = (size_t)snprintf(f->text, sizeof f->text, "made %u", ++f->made);
    return f->text;
}

static void fw_cfg_makes_a_file_when_it_is_selected(void **state)
{
    struct fixture *f = *state;
    char text[7];
    fw_cfg_add_made_file(f->fw, "etc/made", 16, make_text, f);
    assert_int_equal(f->made, 0);
    read_item(f, 0x20, text, 6);
    assert_memory_equal(text, "made 1", 6);
    read_item(f, 0x20, text, 7);
    assert_memory_equal(text, "made 2", 7);
}

static void fw_cfg_dma_selects_and_reads(void **state)
{
    struct fixture *f = *state;
    char out[8];
    fw_cfg_add_file(f->fw, "etc/x", "Hello, world", 12);
    memset(out, 0xff, sizeof out);
    physmem_write(f->rig.pm, 0x2000, out, sizeof out);
    assert_int_equal(dma(f, 0x20 << 16 | 0x0a, 5, 0x2000), 0);
    physmem_read(f->rig.pm, 0x2000, out, sizeof out);
    assert_memory_equal(out, "Hello\xff\xff\xff", 8);
    assert_int_equal(dma(f, 0x04, 2, 0), 0);      /* skip ", " */
    assert_int_equal(dma(f, 0x02, 8, 0x2000), 0); /* and read past the end */
    physmem_read(f->rig.pm, 0x2000, out, sizeof out);
    assert_memory_equal(out, "world\0\0\0", 8);
}

static void fw_cfg_dma_and_port_share_the_offset(void **state)
{
    struct fixture *f = *state;
    fw_cfg_add_file(f->fw, "etc/x", "abcdef", 6);
    dma(f, 0x20 << 16 | 0x0c, 3, 0);
    assert_int_equal(inb(&f->rig, 0x511), 'd');
}

static void fw_cfg_dma_write_is_an_error(void **state)
{
    struct fixture *f = *state;
    fw_cfg_add_file(f->fw, "etc/x", "abcdef", 6);
    assert_int_equal(dma(f, 0x20 << 16 | 0x18, 3, 0x2000), 1);
    char data[6];
    read_item(f, 0x20, data, 6);
    assert_memory_equal(data, "abcdef", 6);
}

static void fw_cfg_dma_outside_memory_is_an_error_and_ends(void **state)
{
    struct fixture *f = *state;
    fw_cfg_add_file(f->fw, "etc/x", "abcdef", 6);
    assert_int_equal(dma(f, 0x20 << 16 | 0x0a, 6, 0xfffffffffffffffdull), 1);
    assert_int_equal(dma(f, 0x20 << 16 | 0x0a, 0xffffffff, 0x3000), 1);
    assert_int_equal(dma(f, 0x04, 0xffffffff, 0), 0);
    assert_int_equal(dma(f, 0x04, 0xffffffff, 0), 0);
    assert_int_equal(inb(&f->rig, 0x511), 0);
    outl(&f->rig, 0x514, 0xffffffff); /* a descriptor that is nowhere */
    outl(&f->rig, 0x518, 0xffffffff);
}

static void fw_cfg_port_writes_change_nothing(void **state)
{
    struct fixture *f = *state;
    u32 v = 0;
    fw_cfg_add_u32(f->fw, FW_CFG_RAM_SIZE, 7);
    outw(&f->rig, 0x510, 0x4000 | FW_CFG_RAM_SIZE);
    outb(&f->rig, 0x511, 0xff);
    read_item(f, FW_CFG_RAM_SIZE, &v, 4);
    assert_int_equal(v, 7);
}

static void fw_cfg_survives_hostile_input(void **state)
{
    struct fixture *f = *state;
    srand(11);
    fw_cfg_add_file(f->fw, "etc/x", "abcdef", 6);
    for (int i = 0; i < 20000; i++) {
        u16 port = (u16)(0x510 + rand() % 12);
        u32 v = (u32)rand() << 16 ^ (u32)rand();
        io_bus_write(f->rig.bus, port, rand() & 1 ? v : v & 0x3f, 1u << rand() % 3);
        io_bus_read(f->rig.bus, port, 1u << rand() % 3);
        dma(f, v & 0xffff001f, v >> 8, (u64)rand() << (rand() % 16));
    }
    device_reset(fw_cfg_device(f->fw));
    check_state_table(fw_cfg_device(f->fw));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(fw_cfg_shows_signature_and_features),
        T(fw_cfg_reads_zero_behind_the_end_and_for_unknown_items),
        T(fw_cfg_selecting_rewinds),
        T(fw_cfg_adding_again_replaces),
        T(fw_cfg_lists_files_big_endian),
        T(fw_cfg_refuses_long_names_and_too_many_files),
        T(fw_cfg_makes_a_file_when_it_is_selected),
        T(fw_cfg_dma_selects_and_reads),
        T(fw_cfg_dma_and_port_share_the_offset),
        T(fw_cfg_dma_write_is_an_error),
        T(fw_cfg_dma_outside_memory_is_an_error_and_ends),
        T(fw_cfg_port_writes_change_nothing),
        T(fw_cfg_survives_hostile_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
