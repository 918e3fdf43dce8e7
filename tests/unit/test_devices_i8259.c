/* SPDX-License-Identifier: MIT
 *
 * The 8259A pair from the bus side, by the datasheet.
 */
#include "device_rig.h"

#include "devices/i8259.h"

struct fixture {
    struct rig rig;
    struct wire intr;
    struct i8259 *pic;
    unsigned taken_count, last_taken;
};

static void note_taken(void *opaque, unsigned irq)
{
    struct fixture *f = opaque;
    f->taken_count++;
    f->last_taken = irq;
}

/* As an AT BIOS does: vectors 08h and 70h, all unmasked. */
static void init_pair(struct rig *r, u8 icw4)
{
    outb(r, 0x20, 0x11);
    outb(r, 0x21, 0x08);
    outb(r, 0x21, 0x04);
    outb(r, 0x21, icw4);
    outb(r, 0xa0, 0x11);
    outb(r, 0xa1, 0x70);
    outb(r, 0xa1, 0x02);
    outb(r, 0xa1, icw4 & ~0x10);
}

static int setup(void **state)
{
    struct fixture *f = rig_setup(state, sizeof *f);
    f->pic = i8259_create(f->rig.bus, wire_line(&f->intr));
    rig_add(&f->rig, i8259_device(f->pic));
    i8259_on_taken(f->pic, note_taken, f);
    init_pair(&f->rig, 0x01);
    return 0;
}

static void raise_irq(struct fixture *f, unsigned irq)
{
    struct irq_line line = i8259_input(f->pic, irq);
    irq_set(&line, true);
}

static void lower_irq(struct fixture *f, unsigned irq)
{
    struct irq_line line = i8259_input(f->pic, irq);
    irq_set(&line, false);
}

static u8 master_isr(struct fixture *f)
{
    outb(&f->rig, 0x20, 0x0b);
    return inb(&f->rig, 0x20);
}

static u8 master_irr(struct fixture *f)
{
    outb(&f->rig, 0x20, 0x0a);
    return inb(&f->rig, 0x20);
}

static void pic_gives_base_plus_input(void **state)
{
    struct fixture *f = *state;
    assert_false(f->intr.level);
    raise_irq(f, 1);
    assert_true(f->intr.level);
    assert_int_equal(i8259_ack(f->pic), 0x09);
    assert_false(f->intr.level);
    assert_int_equal(f->taken_count, 1);
    assert_int_equal(f->last_taken, 1);
    assert_int_equal(master_isr(f), 0x02);
    outb(&f->rig, 0x20, 0x20);
    assert_int_equal(master_isr(f), 0x00);
}

static void pic_slave_gives_its_own_vector_through_input_2(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 12);
    assert_int_equal(i8259_ack(f->pic), 0x74);
    assert_int_equal(master_isr(f), 0x04);
    outb(&f->rig, 0xa0, 0x0b);
    assert_int_equal(inb(&f->rig, 0xa0), 0x10);
    assert_int_equal(f->last_taken, 12);
}

static void pic_edge_mode_needs_a_new_edge_for_a_new_request(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 3);
    assert_int_equal(i8259_ack(f->pic), 0x0b);
    outb(&f->rig, 0x20, 0x20);
    raise_irq(f, 3);
    assert_false(f->intr.level);
    lower_irq(f, 3);
    raise_irq(f, 3);
    assert_true(f->intr.level);
}

static void pic_request_that_falls_before_inta_gives_default_ir7(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 3);
    lower_irq(f, 3);
    assert_false(f->intr.level);
    assert_int_equal(i8259_ack(f->pic), 0x0f);
    assert_int_equal(master_isr(f), 0); /* a spurious interrupt is not in service */
    assert_int_equal(f->taken_count, 0);
}

static void pic_request_masked_before_inta_gives_default_ir7(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 5);
    outb(&f->rig, 0x21, 0x20);
    assert_int_equal(i8259_ack(f->pic), 0x0f);
    outb(&f->rig, 0x21, 0x00);
    assert_true(f->intr.level); /* the latch kept the request */
    assert_int_equal(i8259_ack(f->pic), 0x0d);
}

