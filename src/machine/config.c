/* SPDX-License-Identifier: MIT */
#include "machine/config.h"

#include <stdlib.h>

#define DEFAULT_RAM     MIB(512)
#define DEBUGCON_PORT   0xe9  /* as Bochs has it, and QEMU's default */
#define DEBUG_EXIT_PORT 0x501 /* QEMU's default for isa-debug-exit */

void config_init(struct machine_config *c)
{
    *c = (struct machine_config){
        .ram_bytes = DEFAULT_RAM,
        .cpus = 1,
        .accel = ACCEL_BT,
        .debugcon_port = DEBUGCON_PORT,
        .debug_exit_iobase = DEBUG_EXIT_PORT,
        .debug_exit_iosize = 2,
    };
}

void config_set(char **field, const char *value)
{
    free(*field);
    *field = value ? strdup(value) : NULL;
}

void config_free_drive(struct drive_config *d)
{
    free(d->path);
    free(d->format);
    free(d->cache);
    free(d->id);
    *d = (struct drive_config){0};
}

void config_free(struct machine_config *c)
{
    char *strings[] = {c->cpu,   c->board,      c->kernel,  c->initrd,   c->append, c->boot_order,
                       c->bios,  c->debugcon,   c->monitor, c->rtc_base, c->name,   c->pidfile,
                       c->trace, c->trace_file, c->stats,   c->ahci_id};
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        free(strings[i]);
    for (unsigned i = 0; i < MAX_PLACES; i++)
        config_free_drive(&c->drives[i]);
    for (unsigned i = 0; i < MAX_CARD_DRIVES; i++)
        free(c->disks[i].drive);
    for (unsigned i = 0; i < MAX_NICS; i++) {
        free(c->netdevs[i].id);
        slirp_config_free(&c->netdevs[i].user);
        free(c->nics[i].netdev);
        free(c->nics[i].rom);
    }
    for (unsigned i = 0; i < MAX_SERIALS; i++)
        free(c->serial[i]);
    for (unsigned i = 0; i < MAX_INJECTIONS; i++) {
        free(c->screenshots[i].text);
        free(c->types[i].text);
    }
    memset(c, 0, sizeof *c);
}
