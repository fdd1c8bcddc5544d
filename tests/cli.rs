//! The binary against a gateway that is only a thread on a Unix socket: what it
//! asks, what it prints, how it exits.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use greyhound::model::api::{Call, Request};
use greyhound::model::op::{Located, Op};
use greyhound::model::spec::PublishSpec;
use greyhound::model::view::ControlView;
use serde_json::{Value, json};
use tempfile::TempDir;

const GREYHOUND: &str = env!("CARGO_BIN_EXE_greyhound");
const MAC: &str = "02:00:00:00:00:01";

/// What the fake gateway says to a request.
enum Reply {
    /// The result, in a proper response.
    Result(Value),
    /// An error of this code with these problems.
    Error(&'static str, Vec<Value>),
    /// These bytes.
    Raw(String),
    /// These bytes, and then it closes the connection.
    Last(String),
}

/// A gateway that answers as told and keeps what it was asked.
struct Fake {
    dir: TempDir,
    asked: Receiver<Request>,
}

impl Fake {
    fn new(answer: impl FnMut(&Call) -> Reply + Send + 'static) -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
        let (tell, asked) = channel();
        // Ends with the test's process: nothing else stops it.
        std::thread::spawn(move || serve(&listener, answer, &tell));
        Fake { dir, asked }
    }

    /// One that answers all requests with this result.
    fn saying(result: Value) -> Fake {
        Fake::new(move |_| Reply::Result(result.clone()))
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn run(&self, line: &str) -> Ran {
        run(&self.socket(), line)
    }

    /// What was asked since the last time.
    fn calls(&self) -> Vec<Call> {
        self.asked.try_iter().map(|r| r.call).collect()
    }

    /// A bash line in the environment of `greyhound env`.
    fn bash(&self, line: &str) -> Ran {
        let script = format!("set -e; eval \"$({GREYHOUND} env)\"; set +e\n{line}");
        Ran::of(Command::new("bash").arg("-c").arg(script).env("GREYHOUND_SOCKET", self.socket()))
    }
}

fn serve(listener: &UnixListener, mut answer: impl FnMut(&Call) -> Reply, tell: &Sender<Request>) {
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            let request: Request = serde_json::from_str(&line).unwrap();
            let reply = answer(&request.call);
            let id = request.id;
            tell.send(request).unwrap();
            let last = matches!(reply, Reply::Last(_));
            let body = match reply {
                Reply::Raw(text) | Reply::Last(text) => text,
                Reply::Result(result) => {
                    format!("{}\n", json!({"version": 1, "id": id, "result": result}))
                }
                Reply::Error(code, problems) => {
                    let error = json!({"code": code, "problems": problems});
                    format!("{}\n", json!({"version": 1, "id": id, "error": error}))
                }
            };
            if in_pieces(&stream, body.as_bytes()).is_err() || last {
                break;
            }
        }
    }
}

