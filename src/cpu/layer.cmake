# Guest x87 and vector state may be live in the host's registers while this layer and the bus run:
# neither may use those registers, nor call a memcpy() or memset() that does (cpu/fpu.h).
set(general_regs_only -mgeneral-regs-only)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  list(APPEND general_regs_only -mmemcpy-strategy=unrolled_loop:64:noalign,rep_byte:-1:noalign
       -mmemset-strategy=unrolled_loop:64:noalign,rep_byte:-1:noalign)
endif()
set_property(GLOBAL PROPERTY general_regs_only ${general_regs_only})
if(scope STREQUAL "PUBLIC")
  target_compile_options(anello_cpu PRIVATE ${general_regs_only})
endif()
target_compile_options(anello_bus PRIVATE ${general_regs_only})
target_link_libraries(anello_cpu ${scope} PkgConfig::CAPSTONE)
