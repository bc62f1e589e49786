//! Judges whether a name server's message answers a question.

use super::Waiting;
use crate::resolver::upstream::Transport;
use crate::resolver::wire::{self, Reply, TC, code};

/// What a message means for a question.
pub(super) enum Verdict {
    /// This is the answer.
    Answer(Reply),
    /// The answer was truncated: retry over TCP.
    AskOverTcp,
    /// The server cannot answer.
    Failure,
}

/// Judges a message that came over `by` and has the identifier of this query; `None` if it does not belong to the
/// query. `whole` is whether a truncated answer is of no use.
pub(super) fn judge(bytes: &[u8], query: &Waiting, whole: bool, by: Transport) -> Option<Verdict> {
    let flags = wire::word(bytes, 2).ok()?;
    if flags & wire::QR == 0 || flags & wire::OPCODE != 0 {
        return None;
    }
    if !wire::answers(bytes, query.question()) {
        // Servers that cannot read a query may leave the question out.
        let refused = flags & 0xf != 0 && wire::word(bytes, 4) == Ok(0);
        return refused.then_some(Verdict::Failure);
    }
    let failures = [code::SERVER_FAILURE, code::REFUSED, code::NOT_IMPLEMENTED];
    Some(match wire::reply(bytes, query.query.end) {
        Ok(reply) if failures.contains(&reply.code) => Verdict::Failure,
        // A UDP client gets the truncated answer and retries over TCP.
        Ok(_) if flags & TC != 0 && whole && by == Transport::Udp => Verdict::AskOverTcp,
        Ok(reply) => Verdict::Answer(reply),
        Err(wire::Malformed) => Verdict::Failure,
    })
}
