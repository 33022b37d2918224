//! Messages and descriptors over a Unix socket that keeps message boundaries.

use crate::message::{MESSAGE_BYTES, decode, encode};
use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Limit of descriptors per message.
const MOST_DESCRIPTORS: usize = 2;

/// Both ends of a new channel, not passed on to programs.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    Ok(socketpair(AddressFamily::UNIX, kind, flags, None)?)
}

/// The result of receiving.
pub(crate) enum Received<T> {
    Message(T, Vec<OwnedFd>),
    /// The other end is closed.
    End,
    /// There is no message yet; only where waiting was not allowed.
    Nothing,
}

/// Sends a message. Waits while the receiver's queue is full.
pub(crate) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    // No SIGPIPE: R's handler for it jumps.
    send_flags(socket, message, descriptors, SendFlags::NOSIGNAL)
}

/// As [`send`], but fails where it would wait.
pub(crate) fn send_now(socket: impl AsFd, message: &impl Serialize) -> io::Result<()> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    send_flags(socket, message, &[], flags)
}

fn send_flags(
    socket: impl AsFd,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let bytes = encode(message).ok_or_else(|| io::Error::from(Errno::MSGSIZE))?;
    loop {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, flags) {
            Err(Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// Receives a message, and waits for it if `wait`.
///
/// # Errors
/// `InvalidData` for what is not a message of this type.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    wait: bool,
) -> io::Result<Received<T>> {
    let mut bytes = vec![0; MESSAGE_BYTES];
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    flags.set(RecvFlags::DONTWAIT, !wait);
    loop {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let received = match recvmsg(&socket, &mut slices, &mut control, flags) {
            // Said once when the peer has left with messages of ours unread, and before what
            // it had sent itself.
            Err(Errno::INTR | Errno::CONNRESET) => continue,
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            result => result?,
        };
        let descriptors = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(rights) => Some(rights),
                _ => None,
            })
            .flatten()
            .collect();
        if received.bytes == 0 {
            return Ok(Received::End);
        }
        let whole = !received.flags.contains(ReturnFlags::TRUNC);
        return match decode(&bytes[..received.bytes]).filter(|_| whole) {
            Some(message) => Ok(Received::Message(message, descriptors)),
            None => Err(io::ErrorKind::InvalidData.into()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    #[test]
    fn messages_keep_their_bounds_and_descriptors() {
        let (one, other) = pair().expect("a pair");
        let mut file: File = tempfile::tempfile().expect("a file");
        send(&one, &"first".to_owned(), &[file.as_fd()]).expect("to send");
        send(&one, &"second".to_owned(), &[]).expect("to send");
        let Ok(Received::Message(text, mut descriptors)) = receive::<String>(&other, true) else {
            panic!("no message");
        };
        assert_eq!((text.as_str(), descriptors.len()), ("first", 1));
        let mut copy = File::from(descriptors.remove(0));
        copy.write_all(b"through").expect("to write");
        file.rewind().expect("to rewind");
        let mut read = String::new();
        file.read_to_string(&mut read).expect("to read");
        assert_eq!(read, "through");
        let second = receive::<String>(&other, true);
        assert!(matches!(second, Ok(Received::Message(text, _)) if text == "second"));
        assert!(matches!(
            receive::<String>(&other, false),
            Ok(Received::Nothing)
        ));
        drop(one);
        assert!(matches!(receive::<String>(&other, true), Ok(Received::End)));
    }

    #[test]
    fn last_words_are_heard_of_a_peer_that_did_not_listen() {
        let (one, other) = pair().expect("a pair");
        send(&one, &"unheard".to_owned(), &[]).expect("to send");
        send(&other, &"last".to_owned(), &[]).expect("to send");
        drop(other);
        let last = receive::<String>(&one, true);
        assert!(matches!(last, Ok(Received::Message(text, _)) if text == "last"));
        assert!(matches!(receive::<String>(&one, true), Ok(Received::End)));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (one, other) = pair().expect("a pair");
        send(&one, &u64::MAX, &[]).expect("to send");
        let error = receive::<String>(&other, true).err().map(|e| e.kind());
        assert_eq!(error, Some(io::ErrorKind::InvalidData));
    }
}
