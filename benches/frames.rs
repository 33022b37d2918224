//! What encoding and decoding a frame costs, for a small task and a large payload.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mirai_wire::{FrameBuffer, FrameLimits, TaskFlags, ToDaemon, encode_head};

const TASK: ToDaemon = ToDaemon::Task {
    run: 1_000_000,
    shared: None,
    flags: TaskFlags(0),
    attempt: 1,
    word: None,
};

fn give(buffer: &mut FrameBuffer, mut bytes: &[u8]) -> usize {
    let mut frames = 0;
    while !bytes.is_empty() {
        bytes = buffer.take_in(bytes);
        while let Some(frame) = buffer
            .next_frame::<ToDaemon>()
            .expect("frames of our own making")
        {
            black_box(frame);
            frames += 1;
        }
    }
    frames
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode the head of a task", |bench| {
        bench.iter(|| encode_head(black_box(&TASK), 200))
    });

    for (name, payload) in [("200 B", 200), ("10 MB", 10_000_000)] {
        let mut bytes = encode_head(&TASK, payload as u64);
        bytes.resize(bytes.len() + payload, 1);
        let mut buffer = FrameBuffer::new(FrameLimits::PEER);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("decode a task of {name}"), |bench| {
            bench.iter(|| assert_eq!(give(&mut buffer, &bytes), 1));
        });
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
