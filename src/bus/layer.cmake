# CPUs call the physical map while guest x87 and vector state is live in the host's registers.
if(scope STREQUAL "PUBLIC")
  target_compile_options(anello_bus PRIVATE -mgeneral-regs-only)
endif()
