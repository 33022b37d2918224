//! Plain values only: given, event, effects.

mod ahead;
mod barrier;
mod cancelling;
mod claims;
mod clocks;
mod deadlines;
mod direct;
mod leaving;
mod model;
mod properties;
mod queueing;
mod recorder;
mod retrying;
mod setups;
mod simulator;
mod single;
mod slab;
mod suspicion;
mod together;
mod wheel;
