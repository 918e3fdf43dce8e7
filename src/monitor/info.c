/* SPDX-License-Identifier: MIT
 *
 * info ...: views of the machine.
 */
#include "cpu/dump.h"
#include "cpu/flags.h"
#include "devices/i8259.h"
#include "devices/pci.h"
#include "monitor/session.h"
#include "storage/block.h"

static const char *const gpr32[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
static const char *const gpr64[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const segs[] = {"es", "cs", "ss", "ds", "fs", "gs"};

/* What has a name of its own and is one u64 of struct vcpu. */
static const struct {
    const char *name;
    size_t offset;
} words[] = {
    {"rip", offsetof(struct vcpu, rip)}, {"eip", offsetof(struct vcpu, rip)},
    {"pc", offsetof(struct vcpu, rip)},  {"cr0", offsetof(struct vcpu, cr0)},
    {"cr2", offsetof(struct vcpu, cr2)}, {"cr3", offsetof(struct vcpu, cr3)},
    {"cr4", offsetof(struct vcpu, cr4)}, {"efer", offsetof(struct vcpu, efer)},
};

bool register_by_name(struct vcpu *v, const char *name, u64 *value)
{
    for (unsigned i = 0; i < ARRAY_LEN(gpr64); i++) {
        if (!strcmp(name, gpr64[i]) || (i < 8 && !strcmp(name, gpr32[i]))) {
            *value = name[0] == 'e' ? (u32)v->gpr[i] : v->gpr[i];
            return true;
        }
    }
    for (unsigned i = 0; i < ARRAY_LEN(segs); i++) {
        if (!strcmp(name, segs[i])) {
            *value = v->seg[i].sel;
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!strcmp(name, words[i].name)) {
            *value = load64((const u8 *)v + words[i].offset);
            return true;
        }
    }
    if (!strcmp(name, "eflags") || !strcmp(name, "rflags")) {
        *value = flags_get(v);
        return true;
    }
    return false;
}

static void info_registers(struct session *s)
{
    char text[4096];
    machine_hold(s->m);
    dump_registers(machine_cpu(s->m, 0), text, sizeof text);
    machine_release(s->m);
    session_print(s, "%s", text);
}

/* What was delivered last: how a guest came to where it is. */
static void info_events(struct session *s)
{
    char text[4096];
    machine_hold(s->m);
    dump_recent(machine_cpu(s->m, 0), text, sizeof text);
    machine_release(s->m);
    session_print(s, "%s", text);
}

static void info_status(struct session *s)
{
    session_print(s, "VM status: %s\n", machine_is_paused(s->m) ? "paused" : "running");
}

static void info_pic(struct session *s)
{
    for (unsigned chip = 0; chip < 2; chip++) {
        struct i8259_view v = i8259_view(machine_pic(s->m), chip);
        session_print(s,
                      "pic%u: irr=%02x imr=%02x isr=%02x base=%02x elcr=%02x lines=%02x aeoi=%d "
                      "sm=%d fnm=%d\n",
                      chip, v.irr, v.imr, v.isr, v.base, v.elcr, v.lines, v.aeoi, v.special_mask,
                      v.special_nested);
    }
}

static void print_function(struct session *s, struct pci_device *d, unsigned devfn)
{
    const u8 *c = d->config;
    session_print(s,
                  "  Bus  0, device %3u, function %u:\n    class %04x: PCI device %04x:%04x (%s)\n",
                  devfn >> 3, devfn & 7, load16(c + PCI_CLASS_DEVICE), load16(c + PCI_VENDOR_ID),
                  load16(c + PCI_DEVICE_ID), d->info->name);
    if (c[PCI_INTERRUPT_PIN])
        session_print(s, "      IRQ %u, pin %c\n", c[PCI_INTERRUPT_LINE],
                      'A' + c[PCI_INTERRUPT_PIN] - 1);
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
        const struct pci_bar *b = &d->bars[i];
        if (b->kind == PCI_BAR_NONE)
            continue;
        u64 at = pci_bar_address(d, i);
        if (at == UINT64_MAX)
            session_print(s, "      BAR%u: %s, %llu bytes, not mapped\n", i,
                          b->kind == PCI_BAR_IO ? "I/O" : "memory", (unsigned long long)b->size);
        else
            session_print(s, "      BAR%u: %s at 0x%llx [0x%llx]\n", i,
                          b->kind == PCI_BAR_IO ? "I/O" : "memory", (unsigned long long)at,
                          (unsigned long long)(at + b->size - 1));
    }
}

static void info_pci(struct session *s)
{
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        struct pci_device *d = pci_bus_function(machine_pci(s->m), (u8)devfn);
        if (d)
            print_function(s, d, devfn);
    }
}

static void print_run(void *opaque, u64 pa, u64 size, enum phys_kind kind, const char *name)
{
    static const char *const kinds[] = {"none", "ram", "rom", "i/o"};
    session_print(opaque, "  %016llx-%016llx (%s): %s\n", (unsigned long long)pa,
                  (unsigned long long)(pa + size - 1), kinds[kind], name ? name : "?");
}

static void info_mtree(struct session *s)
{
    session_print(s, "memory\n");
    physmem_each_run(machine_physmem(s->m), print_run, s);
    session_print(s, "I/O ports\n");
    const char *owner = NULL;
    unsigned first = 0;
    for (unsigned port = 0; port <= 0x10000; port++) {
        const char *now = port < 0x10000 ? io_bus_owner(machine_ports(s->m), (u16)port) : NULL;
        if (now == owner)
            continue;
        if (owner)
            session_print(s, "  %04x-%04x: %s\n", first, port - 1, owner);
        owner = now;
        first = port;
    }
}

static void info_block(struct session *s)
{
    for (unsigned i = 0; i < MAX_PLACES; i++) {
        char name[64];
        const struct block *b = machine_drive(s->m, i);
        if (!b)
            continue;
        struct block_counters c = block_counters(b);
        machine_drive_name(s->m, i, name, sizeof name);
        session_print(s, "%s: %s (%s)%s reads %llu writes %llu flushes %llu\n", name,
                      block_path(b) ? block_path(b) : "[not inserted]", block_format(b),
                      block_read_only(b) ? " read-only" : "", (unsigned long long)c.reads,
                      (unsigned long long)c.writes, (unsigned long long)c.flushes);
    }
}

static void info_version(struct session *s)
{
    session_print(s, "%s\n", ANELLO_VERSION);
}

void command_info(struct session *s, int argc, char **args)
{
    static const struct {
        const char *name;
        void (*show)(struct session *s);
    } views[] = {{"registers", info_registers},
                 {"events", info_events},
                 {"status", info_status},
                 {"pic", info_pic},
                 {"pci", info_pci},
                 {"mtree", info_mtree},
                 {"block", info_block},
                 {"version", info_version}};
    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(views); i++) {
        if (!strcmp(args[1], views[i].name)) {
            views[i].show(s);
            return;
        }
    }
    session_print(s, "info what? registers, events, status, pic, pci, mtree, block or version\n");
}
