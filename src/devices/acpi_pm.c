/* SPDX-License-Identifier: MIT
 *
 * ACPI hardware of the 82371AB (PIIX4; order no. 290562, §9.2) and the ICH9 (316972, 13.8.3): the
 * power management block, the APM ports B2h and B3h, and the reset control register CF9h.
 *
 *     +0  PM1 status     +4  PM1 control    +8   PM timer
 *     +2  PM1 enable
 *          PIIX4: +12 general-purpose status, +14 enable, 2 bytes each
 *          ICH9:  +32 general-purpose status, +40 enable, 8 bytes each; +48 SMI_EN
 *
 * There is no system management mode: where a chipset would raise an SMI for a write to B2h, the
 * two values that the FADT announces switch SCI_EN, which is all that firmware would do. SMI_EN
 * says from reset on that firmware has set SMIs up, which keeps firmware from waiting for one.
 *
 * Deviations: power-on-suspend states (SLP_TYP 2 to 5) are ignored; the activity monitors, throttle
 * and SMI registers of the block read 0; the RTC alarm does not reach PM1 (the FADT says so).
 */
#include "devices/acpi_pm.h"

#include <stdlib.h>

enum { BLOCK_PORTS_MAX = 128, APM_PORTS = 2, RESET_PORTS = 1 };

enum block_register {
    PM1_STATUS = 0,
    PM1_ENABLE = 2,
    PM1_CONTROL = 4,
    PM_TIMER = 8,
};

const struct acpi_pm_chip acpi_pm_piix4 = {
    .ports = 64, .gpe_status = 12, .gpe_enable = 14, .gpe_bytes = 2};
const struct acpi_pm_chip acpi_pm_ich9 = {
    .ports = 128, .gpe_status = 0x20, .gpe_enable = 0x28, .gpe_bytes = 8, .smi_enable = 0x30};

#define SMI_EN_GLOBAL   (1u << 0)
#define SMI_EN_EOS      (1u << 1)
#define SMI_EN_APMC     (1u << 5)
#define SMI_EN_AT_RESET (SMI_EN_GLOBAL | SMI_EN_EOS | SMI_EN_APMC)

/* PM1 status and enable. */
enum {
    PM1_TMR = 1 << 0,
    PM1_BM = 1 << 4,
    PM1_GBL = 1 << 5,
    PM1_PWRBTN = 1 << 8,
    PM1_RTC = 1 << 10,
    PM1_WAK = 1 << 15,
    PM1_STATUS_BITS = PM1_TMR | PM1_BM | PM1_GBL | PM1_PWRBTN | PM1_RTC | PM1_WAK,
    PM1_ENABLE_BITS = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC,
};

/* PM1 control. */
enum {
    PM1_SCI_EN = 1 << 0,
    PM1_BRLD_EN_BM = 1 << 1,
    PM1_SLP_TYP_SHIFT = 10,
    PM1_SLP_TYP = 7,
    PM1_SLP_EN = 1 << 13, /* reads 0 */
    PM1_CONTROL_BITS = PM1_SCI_EN | PM1_BRLD_EN_BM | PM1_SLP_TYP << PM1_SLP_TYP_SHIFT,
};

/* CF9h: RCPU resets when it rises, SRST says how far. */
enum { RESET_RCPU = 1 << 2, RESET_SRST = 1 << 1, RESET_BITS = RESET_RCPU | RESET_SRST };

#define TIMER_BITS 24 /* TMR_STS is set when the highest of them changes */
#define TIMER_MASK ((1u << TIMER_BITS) - 1)
#define TIMER_HALF (1u << (TIMER_BITS - 1))

struct acpi_pm {
    u16 pm1_status, pm1_enable, pm1_control;
    u64 gpe0_status, gpe0_enable; /* as many bytes as the chip has */
    u8 apm_control, apm_status;   /* B2h, B3h */
    u8 reset_control;
    u64 timer_halves; /* times the timer's top bit had changed at the last look */
    struct timer overflow;

    const struct acpi_pm_chip *chip;
    u16 base; /* configuration: the PCI function restores it */
    struct irq_line sci;
    struct clock *clock;
    struct acpi_pm_hooks hooks;
    struct io_bus *bus;
    struct io_claim *block_claim, *claims[2];
};

/* ---- PM timer ---- */

static u64 timer_ticks(const struct acpi_pm *pm)
{
    return mul_div((u64)clock_now(pm->clock), ACPI_PM_TIMER_HZ, NS_PER_SEC);
}

static void timer_sync(struct acpi_pm *pm)
{
    u64 halves = timer_ticks(pm) / TIMER_HALF;
    if (halves != pm->timer_halves)
        pm->pm1_status |= PM1_TMR;
    pm->timer_halves = halves;
}

/* The SCI follows status and enable; the host's timer runs only while an overflow would interrupt.
 */
