//! Daemons without threads of their own: one thread serves the connections of all of them over plain TCP, so that what a hub
//! does for many is not mixed up with what thousands of threads cost the system.

use std::io;
use std::net::SocketAddr;

use mirai_handshake::{Daemon, Step};
use mirai_wire::{
    Frame, FrameBuffer, FrameLimits, FromDaemon, Hello, PairKey, Preamble, Role, RunEnd, ToDaemon,
    Want, encode_head,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Joins with so many daemons, which send back what they are given until the hub closes.
pub fn serve(hub: SocketAddr, count: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut daemons = JoinSet::new();
        for number in 0..count {
            let daemon = join(hub, number).await?;
            daemons.spawn(daemon.work());
        }
        while daemons.join_next().await.is_some() {}
        Ok(())
    })
}

struct Simulated {
    data: Channel,
    control: Channel,
}

/// The control connection comes first, as the hub looks for it when the other one comes.
async fn join(hub: SocketAddr, number: usize) -> io::Result<Simulated> {
    let mut pair = [0; 16];
    pair[..8].copy_from_slice(&number.to_le_bytes());
    let hello = Hello {
        role: Role::Control,
        pair: PairKey(pair),
        direct: false,
        pid: 0,
        launcher: 0,
        ahead: false,
        returning: None,
    };
    let mut control = Channel::open(hub, hello).await?;
    control.next().await?;
    let role = Role::Data;
    let mut data = Channel::open(hub, Hello { role, ..hello }).await?;
    match data.next().await?.message {
        ToDaemon::Welcome { .. } => {}
        other => return Err(io::Error::other(format!("no welcome: {other:?}"))),
    }
    Ok(Simulated { data, control })
}

impl Simulated {
    /// Until either connection ends.
    async fn work(mut self) -> io::Result<()> {
        tokio::select! {
            ended = reply(&mut self.data) => ended,
            ended = answer(&mut self.control) => ended,
        }
    }
}

/// Says that it is there, whenever the hub asks.
async fn answer(control: &mut Channel) -> io::Result<()> {
    let pong = encode_head(&FromDaemon::Pong, 0);
    loop {
        if let ToDaemon::Ping { .. } = control.next().await?.message {
            control.stream.write_all(&pong).await?;
        }
    }
}

async fn reply(data: &mut Channel) -> io::Result<()> {
    loop {
        let Frame {
            message, payload, ..
        } = data.next().await?;
        if let ToDaemon::Task { run, .. } = message {
            let ended = FromDaemon::Ended {
                run,
                end: RunEnd::Value,
                took: 0,
                last: None,
            };
            let mut reply = encode_head(&ended, payload.len() as u64);
            reply.extend(payload);
            data.stream.write_all(&reply).await?;
        }
    }
}

struct Channel {
    stream: TcpStream,
    buffer: FrameBuffer,
}

impl Channel {
    async fn open(hub: SocketAddr, hello: Hello) -> io::Result<Channel> {
        let mut stream = TcpStream::connect(hub).await?;
        stream.set_nodelay(true)?;
        let (mut handshake, opening) = Daemon::new(None, [1; 32]);
        stream.write_all(&opening).await?;
        let mut answer = vec![0; handshake.wants()];
        stream.read_exact(&mut answer).await?;
        match handshake.read(&answer) {
            Ok(Step::Done(..)) => {}
            other => return Err(io::Error::other(format!("not introduced: {other:?}"))),
        }
        let mut greeting = Preamble::OURS.encode().to_vec();
        greeting.extend(encode_head(&FromDaemon::Hello(hello), 0));
        stream.write_all(&greeting).await?;
        Ok(Channel {
            stream,
            buffer: FrameBuffer::new(FrameLimits::PEER),
        })
    }

    async fn next(&mut self) -> io::Result<Frame<ToDaemon>> {
        loop {
            if let Some(frame) = self.buffer.next_frame().map_err(io::Error::other)? {
                return Ok(frame);
            }
            let count = match self.buffer.want() {
                Want::Window(window) => {
                    let count = self.stream.read(window).await?;
                    self.buffer.filled(count);
                    count
                }
                Want::Payload { into, .. } => self.stream.read_buf(into).await?,
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
