//! Changes the settings of a running daemon.

use std::sync::PoisonError;

use fairway_core::world::Command;
use fairway_model::Settings;

use super::Committer;
use super::host::{adopted, observe_host, release_bridges, restore_forwarding};
use crate::EngineError;

impl Committer {
    /// Changes the settings, as a start with them would. Sandboxes run on.
    ///
    /// # Errors
    /// Settings that do not fit what runs, or that the kernel lacks something for: nothing has changed then.
    pub fn reconfigure(&self, settings: Settings) -> Result<(), EngineError> {
        crate::requirements::check(&settings, self.applier.firewall.flavour())?;
        let host = observe_host()?;
        let _shared = self.reconcile_lock.read().unwrap_or_else(PoisonError::into_inner);
        let (before, bridges) = self.read(|world| (world.host_state().clone(), adopted(world)));
        let configure = Command::Configure { settings: Box::new(settings), host: Box::new(host) };
        let decision = self.decide(configure)?;
        let after = self.read(|world| world.host_state().clone());
        restore_forwarding(&before, &after)?;
        self.carry_out(decision)?;
        self.read(|world| release_bridges(&bridges, world));
        self.emit_daemon_event("reload", &[]);
        Ok(())
    }
}
