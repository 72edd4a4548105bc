//! Wire protocols: pure decoders over what a socket carried. No clock, no I/O, no globals.
//!
//! A decoder is fed [`stream::Segment`]s, one per read or write call, and says what happened. What
//! it can't know it reports as unknown, and counts; it never guesses.

pub mod classify;
pub mod http1;
pub mod postgres;
pub mod stream;
