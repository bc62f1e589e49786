//! The default route of a sandbox moves from one network to another: what it is connected to does not notice.

use std::time::Duration;

use fairway_api::types::EndpointSettings;
use fairway_lab::{Lab, Outcome, Transfer, ask, serve_echo, serve_tcp};

use crate::harness::{HOST, LAN, LAN6, Sandbox, Stage};

const PATIENCE: Duration = Duration::from_secs(20);

on_each_backend! {
    connections_live_on;
    connections_live_on_where_the_guard_is_strict;
}

fn connections_live_on(lab: &Lab) {
    check(lab, &[]);
}

fn connections_live_on_where_the_guard_is_strict(lab: &Lab) {
    check(lab, &[("fairway.guard", "strict"), ("com.docker.network.bridge.enable_icc", "false")]);
}

fn settings(gateway_priority: i32) -> EndpointSettings {
    EndpointSettings { gw_priority: gateway_priority, ..Default::default() }
}

fn gateway(sandbox: &Sandbox) -> String {
    let route = || std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
    let routes = sandbox.run_in(route).unwrap();
    let default = routes.lines().find(|line| line.split('\t').nth(1) == Some("00000000")).unwrap();
    default.split('\t').next().unwrap().to_owned()
}

/// Connections out of the sandbox and to its published port, by both families, while its default route goes to
/// another network and back.
fn check(lab: &Lab, options: &[(&str, &str)]) {
    let stage = Stage::new(lab, &[]);
    for name in ["first", "second"] {
        stage
            .create_network(name, |network| {
                network.enable_ipv6 = Some(true);
                network.options = options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            })
            .unwrap();
    }
    let sandbox = stage.sandbox("roamer", &["first"], &["8080:80"]);
    let _servers = [serve_echo(&stage.lan, "[::]:70").unwrap(), serve_echo(&sandbox, "[::]:80").unwrap()];
    let transfers = [
        Transfer::start(&sandbox, &format!("{LAN}:70")).unwrap(),
        Transfer::start(&sandbox, &format!("[{LAN6}]:70")).unwrap(),
        Transfer::start(&stage.lan, &format!("{HOST}:8080")).unwrap(),
        Transfer::start(&stage.host, "127.0.0.1:8080").unwrap(),
    ];
    let move_on = |what: &str| {
        for (number, transfer) in transfers.iter().enumerate() {
            assert!(transfer.moves_on(1 << 19, PATIENCE), "transfer {number} stands still: {what}");
        }
    };
    move_on("at first");
    assert_eq!(gateway(&sandbox), "eth0");
    stage.connect("second", "roamer", settings(1)).unwrap();
    assert_eq!(gateway(&sandbox), "eth1");
    move_on("the default route leads to the second network");
    let _server = serve_tcp(&stage.lan, "0.0.0.0:71").unwrap();
    assert_eq!(ask(&sandbox, &format!("{LAN}:71")).unwrap(), Outcome::answered(HOST));
    stage.disconnect("second", "roamer").unwrap();
    assert_eq!(gateway(&sandbox), "eth0");
    move_on("the default route leads to the first network again");
    for transfer in transfers {
        let report = transfer.finish();
        assert_eq!((&report.fault, report.sent), (&None, report.returned));
    }
}
