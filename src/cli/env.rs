//! `greyhound env`: the BSD verbs first on PATH, so that the technote's lines
//! run as typed.
//!
//! It makes a folder of links named `ifconfig`, `route`, `arp`, `ndp`, `netstat`,
//! `ping` and `ping6` to this very executable and prints the shell commands that put it
//! first on PATH. The folder belongs to the executable (its name has a hash of
//! the path), so that two builds do not fight, and to the user: commands found
//! there run with the user's rights, so nobody else may be able to change it.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::{Failure, SHIMS, Session};

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  eval \"$(greyhound env)\"              from here on, in this shell:
  ifconfig gre0 create                 speaks to the gateway
  greyhound --socket /run/other.sock env
                                       the same for another gateway";

/// Makes the links and prints what a shell should evaluate.
pub fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let folder = shims()?;
    let socket = std::path::absolute(session.socket).unwrap_or_else(|_| session.socket.to_owned());
    // Once is enough, however often a shell asks.
    if !comes_first(&folder, std::env::var_os("PATH").as_deref()) {
        session.print(&format!("export PATH={}:\"$PATH\"\n", quoted(folder.as_os_str())))?;
    }
    session.print(&format!("export GREYHOUND_SOCKET={}\n", quoted(socket.as_os_str())))
}

fn comes_first(folder: &Path, path: Option<&OsStr>) -> bool {
    path.is_some_and(|path| std::env::split_paths(path).next().is_some_and(|first| first == folder))
}

/// The folder of links, made if it is not there yet.
pub fn shims() -> Result<PathBuf, Failure> {
    let executable = std::env::current_exe().map_err(|source| Failure::File {
        action: "find",
        path: "this executable".into(),
        source,
    })?;
    let user = user()?;
    let base = base(user, std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
    own_folder(&base, user)?;
    let folder = base.join(folder_name(&executable));
    own_folder(&folder, user)?;
    for verb in SHIMS {
        link(&executable, &folder.join(verb))?;
    }
    Ok(folder)
}

/// The effective user's number, which is the owner of our own entry in /proc.
fn user() -> Result<u32, Failure> {
    let path = PathBuf::from("/proc/self");
    let found = fs::metadata(&path).map(|meta| meta.uid());
    found.map_err(|source| Failure::File { action: "read", path, source })
}

/// Where the folder is: a place that goes away by itself, if there is one.
fn base(user: u32, runtime: Option<PathBuf>) -> PathBuf {
    match runtime.filter(|dir| dir.is_absolute()) {
        // What root inherits of another user's environment is not root's.
        _ if user == 0 => PathBuf::from("/run/greyhound"),
        Some(dir) => dir.join("greyhound"),
        None => PathBuf::from(format!("/tmp/greyhound-{user}")),
    }
}

fn folder_name(executable: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    executable.hash(&mut hasher);
    format!("bin-{:016x}", hasher.finish())
}

/// Makes a folder, or makes sure that the one there is the user's own.
fn own_folder(path: &Path, user: u32) -> Result<(), Failure> {
    let failed = |action| move |source| Failure::File { action, path: path.to_owned(), source };
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(failed("create")(error));
        }
        _ => {}
    }
    let meta = fs::symlink_metadata(path).map_err(failed("read"))?;
    let unsafe_for = |why| Err(Failure::Unsafe { path: path.to_owned(), why });
    if !meta.is_dir() {
        return unsafe_for("it is not a folder");
    }
    if meta.uid() != user {
        return unsafe_for("it belongs to another user");
    }
    if meta.mode() & 0o022 != 0 {
        return unsafe_for("others may write to it");
    }
    Ok(())
}

/// Makes `link` lead to `executable`, never missing in between: other shells
/// may be running commands through it.
fn link(executable: &Path, link: &Path) -> Result<(), Failure> {
    if fs::read_link(link).is_ok_and(|there| there == executable) {
        return Ok(());
    }
    let fresh = link.with_extension(format!("new-{}", std::process::id()));
    let made = symlink(executable, &fresh).and_then(|()| fs::rename(&fresh, link));
    made.map_err(|source| Failure::File { action: "create", path: link.to_owned(), source })
}

/// A word for any POSIX shell.
fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_is_in_a_place_of_the_users_own() {
        let xdg = Some(PathBuf::from("/run/user/7"));
        assert_eq!(base(0, xdg.clone()), Path::new("/run/greyhound"));
        assert_eq!(base(7, xdg), Path::new("/run/user/7/greyhound"));
        assert_eq!(base(7, None), Path::new("/tmp/greyhound-7"));
        assert_eq!(base(7, Some("relative".into())), Path::new("/tmp/greyhound-7"));
        let [a, b] = ["/a/greyhound", "/b/greyhound"].map(|exe| folder_name(Path::new(exe)));
        assert_ne!(a, b);
    }

    #[test]
    fn folders_that_others_could_change_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let me = user().unwrap();
        let folder = dir.path().join("bin");
        own_folder(&folder, me).unwrap();
        own_folder(&folder, me).unwrap();
        let refused = |user| own_folder(&folder, user).unwrap_err().to_string();
        assert!(refused(me + 1).contains("another user"));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refused(me).contains("write"));
        let other = dir.path().join("elsewhere");
        symlink(dir.path(), &other).unwrap();
        assert!(own_folder(&other, me).unwrap_err().to_string().contains("not a folder"));
    }

    #[test]
    fn links_are_made_once_and_replaced_when_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ifconfig");
        for executable in ["/bin/true", "/bin/true", "/bin/false"] {
            link(Path::new(executable), &path).unwrap();
            assert_eq!(fs::read_link(&path).unwrap(), Path::new(executable));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted(OsStr::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn path_is_set_once() {
        let folder = Path::new("/run/x");
        assert!(comes_first(folder, Some(OsStr::new("/run/x:/bin"))));
        assert!(!comes_first(folder, Some(OsStr::new("/bin:/run/x"))));
        assert!(!comes_first(folder, None));
    }
}
