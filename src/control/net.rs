//! Desired state, its transactions, and their resolution into tables.
