//! The numbers of messages and attributes (`linux/netfilter/nf_tables.h`, `nfnetlink.h`).

/// `NFNL_SUBSYS_NFTABLES`, the upper byte of message types.
pub const SUBSYSTEM: u16 = 10;
/// `NFNLGRP_NFTABLES`, the group that hears of changes.
pub const GROUP: u32 = 7;
/// `NFNLGRP_NFTRACE`, the group that hears of traced packets.
pub const TRACE_GROUP: u32 = 9;
/// Length of `struct nfgenmsg`.
pub const HEADER_LENGTH: usize = 4;
/// `NFNL_MSG_BATCH_BEGIN`.
pub const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
pub const BATCH_END: u16 = 0x11;
/// `NFTA_LIST_ELEM`.
pub const LIST_ELEMENT: u16 = 1;
/// `NFT_DATA_VERDICT`, the data type of verdict maps.
pub const DATA_VERDICT: u32 = 0xffff_ff00;
/// `NFT_REG_VERDICT`.
pub const REGISTER_VERDICT: u32 = 0;

/// `NFT_MSG_*`.
pub mod message {
    pub const NEW_TABLE: u16 = 0;
    pub const GET_TABLE: u16 = 1;
    pub const DELETE_TABLE: u16 = 2;
    pub const NEW_CHAIN: u16 = 3;
    pub const GET_CHAIN: u16 = 4;
    pub const DELETE_CHAIN: u16 = 5;
    pub const NEW_RULE: u16 = 6;
    pub const GET_RULE: u16 = 7;
    pub const DELETE_RULE: u16 = 8;
    pub const NEW_SET: u16 = 9;
    pub const GET_SET: u16 = 10;
    pub const DELETE_SET: u16 = 11;
    pub const NEW_ELEMENTS: u16 = 12;
    pub const GET_ELEMENTS: u16 = 13;
    pub const DELETE_ELEMENTS: u16 = 14;
    pub const NEW_GENERATION: u16 = 15;
    pub const GET_GENERATION: u16 = 16;
    pub const TRACE: u16 = 17;
    /// Linux 6.3, as the next.
    pub const DESTROY_TABLE: u16 = 26;
    pub const DESTROY_ELEMENTS: u16 = 30;
}

/// `NFT_TABLE_F_*`.
pub mod table_flag {
    pub const DORMANT: u32 = 1;
    pub const OWNER: u32 = 2;
    pub const PERSIST: u32 = 4;
}

/// `NFTA_TABLE_*`.
pub mod table {
    pub const NAME: u16 = 1;
    pub const FLAGS: u16 = 2;
    pub const OWNER: u16 = 7;
}

/// `NFTA_CHAIN_*`, `NFTA_HOOK_*` and `NFTA_DEVICE_*`.
pub mod chain {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    pub const POLICY: u16 = 5;
    pub const TYPE: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const HOOK_DEVICE: u16 = 3;
    pub const HOOK_DEVICES: u16 = 4;
    pub const DEVICE_NAME: u16 = 1;
}

/// `NFTA_RULE_*`.
pub mod rule {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const HANDLE: u16 = 3;
    pub const EXPRESSIONS: u16 = 4;
    pub const USERDATA: u16 = 7;
}

/// `NFT_SET_*`.
pub mod set_flag {
    pub const ANONYMOUS: u32 = 0x1;
    pub const CONSTANT: u32 = 0x2;
    pub const INTERVAL: u32 = 0x4;
    pub const MAP: u32 = 0x8;
    pub const TIMEOUT: u32 = 0x10;
    pub const EVALUATED: u32 = 0x20;
    pub const OBJECT: u32 = 0x40;
    pub const CONCATENATION: u32 = 0x80;
}

/// `NFTA_SET_*`, `NFTA_SET_DESC_*` and `NFTA_SET_FIELD_*`.
pub mod set {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const KEY_TYPE: u16 = 4;
    pub const KEY_LENGTH: u16 = 5;
    pub const DATA_TYPE: u16 = 6;
    pub const DATA_LENGTH: u16 = 7;
    pub const DESCRIPTION: u16 = 9;
    pub const ID: u16 = 10;
    pub const TIMEOUT: u16 = 11;
    pub const USERDATA: u16 = 13;
    pub const OBJECT_TYPE: u16 = 15;
    pub const EXPRESSION: u16 = 17;
    pub const EXPRESSIONS: u16 = 18;
    pub const DESCRIPTION_SIZE: u16 = 1;
    pub const DESCRIPTION_PARTS: u16 = 2;
    pub const PART_LENGTH: u16 = 1;
}

