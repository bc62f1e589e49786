//! The data process of Fairway: answers names and carries proxied bytes.
