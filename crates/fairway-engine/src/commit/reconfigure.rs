//! Changes the settings of a running daemon.

use fairway_core::world::{Command, Context, Event, Requester};
use fairway_model::{Rng, Settings};

use super::Committer;
use super::host::{adopted, observe_host, release_bridges, restore_forwarding};
use crate::EngineError;

impl Committer {
    /// Changes the settings, as a start with them would. Sandboxes run on.
    ///
    /// # Errors
    /// Settings that do not fit what runs, or that the kernel lacks something for: nothing has changed then.
    pub fn reconfigure(&self, requester: Option<Requester>, settings: Settings) -> Result<(), EngineError> {
        crate::requirements::check(&settings, self.applier.firewall.flavour())?;
        let host = observe_host()?;
        let configure = Command::Configure { settings: Box::new(settings), host: Box::new(host) };
        let before = self.snapshot().world;
        let decided = before.decide(configure.clone(), &mut Context::new(self.now(), &mut Rng::new(0)));
        if let Ok(draft) = decided {
            // Before it is durable: after a crash in between, the next daemon does it again.
            restore_forwarding(before.host_state(), draft.world.host_state())?;
        }
        // Forwarding that was switched off in vain is switched on again.
        self.pipeline.run(&configure).inspect_err(|_| self.signals.request_heal())?;
        self.read(|world| release_bridges(&adopted(&before), world));
        let reloaded = self.read(|world| Event::of_daemon("reload", &world.host().hostname, &[]));
        self.events.emit(vec![reloaded.requested_by(requester)], self.now());
        Ok(())
    }
}
