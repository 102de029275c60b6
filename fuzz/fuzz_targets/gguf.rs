//! The GGUF header reader: no input may make it panic, or accept a tensor that lies outside the file.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use wattlm::models::gguf::Header;

fuzz_target!(|data: &[u8]| {
    if let Ok(header) = Header::read(Cursor::new(data)) {
        for tensor in &header.tensors {
            assert!(tensor.offset + tensor.bytes <= data.len() as u64);
        }
        assert!(header.weight_bytes() <= header.file_len);
    }
});
