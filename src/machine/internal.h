/* SPDX-License-Identifier: MIT
 *
 * The machine's insides, shared by the files of this folder alone.
 */
#ifndef ANELLO_MACHINE_INTERNAL_H
#define ANELLO_MACHINE_INTERNAL_H

#include <pthread.h>

#include "base/chardev.h"
#include "base/spin.h"
#include "bus/device.h"
#include "bus/physmem.h"
#include "bus/ports.h"
#include "cpu/vcpu.h"
#include "devices/acpi_pm.h"
#include "devices/ahci.h"
#include "devices/fw_cfg.h"
#include "devices/host_memory.h"
#include "devices/i8042.h"
#include "devices/i82077.h"
#include "devices/i8237.h"
#include "devices/i8254.h"
#include "devices/i8259.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "devices/mc146818.h"
#include "devices/pci.h"
#include "devices/pirq.h"
#include "devices/ps2kbd.h"
#include "devices/ps2mouse.h"
#include "machine/acpi.h"
#include "machine/board.h"
#include "machine/config.h"
#include "machine/engine.h"
#include "machine/firmware.h"
#include "machine/machine.h"
#include "storage/block.h"

#define MAX_DEVICES 48
#define MAX_CPUS    1

/* One virtual CPU, its thread and its local APIC. */
struct cpu_thread {
    struct machine *m;
    struct vcpu *v;
    struct lapic *lapic;
    pthread_t thread;
    bool started;
    u32 wake;    /* futex: counts wake-ups */
    bool asleep; /* on it; atomic */
    struct spin spin;
    u64 halts, looked; /* HLTs; of them those whose end was seen by looking */
};

/* A CD drive, behind whichever controller. */
struct cd_drive {
    void *controller;
    unsigned where;
    bool (*eject)(const struct cd_drive *cd, bool force);
    void (*changed)(const struct cd_drive *cd);
};

struct machine {
    const struct machine_config *config;
    struct log *log;
    FILE *trace_file;
    struct clock *clock;
    struct loop *loop;
    struct physmem *pm;
    struct io_bus *ports;

    struct device devices[MAX_DEVICES];
    unsigned device_count;

    struct i8259 *pic;
    struct i8254 *pit;
    struct hpet *hpet;
    struct i8237 *dma;
    struct ferr *ferr;
    struct mc146818 *rtc;
    struct ps2kbd *kbd;
    struct ps2mouse *mouse;
    struct ioapic *ioapic;
    struct apic_bus *apics;
    struct acpi_pm *pm_block;
    struct fw_cfg *fw_cfg;
    const struct board *board;
    const struct host_memory *memory; /* of the host bridge */
    u64 pci_memory;                   /* where memory of the bus begins below 4 GiB */
    struct pci_bus *pci;
    struct irq_line isa_fanout[PIRQ_ISA_IRQS]; /* from the bridge to the interrupt controllers */
    struct irq_line isa[PIRQ_ISA_IRQS];        /* what devices drive: inputs of the bridge */
    struct ich9_lpc *lpc;                      /* q35 */
    struct ahci *ahci;                         /* NULL: none */
    unsigned sata_used;                        /* its ports that have a drive */
    struct i82077 *floppy;
    struct block *drives[MAX_PLACES];
    struct cd_drive cds[PLACE_FLOPPY]; /* where a place has one */
    struct netdev *netdevs[MAX_NICS];  /* as in the config */
    u8 next_slot;                      /* the first PCI slot that is free for cards */
    struct chardev *serial_chr[MAX_SERIALS], *debugcon_chr;
    struct chardev *terminal, *terminal_monitor; /* -nographic: real stdio, and the monitor's end */
    struct mux *mux;
    struct console *console;

    const struct engine *engine;
    struct cpu_thread cpus[MAX_CPUS];
    unsigned cpu_count;
    double tsc_hz;

