//! The boundary: what arguments become, and that nothing gets out.

use std::ffi::{c_char, CStr};
use std::ptr::{null, null_mut};

use super::ffi::{guard, guard_or, options, Versioned};
use super::*;
use crate::error::{Code, Error};

fn last() -> String {
    // SAFETY: NULL is allowed.
    unsafe { CStr::from_ptr(wattlm_last_error(null())) }.to_string_lossy().into_owned()
}

#[test]
fn a_panic_becomes_a_status() {
    assert_eq!(guard(0, || panic!("a test's")), WATTLM_E_INTERNAL);
    assert!(last().contains("defect"), "{}", last());
    assert_eq!(guard_or(7, || panic!("a test's")), 7);
}

#[test]
fn a_failure_is_remembered_with_its_hint_and_field() {
    let e = Error::new(Code::QueueFull, "full\0stop").at("x").retry_after(std::time::Duration::from_millis(1500));
    assert_eq!(guard(0, || Err(e)), WATTLM_E_QUEUE_FULL);
    assert_eq!(last(), "full\u{fffd}stop");
    // SAFETY: NULL is allowed.
    unsafe {
        assert_eq!(wattlm_retry_after_ms(null()), 1500);
        assert_eq!(CStr::from_ptr(wattlm_last_error_param(null())), c"x");
    }
    std::thread::spawn(|| assert_eq!(last(), "")).join().unwrap();
}

#[test]
fn every_code_has_its_number_and_name_in_the_header() {
    let header = include_str!("../../include/wattlm.h");
    for code in Code::ALL {
        let line = format!("#define WATTLM_E_{} {}\n", code.name().to_uppercase(), code.number());
        assert!(header.contains(&line), "{line}");
        // SAFETY: the library's string.
        let name = unsafe { CStr::from_ptr(wattlm_status_name(code.number().into())) };
        assert_eq!(name.to_str().unwrap(), code.name());
        assert_eq!(wattlm_status_retryable(code.number().into()) == 1, code.retryable());
    }
    // SAFETY: the library's strings.
    let (odd, ok) = unsafe { (CStr::from_ptr(wattlm_status_name(-5)), CStr::from_ptr(wattlm_status_name(0))) };
    assert_eq!((odd, ok), (c"unknown", c"ok"));
}

#[test]
fn versions_agree() {
    let parts = [WATTLM_VERSION_MAJOR, WATTLM_VERSION_MINOR, WATTLM_VERSION_PATCH].map(|n| n.to_string());
    assert_eq!(parts.join("."), env!("CARGO_PKG_VERSION"));
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Sample {
    struct_size: usize,
    a: u64,
    b: u64,
}

// SAFETY: plain data that may be zero, beginning with its size.
unsafe impl Versioned for Sample {}

#[test]
fn options_are_read_as_the_kernel_reads_structs() {
    let read = |words: &[u64]| {
        // SAFETY: as many bytes as the first word says, at most, are there.
        unsafe { options(words.as_ptr().cast::<Sample>(), "o") }.map(|s| (s.a, s.b)).map_err(|e| e.code)
    };
    assert_eq!(read(&[8]), Ok((0, 0)));
    assert_eq!(read(&[16, 1]), Ok((1, 0)));
    assert_eq!(read(&[20, 1, 0xff_0000_0002]), Ok((1, 2)));
    assert_eq!(read(&[24, 1, 2]), Ok((1, 2)));
    assert_eq!(read(&[40, 1, 2, 0, 0]), Ok((1, 2)));
    assert_eq!(read(&[40, 1, 2, 0, 1]), Err(Code::UnsupportedField));
    for size in [0, 7, 4097, u64::MAX] {
        assert_eq!(read(&[size, 1, 2]), Err(Code::InvalidRequest));
    }
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { options(null::<Sample>(), "o") }.map(|s| s.a).map_err(|e| e.code), Ok(0));
}

#[test]
fn a_target_that_is_none_is_refused_and_leaves_no_handle() {
    let mut handle = std::ptr::dangling_mut();
    // SAFETY: as the header asks.
    unsafe {
        for target in [c"", c"unix:", c"tcp:1", c"/run/x"] {
            assert_eq!(wattlm_open(target.as_ptr(), null(), &mut handle), WATTLM_E_INVALID_REQUEST, "{target:?}");
            assert!(handle.is_null() && last().contains("target"));
        }
        assert_eq!(wattlm_open(null(), null(), null_mut()), WATTLM_E_INVALID_REQUEST);
        assert_eq!(wattlm_open(c"unix:/nonexistent".as_ptr(), null(), &mut handle), WATTLM_E_NO_DAEMON);
        let lazy = wattlm_open_options {
            struct_size: size_of::<wattlm_open_options>(),
            flags: WATTLM_OPEN_LAZY,
            silence_ms: 0,
            config: null(),
        };
        assert_eq!(wattlm_open(c"unix:/nonexistent".as_ptr(), &lazy, &mut handle), WATTLM_OK);
        let mut text: *mut c_char = null_mut();
        assert_eq!(wattlm_models_json(handle, &mut text), WATTLM_E_NO_DAEMON);
        assert!(text.is_null());
        wattlm_close(handle);
        let other = wattlm_open_options { config: c"/x.toml".as_ptr(), ..lazy };
        assert_eq!(wattlm_open(c"unix:/x".as_ptr(), &other, &mut handle), WATTLM_E_INVALID_REQUEST);
        let odd = wattlm_open_options { flags: 1 << 31, ..lazy };
        assert_eq!(wattlm_open(null(), &odd, &mut handle), WATTLM_E_UNSUPPORTED_FIELD);
    }
}
