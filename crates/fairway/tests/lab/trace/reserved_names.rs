//! Sandboxes that are called `host` and `lan`, as the names that queries have for the host and its LAN.

use super::{Trace, ask, assert_in_order, packet};
use crate::cli::{fairway, printed};
use crate::harness::{HOST, LAN, Stage};
use fairway_lab::serve_tcp;

#[test]
fn sandboxes_named_host_and_lan_are_not_the_host_and_its_lan() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--userland-proxy=false"]);
        stage.network("app");
        let server = stage.sandbox("host", &["app"], &["8080:80"]);
        let client = stage.sandbox("lan", &["app"], &[]);
        let _servers =
            [serve_tcp(&server, "0.0.0.0:80").unwrap(), serve_tcp(&stage.host, "0.0.0.0:9000").unwrap()];
        let (server_ip, client_ip) = (server.address("app"), client.address("app"));

        let explained = stage.client().explain("container:lan", "container:host:80", false).unwrap();
        assert_eq!(explained.sentence, format!("It is answered; the server sees {client_ip}."));
        let first = &explained.walks[0];
        assert_eq!(first.steps[0].namespace, "container:lan");
        assert_eq!(first.end.namespace, "container:host");
        let inside = explained.captures.iter().filter(|it| it.namespace == "container:host");
        let commands: Vec<&str> = inside.map(|it| it.command.as_str()).collect();
        assert!(!commands.is_empty() && commands.iter().all(|it| it.starts_with("nsenter ")), "{commands:?}");

        let from_host = stage.client().explain("host", "container:host:80", false).unwrap();
        assert_eq!(from_host.walks[0].steps[0].namespace, "host");
        assert_eq!(from_host.walks[0].end.namespace, "container:host");
        let to_host = stage.client().explain("container:host", "host:9000", false).unwrap();
        assert_eq!((to_host.answered, to_host.walks[0].end.namespace.as_str()), (Some(true), "host"));
        let from_lan = stage.client().explain("lan", "host:8080", false).unwrap();
        assert_eq!(from_lan.sentence, format!("It is answered; the server sees {LAN}."));
        assert_eq!(from_lan.walks[0].end.namespace, "container:host");
        let closed = fairway(&stage, "explain container:host container:lan:81");
        let expected = format!("refused: no socket on container:lan listens at {client_ip}:81");
        assert!(closed.output.contains(&expected), "{}", closed.output);
        assert!(closed.output.contains("have the program in container:lan listen"), "{}", closed.output);

        let drawn = printed(&stage, "graph --format dot --path container:lan container:host:80");
        assert!(drawn.contains("container:lan asks container:host:80"), "{drawn}");

        let mut trace = Trace::start(&stage, "container:lan container:host:80");
        ask(&client, &format!("{server_ip}:80"));
        trace.wait_for("FIN");
        let text = trace.end();
        let first = packet(&text, &format!("flow 1:  tcp {client_ip}:"));
        let expected = [
            &format!("container:lan eth0 out tcp {client_ip}:"),
            &format!("container:host eth0 in tcp {client_ip}:"),
            "= arrives at container:host by eth0",
        ];
        assert_in_order(&first, &expected);

        let mut trace = Trace::start(&stage, "lan container:host:80");
        ask(&stage.lan, &format!("{HOST}:8080"));
        trace.wait_for("FIN");
        let text = trace.end();
        let first = packet(&text, &format!("flow 1:  tcp {LAN}:"));
        assert_in_order(&first, &["host eth0 in tcp", "= arrives at container:host by eth0"]);
    });
}
