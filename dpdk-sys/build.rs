//! Finds libdpdk with pkg-config, compiles the C shim with DPDK's own flags and
//! lets bindgen read `shim.h` and `fib.h`, the only headers Rust ever sees.
//!
//! The drivers are not linked: Debian's libdpdk loads them as plugins from its
//! own directory when the EAL starts, so the binary needs the core libraries
//! only, and those travel to the final link through `cargo:rustc-link-lib`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The libraries the shim calls. A release that lacks one (22.11 has no
/// `rte_log`) does not list it, and it is left out.
///
/// `rte_fib` is for the benchmark; a program that does not call it is not linked
/// with it.
const NEEDED: [&str; 7] =
    ["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_log", "rte_fib"];

const MISSING: &str = "\
DPDK was not found. Greyhound needs libdpdk 22.11 or later and pkg-config; on Debian:

    apt-get install libdpdk-dev pkg-config

(To build what needs no DPDK: cargo build --no-default-features.)";

fn main() {
    for file in ["build.rs", "shim.h", "shim.c", "fib.h", "fib.c"] {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-env-changed=LIBCLANG_PATH");

    let dpdk = match pkg_config::Config::new()
        .atleast_version("22.11")
        .cargo_metadata(false)
        .env_metadata(true)
        .probe("libdpdk")
    {
        Ok(library) => library,
        Err(error) => fail(&format!("{MISSING}\n\npkg-config says: {error}")),
    };
    let flags = machine_flags();

    let mut shim = cc::Build::new();
    shim.file("shim.c").file("fib.c").includes(&dpdk.include_paths).warnings(true).opt_level(3);
    for flag in &flags {
        shim.flag(flag);
    }
    shim.compile("greyhound_dpdk_shim");

    for dir in &dpdk.link_paths {
        println!("cargo:rustc-link-search=native={}", dir.display());
    }
    for library in NEEDED.iter().filter(|l| dpdk.libs.iter().any(|have| have == *l)) {
        println!("cargo:rustc-link-lib=dylib={library}");
    }

    bindings(&dpdk.include_paths, &flags);
}

/// What pkg-config's crate leaves out of the cflags: `-include rte_config.h`
/// and the `-march` the library was built for, without which the layout of
/// structs could differ.
fn machine_flags() -> Vec<String> {
    let pkg_config = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = Command::new(&pkg_config).args(["--cflags-only-other", "libdpdk"]).output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
        }
        Ok(output) => fail(&format!("{MISSING}\n\n{}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => fail(&format!("{MISSING}\n\n`{pkg_config}`: {error}")),
    }
}

fn bindings(include_paths: &[PathBuf], flags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("shim.h")
        .header("fib.h")
        .allowlist_item("gh_.*|GH_.*|rte_mempool|rte_fib|rte_fib6")
        .allowlist_recursively(false)
        .opaque_type("rte_mempool")
        .prepend_enum_name(false)
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false)
        .clang_args(include_paths.iter().map(|dir| format!("-I{}", dir.display())))
        .clang_args(flags);
    if let Some(llvm) = choose_llvm() {
        builder = builder.clang_arg(format!("-resource-dir={}", llvm.resources.display()));
        // SAFETY: a build script; no other thread runs and nothing has read
        // the variable yet.
        unsafe { env::set_var("LIBCLANG_PATH", &llvm.lib) };
    }
    let bindings = match builder.generate() {
        Ok(bindings) => bindings,
        Err(error) => fail(&format!("bindgen could not read shim.h: {error}")),
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("bindings.rs");
    if let Err(error) = bindings.write_to_file(&out) {
        fail(&format!("cannot write {}: {error}", out.display()));
    }
}

/// One LLVM: its libclang and the builtin headers (`stddef.h`) that belong to it.
struct Llvm {
    version: u32,
    lib: PathBuf,
    resources: PathBuf,
}

/// The newest LLVM in Debian's places that is whole: with several installed,
/// libclang of one must not read the builtin headers of another. `None` when
/// the user chose one by `LIBCLANG_PATH` or there is none in these places
/// (bindgen then searches by itself and says what it misses).
fn choose_llvm() -> Option<Llvm> {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return None;
    }
    let dirs = std::fs::read_dir("/usr/lib").ok()?;
    dirs.flatten().filter_map(|dir| whole_llvm(&dir.path())).max_by_key(|llvm| llvm.version)
}

fn whole_llvm(root: &Path) -> Option<Llvm> {
    let version = root.file_name()?.to_str()?.strip_prefix("llvm-")?.parse().ok()?;
    let lib = root.join("lib");
    let has_library = std::fs::read_dir(&lib).ok()?.flatten().any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libclang.so")
            || name.starts_with("libclang-")
                && name.contains(".so")
                && !name.starts_with("libclang-cpp")
    });
    let resources = std::fs::read_dir(lib.join("clang"))
        .ok()?
        .flatten()
        .map(|dir| dir.path())
        .find(|dir| dir.join("include/stddef.h").is_file())?;
    has_library.then_some(Llvm { version, lib, resources })
}

/// Ends the build with a message a person can act on.
fn fail(message: &str) -> ! {
    eprintln!("\n{message}\n");
    std::process::exit(1);
}
