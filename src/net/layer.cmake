pkg_check_modules(SLIRP REQUIRED IMPORTED_TARGET slirp)
target_link_libraries(anello_net PRIVATE PkgConfig::SLIRP)
