//! Getting inside: the process of a lab is this program, executed again in namespaces of its own.

use std::any::type_name;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};

use fairway_kernel::system::spawn::{Users, spawn_in_new_namespaces};

use crate::error::{LabError, Trying};
use crate::inside::{MARK, is_inside, own_network_namespace};
use crate::lab::Lab;
use crate::mounts::SCRATCH;
use crate::userns_denied::Switches;

/// Set to 1, a lab has no user but root even where it could have all.
const SINGLE_USER: &str = "FAIRWAY_LAB_SINGLE_USER";
/// The exit status by which the process of a test says that the body ran to its end. A test harness that finds
/// no test of the name ends with 0, and one whose test failed with 101.
const BODY_RAN: i32 = 86;

/// Runs the body of a test in a lab of its own.
///
/// Call it straight from a test function: the test binary is executed again inside the lab, with the argument to run this one
/// test, and there the call runs the body. What it prints is printed by the test outside. The lab and every
/// process in it are gone when this returns, also by a panic, and when the test is killed.
///
/// # Panics
/// When the body panics, and when no lab can be made: a test that cannot have its lab has failed.
///
/// ```no_run
/// #[test]
/// fn two_hosts_meet() {
///     fairway_lab::run(|lab| {
///         let (left, right) = (lab.host("left").unwrap(), lab.host("right").unwrap());
///         let lan = lab.lan("lan0").unwrap();
///         lan.join(&left, &["10.0.0.1/24"]).unwrap();
///         lan.join(&right, &["10.0.0.2/24"]).unwrap();
///         let server = fairway_lab::serve_tcp(&right, "0.0.0.0:80").unwrap();
///         let outcome = fairway_lab::ask(&left, "10.0.0.2:80").unwrap();
///         assert_eq!(outcome, fairway_lab::Outcome::answered("10.0.0.1"));
///     });
/// }
/// ```
pub fn run<F: FnOnce(&Lab)>(body: F) {
    if is_inside() {
        match Lab::new() {
            Ok(lab) => body(&lab),
            Err(error) => fail(&error),
        }
        std::process::exit(BODY_RAN);
    }
    match run_test_inside(test_name(type_name::<F>())) {
        Ok(BODY_RAN) => {}
        Ok(status) => {
            fail(&format!("the test failed inside its lab (exit status {status}): see its output above"))
        }
        Err(error) => fail(&error),
    }
}

/// Runs the body of a program in a lab: this program is executed again, with the same arguments, inside it.
///
/// Outside it waits, and returns the exit status of the program inside; there `body` is run, and only there.
/// Ctrl-C, which reaches both, ends both, and so the lab. Call it from the main thread: the lab dies with the
/// thread that made it.
///
/// # Errors
/// When no lab can be made.
#[expect(clippy::disallowed_methods, reason = "the process of a lab is this program, executed again")]
pub fn main(body: impl FnOnce(&Lab) -> ExitCode) -> Result<ExitCode, LabError> {
    if is_inside() {
        return Ok(body(&Lab::new()?));
    }
    let mut command = Command::new(own_program()?);
    command.args(std::env::args_os().skip(1));
    let status = enter(&mut command)?.wait().trying(|| "wait for the lab's process".to_owned())?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Starts a program as root inside new namespaces, in which [`is_inside`] is true for it. It dies with the
/// calling thread, and everything that it started dies with it.
///
/// # Errors
/// [`LabError::Forbidden`] where the system forbids user namespaces.
#[expect(clippy::disallowed_methods, reason = "the process of a lab is this program, executed again")]
pub fn enter(command: &mut Command) -> Result<Child, LabError> {
    let single = std::env::var_os(SINGLE_USER).is_some_and(|value| value == "1");
    let users = if single { Users::OnlyRoot } else { Users::allowed() };
    command.env(MARK, own_network_namespace()?).env("TMPDIR", SCRATCH);
    spawn_in_new_namespaces(command, users).map_err(|error| LabError::from_spawn(error, &Switches::read()))
}

fn own_program() -> Result<std::path::PathBuf, LabError> {
    std::env::current_exe().trying(|| "find the program that runs now".to_owned())
}

/// Executes this one test inside a lab and passes on what it prints, so that the harness can capture it.
#[expect(clippy::disallowed_methods, reason = "the process of a lab is this program, executed again")]
fn run_test_inside(name: &str) -> Result<i32, LabError> {
    let (output, input) = std::io::pipe().trying(|| "make a pipe".to_owned())?;
    let mut command = Command::new(own_program()?);
    command.args([name, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]);
    let duplicate = input.try_clone().trying(|| "duplicate a pipe".to_owned())?;
    command.stdin(Stdio::null()).stdout(duplicate).stderr(input);
    let mut child = enter(&mut command)?;
    // The writing ends in `command` would keep the pipe open for ever.
    drop(command);
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).trying(|| "read what the test prints".to_owned())? > 0 {
        print!("{}", String::from_utf8_lossy(&line));
        line.clear();
    }
    let status = child.wait().trying(|| "wait for the lab's process".to_owned())?;
    match status.code() {
        Some(0) => Err(LabError::NotRun { name: name.to_owned() }),
        code => Ok(code.unwrap_or(1)),
    }
}

/// The name by which the harness knows the test, from the type of a closure in it: `crate::module::test::{{closure}}`.
fn test_name(closure: &str) -> &str {
    let function = closure.split("::{{closure}}").next().unwrap_or(closure);
    function.split_once("::").map_or(function, |(_, name)| name)
}

/// Fails the test that is running.
fn fail(reason: &dyn std::fmt::Display) -> ! {
    panic!("{reason}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_test_is_found_from_its_closure() {
        assert_eq!(test_name("fairway_lab::enter::tests::meets::{{closure}}"), "enter::tests::meets");
        assert_eq!(test_name("reach::meets::{{closure}}::{{closure}}"), "meets");
    }

    #[test]
    fn the_mark_alone_does_not_make_a_lab() {
        // This process is not the second of its pid namespace.
        assert!(!is_inside());
        assert!(matches!(Lab::new(), Err(LabError::Outside)));
    }
}
