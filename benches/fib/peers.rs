//! DPDK's FIBs, filled with the same routes.

use dpdk_sys::fib::{RteFib4, RteFib6};

use crate::work;

/// Starts the EAL for its memory: ordinary pages, as ours has.
pub fn start() -> bool {
    let prefix = format!("--file-prefix=fib-bench-{}", std::process::id());
    let arguments = [
        "fib",
        "--no-huge",
        "-m",
        "3072",
        "--no-shconf",
        "--no-pci",
        "--no-telemetry",
        "--lcores",
        "0@(0-1)",
        "--log-level=3",
        "--force-max-simd-bitwidth=512",
        &prefix,
    ];
    let owned: Vec<std::ffi::CString> =
        arguments.iter().map(|text| std::ffi::CString::new(*text).unwrap()).collect();
    let mut pointers: Vec<_> = owned.iter().map(|text| text.as_ptr().cast_mut()).collect();
    // SAFETY:
    // - the strings live to the end of this function; the EAL copies what it
    //   keeps, and called once it has no other rule.
    unsafe { dpdk_sys::gh_eal_init(pointers.len() as i32, pointers.as_mut_ptr()) == 0 }
}

/// `rte_fib` with these routes.
pub fn ipv4(prefixes: &[(u32, u8)]) -> RteFib4 {
    let room = prefixes.len() as u32 * 2 + 1024;
    let mut fib = RteFib4::new("peer4", room, 1 << 16).expect("memory for rte_fib");
    for (n, (address, len)) in prefixes.iter().enumerate() {
        fib.add(*address, *len, work::hop(n)).unwrap();
    }
    fib
}

/// `rte_fib6` with these routes.
pub fn ipv6(prefixes: &[(u128, u8)]) -> RteFib6 {
    let room = prefixes.len() as u32 * 2 + 1024;
    let mut fib = RteFib6::new("peer6", room, 1 << 19).expect("memory for rte_fib6");
    for (n, (address, len)) in prefixes.iter().enumerate() {
        fib.add(address.to_be_bytes(), *len, work::hop(n)).unwrap();
    }
    fib
}

/// A FIB of DPDK's, of either family.
pub trait Peer {
    type Address;
    /// Looks up with AVX-512 from now on, or without; false if it cannot.
    fn avx512(&mut self, yes: bool) -> bool;
    fn look(&self, addresses: &[Self::Address], hops: &mut [u64]);
}

impl Peer for RteFib4 {
    type Address = u32;
    fn avx512(&mut self, yes: bool) -> bool {
        self.use_avx512(yes).is_ok()
    }
    fn look(&self, addresses: &[u32], hops: &mut [u64]) {
        self.lookup(addresses, hops);
    }
}

impl Peer for RteFib6 {
    type Address = [u8; 16];
    fn avx512(&mut self, yes: bool) -> bool {
        self.use_avx512(yes).is_ok()
    }
    fn look(&self, addresses: &[[u8; 16]], hops: &mut [u64]) {
        self.lookup(addresses, hops);
    }
}
