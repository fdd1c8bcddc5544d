//! Multipath routes as they are written.

use super::*;

#[test]
fn paths_of_a_route() {
    let with = |paths: &str| format!("{PORTS}[[route]]\nto = \"10.9.0.0/16\"\n{paths}");
    let read = |paths: &str| parse(&with(paths)).map(|config| config.state.routes[0].clone());
    let via = |text: &str, weight| PathSpec { way: PathWay::Via(text.parse().unwrap()), weight };
    let route = read("paths = [{ via = \"10.2\", weight = 3 }, { via = \"10.3\" }]").unwrap();
    let paths = vec![via("10.0.0.2", 3), via("10.0.0.3", 1)];
    assert_eq!(route.target, RouteTarget::Paths(paths));
    let route = read("[[route.paths]]\nvia = \"10.2\"\nweight = 3\n").unwrap();
    assert_eq!(route.target, RouteTarget::Via([10, 0, 0, 2].into()), "one is no choice");
    for (paths, why) in [
        ("paths = []", "route[0].paths: no path: expected 1 to 16"),
        ("paths = \"10.2\"", "route[0].paths"),
        ("paths = [{ weight = 2 }]", "route[0].paths[0]: leads nowhere"),
        ("paths = [{ via = \"10.2\", weight = 0 }]", "route[0].paths[0].weight"),
        ("paths = [{ via = \"10.2\", weight = 256 }]", "route[0].paths[0].weight"),
        ("paths = [{ via = \"10.2\" }, { via = \"10.0.0.2\" }]", "route[0].paths[1]: 10.0.0.2"),
        ("paths = [{ via = \"10.2\" }, { interface = \"gre7\" }]", "paths[1].interface: no tunnel"),
        ("paths = [{ via = \"10.2\" }, { interface = \"en0\" }]", "paths[1].interface: no tunnel"),
        ("paths = [{ via = \"10.2\" }, { via = \"10.1\" }]", "paths[1].via: `10.0.0.1` is our own"),
        ("paths = [{ via = \"10.2\", gate = 1 }]", "route[0].paths[0].gate: unknown key"),
        ("via = \"10.2\"\npaths = [{ via = \"10.2\" }]", "via and paths"),
    ] {
        let problems = read(paths).unwrap_err();
        let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(told.contains(why), "{paths}: {told}");
    }
    let many: Vec<String> = (2..19).map(|n| format!("{{ via = \"10.0.0.{n}\" }}")).collect();
    let problems = read(&format!("paths = [{}]", many.join(", "))).unwrap_err();
    assert!(problems[0].to_string().contains("17 paths: expected 16 at most"), "{problems:?}");
}