    /* Running, stopping and ending (run.c). */
    pthread_mutex_t run_lock; /* a leaf: nothing is locked while it is held */
    pthread_cond_t run_cond;  /* parked changed, or stop_count fell to 0, or ended */
    u32 stop_count;           /* atomic: reasons why CPUs must stand still */
    unsigned parked;
    bool ended; /* atomic */
    int status;
    bool paused; /* by user or -no-shutdown */
    bool reset_pending;
    u64 boots;
    u64 paused_tsc;
    double vcpu_seconds; /* CPU time of the CPU threads, summed as they end */
    pthread_t io_thread;
    void (*start)(void *opaque);
    void *start_opaque;
    double host_started;
    struct injector *injector;
};

/* What one board has and another has not; board_NAME.c. */
struct board {
    const char *name, *chipset;
    u8 vga_slot, first_card_slot;
    bool floppy_always; /* the controller is there without drives too */
    const struct acpi_board *acpi;
    const struct acpi_pm_chip *pm;
    /* Host bridge and ISA bridge, with m->memory, m->pci_memory and m->isa; false when memory is
     * short. */
    bool (*build_bridges)(struct machine *m, struct host_memory_config *memory);
    /* What comes with m->pm_block. */
    void (*build_power)(struct machine *m);
    /* The board's own controllers with the drives of hda to hdd. */
    bool (*build_disks)(struct machine *m, char *error, size_t n);
    /* How hda to hdd are called; `kind` is "hd" or "cd". */
    void (*drive_name)(unsigned drive, const char *kind, char *name, size_t n);
};
extern const struct board board_pc, board_q35;

/* pc.c */
bool pc_build(struct machine *m, char *error, size_t n);
void pc_set_a20(struct machine *m, bool on);
void machine_add_device(struct machine *m, struct device d);

/* pc_disk.c: disks of every kind and their images */
bool pc_build_disks(struct machine *m, char *error, size_t n);
/* For boards: m->ahci at devfn, a drive at one of its ports, the image of a place. */
bool pc_build_ahci(struct machine *m, u8 devfn, char *error, size_t n);
void pc_attach_sata(struct machine *m, unsigned port, unsigned place);
bool pc_open_drive(struct machine *m, unsigned place, char *error, size_t n);

/* pc_net.c: cards and what they are connected to */
bool pc_build_network(struct machine *m, char *error, size_t n);

/* firmware.c: loads SeaBIOS; returns its offset in the memfd and its size. */
bool firmware_load(struct machine *m, u64 *offset, u64 *size, char *error, size_t n);
/* The option ROM of a card in malloc'ed memory: `path`, or this one of iPXE's. NULL with *size 0
 * where there is none; false when `path` cannot be had. */
bool firmware_option_rom(const char *path, const char *ipxe, u8 **rom, size_t *size, char *error,
                         size_t n);
/* The VGA BIOS in malloc'ed memory. */
u8 *firmware_video_bios(size_t *size, char *error, size_t n);

/* Open Firmware path under which SeaBIOS files our boot ROM. */
#define BOOTLOAD_ROM_FILE "genroms/anello-boot.bin"
#define BOOTLOAD_ROM_PATH "/rom@" BOOTLOAD_ROM_FILE
/* bootload.c: -kernel, -initrd, -append. True also when there is nothing to do. */
bool bootload_add(struct machine *m, char *error, size_t n);

/* run.c */
void cpu_wake(struct cpu_thread *c);
double host_seconds(void);

/* inject.c: --timeout, --screenshot, --type */
struct injector *injector_start(struct machine *m);
void injector_finish(struct injector *in);
/* Screenshots that were asked for at exit. */
void injector_at_exit(struct machine *m);

/* stats.c */
bool stats_write(struct machine *m, const char *path, char *error, size_t n);

/* mux.c: -nographic's terminal between serial port and monitor (Ctrl-A) */
struct mux *mux_create(struct loop *loop, struct chardev *terminal, struct chardev **serial,
                       struct chardev **monitor, void (*quit)(void *opaque), void *opaque);
void mux_destroy(struct mux *mux);

#endif