static void pic_slave_request_masked_before_inta_gives_default_ir7_of_the_master(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 14);
    outb(&f->rig, 0xa1, 0xff);
    assert_int_equal(i8259_ack(f->pic), 0x0f);
    assert_int_equal(master_isr(f), 0);
}

static void pic_higher_priority_interrupts_a_service_and_lower_waits(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 4);
    assert_int_equal(i8259_ack(f->pic), 0x0c);
    raise_irq(f, 6);
    assert_false(f->intr.level);
    raise_irq(f, 1);
    assert_true(f->intr.level);
    assert_int_equal(i8259_ack(f->pic), 0x09);
    assert_int_equal(master_isr(f), 0x12);
    outb(&f->rig, 0x20, 0x20); /* ends the highest: IRQ1 */
    assert_int_equal(master_isr(f), 0x10);
    assert_false(f->intr.level);
    outb(&f->rig, 0x20, 0x20);
    assert_true(f->intr.level);
    assert_int_equal(i8259_ack(f->pic), 0x0e);
}

static void pic_specific_eoi_ends_that_level(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 4);
    i8259_ack(f->pic);
    raise_irq(f, 1);
    i8259_ack(f->pic);
    outb(&f->rig, 0x20, 0x64);
    assert_int_equal(master_isr(f), 0x02);
}

static void pic_rotate_on_nonspecific_eoi_makes_the_served_level_lowest(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 4);
    i8259_ack(f->pic);
    outb(&f->rig, 0x20, 0xa0);
    raise_irq(f, 0);
    raise_irq(f, 5); /* now the highest */
    assert_int_equal(i8259_ack(f->pic), 0x0d);
}

static void pic_set_priority_command_moves_the_lowest(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x20, 0xc0 | 5); /* 5 lowest: 6 is highest */
    raise_irq(f, 0);
    raise_irq(f, 6);
    assert_int_equal(i8259_ack(f->pic), 0x0e);
}

static void pic_rotate_on_specific_eoi_ends_and_moves(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 3);
    i8259_ack(f->pic);
    outb(&f->rig, 0x20, 0xe0 | 3);
    assert_int_equal(master_isr(f), 0);
    raise_irq(f, 0);
    raise_irq(f, 4);
    assert_int_equal(i8259_ack(f->pic), 0x0c);
}

static void pic_aeoi_leaves_nothing_in_service(void **state)
{
    struct fixture *f = *state;
    init_pair(&f->rig, 0x03);
    raise_irq(f, 4);
    assert_int_equal(i8259_ack(f->pic), 0x0c);
    assert_int_equal(master_isr(f), 0);
}

static void pic_rotate_in_aeoi_mode(void **state)
{
    struct fixture *f = *state;
    init_pair(&f->rig, 0x03);
    outb(&f->rig, 0x20, 0x80);
    raise_irq(f, 1);
    raise_irq(f, 3);
    assert_int_equal(i8259_ack(f->pic), 0x09); /* now 1 is lowest */
    lower_irq(f, 1);
    raise_irq(f, 1);
    assert_int_equal(i8259_ack(f->pic), 0x0b);
    outb(&f->rig, 0x20, 0x00); /* rotation off: order stays where it is */
    assert_int_equal(i8259_ack(f->pic), 0x09);
}

static void pic_special_mask_mode_lets_lower_levels_through(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 3);
    i8259_ack(f->pic);
    raise_irq(f, 6);
    assert_false(f->intr.level);
    outb(&f->rig, 0x21, 0x08);
    assert_false(f->intr.level);
    outb(&f->rig, 0x20, 0x68); /* ESMM, SMM */
    assert_true(f->intr.level);
    assert_int_equal(i8259_ack(f->pic), 0x0e);
    outb(&f->rig, 0x20, 0x20); /* non-specific EOI does not touch the masked level 3 */
    assert_int_equal(master_isr(f), 0x08);
    outb(&f->rig, 0x20, 0x20);
    assert_int_equal(master_isr(f), 0x08);
    outb(&f->rig, 0x20, 0x63);
    assert_int_equal(master_isr(f), 0x00);
}

