/* SPDX-License-Identifier: MIT
 *
 * Inside \_SB: devices that are at the same place on every board, and what the interrupt links have
 * in common.
 */

Device (HPET)
{
    Name (_HID, EisaId ("PNP0103"))
    Name (_UID, 0x00)
    Method (_STA, 0, NotSerialized)
    {
        If (\HPEN)
        {
            Return (0x0F)
        }
        Return (0x00)
    }
    Name (_CRS, ResourceTemplate ()
    {
        Memory32Fixed (ReadOnly, 0xFED00000, 0x00000400)
    })
}

/* The firmware configuration device, for the driver that looks for it */
Device (FWCF)
{
    Name (_HID, "QEMU0002")
    Name (_STA, 0x0B)
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x0510, 0x0510, 0x01, 0x0C)
    })
}

/* Interrupt links: bit 7 of a routing register disables it, bits 3..0 are the ISA
 * interrupt, which is the I/O APIC pin of the same number. */
Name (PRSL, ResourceTemplate ()
{
    Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 }
})

Method (LSTA, 1, NotSerialized)
{
    If (And (Arg0, 0x80))
    {
        Return (0x09)
    }
    Return (0x0B)
}

Name (CRSL, ResourceTemplate ()
{
    Interrupt (ResourceConsumer, Level, ActiveHigh, Shared, ,, INTR) { 0 }
})

Method (LCRS, 1, Serialized)
{
    CreateDWordField (CRSL, ^INTR._INT, IRQN)
    Store (0x00, IRQN)
    If (LLess (Arg0, 0x80))
    {
        Store (Arg0, IRQN)
    }
    Return (CRSL)
}

/* A link whose routing register is `reg` of the bridge */
#define LINK(name, uid, reg)                                                                       \
    Device (name)                                                                                  \
    {                                                                                              \
        Name (_HID, EisaId ("PNP0C0F"))                                                            \
        Name (_UID, uid)                                                                           \
        Method (_PRS, 0, NotSerialized) { Return (PRSL) }                                          \
        Method (_STA, 0, NotSerialized) { Return (LSTA (^^PCI0.ISA.reg)) }                         \
        Method (_DIS, 0, NotSerialized) { Or (^^PCI0.ISA.reg, 0x80, ^^PCI0.ISA.reg) }              \
        Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.reg)) }                         \
        Method (_SRS, 1, NotSerialized)                                                            \
        {                                                                                          \
            CreateDWordField (Arg0, 0x05, IRQN)                                                    \
            Store (IRQN, ^^PCI0.ISA.reg)                                                           \
        }                                                                                          \
    }

LINK (LNKA, 0x01, PRQA)
LINK (LNKB, 0x02, PRQB)
LINK (LNKC, 0x03, PRQC)
LINK (LNKD, 0x04, PRQD)
