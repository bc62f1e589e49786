//! The options of a sandbox's command: checks, later changes, and what its restart policy has to know.

use super::{Change, RecordKey, Refusal, World};
use fairway_model::process::{check_memory, check_sysctl};
use fairway_model::{ResourceLimits, RestartPolicy, Sandbox, SandboxKind, SandboxOptions};

/// Checks the options of a new sandbox.
pub(super) fn check(options: &SandboxOptions) -> Result<(), Refusal> {
    let process = &options.process;
    process.sysctls.iter().try_for_each(|(name, value)| check_sysctl(name, value))?;
    check_limits(process.limits)?;
    check_restart(process.restart, options.auto_remove)
}

/// Refuses sysctls of a namespace that is not the sandbox's own.
pub(super) fn check_namespace(options: &SandboxOptions, mode: &'static str) -> Result<(), Refusal> {
    match options.process.sysctls.keys().next() {
        Some(name) => Err(Refusal::ForeignSysctl { name: name.clone(), mode }),
        None => Ok(()),
    }
}

fn check_limits(limits: ResourceLimits) -> Result<(), Refusal> {
    match limits.memory.is_none_or(check_memory) {
        true => Ok(()),
        false => Err(Refusal::TooLittleMemory),
    }
}

fn check_restart(restart: RestartPolicy, auto_remove: bool) -> Result<(), Refusal> {
    match restart {
        RestartPolicy::No => Ok(()),
        _ if auto_remove => Err(Refusal::RestartAndRemove),
        _ => Ok(()),
    }
}

impl World {
    pub(super) fn request_stop(&mut self, reference: &str) -> Result<Change, Refusal> {
        let sandbox = self.find_sandbox(reference)?.clone();
        if sandbox.options.process.restart == RestartPolicy::No || sandbox.stopped_by_user {
            return Ok(Change::default());
        }
        Ok(self.record_sandbox(Sandbox { stopped_by_user: true, ..sandbox }))
    }

    pub(super) fn count_restarts(&mut self, reference: &str, restarts: u32) -> Result<Change, Refusal> {
        let sandbox = self.find_sandbox(reference)?.clone();
        Ok(self.record_sandbox(Sandbox { restarts, ..sandbox }))
    }

    pub(super) fn fail_start(&mut self, reference: &str, error: String) -> Result<Change, Refusal> {
        let sandbox = self.find_sandbox(reference)?.clone();
        if sandbox.kind != SandboxKind::Run {
            return Err(Refusal::NeverStarted(sandbox.name));
        }
        match sandbox.running() || sandbox.start_error == error {
            true => Ok(Change::default()),
            false => Ok(self.record_sandbox(Sandbox { start_error: error, ..sandbox })),
        }
    }

    pub(super) fn update_sandbox(
        &mut self,
        reference: &str,
        restart: Option<RestartPolicy>,
        limits: ResourceLimits,
    ) -> Result<Change, Refusal> {
        let mut sandbox = self.find_sandbox(reference)?.clone();
        if sandbox.kind != SandboxKind::Run {
            return Err(Refusal::NoCommand(sandbox.name));
        }
        let options = &mut sandbox.options;
        let before = options.process.limits;
        check_limits(limits)?;
        check_restart(restart.unwrap_or_default(), options.auto_remove)?;
        options.process.restart = restart.unwrap_or(options.process.restart);
        options.process.limits = ResourceLimits {
            memory: limits.memory.or(before.memory),
            nano_cpus: limits.nano_cpus.or(before.nano_cpus),
            pids: limits.pids.or(before.pids).filter(|pids| *pids > 0),
        };
        Ok(self.record_sandbox(sandbox))
    }