static void pic_special_mask_mode_is_left_only_with_esmm(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x20, 0x68);
    outb(&f->rig, 0x20, 0x0a); /* ESMM clear: SMM does not care */
    assert_true(i8259_view(f->pic, 0).special_mask);
    outb(&f->rig, 0x20, 0x48);
    assert_false(i8259_view(f->pic, 0).special_mask);
}

static void pic_special_fully_nested_mode_lets_the_slave_interrupt_itself(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 12);
    assert_int_equal(i8259_ack(f->pic), 0x74);
    raise_irq(f, 8);
    assert_false(f->intr.level); /* fully nested: input 2 is in service */

    init_pair(&f->rig, 0x11);
    lower_irq(f, 12);
    lower_irq(f, 8);
    raise_irq(f, 12);
    assert_int_equal(i8259_ack(f->pic), 0x74);
    raise_irq(f, 3);
    assert_false(f->intr.level);
    raise_irq(f, 8);
    assert_true(f->intr.level);
    assert_int_equal(i8259_ack(f->pic), 0x70);
}

static void pic_poll_acknowledges_and_tells_the_level(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x20, 0x0c);
    assert_int_equal(inb(&f->rig, 0x20), 0x00);
    raise_irq(f, 6);
    outb(&f->rig, 0x20, 0x0c);
    assert_int_equal(inb(&f->rig, 0x20), 0x86);
    assert_int_equal(master_isr(f), 0x40);
    assert_false(f->intr.level);
}

static void pic_poll_of_the_slave_takes_its_request_from_the_master(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 10);
    outb(&f->rig, 0xa0, 0x0c);
    assert_int_equal(inb(&f->rig, 0xa0), 0x82);
    assert_false(f->intr.level);
    assert_int_equal(f->last_taken, 10);
}

static void pic_level_mode_requests_again_until_the_line_falls(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x4d1, 0x08); /* IRQ11 */
    raise_irq(f, 11);
    assert_int_equal(i8259_ack(f->pic), 0x73);
    assert_false(f->intr.level);
    outb(&f->rig, 0xa0, 0x20);
    outb(&f->rig, 0x20, 0x20);
    assert_true(f->intr.level);
    lower_irq(f, 11);
    assert_false(f->intr.level);
}

static void pic_elcr_keeps_the_fixed_edge_inputs(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x4d0, 0xff);
    outb(&f->rig, 0x4d1, 0xff);
    assert_int_equal(inb(&f->rig, 0x4d0), 0xf8);
    assert_int_equal(inb(&f->rig, 0x4d1), 0xde);
}

static void pic_icw1_forgets_edges_masks_and_service(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 4);
    i8259_ack(f->pic);
    raise_irq(f, 5);
    outb(&f->rig, 0x21, 0xff);
    init_pair(&f->rig, 0x01);
    assert_int_equal(inb(&f->rig, 0x21), 0);
    assert_int_equal(master_isr(f), 0);
    assert_int_equal(master_irr(f), 0);
    assert_false(f->intr.level);
    lower_irq(f, 5);
    raise_irq(f, 5);
    assert_true(f->intr.level);
}

static void pic_is_silent_while_it_is_initialised(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x20, 0x11);
    raise_irq(f, 1);
    outb(&f->rig, 0x21, 0x40);
    outb(&f->rig, 0x21, 0x04);
    assert_false(f->intr.level);
    outb(&f->rig, 0x21, 0x01);
    assert_true(f->intr.level);
    assert_int_equal(i8259_ack(f->pic), 0x41);
}

static void pic_icw1_without_ic4_and_single_needs_only_icw2(void **state)
{
    struct fixture *f = *state;
    init_pair(&f->rig, 0x03);
    outb(&f->rig, 0x20, 0x12);
    outb(&f->rig, 0x21, 0x57); /* low three bits are the input's */
    outb(&f->rig, 0x21, 0xfe); /* a mask already */
    assert_int_equal(inb(&f->rig, 0x21), 0xfe);
    raise_irq(f, 0);
    assert_int_equal(i8259_ack(f->pic), 0x50);
    assert_int_equal(master_isr(f), 0x01); /* AEOI went with ICW4 */
}

