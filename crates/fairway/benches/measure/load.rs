//! Load: a generator of name questions, and a server and clients of bytes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Failure;
use crate::figures::Times;

/// A piece of what is transferred, as large as a program that wants speed would take.
const PIECE: usize = 1 << 20;
/// What the server does with a connection is said by its first byte.
const SINK: u8 = b's';
const ECHO: u8 = b'e';
/// Asks for one byte and the end.
pub const REPLY: u8 = b'r';

/// A question for an address (RFC 1035, 4.1).
pub fn question(number: u16, name: &str) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Whether it answers question `number` with one record and no error.
pub fn answers(number: u16, bytes: &[u8]) -> bool {
    bytes.len() > 12 && bytes[..2] == number.to_be_bytes() && bytes[3] & 0x0f == 0 && bytes[6..8] == [0, 1]
}

/// Sockets that ask a server, in the namespace of the calling thread.
pub fn askers(server: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let asker = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(server)?;
        Ok(socket)
    };
    (0..count).map(|_| asker()).collect()
}

/// Asks for the names that `name` gives by number, on sockets each of which asks when it was answered. Brings
/// the time from question to answer of each.
pub fn ask(
    sockets: Vec<UdpSocket>,
    name: impl Fn(usize) -> String,
    length: Duration,
) -> Result<Times, Failure> {
    let mut sockets: Vec<_> = sockets.into_iter().map(|socket| (socket, 0_u16, Instant::now())).collect();
    let mut next = 0_usize;
    let mut send = |client: &mut (UdpSocket, u16, Instant)| -> io::Result<()> {
        let name = name(next);
        next += 1;
        client.1 = (next & 0xffff) as u16;
        client.2 = Instant::now();
        client.0.send(&question(client.1, &name)).map(drop)
    };
    sockets.iter_mut().try_for_each(&mut send)?;
    let begun = Instant::now();
    let (mut times, mut bytes) = (Vec::new(), [0; 512]);
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    while begun.elapsed() < length {
        let mut ready: Vec<PollFd<'_>> = sockets
            .iter()
            .map(|(socket, ..)| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
            .collect();
        if poll(&mut ready, Some(&patience))? == 0 {
            return Err("a question is not answered".into());
        }
        let ready: Vec<bool> = ready.iter().map(|it| !it.revents().is_empty()).collect();
        for (client, _) in sockets.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            let count = client.0.recv(&mut bytes)?;
            if !answers(client.1, &bytes[..count]) {
                return Err(format!("an answer is none: {:?}", &bytes[..count]).into());
            }
            times.push(client.2.elapsed());
            send(client)?;
        }
    }
    Ok(times.into_iter().collect())
}

/// How long a flood runs before anything is measured.
pub const WARMING: Duration = Duration::from_secs(2);

/// Answers each datagram with itself until the process ends.
pub fn serve_datagrams(socket: UdpSocket) -> io::Result<()> {
    let serve = move || {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            // One that is lost is asked for again.
            let _ = socket.send_to(&buffer[..length], client);
        }
    };
    std::thread::Builder::new().name("server".to_owned()).spawn(serve).map(drop)
}

/// The times of datagrams there and back, each from a new socket. One that is lost is sent again after a second.
pub fn datagrams(target: SocketAddr, count: usize) -> Result<Times, Failure> {
    let mut times = Times::default();
    for _ in 0..count {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        times.note(|| -> io::Result<()> {
            for _ in 0..10 {
                socket.send_to(b"?", target)?;
                if socket.recv(&mut [0; 8]).is_ok() {
                    return Ok(());
                }
            }
            Err(io::ErrorKind::TimedOut.into())
        })?;
    }
    Ok(times)
}

/// Serves connections until the process ends: as many at a time as there are threads.
pub fn serve(listener: &TcpListener, threads: usize) -> io::Result<()> {
    for _ in 0..threads {
        let listener = listener.try_clone()?;
        std::thread::Builder::new().name("server".to_owned()).spawn(move || {
            let mut buffer = vec![0; PIECE];
            while let Ok((stream, _)) = listener.accept() {
                // A client that leaves early is its own matter.
                let _ = attend(stream, &mut buffer);
            }
        })?;
    }
    Ok(())
}

fn attend(mut stream: TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    match kind[0] {
        SINK => {
            while stream.read(buffer)? > 0 {}
            stream.write_all(&kind)
        }
        ECHO => {
            while stream.read_exact(&mut kind).is_ok() {
                stream.write_all(&kind)?;
            }
            Ok(())
        }
        _ => stream.write_all(&kind),
    }
}

/// Sends as fast as it goes and brings what arrived, in gigabits a second.
pub fn throughput(target: SocketAddr, length: Duration) -> Result<f64, Failure> {
    let mut stream = TcpStream::connect(target)?;
    stream.write_all(&[SINK])?;
    let piece = tempfile::tempfile()?;
    piece.set_len(PIECE as u64)?;
    let (begun, mut sent) = (Instant::now(), 0_u64);
    while begun.elapsed() < length {
        let mut place = 0;
        while place < PIECE as u64 {
            let count = PIECE - place as usize;
            sent += rustix::fs::sendfile(&stream, &piece, Some(&mut place), count)? as u64;
        }
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    Ok(sent as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9)
}

/// Connects, asks one byte, gets one and sees the end, time after time; brings connections a second
/// and the time of each.
pub fn connections(target: SocketAddr, count: usize, clients: usize) -> Result<(f64, Times), Failure> {
    let begun = Instant::now();
    let times = std::thread::scope(|scope| {
        let client = || -> io::Result<Vec<Duration>> {
            let one = || {
                let begun = Instant::now();
                let mut stream = TcpStream::connect(target)?;
                stream.write_all(&[REPLY])?;
                let mut reply = Vec::new();
                stream.read_to_end(&mut reply)?;
                if reply == [REPLY] { Ok(begun.elapsed()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
            };
            (0..count / clients).map(|_| one()).collect()
        };
        let workers: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        let mut times = Vec::new();
        for worker in workers {
            times.extend(worker.join().map_err(|_| "a client panicked")??);
        }
        Ok::<_, Failure>(times)
    })?;
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    Ok((rate, times.into_iter().collect()))
}

/// The times of single bytes there and back on one connection.
pub fn round_trips(target: SocketAddr, count: usize) -> Result<Times, Failure> {
    let mut stream = TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[ECHO])?;
    let (mut times, mut byte) = (Times::default(), [7]);
    for _ in 0..count {
        times.note(|| stream.write_all(&byte).and_then(|()| stream.read_exact(&mut byte)))?;
    }
    Ok(times)
}