static void acpi_pm_update(struct acpi_pm *pm)
{
    bool pending =
        (pm->pm1_status & pm->pm1_enable & PM1_ENABLE_BITS) || (pm->gpe0_status & pm->gpe0_enable);
    irq_set(&pm->sci, pending && pm->pm1_control & PM1_SCI_EN);
    if (pm->pm1_enable & (u16)~pm->pm1_status & PM1_TMR) {
        u64 tick = (pm->timer_halves + 1) * TIMER_HALF;
        timer_arm(&pm->overflow, (i64)mul_div(tick, NS_PER_SEC, ACPI_PM_TIMER_HZ) + 1);
    } else {
        timer_cancel(&pm->overflow);
    }
}

static void timer_overflows(void *opaque)
{
    struct acpi_pm *pm = opaque;
    timer_sync(pm);
    acpi_pm_update(pm);
}

/* ---- The block ---- */

static u32 block_read(void *opaque, u16 offset, unsigned size)
{
    struct acpi_pm *pm = opaque;
    u8 image[BLOCK_PORTS_MAX] = {0};
    timer_sync(pm);
    store16(image + PM1_STATUS, pm->pm1_status);
    store16(image + PM1_ENABLE, pm->pm1_enable);
    store16(image + PM1_CONTROL, pm->pm1_control);
    store32(image + PM_TIMER, (u32)timer_ticks(pm) & TIMER_MASK);
    store_sized(image + pm->chip->gpe_status, pm->gpe0_status, pm->chip->gpe_bytes);
    store_sized(image + pm->chip->gpe_enable, pm->gpe0_enable, pm->chip->gpe_bytes);
    if (pm->chip->smi_enable)
        store32(image + pm->chip->smi_enable, SMI_EN_AT_RESET);
    return (u32)load_sized(image + offset, size);
}

static void enter_sleep(struct acpi_pm *pm)
{
    switch (pm->pm1_control >> PM1_SLP_TYP_SHIFT & PM1_SLP_TYP) {
    case ACPI_PM_S5_TYPE:
        if (pm->hooks.power_off)
            pm->hooks.power_off(pm->hooks.opaque);
        break;
    case ACPI_PM_S3_TYPE:
        if (pm->hooks.suspend)
            pm->hooks.suspend(pm->hooks.opaque);
        break;
    default: break;
    }
}

/* Replaces the byte at `odd` (0 or 1) of a 16-bit register. */
static u16 with_byte(u16 reg, unsigned odd, u8 v)
{
    unsigned shift = odd * 8;
    return (u16)((reg & ~(0xff << shift)) | v << shift);
}

static void gpe_write_byte(struct acpi_pm *pm, u16 offset, u8 v)
{
    const struct acpi_pm_chip *c = pm->chip;
    if (offset >= c->gpe_status && offset < c->gpe_status + c->gpe_bytes) {
        pm->gpe0_status &= ~((u64)v << 8 * (offset - c->gpe_status));
    } else if (offset >= c->gpe_enable && offset < c->gpe_enable + c->gpe_bytes) {
        unsigned shift = 8u * (offset - c->gpe_enable);
        pm->gpe0_enable = (pm->gpe0_enable & ~(UINT64_C(0xff) << shift)) | (u64)v << shift;
    }
}

static void block_write_byte(struct acpi_pm *pm, u16 offset, u8 v)
{
    unsigned odd = offset & 1;
    u16 ones = with_byte(0, odd, v);
    switch (offset & ~1) {
    case PM1_STATUS: pm->pm1_status &= (u16) ~(ones & PM1_STATUS_BITS); break;
    case PM1_ENABLE: pm->pm1_enable = with_byte(pm->pm1_enable, odd, v) & PM1_ENABLE_BITS; break;
    case PM1_CONTROL:
        pm->pm1_control = with_byte(pm->pm1_control, odd, v) & PM1_CONTROL_BITS;
        if (ones & PM1_SLP_EN)
            enter_sleep(pm);
        break;
    default: gpe_write_byte(pm, offset, v); break;
    }
}

static void block_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct acpi_pm *pm = opaque;
    timer_sync(pm);
    for (unsigned i = 0; i < size; i++)
        block_write_byte(pm, (u16)(offset + i), (u8)(value >> i * 8));
    acpi_pm_update(pm);
}

/* ---- APM and reset ports ---- */

static u32 apm_read(void *opaque, u16 offset, unsigned size)
{
    struct acpi_pm *pm = opaque;
    (void)size;
    return offset ? pm->apm_status : pm->apm_control;
}

static void apm_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct acpi_pm *pm = opaque;
    (void)size;
    if (offset) {
        pm->apm_status = (u8)value;
        return;
    }
    pm->apm_control = (u8)value;
    if (value == ACPI_PM_ENABLE)
        pm->pm1_control |= PM1_SCI_EN;
    else if (value == ACPI_PM_DISABLE)
        pm->pm1_control &= (u16)~PM1_SCI_EN;
    acpi_pm_update(pm);
}