/// Writes as a socket may deliver: cut anywhere.
fn in_pieces(mut stream: &UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    stream.write_all(head)?;
    stream.flush()?;
    stream.write_all(tail)
}

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(command: &mut Command) -> Ran {
        Ran::from(command.stdin(Stdio::null()).output().unwrap())
    }

    /// Fails unless it exited 0 without a word on standard error.
    fn quietly(self) -> String {
        assert!(self.code == 0 && self.err.is_empty(), "{self:?}");
        self.out
    }

    /// Fails unless it exited with `code`, said every word, and printed nothing.
    fn refused(self, code: i32, words: &[&str]) {
        assert!(self.code == code && self.out.is_empty(), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "no `{word}` in {}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn run(socket: &Path, line: &str) -> Ran {
    Ran::of(Command::new(GREYHOUND).arg("--socket").arg(socket).args(line.split_whitespace()))
}

fn interface(name: &str, kind: &str, mac: Option<&str>) -> Value {
    json!({
        "name": name, "index": 1, "kind": kind, "flags": ["UP", "RUNNING"], "mtu": 1500, "mac": mac,
        "addresses": [{"address": "10.0.0.1", "prefix_len": 8}],
        "traffic": {"rx_packets": 1, "rx_bytes": 2, "tx_packets": 3, "tx_bytes": 4,
                    "rx_dropped": 5, "tx_dropped": 6}
    })
}

fn transaction(ops: Vec<Op>) -> Call {
    Call::Transaction { ops: ops.into_iter().map(Located::from).collect() }
}

#[test]
fn a_line_is_one_transaction() {
    let fake = Fake::saying(json!({"created": ["gre0"], "notes": []}));
    let out = fake.run("ifconfig gre0 create 12.1 12.2 tunnel 10.25 10.163").quietly();
    assert_eq!(out, "", "the name was given, so it is not told");
    let name = || "gre0".to_owned();
    let address = |last| IpAddr::from([10, 0, 0, last]);
    assert_eq!(
        fake.calls(),
        [transaction(vec![
            Op::Create { name: name() },
            Op::SetAddress {
                name: name(),
                address: [12, 0, 0, 1].into(),
                prefix_len: None,
                peer: Some([12, 0, 0, 2].into()),
                alias: false,
            },
            Op::SetEndpoints {
                name: name(),
                local: address(25),
                remote: Some(address(163).into())
            },
        ])]
    );
    assert_eq!(fake.run("ifconfig gre create").quietly(), "gre0\n");
}

#[test]
fn notes_go_to_standard_error_and_are_no_failure() {
    let fake = Fake::saying(json!({"notes": ["gre0 is not running: no route to 10.0.0.163"]}));
    let ran = fake.run("route add -net 10 10.1");
    assert_eq!((ran.code, ran.out.as_str()), (0, "add net 10: gateway 10.1\n"));
    assert_eq!(ran.err, "note: gre0 is not running: no route to 10.0.0.163\n");
}

#[test]
fn refusals_exit_1_with_a_problem_a_line() {
    let fake = Fake::new(|_| {
        let problems =
            vec![json!({"message": "gre0 exists"}), json!({"at": "op[1]", "message": "no"})];
        Reply::Error("refused", problems)
    });
    let ran = fake.run("ifconfig gre0 create");
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(ran.err, "ifconfig: gre0 exists\nifconfig: op[1]: no\n");
    fake.run("route add -net 10 10.1")
        .refused(1, &["route: add net 10: gateway 10.1: gre0 exists\n"]);
    let config = fake.dir.path().join("gateway.toml");
    std::fs::write(&config, "[[port]]\n").unwrap();
    fake.run(&format!("apply {}", config.display())).refused(1, &["apply: gre0 exists\n"]);
    let sent = fake.calls().pop();
    let folder = Some(fake.dir.path().to_owned());
    assert_eq!(sent, Some(Call::Apply { config: "[[port]]\n".into(), folder }));
}

#[test]
fn what_is_not_in_the_table_is_said_as_in_bsd() {
    let fake = Fake::new(|call| match call {
        Call::LookupRoute { .. } => Reply::Result(Value::Null),
        Call::ShowNeighbours => Reply::Result(json!([])),
        _ => Reply::Error("not-found", vec![json!({"message": "no such thing"})]),
    });
    fake.run("route delete -net 99").refused(1, &["route: delete net 99: not in table\n"]);
    fake.run("route get 99.1").refused(1, &["route: 99.1: not in table\n"]);
    fake.run("arp 10.25").refused(1, &["10.0.0.25", "no entry"]);
    fake.run("arp -d 10.25").refused(1, &["arp: no such thing\n"]);
    fake.run("ifconfig gre9").refused(1, &["ifconfig: no such thing\n"]);
}

#[test]
fn what_is_not_understood_exits_2_and_asks_nothing() {
    let fake = Fake::saying(json!([]));
    for line in [
        "ifconfig gre0 tunnel 10.25",
        "ifconfig en0 10.1/40",
        "ifconfig gre0 inet6 10.1",
        "route add -inet6 2001:db8::/129 2001:db8::1",
        "route add -net 10.0.0.0/33 10.2",
        "arp -s 10.0.0.9 nonsense",
        "ping -c 0 10.1",
        "netstat",
        "show nonsense",
        "frobnicate",
    ] {
        fake.run(line).refused(2, &[]);
    }
    fake.run("ifconfig gre0 tunnel 10.25").refused(2, &["greyhound ifconfig --help"]);
    assert_eq!(fake.calls(), []);
}

#[test]
fn help_teaches_wherever_it_is_asked_for() {
    let nowhere = Path::new("/nonexistent");
    for line in ["ifconfig --help", "ifconfig gre0 --help", "ping --help", "help ifconfig"] {
        let out = run(nowhere, line).quietly();
        assert!(out.contains("Examples:\n") && out.contains("Usage: greyhound"), "{line}: {out}");
    }
}

#[test]
fn without_a_gateway_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.sock");
    let path = missing.display().to_string();
    run(&missing, "show ports").refused(1, &[&path, "not running", "greyhound run"]);
    let stale = dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let path = stale.display().to_string();
    run(&stale, "show ports").refused(1, &[&path, "not running", "nobody listens"]);
}

