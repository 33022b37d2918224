//! Streams of random numbers: the step from one L'Ecuyer-CMRG stream to the next.
//!
//! The generator MRG32k3a keeps two triples of numbers. A stream is 2^127 steps long, so the next one begins where two
//! matrices, the 2^127th powers of the step modulo two primes, take the triples (L'Ecuyer, Simard, Chen and Kelton, *An
//! object-oriented random-number package with many long streams and substreams*, 2002). The result is that of
//! `parallel::nextRNGStream()`.

use crate::rapi::{Failure, Scope, Sexp};

/// A value of `.Random.seed` for L'Ecuyer-CMRG: the kinds, and six numbers that R shows as signed.
pub(crate) type Seed = [i32; 7];

/// The remainder of an L'Ecuyer-CMRG kind divided by 100.
const LECUYER: i32 = 7;

const M1: u64 = 4_294_967_087;
const M2: u64 = 4_294_944_443;

const A1: [[u64; 3]; 3] = [
    [2_427_906_178, 3_580_155_704, 949_770_784],
    [226_153_695, 1_230_515_664, 3_580_155_704],
    [1_988_835_001, 986_791_581, 1_230_515_664],
];
const A2: [[u64; 3]; 3] = [
    [1_464_411_153, 277_697_599, 1_610_723_613],
    [32_183_930, 1_464_411_153, 1_022_607_788],
    [2_824_425_944, 32_183_930, 2_093_834_863],
];

/// The stream after `seed`'s.
pub(crate) fn next_stream(seed: Seed) -> Seed {
    let [kind, a, b, c, d, e, f] = seed;
    let [a, b, c] = times(&A1, [a, b, c], M1);
    let [d, e, f] = times(&A2, [d, e, f], M2);
    [kind, a, b, c, d, e, f]
}

/// The product, modulo `m`.
fn times(matrix: &[[u64; 3]; 3], triple: [i32; 3], m: u64) -> [i32; 3] {
    matrix.map(|row| {
        let sum = row.iter().zip(triple).fold(0, |sum, (factor, value)| {
            (sum + factor * u64::from(value as u32) % m) % m
        });
        sum as u32 as i32
    })
}

/// Reads a seed given by R.
pub(crate) fn seed(scope: &Scope, x: Sexp<'_>, argument: &str) -> Result<Seed, Failure> {
    let seed: Seed = x.integers(scope, argument)?;
    if seed[0] % 100 == LECUYER {
        Ok(seed)
    } else {
        Err(Failure::error(format!(
            "`{argument}` must be a seed of kind \"L'Ecuyer-CMRG\""
        )))
    }
}

/// Reads a seed, or `NULL`.
pub(crate) fn optional_seed(
    scope: &Scope,
    x: Sexp<'_>,
    argument: &str,
) -> Result<Option<Seed>, Failure> {
    if x.is_null() {
        Ok(None)
    } else {
        seed(scope, x, argument).map(Some)
    }
}

/// Entry: the stream after a seed's.
pub(crate) fn next_rng_stream<'r>(scope: &'r Scope, x: Sexp<'r>) -> Result<Sexp<'r>, Failure> {
    let next = next_stream(seed(scope, x, "seed")?);
    Ok(scope.integers(&next)?)
}
