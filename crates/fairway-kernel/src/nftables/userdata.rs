//! User data, which the kernel stores for `nft`: type and length of one byte each, and a value
//! (`include/libnftnl/udata.h` of libnftnl).

#![warn(clippy::indexing_slicing)]

use fairway_ruleset::{Datatype, Set, SetData};

/// The comment of a rule or element.
const COMMENT: u8 = 0;
const SET_KEY_ORDER: u8 = 0;
const SET_DATA_ORDER: u8 = 1;
const SET_COMMENT: u8 = 7;
/// `BYTEORDER_HOST_ENDIAN` and `BYTEORDER_BIG_ENDIAN` of `nft`.
const HOST_ORDER: u32 = 1;
const NETWORK_ORDER: u32 = 2;
/// The longest comment of `nft` (`NFTNL_UDATA_COMMENT_MAXLEN`), its zero byte included.
const COMMENT_LENGTH: usize = 128;

/// The user data of a rule or element with a comment. A comment that is too long for `nft` is cut.
pub fn comment(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_text(&mut bytes, COMMENT, text);
    bytes
}

/// The comment in the data of a rule or element.
pub fn read_comment(bytes: &[u8]) -> Option<String> {
    find(bytes, COMMENT).and_then(text)
}

/// The user data of a set: the byte order of its keys and values, and its comment.
pub fn of_set(set: &Set) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_order(&mut bytes, SET_KEY_ORDER, &set.key);
    if let SetData::Value(parts) = &set.data {
        push_order(&mut bytes, SET_DATA_ORDER, parts);
    }
    if let Some(text) = &set.comment {
        push_text(&mut bytes, SET_COMMENT, text);
    }
    bytes
}

/// The comment in the data of a set.
pub fn read_set_comment(bytes: &[u8]) -> Option<String> {
    find(bytes, SET_COMMENT).and_then(text)
}

/// Of a concatenation `nft` knows the order of each part by its type.
fn push_order(bytes: &mut Vec<u8>, kind: u8, parts: &[Datatype]) {
    if let [single] = parts {
        let order = if single.is_host_order() { HOST_ORDER } else { NETWORK_ORDER };
        push(bytes, kind, &order.to_ne_bytes());
    }
}

fn push_text(bytes: &mut Vec<u8>, kind: u8, text: &str) {
    let end = text.floor_char_boundary(COMMENT_LENGTH - 1);
    let mut value = text[..end].replace('\0', " ").into_bytes();
    value.push(0);
    push(bytes, kind, &value);
}

fn push(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) {
    // Values are numbers of four bytes and comments, which are cut before.
    if let Ok(length) = u8::try_from(value.len()) {
        bytes.extend([kind, length]);
        bytes.extend(value);
    }
}

fn find(mut bytes: &[u8], kind: u8) -> Option<&[u8]> {
    while let [own_kind, length, rest @ ..] = bytes {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *own_kind == kind {
            return Some(value);
        }
        bytes = rest;
    }
    None
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}
