/* SPDX-License-Identifier: MIT
 *
 * One open monitor, and what its commands use. Only for this folder.
 */
#ifndef ANELLO_MONITOR_SESSION_H
#define ANELLO_MONITOR_SESSION_H

#include "base/chardev.h"
#include "cpu/vcpu.h"
#include "machine/machine.h"

#define HMP_LINE 4096
#define HMP_ARGS 16

struct session {
    struct machine *m;
    struct chardev *chr;
    bool owned;    /* chr is ours to close */
    bool terminal; /* echo, line editing, CR LF */
    char line[HMP_LINE];
    size_t used;
    bool overflow;
    unsigned buttons; /* of the mouse, as set by mouse_button */
};

/* A command: args[0] is its name. */
typedef void (*command_fn)(struct session *s, int argc, char **args);

void session_print(struct session *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A number, $register, or sums and differences of them. False after telling the user. */
bool session_number(struct session *s, const char *text, u64 *value);

/* memory.c */
void command_x(struct session *s, int argc, char **args);
void command_xp(struct session *s, int argc, char **args);
void command_memsave(struct session *s, int argc, char **args);
void command_pmemsave(struct session *s, int argc, char **args);

/* info.c */
void command_info(struct session *s, int argc, char **args);
/* A register by name without $: "eax", "rip", "cr3", "cs" (selector)... */
bool register_by_name(struct vcpu *v, const char *name, u64 *value);

#endif
