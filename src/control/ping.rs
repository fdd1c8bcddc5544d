//! Echo requests sent from here.
