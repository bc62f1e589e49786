//! Asks the daemon, each second, on a thread of its own.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fairway_api::filter::Filters;
use fairway_api::{Client, ClientError};
use fairway_inspect::doctor::Finding;

use super::overview::Sample;
use crate::command::error::CommandError;

/// How often the daemon is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often it is asked for findings: commands wait while it compares the kernel with the Plan.
const DIAGNOSIS_INTERVAL: Duration = Duration::from_secs(10);

/// A sample and when it was taken, or why there is none.
pub(super) type Answer = Result<(Sample, Instant), String>;

/// Asks the daemon once.
///
/// # Errors
/// It does not answer.
pub(super) fn sample(client: &mut Client, findings: Option<Vec<Finding>>) -> Result<Sample, ClientError> {
    Ok(Sample {
        networks: client.networks(&Filters::default())?,
        sandboxes: client.containers(true, &Filters::default())?,
        traffic: client.stats(None)?,
        findings,
    })
}

/// Asks the daemon until the receiver is dropped.
///
/// # Errors
/// The address makes no sense, or no thread can be started.
pub(super) fn start(host: &str) -> Result<Receiver<Answer>, CommandError> {
    let (mut client, mut doctor) = (Client::new(host)?, Client::new(host)?);
    let findings: Arc<Mutex<Option<Vec<Finding>>>> = Arc::default();
    let found = Arc::clone(&findings);
    let diagnose = move || {
        // The other thread reports why the daemon does not answer. It holds the other reference.
        while Arc::strong_count(&found) > 1 {
            // Of a doctor that fails the last findings stay.
            if let Ok(diagnosis) = doctor.doctor(false) {
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(diagnosis.findings);
            }
            thread::sleep(DIAGNOSIS_INTERVAL);
        }
    };
    let (send, receive) = channel();
    let ask = move || ask(&mut client, &findings, &send);
    let started = thread::Builder::new().name("doctor".to_owned()).spawn(diagnose);
    started
        .and_then(|_| thread::Builder::new().name("sampler".to_owned()).spawn(ask))
        .map_err(CommandError::Print)?;
    Ok(receive)
}

fn ask(client: &mut Client, findings: &Mutex<Option<Vec<Finding>>>, send: &Sender<Answer>) {
    loop {
        let begun = Instant::now();
        let found = findings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sampled = sample(client, found).map_err(|error| CommandError::from(error).to_string());
        if send.send(sampled.map(|sample| (sample, begun))).is_err() {
            return;
        }
        thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
    }
}
