//! ICMP errors and other ICMP that control sends and reads.
