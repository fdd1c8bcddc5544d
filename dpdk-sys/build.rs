//! Bindings and shim; see `src/lib.rs`.

fn main() {}
