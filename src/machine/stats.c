/* SPDX-License-Identifier: MIT
 *
 * --stats: the counters of a run as JSON. Engine counters that do not apply to the engine that ran
 * are 0.
 */
#include <errno.h>

#include "machine/internal.h"

struct counter {
    const char *name;
    double value;
};

static void disk_counters(struct machine *m, struct block_counters *sum)
{
    *sum = (struct block_counters){0};
    for (unsigned i = 0; i < MAX_PLACES; i++) {
        if (!m->drives[i])
            continue;
        struct block_counters c = block_counters(m->drives[i]);
        sum->reads += c.reads;
        sum->writes += c.writes;
        sum->flushes += c.flushes;
    }
}

static struct netdev_counters network_counters(struct machine *m)
{
    struct netdev_counters sum = {0};
    for (unsigned i = 0; i < MAX_NICS; i++) {
        if (!m->netdevs[i])
            continue;
        struct netdev_counters c = netdev_counters(m->netdevs[i]);
        sum.rx += c.rx;
        sum.tx += c.tx;
    }
    return sum;
}

bool stats_write(struct machine *m, const char *path, char *error, size_t n)
{
    FILE *f = fopen(path, "we");
    if (!f) {
        snprintf(error, n, "cannot write '%s': %s", path, strerror(errno));
        return false;
    }
    struct block_counters disk;
    struct netdev_counters net = network_counters(m);
    disk_counters(m, &disk);
    u64 instructions = 0, irqs = 0;
    for (unsigned i = 0; i < m->cpu_count; i++) {
        instructions += m->cpus[i].v->instructions;
        irqs += m->cpus[i].v->irqs_delivered;
    }
    const struct counter counters[] = {
        {"host_seconds", host_seconds() - m->host_started},
        {"vcpu_seconds", m->vcpu_seconds},
        {"boots", (double)m->boots},
        {"interp.instructions", (double)instructions},
        {"irq.delivered", (double)irqs},
        {"disk.reads", (double)disk.reads},
        {"disk.writes", (double)disk.writes},
        {"disk.flushes", (double)disk.flushes},
        {"net.rx", (double)net.rx},
        {"net.tx", (double)net.tx},
    };
    static const char *const engine_counters[] = {"bt.blocks",
                                                  "bt.blocks_safe",
                                                  "bt.blocks_sensitive",
                                                  "bt.traces",
                                                  "bt.code_bytes",
                                                  "bt.flushes",
                                                  "bt.guest_instructions_translated",
                                                  "bt.exits.io",
                                                  "bt.exits.mmio",
                                                  "bt.exits.sensitive",
                                                  "bt.exits.exception",
                                                  "bt.exits.interrupt",
                                                  "bt.exits.indirect_miss",
                                                  "bt.exits.smc",
                                                  "bt.adapted_sites",
                                                  "window.fills",
                                                  "window.pages",
                                                  "window.validations",
                                                  "window.evictions",
                                                  "signals"};
    fprintf(f, "{\n  \"accel\": \"%s\"", m->engine->name);
    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        fprintf(f, ",\n  \"%s\": %.15g", counters[i].name, counters[i].value);
    for (size_t i = 0; i < ARRAY_LEN(engine_counters); i++)
        fprintf(f, ",\n  \"%s\": 0", engine_counters[i]);
    fputs("\n}\n", f);
    if (fclose(f)) {
        snprintf(error, n, "cannot write '%s': %s", path, strerror(errno));
        return false;
    }
    return true;
}
