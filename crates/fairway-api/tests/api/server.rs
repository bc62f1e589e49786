//! Server and client over a socket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use fairway_api::filter::Filters;
use fairway_api::types::{
    AttachNamespace, AttachRequest, ConnectRequest, ContainerCreate, DisconnectRequest, EndpointIpam,
    EndpointSettings, Exited, HostConfig, Ipam, IpamConfig, JoinRequest, LeaveRequest, NetworkCreate,
    NetworkingConfig, PortBinding, UpdateNetwork,
};
use fairway_api::{Client, ClientError};

use crate::engine::RunningServer;

/// The status and the words of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (u16, String) {
    match result.unwrap_err() {
        ClientError::Refused { status, message } => (status, message),
        other => panic!("not a refusal: {other:?}"),
    }
}

fn network(name: &str, subnet: &str) -> NetworkCreate {
    let config = vec![IpamConfig { subnet: subnet.into(), ..IpamConfig::default() }];
    NetworkCreate {
        name: name.into(),
        ipam: Some(Ipam { config, ..Ipam::default() }),
        ..NetworkCreate::default()
    }
}

pub fn on(network: &str) -> ContainerCreate {
    ContainerCreate {
        host_config: HostConfig { network_mode: network.into(), ..HostConfig::default() },
        ..ContainerCreate::default()
    }
}

pub fn attach(name: &str, pid: u32, container: ContainerCreate) -> AttachRequest {
    AttachRequest { name: name.into(), pid, container, ..AttachRequest::default() }
}

