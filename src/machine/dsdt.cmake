# The ACPI description of the board is compiled and becomes the inside of a C array.
find_program(IASL iasl REQUIRED)
set(dsdt_dir ${CMAKE_BINARY_DIR}/generated/machine)
file(MAKE_DIRECTORY ${dsdt_dir})
add_custom_command(
  OUTPUT ${dsdt_dir}/dsdt.inc
  COMMAND ${IASL} -vs -we -p ${dsdt_dir}/dsdt ${CMAKE_SOURCE_DIR}/src/machine/dsdt.asl
          > ${dsdt_dir}/dsdt.log
  COMMAND ${CMAKE_COMMAND} -DIN=${dsdt_dir}/dsdt.aml -DOUT=${dsdt_dir}/dsdt.inc
          -P ${CMAKE_SOURCE_DIR}/cmake/bin2inc.cmake
  DEPENDS ${CMAKE_SOURCE_DIR}/src/machine/dsdt.asl ${CMAKE_SOURCE_DIR}/cmake/bin2inc.cmake
  VERBATIM)
target_sources(anello_machine PRIVATE ${dsdt_dir}/dsdt.inc)
target_include_directories(anello_machine PRIVATE ${CMAKE_BINARY_DIR}/generated)