/// `NFTA_SET_ELEM_LIST_*` and `NFTA_SET_ELEM_*`.
pub mod element {
    pub const LIST_TABLE: u16 = 1;
    pub const LIST_SET: u16 = 2;
    pub const LIST_ELEMENTS: u16 = 3;
    pub const KEY: u16 = 1;
    pub const DATA: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const TIMEOUT: u16 = 4;
    pub const EXPIRATION: u16 = 5;
    pub const USERDATA: u16 = 6;
    pub const EXPRESSION: u16 = 7;
    pub const KEY_END: u16 = 10;
    pub const EXPRESSIONS: u16 = 11;
    /// `NFT_SET_ELEM_INTERVAL_END`.
    pub const FLAG_INTERVAL_END: u32 = 1;
    /// `NFT_SET_ELEM_CATCHALL`.
    pub const FLAG_CATCH_ALL: u32 = 2;
}

/// `NFTA_DATA_*` and `NFTA_VERDICT_*`.
pub mod data {
    pub const VALUE: u16 = 1;
    pub const VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const VERDICT_CHAIN: u16 = 2;
}

/// `NF_*` and `NFT_*` verdicts.
pub mod verdict {
    pub const DROP: i32 = 0;
    pub const ACCEPT: i32 = 1;
    pub const CONTINUE: i32 = -1;
    pub const BREAK: i32 = -2;
    pub const JUMP: i32 = -3;
    pub const GOTO: i32 = -4;
    pub const RETURN: i32 = -5;
}

/// `NFTA_EXPR_*`.
pub mod expression {
    pub const NAME: u16 = 1;
    pub const DATA: u16 = 2;
}

/// `NFTA_GEN_*`.
pub mod generation {
    pub const ID: u16 = 1;
    pub const PROCESS_NAME: u16 = 3;
}

/// `NFTA_TRACE_*` and `NFT_TRACETYPE_*`.
pub mod trace {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const RULE: u16 = 3;
    pub const KIND: u16 = 4;
    pub const VERDICT: u16 = 5;
    pub const ID: u16 = 6;
    pub const NETWORK_HEADER: u16 = 8;
    pub const TRANSPORT_HEADER: u16 = 9;
    pub const INPUT: u16 = 10;
    pub const OUTPUT: u16 = 12;
    pub const POLICY: u16 = 16;
    pub const KIND_POLICY: u32 = 1;
    pub const KIND_RETURN: u32 = 2;
    pub const KIND_RULE: u32 = 3;
}

/// `NFTA_META_*`.
pub mod meta {
    pub const TO: u16 = 1;
    pub const KEY: u16 = 2;
    pub const FROM: u16 = 3;
}

/// `NFTA_PAYLOAD_*`.
pub mod payload {
    pub const TO: u16 = 1;
    pub const BASE: u16 = 2;
    pub const OFFSET: u16 = 3;
    pub const LENGTH: u16 = 4;
    pub const FROM: u16 = 5;
    pub const CHECKSUM_TYPE: u16 = 6;
    pub const CHECKSUM_OFFSET: u16 = 7;
    pub const CHECKSUM_FLAGS: u16 = 8;
    /// `NFT_PAYLOAD_CSUM_*`.
    pub const CHECKSUM_NONE: u32 = 0;
    pub const CHECKSUM_INTERNET: u32 = 1;
    pub const CHECKSUM_SCTP: u32 = 2;
    /// `NFT_PAYLOAD_L4CSUM_PSEUDOHDR`.
    pub const PSEUDO_HEADER: u32 = 1;
}

/// `NFTA_EXTHDR_*`.
pub mod extension {
    pub const TO: u16 = 1;
    pub const NUMBER: u16 = 2;
    pub const OFFSET: u16 = 3;
    pub const LENGTH: u16 = 4;
    pub const FLAGS: u16 = 5;
    pub const KIND: u16 = 6;
    /// `NFT_EXTHDR_F_PRESENT`.
    pub const PRESENT: u32 = 1;
}

/// `NFTA_CMP_*`.
pub mod compare {
    pub const FROM: u16 = 1;
    pub const OPERATOR: u16 = 2;
    pub const DATA: u16 = 3;
}

/// `NFTA_RANGE_*`.
pub mod range {
    pub const FROM: u16 = 1;
    pub const OPERATOR: u16 = 2;
    pub const FIRST: u16 = 3;
    pub const LAST: u16 = 4;
    /// `NFT_RANGE_NEQ`.
    pub const OUTSIDE: u32 = 1;
}

/// `NFTA_BITWISE_*`.
pub mod bitwise {
    pub const FROM: u16 = 1;
    pub const TO: u16 = 2;
    pub const LENGTH: u16 = 3;
    pub const MASK: u16 = 4;
    pub const XOR: u16 = 5;
    pub const OPERATION: u16 = 6;
}

/// `NFTA_BYTEORDER_*`.
pub mod byteorder {
    pub const FROM: u16 = 1;
    pub const TO: u16 = 2;
    pub const ORDER: u16 = 3;
    pub const LENGTH: u16 = 4;
    pub const SIZE: u16 = 5;
}

