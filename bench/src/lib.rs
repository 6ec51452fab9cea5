//! The daemon's hot paths as bodies that can be run any number of times: criterion measures how long they take
//! (`benches/hot_paths.rs`), callgrind how many instructions (`main.rs`).

mod bodies;
pub mod table;

pub use bodies::{BODIES, Body};
