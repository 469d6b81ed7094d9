//! Settings.
mod place;
pub use place::Place;
