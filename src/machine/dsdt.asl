/* SPDX-License-Identifier: MIT
 *
 * What the operating system cannot find out by itself about the i440FX board: its PCI root with
 * the interrupt links of the PIIX3, the ISA devices, and how to power off.
 *
 * Facts of a particular machine come from the SSDT that acpi.c writes: \PCIM (where PCI memory
 * begins), \HPEN (is there an HPET), \SERN (number of serial ports), \FLPS (is there a floppy
 * controller: 100h and the types of its drives as in CMOS register 10h), and the processors.
 */
DefinitionBlock ("", "DSDT", 1, "ANELLO", "ANELLOPC", 0x00000001)
{
    External (\PCIM, IntObj)
    External (\HPEN, IntObj)
    External (\SERN, IntObj)
    External (\FLPS, IntObj)

    /* SLP_TYP of soft off, in PM1a control and PM1b control */
    Name (\_S5, Package (4) { 0x00, 0x00, 0x00, 0x00 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0x00)

            /* What the root hands out: the first block is its own, the others are produced. */
            Name (WIND, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000, 0x0000, 0x00FF, 0x0000, 0x0100)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0x00000000, 0x000A0000, 0x000BFFFF, 0x00000000, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
                    ReadWrite,
                    0x00000000, 0x80000000, 0xFEBFFFFF, 0x00000000, 0x7EC00000,
                    ,, PMEM)
            })

            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (WIND, ^PMEM._MIN, WMIN)
                CreateDWordField (WIND, ^PMEM._MAX, WMAX)
                CreateDWordField (WIND, ^PMEM._LEN, WLEN)
                Store (\PCIM, WMIN)
                Add (Subtract (WMAX, WMIN), 0x01, WLEN)
                Return (WIND)
            }

            /* Pin p of slot s is wired to link (s + p + 3) mod 4; but the interrupt of the power
             * management function (slot 1, INTA#) is the SCI. */
            Method (_PRT, 0, NotSerialized)
            {
                Store (Package (128) {}, Local0)
                Store (0x00, Local1)
                While (LLess (Local1, 128))
                {
                    Store (ShiftRight (Local1, 2), Local2)
                    Store (And (Add (Add (Local2, And (Local1, 0x03)), 0x03), 0x03), Local3)
                    If (LEqual (Local1, 0x04))
                    {
                        Store (Package (4) { 0x00, 0x00, \_SB.LNKS, 0x00 }, Local4)
                    }
                    ElseIf (LEqual (Local3, 0x00))
                    {
                        Store (Package (4) { 0x00, 0x00, \_SB.LNKA, 0x00 }, Local4)
                    }
                    ElseIf (LEqual (Local3, 0x01))
                    {
                        Store (Package (4) { 0x00, 0x00, \_SB.LNKB, 0x00 }, Local4)
                    }
                    ElseIf (LEqual (Local3, 0x02))
                    {
                        Store (Package (4) { 0x00, 0x00, \_SB.LNKC, 0x00 }, Local4)
                    }
                    Else
                    {
                        Store (Package (4) { 0x00, 0x00, \_SB.LNKD, 0x00 }, Local4)
                    }
                    Store (Or (ShiftLeft (Local2, 16), 0xFFFF), Index (Local4, 0x00))
                    Store (And (Local1, 0x03), Index (Local4, 0x01))
                    Store (Local4, Index (Local0, Local1))
                    Increment (Local1)
                }
                Return (Local0)
            }

            /* PIIX3 function 0 */
            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (PIRQ, PCI_Config, 0x60, 0x04)
                Field (PIRQ, ByteAcc, NoLock, Preserve)
                {
                    PRQA, 8,
                    PRQB, 8,
                    PRQC, 8,
                    PRQD, 8
                }

#include "dsdt_isa.asl"
            }
        }

#include "dsdt_board.asl"

        /* The SCI, hard-wired */
        Device (LNKS)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x05)
            Name (_PRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 9 }
            })
            Method (_STA, 0, NotSerialized) { Return (0x0B) }
            Method (_DIS, 0, NotSerialized) {}
            Method (_CRS, 0, NotSerialized) { Return (_PRS) }
            Method (_SRS, 1, NotSerialized) {}
        }
    }
}