static u32 reset_read(void *opaque, u16 offset, unsigned size)
{
    struct acpi_pm *pm = opaque;
    (void)offset;
    (void)size;
    return pm->reset_control;
}

static void reset_write(void *opaque, u16 offset, u32 value, unsigned size)
{
    struct acpi_pm *pm = opaque;
    (void)offset;
    (void)size;
    bool rises = value & ~pm->reset_control & RESET_RCPU;
    pm->reset_control = value & RESET_BITS;
    if (rises && pm->hooks.reset)
        pm->hooks.reset(pm->hooks.opaque);
}

/* ---- For the machine ---- */

static const struct port_ops block_ops = {
    .name = "acpi_pm", .read = block_read, .write = block_write, .max_size = 4};
static const struct port_ops apm_ops = {.name = "acpi_pm", .read = apm_read, .write = apm_write};
static const struct port_ops reset_ops = {
    .name = "acpi_pm", .read = reset_read, .write = reset_write};

void acpi_pm_map(struct acpi_pm *pm, u16 base)
{
    if (base == pm->base)
        return;
    io_bus_release(pm->bus, pm->block_claim);
    pm->base = base;
    pm->block_claim = base ? io_bus_claim(pm->bus, base, pm->chip->ports, &block_ops, pm) : NULL;
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
    pm->pm1_status |= PM1_PWRBTN;
    acpi_pm_update(pm);
}

bool acpi_pm_enabled(const struct acpi_pm *pm)
{
    return pm->pm1_control & PM1_SCI_EN;
}

static void acpi_pm_reset(void *dev)
{
    struct acpi_pm *pm = dev;
    pm->pm1_status = pm->pm1_enable = pm->pm1_control = 0;
    pm->gpe0_status = pm->gpe0_enable = 0;
    pm->apm_control = pm->apm_status = pm->reset_control = 0;
    timer_sync(pm);
    pm->pm1_status = 0;
    acpi_pm_update(pm);
}

static void acpi_pm_loaded(void *dev)
{
    struct acpi_pm *pm = dev;
    pm->pm1_enable &= PM1_ENABLE_BITS;
    pm->pm1_control &= PM1_CONTROL_BITS;
    timer_sync(pm);
    acpi_pm_update(pm);
}

static void acpi_pm_destroy(void *dev)
{
    struct acpi_pm *pm = dev;
    timer_cancel(&pm->overflow);
    acpi_pm_map(pm, 0);
    for (size_t i = 0; i < ARRAY_LEN(pm->claims); i++)
        io_bus_release(pm->bus, pm->claims[i]);
    free(pm);
}

// clang-format off
static const struct state_field acpi_pm_state[] = {
    STATE_ROW(STATE_U16,   acpi_pm, pm1_status,    1, 1),
    STATE_ROW(STATE_U16,   acpi_pm, pm1_enable,    1, 1),
    STATE_ROW(STATE_U16,   acpi_pm, pm1_control,   1, 1),
    STATE_ROW(STATE_U64,   acpi_pm, gpe0_status,   1, 1),
    STATE_ROW(STATE_U64,   acpi_pm, gpe0_enable,   1, 1),
    STATE_ROW(STATE_U8,    acpi_pm, apm_control,   1, 1),
    STATE_ROW(STATE_U8,    acpi_pm, apm_status,    1, 1),
    STATE_ROW(STATE_U8,    acpi_pm, reset_control, 1, 1),
    STATE_ROW(STATE_U64,   acpi_pm, timer_halves,  1, 1),
    STATE_ROW(STATE_TIMER, acpi_pm, overflow,      1, 1),
    STATE_END,
};
// clang-format on

static const struct device_ops acpi_pm_ops = {
    .name = "acpi_pm",
    .version = 1,
    .state = acpi_pm_state,
    .reset = acpi_pm_reset,
    .loaded = acpi_pm_loaded,
    .destroy = acpi_pm_destroy,
};

struct acpi_pm *acpi_pm_create(struct io_bus *bus, const struct acpi_pm_chip *chip,
                               struct irq_line sci, struct clock *clock,
                               const struct acpi_pm_hooks *hooks)
{
    struct acpi_pm *pm = calloc(1, sizeof *pm);
    if (!pm)
        return NULL;
    pm->bus = bus;
    pm->chip = chip;
    pm->sci = sci;
    pm->clock = clock;
    pm->hooks = *hooks;
    timer_init(&pm->overflow, clock, timer_overflows, pm);
    pm->claims[0] = io_bus_claim(bus, ACPI_PM_SMI_CMD, APM_PORTS, &apm_ops, pm);
    pm->claims[1] = io_bus_claim(bus, ACPI_RESET_PORT, RESET_PORTS, &reset_ops, pm);
    acpi_pm_reset(pm);
    return pm;
}

struct device acpi_pm_device(struct acpi_pm *pm)
{
    return (struct device){.ops = &acpi_pm_ops, .dev = pm};
}
