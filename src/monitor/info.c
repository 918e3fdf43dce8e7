/* SPDX-License-Identifier: MIT
 *
 * info ...: views of the machine.
 */
#include <stdio.h>

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

static void print_flags(struct session *s, u64 flags)
{
    static const struct {
        u64 bit;
        char letter;
    } letters[] = {{FLAG_DF, 'D'}, {FLAG_OF, 'O'}, {FLAG_SF, 'S'}, {FLAG_ZF, 'Z'},
                   {FLAG_AF, 'A'}, {FLAG_PF, 'P'}, {FLAG_CF, 'C'}};
    char text[sizeof letters / sizeof letters[0] + 1] = "";
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        text[i] = flags & letters[i].bit ? letters[i].letter : '-';
    session_print(s, "[%s]", text);
}

static void print_general(struct session *s, struct vcpu *v)
{
    static const u8 order[] = {REG_AX, REG_BX, REG_CX, REG_DX, REG_SI, REG_DI, REG_BP, REG_SP,
                               8,      9,      10,     11,     12,     13,     14,     15};
    bool wide = vcpu_long_mode(v);
    unsigned count = wide ? 16 : 8;
    for (unsigned i = 0; i < count; i++) {
        unsigned r = order[i];
        char name[4];
        snprintf(name, sizeof name, "%s", wide ? gpr64[r] : gpr32[r]);
        for (char *p = name; *p; p++)
            *p = (char)(*p >= 'a' ? *p - 'a' + 'A' : *p);
        session_print(s, "%-3s=%0*llx%s", name, wide ? 16 : 8, (unsigned long long)v->gpr[r],
                      i % 4 == 3 ? "\n" : " ");
    }
    session_print(s, "%s=%0*llx %s=%08llx ", wide ? "RIP" : "EIP", wide ? 16 : 8,
                  (unsigned long long)v->rip, wide ? "RFL" : "EFL",
                  (unsigned long long)flags_get(v));
    print_flags(s, flags_get(v));
    session_print(s, " CPL=%u A20=%d HLT=%d\n", v->cpl, v->a20_mask == ~(u64)0, v->halted);
}

static void print_segment(struct session *s, const char *name, const struct segment *seg)
{
    session_print(s, "%-3s=%04x %08llx %08x %04x%s\n", name, seg->sel,
                  (unsigned long long)seg->base, seg->limit, seg->attr,
                  seg->unusable ? " unusable" : "");
}

static void info_registers(struct session *s)
{
    machine_hold(s->m);
    struct vcpu *v = machine_cpu(s->m, 0);
    print_general(s, v);
    static const char *const names[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    for (unsigned i = 0; i < SEG_COUNT; i++)
        print_segment(s, names[i], &v->seg[i]);
    print_segment(s, "LDT", &v->ldtr);
    print_segment(s, "TR", &v->tr);
    session_print(s, "GDT=     %08llx %08x\nIDT=     %08llx %08x\n",
                  (unsigned long long)v->gdtr.base, v->gdtr.limit, (unsigned long long)v->idtr.base,
                  v->idtr.limit);
    session_print(s, "CR0=%08llx CR2=%08llx CR3=%08llx CR4=%08llx\n", (unsigned long long)v->cr0,
                  (unsigned long long)v->cr2, (unsigned long long)v->cr3,
                  (unsigned long long)v->cr4);
    for (unsigned i = 0; i < 8; i++) {
        if (i != 4 && i != 5)
            session_print(s, "DR%u=%08llx ", i, (unsigned long long)v->dr[i]);
    }
    session_print(s, "\nEFER=%016llx\n", (unsigned long long)v->efer);
    machine_release(s->m);
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
    static const char *const places[] = {"ide0-hd0", "ide0-hd1", "ide1-hd0", "ide1-hd1"};
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        const struct block *b = machine_drive(s->m, i);
        if (!b)
            continue;
        struct block_counters c = block_counters(b);
        session_print(s, "%s: %s (%s)%s reads %llu writes %llu flushes %llu\n", places[i],
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
    session_print(s, "info what? registers, status, pic, pci, mtree, block or version\n");
}