#[test]
fn without_permission_it_says_so() {
    let fake = Fake::saying(json!([]));
    let (dir, socket) = (fake.dir.path(), fake.socket());
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    // Root may do everything; so somebody else must try, with an executable
    // that he can reach.
    let binary = dir.join("greyhound");
    std::fs::copy(GREYHOUND, &binary).unwrap();
    open(dir, 0o755);
    open(&binary, 0o755);
    open(&socket, 0o000);
    let mut command = Command::new(&binary);
    command.arg("--socket").arg(&socket).args(["show", "ports"]).current_dir("/");
    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    if root {
        command.uid(65534).gid(65534);
    }
    let path = socket.display().to_string();
    Ran::of(&mut command).refused(1, &["no permission", &path, "root"]);
    assert_eq!(fake.calls(), []);
}

#[test]
fn a_gateway_that_speaks_otherwise_is_named() {
    for (raw, words) in [
        ("nonsense\n", ["sock", "does not speak"]),
        ("\n", ["sock", "does not speak"]),
        ("{\"version\":1,\"id\":1}\n", ["sock", "does not speak"]),
        ("{\"version\":1,\"id\":1,\"result\":5}\n", ["sock", "does not speak"]),
        ("{\"version\":1,\"id\":7,\"result\":[]}\n", ["request 7", "not 1"]),
        ("{\"version\":9,\"id\":1,\"new\":[]}\n", ["version 9", "command speaks 1"]),
    ] {
        Fake::new(move |_| Reply::Raw(raw.to_owned())).run("show ports").refused(1, &words);
    }
}

#[test]
fn half_a_line_is_no_answer() {
    let half = r#"{"version":1,"id":1,"result":[]"#;
    let fake = Fake::new(move |_| Reply::Last(half.to_owned()));
    fake.run("show ports").refused(1, &["sock", "closed the connection"]);
}

#[test]
fn a_gateway_that_goes_away_is_noticed() {
    let fake = Fake::new(|_| Reply::Last(String::new()));
    fake.run("show drops").refused(1, &["sock", "closed the connection", "stopped"]);
    let mut answers = 0;
    let fake = Fake::new(move |_| {
        answers += 1;
        match answers {
            1 => Reply::Result(json!({"outcome": "timeout"})),
            _ => Reply::Last(String::new()),
        }
    });
    let ran = fake.run("ping -i 0 10.1");
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("timeout") && ran.err.contains("closed"), "{ran:?}");
}

#[test]
fn json_is_what_travelled() {
    let views = json!([interface("en0", "port", Some(MAC))]);
    for line in
        ["show interfaces --json", "ifconfig --json", "ifconfig -a --json", "netstat -in --json"]
    {
        let out = Fake::saying(views.clone()).run(line).quietly();
        let mut printed: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(printed.as_array().unwrap().len(), 1, "{line}");
        assert_eq!(printed[0]["mac"].take(), json!(MAC), "{line}");
    }
    let out = Fake::saying(json!("[[port]]\n")).run("show config").quietly();
    assert_eq!(out, "[[port]]\n");
    let out = Fake::saying(json!("[[port]]\n")).run("show config --json").quietly();
    assert_eq!(out, "\"[[port]]\\n\"\n");
}

#[test]
fn show_asks_what_it_says() {
    let fake = Fake::saying(json!([]));
    for (line, call) in [
        ("show ports", Call::ShowPorts),
        ("show interfaces", Call::ShowInterfaces { name: None }),
        ("show interfaces en0", Call::ShowInterfaces { name: Some("en0".into()) }),
        ("show tunnels", Call::ShowTunnels),
        ("show tunnels gre0", Call::ShowInterfaces { name: Some("gre0".into()) }),
        ("show routes", Call::ShowRoutes { all: false }),
        ("show routes --all", Call::ShowRoutes { all: true }),
        ("show neighbours", Call::ShowNeighbours),
        ("show workers", Call::ShowWorkers),
        ("netstat -rn", Call::ShowRoutes { all: false }),
        ("arp -a", Call::ShowNeighbours),
        ("ifconfig -l", Call::ShowInterfaces { name: None }),
    ] {
        fake.run(line).quietly();
        assert_eq!(fake.calls(), [call], "{line}");
    }
    let en0 = Fake::saying(json!([interface("en0", "port", Some(MAC))]));
    en0.run("show tunnels en0").refused(2, &["en0", "tunnel"]);
}

