#![no_main]

use libfuzzer_sys::fuzz_target;
use pathling_import_core::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::deletions(bytes));
