//! Matches and targets of iptables that nf_tables carries as they are (`nft_compat`).

use super::Expression;

/// `NFTA_MATCH_NAME` and `NFTA_TARGET_NAME`.
const NAME: u16 = 1;
const HEADER: usize = 4;
const ALIGNMENT: usize = 4;

/// The value of a netlink attribute among others.
pub fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    const TYPE_MASK: u16 = 0x3fff;
    let mut rest = attributes;
    loop {
        let length = usize::from(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        let found = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]) & TYPE_MASK;
        let value = rest.get(HEADER..length)?;
        if found == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..)?;
    }
}

/// The name of the match or target whose attributes these are.
pub fn name(attributes: &[u8]) -> Option<String> {
    let name = attribute(attributes, NAME)?.split(|byte| *byte == 0).next()?;
    String::from_utf8(name.to_vec()).ok()
}

/// A match of that name of which nothing else is known.
pub fn matching(name: &str) -> Expression {
    Expression::Unknown { name: "match".to_owned(), attributes: named(name) }
}

/// A target of that name of which nothing else is known.
pub fn target(name: &str) -> Expression {
    Expression::Unknown { name: "target".to_owned(), attributes: named(name) }
}

fn named(name: &str) -> Vec<u8> {
    // Names have 29 bytes at most (`XT_EXTENSION_MAXNAMELEN`).
    let length = (HEADER + name.len() + 1) as u16;
    let mut bytes = [length.to_ne_bytes(), NAME.to_ne_bytes()].concat();
    bytes.extend(name.bytes());
    bytes.resize(usize::from(length).next_multiple_of(ALIGNMENT), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        for name in ["LOG", "comment", "conntrack"] {
            let Expression::Unknown { attributes, .. } = matching(name) else { panic!() };
            assert_eq!(super::name(&attributes).as_deref(), Some(name));
        }
        assert_eq!(super::name(&[9, 0, 1]), None);
    }
}
