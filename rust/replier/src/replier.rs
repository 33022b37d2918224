//! Two threads: one reads requests, the other writes replies in the order in which tasks settle.

use std::io::{BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

use crate::connection::Entrance;
use crate::frame::{greeting, read_greeting, read_request, reply};
use crate::ticket::{Order, Ticket};
use crate::{ReplierError, frame};

/// Answers the requests of the one socket that dials it. Dropping it ends the connection, and does not wait.
#[derive(Debug)]
pub struct Replier {
    url: String,
    shared: Arc<Shared>,
    orders: Sender<Order>,
}

/// What both threads and the owner know. The lock is held for as long as it takes to look.
#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Waiting,
    Connected(UnixStream),
    Ended,
}

impl Shared {
    /// Whether the connection is wanted; then it is known from here on.
    fn connected(&self, stream: &UnixStream) -> bool {
        let mut state = self.0.lock();
        match (&*state, stream.try_clone()) {
            (State::Waiting, Ok(stream)) => {
                *state = State::Connected(stream);
                true
            }
            _ => false,
        }
    }

    fn end(&self) -> State {
        std::mem::replace(&mut *self.0.lock(), State::Ended)
    }
}

impl Replier {
    /// Listens for one connection of this process, in threads of its own, which inherit the caller's mask of signals. Each
    /// request comes to `on_request` with the number of the task that it asks for; each reply has this `body`. On other systems
    /// than Linux the socket is a file in `folder`, which other users must not be able to enter.
    ///
    /// # Errors
    /// [`ReplierError::Io`] as the system gives it.
    pub fn listen(
        name: &str,
        folder: &Path,
        body: Vec<u8>,
        on_request: impl FnMut(u64, Ticket) + Send + 'static,
    ) -> Result<Replier, ReplierError> {
        let entrance = Entrance::open(name, folder)?;
        let url = entrance.url().to_owned();
        let shared = Arc::<Shared>::default();
        let (orders, received) = channel();
        let reader = Reader {
            entrance,
            shared: Arc::clone(&shared),
            orders: orders.clone(),
            replies: Replies { body, received },
            on_request,
        };
        std::thread::Builder::new()
            .name("mirai-requests".to_owned())
            .spawn(move || {
                if let Err(error) = reader.run() {
                    log::warn!("{error}");
                }
            })?;
        Ok(Replier {
            url,
            shared,
            orders,
        })
    }

    /// The address to dial, as NNG writes it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Replier {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::End);
        match self.shared.end() {
            State::Waiting => Entrance::wake(&self.url),
            State::Connected(stream) => drop(stream.shutdown(Shutdown::Both)),
            State::Ended => {}
        }
    }
}

struct Reader<R> {
    entrance: Entrance,
    shared: Arc<Shared>,
    orders: Sender<Order>,
    replies: Replies,
    on_request: R,
}

