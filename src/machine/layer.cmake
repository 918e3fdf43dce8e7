# The boot ROM is assembled, the ACPI description compiled; both become the insides of C arrays.
find_program(NASM nasm REQUIRED)
set(bootrom_bin ${CMAKE_BINARY_DIR}/generated/machine/bootrom.bin)
set(bootrom_inc ${CMAKE_BINARY_DIR}/generated/machine/bootrom.inc)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/generated/machine)
add_custom_command(
  OUTPUT ${bootrom_inc}
  COMMAND ${NASM} -f bin ${CMAKE_SOURCE_DIR}/src/machine/bootrom.asm -o ${bootrom_bin}
  COMMAND ${CMAKE_COMMAND} -DIN=${bootrom_bin} -DOUT=${bootrom_inc}
          -P ${CMAKE_SOURCE_DIR}/cmake/bin2inc.cmake
  DEPENDS ${CMAKE_SOURCE_DIR}/src/machine/bootrom.asm ${CMAKE_SOURCE_DIR}/cmake/bin2inc.cmake
  VERBATIM)
target_sources(anello_machine PRIVATE ${bootrom_inc})
target_include_directories(anello_machine PRIVATE ${CMAKE_BINARY_DIR}/generated)
include(${CMAKE_SOURCE_DIR}/src/machine/dsdt.cmake)
