//! Connections that become streams of a process: Docker's hijacking of HTTP.

use std::time::Duration;

use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::clients::Activity;
use super::connection::Watched;
use super::framing::Framing;
use super::reply::Reply;

/// How much output is read at once.
pub(super) const PIECE: usize = 32 << 10;
/// How many pieces of input or output wait.
pub(super) const QUEUE: usize = 64;
/// How often to look whether a client is gone that gets no output.
const GLANCE: Duration = Duration::from_secs(1);

/// The connection of a request that asks to hijack it.
pub(super) type Upgrade = hyper::upgrade::OnUpgrade;

/// The reply to a request that hijacks its connection: on that, or as a body for a client that does not ask for it, what
/// `output` receives; `input` gets what the client sends.
pub(super) fn reply(
    upgrade: Option<Upgrade>,
    framing: Framing,
    output: mpsc::Receiver<Bytes>,
    input: Option<mpsc::Sender<Bytes>>,
) -> Reply {
    let Some(upgrade) = upgrade else { return Reply::raw(framing, output) };
    tokio::spawn(async move {
        match upgrade.await.map(hyper::upgrade::Upgraded::downcast::<TokioIo<Watched>>) {
            Ok(Ok(parts)) => {
                let Watched { stream, connection } = parts.io.into_inner();
                connection.set_activity(Activity::Waiting);
                // The reply to the request released its stream.
                if connection.take_stream().is_err() {
                    return;
                }
                tokio::select! {
                    () = exchange(stream, parts.read_buf, output, input) => {}
                    () = connection.closed() => tracing::debug!("closed a connection above the limit"),
                }
            }
            // The server serves no other connections.
            Ok(Err(_)) => {}
            Err(error) => tracing::debug!(%error, "a client left before its connection was handed over"),
        }
    });
    Reply::upgraded(framing)
}

/// Sends output, and receives input, of which the first bytes are here, until the client ends its direction.
async fn exchange(
    stream: UnixStream,
    first: Bytes,
    mut output: mpsc::Receiver<Bytes>,
    input: Option<mpsc::Sender<Bytes>>,
) {
    let (mut from, mut to) = stream.into_split();
    // It ends with this function.
    let mut receives = JoinSet::new();
    receives.spawn(async move {
        let Some(input) = input else { return };
        let mut piece = first.to_vec();
        while input.send(Bytes::from(std::mem::take(&mut piece))).await.is_ok() {
            piece.resize(PIECE, 0);
            match from.read(&mut piece).await {
                Ok(read @ 1..) => piece.truncate(read),
                _ => return,
            }
        }
    });
    loop {
        tokio::select! {
            piece = output.recv() => {
                let Some(piece) = piece else { break };
                if to.write_all(&piece).await.is_err() {
                    break;
                }
            }
            () = tokio::time::sleep(GLANCE) => {
                // Clients end their direction and go on to listen: only the hang-up says that one is gone.
                if to.ready(Interest::WRITABLE).await.is_ok_and(|ready| ready.is_write_closed()) {
                    break;
                }
            }
        }
    }
    // A client that is gone needs no end.
    let _ = to.shutdown().await;
}

/// Sends the output of a process, of the streams that are wanted, until both end. Without a receiver it is read all the
/// same, so that the process can go on.
pub(super) async fn copy_streams(
    child: &mut Child,
    wanted: [bool; 2],
    framing: Framing,
    send: &mpsc::Sender<Bytes>,
) {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    tokio::join!(
        copy(out, 1, framing, wanted[0].then(|| send.clone())),
        copy(err, 2, framing, wanted[1].then(|| send.clone())),
    );
}

/// Sends what a stream has, until it ends.
async fn copy(
    from: Option<impl AsyncRead + Unpin>,
    stream: u8,
    framing: Framing,
    mut send: Option<mpsc::Sender<Bytes>>,
) {
    let Some(mut from) = from else { return };
    let mut piece = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        if let Some(receiver) = &send {
            let framed = framing.frame(stream, piece.get(..read).unwrap_or_default());
            if receiver.send(framed).await.is_err() {
                send = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn input_ends_with_the_clients_direction_and_output_goes_on() {
        run(async {
            let (mut client, server) = UnixStream::pair().unwrap();
            let (output, receive) = mpsc::channel(1);
            let (input, mut received) = mpsc::channel(1);
            let exchange = tokio::spawn(exchange(server, Bytes::from_static(b"i"), receive, Some(input)));
            client.write_all(b"n").await.unwrap();
            assert_eq!(received.recv().await.unwrap(), &b"i"[..]);
            assert_eq!(received.recv().await.unwrap(), &b"n"[..]);
            client.shutdown().await.unwrap();
            assert_eq!(received.recv().await, None);
            output.send(Bytes::from_static(b"out")).await.unwrap();
            drop(output);
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "out");
            exchange.await.unwrap();
        });
    }

    #[test]
    fn a_client_that_is_gone_is_noticed_without_output() {
        run(async {
            let (client, server) = UnixStream::pair().unwrap();
            let (output, receive) = mpsc::channel(1);
            let exchange = tokio::spawn(exchange(server, Bytes::new(), receive, None));
            drop(client);
            exchange.await.unwrap();
            assert!(output.is_closed());
        });
    }
}
