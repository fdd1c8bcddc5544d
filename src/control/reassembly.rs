//! Fragments addressed to us, put together.
