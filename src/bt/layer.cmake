# As src/cpu: the guest's x87 and vector registers are live in the host's while this runs.
get_property(general_regs_only GLOBAL PROPERTY general_regs_only)
if(scope STREQUAL "PUBLIC")
  target_compile_options(anello_bt PRIVATE ${general_regs_only})
endif()