    /// Takes over a sandbox of which nothing changes that the kernel has to know.
    fn record_sandbox(&mut self, sandbox: Sandbox) -> Change {
        let mut change = Change { sandbox: Some(sandbox.id), ..Change::default() };
        change.record(RecordKey::Sandbox(sandbox.id));
        self.put_sandbox(sandbox);
        change
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{refused, run, sandbox, start, world};
    use super::super::{Command, NetworkChoice, RecordKey};
    use super::*;
    use fairway_model::ProcessOptions;

    fn with(process: ProcessOptions) -> SandboxOptions {
        SandboxOptions { process, ..SandboxOptions::default() }
    }

    fn always() -> SandboxOptions {
        with(ProcessOptions { restart: RestartPolicy::Always, ..ProcessOptions::default() })
    }

    fn ended(name: &str) -> Command {
        Command::StopSandbox { sandbox: name.to_owned(), exit: 127.into(), process: None }
    }

    fn stop(name: &str) -> Command {
        Command::RequestStop { sandbox: name.to_owned() }
    }

    #[test]
    fn the_error_of_a_failed_start_is_kept_until_the_next_start() {
        let (mut world, mut rng) = world();
        let d = &mut rng;
        run(&mut world, d, [sandbox("a", &[], SandboxOptions::default())]);
        let fail = || Command::FailStart { sandbox: "a".to_owned(), error: "no such command".to_owned() };
        let error = |world: &World| world.find_sandbox("a").unwrap().start_error.clone();
        run(&mut world, d, [fail()]);
        assert_eq!(error(&world), "no such command");
        assert!(world.apply(fail(), 1, d).unwrap().records.is_empty(), "nothing new");
        run(&mut world, d, [start("a")]);
        assert_eq!(error(&world), "");
        // The report of an earlier start comes late.
        assert!(world.apply(fail(), 1, d).unwrap().records.is_empty());
        run(&mut world, d, [ended("a"), fail()]);
        assert_eq!(error(&world), "no such command");
    }

    #[test]
    fn a_stop_of_a_user_is_recorded_until_the_next_start() {
        let (mut world, mut rng) = world();
        let d = &mut rng;
        run(&mut world, d, [sandbox("a", &[], always()), sandbox("b", &[], SandboxOptions::default())]);
        let id = world.find_sandbox("a").unwrap().id;
        let change = world.apply(stop("a"), 1, d).unwrap();
        assert!(change.records.contains(&RecordKey::Sandbox(id)) && change.owners.is_empty());
        for name in ["a", "b"] {
            // It says nothing new, or there is no policy.
            assert!(world.apply(stop(name), 1, d).unwrap().records.is_empty());
        }
        let count = Command::CountRestarts { sandbox: "a".to_owned(), restarts: 3 };
        run(&mut world, d, [count]);
        let found = world.find_sandbox("a").unwrap();
        assert_eq!((found.stopped_by_user, found.restarts), (true, 3));
        run(&mut world, d, [start("a")]);
        let found = world.find_sandbox("a").unwrap();
        assert_eq!((found.stopped_by_user, found.restarts), (false, 0));
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let (mut world, mut rng) = world();
        let d = &mut rng;
        let limits = ResourceLimits { memory: Some(64 << 20), nano_cpus: None, pids: Some(9) };
        run(&mut world, d, [sandbox("a", &[], with(ProcessOptions { limits, ..Default::default() }))]);
        let update = |restart, limits| Command::UpdateSandbox { sandbox: "a".to_owned(), restart, limits };
        let cpus = ResourceLimits { nano_cpus: Some(5), pids: Some(7), ..Default::default() };
        run(&mut world, d, [update(Some(RestartPolicy::UnlessStopped), cpus), update(None, cpus)]);
        let process = &world.find_sandbox("a").unwrap().options.process;
        assert_eq!(process.restart, RestartPolicy::UnlessStopped);
        let expected = ResourceLimits { memory: Some(64 << 20), nano_cpus: Some(5), pids: Some(7) };
        assert_eq!(process.limits, expected);
        run(&mut world, d, [update(None, ResourceLimits { pids: Some(0), ..Default::default() })]);
        let limits = world.find_sandbox("a").unwrap().options.process.limits;
        assert_eq!(limits, ResourceLimits { pids: None, ..expected });
        let little = ResourceLimits { memory: Some(1), ..Default::default() };
        assert_eq!(refused(&mut world, d, update(None, little)), "Minimum memory limit allowed is 6MB");
    }

    #[test]
    fn a_namespace_without_a_command_has_nothing_to_limit_and_cannot_be_the_hosts() {
        let (mut world, mut rng) = world();
        let d = &mut rng;
        let created = |network| {
            let Command::CreateSandbox(mut create) = sandbox("a", &[], SandboxOptions::default()) else {
                unreachable!()
            };
            (create.kind, create.network) = (SandboxKind::Created, network);
            Command::CreateSandbox(create)
        };
        for choice in [NetworkChoice::Host, NetworkChoice::Container("a".to_owned())] {
            let text = refused(&mut world, d, created(choice));
            assert!(text.contains("would have no namespace of its own"), "{text}");
        }
        run(&mut world, d, [created(NetworkChoice::None)]);
        let restart = Some(RestartPolicy::Always);
        let update =
            Command::UpdateSandbox { sandbox: "a".to_owned(), restart, limits: ResourceLimits::default() };
        assert!(refused(&mut world, d, update).starts_with("cannot update sandbox a: "));
        let fail = Command::FailStart { sandbox: "a".to_owned(), error: "no such command".to_owned() };
        assert!(refused(&mut world, d, fail).starts_with("cannot record a failed start of sandbox a: "));
    }

    #[test]
    fn options_that_conflict_are_refused() {
        let (mut world, mut rng) = world();
        let d = &mut rng;
        let removed = SandboxOptions { auto_remove: true, ..always() };
        let text = refused(&mut world, d, sandbox("a", &[], removed));
        assert_eq!(text, "conflicting options: cannot specify both --restart and --rm");
        let sysctl = |name: &str| {
            let sysctls = [(name.to_owned(), "1".to_owned())].into();
            with(ProcessOptions { sysctls, ..ProcessOptions::default() })
        };
        let text = refused(&mut world, d, sandbox("a", &[], sysctl("kernel.panic")));
        assert!(
            text.starts_with("invalid sysctl \"kernel.panic\": only sysctls of network namespaces"),
            "{text}"
        );
        run(&mut world, d, [sandbox("a", &[], sysctl("net.core.somaxconn"))]);
        for choice in [NetworkChoice::Host, NetworkChoice::Container("a".to_owned())] {
            let Command::CreateSandbox(mut create) = sandbox("b", &[], sysctl("net.core.somaxconn")) else {
                unreachable!()
            };
            create.network = choice;
            let text = refused(&mut world, d, Command::CreateSandbox(create));
            assert!(text.starts_with("sysctl \"net.core.somaxconn\" is not allowed with the "), "{text}");
        }
    }
}
