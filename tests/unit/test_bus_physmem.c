/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bus/physmem.h"
#include "bus/ports.h"

struct reg_device {
    u64 last_offset, last_value;
    unsigned last_size, reads, writes;
};

static u64 reg_read(void *opaque, u64 offset, unsigned size)
{
    struct reg_device *d = opaque;
    d->last_offset = offset;
    d->last_size = size;
    d->reads++;
    return 0xa0 + offset;
}

static void reg_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    struct reg_device *d = opaque;
    d->last_offset = offset;
    d->last_size = size;
    d->last_value = value;
    d->writes++;
}

static const struct mmio_ops reg_ops = {.name = "reg", .read = reg_read, .write = reg_write};

struct heard {
    unsigned remapped, code, protect;
    u64 code_offset;
    u32 code_size;
};

static void heard_remap(void *opaque, u64 pa, u64 size)
{
    (void)pa;
    (void)size;
    ((struct heard *)opaque)->remapped++;
}

static void heard_code(void *opaque, u64 offset, u32 size)
{
    struct heard *h = opaque;
    h->code++;
    h->code_offset = offset;
    h->code_size = size;
}

static void heard_protect(void *opaque, u64 offset)
{
    (void)offset;
    ((struct heard *)opaque)->protect++;
}

static void physmem_higher_priority_covers_and_uncovers(void **state)
{
    (void)state;
    struct physmem *pm = physmem_create(MIB(4), NULL);
    u64 ram = physmem_alloc(pm, MIB(1), "ram");
    u64 rom = physmem_alloc(pm, KIB(64), "rom");
    physmem_host(pm, rom)[0] = 0x55;
    physmem_map_ram(pm, 0, MIB(1), ram, 0, "ram");
    struct phys_region *r = physmem_map_rom(pm, 0xf0000, KIB(64), rom, 1, "rom");
    assert_int_equal(physmem_io_read(pm, 0xf0000, 1), 0x55);
    physmem_io_write(pm, 0xf0000, 0x11, 1);
    assert_int_equal(physmem_io_read(pm, 0xf0000, 1), 0x55);
    physmem_unmap(pm, r);
    assert_int_equal(physmem_io_read(pm, 0xf0000, 1), 0);
    physmem_io_write(pm, 0xf0000, 0x11, 1);
    assert_int_equal(physmem_host(pm, ram)[0xf0000], 0x11);
    physmem_destroy(pm);
}

static void physmem_splits_mmio_at_the_width_of_the_device(void **state)
{
    (void)state;
    struct physmem *pm = physmem_create(MIB(1), NULL);
    struct reg_device d = {0};
    physmem_map_mmio(pm, 0x10000000, PAGE_BYTES, &reg_ops, &d, 0);
    assert_int_equal(physmem_io_read(pm, 0x10000000, 8), 0xa4000000a0);
    assert_int_equal(d.reads, 2);
    physmem_io_write(pm, 0x10000001, 0x112233, 4);
    assert_int_equal(d.writes, 3); /* 1 + 2 + 1 bytes */
    physmem_destroy(pm);
}

