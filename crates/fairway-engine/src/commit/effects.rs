//! What a commit does outside the World and the store.

use std::net::SocketAddr;
use std::sync::Arc;

use fairway_core::dhcp::{decline, release};
use fairway_core::object::{Difference, Object};
use fairway_core::world::World;
use fairway_kernel::clock;
use fairway_kernel::route::Links;
use fairway_model::{Lease, LeaseRequest, Protocol};

use super::address_probe;
use super::leases::{self, transaction};
use crate::apply::{Applier, Desired};
use crate::port_sockets::{BindError, sockets};
use crate::signals::Signals;
use crate::{ApplyError, ApplyErrors, EngineError};

/// From so many objects on, memory is returned to the system after a change: about ten megabytes.
const LARGE: usize = 10_000;

/// The side effects of commits.
pub(crate) trait Effects: Send + Sync {
    /// Nanoseconds since 1970.
    fn now(&self) -> i64;

    /// Binds the ports of a difference, all or none, and checks that its bridges and addresses are free. `world` is the
    /// World that the difference leads to.
    ///
    /// # Errors
    /// A port, a name or an address that another program or host has. Ports that were bound are held still.
    fn prepare(&self, difference: &Difference, world: &World) -> Result<(), EngineError>;

    /// Closes ports that were bound for nothing.
    fn give_back(&self, unwanted: &[(Protocol, SocketAddr)]);

    /// Applies a durable difference. What no caller needs may go on in the background.
    ///
    /// # Errors
    /// The objects that could not be made.
    fn apply(&self, difference: &Arc<Difference>, desired: &dyn Desired) -> Result<(), ApplyErrors>;

    /// Has the Reconciler compare the kernel with the Plan soon.
    fn reconcile_soon(&self);

    /// Adds the program that has a port.
    fn name_holder(&self, error: BindError) -> BindError;

    /// Gets a lease from a DHCP server.
    ///
    /// # Errors
    /// No server leases an address.
    fn lease(&self, request: &LeaseRequest) -> Result<Lease, EngineError>;

    /// Gives a lease back to the server on a LAN.
    fn release(&self, parent: &str, lease: &Lease);

    /// Declines a lease, since another host on the LAN has the address.
    fn decline(&self, parent: &str, lease: &Lease);
}

/// The side effects of commits on the host.
pub(crate) struct HostEffects {
    pub applier: Arc<Applier>,
    pub signals: Arc<Signals>,
}

impl Effects for HostEffects {
    fn now(&self) -> i64 {
        clock::wall()
    }

    fn prepare(&self, difference: &Difference, world: &World) -> Result<(), EngineError> {
        // Ports may be closed in the background still.
        self.applier.background.wait_for(difference);
        self.applier.ports.bind_all(sockets(difference))?;
        bridges_can_be_named(difference)?;
        address_probe::probe(&self.applier, difference, world)
    }

    fn give_back(&self, unwanted: &[(Protocol, SocketAddr)]) {
        unwanted.iter().for_each(|(protocol, at)| self.applier.ports.remove(*protocol, *at));
    }

    fn apply(&self, difference: &Arc<Difference>, desired: &dyn Desired) -> Result<(), ApplyErrors> {
        let signals = Arc::clone(&self.signals);
        let applied = self.applier.begin(difference, desired, move |errors| {
            tracing::error!(%errors, "failed to apply a change in the background: {errors}; retrying");
            signals.request_netns_heal();
        });
        if difference.keys().nth(LARGE).is_some() {
            self.signals.request_memory_release();
        }
        applied
    }

    fn reconcile_soon(&self) {
        self.signals.request_netns_heal();
    }

    fn name_holder(&self, error: BindError) -> BindError {
        let error = error.named();
        let relay = &self.applier.relay;
        if relay.answers() { error } else { error.with_late_relay(relay.hello().pid) }
    }

    fn lease(&self, request: &LeaseRequest) -> Result<Lease, EngineError> {
        leases::ask(&self.applier, request)
    }

    fn release(&self, parent: &str, lease: &Lease) {
        leases::notify_server(&self.applier, parent, &release(lease, transaction()));
    }

    fn decline(&self, parent: &str, lease: &Lease) {
        leases::notify_server(&self.applier, parent, &decline(lease, transaction()));
    }
}

/// Checks that no foreign link has the name of a new bridge.
fn bridges_can_be_named(difference: &Difference) -> Result<(), ApplyError> {
    for object in difference.added.values() {
        match object {
            Object::Bridge(bridge) if bridge.adopted => {
                Links::open()?.user_bridge(&bridge.name)?;
            }
            Object::Bridge(bridge) => Links::open()?.check_name(&bridge.name)?,
            _ => {}
        }
    }
    Ok(())
}
