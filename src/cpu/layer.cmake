# Guest x87 and vector state may be live in the host's registers while this layer runs.
if(scope STREQUAL "PUBLIC")
  target_compile_options(anello_cpu PRIVATE -mgeneral-regs-only)
endif()
target_link_libraries(anello_cpu ${scope} PkgConfig::CAPSTONE)
