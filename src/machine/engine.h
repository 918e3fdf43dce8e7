/* SPDX-License-Identifier: MIT
 *
 * The one small interface behind -accel: run this vCPU until something needs the board.
 */
#ifndef ANELLO_MACHINE_ENGINE_H
#define ANELLO_MACHINE_ENGINE_H

#include "cpu/vcpu.h"
#include "machine/config.h"

struct engine {
    const char *name;
    /* Prepares the CPU (code caches …). False: out of resources. */
    bool (*attach)(struct vcpu *v);
    void (*detach)(struct vcpu *v);
    enum vcpu_exit (*run)(struct vcpu *v);
};

/* "bt", "interp", "kvm", "check" and the alias "tcg". False: no such name. */
bool engine_parse(const char *name, enum accel *accel);
const char *engine_name(enum accel accel);
/* NULL when the engine can run on this host, else one line with the reason. */
const char *engine_unavailable(enum accel accel);
/* What to use when the user did not say. */
enum accel engine_default(void);
const struct engine *engine_get(enum accel accel);

#endif
