//! A daemon that answers by rote, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

/// A method and path, and the status and JSON of the answer to what begins so.
pub type Answer = (&'static str, u16, String);

pub struct FakeDaemon {
    pub host: String,
    asked: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
}

impl FakeDaemon {
    /// A daemon with these answers; the first that fits is given.
    pub fn new(answers: Vec<Answer>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &answers, &heard);
            }
        });
        Self { host: format!("unix://{}", path.display()), asked, _directory: directory }
    }

    /// What it was asked: method, path and body of each request.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Answers the requests of one connection.
fn serve(stream: UnixStream, answers: &[Answer], heard: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let length = head.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let request = head[0].trim_end_matches(" HTTP/1.1").to_owned();
        let found = answers.iter().find(|(start, ..)| request.starts_with(start));
        let nothing = (404, r#"{"message":"page not found"}"#.to_owned());
        let (status, text) = found.map_or(nothing, |(_, status, text)| (*status, text.clone()));
        heard.lock().unwrap().push(format!("{request} {}", String::from_utf8_lossy(&body)).trim().to_owned());
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
