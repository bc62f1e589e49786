//! A store that cannot be written, and records that are not used.

use super::*;

#[test]
fn a_store_that_cannot_be_written() {
    let mut host = TestHost::new();
    let error = "cannot write the store /var/lib/fairway/world: No space left on device".to_owned();
    host.observed.store_outage = Some(StoreOutage { seconds: 61, error: error.clone() });
    let message = format!("every change has been refused for 61 seconds: {error}");
    host.assert("store", Severity::Error, &message, "");
}

#[test]
fn a_record_that_is_not_used() {
    let mut host = TestHost::new();
    host.observed.orphans = vec![("endpoint/1".to_owned(), "network/2 is missing".to_owned())];
    let command = "systemctl stop fairway && fairway store rm endpoint/1 && systemctl start fairway";
    let message = "record endpoint/1 of the store is not used: network/2 is missing";
    host.assert("store", Severity::Warning, message, command);
}
