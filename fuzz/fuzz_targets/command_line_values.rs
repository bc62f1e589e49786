#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = fairway_fuzz::find("command_line_values") {
        (target.run)(bytes);
    }
});
