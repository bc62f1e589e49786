//! Fairway from the outside: the real daemon on a host of a lab, asked over its socket, and traffic that shows what
//! came of it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(clippy::disallowed_methods, reason = "tests run programs and read the environment")]

#[macro_use]
mod harness;
mod advertisements;
mod askers;
mod bridge_ports;
mod chaos;
mod cli;
mod clients;
mod crash;
mod daemon;
mod default_bridge;
mod deny;
mod direct;
mod dns;
mod doctor;
mod documents;
mod durable;
mod endpoint_routes;
mod events;
mod explain;
mod explain_foreign_rules;
mod fairness;
mod files;
mod firewalls;
mod foreign_changes;
mod foreign_engines;
mod foreign_firewalls;
mod graph;
mod handover;
mod heal;
mod host_subnets;
mod hosts;
mod icc;
mod ipv6;
mod isolate;
mod kernel_state;
mod lan;
mod lifecycle;
mod limits;
mod link_local;
mod lost_state;
mod macvlan;
mod matrix;
mod modes;
mod moving_route;
mod names;
mod networks;
mod options;
mod ping;
mod ptp;
mod publish;
mod ranges;
mod refusals;
mod reload;
mod remove;
mod republish;
mod routed;
mod sctp;
mod service;
mod several;
mod sockets;
mod spoof;
mod stats;
mod store;
mod strict;
mod subnets;
mod trace;
mod transitions;
mod ui;
mod untracked;
mod upgrade;
mod upstream;
