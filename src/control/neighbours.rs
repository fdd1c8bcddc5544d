//! The neighbour cache: ARP, held packets, published entries.
