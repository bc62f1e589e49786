//! The daemon's HTTP face, in the shape of Docker's API, and its client.
