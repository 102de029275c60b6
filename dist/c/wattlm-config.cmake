# find_package(wattlm) gives the target wattlm::wattlm. Paths are relative to this file: the tree may be moved.
get_filename_component(_wattlm_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET wattlm::wattlm)
  add_library(wattlm::wattlm SHARED IMPORTED)
  set_target_properties(wattlm::wattlm PROPERTIES
    IMPORTED_LOCATION "${_wattlm_prefix}/lib/libwattlm.so.0"
    IMPORTED_SONAME "libwattlm.so.0"
    INTERFACE_INCLUDE_DIRECTORIES "${_wattlm_prefix}/include")
endif()
unset(_wattlm_prefix)