#[test]
fn ping_sends_probes_and_sums_up() {
    let reply =
        json!({"outcome": "reply", "from": "12.0.0.2", "bytes": 56, "ttl": 64, "rtt_ms": 0.5});
    let fake = Fake::saying(reply);
    let out = fake.run("ping -c 4 -i 0.01 -D 12.2").quietly();
    assert_eq!(
        out,
        "PING 12.0.0.2: 56 data bytes\n\
         64 bytes from 12.0.0.2: icmp_seq=0 ttl=64 time=0.500 ms\n\
         64 bytes from 12.0.0.2: icmp_seq=1 ttl=64 time=0.500 ms\n\
         64 bytes from 12.0.0.2: icmp_seq=2 ttl=64 time=0.500 ms\n\
         64 bytes from 12.0.0.2: icmp_seq=3 ttl=64 time=0.500 ms\n\
         \n\
         --- 12.0.0.2 ping statistics ---\n\
         4 packets transmitted, 4 packets received, 0.0% packet loss\n\
         round-trip min/avg/max = 0.500/0.500/0.500 ms\n"
    );
    let sequences: Vec<u16> = fake
        .calls()
        .into_iter()
        .map(|call| match call {
            Call::Ping { to, sequence, size: 56, ttl: 64, dont_fragment: true, .. } => {
                assert_eq!(to, IpAddr::from([12, 0, 0, 2]));
                sequence
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sequences, [0, 1, 2, 3]);
    let ran = Fake::saying(json!({"outcome": "timeout"})).run("ping -c 2 -i 0 12.2");
    assert_eq!((ran.code, ran.err.as_str()), (1, "ping: no reply from 12.0.0.2\n"));
    assert!(ran.out.contains("0 packets received, 100.0% packet loss"), "{}", ran.out);
    let out = Fake::saying(json!({"outcome": "timeout"})).run("ping --json -c 1 12.2").out;
    assert_eq!(out, "{\"sequence\":0,\"outcome\":\"timeout\"}\n");
}

#[test]
fn ping_sums_up_what_came_before_an_error() {
    let mut asked = 0;
    let fake = Fake::new(move |_| {
        asked += 1;
        match asked {
            1 => Reply::Result(json!({"outcome": "timeout"})),
            _ => Reply::Error("refused", vec![json!({"message": "no route to 12.0.0.2"})]),
        }
    });
    let ran = fake.run("ping -c 3 -i 0 12.2");
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("no route to 12.0.0.2"), "{}", ran.err);
    assert!(ran.out.contains("1 packets transmitted, 0 packets received"), "{}", ran.out);
    fake.run("ping -W 61 12.2").refused(2, &["61", "at most 60"]);
}

#[test]
fn a_refusal_that_came_before_the_question_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let error = json!({"code": "bad-request", "problems": [{"message": "64 are connected"}]});
        let line = json!({"version": 1, "id": 0, "error": error});
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    });
    let ran = run(&path, "show ports");
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("64 are connected"), "{}", ran.err);
}

