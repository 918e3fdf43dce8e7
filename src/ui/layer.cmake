target_link_libraries(anello_ui ${scope} PkgConfig::SDL2 ZLIB::ZLIB)
