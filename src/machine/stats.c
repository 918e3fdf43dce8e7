/* SPDX-License-Identifier: MIT
 *
 * --stats: the counters of a run as JSON. Those of the translator are 0 under other engines.
 */
#include <errno.h>

#include "bt/bt.h"
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
    u64 instructions = 0, irqs = 0, mmio = 0, halts = 0, looked = 0;
    struct bt_stats bt = {0};
    struct window_stats window = {0};
    for (unsigned i = 0; i < m->cpu_count; i++) {
        instructions += m->cpus[i].v->instructions;
        irqs += m->cpus[i].v->irqs_delivered;
        mmio += m->cpus[i].v->mmio_accesses;
        halts += m->cpus[i].halts;
        looked += m->cpus[i].looked;
        if (m->cpus[i].v->engine) {
            bt = *bt_stats(m->cpus[i].v); /* there is one CPU */
            window = *bt_window_stats(m->cpus[i].v);
        }
    }
    const struct counter counters[] = {
        {"host_seconds", host_seconds() - m->host_started},
        {"vcpu_seconds", m->vcpu_seconds},
        {"boots", (double)m->boots},
        {"interp.instructions", (double)instructions},
        {"irq.delivered", (double)irqs},
        {"halt.waits", (double)halts},
        {"halt.looked", (double)looked},
        {"disk.reads", (double)disk.reads},
        {"disk.writes", (double)disk.writes},
        {"disk.flushes", (double)disk.flushes},
        {"net.rx", (double)net.rx},
        {"net.tx", (double)net.tx},
        {"bt.blocks", (double)bt.translations},
        {"bt.blocks_safe", (double)(bt.translations - bt.sensitive)},
        {"bt.blocks_sensitive", (double)bt.sensitive},
        {"bt.traces", (double)bt.traces},
        {"bt.code_bytes", (double)bt.code_bytes},
        {"bt.guest_bytes", (double)bt.guest_bytes},
        {"bt.flushes", (double)bt.flushes},
        {"bt.guest_instructions_translated", (double)bt.insns},
        {"bt.links", (double)bt.links},
        {"bt.entries", (double)bt.entries},
        {"bt.exits.io", (double)bt.io},
        {"bt.exits.mmio", (double)mmio},
        {"bt.exits.sensitive", (double)bt.callouts},
        {"bt.exits.exception", (double)bt.faults},
        {"bt.exits.interrupt", (double)bt.knocks},
        {"bt.exits.indirect_miss", (double)bt.misses},
        {"bt.exits.slow_access", (double)bt.slow},
        {"bt.exits.smc", (double)bt.killed},
        {"bt.adapted_sites", (double)bt.adapted},
        {"bt.self_checking", (double)bt.self_checking},
        {"bt.verified", (double)bt.verified},
        {"window.fills", (double)window.fills},
        {"window.pages", (double)window.pages},
        {"window.validations", (double)window.validations},
        {"window.evictions", (double)window.evictions},
        {"window.promotions", (double)window.promotions},
        {"window.demotions", (double)window.demotions},
        {"signals", (double)(bt.traps + bt.knocks)},
    };
    fprintf(f, "{\n  \"accel\": \"%s\"", m->engine->name);
    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        fprintf(f, ",\n  \"%s\": %.15g", counters[i].name, counters[i].value);
    fputs("\n}\n", f);
    if (fclose(f)) {
        snprintf(error, n, "cannot write '%s': %s", path, strerror(errno));
        return false;
    }
    return true;
}
