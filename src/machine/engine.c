/* SPDX-License-Identifier: MIT */
#include "machine/engine.h"

#include "bt/bt.h"
#include "cpu/interp.h"

static bool nothing_to_attach(struct vcpu *v)
{
    (void)v;
    return true;
}

static void nothing_to_detach(struct vcpu *v)
{
    (void)v;
}

static const struct engine interp_engine = {
    .name = "interp",
    .attach = nothing_to_attach,
    .detach = nothing_to_detach,
    .run = interp_run,
};

static const struct engine bt_engine = {
    .name = "bt",
    .attach = bt_attach,
    .detach = bt_detach,
    .run = bt_run,
};

static const struct engine check_engine = {
    .name = "check",
    .attach = check_attach,
    .detach = check_detach,
    .run = bt_run,
};

static const struct {
    const char *name;
    const struct engine *engine;
    const char *unavailable;
} engines[] = {
    [ACCEL_BT] = {"bt", &bt_engine, NULL},
    [ACCEL_INTERP] = {"interp", &interp_engine, NULL},
    [ACCEL_KVM] = {"kvm", NULL, "the KVM engine is not part of this version: use interp"},
    [ACCEL_CHECK] = {"check", &check_engine, NULL},
};

bool engine_parse(const char *name, enum accel *accel)
{
    if (!strcmp(name, "tcg"))
        name = "bt";
    for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
        if (!strcmp(name, engines[i].name)) {
            *accel = (enum accel)i;
            return true;
        }
    }
    return false;
}

const char *engine_name(enum accel accel)
{
    return engines[accel].name;
}

const char *engine_unavailable(enum accel accel)
{
    return accel == ACCEL_BT || accel == ACCEL_CHECK ? bt_unavailable()
                                                     : engines[accel].unavailable;
}

enum accel engine_default(void)
{
    return bt_unavailable() ? ACCEL_INTERP : ACCEL_BT;
}

const struct engine *engine_get(enum accel accel)
{
    return engines[accel].engine;
}