/// Sends bytes as they are and brings the whole answer.
fn raw(server: &RunningServer, request: &str) -> String {
    let mut stream = UnixStream::connect(server.address.strip_prefix("unix://").unwrap()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_ping_has_the_headers_of_dockers_client() {
    let server = RunningServer::start();
    for (method, body) in [("GET", "OK"), ("HEAD", "")] {
        let answer =
            raw(&server, &format!("{method} /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("api-version: 1.51") && head.contains("ostype: linux"), "{head}");
        assert!(head.contains("cache-control: no-cache") && head.contains("swarm: inactive"), "{head}");
        assert_eq!(text, body);
    }
    let mut client = server.client();
    client.ping().unwrap();
    assert_eq!(client.version().unwrap().api_version, "1.51");
    let info = client.info().unwrap();
    assert_eq!((info.containers, info.firewall_backend.driver.as_str()), (0, "nftables"));
}

#[test]
fn a_network_is_made_listed_inspected_and_removed() {
    let server = RunningServer::start();
    let mut client = server.client();
    let created = client.create_network(&network("web", "172.20.0.0/24")).unwrap();
    assert_eq!(created.warning.as_deref(), Some(""));
    let found = client.network(&created.id[..12]).unwrap();
    assert_eq!((found.name.as_str(), found.ipam.config[0].gateway.as_str()), ("web", "172.20.0.1"));
    assert_eq!(found.status.unwrap().ipam.subnets["172.20.0.0/24"].in_use, 3);
    let custom = Filters::default().with("type", "custom");
    assert_eq!(client.networks(&custom).unwrap().len(), 1);
    assert_eq!(client.networks(&Filters::default()).unwrap().len(), 4);
    client.remove_network("web").unwrap();
    assert_eq!(refusal(client.network("web")), (404, "network web not found".into()));
}

#[test]
fn refusals_have_dockers_statuses_and_the_worlds_words() {
    let server = RunningServer::start();
    let mut client = server.client();
    client.create_network(&network("web", "172.20.0.0/24")).unwrap();
    assert_eq!(
        refusal(client.create_network(&network("web", "172.21.0.0/24"))),
        (409, "network with name web already exists".into())
    );
    assert_eq!(
        refusal(client.create_network(&network("x", "999.1.1.0/24"))),
        (
            400,
            "invalid network config:\ninvalid subnet 999.1.1.0/24: an address and a prefix length such as 172.20.0.0/16 are expected"
                .replace(" are expected", " is expected")
        )
    );
    assert_eq!(refusal(client.remove_network("bridge")).0, 403);
    assert_eq!(
        refusal(client.networks(&Filters::default().with("color", "red"))),
        (400, "invalid filter 'color'".into())
    );
    assert_eq!(refusal(client.container("nosuch")), (404, "No such container: nosuch".into()));
    let request = ConnectRequest { container: "nosuch".into(), endpoint_config: None };
    assert_eq!(refusal(client.connect("web", &request)), (404, "No such container: nosuch".into()));
}

#[test]
fn an_attach_brings_addresses_ports_and_files() {
    let server = RunningServer::start();
    let mut client = server.client();
    client.create_network(&network("web", "172.20.0.0/24")).unwrap();
    let mut container = on("web");
    let bindings = vec![PortBinding { host_ip: String::new(), host_port: "8080".into() }];
    container.host_config.port_bindings = BTreeMap::from([("80/tcp".into(), Some(bindings))]);
    let attached = client.attach(&attach("front", 4711, container.clone())).unwrap();
    assert_eq!(attached.name, "front");
    assert_eq!(attached.networks["web"].ip_address, "172.20.0.2");
    assert_eq!(attached.ports["80/tcp"].as_ref().unwrap()[0].host_port, "8080");
    assert_eq!(attached.hosts_path, format!("/files/{}/hosts", &attached.id[..12]));
    let inspected = client.container("front").unwrap();
    assert_eq!((inspected.state.pid, inspected.kind.as_str()), (4711, "attached"));
    assert_eq!(inspected.network_settings.networks, attached.networks);

    // Its port is taken: the second one is refused, and is not left behind half made.
    let (status, message) = refusal(client.attach(&attach("second", 4712, container)));
    assert_eq!(status, 403);
    assert!(message.contains("port is already allocated"), "{message}");
    assert_eq!(refusal(client.container("second")).0, 404);

    client.detach("front").unwrap();
    assert_eq!(refusal(client.container("front")).0, 404);
    assert!(client.network("web").unwrap().containers.is_empty());
}

#[test]
fn a_container_of_another_engine_joins_and_leaves_networks_that_it_describes() {
    let server = RunningServer::start();
    let mut client = server.client();
    let request = JoinRequest {
        id: "ab".repeat(32),
        name: "c1".into(),
        path: "/run/netns/c1".into(),
        networks: vec![network("pod", "10.89.0.0/24")],
        ports_held: false,
        resolver_range: false,
        container: on("pod"),
    };
    let joined = client.join(&request).unwrap();
    assert_eq!((joined.id.as_str(), joined.name.as_str()), (request.id.as_str(), "c1"));
    assert_eq!(joined.networks["pod"].ip_address, "10.89.0.2");
    assert_eq!(joined.interfaces["pod"].name, "eth0");
    assert!(joined.interfaces["pod"].host_name.starts_with("fw"), "{joined:?}");
    assert!(joined.interfaces["pod"].bridge.starts_with("br-"), "{joined:?}");
    let update = UpdateNetwork {
        options: BTreeMap::from([("com.docker.network.driver.mtu".into(), Some("1300".into()))]),
    };
    client.update_network("pod", &update).unwrap();
    assert_eq!(client.network("pod").unwrap().options["com.docker.network.driver.mtu"], "1300");
    let leave = LeaveRequest { id: request.id, networks: Vec::new() };
    client.leave(&leave).unwrap();
    assert_eq!(refusal(client.network("pod")).0, 404);
    // What is gone has left.
    client.leave(&leave).unwrap();
    assert_eq!(refusal(client.leave(&LeaveRequest { id: "c1".into(), ..leave })).0, 400);
}

#[test]
fn ports_are_published_and_unpublished_of_what_runs() {
    let server = RunningServer::start();
    let mut client = server.client();
    client.attach(&attach("front", 4711, on("bridge"))).unwrap();
    let at = |host_ip: &str, host_port: &str| {
        Some(vec![PortBinding { host_ip: host_ip.into(), host_port: host_port.into() }])
    };
    let map = |port: &str, bindings| BTreeMap::from([(port.to_owned(), bindings)]);
    let reply = client.publish("front", map("80/tcp", at("127.0.0.1", "8080"))).unwrap();
    assert_eq!(reply.ports, map("80/tcp", at("127.0.0.1", "8080")));
    let reply = client.publish("front", map("53-54/udp", at("127.0.0.1", "5300-5301"))).unwrap();
    assert_eq!(reply.ports.keys().collect::<Vec<_>>(), ["53/udp", "54/udp", "80/tcp"]);
    assert_eq!(client.container("front").unwrap().network_settings.ports, reply.ports);
    // Whatever leads to a port, or wherever a host port leads to.
    assert_eq!(client.unpublish("front", map("53/udp", None)).unwrap().ports.len(), 2);
    assert_eq!(client.unpublish("front", map("/udp", at("", "5301"))).unwrap().ports.len(), 1);
    let (status, message) = refusal(client.unpublish("front", map("/tcp", at("", "9"))));
    assert_eq!(
        (status, message.as_str()),
        (404, "No public port '9/tcp' published for front: it publishes 127.0.0.1:8080->80/tcp")
    );
    let taken = refusal(client.publish("front", map("1/tcp", at("", "8080"))));
    assert!(taken.1.contains("container front publishes 8080/tcp"), "{taken:?}");
    for nothing in [client.publish("front", BTreeMap::new()), client.unpublish("front", BTreeMap::new())] {
        assert_eq!(refusal(nothing).0, 400);
    }
    assert_eq!(refusal(client.unpublish("front", map("x/tcp", None))).0, 400);
    assert_eq!(refusal(client.publish("missing", map("1/tcp", None))).0, 400, "exposed is not published");
}

#[test]
fn namespaces_that_cannot_be_meant_are_refused() {
    let server = RunningServer::start();
    let mut client = server.client();
    let (status, message) = refusal(client.attach(&attach("x", 1, on("bridge"))));
    assert_eq!(status, 400);
    assert!(message.starts_with("process 1 is in the host's own network namespace"), "{message}");
    let path = AttachRequest { path: "/run/netns/nosuch".into(), ..AttachRequest::default() };
    assert_eq!(refusal(client.attach(&path)), (404, "no namespace at /run/netns/nosuch".into()));
    assert_eq!(refusal(client.attach(&AttachRequest::default())).0, 400);
    assert!(client.containers(true, &Filters::default()).unwrap().is_empty());
}

#[test]
fn a_sandbox_lives_from_create_to_remove() {
    let server = RunningServer::start();
    let mut client = server.client();
    client.create_network(&network("a", "172.20.0.0/24")).unwrap();
    client.create_network(&network("b", "172.21.0.0/24")).unwrap();
    let fixed = EndpointIpam { ipv4_address: "172.20.0.7".into(), ..EndpointIpam::default() };
    let settings = EndpointSettings { ipam_config: Some(fixed), ..EndpointSettings::default() };
    let create = ContainerCreate {
        cmd: vec!["sleep".into(), "1".into()],
        networking_config: NetworkingConfig {
            endpoints_config: vec![("b".into(), EndpointSettings::default()), ("a".into(), settings)],
        },
        ..on("a")
    };
    let id = client.create_container("job", &create).unwrap().id;
    let inspected = client.container("job").unwrap();
    assert_eq!((inspected.id.as_str(), inspected.state.status.as_str()), (id.as_str(), "created"));
    assert_eq!(inspected.host_config.network_mode, "a");

    let started = client.attach_namespace("job", &AttachNamespace { pid: 5, path: String::new() }).unwrap();
    assert_eq!(started.network_settings.networks["a"].ip_address, "172.20.0.7");
    assert_eq!(started.network_settings.networks["b"].ip_address, "172.21.0.2");
    assert_eq!(client.containers(false, &Filters::default()).unwrap()[0].command, "sleep 1");

    client.kill("job", "HUP").unwrap();
    let off = DisconnectRequest { container: "job".into(), force: false };
    client.disconnect("b", &off).unwrap();
    assert_eq!(refusal(client.disconnect("b", &off)).0, 403);
    assert_eq!(refusal(client.remove_container("job", false)).0, 409);
    client.stop("job", None, Some(3)).unwrap();
    // Docker answers 304 to this, which is no refusal.
    client.stop("job", None, None).unwrap();
    assert_eq!(*server.engine.signals.lock().unwrap(), ["kill job HUP", "stop job None"]);
    assert_eq!(client.container(&id).unwrap().state.exit_code, 143);
    client.remove_container("job", false).unwrap();
    assert!(client.containers(true, &Filters::default()).unwrap().is_empty());
}

#[test]
fn one_in_the_hosts_namespace_is_shown_on_the_network_host() {
    let server = RunningServer::start();
    let mut client = server.client();
    let attached = client.attach(&attach("job", 1, on("host"))).unwrap();
    assert_eq!(attached.networks.keys().collect::<Vec<_>>(), ["host"]);
    assert_eq!(client.container("job").unwrap().network_settings.sandbox_key, "");
    let containers = client.network("host").unwrap().containers;
    assert_eq!(containers.values().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["job"]);
    assert!(client.network("none").unwrap().containers.is_empty());
}

#[test]
fn too_large_bodies_are_refused() {
    let server = RunningServer::start();
    let mut create = network("web", "172.20.0.0/24");
    create.labels.insert("large".into(), "x".repeat(9 << 20));
    // The server may hang up before it has read all of it.
    match server.client().create_network(&create).unwrap_err() {
        ClientError::Refused { status, message } => {
            assert_eq!(status, 413);
            assert!(message.starts_with("cannot read the request"), "{message}");
        }
        ClientError::Lost { .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(refusal(server.client().network("web")).0, 404);
}

#[test]
fn a_forced_removal_kills_first() {
    let server = RunningServer::start();
    let mut client = server.client();
    client.attach(&attach("job", 5, on("bridge"))).unwrap();
    client.remove_container("job", true).unwrap();
    assert_eq!(*server.engine.signals.lock().unwrap(), ["stop job Some(\"SIGKILL\")"]);
    assert!(client.containers(true, &Filters::default()).unwrap().is_empty());
}

#[test]
fn a_wait_is_answered_when_the_sandbox_exits() {
    let server = RunningServer::start();
    let mut client = server.client();
    client.create_container("job", &on("bridge")).unwrap();
    assert_eq!(client.wait("job", "not-running").unwrap(), 0);
    client.attach_namespace("job", &AttachNamespace { pid: 5, path: String::new() }).unwrap();
    for condition in ["not-running", "next-exit"] {
        let mut stream = UnixStream::connect(server.address.strip_prefix("unix://").unwrap()).unwrap();
        write!(
            stream,
            "POST /v1.47/containers/job/wait?condition={condition} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        // The head comes at once.
        let mut head = [0; 15];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        client.exited("job", Exited { pid: 5, code: 42, ..Exited::default() }).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains(r#"{"StatusCode":42}"#), "{rest}");
        assert_eq!(client.wait("job", "not-running").unwrap(), 42);
        client.attach_namespace("job", &AttachNamespace { pid: 5, path: String::new() }).unwrap();
    }
    assert_eq!(refusal(client.wait("job", "tomorrow")).0, 400);
}

#[test]
fn a_late_exit_report_does_not_stop_a_restarted_sandbox() {
    let server = RunningServer::start();
    let mut client = server.client();
    client.create_container("job", &on("bridge")).unwrap();
    client.attach_namespace("job", &AttachNamespace { pid: 5, path: String::new() }).unwrap();
    client.exited("job", Exited { pid: 4, code: 137, ..Exited::default() }).unwrap();
    assert!(client.container("job").unwrap().state.running);
    client.exited("job", Exited { pid: 0, code: 7, ..Exited::default() }).unwrap();
    assert_eq!(client.container("job").unwrap().state.exit_code, 7);
}

#[test]
fn a_sandbox_with_rm_is_gone_when_it_exited() {
    let server = RunningServer::start();
    let mut client = server.client();
    let mut create = on("bridge");
    create.host_config.auto_remove = true;
    client.create_container("job", &create).unwrap();
    client.attach_namespace("job", &AttachNamespace { pid: 5, path: String::new() }).unwrap();
    client.exited("job", Exited { pid: 5, code: 0, ..Exited::default() }).unwrap();
    assert_eq!(refusal(client.container("job")).0, 404);
}

#[test]
fn prune_removes_unused_networks() {
    let server = RunningServer::start();
    let mut client = server.client();
    for (name, subnet) in [("a", "172.20.0.0/24"), ("b", "172.21.0.0/24"), ("c", "172.22.0.0/24")] {
        let mut create = network(name, subnet);
        if name == "c" {
            create.labels.insert("keep".into(), String::new());
        }
        client.create_network(&create).unwrap();
    }
    client.attach(&attach("job", 5, on("a"))).unwrap();
    let but_kept = Filters::default().with("label!", "keep");
    assert_eq!(client.prune_networks(&but_kept).unwrap().networks_deleted, Some(vec!["b".into()]));
    assert_eq!(client.prune_networks(&but_kept).unwrap().networks_deleted, None);
    let names: Vec<_> = client
        .networks(&Filters::default().with("type", "custom"))
        .unwrap()
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names.len(), 2);
    assert!(!names.contains(&"b".to_owned()));
}

#[test]
fn invalid_http_is_refused_in_json() {
    let server = RunningServer::start();
    let post = |path: &str, body: &str| {
        let length = body.len();
        raw(
            &server,
            &format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        )
    };
    let answer = post("/networks/create", "");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.ends_with(r#"{"message":"invalid JSON: got EOF while reading request body"}"#),
        "{answer}"
    );
    assert!(post("/networks/create", "{\"Name\":").contains("400 Bad Request"));
    assert!(post("/networks/create", "{\"Name\":7}").contains("invalid JSON: invalid type"));
    let answer = post("/nothing", "");
    assert!(answer.contains("404") && answer.contains(r#"{"message":"page not found: "#), "{answer}");
    let answer = post("/v1.99/networks/create", "{}");
    assert!(answer.contains("client version 1.99 is too new"), "{answer}");
}

#[test]
fn nulls_of_dockers_client_are_empty_values() {
    let server = RunningServer::start();
    let body = r#"{"Name":"web","Driver":"bridge","IPAM":{"Driver":"default","Options":null,"Config":null},
        "ConfigFrom":null,"Options":null,"Labels":null,"CheckDuplicate":true}"#;
    let length = body.len();
    let answer = raw(
        &server,
        &format!(
            "POST /v1.40/networks/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(server.client().network("web").unwrap().driver, "bridge");
}

#[test]
fn a_panic_is_reported_and_the_server_continues() {
    let server = RunningServer::start();
    let mut client = server.client();
    client.attach(&attach("job", 5, on("bridge"))).unwrap();
    assert_eq!(refusal(client.kill("job", "PANIC")).0, 500);
    client.kill("job", "HUP").unwrap();
}

#[test]
fn many_clients_attach_at_once() {
    let server = RunningServer::start();
    let made = server.client().create_network(&network("web", "172.20.0.0/16")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                for step in 0..10 {
                    let pid = 1000 + thread * 10 + step;
                    client.attach(&attach("", pid, on("web"))).unwrap();
                }
            });
        }
    });
    let containers = server.client().network(&made.id).unwrap().containers;
    let addresses: std::collections::BTreeSet<_> = containers.values().map(|it| &it.ipv4_address).collect();
    assert_eq!(addresses.len(), 80);
}

#[test]
fn addresses_of_no_unix_socket_are_refused() {
    for address in ["", "/run/fairway.sock", "tcp://127.0.0.1:2375", "unix://run/fairway.sock"] {
        assert!(matches!(Client::new(address), Err(ClientError::Address(_))), "{address}");
    }
}