impl<R: FnMut(u64, Ticket)> Reader<R> {
    fn run(mut self) -> Result<(), ReplierError> {
        let stream = self.entrance.accept()?;
        if !self.shared.connected(&stream) {
            return Ok(());
        }
        drop(self.entrance);
        let mut reading = BufReader::new(stream.try_clone()?);
        (&stream).write_all(&greeting())?;
        read_greeting(&mut reading)?;
        let replies = self.replies;
        std::thread::Builder::new()
            .name("mirai-replies".to_owned())
            .spawn(move || replies.write_to(stream))?;
        let ended = loop {
            match read_request(&mut reading) {
                Ok(Some(frame::Request { id, task })) => {
                    let orders = self.orders.clone();
                    (self.on_request)(task, Ticket { id, orders });
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let _ = self.orders.send(Order::End);
        drop(reading.get_ref().shutdown(Shutdown::Both));
        ended
    }
}

struct Replies {
    body: Vec<u8>,
    received: Receiver<Order>,
}

impl Replies {
    /// Until the owner or the peer has gone.
    fn write_to(self, mut stream: UnixStream) {
        while let Ok(Order::Reply(id)) = self.received.recv() {
            // Those that are there go together.
            let mut bytes = reply(id, &self.body);
            let mut is_last = false;
            for order in self.received.try_iter().take(1000) {
                match order {
                    Order::Reply(id) => bytes.append(&mut reply(id, &self.body)),
                    Order::End => {
                        is_last = true;
                        break;
                    }
                }
            }
            if let Err(error) = stream.write_all(&bytes) {
                return log::debug!("a request was not answered: {error}");
            }
            if is_last {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::sync::mpsc;
    use std::time::Duration;

    const GUARD: Duration = Duration::from_secs(60);

    struct Asked {
        replier: Replier,
        tickets: mpsc::Receiver<(u64, Ticket)>,
        _folder: tempfile::TempDir,
    }

    fn replier(name: &str) -> Asked {
        let folder = tempfile::tempdir().unwrap();
        let (sender, tickets) = mpsc::channel();
        let name = format!("mirai-test-{name}-{}", std::process::id());
        let replier = Replier::listen(
            &name,
            folder.path(),
            b"done".to_vec(),
            move |task, ticket| drop(sender.send((task, ticket))),
        );
        Asked {
            replier: replier.unwrap(),
            tickets,
            _folder: folder,
        }
    }

    #[cfg(target_os = "linux")]
    fn dial(url: &str) -> std::io::Result<UnixStream> {
        use std::os::linux::net::SocketAddrExt;
        let name = url.trim_start_matches("abstract://");
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        let stream = UnixStream::connect_addr(&address)?;
        stream.set_read_timeout(Some(GUARD))?;
        Ok(stream)
    }

    #[cfg(not(target_os = "linux"))]
    fn dial(url: &str) -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(url.trim_start_matches("ipc://"))?;
        stream.set_read_timeout(Some(GUARD))?;
        Ok(stream)
    }

    fn connect(asked: &Asked) -> UnixStream {
        let mut stream = dial(asked.replier.url()).unwrap();
        stream
            .write_all(&[0, b'S', b'P', 0, 0, 0x30, 0, 0])
            .unwrap();
        let mut said = [0; 8];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(said, greeting());
        stream
    }

    fn ask(stream: &mut UnixStream, id: u32, task: u64) {
        stream.write_all(&reply(id, &task.to_be_bytes())).unwrap();
    }

    fn answer(stream: &mut UnixStream) -> u32 {
        let mut said = [0; 17];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(said[..9], [1, 0, 0, 0, 0, 0, 0, 0, 8]);
        assert_eq!(&said[13..], b"done");
        u32::from_be_bytes(said[9..13].try_into().unwrap())
    }

    #[test]
    fn each_request_is_answered_once_when_its_ticket_is_given_back() {
        let asked = replier("each");
        let mut stream = connect(&asked);
        for number in 0..3 {
            ask(&mut stream, 1 << 31 | number, u64::from(number) + 10);
        }
        let mut tickets: Vec<_> = (0..3)
            .map(|_| asked.tickets.recv_timeout(GUARD).unwrap())
            .collect();
        assert_eq!(
            tickets.iter().map(|(task, _)| *task).collect::<Vec<_>>(),
            [10, 11, 12]
        );
        tickets.remove(1).1.reply();
        assert_eq!(answer(&mut stream), 1 << 31 | 1);
        for (_, ticket) in tickets {
            ticket.reply();
        }
        assert_eq!(answer(&mut stream), 1 << 31);
        assert_eq!(answer(&mut stream), 1 << 31 | 2);
    }

    #[test]
    fn the_connection_ends_with_the_replier() {
        let asked = replier("ends");
        let mut stream = connect(&asked);
        ask(&mut stream, 1 << 31, 1);
        let (_, ticket) = asked.tickets.recv_timeout(GUARD).unwrap();
        drop(asked.replier);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        ticket.reply();
    }

    #[test]
    fn a_replier_that_nobody_dials_ends() {
        let asked = replier("nobody");
        drop(asked.replier);
        // The thread, and with it the closure, goes.
        assert!(
            asked
                .tickets
                .recv_timeout(GUARD)
                .is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn what_is_no_request_ends_the_connection() {
        let asked = replier("no-request");
        let mut stream = connect(&asked);
        stream.write_all(&[9; 21]).unwrap();
        assert!(
            asked
                .tickets
                .recv_timeout(GUARD)
                .is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn another_process_is_not_let_in() {
        let asked = replier("other");
        let name = asked
            .replier
            .url()
            .trim_start_matches("abstract://")
            .to_owned();
        let code = format!(
            "import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0{name}'); s.settimeout(60); print(s.recv(8))"
        );
        let Ok(other) = std::process::Command::new("/usr/bin/python3")
            .args(["-c", &code])
            .output()
        else {
            println!("skipped: there is no python3");
            return;
        };
        assert_eq!(String::from_utf8_lossy(&other.stdout).trim(), "b''");
        // And does not take the place of the one that may.
        connect(&asked);
    }
}