#[test]
fn ctrl_c_ends_ping_with_its_summary() {
    let reply =
        json!({"outcome": "reply", "from": "12.0.0.2", "bytes": 56, "ttl": 64, "rtt_ms": 0.5});
    let fake = Fake::saying(reply);
    let child = Command::new(GREYHOUND)
        .arg("--socket")
        .arg(fake.socket())
        .args(["ping", "-i", "60", "12.2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Once it asked, it is set up for Ctrl-C.
    fake.asked.recv().unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let out = Ran::from(child.wait_with_output().unwrap()).quietly();
    assert!(out.contains("1 packets transmitted"), "{out}");
}

#[test]
fn the_technotes_arp_line_runs_as_typed() {
    let fake = Fake::new(|call| match call {
        Call::ShowInterfaces { .. } => Reply::Result(json!([
            interface("en0", "port", Some(MAC)),
            interface("en0.20", "vlan", Some(MAC)),
            interface("gre0", "gre", None),
        ])),
        _ => Reply::Result(json!({})),
    });
    let out = fake.bash("netstat -in | grep en0 | grep Link | cut -c 27-43").quietly();
    assert_eq!(out, format!("{MAC}\n"));
    fake.calls();
    fake.bash("arp -s 10.0.0.25 $(netstat -in | grep en0 | grep Link | cut -c 27-43) pub")
        .quietly();
    let publish =
        PublishSpec { address: [10, 0, 0, 25].into(), port: None, mac: Some(MAC.parse().unwrap()) };
    assert_eq!(
        fake.calls(),
        [Call::ShowInterfaces { name: None }, transaction(vec![Op::Publish { publish }])]
    );
    let out = fake.bash(&format!("{GREYHOUND} shell -c 'ifconfig -l'")).quietly();
    assert_eq!(out, "en0 en0.20 gre0\n");
    let out = fake.bash("command -v ping; ping").out;
    let folder = Path::new(out.trim()).parent().unwrap();
    assert_eq!(std::fs::read_link(folder.join("ping")).unwrap(), Path::new(GREYHOUND));
}

/// Answers that fit any question.
fn agreeable(call: &Call) -> Reply {
    Reply::Result(match call {
        Call::ShowInterfaces { .. } | Call::ShowTunnels => {
            json!([interface("en0", "port", Some(MAC))])
        }
        Call::ShowDrops => json!({"drops": [], "origins": [], "control": ControlView::default()}),
        Call::LookupRoute { .. } | Call::GetRoute { .. } => {
            json!({"to": "10.0.0.0/8", "gateway": "10.0.0.1", "interface": "gre0",
                   "flags": "UGS", "origin": "static", "mtu": 1476})
        }
        Call::ShowNeighbours => {
            json!([{"address": "10.0.0.25", "mac": MAC, "interface": "en0", "state": "published",
                    "expires_s": null, "held": 0}])
        }
        Call::Ping { .. } => {
            json!({"outcome": "reply", "from": "12.0.0.2", "bytes": 56, "ttl": 64, "rtt_ms": 0.5})
        }
        Call::ShowConfig => json!(""),
        Call::Transaction { .. } | Call::Apply { .. } => json!({"created": ["gre0"]}),
        _ => json!([]),
    })
}

/// The lines of a verb's `--help` between `Examples:` and the next blank one,
/// without what explains them.
fn examples(verb: &str) -> Vec<String> {
    let help = run(Path::new("/nonexistent"), &format!("{verb} --help")).quietly();
    let (_, examples) = help.split_once("Examples:\n").unwrap();
    examples
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with(verb))
        .map(|line| line.split("  ").next().unwrap().to_owned())
        .collect()
}

#[test]
fn documented_lines_run_as_they_stand() {
    let text = include_str!("../docs/verbs.md");
    let mut lines: Vec<String> =
        text.lines().filter_map(|l| l.strip_prefix("$ ")).map(str::to_owned).collect();
    lines.extend(["ifconfig", "route", "arp", "netstat", "ping"].into_iter().flat_map(examples));
    // Endless ones cannot be waited for.
    lines.retain(|line| !line.starts_with("ping") || line.contains("-c"));
    assert!(lines.len() > 60, "{} examples", lines.len());
    let fake = Fake::new(agreeable);
    let folder = Path::new(GREYHOUND).parent().unwrap().display();
    for line in lines {
        let line = format!(
            "set -o pipefail; PATH=$PATH:{folder}; {}",
            line.replace(" -c 2 ", " -c 2 -i 0 ")
        );
        let ran = fake.bash(&line);
        assert!(ran.code == 0 && ran.err.is_empty(), "{line}\n{ran:?}");
    }
}

#[test]
fn a_reader_that_had_enough_is_no_error() {
    let many: Vec<Value> =
        (0..20_000).map(|n| interface(&format!("gre{n}"), "gre", None)).collect();
    let fake = Fake::saying(json!(many));
    let ran = fake.bash("ifconfig -a | head -1; echo ${PIPESTATUS[0]}");
    assert_eq!(ran.quietly(), "gre0: flags=0x41<UP,RUNNING> mtu 1500\n0\n");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let fake = Fake::saying(json!({}));
    for verb in ["check", "apply"] {
        fake.run(&format!("{verb} /nonexistent/gateway.toml"))
            .refused(1, &["/nonexistent/gateway.toml", "No such file"]);
    }
    assert_eq!(fake.calls(), []);
}
