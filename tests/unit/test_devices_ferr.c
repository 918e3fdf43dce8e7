/* SPDX-License-Identifier: MIT */
#include "device_rig.h"

#include "devices/ferr.h"

static void ferr_holds_irq13_until_port_f0_is_written(void **state)
{
    struct rig r;
    struct wire irq = {0};
    (void)state;
    rig_open(&r);
    struct ferr *f = ferr_create(r.bus, wire_line(&irq));
    ferr_assert(f);
    assert_true(irq.level);
    ferr_assert(f);
    assert_int_equal(irq.rises, 1);
    outb(&r, 0xf0, 0);
    assert_false(irq.level);
    ferr_assert(f);
    struct device d = ferr_device(f);
    d.ops->reset(d.dev);
    assert_false(irq.level);
    d.ops->destroy(d.dev);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ferr_holds_irq13_until_port_f0_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
