/* SPDX-License-Identifier: MIT
 *
 * A conventional PCI bus (PCI Local Bus 2.3) reached by configuration mechanism 1.
 *
 * A PCI function embeds a `struct pci_device` and describes it once, in its constructor: identity,
 * base address registers, capabilities, writable bits. From then on this layer keeps the 256 bytes
 * of configuration space, maps and unmaps the BARs as the guest moves them or turns decoding on
 * and off, and drives the interrupt pin. The function hears of configuration writes by a callback
 * only for the registers that mean something to it.
 *
 * All of it is used with the board lock held.
 */
#ifndef ANELLO_DEVICES_PCI_H
#define ANELLO_DEVICES_PCI_H

#include "bus/device.h"
#include "bus/irq.h"
#include "bus/physmem.h"
#include "bus/ports.h"

#define PCI_CONFIG_BYTES 256
#define PCI_BAR_COUNT    6
#define PCI_ROM_SLOT     PCI_BAR_COUNT /* the expansion ROM, counted as a seventh BAR */
#define PCI_PIRQ_COUNT   8             /* lines to the router; a PIIX3 has the first four */

#define PCI_MSIX_VECTORS     4 /* most that a function here has */
#define PCI_MSIX_ENTRY_BYTES 16

/* A BAR's priority in the physical map: RAM and firmware ROM (priority 0 and up) hide it, because
 * the host bridge claims those addresses before they reach the bus. */
#define PCI_MAP_PRIORITY (-1)

/* The type 0 configuration header, by the specification's names. */
enum pci_register {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION_ID = 0x08,
    PCI_CLASS_PROG = 0x09,
    PCI_CLASS_DEVICE = 0x0a,
    PCI_CACHE_LINE_SIZE = 0x0c,
    PCI_LATENCY_TIMER = 0x0d,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BASE_ADDRESS_0 = 0x10,
    PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_ROM_ADDRESS = 0x30,
    PCI_CAPABILITY_LIST = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
};

enum pci_command_bits {
    PCI_COMMAND_IO = 1 << 0,
    PCI_COMMAND_MEMORY = 1 << 1,
    PCI_COMMAND_MASTER = 1 << 2,
    PCI_COMMAND_PARITY = 1 << 6,
    PCI_COMMAND_SERR = 1 << 8,
    PCI_COMMAND_INTX_DISABLE = 1 << 10,
};

enum pci_status_bits {
    PCI_STATUS_INTERRUPT = 1 << 3,
    PCI_STATUS_CAP_LIST = 1 << 4,
    PCI_STATUS_FAST_BACK = 1 << 7,
    PCI_STATUS_DEVSEL_MEDIUM = 1 << 9,
};

#define PCI_HEADER_MULTIFUNCTION 0x80

enum pci_capability { PCI_CAP_MSI = 0x05, PCI_CAP_VENDOR = 0x09, PCI_CAP_MSIX = 0x11 };

struct pci_bus;
struct pci_device;

#define PCI_DEVFN(slot, function) ((u8)((slot) << 3 | (function)))

/* What the bus needs of the board. */
struct pci_bus_config {
    struct io_bus *ports;
    struct physmem *physmem;
    struct log *log;
};

struct pci_bus *pci_bus_create(const struct pci_bus_config *config);
void pci_bus_destroy(struct pci_bus *bus); /* after its functions */

/* Ports CF8h-CFFh with their state (the address latch), for the machine's list of devices. */
struct device pci_bus_device(struct pci_bus *bus);

/* Who hears of the interrupt lines of the bus; called when the level of one changes. */
void pci_bus_set_router(struct pci_bus *bus, void (*set)(void *opaque, unsigned pirq, bool level),
                        void *opaque);
/* Which line the pin (0 is INTA#) of the function at devfn is wired to. Without this, as on boards
 * with a PIIX3: turned by one from slot to slot, over four lines, slot 1 from the first one on. */
