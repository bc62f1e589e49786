//! The durable World of Fairway.
