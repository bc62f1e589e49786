//! Drops every privilege that the relay does not need, irrevocably.
//!
//! In this order, since each step removes what an earlier one needs: supplementary groups, group and user; all
//! capabilities; new privileges; the file system and listening at new ports (landlock); all system calls but those of
//! a proxy and resolver (seccomp). A step that fails is reported, and the others are done all the same.

mod syscalls;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Uid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// A user and a group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
}

/// The parts of the confinement that are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    /// The parts in force.
    pub in_force: Vec<String>,
    /// The parts that are not in force, and why.
    pub missing: Vec<(String, String)>,
}

impl Confinement {
    fn note(&mut self, part: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.in_force.push(part.to_owned()),
            Err(reason) => self.missing.push((part.to_owned(), reason)),
        }
    }
}

/// Confines the calling thread, and every thread and process that it starts.
pub fn confine(user: Option<User>) -> Confinement {
    let mut confinement = Confinement::default();
    // The bounding set can be emptied only with privileges that the change of user removes.
    let bounding = empty_bounding_set();
    confinement.note("user", become_user(user));
    confinement.note("capabilities", drop_capabilities(bounding));
    confinement.note("no new privileges", set_no_new_privs(true).map_err(kernel));
    confinement.note("no tracing", set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(kernel));
    confinement.note("landlock", landlock());
    confinement.note("seccomp", syscalls::allow_few());
    confinement
}

fn kernel(errno: Errno) -> String {
    format!("the kernel refused: {errno}")
}

fn become_user(user: Option<User>) -> Result<(), String> {
    let User { user, group } = user.ok_or("no user was given to become")?;
    let refused = |what: &str, errno: Errno| {
        format!("cannot change {what}: {errno}; a namespace of a single user does not allow it")
    };
    set_thread_groups(&[]).map_err(|errno| refused("groups", errno))?;
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    set_thread_res_gid(group, group, group).map_err(|errno| refused("group", errno))?;
    set_thread_res_uid(user, user, user).map_err(|errno| refused("user", errno))
}

/// Empties the capability bounding set.
fn empty_bounding_set() -> Result<(), Errno> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        // The kernel returns EINVAL for the first number that it does not know.
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

fn drop_capabilities(bounding: Result<(), Errno>) -> Result<(), String> {
    clear_ambient_capability_set().map_err(kernel)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(kernel)?;
    match bounding {
        // A process without the right to change the set gains nothing from it either: with no_new_privs no program
        // gives it privileges.
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(kernel(errno)),
    }
}

/// Forbids the whole file system, listening at new TCP ports, and signals and abstract sockets of other processes.
fn landlock() -> Result<(), String> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V6))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::BindTcp))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| error.to_string())?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => Err("the kernel knows a part of it only".to_owned()),
        RulesetStatus::NotEnforced => Err("the kernel lacks it or has it switched off".to_owned()),
    }
}

#[cfg(test)]
mod tests;
