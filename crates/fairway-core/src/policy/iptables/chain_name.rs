//! The names of our chains besides `FAIRWAY` itself and `FAIRWAY-USER`.

/// Where packets that leave a network go first, to be kept out of other networks.
pub(super) const STAGE_1: &str = "FAIRWAY-ISOLATION-STAGE-1";
/// What decides about packets from one network into another.
pub(super) const STAGE_2: &str = "FAIRWAY-ISOLATION-STAGE-2";
/// What new connections from networks that are not isolated may reach.
pub(super) const ISOLATE_FALSE: &str = "FAIRWAY-ISOLATE-FALSE";
/// What new connections from networks that are isolated, but not strictly, may reach.
pub(super) const ISOLATE_TRUE: &str = "FAIRWAY-ISOLATE-TRUE";
/// What decides about packets from and to each network.
pub(super) const FORWARD: &str = "FAIRWAY-FORWARD";
/// Drops what is forwarded between interfaces of which none is ours, where a daemon switched forwarding on.
pub const GUARD: &str = "FAIRWAY-GUARD";
/// Published ports by the sandbox's own address.
pub(super) const DIRECT: &str = "FAIRWAY-DIRECT";
/// What the relay may send.
pub(super) const RELAY: &str = "FAIRWAY-RELAY";
/// Where packets that arrive are translated; packets of the host itself go to `FAIRWAY` at once.
pub(super) const PREROUTING: &str = "FAIRWAY-PREROUTING";
/// Where source addresses are translated.
pub(super) const POSTROUTING: &str = "FAIRWAY-POSTROUTING";
