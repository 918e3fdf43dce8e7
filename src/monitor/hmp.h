/* SPDX-License-Identifier: MIT
 *
 * The human monitor: a line-oriented command language on a character device, with QEMU's prompt and
 * command names so that existing drivers work.
 */
#ifndef ANELLO_MONITOR_HMP_H
#define ANELLO_MONITOR_HMP_H

#include "machine/machine.h"

struct hmp;

/* Connects a monitor to what the machine's config asks for (-monitor, and the terminal of
 * -nographic); an object without effect when it asks for none. NULL and one line in error[n] when
 * the device cannot be opened. Before machine_run(), board lock not held. */
struct hmp *hmp_attach(struct machine *m, char *error, size_t n);
/* After machine_run(). */
void hmp_detach(struct hmp *hmp);

#endif
