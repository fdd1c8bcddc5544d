//! Each mistake a file can have, and what is said of it.

use super::*;

/// `(what is added to PORTS, place, words of the message)`.
const WRONG: &[(&str, &str, &str)] = &[
    ("[dpdk]\nfrobnicate = 1", "dpdk.frobnicate", "unknown key, expected one of workers"),
    ("[dpdk]\nworkers = [1, 1]", "dpdk.workers[1]", "core 1 has a worker already"),
    ("[dpdk]\nworkers = 1", "dpdk.workers", "`1` is not a list"),
    ("[dpdk]\nmemory = \"12\"", "dpdk.memory", "`12` is not a size"),
    ("[dpdk]\nmemory = \"9999999999G\"", "dpdk.memory", "not a size"),
    ("[dpdk]\nhugepages = \"yes\"", "dpdk.hugepages", "`yes` is not \"auto\" or \"on\" or \"off\""),
    (
        "[dpdk]\ndescriptors = 70000",
        "dpdk.descriptors",
        "`70000` is out of place: expected a number from 32 to 32768",
    ),
    ("[[dpdk.worker]]\nworker = 3\nqueues = []", "dpdk.worker[0].worker", "expected 0 to 0"),
    ("[[dpdk.worker]]\nworker = 0\nqueues = [\"en0\"]", "dpdk.worker[0].queues[0]", "PORT/NUMBER"),
    (
        "[[dpdk.worker]]\nworker = 0\nqueues = [\"en0/2\"]",
        "dpdk.worker[0].queues[0]",
        "en0 has 2 queues",
    ),
    (
        "[[dpdk.worker]]\nworker = 0\nqueues = [\"en9/0\"]",
        "dpdk.worker[0].queues[0]",
        "no port `en9`, expected one of en0, en1",
    ),
    (
        "[[dpdk.worker]]\nworker = 0\nqueues = [\"en0/0\", \"en0/0\"]",
        "dpdk.worker[0].queues[1]",
        "dealt out already",
    ),
    ("[prot]", "prot", "unknown section"),
    ("[[port]]\nname = \"en2\"", "port[2].device", "missing, expected a virtual device"),
    ("[[port]]\ndevice = \"net_null2\"", "port[2].name", "missing"),
    (
        "[[port]]\nname = \"0en\"\ndevice = \"net_null2\"",
        "port[2].name",
        "`0en` is not a port name",
    ),
    ("[[port]]\nname = \"gre7\"\ndevice = \"net_null2\"", "port[2].name", "a tunnel's name"),
    (
        "[[port]]\nname = \"en0\"\ndevice = \"net_null2\"",
        "port[2].name",
        "`en0` is taken already, port[0]",
    ),
    (
        "[[port]]\nname = \"en2\"\ndevice = \"net_null1,copy=0\"",
        "port[2].device",
        "taken already, port[1]",
    ),
    ("[[port]]\nname = \"en2\"\ndevice = \"\"", "port[2].device", "not a device"),
    ("[[port]]\nname = \"en2\"\ndevice = \"net_null2\"\nmtu = 67", "port[2].mtu", "68 to 65535"),
    (
        "[[port]]\nname = \"en2\"\ndevice = \"net_null2\"\nmac = \"01:00:5e:00:00:01\"",
        "port[2].mac",
        "unicast",
    ),
    (
        "[[port]]\nname = \"en2\"\ndevice = \"net_null2\"\naddress = \"10.2\"",
        "port[2].address",
        "not a list",
    ),
    (
        "[[port]]\nname = \"en2\"\ndevice = \"net_null2\"\naddress = [\"192.168.0.1/33\"]",
        "port[2].address[0]",
        "`/33` is not a prefix length",
    ),
    (
        "[[port]]\nname = \"en2\"\ndevice = \"net_null2\"\naddress = [\"192.168.0.255/24\"]",
        "port[2].address[0]",
        "broadcast",
    ),
    (
        "[[port]]\nname = \"en2\"\ndevice = \"net_null2\"\naddress = [\"127.0.0.1/8\"]",
        "port[2].address[0]",
        "host can have",
    ),
    (
        "[[port]]\nname = \"en2\"\ndevice = \"net_null2\"\naddress = [\"10.9.0.1/16\"]",
        "port[2].address[0]",
        "overlaps with `10.0.0.1/8` of en0",
    ),
    ("[[vlan]]\nname = \"en0.4095\"", "vlan[0].name", "1 to 4094"),
    ("[[vlan]]\nname = \"en0.020\"", "vlan[0].name", "not a VLAN name"),
    ("[[vlan]]\nname = \"en9.20\"", "vlan[0].name", "no port `en9`"),
    ("[[vlan]]\nname = \"en0.20\"\nmtu = 20", "vlan[0].mtu", "68 to 65535"),
    ("[[vlan]]\nname = \"en0.20\"\n[[vlan]]\nname = \"en0.20\"", "vlan[1].name", "taken already"),
    ("[[tunnel]]\nname = \"gre\"", "tunnel[0].name", "not a tunnel's name"),
    ("[[tunnel]]\nname = \"gre0\"\nkind = \"ipip\"", "tunnel[0].kind", "expected `gre`"),
    (
        "[[tunnel]]\nname = \"gre0\"\nlocal = \"1.1.1.1\"",
        "tunnel[0].remote",
        "missing, expected beside `local`",
    ),
    ("[[tunnel]]\nname = \"gre0\"\nremote = \"far.example\"", "tunnel[0].local", "missing"),
    (
        "[[tunnel]]\nname = \"gre0\"\nlocal = \"1.1.1.1\"\nremote = \"a_b\"",
        "tunnel[0].remote",
        "neither an address nor the name of a host",
    ),
    ("[[tunnel]]\nname = \"gre0\"\nlocal = \"1.1.1.1\"\nlearn = true", "tunnel[0].learn", "`key`"),
    (
        "[[tunnel]]\nname = \"gre0\"\nresolve_interval = 1",
        "tunnel[0].resolve_interval",
        "5 to 3600",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\nlocal = \"1.1.1.1\"\nremote = \"a.b\"\nkey = 1\nlearn = true",
        "tunnel[0].learn",
        "not both",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\nlocal = \"1.1.1.1\"\nremote = \"1.1.1.1\"",
        "tunnel[0].remote",
        "a tunnel to itself",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\nlocal = \"10.1\"\nremote = \"203.0.113.1\"",
        "tunnel[0].remote",
        "our own address",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\naddress = \"224.0.0.5\"\npeer = \"12.2\"",
        "tunnel[0].address",
        "not a unicast address",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\naddress = \"12.1\"",
        "tunnel[0].peer",
        "missing, expected beside `address`",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\naddress = \"12.1\"\npeer = \"10.1\"",
        "tunnel[0].peer",
        "our own address",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\naddress = \"12.1\"\npeer = \"12.2\"\n[[tunnel]]\nname = \"ipip0\"\naddress = \"12.3\"\npeer = \"12.2\"",
        "tunnel[1].peer",
        "a tunnel to 12.0.0.2 is there already",
    ),
    ("[[route]]\nto = \"11\"\nvia = \"10.1\"", "route[0].via", "our own address"),
    ("[[route]]\nto = \"127.0.0.0/8\"\nvia = \"10.2\"", "route[0].to", "multicast or reserved"),
    ("[[arp]]\naddress = \"10.1\"\npublish = true", "arp[0].address", "our own address"),
    (
        "[[arp]]\naddress = \"10.25\"\npublish = true\n[[arp]]\naddress = \"10.25\"\nport = \"en1\"\npublish = true",
        "arp[1].address",
        "is published already, arp[0]",
    ),
    ("[[tunnel]]\nname = \"gre0\"\nttl = 0", "tunnel[0].ttl", "1 to 255"),
    ("[[tunnel]]\nname = \"gre0\"\ndscp = 64", "tunnel[0].dscp", "64 is not a DSCP"),
    ("[[tunnel]]\nname = \"gre0\"\ndf = true", "tunnel[0].df", "`true` is not a string"),
    (
        "[[tunnel]]\nname = \"gre0\"\nudp = 4754",
        "tunnel[0].udp",
        "`4754` is not a table: expected { } with port, source, checksum",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\nudp = { port = 0 }",
        "tunnel[0].udp.port",
        "`0` is out of place: expected a number from 1 to 65535",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\nudp = { source = \"any\" }",
        "tunnel[0].udp.source",
        "or \"flow\"",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\nudp = { sum = true }",
        "tunnel[0].udp.sum",
        "unknown key, expected one of port, source, checksum",
    ),
    (
        "[[tunnel]]\nname = \"ipip0\"\nudp = { }",
        "tunnel[0].udp.port",
        "IP in UDP has no usual port",
    ),
    ("[[tunnel]]\nname = \"gre0\"\nlink0 = false\nudp = { }", "tunnel[0].udp", "takes no UDP"),
    (
        "[[tunnel]]\nname = \"gre0\"\nencaplimit = 256",
        "tunnel[0].encaplimit",
        "256 is not a limit on nesting",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\nencaplimit = \"on\"",
        "tunnel[0].encaplimit",
        "expected \"off\" or a number from 0 to 255",
    ),
    ("[[tunnel]]\nname = \"gre0\"\nmss = 63", "tunnel[0].mss", "63 is not a segment size"),
    (
        "[[tunnel]]\nname = \"gre0\"\nmss = \"most\"",
        "tunnel[0].mss",
        "\"auto\", \"off\" or a number",
    ),
    ("[[tunnel]]\nname = \"gre0\"\nlink0 = false\nchecksum = true", "tunnel[0].checksum", "MOBILE"),
    (
        "[[tunnel]]\nname = \"gre0\"\n[[tunnel]]\nname = \"gre0\"",
        "tunnel[1].name",
        "`gre0` is taken already, tunnel[0]",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\nlocal = \"10.1\"\nremote = \"10.2\"\n[[tunnel]]\nname = \"gre1\"\nlocal = \"10.1\"\nremote = \"10.2\"",
        "tunnel[1].remote",
        "a tunnel of kind gre from 10.0.0.1 to 10.0.0.2 is there already, tunnel[0]",
    ),
    (
        "[[tunnel]]\nname = \"gre0\"\nlocal = \"10.1\"\nremote = \"10.2\"\nkey = 0\n[[tunnel]]\nname = \"gre1\"\nlocal = \"10.1\"\nremote = \"10.2\"\nkey_in = 0",
        "tunnel[1].remote",
        "a tunnel of kind gre from 10.0.0.1 to 10.0.0.2 with key 0 is there already, tunnel[0]",
    ),
    ("[[tunnel]]\nname = \"gre0\"\nkey = 4294967296", "tunnel[0].key", "0 to 4294967295"),
    ("[[tunnel]]\nname = \"gre0\"\nkey = 1\nkey_out = 2", "tunnel[0].key", "either `key`"),
    (
        "[[tunnel]]\nname = \"gre0\"\nsequence_resync = 3601",
        "tunnel[0].sequence_resync",
        "0 to 3600",
    ),
    ("[[tunnel]]\nname = \"ipip0\"\nkey = 1", "tunnel[0].key", "an ipip tunnel has no key"),
    ("[[tunnel]]\nname = \"ipip0\"\nkey_out = 1", "tunnel[0].key_out", "an ipip tunnel has no"),
    (
        "[[tunnel]]\nname = \"ipip0\"\nchecksum = true",
        "tunnel[0].checksum",
        "an ipip tunnel has no",
    ),
    (
        "[[tunnel]]\nname = \"ipip0\"\nsequence = true",
        "tunnel[0].sequence",
        "an ipip tunnel has no",
    ),
    (
        "[[tunnel]]\nname = \"ipip0\"\nlocal = \"10.1\"\nremote = \"10.2\"",
        "tunnel[0].local",
        "just `address` and `peer`",
    ),
    ("[[tunnel]]\nname = \"ipip0\"\nlink1 = true", "tunnel[0].link1", "no link1"),
    ("[[route]]\nto = \"10.1.2.3/8\"\nvia = \"10.2\"", "route[0].to", "host bits"),
    ("[[route]]\nto = \"11\"", "route[0]", "leads nowhere"),
    ("[[route]]\nto = \"11\"\nvia = \"10.2\"\nreject = true", "route[0]", "has via and reject"),
    ("[[route]]\nto = \"11\"\nblackhole = false", "route[0].blackhole", "says nothing"),
    ("[[route]]\nto = \"11\"\ninterface = \"gre9\"", "route[0].interface", "no interface `gre9`"),
    ("[[route]]\nto = \"224.0.0.0/4\"\nvia = \"10.2\"", "route[0].to", "multicast or reserved"),
    (
        "[[route]]\nto = \"11\"\nvia = \"10.2\"\n[[route]]\nto = \"11.0.0.0/8\"\nvia = \"10.3\"",
        "route[1].to",
        "has a route already, route[0]",
    ),
    (
        "[[neighbour]]\naddress = \"10.9\"\nmac = \"nonsense\"",
        "neighbour[0].mac",
        "`nonsense` is not an Ethernet address",
    ),
    (
        "[[neighbour]]\naddress = \"10.9\"\nmac = \"02:0:0:0:0:1\"\nport = \"en9\"",
        "neighbour[0].port",
        "no port `en9`",
    ),
    (
        "[[neighbour]]\naddress = \"11.9\"\nmac = \"02:0:0:0:0:1\"",
        "neighbour[0].address",
        "in no port's subnet",
    ),
    (
        "[[neighbour]]\naddress = \"10.1\"\nmac = \"02:0:0:0:0:1\"",
        "neighbour[0].address",
        "our own address",
    ),
    (
        "[[arp]]\naddress = \"10.25\"\nport = \"en0\"",
        "arp[0].publish",
        "a static entry is a `[[neighbour]]`",
    ),
    (
        "[[arp]]\naddress = \"10.25\"\nport = \"lan\"\npublish = true",
        "arp[0].port",
        "no port `lan`",
    ),
    ("[icmp]\nerror_rate = -1", "icmp.error_rate", "`-1` is out of place"),
    ("[icmp]\necho = 1", "icmp.echo", "not true or false"),
    ("[control]\nsocket = \"\"", "control.socket", "not a socket path"),
    ("[metrics]\nlisten = \"9464\"", "metrics.listen", "HOST:PORT"),
    ("[[control]]\nsocket = \"x\"", "control", "expected `[control]`"),
    ("[route]\nto = \"11\"", "route", "expected `[[route]]`"),
];

#[test]
fn each_mistake_is_named_with_its_place_value_and_what_was_expected() {
    for (added, at, words) in WRONG {
        let problems = parse(&format!("{PORTS}\n{added}\n")).expect_err(added);
        assert_eq!(problems.len(), 1, "{added}: {problems:#?}");
        assert_eq!(problems[0].at, *at, "{added}");
        assert!(problems[0].message.contains(words), "{added}: {}", problems[0]);
        assert!(!problems[0].message.ends_with('.'), "{}", problems[0]);
    }
}
