/* SPDX-License-Identifier: MIT
 *
 * MSI-X (PCI Local Bus 3.0, 6.8.2): a table of messages in memory of the function, in a BAR of its
 * own, and bits that remember what was masked.
 *
 *   000h  the table, 16 bytes a vector: address, address high, data, control
 *   800h  the pending bits
 *
 * A message waits while its vector or the whole function is masked, and while the function is no
 * bus master; it is sent once when that ends. The table takes whole words, as the specification
 * asks of software; narrower writes have no effect.
 */
#include <assert.h>

#include "devices/pci_internal.h"

#define TABLE_AT   0x000u
#define PENDING_AT 0x800u
#define BAR_BYTES  PAGE_BYTES

enum entry_word { ENTRY_ADDRESS = 0, ENTRY_DATA = 8, ENTRY_CONTROL = 12, ENTRY_BYTES = 16 };
#define ENTRY_MASKED 1u

static_assert(ENTRY_BYTES == PCI_MSIX_ENTRY_BYTES, "the state holds whole entries");

/* Offsets in the capability. */
enum { MSIX_CONTROL = 2, MSIX_TABLE = 4, MSIX_PENDING = 8, MSIX_BYTES = 12 };
#define MSIX_FUNCTION_MASK (1u << 14)
#define MSIX_ENABLE        (1u << 15)

static u16 control(const struct pci_device *d)
{
    return load16(d->config + d->msix + MSIX_CONTROL);
}

static u8 *entry(struct pci_device *d, unsigned vector)
{
    return d->msix_table + vector * ENTRY_BYTES;
}

bool pci_msix_enabled(const struct pci_device *d)
{
    return d->msix && (control(d) & MSIX_ENABLE);
}

/* Sends the messages that wait and no longer have to. */
static void send_pending(struct pci_device *d)
{
    bool may = pci_msix_enabled(d) && !(control(d) & MSIX_FUNCTION_MASK) &&
               (pci_command(d) & PCI_COMMAND_MASTER);
    for (unsigned i = 0; may && i < d->msix_vectors; i++) {
        const u8 *e = entry(d, i);
        if (!(d->msix_pending & 1u << i) || (load32(e + ENTRY_CONTROL) & ENTRY_MASKED))
            continue;
        d->msix_pending &= ~(1u << i);
        if (d->bus->msi)
            d->bus->msi(d->bus->msi_opaque, load64(e + ENTRY_ADDRESS), load32(e + ENTRY_DATA));
    }
}

void pci_msix_send(struct pci_device *d, unsigned vector)
{
    if (!pci_msix_enabled(d) || vector >= d->msix_vectors)
        return;
    d->msix_pending |= 1u << vector;
    send_pending(d);
}

void pci_msix_update(struct pci_device *d)
{
    if (d->msix)
        send_pending(d);
}

/* ---- the BAR ---- */

static u64 msix_read(void *opaque, u64 offset, unsigned size)
{
    struct pci_device *d = opaque;
    u8 word[4] = {0};
    u32 at = (u32)offset & ~3u;
    if (at < TABLE_AT + d->msix_vectors * ENTRY_BYTES)
        memcpy(word, d->msix_table + at, sizeof word);
    else if (at == PENDING_AT)
        store32(word, d->msix_pending);
    return load_sized(word + (offset & 3), size);
}

static void msix_write(void *opaque, u64 offset, u64 value, unsigned size)
{
    struct pci_device *d = opaque;
    u32 at = (u32)offset;
    if (size != 4 || at >= TABLE_AT + d->msix_vectors * ENTRY_BYTES)
        return;
    if (at % ENTRY_BYTES == ENTRY_CONTROL)
        value &= ENTRY_MASKED; /* the other bits are reserved */
    else if (at % ENTRY_BYTES == ENTRY_ADDRESS)
        value &= ~UINT64_C(3);
    store32(d->msix_table + at, (u32)value);
    send_pending(d);
}

static const struct mmio_ops msix_ops = {.name = "msi-x", .read = msix_read, .write = msix_write};

/* ---- life ---- */

void pci_msix_reset(struct pci_device *d)
{
    if (!d->msix)
        return;
    store16(d->config + d->msix + MSIX_CONTROL, (u16)(d->msix_vectors - 1u));
    memset(d->msix_table, 0, sizeof d->msix_table);
    for (unsigned i = 0; i < d->msix_vectors; i++)
        store32(entry(d, i) + ENTRY_CONTROL, ENTRY_MASKED);
    d->msix_pending = 0;
}

void pci_add_msix(struct pci_device *d, unsigned vectors, unsigned bar)
{
    assert(vectors >= 1 && vectors <= PCI_MSIX_VECTORS);
    d->msix = pci_add_capability(d, PCI_CAP_MSIX, MSIX_BYTES);
    d->msix_vectors = (u8)vectors;
    store32(d->config + d->msix + MSIX_TABLE, TABLE_AT | bar);
    store32(d->config + d->msix + MSIX_PENDING, PENDING_AT | bar);
    store16(d->writable + d->msix + MSIX_CONTROL, MSIX_FUNCTION_MASK | MSIX_ENABLE);
    pci_bar_mmio(d, bar, BAR_BYTES, 0, &msix_ops, d);
    pci_msix_reset(d);
}