static void physmem_dma_reaches_memory_and_never_registers(void **state)
{
    (void)state;
    struct physmem *pm = physmem_create(MIB(1), NULL);
    struct reg_device d = {0};
    u64 ram = physmem_alloc(pm, PAGE_BYTES, "ram");
    physmem_map_ram(pm, 0, PAGE_BYTES, ram, 0, "ram");
    physmem_map_mmio(pm, PAGE_BYTES, PAGE_BYTES, &reg_ops, &d, 0);
    u8 buf[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    assert_false(physmem_write(pm, PAGE_BYTES - 4, buf, 8));
    assert_int_equal(d.writes, 0);
    assert_int_equal(load32(physmem_host(pm, ram) + PAGE_BYTES - 4), 0x04030201);
    assert_false(physmem_read(pm, PAGE_BYTES - 4, buf, 8));
    assert_int_equal(load64(buf), 0xffffffff04030201);
    assert_int_equal(d.reads, 0);
    physmem_destroy(pm);
}

static void physmem_marks_tell_listeners_of_writes(void **state)
{
    (void)state;
    struct physmem *pm = physmem_create(MIB(1), NULL);
    u64 ram = physmem_alloc(pm, PAGE_BYTES * 2, "ram");
    struct heard heard = {0};
    struct phys_listener l = {.remapped = heard_remap,
                              .code_written = heard_code,
                              .write_protected = heard_protect,
                              .opaque = &heard};
    physmem_listen(pm, &l);
    physmem_map_ram(pm, 0, PAGE_BYTES * 2, ram, 0, "ram");
    assert_int_equal(heard.remapped, 1);
    physmem_hold_code(pm, ram);
    assert_int_equal(heard.protect, 1);
    physmem_mark(pm, ram, PAGE_CLEAN_VGA);
    assert_int_equal(heard.protect, 2);
    physmem_mark(pm, ram, PAGE_CLEAN_VGA);
    assert_int_equal(heard.protect, 2);
    u32 v = 0;
    physmem_write(pm, 0xffe, &v, 4);
    assert_int_equal(heard.code, 1);
    assert_int_equal(heard.code_offset, ram + 0xffe);
    assert_int_equal(heard.code_size, 2);
    assert_int_equal(*physmem_marks(pm, ram) & (PAGE_CODE | PAGE_CLEAN_VGA), PAGE_CODE);
    physmem_destroy(pm);
}

static void physmem_page_stays_a_code_page_until_its_last_holder_lets_go(void **state)
{
    (void)state;
    struct physmem *pm = physmem_create(MIB(1), NULL);
    u64 ram = physmem_alloc(pm, PAGE_BYTES, "ram");
    physmem_hold_code(pm, ram);
    physmem_hold_code(pm, ram);
    physmem_mark(pm, ram, PAGE_CLEAN_LOG);
    physmem_release_code(pm, ram);
    assert_true(*physmem_marks(pm, ram) & PAGE_CODE);
    physmem_release_code(pm, ram);
    assert_int_equal(*physmem_marks(pm, ram), PAGE_CLEAN_LOG);
    physmem_destroy(pm);
}

static void physmem_limit_and_bad_ranges_are_refused(void **state)
{
    (void)state;
    struct physmem *pm = physmem_create(MIB(1), NULL);
    assert_int_equal(physmem_alloc(pm, MIB(2), "big"), UINT64_MAX);
    assert_null(physmem_map_ram(pm, 1, PAGE_BYTES, 0, 0, "x"));
    assert_null(physmem_map_ram(pm, (u64)1 << PHYS_ADDR_BITS, PAGE_BYTES, 0, 0, "x"));
    assert_int_equal(physmem_lookup(pm, UINT64_MAX).kind, PHYS_NONE);
    physmem_destroy(pm);
}

static u32 port_offset(void *opaque, u16 offset, unsigned size)
{
    (void)opaque;
    (void)size;
    return offset + 0x10;
}

static void ports_split_cover_and_uncover(void **state)
{
    (void)state;
    static const struct port_ops a = {.name = "a", .read = port_offset};
    static const struct port_ops b = {.name = "b", .read = port_offset, .max_size = 4};
    struct io_bus *bus = io_bus_create(NULL);
    io_bus_claim(bus, 0x70, 2, &a, NULL);
    assert_int_equal(io_bus_read(bus, 0x70, 2), 0x1110);
    assert_int_equal(io_bus_read(bus, 0x71, 2), 0xff11);
    assert_int_equal(io_bus_read(bus, 0x70, 4), 0xffff1110);
    struct io_claim *c = io_bus_claim(bus, 0x70, 8, &b, NULL);
    assert_int_equal(io_bus_read(bus, 0x70, 4), 0x10);
    io_bus_release(bus, c);
    assert_string_equal(io_bus_owner(bus, 0x70), "a");
    assert_null(io_bus_owner(bus, 0x72));
    assert_int_equal(io_bus_read(bus, 0xffff, 4), 0xffffffff);
    io_bus_destroy(bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(physmem_higher_priority_covers_and_uncovers),
        cmocka_unit_test(physmem_splits_mmio_at_the_width_of_the_device),
        cmocka_unit_test(physmem_dma_reaches_memory_and_never_registers),
        cmocka_unit_test(physmem_marks_tell_listeners_of_writes),
        cmocka_unit_test(physmem_page_stays_a_code_page_until_its_last_holder_lets_go),
        cmocka_unit_test(physmem_limit_and_bad_ranges_are_refused),
        cmocka_unit_test(ports_split_cover_and_uncover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