void pci_bus_set_wiring(struct pci_bus *bus, unsigned (*pirq)(void *opaque, u8 devfn, unsigned pin),
                        void *opaque);
/* After the wiring changed: moves the pins that are asserted. */
void pci_bus_rewire(struct pci_bus *bus);
/* Where message signalled interrupts go (the local APICs). */
void pci_bus_set_msi(struct pci_bus *bus, void (*deliver)(void *opaque, u64 address, u32 data),
                     void *opaque);

/* Configuration access as a CPU makes it; what is not there reads as ones. size 1, 2 or 4. */
u32 pci_config_read(struct pci_bus *bus, u8 bus_number, u8 devfn, u8 reg, unsigned size);
void pci_config_write(struct pci_bus *bus, u8 bus_number, u8 devfn, u8 reg, u32 value,
                      unsigned size);
/* The function at devfn, or NULL. For the monitor and for tests. */
struct pci_device *pci_bus_function(struct pci_bus *bus, u8 devfn);

/* ---- a function ---- */

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MMIO, PCI_BAR_RAM, PCI_BAR_ROM };

enum pci_bar_flags { PCI_BAR_PREFETCH = 1 << 0, PCI_BAR_64 = 1 << 1 };

struct pci_bar {
    enum pci_bar_kind kind;
    unsigned flags;
    u64 size; /* a power of two */
    const struct port_ops *port_ops;
    const struct mmio_ops *mmio_ops;
    void *opaque;
    u64 offset; /* RAM, ROM: in the memfd */
    const char *name;
    /* Where it is mapped now; at most one of the handles is set. */
    u64 address;
    struct io_claim *claim;
    struct phys_region *region;
};

/* Identity and behaviour of a function, constant. */
struct pci_info {
    const char *name;
    u16 vendor, device;
    u8 revision;
    u32 class_code;     /* 24 bits: class, subclass, programming interface */
    u8 interrupt_pin;   /* 0 none, 1 INTA# ... 4 INTD# */
    bool multifunction; /* the slot has more functions than 0 */
    /* Called after a write to reg..reg+size-1 took effect; may be NULL. */
    void (*config_written)(void *opaque, u8 reg, unsigned size);
    /* Called before the guest reads reg..reg+size-1, to put there what changes by itself; may be
     * NULL. */
    void (*config_reading)(void *opaque, u8 reg, unsigned size);
};

struct pci_device {
    u8 config[PCI_CONFIG_BYTES];
    u8 writable[PCI_CONFIG_BYTES];   /* bits that a write changes */
    u8 clear_on_1[PCI_CONFIG_BYTES]; /* bits that writing 1 clears */
    const struct pci_info *info;
    void *opaque; /* the function itself, for info->config_written */
    struct pci_bus *bus;
    u8 devfn;
    u8 next_capability; /* where the next capability is laid out */
    u8 msi, msix;       /* their capabilities' offsets, 0 without */
    u8 msix_vectors;
    u32 msix_pending; /* a bit for each vector whose message waits */
    u8 msix_table[PCI_MSIX_VECTORS * PCI_MSIX_ENTRY_BYTES];
    bool intx;      /* what the function drives on its pin */
    bool intx_seen; /* what of it reaches the bus (interrupt disable bit) */
    u8 pirq;        /* the line that it drives while it does */
    struct pci_bar bars[PCI_BAR_COUNT + 1];
};

/* Rows of the state table of a device struct that embeds the function as `f`. Its `loaded`
 * callback calls pci_device_loaded(). */
#define PCI_STATE_ROWS(s, f)                                                                       \
    STATE_ROW(STATE_BYTES, s, f.config, PCI_CONFIG_BYTES, 1), STATE_ROW(STATE_BOOL, s, f.intx, 1, 1)
