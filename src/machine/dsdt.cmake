# The ACPI descriptions of the boards are compiled and become the insides of C arrays. They share
# parts by the C preprocessor.
find_program(IASL iasl REQUIRED)
set(dsdt_dir ${CMAKE_BINARY_DIR}/generated/machine)
set(dsdt_src ${CMAKE_SOURCE_DIR}/src/machine)
file(MAKE_DIRECTORY ${dsdt_dir})
foreach(name dsdt dsdt_q35)
  add_custom_command(
    OUTPUT ${dsdt_dir}/${name}.inc
    COMMAND ${CMAKE_C_COMPILER} -E -P -x c ${dsdt_src}/${name}.asl -o ${dsdt_dir}/${name}.i.asl
    COMMAND ${IASL} -vs -we -p ${dsdt_dir}/${name} ${dsdt_dir}/${name}.i.asl > ${dsdt_dir}/${name}.log
    COMMAND ${CMAKE_COMMAND} -DIN=${dsdt_dir}/${name}.aml -DOUT=${dsdt_dir}/${name}.inc
            -P ${CMAKE_SOURCE_DIR}/cmake/bin2inc.cmake
    DEPENDS ${dsdt_src}/${name}.asl ${dsdt_src}/dsdt_isa.asl ${dsdt_src}/dsdt_board.asl
            ${CMAKE_SOURCE_DIR}/cmake/bin2inc.cmake
    VERBATIM)
  target_sources(anello_machine PRIVATE ${dsdt_dir}/${name}.inc)
endforeach()
target_include_directories(anello_machine PRIVATE ${CMAKE_BINARY_DIR}/generated)
