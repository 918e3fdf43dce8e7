/* SPDX-License-Identifier: MIT
 *
 * `anello capabilities`: what this build can do on this host, as JSON.
 */
#include <stdio.h>
#include <string.h>

#include "cli/run.h"
#include "machine/board.h"
#include "machine/engine.h"

#define MAX_MACHINES 8

static void print_list(const char *key, const char *const *items, size_t count, const char *end)
{
    printf("  \"%s\": [", key);
    for (size_t i = 0; i < count; i++)
        printf("%s\"%s\"", i ? ", " : "", items[i]);
    printf("]%s\n", end);
}

int capabilities_command(int argc, char **argv)
{
    static const enum accel accels[] = {ACCEL_BT, ACCEL_INTERP, ACCEL_KVM, ACCEL_CHECK};
    static const char *const cpus[] = {"pentium", "pentium3", "core2", "host", "max", "286"};
    static const char *const devices[] = {"ahci",           "ide-hd",         "ide-cd",
                                          "e1000",          "virtio-blk-pci", "virtio-net-pci",
                                          "isa-debug-exit", "pc-testdev"};
    static const char *const formats[] = {"raw", "qcow2", "vmdk", "vdi"};
    static const char *const displays[] = {"sdl", "none"};
    const char *machines[MAX_MACHINES];
    unsigned machine_count = 0;
    if (argc > 1) {
        fprintf(stderr, "anello: usage: %s\n", argv[0]);
        return strcmp(argv[1], "--help") ? 1 : 0;
    }
    while (machine_count < MAX_MACHINES && board_name(machine_count)) {
        machines[machine_count] = board_name(machine_count);
        machine_count++;
    }
    puts("{\n  \"engines\": [");
    for (size_t i = 0; i < ARRAY_LEN(accels); i++) {
        const char *reason = engine_unavailable(accels[i]);
        printf("    {\"name\": \"%s\", \"available\": %s, \"reason\": ", engine_name(accels[i]),
               reason ? "false" : "true");
        printf(reason ? "\"%s\"}" : "null}", reason);
        puts(i + 1 < ARRAY_LEN(accels) ? "," : "");
    }
    puts("  ],");
    print_list("cpus", cpus, ARRAY_LEN(cpus), ",");
    print_list("machines", machines, machine_count, ",");
    print_list("devices", devices, ARRAY_LEN(devices), ",");
    print_list("formats", formats, ARRAY_LEN(formats), ",");
    print_list("displays", displays, ARRAY_LEN(displays), "");
    puts("}");
    return 0;
}
