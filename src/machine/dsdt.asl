/* SPDX-License-Identifier: MIT
 *
 * What the operating system cannot find out by itself about the i440FX board: its PCI root with
 * the interrupt links of the PIIX3, the ISA devices, and how to power off.
 *
 * Facts of a particular machine come from the SSDT that acpi.c writes: \PCIM (where PCI memory
 * begins), \HPEN (is there an HPET), \SERN (number of serial ports), and the processors.
 */
DefinitionBlock ("", "DSDT", 1, "ANELLO", "ANELLOPC", 0x00000001)
{
    External (\PCIM, IntObj)
    External (\HPEN, IntObj)
    External (\SERN, IntObj)

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

                /* Ports of the board that belong to no device of their own */
                Device (MBRD)
                {
                    Name (_HID, EisaId ("PNP0C02"))
                    Name (_UID, 0x01)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0092, 0x0092, 0x01, 0x01)
                        IO (Decode16, 0x00B2, 0x00B2, 0x01, 0x02)
                        IO (Decode16, 0x04D0, 0x04D0, 0x01, 0x02)
                        IO (Decode16, 0x0600, 0x0600, 0x01, 0x40)
                    })
                }

                Device (PIC)
                {
                    Name (_HID, EisaId ("PNP0000"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0020, 0x0020, 0x01, 0x02)
                        IO (Decode16, 0x00A0, 0x00A0, 0x01, 0x02)
                        IRQNoFlags () { 2 }
                    })
                }

                Device (TIMR)
                {
                    Name (_HID, EisaId ("PNP0100"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0040, 0x0040, 0x01, 0x04)
                        IRQNoFlags () { 0 }
                    })
                }

                Device (DMAC)
                {
                    Name (_HID, EisaId ("PNP0200"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0000, 0x0000, 0x01, 0x10)
                        IO (Decode16, 0x0080, 0x0080, 0x01, 0x10)
                        IO (Decode16, 0x00C0, 0x00C0, 0x01, 0x20)
                        DMA (Compatibility, NotBusMaster, Transfer8_16) { 4 }
                    })
                }

                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
                        IRQNoFlags () { 8 }
                    })
                }

                Device (SPKR)
                {
                    Name (_HID, EisaId ("PNP0800"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0061, 0x0061, 0x01, 0x01)
                    })
                }

                Device (FPU)
                {
                    Name (_HID, EisaId ("PNP0C04"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x00F0, 0x00F0, 0x01, 0x01)
                        IRQNoFlags () { 13 }
                    })
                }

                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0060, 0x0060, 0x01, 0x01)
                        IO (Decode16, 0x0064, 0x0064, 0x01, 0x01)
                        IRQNoFlags () { 1 }
                    })
                }

                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IRQNoFlags () { 12 }
                    })
                }

                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 0x01)
                    Method (_STA, 0, NotSerialized)
                    {
                        If (LGreater (\SERN, 0x00))
                        {
                            Return (0x0F)
                        }
                        Return (0x00)
                    }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
                        IRQNoFlags () { 4 }
                    })
                }

                Device (COM2)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 0x02)
                    Method (_STA, 0, NotSerialized)
                    {
                        If (LGreater (\SERN, 0x01))
                        {
                            Return (0x0F)
                        }
                        Return (0x00)
                    }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x02F8, 0x02F8, 0x01, 0x08)
                        IRQNoFlags () { 3 }
                    })
                }
            }
        }

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

        Device (LNKA)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x01)
            Method (_PRS, 0, NotSerialized) { Return (PRSL) }
            Method (_STA, 0, NotSerialized) { Return (LSTA (^^PCI0.ISA.PRQA)) }
            Method (_DIS, 0, NotSerialized) { Or (^^PCI0.ISA.PRQA, 0x80, ^^PCI0.ISA.PRQA) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PRQA)) }
            Method (_SRS, 1, NotSerialized)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                Store (IRQN, ^^PCI0.ISA.PRQA)
            }
        }

        Device (LNKB)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x02)
            Method (_PRS, 0, NotSerialized) { Return (PRSL) }
            Method (_STA, 0, NotSerialized) { Return (LSTA (^^PCI0.ISA.PRQB)) }
            Method (_DIS, 0, NotSerialized) { Or (^^PCI0.ISA.PRQB, 0x80, ^^PCI0.ISA.PRQB) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PRQB)) }
            Method (_SRS, 1, NotSerialized)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                Store (IRQN, ^^PCI0.ISA.PRQB)
            }
        }

        Device (LNKC)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x03)
            Method (_PRS, 0, NotSerialized) { Return (PRSL) }
            Method (_STA, 0, NotSerialized) { Return (LSTA (^^PCI0.ISA.PRQC)) }
            Method (_DIS, 0, NotSerialized) { Or (^^PCI0.ISA.PRQC, 0x80, ^^PCI0.ISA.PRQC) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PRQC)) }
            Method (_SRS, 1, NotSerialized)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                Store (IRQN, ^^PCI0.ISA.PRQC)
            }
        }

        Device (LNKD)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x04)
            Method (_PRS, 0, NotSerialized) { Return (PRSL) }
            Method (_STA, 0, NotSerialized) { Return (LSTA (^^PCI0.ISA.PRQD)) }
            Method (_DIS, 0, NotSerialized) { Or (^^PCI0.ISA.PRQD, 0x80, ^^PCI0.ISA.PRQD) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PRQD)) }
            Method (_SRS, 1, NotSerialized)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                Store (IRQN, ^^PCI0.ISA.PRQD)
            }
        }

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
