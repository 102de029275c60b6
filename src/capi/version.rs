//! Versions, at compile time and at run time.

use std::ffi::c_char;

/// Version of the header: changes of the major number may break programs.
pub const WATTLM_VERSION_MAJOR: u32 = 0;
/// Version of the header: functions are added with the minor number.
pub const WATTLM_VERSION_MINOR: u32 = 1;
/// Version of the header: repairs.
pub const WATTLM_VERSION_PATCH: u32 = 0;
/// The header's version as one number that grows: 1.2.3 is 1002003.
pub const WATTLM_VERSION_NUMBER: u32 =
    WATTLM_VERSION_MAJOR * 1000000 + WATTLM_VERSION_MINOR * 1000 + WATTLM_VERSION_PATCH;
/// Programs and libraries of the same ABI version fit together. It is the number in the library's file name.
pub const WATTLM_ABI_VERSION: u32 = 0;

/// The library's version as one number, to compare with WATTLM_VERSION_NUMBER of the header a program was compiled
/// with. A library may be newer than the header; what the header declares is there.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub extern "C" fn wattlm_version() -> u32 {
    WATTLM_VERSION_NUMBER
}

/// The library's version as text, such as "0.1.0". Lives as long as the library.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub extern "C" fn wattlm_version_string() -> *const c_char {
    const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    TEXT.as_ptr().cast()
}

/// The library's ABI version, equal to WATTLM_ABI_VERSION of every header it can be used with.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub extern "C" fn wattlm_abi_version() -> u32 {
    WATTLM_ABI_VERSION
}

/// Whether the library can run models in this process (target "direct:"): 1, or 0 where it was built as a client only.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub extern "C" fn wattlm_has_direct() -> i32 {
    i32::from(super::handle::HAS_DIRECT)
}
