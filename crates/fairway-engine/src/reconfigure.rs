//! Other settings while the engine runs.

use std::sync::PoisonError;

use fairway_core::world::Command;
use fairway_model::Settings;

use crate::engine::{adopted, give_bridges_back, give_forwarding_back, observe_host};
use crate::{Engine, EngineError};

impl Engine {
    /// Goes over to other settings, as a start with them would; sandboxes run on.
    ///
    /// # Errors
    /// Settings that do not fit what runs, or that the kernel lacks something for: nothing has changed then.
    pub fn reconfigure(&self, settings: Settings) -> Result<(), EngineError> {
        crate::requirements::check(&settings, self.firewall.flavour())?;
        let host = observe_host()?;
        let _calm = self.calm.read().unwrap_or_else(PoisonError::into_inner);
        let (before, bridges) = self.read(|world| (world.host_state().clone(), adopted(world)));
        let configure = Command::Configure { settings: Box::new(settings), host: Box::new(host) };
        let decision = self.decide(configure)?;
        let after = self.read(|world| world.host_state().clone());
        give_forwarding_back(&before, &after)?;
        self.carry_out(decision)?;
        self.read(|world| give_bridges_back(&bridges, world));
        self.tell_of_daemon("reload", &[]);
        self.look_beside();
        Ok(())
    }
}
