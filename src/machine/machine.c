/* SPDX-License-Identifier: MIT
 *
 * Making and unmaking a machine, and the doors to its parts.
 */
#include "machine/machine.h"

#include <errno.h>
#include <stdlib.h>

#include "machine/internal.h"
#include "ui/console.h"

static bool open_log(struct machine *m, char *error, size_t n)
{
    const struct machine_config *c = m->config;
    FILE *out = stderr;
    if (c->trace_file) {
        m->trace_file = out = fopen(c->trace_file, "we");
        if (!out) {
            snprintf(error, n, "cannot write trace '%s': %s", c->trace_file, strerror(errno));
            return false;
        }
    }
    m->log = log_create(out);
    const char *bad = m->log && c->trace ? log_enable(m->log, c->trace) : NULL;
    if (bad) {
        snprintf(error, n,
                 "unknown trace '%s': use in_asm, out_asm, int, mmu, exec, cpu_reset, "
                 "guest_errors or dev:NAME",
                 bad);
        return false;
    }
    return m->log != NULL;
}

struct machine *machine_create(const struct machine_config *config, char *error, size_t n)
{
    struct machine *m = calloc(1, sizeof *m);
    snprintf(error, n, "out of memory");
    if (!m)
        return NULL;
    m->config = config;
    m->engine = engine_get(config->accel);
    pthread_mutex_init(&m->run_lock, NULL);
    pthread_cond_init(&m->run_cond, NULL);
    bool ok = open_log(m, error, n);
    if (ok) {
        m->clock = clock_create();
        m->loop = m->clock ? loop_create(m->clock) : NULL;
        ok = m->loop != NULL;
    }
    if (ok) {
        loop_lock(m->loop);
        ok = pc_build(m, error, n);
        loop_unlock(m->loop);
    }
    if (!ok) {
        machine_destroy(m);
        return NULL;
    }
    return m;
}

static void destroy_devices(struct machine *m)
{
    while (m->device_count) {
        struct device *d = &m->devices[--m->device_count];
        if (d->ops->destroy)
            d->ops->destroy(d->dev);
    }
}

void machine_destroy(struct machine *m)
{
    if (!m)
        return;
    if (m->loop) {
        loop_lock(m->loop);
        for (unsigned i = 0; i < MAX_PLACES; i++)
            block_close(m->drives[i]);
        injector_finish(m->injector);
        console_destroy(m->console);
        destroy_devices(m);
        for (unsigned i = 0; i < MAX_NICS; i++)
            netdev_destroy(m->netdevs[i]);
        mux_destroy(m->mux);
        for (unsigned i = 0; i < MAX_SERIALS; i++)
            chardev_close(m->serial_chr[i]);
        chardev_close(m->debugcon_chr);
        chardev_close(m->terminal_monitor);
        chardev_close(m->terminal);
        loop_unlock(m->loop);
    }
    for (unsigned i = 0; i < m->cpu_count; i++) {
        if (m->engine)
            m->engine->detach(m->cpus[i].v);
        vcpu_destroy(m->cpus[i].v);
    }
    if (m->apics)
        apic_bus_destroy(m->apics);
    io_bus_destroy(m->ports);
    physmem_destroy(m->pm);
    loop_destroy(m->loop);
    clock_destroy(m->clock);
    log_destroy(m->log);
    if (m->trace_file)
        fclose(m->trace_file);
    pthread_mutex_destroy(&m->run_lock);
    pthread_cond_destroy(&m->run_cond);
    free(m);
}

struct loop *machine_loop(struct machine *m)
{
    return m->loop;
}

struct vcpu *machine_cpu(struct machine *m, unsigned index)
{
    return index < m->cpu_count ? m->cpus[index].v : NULL;
}

struct physmem *machine_physmem(struct machine *m)
{
    return m->pm;
}

struct io_bus *machine_ports(struct machine *m)
{
    return m->ports;
}

struct console *machine_console(struct machine *m)
{
    return m->console;
}

struct i8259 *machine_pic(struct machine *m)
{
    return m->pic;
}

struct pci_bus *machine_pci(struct machine *m)
{
    return m->pci;
}

const struct machine_config *machine_config(const struct machine *m)
{
    return m->config;
}

const struct device *machine_devices(const struct machine *m, unsigned *count)
{
    *count = m->device_count;
    return m->devices;
}

struct block *machine_drive(struct machine *m, unsigned index)
{
    return index < MAX_PLACES ? m->drives[index] : NULL;
}

struct chardev *machine_terminal_monitor(struct machine *m)
{
    return m->terminal_monitor;
}
