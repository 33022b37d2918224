//! Nothing of its own: this crate holds the benchmark programs beside it.
