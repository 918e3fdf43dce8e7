target_link_libraries(anello_storage ${scope} ZLIB::ZLIB)
