//! Raw bindings to the part of DPDK that Greyhound uses.
