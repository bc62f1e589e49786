//! Questions about the way of a packet, and advice on the answers.

mod advice;
mod capture;
mod question;

pub use advice::advice;
pub(crate) use advice::{give_back, has_vanished, publish_everywhere};
pub use capture::{Capture, captures};
pub use question::{Party, Question, QuestionError, Resolved};
pub(crate) use question::{Port, party, resolve, split};
