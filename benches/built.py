"""The small programs of the harness, built when their sources are newer."""

import json
import os
import shlex
import subprocess
import tomllib

from lab import REPO, CommandFailed

TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(REPO, "target")))
FOLDER = os.path.join(TARGET, "bench")
LIBRARIES = ("greyhound", "dpdk_sys", "serde_json")  # what benches use
HARNESS = os.path.join(REPO, "benches/harness")


def command(argv, cwd=REPO):
    """Runs it; its output, or an error with that."""
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise CommandFailed(f"{shlex.join(argv)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _built(name, sources, argv):
    """The program of that name, made by `argv` (which gets `-o` and the place)."""
    os.makedirs(FOLDER, exist_ok=True)
    program = os.path.join(FOLDER, name)
    if not os.path.exists(program) or any(os.path.getmtime(program) < os.path.getmtime(s) for s in sources):
        command([*argv, "-o", program])
    return program


def calibrate():
    """The loop that tells how much of a core is ours."""
    source = os.path.join(HARNESS, "calibrate.rs")
    return _built("calibrate", [source], ["rustc", "--edition=2024", "-O", source])


def pacer():
    """The source with a pace, over DPDK."""
    source = os.path.join(HARNESS, "pacer.c")
    flags = command(["pkg-config", "--cflags", "--libs", "libdpdk"]).split()
    return _built("pacer", [source], ["cc", "-O3", "-march=native", "-Wall", "-Wextra", source, *flags])


def bench(name, source):
    """A Rust bench as the release binary is built, from the very libraries that are in it.

    `cargo bench` would build everything once more, since benches may not abort on
    a panic; linking what is there takes seconds instead of minutes.
    """
    libraries = _release_libraries()
    with open(os.path.join(REPO, "Cargo.toml"), "rb") as file:
        manifest = tomllib.load(file)
    profile, package = manifest["profile"]["release"], manifest["workspace"]["package"]
    options = [f"-C{key}={value}" for key, value in (
        ("opt-level", profile.get("opt-level", 3)), ("lto", profile["lto"]), ("panic", profile["panic"]),
        ("codegen-units", profile["codegen-units"]), ("debuginfo", profile["debug"]))]
    source = os.path.join(REPO, "benches", source)
    return _built(name, [*_sources(source), libraries["greyhound"]],
                  ["rustc", f"--edition={package['edition']}", f"--crate-name={name}", '--cfg=feature="dpdk"', *options,
                   source, *(f"--extern={crate}={file}" for crate, file in libraries.items()),
                   f"-Ldependency={TARGET}/release/deps"])


def _release_libraries():
    """{crate: its library} of the release build, which is made if it is not there."""
    found = {}
    for line in command(["cargo", "build", "--release", "--quiet", "--message-format=json"]).splitlines():
        message = json.loads(line)
        name = message.get("target", {}).get("name")
        if name in LIBRARIES and "lib" in message["target"]["kind"]:
            found[name] = next(file for file in message["filenames"] if file.endswith(".rlib"))
    return found


def _sources(main):
    """The file, and all of its folder: the one it is main.rs of, or the one of its name."""
    folder = os.path.dirname(main) if main.endswith("main.rs") else main.removesuffix(".rs")
    beside = os.listdir(folder) if os.path.isdir(folder) else []
    return [main, *(os.path.join(folder, file) for file in beside)]
