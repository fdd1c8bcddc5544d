//! DPDK's FIBs behind safe types, for the benchmark that compares ours with
//! them. The product uses neither.

use std::ffi::CString;
use std::ptr::NonNull;

use crate::bindings as sys;

/// An errno.
type Errno = i32;

fn done(errno: i32) -> Result<(), Errno> {
    if errno == 0 { Ok(()) } else { Err(errno) }
}

fn flag(yes: bool) -> i32 {
    i32::from(yes)
}

/// `rte_fib`, DIR-24-8.
pub struct RteFib4(NonNull<sys::rte_fib>);

/// `rte_fib6`, trie.
pub struct RteFib6(NonNull<sys::rte_fib6>);

impl RteFib4 {
    /// Room for so many routes and groups; the EAL must be running. `None`:
    /// no memory, or the name is taken.
    pub fn new(name: &str, routes: u32, groups: u32) -> Option<RteFib4> {
        let name = CString::new(name).ok()?;
        // SAFETY:
        // - the name ends with a zero and is copied.
        NonNull::new(unsafe { sys::gh_fib4_create(name.as_ptr(), routes, groups) }).map(RteFib4)
    }

    /// Adds a route (address in host byte order).
    pub fn add(&mut self, address: u32, len: u8, hop: u32) -> Result<(), Errno> {
        // SAFETY:
        // - created by `new` and not freed; &mut: nobody else uses it.
        done(unsafe { sys::gh_fib4_add(self.0.as_ptr(), address, len, hop) })
    }

    /// Takes a route out.
    pub fn delete(&mut self, address: u32, len: u8) -> Result<(), Errno> {
        // SAFETY:
        // - as in `add`.
        done(unsafe { sys::gh_fib4_delete(self.0.as_ptr(), address, len) })
    }

    /// Looks up with AVX-512, or without.
    pub fn use_avx512(&mut self, yes: bool) -> Result<(), Errno> {
        // SAFETY:
        // - as in `add`.
        done(unsafe { sys::gh_fib4_use_avx512(self.0.as_ptr(), flag(yes)) })
    }

    /// Looks up as many as the shorter of the slices holds.
    pub fn lookup(&self, addresses: &[u32], hops: &mut [u64]) {
        let n = addresses.len().min(hops.len()) as u32;
        // SAFETY:
        // - both slices hold n values; the first is only read;
        // - created by `new` and not freed; no change runs, they need &mut.
        unsafe {
            sys::gh_fib4_lookup(self.0.as_ptr(), addresses.as_ptr(), hops.as_mut_ptr(), n);
        }
    }
}

impl RteFib6 {
    /// Room for so many routes and groups; the EAL must be running. `None`:
    /// no memory, or the name is taken.
    pub fn new(name: &str, routes: u32, groups: u32) -> Option<RteFib6> {
        let name = CString::new(name).ok()?;
        // SAFETY:
        // - the name ends with a zero and is copied.
        NonNull::new(unsafe { sys::gh_fib6_create(name.as_ptr(), routes, groups) }).map(RteFib6)
    }

    /// Adds a route.
    pub fn add(&mut self, address: [u8; 16], len: u8, hop: u32) -> Result<(), Errno> {
        // SAFETY:
        // - created by `new` and not freed; &mut: nobody else uses it;
        // - 16 bytes are read.
        done(unsafe { sys::gh_fib6_add(self.0.as_ptr(), address.as_ptr(), len, hop) })
    }

    /// Takes a route out.
    pub fn delete(&mut self, address: [u8; 16], len: u8) -> Result<(), Errno> {
        // SAFETY:
        // - as in `add`.
        done(unsafe { sys::gh_fib6_delete(self.0.as_ptr(), address.as_ptr(), len) })
    }

    /// Looks up with AVX-512, or without.
    pub fn use_avx512(&mut self, yes: bool) -> Result<(), Errno> {
        // SAFETY:
        // - as in `add`.
        done(unsafe { sys::gh_fib6_use_avx512(self.0.as_ptr(), flag(yes)) })
    }

    /// Looks up as many as the shorter of the slices holds.
    pub fn lookup(&self, addresses: &[[u8; 16]], hops: &mut [u64]) {
        let n = addresses.len().min(hops.len()) as u32;
        // SAFETY:
        // - n times 16 bytes are only read, n values written, which the slices
        //   hold;
        // - created by `new` and not freed; no change runs, they need &mut.
        unsafe {
            let addresses = addresses.as_ptr().cast();
            sys::gh_fib6_lookup(self.0.as_ptr(), addresses, hops.as_mut_ptr(), n);
        }
    }
}

impl Drop for RteFib4 {
    fn drop(&mut self) {
        // SAFETY:
        // - created by `new`, freed only here.
        unsafe { sys::gh_fib4_free(self.0.as_ptr()) }
    }
}

impl Drop for RteFib6 {
    fn drop(&mut self) {
        // SAFETY:
        // - created by `new`, freed only here.
        unsafe { sys::gh_fib6_free(self.0.as_ptr()) }
    }
}
