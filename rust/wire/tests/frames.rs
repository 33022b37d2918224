//! Frames survive any split, and no bytes make the decoder panic or set aside more memory than a frame may take.

use mirai_wire::{
    Frame, FrameBuffer, FrameLimits, FromDaemon, Hello, LeaveReason, PREFIX_LEN, PairKey, Preamble,
    RefuseReason, Return, ReturnKey, ReturnTicket, Role, RunEnd, TaskFlags, ToDaemon, Want,
    WireError, encode_head,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn encode<M: Serialize>(frame: &Frame<M>) -> Vec<u8> {
    let mut bytes = encode_head(&frame.message, frame.payload.len() as u64);
    bytes.extend_from_slice(&frame.payload);
    bytes
}

/// Gives `bytes` to a buffer in pieces of at most the given sizes, in turn, and takes out what comes.
fn feed<M: DeserializeOwned>(
    buffer: &mut FrameBuffer,
    mut bytes: &[u8],
    sizes: &[usize],
) -> Result<Vec<Frame<M>>, WireError> {
    let mut frames = Vec::new();
    let mut sizes = sizes.iter().cycle();
    loop {
        loop {
            let has_frame = buffer.has_frame();
            let next = buffer.next_frame();
            assert_eq!(has_frame, !matches!(next, Ok(None)), "it says what follows");
            match next? {
                Some(frame) => frames.push(frame),
                None => break,
            }
        }
        if bytes.is_empty() {
            return Ok(frames);
        }
        let size = (*sizes.next().expect("sizes are not empty")).min(bytes.len());
        let taken = match buffer.want() {
            Want::Window(window) => {
                let taken = size.min(window.len());
                window[..taken].copy_from_slice(&bytes[..taken]);
                buffer.filled(taken);
                taken
            }
            Want::Payload { into, missing } => {
                assert!(
                    missing > 0 && into.capacity() - into.len() >= missing,
                    "spare capacity was promised"
                );
                let taken = size.min(missing);
                into.extend_from_slice(&bytes[..taken]);
                taken
            }
        };
        bytes = &bytes[taken..];
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let large = (any::<u8>(), 0usize..100_000).prop_map(|(byte, len)| vec![byte; len]);
    prop_oneof![3 => prop::collection::vec(any::<u8>(), 0..200), 1 => large]
}

fn to_daemon() -> impl Strategy<Value = ToDaemon> {
    prop_oneof![
        (any::<u32>(), any::<Option<([u8; 16], u32)>>()).prop_map(|(daemon, ticket)| {
            let ticket = ticket.map(|(key, grace)| ReturnTicket {
                key: ReturnKey(key),
                grace,
                silence: !grace,
            });
            ToDaemon::Welcome {
                daemon,
                ticket,
                ahead: daemon.is_multiple_of(2),
            }
        }),
        any::<u64>().prop_map(|received| ToDaemon::WelcomeBack { received }),
        any::<u64>().prop_map(|count| ToDaemon::Received { count }),
        Just(ToDaemon::Goodbye),
        Just(ToDaemon::Refuse(RefuseReason::Forgotten)),
        Just(ToDaemon::ControlTaken),
        any::<bool>()
            .prop_map(|hub_is_direct| ToDaemon::Refuse(RefuseReason::Mode { hub_is_direct })),
        Just(ToDaemon::Refuse(RefuseReason::Files)),
        (
            any::<u64>(),
            any::<Option<u64>>(),
            any::<u8>(),
            any::<u32>()
        )
            .prop_map(|(run, shared, flags, attempt)| ToDaemon::Task {
                run,
                shared,
                flags: TaskFlags(flags),
                attempt,
                word: shared.map(|shared| shared as u16),
            }),
        any::<u64>().prop_map(|id| ToDaemon::Shared { id }),
        any::<u64>().prop_map(|id| ToDaemon::Forget { id }),
        any::<u64>().prop_map(|run| ToDaemon::Cancel { run }),
        Just(ToDaemon::Exit),
        any::<u32>().prop_map(|pause| ToDaemon::Ping { pause }),
    ]
}

fn from_daemon() -> impl Strategy<Value = FromDaemon> {
    let role = prop_oneof![Just(Role::Data), Just(Role::Control)];
    let end = prop_oneof![
        Just(RunEnd::Value),
        Just(RunEnd::Failed),
        Just(RunEnd::Interrupted)
    ];
    let last = prop_oneof![Just(None), Just(Some(LeaveReason::MaxTasks))];
    prop_oneof![
        (role, any::<[u8; 16]>(), any::<bool>(), any::<Option<u64>>()).prop_map(
            |(role, key, direct, received)| FromDaemon::Hello(Hello {
                role,
                pair: PairKey(key),
                direct,
                pid: u32::from(key[0]),
                launcher: u64::from(key[1]),
                ahead: !direct,
                returning: received.map(|received| Return {
                    daemon: u32::from(key[2]),
                    key: ReturnKey(key),
                    received,
                }),
            })
        ),
        (any::<u64>(), end, any::<u64>(), last).prop_map(|(run, end, took, last)| {
            FromDaemon::Ended {
                run,
                end,
                took,
                last,
            }
        }),
        Just(FromDaemon::Leaving(LeaveReason::IdleTime)),
        Just(FromDaemon::Pong),
        Just(FromDaemon::Origin),
    ]
}

fn frames<M: Clone + std::fmt::Debug>(
    message: impl Strategy<Value = M>,
) -> impl Strategy<Value = Vec<Frame<M>>> {
    prop::collection::vec(
        (message, payload()).prop_map(|(message, payload)| Frame {
            message,
            payload: payload.into(),
            lost: false,
        }),
        0..6,
    )
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..20, 1usize..60_000], 1..10)
}

