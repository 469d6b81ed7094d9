//! One client for source and target.