/* And of a function with MSI-X. */
#define PCI_MSIX_STATE_ROWS(s, f)                                                                  \
    STATE_ROW(STATE_U32, s, f.msix_pending, 1, 1),                                                 \
        STATE_ROW(STATE_BYTES, s, f.msix_table, PCI_MSIX_VECTORS *PCI_MSIX_ENTRY_BYTES, 1)

/* Fills the header and puts the function on the bus. False when devfn is taken. */
bool pci_device_init(struct pci_device *d, struct pci_bus *bus, u8 devfn,
                     const struct pci_info *info, void *opaque);
/* Unmaps everything and takes the function off the bus. */
void pci_device_fini(struct pci_device *d);
/* Reset of the standard header: decoding off, BARs zero, interrupt and MSI off. The function
 * resets its own registers afterwards, in `config` directly. */
void pci_device_reset(struct pci_device *d);
/* After `config` was restored: maps the BARs and drives the pin accordingly. */
void pci_device_loaded(struct pci_device *d);

/* Base address registers. `size` is a power of two: I/O 4..256, memory at least 4 KiB (smaller
 * windows are rounded up by the caller, as the specification recommends). */
void pci_bar_io(struct pci_device *d, unsigned n, u32 size, const struct port_ops *ops,
                void *opaque);
void pci_bar_mmio(struct pci_device *d, unsigned n, u64 size, unsigned flags,
                  const struct mmio_ops *ops, void *opaque);
/* A BAR that is memory of the memfd (a frame buffer). */
void pci_bar_ram(struct pci_device *d, unsigned n, u64 size, unsigned flags, u64 offset,
                 const char *name);
/* The expansion ROM: `size` bytes of the memfd at `offset`. */
void pci_bar_rom(struct pci_device *d, u32 size, u64 offset, const char *name);
/* The same with a copy of these bytes. True also when there are none; false when they are too many
 * or memory is short. */
bool pci_rom_load(struct pci_device *d, const void *rom, u32 bytes, const char *name);
/* Where BAR n decodes now; UINT64_MAX while it does not. */
u64 pci_bar_address(const struct pci_device *d, unsigned n);
/* The mapping after config registers that gate it changed. */
void pci_device_remap(struct pci_device *d);

/* Lays out a capability of `size` bytes (at least 2); returns its offset. Writable bits are the
 * caller's to set. */
u8 pci_add_capability(struct pci_device *d, u8 id, u8 size);
/* MSI with 64-bit addresses and 2^log2_vectors messages (0..5). */
void pci_add_msi(struct pci_device *d, unsigned log2_vectors);
bool pci_msi_enabled(const struct pci_device *d);
/* Sends message `vector` (masked down to what the guest granted). False when MSI is off or the
 * function is no bus master. */
bool pci_msi_send(struct pci_device *d, unsigned vector);

/* MSI-X with so many vectors, table and pending bits in memory BAR `bar`. */
void pci_add_msix(struct pci_device *d, unsigned vectors, unsigned bar);
bool pci_msix_enabled(const struct pci_device *d);
/* Sends the message of a vector, now or when it is no longer masked. Nothing while MSI-X is off. */
void pci_msix_send(struct pci_device *d, unsigned vector);

/* The level of the function's interrupt pin. */
void pci_set_intx(struct pci_device *d, bool level);

static inline u16 pci_command(const struct pci_device *d)
{
    return load16(d->config + PCI_COMMAND);
}

/* DMA: memory only, and nothing at all (reads give ones) while the function is not a bus master.
 * True when all bytes were transferred. */
bool pci_dma_read(struct pci_device *d, u64 pa, void *to, u64 size);
bool pci_dma_write(struct pci_device *d, u64 pa, const void *from, u64 size);
/* The host's address of memory to read or write, of which *run bytes (at most `size`) follow; NULL
 * where there is none. Mapped once more when it has been written, it is known to have changed. */
u8 *pci_dma_map(struct pci_device *d, u64 pa, u64 size, u64 *run, bool for_write);

#endif
