use fairway_model::{Rng, Settings};

use super::*;
use crate::face::docker_plugin::call::Call;

const NETWORK: &str = "f889c9aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const ENDPOINT: &str = "26ef89bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A request as it was recorded from dockerd, with ids of full length.
fn recorded(method: &str, body: &str) -> Result<Call, Error> {
    let body = body.replace("f889c9…", NETWORK).replace("26ef89…", ENDPOINT);
    Call::read(&format!("/{method}"), body.as_bytes())
}

fn created(body: &str) -> Result<Command, Error> {
    match recorded("NetworkDriver.CreateNetwork", body)? {
        Call::CreateNetwork(request) => network(request),
        other => panic!("{other:?}"),
    }
}

fn request(command: Command) -> CreateNetwork {
    match command {
        Command::CreateNetwork(request) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_network_is_as_dockerd_describes_it() {
    let made = request(created(r#"{"NetworkID":"f889c9…","Options":{"com.docker.network.enable_ipv6":false,"com.docker.network.generic":{"do":"2"},"com.docker.network.internal":true},"IPv4Data":[{"AddressSpace":"RecLocal","AuxAddresses":{"r":"10.67.0.5/24"},"Gateway":"10.67.0.9/24","Pool":"10.67.0.0/24"}],"IPv6Data":[]}"#).unwrap());
    assert_eq!((made.id, made.name.as_str()), (NETWORK.parse().ok(), "docker-f889c9aaaaaa"));
    assert_eq!((made.internal, made.enable_ipv4, made.enable_ipv6), (true, Some(true), Some(false)));
    assert_eq!(made.options, [("do".to_owned(), "2".to_owned())].into());
    assert!(is_of_docker(&made.labels));
    let [subnet] = made.subnets.try_into().unwrap();
    assert_eq!(subnet.subnet, "10.67.0.0/24".parse().ok());
    assert_eq!(subnet.gateway, "10.67.0.9".parse().ok());
    assert_eq!(subnet.auxiliary, [("r".to_owned(), "10.67.0.5".parse().unwrap())].into());
}

#[test]
fn dockerd_28_says_which_families_a_network_has() {
    let made = request(created(r#"{"NetworkID":"f889c9…","Options":{"com.docker.network.enable_ipv4":false,"com.docker.network.enable_ipv6":true,"com.docker.network.generic":{}},"IPv4Data":[],"IPv6Data":[{"AddressSpace":"LocalDefault","Gateway":"fddd:749d:28b3::1/64","Pool":"fddd:749d:28b3::/64"}]}"#).unwrap());
    assert_eq!((made.enable_ipv4, made.enable_ipv6, made.subnets.len()), (Some(false), Some(true), 1));
}

#[test]
fn a_network_of_the_ipam_driver_null_has_no_addresses() {
    let made = request(created(r#"{"NetworkID":"f889c9…","Options":{"com.docker.network.enable_ipv6":false,"com.docker.network.generic":{}},"IPv4Data":[{"AddressSpace":"null","Gateway":"0.0.0.0/0","Pool":"0.0.0.0/0"}],"IPv6Data":[]}"#).unwrap());
    assert_eq!((made.subnets.len(), made.enable_ipv4, made.enable_ipv6), (0, None, None));
    assert_eq!(made.options, [("fairway.addresses".to_owned(), "false".to_owned())].into());
}

#[test]
fn what_makes_no_network_is_refused_with_the_value() {
    let error = |body: &str| created(body).unwrap_err().to_string();
    assert_eq!(
        error(r#"{"NetworkID":"f889c9","IPv4Data":null}"#),
        "invalid network id \"f889c9\": an id of 64 hexadecimal digits is expected"
    );
    assert_eq!(
        error(r#"{"NetworkID":"f889c9…","IPv4Data":[{"Pool":"10.0.0.0"}]}"#),
        "invalid pool \"10.0.0.0\": an address with a prefix length such as 172.20.0.0/16 is expected"
    );
    assert!(error("{").starts_with("cannot read the body of NetworkDriver.CreateNetwork: EOF"));
    let unknown = recorded("NetworkDriver.AllocateNetwork", "{}").unwrap_err().to_string();
    assert_eq!(
        unknown,
        "the plugin has no method NetworkDriver.AllocateNetwork: it implements NetworkDriver and IpamDriver of the scope local"
    );
}

#[test]
fn calls_without_arguments_have_no_body() {
    assert_eq!(recorded("Plugin.Activate", "").unwrap(), Call::Activate);
    assert_eq!(recorded("NetworkDriver.GetCapabilities", "").unwrap(), Call::NetworkCapabilities);
}

fn endpoint_of(body: &str) -> Result<(EndpointId, EndpointRequest, Option<MacAddress>), Error> {
    match recorded("NetworkDriver.CreateEndpoint", body)? {
        Call::CreateEndpoint(request) => endpoint(&request),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_endpoint_has_the_addresses_and_the_options_of_dockerd() {
    let (id, asked, chosen) = endpoint_of(r#"{"NetworkID":"f889c9…","EndpointID":"26ef89…","Interface":{"Address":"192.168.96.3/20","AddressIPv6":"fd66::2/64","MacAddress":"02:42:0a:00:00:77"},"Options":{"com.docker.network.endpoint.dnsservers":["1.1.1.1"],"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":99}],"com.docker.network.endpoint.macaddress":"AkIKAAB3","com.docker.network.portmap":[]}}"#).unwrap();
    assert_eq!(id.to_string(), ENDPOINT);
    assert_eq!((asked.ipv4, asked.ipv6), ("192.168.96.3".parse().ok(), "fd66::2".parse().ok()));
    assert_eq!((asked.mac, chosen), ("02:42:0a:00:00:77".parse().ok(), None));
    assert!(asked.driver_options.is_empty());
    let (_, asked, chosen) = endpoint_of(r#"{"NetworkID":"f889c9…","EndpointID":"26ef89…","Interface":{"Address":"10.67.0.200/24","AddressIPv6":"","MacAddress":""},"Options":{"epo":"7","com.docker.network.driver.private.no_proxy_6to4":false}}"#).unwrap();
    assert_eq!(asked.driver_options, [("epo".to_owned(), "7".to_owned())].into());
    assert_eq!((asked.mac, chosen), (chosen, "26:ef:89:bb:bb:bb".parse().ok()));
    let error = endpoint_of(r#"{"EndpointID":"26ef89…","Interface":{"MacAddress":"ff:ff:ff:ff:ff:ff"}}"#)
        .unwrap_err();
    assert!(error.to_string().starts_with("invalid MAC address \"ff:ff:ff:ff:ff:ff\""), "{error}");
}

#[test]
fn published_ports_are_those_of_the_port_map() {
    let call = recorded(
        "NetworkDriver.ProgramExternalConnectivity",
        r#"{"NetworkID":"f889c9…","EndpointID":"26ef89…","Options":{"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],"com.docker.network.portmap":[{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8181,"HostPortEnd":8181},{"Proto":17,"IP":"","Port":53,"HostIP":"127.0.0.1","HostPort":5353,"HostPortEnd":5360},{"Proto":132,"IP":"","Port":9,"HostIP":"::1","HostPort":0,"HostPortEnd":0}]}}"#,
    );
    let Ok(Call::ProgramExternalConnectivity(request)) = call else { panic!("{call:?}") };
    let Ok(Command::ExternalConnectivity { ports: Some(ports), .. }) = external_connectivity(&request) else {
        panic!("no ports");
    };
    let port = |address: Option<&str>, host: Option<(u16, u16)>, inside, protocol| PublishRequest {
        host_address: address.map(|it| it.parse().unwrap()),
        host_ports: host.map(|(first, last)| PortRange { first, last }),
        container_ports: PortRange::single(inside),
        protocol,
    };
    assert_eq!(
        ports,
        [
            port(None, Some((8181, 8181)), 80, Protocol::Tcp),
            port(Some("127.0.0.1"), Some((5353, 5360)), 53, Protocol::Udp),
            port(Some("::1"), None, 9, Protocol::Sctp),
        ]
    );
}

#[test]
fn all_endpoints_of_a_container_are_in_one_sandbox() {
    assert_eq!(
        sandbox_of("/run/docker/netns/29356f9c3998"),
        sandbox_of("/var/run/docker/netns/29356f9c3998")
    );
    assert_ne!(sandbox_of("/run/docker/netns/29356f9c3998"), sandbox_of("/run/docker/netns/29356f9c3999"));
}

/// A World with an endpoint with options of its own, on a network with these options.
fn world_with(options: &[(&str, &str)], own: &[(&str, &str)], internal: bool) -> World {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    let configure = Command::Configure { settings: Box::new(Settings::default()), host: Box::default() };
    let owned = |options: &[(&str, &str)]| {
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let network = CreateNetwork {
        options: owned(options),
        internal,
        ..request(created(r#"{"NetworkID":"f889c9…","Options":{"com.docker.network.enable_ipv6":true},"IPv4Data":[{"Gateway":"10.67.0.9/24","Pool":"10.67.0.0/24"}],"IPv6Data":[{"Gateway":"fd66::1/64","Pool":"fd66::/64"}]}"#).unwrap())
    };
    let (_, mut endpoint, _) = endpoint_of(r#"{"NetworkID":"f889c9…","EndpointID":"26ef89…","Interface":{"Address":"10.67.0.3/24","AddressIPv6":"fd66::3/64","MacAddress":""}}"#).unwrap();
    endpoint.driver_options = owned(own);
    let call = protocol::Join {
        network: NETWORK.to_owned(),
        endpoint: ENDPOINT.to_owned(),
        sandbox_key: "/run/docker/netns/29356f9c3998".to_owned(),
    };
    for command in [configure, Command::CreateNetwork(network), join(&call, endpoint).unwrap()] {
        world.apply(command, 1, &mut rng).unwrap();
    }
    world
}

/// What dockerd is answered of an endpoint on a network with these options.
fn joined_on(options: &[(&str, &str)], internal: bool) -> Result<Option<Joined>, Error> {
    joined(&world_with(options, &[], internal), endpoint_id(ENDPOINT)?)
}

#[test]
fn an_endpoint_whose_address_dockerd_gives_to_another_one_is_replaced() {
    let world = world_with(&[], &[], false);
    let of = |ipv4: &str| {
        let request = EndpointRequest { ipv4: ipv4.parse().ok(), ..EndpointRequest::default() };
        replaced(&world, NETWORK.parse().unwrap(), &request)
    };
    assert_eq!(of("10.67.0.3"), [ENDPOINT.parse().unwrap()]);
    assert_eq!(of("10.67.0.4"), []);
}

#[test]
fn a_container_gets_the_gateways_of_its_network() {
    let answer = joined_on(&[], false).unwrap().unwrap();
    assert!(answer.interface_name.src_name.starts_with("fp"), "{answer:?}");
    assert_eq!(answer.interface_name.dst_prefix, "eth");
    assert_eq!((answer.gateway.as_str(), answer.gateway_ipv6.as_str()), ("10.67.0.9", "fd66::1"));
    assert!(!answer.disable_gateway_service);
    let prefix = joined_on(&[("com.docker.network.container_iface_prefix", "net")], false).unwrap().unwrap();
    assert_eq!(prefix.interface_name.dst_prefix, "net");
}

#[test]
fn a_container_of_an_internal_network_gets_none_and_dockerd_adds_no_other_network() {
    for answer in [joined_on(&[], true), joined_on(&[("fairway.default_route", "false")], false)] {
        let answer = answer.unwrap().unwrap();
        assert_eq!((answer.gateway.as_str(), answer.gateway_ipv6.as_str()), ("", ""));
        assert!(answer.disable_gateway_service);
    }
}

#[test]
fn the_default_route_of_an_endpoint_is_by_its_own_option_in_all_words_of_the_engine() {
    for (of_network, own, gateway) in [
        ("true", "false", ""),
        ("true", "0", ""),
        ("false", "true", "10.67.0.9"),
        ("false", "1", "10.67.0.9"),
    ] {
        const NAME: &str = "fairway.default_route";
        let world = world_with(&[(NAME, of_network)], &[(NAME, own)], false);
        let answer = joined(&world, endpoint_id(ENDPOINT).unwrap()).unwrap().unwrap();
        assert_eq!(answer.gateway, gateway, "{of_network} {own}");
    }
}

#[test]
fn static_routes_are_those_that_dockerd_can_set() {
    let answer = joined_on(&[("fairway.routes", "10.200.0.0/16@10.67.0.7,10.201.0.0/16")], false);
    let route = |destination: &str, route_type, next_hop: &str| Route {
        destination: destination.to_owned(),
        route_type,
        next_hop: next_hop.to_owned(),
    };
    let expected = [route("10.200.0.0/16", 0, "10.67.0.7"), route("10.201.0.0/16", 1, "")];
    assert_eq!(answer.unwrap().unwrap().static_routes, expected);
    let error = joined_on(&[("fairway.routes", "10.200.0.0/16@10.67.0.7#5")], false).unwrap_err();
    assert!(error.to_string().contains("without a metric"), "{error}");
}
