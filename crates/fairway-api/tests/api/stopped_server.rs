//! What clients see while the server stops, and afterwards.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use fairway_api::ClientError;

use crate::engine::RunningServer;
use crate::server::{attach, on};

#[test]
fn a_client_outlives_a_restart_of_the_daemon() {
    let mut server = RunningServer::start();
    let mut client = server.client();
    client.ping().unwrap();
    server.stop();
    let error = client.ping().unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot connect to the Fairway daemon at {}: is it running? start it with: fairway daemon",
            server.address
        )
    );
    let path = server.address.strip_prefix("unix://").unwrap();
    std::fs::remove_file(path).unwrap();
    let listener = UnixListener::bind(path).unwrap();
    let again = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 12];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").unwrap();
        request
    });
    client.ping().unwrap();
    assert_eq!(&again.join().unwrap(), b"GET /_ping H");
}

#[test]
fn a_change_in_progress_is_finished_and_answered_before_the_server_stops() {
    let mut server = RunningServer::start();
    server.client().attach(&attach("job", 5, on("bridge"))).unwrap();
    let signals = Arc::clone(&server.engine.signals);
    let held = signals.lock().unwrap();
    let mut client = server.client();
    std::thread::scope(|scope| {
        let killed = scope.spawn(move || client.kill("job", "HUP"));
        while server.clients.requests().in_progress == 0 {
            std::thread::yield_now();
        }
        let stopped = scope.spawn(|| server.stop());
        // Longer than replies that only wait may take.
        std::thread::sleep(Duration::from_millis(2500));
        assert!(!stopped.is_finished());
        drop(held);
        killed.join().unwrap().unwrap();
        stopped.join().unwrap();
    });
}
