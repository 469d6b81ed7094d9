//! Settings.
mod place;
mod secret;
pub use place::Place;
pub use secret::Secret;
