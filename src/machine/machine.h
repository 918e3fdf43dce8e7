/* SPDX-License-Identifier: MIT
 *
 * A whole machine: the only place that knows everybody. Made from a config, run, controlled by
 * monitor and UI, destroyed. Several may live in one process.
 */
#ifndef ANELLO_MACHINE_MACHINE_H
#define ANELLO_MACHINE_MACHINE_H

#include "base/log.h"
#include "base/loop.h"
#include "machine/config.h"

struct machine;
struct vcpu;
struct console;
struct physmem;
struct io_bus;
struct i8259;
struct pci_bus;
struct device;
struct block;
struct chardev;

/* Builds the board. On failure returns NULL with one line for the user in error[n]. The config must
 * outlive the machine. */
struct machine *machine_create(const struct machine_config *config, char *error, size_t n);
/* Runs it to its end and returns the process's exit status. Uses the calling thread for the UI. */
int machine_run(struct machine *m);
void machine_destroy(struct machine *m);

/* ---- Control: from the I/O thread with the board lock held ---- */
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);
bool machine_is_paused(const struct machine *m);
/* Asks for a reset; it happens when all CPUs stand still. By the guest (then -no-reboot applies)
 * or by the user. */
void machine_reset(struct machine *m, bool by_guest);
/* The power button. */
void machine_powerdown(struct machine *m);
/* Ends machine_run() with this status. @any thread */
void machine_quit(struct machine *m, int status);

/* Stops the CPUs at a precise boundary so that their state can be looked at; the board lock is
 * dropped while waiting. Calls nest. */
void machine_hold(struct machine *m);
void machine_release(struct machine *m);

/* ---- Parts, for the monitor ---- */
struct loop *machine_loop(struct machine *m);
struct vcpu *machine_cpu(struct machine *m, unsigned index); /* NULL beyond the last */
struct physmem *machine_physmem(struct machine *m);
struct io_bus *machine_ports(struct machine *m);
struct console *machine_console(struct machine *m);
struct i8259 *machine_pic(struct machine *m);
struct pci_bus *machine_pci(struct machine *m);
const struct machine_config *machine_config(const struct machine *m);
/* Every device of the board, in the order of creation; *count gets their number. */
const struct device *machine_devices(const struct machine *m, unsigned *count);
/* The image in a place (enum drive_place), or NULL. */
struct block *machine_drive(struct machine *m, unsigned index);

/* The name of a place's drive: its id, or such as "ide1-cd0", "virtio0", "floppy0". */
void machine_drive_name(const struct machine *m, unsigned place, char *name, size_t n);
/* Puts a medium into a drive by its name, NULL: takes it out. A guest may hold the tray of a CD
 * drive closed, unless it is done by `force`. On failure returns false with a line in error[n]. */
bool machine_change_medium(struct machine *m, const char *name, const char *path, bool force,
                           char *error, size_t n);

/* The monitor's end of -nographic's terminal, or NULL. */
struct chardev *machine_terminal_monitor(struct machine *m);

/* Creates what is attached to the machine from above (a monitor) when machine_run() starts. */
void machine_on_start(struct machine *m, void (*start)(void *opaque), void *opaque);

#endif
