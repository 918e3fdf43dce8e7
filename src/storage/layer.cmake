pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
target_link_libraries(anello_storage ${scope} ZLIB::ZLIB PkgConfig::ZSTD)
