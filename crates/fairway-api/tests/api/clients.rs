//! What Docker's clients send, taken as Docker takes it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use fairway_api::types::{AttachNamespace, ContainerCreate, HostConfig};
use serde_json::Value;

use crate::engine::RunningServer;

/// Status and body of the answer to a request.
pub fn request(server: &RunningServer, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(server.address.strip_prefix("unix://").unwrap()).unwrap();
    let escaped = |c: char| match c.is_ascii_alphanumeric() || "/?&=-_.%".contains(c) {
        true => c.to_string(),
        false => format!("%{:02X}", u32::from(c)),
    };
    let (path, length) = (path.chars().map(escaped).collect::<String>(), body.len());
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), text.to_owned())
}

pub fn get(server: &RunningServer, path: &str) -> Value {
    let (status, text) = request(server, "GET", path, "");
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The names of the containers that a query lists.
fn listed(server: &RunningServer, query: &str) -> Vec<String> {
    let all = get(server, &format!("/containers/json?{query}"));
    let name = |container: &Value| container["Names"][0].as_str().unwrap().trim_matches('/').to_owned();
    all.as_array().unwrap().iter().map(name).collect()
}

fn message(text: &str) -> String {
    serde_json::from_str::<Value>(text).unwrap()["message"].as_str().unwrap().to_owned()
}

/// A container as Docker's client asks for one.
pub fn create(server: &RunningServer, name: &str, body: &str) {
    let (status, text) = request(server, "POST", &format!("/containers/create?name={name}"), body);
    assert_eq!(status, 201, "{text}");
}

pub fn start(server: &RunningServer, name: &str, pid: u32) {
    server.client().attach_namespace(name, &AttachNamespace { pid, path: String::new() }).unwrap();
}

#[test]
fn bodies_are_read_as_go_reads_them() {
    let network = "/networks/create";
    let container = "/containers/create";
    let connect = "/networks/app/connect";
    // Each on a server of its own, with the network app and the container box; dockerd 28.5's statuses.
    let rows = [
        (network, r#"{"Name":"n","Driver":null}"#, 201),
        (network, r#"{"Name":"n","Internal":null,"Attachable":null,"Scope":null,"EnableIPv6":null}"#, 201),
        (network, r#"{"Name":"n","IPAM":{"Driver":null,"Options":null,"Config":[]}}"#, 201),
        (
            network,
            r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"10.1.0.0/24","Gateway":null,"IPRange":null,"AuxiliaryAddresses":null}]}}"#,
            201,
        ),
        (network, r#"{"Name":"n","IPAM":{"Config":[null]}}"#, 201),
        (
            network,
            r#"{"Name":"n","IPAM":null,"ConfigFrom":null,"Labels":{"a":null},"Options":{"fairway.guard":null}}"#,
            201,
        ),
        (network, r#"{"name":"n","DRIVER":"bridge","ipam":{"config":[{"subnet":"10.1.0.0/24"}]}}"#, 201),
        (network, r#"{"Name":"n","Unknown":{"a":[1,null]},"CheckDuplicate":true}"#, 201),
        (network, r#"{"Name":7}"#, 400),
        (network, r#"{"Name":"n","Internal":"yes"}"#, 400),
        (network, r#"{"Name":"n","Labels":["a"]}"#, 400),
        (network, "null", 400),
        (connect, r#"{"Container":"box","EndpointConfig":null}"#, 200),
        (connect, r#"{"container":"box","endpointconfig":{"ipamconfig":{"ipv4address":"10.9.0.9"}}}"#, 200),
        (
            connect,
            r#"{"Container":"box","EndpointConfig":{"IPAMConfig":{"IPv4Address":null,"LinkLocalIPs":null}}}"#,
            200,
        ),
        (
            connect,
            r#"{"Container":"box","EndpointConfig":{"MacAddress":null,"Aliases":null,"DriverOpts":{"a":null}}}"#,
            200,
        ),
        (connect, r#"{"Container":null}"#, 404),
        (
            container,
            r#"{"Image":"host","Hostname":null,"WorkingDir":null,"MacAddress":null,"Env":null,"Labels":null}"#,
            201,
        ),
        (
            container,
            r#"{"Image":"host","HostConfig":{"NetworkMode":null,"Privileged":null,"Dns":null}}"#,
            201,
        ),
        (container, r#"{"Image":"host","HostConfig":null,"NetworkingConfig":null}"#, 201),
        (
            container,
            r#"{"Image":"host","HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":null,"HostPort":null}]}}}"#,
            201,
        ),
        (container, r#"{"Image":"host","HostConfig":{"PortBindings":{"80/tcp":null,"81/tcp":[null]}}}"#, 201),
        (container, r#"{"Image":"host","ExposedPorts":{"80/tcp":null}}"#, 201),
        (container, r#"{"Image":"host","Cmd":"a string"}"#, 201),
        (container, r#"{"Image":"host","Entrypoint":"","Cmd":null}"#, 201),
        (container, r#"{"image":"host","hostconfig":{"networkmode":"app"}}"#, 201),
        (container, r#"{"Image":"host","NetworkingConfig":{"app":null}}"#, 201),
        (container, r#"{"Image":"host","Cmd":{"a":"b"}}"#, 400),
        (container, r#"{"Image":"host","Env":"A=b"}"#, 400),
        (container, r#"{"Image":"host","NetworkingConfig":{"EndpointsConfig":{"bridge":null}}}"#, 400),
        (container, "{}", 400),
        (container, r#"{"HostConfig":{"NetworkMode":"app"},"NetworkingConfig":{}}"#, 400),
        (container, r#"{"Image":"host","HostConfig":{"NetworkMode":"nosuch"}}"#, 400),
        (container, r#"{"Image":"host","HostConfig":{"NetworkMode":"container:nosuch"}}"#, 400),
        ("/networks/app/disconnect", r#"{"container":"box","Force":null}"#, 403),
        (
            "/containers/box/publish",
            r#"{"portbindings":{"80/tcp":[{"hostport":"8080","HostIp":null}]}}"#,
            200,
        ),
    ];
    for (path, body, expected) in rows {
        let server = RunningServer::start();
        let app = r#"{"Name":"app","IPAM":{"Config":[{"Subnet":"10.9.0.0/24"}]}}"#;
        assert_eq!(request(&server, "POST", network, app).0, 201);
        create(&server, "box", r#"{"Image":"host"}"#);
        let (status, text) = request(&server, "POST", path, body);
        assert_eq!(status, expected, "{path} {body}: {text}");
    }
}

#[test]
fn json_is_decoded_as_by_go() {
    let server = RunningServer::start();
    let body = r#"{"NAME":"n","Labels":{"Keep":"Case","none":null},"ipam":{"CONFIG":[{"subnet":"10.1.0.0/24","Gateway":null}]}}"#;
    request(&server, "POST", "/networks/create", body);
    let made = get(&server, "/networks/n");
    assert_eq!(made["Labels"], serde_json::json!({"Keep": "Case", "none": ""}));
    assert_eq!(made["IPAM"]["Config"][0]["Gateway"], "10.1.0.1");
    let body = r#"{"Image":"host:latest","Entrypoint":"","cmd":"one word","ExposedPorts":{"80/tcp":null}}"#;
    create(&server, "c", body);
    let made = get(&server, "/containers/c/json");
    assert_eq!(made["Config"]["Cmd"], serde_json::json!(["one word"]));
    assert_eq!(made["Config"]["ExposedPorts"], serde_json::json!({"80/tcp": {}}));
    assert_eq!(made["Config"]["Image"], "host:latest");
    assert_eq!(get(&server, "/containers/json?all=1")[0]["Image"], "host:latest");
}

#[test]
fn a_missing_network_is_no_missing_image() {
    let server = RunningServer::start();
    let body = r#"{"Image":"host","HostConfig":{"NetworkMode":"nosuch"}}"#;
    let (status, text) = request(&server, "POST", "/containers/create?name=c", body);
    assert_eq!((status, message(&text).as_str()), (400, "network nosuch not found"));
    assert_eq!(listed(&server, "all=1"), Vec::<String>::new());
    let (_, text) = request(&server, "POST", "/containers/create", "{}");
    assert_eq!(message(&text), "config cannot be empty in order to create a container");
}

#[test]
fn unsupported_options_of_create_cause_warnings() {
    let server = RunningServer::start();
    let body = r#"{"Image":"host","Domainname":"d","HostConfig":{"Binds":["/tmp:/x"],"CpuShares":5}}"#;
    let (_, text) = request(&server, "POST", "/containers/create?name=v1", body);
    let made: Value = serde_json::from_str(&text).unwrap();
    let warnings: Vec<&str> = made["Warnings"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    let ignored = |flag: &str, key: &str| format!("{flag} ({key}) is not supported and has no effect");
    assert_eq!(
        warnings,
        [
            ignored("--domainname", "Domainname"),
            ignored("--volume", "HostConfig.Binds"),
            ignored("--cpu-shares", "HostConfig.CpuShares"),
        ]
    );
    let body = r#"{"Name":"n","IPAM":{"Options":{"x":"y"}}}"#;
    let (_, text) = request(&server, "POST", "/networks/create", body);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["Warning"], "");
    assert_eq!(get(&server, "/networks/n")["IPAM"]["Options"], serde_json::json!({"x": "y"}));
    // Our own command line names no image and asks for none of these.
    let create = ContainerCreate { cmd: vec!["true".into()], ..ContainerCreate::default() };
    assert_eq!(server.client().create_container("own", &create).unwrap().warnings, Some(Vec::new()));
}

/// What follows the head of a frame of Docker's multiplexed streams, of each frame.
fn frames(mut bytes: &[u8]) -> Vec<(u8, String)> {
    let mut found = Vec::new();
    while let [stream, 0, 0, 0, a, b, c, d, rest @ ..] = bytes {
        let (text, after) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        found.push((*stream, String::from_utf8(text.to_vec()).unwrap()));
        bytes = after;
    }
    found
}

/// A body that was sent in chunks (RFC 9112, section 7.1).
fn joined(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((length, rest)) = text.split_once("\r\n") {
        let (chunk, after) = rest.split_at(usize::from_str_radix(length, 16).unwrap());
        body += chunk;
        text = after.strip_prefix("\r\n").unwrap();
    }
    body
}

/// The output of the program that stands for this one: its arguments, and `no` as an error.
fn printed(text: &str) -> Vec<(u8, String)> {
    let mut all = frames(joined(text).as_bytes());
    all.sort();
    all
}

#[test]
fn processes_are_those_of_the_program() {
    let server = RunningServer::start();
    create(&server, "kept", r#"{"Image":"host"}"#);
    for verb in ["start", "restart?t=3"] {
        assert_eq!(request(&server, "POST", &format!("/containers/kept/{verb}"), "").0, 204, "{verb}");
        let missing = format!("/containers/nosuch/{verb}");
        assert_eq!(request(&server, "POST", &missing, "").0, 404, "{verb}");
    }
    let exec = r#"{"Cmd":["sh","-c","x"],"Env":["A=b"],"AttachStdout":true,"AttachStderr":true}"#;
    assert_eq!(request(&server, "POST", "/containers/kept/exec", exec).0, 409);
    assert_eq!(request(&server, "GET", "/containers/kept/top", "").0, 409);
    let (status, text) = request(&server, "GET", "/containers/kept/logs?stdout=1", "");
    assert_eq!((status, joined(&text).as_str()), (200, ""));
    assert_eq!(request(&server, "GET", "/containers/kept/logs", "").0, 400);

    start(&server, "kept", 5);
    let id = get(&server, "/containers/kept/json")["Id"].as_str().unwrap().to_owned();
    assert_eq!(request(&server, "POST", "/containers/kept/start", "").0, 304);
    let path = "/containers/kept/logs?stdout=1&stderr=1&tail=3&timestamps=1&since=0&until=5";
    let (status, text) = request(&server, "GET", path, "");
    let expected = format!("logs --timestamps --tail=3 --until=5 {id} --announce\n");
    assert_eq!((status, printed(&text)), (200, vec![(1, expected), (2, "no\n".to_owned())]));
    let (_, text) = request(&server, "GET", "/containers/kept/logs?stderr=1", "");
    assert_eq!(printed(&text), [(2, "no\n".to_owned())]);

    let (status, text) = request(&server, "POST", "/containers/kept/exec", exec);
    assert_eq!(status, 201);
    let made: Value = serde_json::from_str(&text).unwrap();
    let at = format!("/exec/{}", made["Id"].as_str().unwrap());
    assert_eq!(get(&server, &format!("{at}/json"))["Running"], false);
    let (status, text) = request(&server, "POST", &format!("{at}/start"), r#"{"Detach":false,"Tty":false}"#);
    let expected = format!("exec --env=A=b -- {id} sh -c x\n");
    assert_eq!((status, printed(&text)), (200, vec![(1, expected), (2, "no\n".to_owned())]));
    let known = get(&server, &format!("{at}/json"));
    assert_eq!((&known["ExitCode"], &known["Running"]), (&0.into(), &false.into()));
    assert_eq!((&known["ContainerID"], &known["ProcessConfig"]["entrypoint"]), (&id.into(), &"sh".into()));
    assert_eq!(request(&server, "POST", &format!("{at}/start"), "{}").0, 409);
    assert_eq!(request(&server, "GET", "/exec/nosuch/json", "").0, 404);
    assert_eq!(request(&server, "POST", &format!("{at}/resize?h=1&w=2"), "").0, 400);
    assert_eq!(request(&server, "POST", "/containers/kept/exec", r#"{"Cmd":[]}"#).0, 400);
}

#[test]
fn options_of_the_command_are_kept_shown_and_updated() {
    let server = RunningServer::start();
    let body = r#"{"Image":"host","User":"5:6","Tty":true,"OpenStdin":true,"StdinOnce":true,"StopSignal":"INT",
        "StopTimeout":3,"HostConfig":{"Memory":67108864,"NanoCpus":500000000,"PidsLimit":-1,"Init":true,
        "Sysctls":{"net.core.somaxconn":"9"},"GroupAdd":["7"],
        "RestartPolicy":{"Name":"on-failure","MaximumRetryCount":2}}}"#;
    let (_, text) = request(&server, "POST", "/containers/create?name=kept", body);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["Warnings"], serde_json::json!([]));
    let made = get(&server, "/containers/kept/json");
    let asked: Value = serde_json::from_str(body).unwrap();
    for (of, key) in asked.as_object().unwrap().iter().filter(|(key, _)| *key != "HostConfig") {
        assert_eq!(&made["Config"][of], key, "{of}");
    }
    for (of, value) in asked["HostConfig"].as_object().unwrap() {
        let expected = if of == "PidsLimit" { &Value::Null } else { value };
        assert_eq!(&made["HostConfig"][of], expected, "{of}");
    }
    assert_eq!(request(&server, "POST", "/containers/kept/resize?h=1&w=2", "").0, 409);

    let update = |body: &str| request(&server, "POST", "/containers/kept/update", body);
    assert_eq!(update(r#"{"Memory":0,"PidsLimit":9,"RestartPolicy":{"Name":"always"}}"#).0, 200);
    let made = get(&server, "/containers/kept/json");
    assert_eq!(made["HostConfig"]["PidsLimit"], 9);
    assert_eq!(made["HostConfig"]["Memory"], 67_108_864);
    assert_eq!(made["HostConfig"]["RestartPolicy"]["Name"], "always");
    let (status, text) = update(r#"{"CpuShares":5}"#);
    assert_eq!(status, 501);
    assert!(message(&text).starts_with("cannot update container kept: --cpu-shares (CpuShares)"), "{text}");
    assert_eq!(update(r#"{"RestartPolicy":{"Name":"sometimes"}}"#).0, 400);
}

#[test]
fn a_container_that_will_be_started_again_is_restarting() {
    let server = RunningServer::start();
    create(&server, "kept", r#"{"Image":"host","HostConfig":{"RestartPolicy":{"Name":"always"}}}"#);
    let whole_state = || get(&server, "/containers/kept/json")["State"].clone();
    let state = || whole_state()["Status"].as_str().unwrap().to_owned();
    start(&server, "kept", 5);
    assert_eq!(request(&server, "POST", "/containers/kept/exited", r#"{"Pid":5,"Code":3}"#).0, 204);
    assert_eq!(
        (state().as_str(), listed(&server, "filters={\"status\":[\"restarting\"]}").len()),
        ("restarting", 1)
    );
    assert!(get(&server, "/containers/json")[0]["Status"].as_str().unwrap().starts_with("Restarting (3)"));
    assert_eq!((&whole_state()["Running"], &whole_state()["Pid"]), (&true.into(), &0.into()));
    // A user stops it while it waits.
    assert_eq!(request(&server, "DELETE", "/containers/kept", "").0, 409);
    assert_eq!(request(&server, "POST", "/containers/kept/kill?signal=HUP", "").0, 204);
    assert_eq!(request(&server, "POST", "/containers/kept/stop", "").0, 204);
    assert_eq!(request(&server, "POST", "/containers/kept/stop", "").0, 304);
    assert_eq!(state(), "exited");
    assert_eq!((&whole_state()["Running"], listed(&server, "")), (&false.into(), Vec::new()));
    // A signal that ends it is a stop of a user, and another one is not.
    start(&server, "kept", 6);
    for (signal, expected) in [("HUP", "restarting"), ("SIGTERM", "exited")] {
        request(&server, "POST", &format!("/containers/kept/kill?signal={signal}"), "");
        assert_eq!(request(&server, "POST", "/containers/kept/exited", r#"{"Pid":6,"Code":3}"#).0, 204);
        assert_eq!(state(), expected, "{signal}");
        if signal == "HUP" {
            start(&server, "kept", 6);
        }
    }
}

#[test]
fn a_link_is_removed_and_not_its_container() {
    let server = RunningServer::start();
    create(&server, "db", r#"{"Image":"host"}"#);
    create(&server, "web", r#"{"Image":"host","HostConfig":{"Links":["db:data","db:other"]}}"#);
    for (path, expected) in [
        ("/containers/web?link=1&force=1", 409),
        ("/containers/web?link=true&v=1", 409),
        ("/containers/web/nosuch?link=1&force=1", 404),
        ("/containers/nosuch/data?link=1", 404),
        ("/containers/web/data?force=1", 404),
        ("/containers/?force=1", 404),
    ] {
        assert_eq!(request(&server, "DELETE", path, "").0, expected, "{path}");
        assert_eq!(listed(&server, "all=1"), ["web", "db"], "{path}");
    }
    assert_eq!(request(&server, "DELETE", "/containers/web/data?link=1&force=1", "").0, 204);
    let links = &get(&server, "/containers/web/json")["HostConfig"]["Links"];
    assert_eq!(*links, serde_json::json!(["/db:/web/other"]));
}

#[test]
fn containers_are_listed_as_docker_lists_them() {
    let server = RunningServer::start();
    create(&server, "old", r#"{"Image":"host:latest"}"#);
    create(
        &server,
        "web",
        r#"{"Image":"host","ExposedPorts":{"99/tcp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8080"}],"53/udp":[{"HostPort":"5353"}]}}}"#,
    );
    create(&server, "new", r#"{"Cmd":["true"]}"#);
    start(&server, "web", 5);
    start(&server, "new", 6);
    let one = |filter: &str, value: &str| listed(&server, &format!("filters={{\"{filter}\":[\"{value}\"]}}"));
    let all = ["new", "web"];
    let none: [&str; 0] = [];
    // With a limit those that do not run are listed too.
    assert_eq!(listed(&server, ""), all);
    assert_eq!(listed(&server, "limit=0"), all);
    assert_eq!(listed(&server, "limit=-1"), all);
    assert_eq!(listed(&server, "limit=1"), ["new"]);
    assert_eq!(listed(&server, "limit=3"), ["new", "web", "old"]);
    assert_eq!(request(&server, "GET", "/containers/json?limit=x", "").0, 400);
    let id = get(&server, "/containers/web/json")["Id"].as_str().unwrap().to_owned();
    assert_eq!(one("id", &id[..12]), ["web"]);
    assert_eq!(one("id", &id[1..13]), none);
    for (filter, value, expected) in [
        ("name", "w.b", &["web"][..]),
        ("name", "^(web|new)$", &all),
        ("name", "^/web$", &["web"]),
        ("name", "[", &none),
        ("ancestor", "host", &all),
        ("ancestor", "host:latest", &all),
        ("ancestor", "cc", &none),
        ("before", "new", &["web"]),
        ("since", "old", &all),
        ("since", "new", &none),
        ("publish", "8080", &["web"]),
        ("publish", "5353/udp", &["web"]),
        ("publish", "8000-8090/tcp", &["web"]),
        ("publish", "80", &none),
        ("expose", "99", &["web"]),
        ("expose", "80/tcp", &["web"]),
        ("expose", "53", &none),
        ("health", "none", &all),
        ("health", "healthy", &none),
        ("volume", "/x", &none),
        ("is-task", "false", &all),
        ("is-task", "true", &none),
        ("isolation", "default", &all),
    ] {
        assert_eq!(one(filter, value), expected, "{filter}={value}");
    }
    for (filter, value, status, words) in [
        ("bogus", "1", 400, "invalid filter 'bogus'"),
        ("health", "well", 400, "invalid filter 'health=well'"),
        ("publish", "http", 400, "invalid filter 'publish=http'"),
        ("before", "nosuch", 404, "No such container: nosuch"),
    ] {
        let path = format!("/containers/json?filters={{\"{filter}\":[\"{value}\"]}}");
        let (is, text) = request(&server, "GET", &path, "");
        assert_eq!((is, message(&text).as_str()), (status, words));
    }
}

#[test]
fn networks_are_found_by_regular_expressions_and_in_this_scope_alone() {
    let server = RunningServer::start();
    request(&server, "POST", "/networks/create", r#"{"Name":"app"}"#);
    let names = |value: &str| {
        let found = get(&server, &format!("/networks?filters={{\"name\":[\"{value}\"]}}"));
        found.as_array().unwrap().iter().map(|it| it["Name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("^(app|back)$"), ["app"]);
    assert_eq!(names("a.p"), ["app"]);
    assert_eq!(names("APP"), Vec::<String>::new());
    assert_eq!(request(&server, "GET", "/networks/app?scope=local", "").0, 200);
    let (status, text) = request(&server, "GET", "/networks/app?scope=swarm", "");
    assert_eq!((status, message(&text).as_str()), (404, "network app not found"));
}

#[test]
fn prune_takes_times_without_a_zone_and_loses_no_filter() {
    let server = RunningServer::start();
    let prune = |filters: &str| request(&server, "POST", &format!("/networks/prune?filters={filters}"), "");
    request(&server, "POST", "/networks/create", r#"{"Name":"app","Labels":{"keep":"1"}}"#);
    for filters in [
        r#"{"until":["2020-01-01T00:00:00"]}"#,
        r#"{"until":["2020-01-01"]}"#,
        r#"{"label":{"other":false}}"#,
        r#"{"label!":{"keep":false}}"#,
    ] {
        let (status, text) = prune(filters);
        assert_eq!((status, text.as_str()), (200, r#"{"NetworksDeleted":null}"#), "{filters}");
    }
    assert_eq!(prune(r#"{"until":["2999-01-01T00:00:00"]}"#).1, r#"{"NetworksDeleted":["app"]}"#);
}

#[test]
fn version_and_info_have_the_fields_of_dockers_client() {
    let server = RunningServer::start();
    let version = get(&server, "/version");
    assert_eq!((&version["Arch"], &version["Os"]), (&"amd64".into(), &"linux".into()));
    assert_eq!(version["Components"][0]["Name"], "Engine");
    assert_eq!(version["Components"][0]["Details"]["ApiVersion"], version["ApiVersion"]);
    let info = get(&server, "/info");
    assert_eq!(info["Architecture"], "x86_64");
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert_eq!(info["ID"].as_str().unwrap().len(), 64);
    assert!(info["Plugins"]["Network"].as_array().unwrap().contains(&"bridge".into()));
    assert_eq!(info["LoggingDriver"], "json-file");
    for (key, expected) in [("MemoryLimit", true), ("CpuCfsQuota", true), ("PidsLimit", false)] {
        assert_eq!(info[key], expected, "{key}");
    }
    assert_eq!((&info["NCPU"], &info["MemTotal"]), (&2.into(), &(64 << 20).into()));
}

#[test]
fn the_default_bridge_is_shown_in_fields_of_old_clients() {
    let server = RunningServer::start();
    let host_config = HostConfig { network_mode: "bridge".into(), ..HostConfig::default() };
    let create = ContainerCreate { cmd: vec!["true".into()], host_config, ..ContainerCreate::default() };
    server.client().create_container("plain", &create).unwrap();
    let settings = |name: &str| get(&server, &format!("/containers/{name}/json"))["NetworkSettings"].clone();
    assert_eq!(settings("plain")["IPAddress"], "");
    start(&server, "plain", 5);
    let shown = settings("plain");
    assert_eq!((&shown["IPAddress"], &shown["IPPrefixLen"]), (&"172.17.0.2".into(), &16.into()));
    for key in ["Gateway", "MacAddress", "EndpointID", "IPv6Gateway", "GlobalIPv6Address"] {
        assert_eq!(shown[key], shown["Networks"]["bridge"][key], "{key}");
    }
    let options = get(&server, "/networks/bridge")["Options"].clone();
    assert_eq!(
        options,
        serde_json::json!({
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
            "com.docker.network.bridge.name": "fairway0",
            "com.docker.network.driver.mtu": "1500",
        })
    );
}