fn round_trip<M>(frames: Vec<Frame<M>>, sizes: &[usize]) -> Result<(), TestCaseError>
where
    M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
    let mut buffer = FrameBuffer::new(FrameLimits::PEER);
    let decoded =
        feed(&mut buffer, &bytes, sizes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(decoded, frames);
    prop_assert!(buffer.is_between_frames());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn frames_to_daemons_survive_any_split(frames in frames(to_daemon()), sizes in sizes()) {
        round_trip(frames, &sizes)?;
    }

    #[test]
    fn frames_from_daemons_survive_any_split(frames in frames(from_daemon()), sizes in sizes()) {
        round_trip(frames, &sizes)?;
    }

    #[test]
    fn arbitrary_bytes_give_frames_or_a_typed_error(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        sizes in sizes(),
    ) {
        let _ = feed::<ToDaemon>(&mut FrameBuffer::new(FrameLimits::PEER), &bytes, &sizes);
        let _ = feed::<FromDaemon>(&mut FrameBuffer::new(FrameLimits::STRANGER), &bytes, &sizes);
    }

    #[test]
    fn a_damaged_frame_gives_frames_or_a_typed_error(
        frame in (from_daemon(), payload()).prop_map(|(message, payload)| Frame { message, payload: payload.into(), lost: false }),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut bytes = encode(&frame);
        let at = at.index(bytes.len().min(64));
        bytes[at] ^= 1 << bit;
        let _ = feed::<FromDaemon>(&mut FrameBuffer::new(FrameLimits::PEER), &bytes, &[usize::MAX]);
    }
}

#[test]
fn a_preamble_is_checked_before_anything_else() {
    let check = |bytes: [u8; 8]| {
        let mut buffer = FrameBuffer::new(FrameLimits::STRANGER);
        let Want::Window(window) = buffer.want() else {
            panic!("an empty buffer wants a window")
        };
        window[..8].copy_from_slice(&bytes);
        buffer.filled(7);
        assert_eq!(buffer.next_preamble(), Ok(None));
        buffer.filled(1);
        buffer.next_preamble()
    };
    assert_eq!(check(Preamble::OURS.encode()), Ok(Some(())));
    assert_eq!(check(*b"GET / HT"), Err(WireError::NotMirai));
    assert_eq!(
        check(*b"mirai\0\xff\xff"),
        Err(WireError::Version {
            theirs: 0xffff,
            ours: mirai_wire::VERSION
        })
    );
}

#[test]
fn lengths_beyond_the_limits_are_refused_before_any_allocation() {
    let prefixed = |header: u32, payload: u64| {
        let mut bytes = vec![0; PREFIX_LEN];
        bytes[..4].copy_from_slice(&header.to_le_bytes());
        bytes[4..].copy_from_slice(&payload.to_le_bytes());
        bytes
    };
    let first_error = |limits, bytes: &[u8]| {
        feed::<FromDaemon>(&mut FrameBuffer::new(limits), bytes, &[64]).unwrap_err()
    };
    let too_long = WireError::HeaderTooLong {
        len: u64::from(u32::MAX),
        limit: 256,
    };
    assert_eq!(
        first_error(FrameLimits::PEER, &prefixed(u32::MAX, 0)),
        too_long
    );
    assert_eq!(
        first_error(FrameLimits::STRANGER, &prefixed(1, 1)),
        WireError::PayloadTooLong { len: 1, limit: 0 }
    );
    let beyond = WireError::PayloadTooLong {
        len: u64::MAX,
        limit: 1 << 40,
    };
    assert_eq!(
        first_error(FrameLimits::PEER, &prefixed(1, u64::MAX)),
        beyond
    );
}

#[test]
fn an_announced_length_alone_sets_little_memory_aside() {
    let mut bytes = encode_head(&ToDaemon::Shared { id: 1 }, 1 << 39);
    bytes.extend_from_slice(&[0; 1000]);
    let mut buffer = FrameBuffer::new(FrameLimits::PEER);
    assert_eq!(
        feed::<ToDaemon>(&mut buffer, &bytes, &[500]),
        Ok(Vec::new())
    );
    let Want::Payload { into, .. } = buffer.want() else {
        panic!("a payload is under way")
    };
    assert!(into.capacity() <= 64 * 1024 * 1024, "{}", into.capacity());
}

#[test]
fn every_message_fits_its_header() {
    let largest = ToDaemon::Task {
        run: u64::MAX,
        shared: Some(u64::MAX),
        flags: TaskFlags(u8::MAX),
        attempt: u32::MAX,
        word: Some(u16::MAX),
    };
    assert!(encode_head(&largest, u64::MAX).len() < 64);
}
