//! IPsec: policies that drop, encrypt or expect encrypted packets (ip-xfrm(8)).

use crate::netlink::{Batch, Error, Message, Protocol, Socket};

const DUMP: u16 = libc::NLM_F_DUMP as u16;
/// `XFRM_MSG_GETPOLICY`, linux/xfrm.h.
const GET_POLICY: u16 = 0x15;
/// The lengths of `struct xfrm_userpolicy_id` and `struct xfrm_userpolicy_info`, and the place of the action there.
const QUESTION: usize = 64;
const POLICY: usize = 168;
const ACTION: usize = 161;
/// `XFRM_POLICY_BLOCK`.
const BLOCK: u8 = 1;
/// `XFRMA_TMPL`: the protection that packets get, or have to have.
const TEMPLATE: u16 = 5;

/// Whether the namespace of the calling thread has a policy that does something to packets.
pub(super) fn has_policies() -> Result<bool, Error> {
    let mut batch = Batch::new();
    batch.message(GET_POLICY, DUMP, "list the IPsec policies").raw(&[0; QUESTION]);
    let policies = Socket::open(Protocol::Ipsec)?.dump(&mut batch)?;
    Ok(policies.iter().any(does_something))
}

fn does_something(policy: &Message) -> bool {
    policy.payload.get(ACTION) == Some(&BLOCK) || policy.attributes(POLICY).find(TEMPLATE).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_new_namespace;

    /// `XFRM_MSG_NEWPOLICY`.
    const NEW_POLICY: u16 = 0x13;

    #[test]
    fn policies_that_block_are_found() {
        in_new_namespace(|| {
            assert!(!has_policies().unwrap());
            for (action, found) in [(0, false), (BLOCK, true)] {
                let mut policy = [0; POLICY];
                // To 10.0.0.0 or 10.0.0.1, without limits, for packets that are forwarded.
                policy[..4].copy_from_slice(&[10, 0, 0, action]);
                policy[42] = 32;
                policy[40..42].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                policy[56..88].fill(0xff);
                policy[152..156].copy_from_slice(&u32::from(action).to_ne_bytes());
                policy[160..162].copy_from_slice(&[2, action]);
                let mut batch = Batch::new();
                batch.message(NEW_POLICY, 0, "a policy").raw(&policy);
                Socket::open(Protocol::Ipsec).unwrap().transact(&mut batch).unwrap();
                assert_eq!(has_policies().unwrap(), found);
            }
        });
    }
}
