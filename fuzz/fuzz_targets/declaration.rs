#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = fairway_fuzz::find("declaration") {
        (target.run)(bytes);
    }
});
