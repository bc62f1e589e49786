//! The `fairway` program.

use std::process::ExitCode;

use fairway::face::Face;
use fairway::{command, demo, relay};
use fairway_kernel::system::inherit::block_signals;
use rustix::process::Signal;

/// What ends or reloads a daemon. Held from the first moment on: one that arrives before the daemon
/// listens for them waits until it does.
const HELD: [i32; 3] = [Signal::TERM.as_raw(), Signal::INT.as_raw(), Signal::HUP.as_raw()];

fn main() -> ExitCode {
    // First, while there is one thread only: what this program was started by itself as.
    if let Some(code) = fairway_run::stage(std::env::args_os(), command::report) {
        return ExitCode::from(u8::try_from(code).unwrap_or(125));
    }
    if let Some(code) = demo::stage(std::env::args_os()) {
        return code;
    }
    if let Some((face, arguments)) = Face::called(std::env::args_os().collect()) {
        return face.run(&arguments);
    }
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(relay::SUBCOMMAND) {
        return relay::main(arguments.next().as_deref(), arguments.next().as_deref());
    }
    // Without it a signal acts as it does by default, as it did before.
    let _ = block_signals(&HELD);
    command::main(std::env::args_os())
}