/// `NFTA_LOOKUP_*`.
pub mod lookup {
    pub const SET: u16 = 1;
    pub const FROM: u16 = 2;
    pub const TO: u16 = 3;
    pub const FLAGS: u16 = 5;
    /// `NFT_LOOKUP_F_INV`.
    pub const INVERTED: u32 = 1;
}

/// `NFTA_DYNSET_*` and `NFT_DYNSET_OP_*`.
pub mod dynamic {
    pub const SET: u16 = 1;
    pub const OPERATION: u16 = 3;
    pub const FROM: u16 = 4;
    pub const DATA: u16 = 5;
    pub const TIMEOUT: u16 = 6;
    pub const EXPRESSION: u16 = 7;
    pub const FLAGS: u16 = 9;
    pub const EXPRESSIONS: u16 = 10;
    pub const UPDATE: u32 = 1;
}

/// `NFTA_IMMEDIATE_*`.
pub mod immediate {
    pub const TO: u16 = 1;
    pub const DATA: u16 = 2;
}

/// `NFTA_CT_*`.
pub mod ct {
    pub const TO: u16 = 1;
    pub const KEY: u16 = 2;
    pub const DIRECTION: u16 = 3;
    pub const FROM: u16 = 4;
}

/// `NFTA_FIB_*`.
pub mod fib {
    pub const TO: u16 = 1;
    pub const RESULT: u16 = 2;
    pub const FLAGS: u16 = 3;
}

/// `NFTA_QUOTA_*`.
pub mod quota {
    pub const BYTES: u16 = 1;
    pub const FLAGS: u16 = 2;
    /// `NFT_QUOTA_F_INV`.
    pub const OVER: u32 = 1;
}

/// `NFTA_CONNLIMIT_*`.
pub mod connection_limit {
    pub const COUNT: u16 = 1;
    pub const FLAGS: u16 = 2;
    /// `NFT_CONNLIMIT_F_INV`.
    pub const OVER: u32 = 1;
}

/// `NFTA_NG_*`.
pub mod number_generator {
    pub const TO: u16 = 1;
    pub const MODULUS: u16 = 2;
    pub const TYPE: u16 = 3;
    pub const OFFSET: u16 = 4;
    /// `NFT_NG_INCREMENTAL`.
    pub const INCREMENTAL: u32 = 0;
    /// `NFT_NG_RANDOM`.
    pub const RANDOM: u32 = 1;
}

/// `NFTA_HASH_*`.
pub mod hash {
    pub const TO: u16 = 2;
    pub const MODULUS: u16 = 4;
    pub const OFFSET: u16 = 6;
}

/// `NFTA_SOCKET_*`.
pub mod socket {
    pub const KEY: u16 = 1;
    pub const TO: u16 = 2;
}

/// `NFTA_NAT_*`.
pub mod nat {
    pub const KIND: u16 = 1;
    pub const FAMILY: u16 = 2;
    pub const ADDRESS_FIRST: u16 = 3;
    pub const ADDRESS_LAST: u16 = 4;
    pub const PORT_FIRST: u16 = 5;
    pub const PORT_LAST: u16 = 6;
    pub const FLAGS: u16 = 7;
    /// `NFT_NAT_SNAT` and `NFT_NAT_DNAT`.
    pub const SOURCE: u32 = 0;
    pub const DESTINATION: u32 = 1;
    /// `NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED`: they follow from the registers.
    pub const IMPLIED_FLAGS: u32 = 3;
}

/// `NFTA_MASQ_*`.
pub mod masquerade {
    pub const FLAGS: u16 = 1;
    pub const PORT_FIRST: u16 = 2;
    pub const PORT_LAST: u16 = 3;
}

/// `NFTA_REDIR_*`.
pub mod redirect {
    pub const PORT_FIRST: u16 = 1;
    pub const PORT_LAST: u16 = 2;
    pub const FLAGS: u16 = 3;
}

/// `NFTA_COUNTER_*`.
pub mod counter {
    pub const BYTES: u16 = 1;
    pub const PACKETS: u16 = 2;
}

/// `NFTA_REJECT_*` and `NFT_REJECT_*`.
pub mod reject {
    pub const TYPE: u16 = 1;
    pub const CODE: u16 = 2;
    pub const UNREACHABLE: u32 = 0;
    pub const TCP_RESET: u32 = 1;
    pub const ANY_UNREACHABLE: u32 = 2;
}

/// `NFTA_LIMIT_*`.
pub mod limit {
    pub const RATE: u16 = 1;
    pub const UNIT: u16 = 2;
    pub const BURST: u16 = 3;
    pub const TYPE: u16 = 4;
    pub const FLAGS: u16 = 5;
    /// `NFT_LIMIT_PKT_BYTES`.
    pub const OF_BYTES: u32 = 1;
    /// `NFT_LIMIT_F_INV`.
    pub const INVERTED: u32 = 1;
}
