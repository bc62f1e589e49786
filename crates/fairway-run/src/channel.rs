//! The socket between a process and the stage of this program that it started: messages as JSON,
//! each after its length, with open files.
//!
//! A stage gets its end as standard input, and its real standard input as the first file: so no
//! descriptor has to be made inheritable, which another thread's child could inherit too.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most files that one message carries.
const MOST_FILES: usize = 4;
/// The longest message in bytes: longer than any command line and environment that the kernel accepts.
const LONGEST: u32 = 16 << 20;

/// One end of the channel.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
}

impl Channel {
    /// A channel, and the end to give to a stage as its standard input.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self { stream: ours }, theirs.into()))
    }

    /// The end that this stage was given as its standard input.
    pub(super) fn of_stage() -> io::Result<Self> {
        Ok(Self { stream: io::stdin().as_fd().try_clone_to_owned()?.into() })
    }

    /// Closes the channel for the other end.
    pub(super) fn close(&self) {
        // One that is gone needs no end.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// Sends a message and open files.
    pub(super) fn send_with(&mut self, message: &impl Serialize, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len())
            .ok()
            .filter(|length| *length <= LONGEST)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is too long"))?;
        let header = length.to_ne_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many files for one message"));
        }
        let sent = sendmsg(&self.stream, &[IoSlice::new(&header)], &mut ancillary, SendFlags::NOSIGNAL)?;
        self.stream.write_all(&header[sent..])?;
        self.stream.write_all(&text)
    }

    /// The next message; none when the other end is closed.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        Ok(self.receive_with()?.map(|(message, _)| message))
    }

    /// The next message and its files; none when the other end is closed.
    pub(super) fn receive_with<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut header = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(
                &self.stream,
                &mut [IoSliceMut::new(&mut header)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )
        })?;
        if received.bytes == 0 {
            return Ok(None);
        }
        let mut files = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                files.extend(some);
            }
        }
        self.stream.read_exact(&mut header[received.bytes..])?;
        let length = u32::from_ne_bytes(header);
        if length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of impossible length"));
        }
        let mut text = vec![0; length as usize];
        self.stream.read_exact(&mut text)?;
        Ok(Some((serde_json::from_slice(&text)?, files)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_files_arrive_in_order_and_the_end_is_seen() {
        let (mut ours, theirs) = Channel::pair().unwrap();
        let mut theirs = Channel { stream: theirs.into() };
        let (mut reader, writer) = io::pipe().unwrap();
        ours.send_with(&"first", &[writer.as_fd()]).unwrap();
        ours.send(&vec![1, 2, 3]).unwrap();
        drop((ours, writer));
        let (first, files) = theirs.receive_with::<String>().unwrap().unwrap();
        assert_eq!((first.as_str(), files.len()), ("first", 1));
        assert_eq!(theirs.receive::<Vec<u8>>().unwrap(), Some(vec![1, 2, 3]));
        assert_eq!(theirs.receive::<String>().unwrap(), None);
        let mut file = std::fs::File::from(files.into_iter().next().unwrap());
        file.write_all(b"through").unwrap();
        drop(file);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }
}
