//! Everything of Fairway that speaks to Linux.
