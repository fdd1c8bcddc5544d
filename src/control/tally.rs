//! Why control dropped a packet.