static void pic_reads_irr_or_isr_as_last_selected(void **state)
{
    struct fixture *f = *state;
    outb(&f->rig, 0x21, 0xff);
    raise_irq(f, 1);
    raise_irq(f, 14);
    assert_int_equal(master_irr(f), 0x06);
    assert_int_equal(inb(&f->rig, 0x20), 0x06); /* stays selected */
    assert_int_equal(master_isr(f), 0x00);
}

static void pic_two_slave_requests_are_served_one_after_the_other(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 14);
    raise_irq(f, 12);
    assert_int_equal(i8259_ack(f->pic), 0x74);
    outb(&f->rig, 0xa0, 0x20);
    outb(&f->rig, 0x20, 0x20);
    assert_true(f->intr.level);
    assert_int_equal(i8259_ack(f->pic), 0x76);
}

static void pic_two_slave_requests_in_aeoi_mode_make_two_edges(void **state)
{
    struct fixture *f = *state;
    init_pair(&f->rig, 0x03);
    raise_irq(f, 14);
    raise_irq(f, 12);
    assert_int_equal(i8259_ack(f->pic), 0x74);
    assert_true(f->intr.level);
    assert_int_equal(i8259_ack(f->pic), 0x76);
    assert_false(f->intr.level);
}

static void pic_cascade_input_cannot_be_driven(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 2);
    assert_false(f->intr.level);
    assert_null(i8259_input(f->pic, 16).set);
}

static void pic_reset_keeps_input_levels_but_asks_nothing(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 4);
    device_reset(i8259_device(f->pic));
    assert_false(f->intr.level);
    assert_int_equal(i8259_view(f->pic, 0).lines, 0x10);
    check_state_table(i8259_device(f->pic));
}

static void pic_two_pairs_do_not_know_each_other(void **state)
{
    struct fixture *f = *state, *g;
    void *other;
    setup(&other);
    g = other;
    raise_irq(f, 1);
    assert_true(f->intr.level);
    assert_false(g->intr.level);
    rig_teardown(&other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(pic_gives_base_plus_input),
        T(pic_slave_gives_its_own_vector_through_input_2),
        T(pic_edge_mode_needs_a_new_edge_for_a_new_request),
        T(pic_request_that_falls_before_inta_gives_default_ir7),
        T(pic_request_masked_before_inta_gives_default_ir7),
        T(pic_slave_request_masked_before_inta_gives_default_ir7_of_the_master),
        T(pic_higher_priority_interrupts_a_service_and_lower_waits),
        T(pic_specific_eoi_ends_that_level),
        T(pic_rotate_on_nonspecific_eoi_makes_the_served_level_lowest),
        T(pic_set_priority_command_moves_the_lowest),
        T(pic_rotate_on_specific_eoi_ends_and_moves),
        T(pic_aeoi_leaves_nothing_in_service),
        T(pic_rotate_in_aeoi_mode),
        T(pic_special_mask_mode_lets_lower_levels_through),
        T(pic_special_mask_mode_is_left_only_with_esmm),
        T(pic_special_fully_nested_mode_lets_the_slave_interrupt_itself),
        T(pic_poll_acknowledges_and_tells_the_level),
        T(pic_poll_of_the_slave_takes_its_request_from_the_master),
        T(pic_level_mode_requests_again_until_the_line_falls),
        T(pic_elcr_keeps_the_fixed_edge_inputs),
        T(pic_icw1_forgets_edges_masks_and_service),
        T(pic_is_silent_while_it_is_initialised),
        T(pic_icw1_without_ic4_and_single_needs_only_icw2),
        T(pic_reads_irr_or_isr_as_last_selected),
        T(pic_two_slave_requests_are_served_one_after_the_other),
        T(pic_two_slave_requests_in_aeoi_mode_make_two_edges),
        T(pic_cascade_input_cannot_be_driven),
        T(pic_reset_keeps_input_levels_but_asks_nothing),
        T(pic_two_pairs_do_not_know_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
