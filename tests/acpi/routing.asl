/* SPDX-License-Identifier: MIT
 *
 * Sixteen rows of the root's interrupt routing: all 128 are more than acpiexec prints.
 */
DefinitionBlock ("", "SSDT", 1, "ANELLO", "ROUTING", 0x00000001)
{
    External (\_SB.PCI0._PRT, MethodObj)

    /* The same of the q35 board, for one of the two interrupt controllers */
    External (\_PIC, MethodObj)
    Method (\ROWQ, 2, Serialized)
    {
        \_PIC (Arg0)
        Return (\ROWS (Arg1))
    }

    Method (\ROWS, 1, Serialized)
    {
        Store (\_SB.PCI0._PRT (), Local0)
        Store (Package (16) {}, Local1)
        Store (0x00, Local2)
        While (LLess (Local2, 16))
        {
            Store (DerefOf (Index (Local0, Add (Arg0, Local2))), Index (Local1, Local2))
            Increment (Local2)
        }
        Return (Local1)
    }
}
