//! Passing of interfaces: what a capture sees there, and the programs that a packet meets.

use super::Walker;
use crate::packet::Tuple;
use crate::step::Step;
use crate::topology::{Interface, LinkProgram, NamespaceId};

impl Walker<'_> {
    /// Records that a packet leaves by an interface. Programs see it before a capture does.
    pub(super) fn leaves(&mut self, namespace: NamespaceId, interface: &Interface, tuple: Tuple) {
        self.meet(namespace, interface, |program| program.output);
        self.steps.push(Step::Leaves { namespace, interface: interface.name.clone(), tuple });
    }

    /// Records that a packet arrives at an interface.
    pub(super) fn arrives_by(&mut self, namespace: NamespaceId, interface: &Interface, tuple: Tuple) {
        self.steps.push(Step::Arrives { namespace, interface: interface.name.clone(), tuple });
        self.meet(namespace, interface, |program| program.input);
    }

    fn meet(&mut self, namespace: NamespaceId, interface: &Interface, is_met: fn(&LinkProgram) -> bool) {
        let programs = interface.programs.iter().filter(|program| is_met(program));
        self.steps.extend(programs.map(|program| Step::Program {
            namespace,
            interface: interface.name.clone(),
            what: program.what.clone(),
        }));
    }
}
