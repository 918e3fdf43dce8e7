include(${CMAKE_SOURCE_DIR}/src/machine/dsdt.cmake)
