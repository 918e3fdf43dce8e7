/* SPDX-License-Identifier: MIT
 *
 * What a machine is to be: plain data, filled from the command line and configuration files
 * (cli/options.c) and read by machine/pc.c. Strings are owned by the config.
 */
#ifndef ANELLO_MACHINE_CONFIG_H
#define ANELLO_MACHINE_CONFIG_H

#include "base/bits.h"
#include "net/slirp.h"

enum accel { ACCEL_BT, ACCEL_INTERP, ACCEL_KVM, ACCEL_CHECK };

#define MAX_DRIVES      4 /* IDE */
#define MAX_SATA_PORTS  6
#define MAX_CARD_DRIVES 8 /* virtio, AHCI */
#define MAX_FLOPPIES    2
#define MAX_SERIALS     4
#define MAX_INJECTIONS  32
#define MAX_NICS        4

/* Where drives are: hda to hdd, those of cards, the floppies. */
enum drive_place {
    PLACE_IDE = 0,
    PLACE_CARD = PLACE_IDE + MAX_DRIVES,
    PLACE_FLOPPY = PLACE_CARD + MAX_CARD_DRIVES,
    MAX_PLACES = PLACE_FLOPPY + MAX_FLOPPIES
};

struct drive_config {
    char *path;   /* NULL: no medium (CD) or no drive */
    char *format; /* NULL: probe */
    char *cache;  /* writeback, writethrough, none, unsafe; NULL: writeback */
    char *id;     /* NULL: none */
    bool present, is_cd, is_floppy, read_only, snapshot;
    bool needs_device; /* if=none: there only if a -device names it */
};

/* -device for a drive that was given with if=none. */
enum disk_model { DISK_VIRTIO, DISK_SATA };

#define ANY_PORT (-1)

struct disk_config {
    enum disk_model model;
    char *drive; /* its id */
    bool is_cd;
    int port; /* of the AHCI controller, or ANY_PORT: the first free one */
};

struct netdev_config {
    char *id;
    struct slirp_config user;
};

enum nic_model { NIC_E1000, NIC_VIRTIO };

struct nic_config {
    enum nic_model model;
    char *netdev; /* id; NULL: no cable */
    u8 mac[6];
    char *rom; /* file; "" none, NULL the model's own */
};

enum display_kind { DISPLAY_SDL, DISPLAY_NONE };

/* --screenshot and --type: what to do, and when (host seconds; < 0: at exit, or at once). */
struct injection {
    char *text; /* file name or keys */
    double at;
};

struct machine_config {
    u64 ram_bytes;
    unsigned cpus;
    enum accel accel;
    bool accel_given;
    bool verify;   /* what the translator makes */
    bool eager;    /* the translator makes all at once */
    bool perf_map; /* of it, for Linux perf */
    char *cpu;     /* NULL: default model */
    char *board;   /* NULL: pc */
    char *kernel, *initrd, *append;
    struct drive_config drives[MAX_PLACES];
    struct disk_config disks[MAX_CARD_DRIVES];
    unsigned disk_count;
    bool ahci; /* a controller is there */
    char *ahci_id;
    struct netdev_config netdevs[MAX_NICS];
    unsigned netdev_count;
    struct nic_config nics[MAX_NICS];
    unsigned nic_count;
    bool snapshot;    /* every drive */
    char *boot_order; /* letters of QEMU's -boot order=, NULL: default */
    bool boot_menu;
    char *bios; /* NULL: SeaBIOS from the system */
    char *serial[MAX_SERIALS];
    unsigned serials;
    char *debugcon;
    u16 debugcon_port;
    char *monitor;
    enum display_kind display;
    bool display_given;
    bool nographic;
    bool no_reboot, no_shutdown, start_paused;
    char *rtc_base;
    char *name, *pidfile;
    char *trace, *trace_file;
    double timeout; /* host seconds, 0: none */
    struct injection screenshots[MAX_INJECTIONS], types[MAX_INJECTIONS];
    unsigned screenshot_count, type_count;
    char *stats;
    bool debug_exit, testdev;
    unsigned debug_exit_iobase, debug_exit_iosize;
};

/* Defaults: pc board, 512 MiB, one CPU. */
void config_init(struct machine_config *c);
void config_free(struct machine_config *c);
void config_free_drive(struct drive_config *d);
/* Replaces a string of the config. */
void config_set(char **field, const char *value);

#endif
