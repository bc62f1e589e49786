//! Shelves and cards that have a position.

use super::card::Placed;

/// A shelf and its position.
pub(super) struct PlacedShelf {
    pub(super) networks: Vec<usize>,
    /// The y coordinate of the wires to the stack.
    pub(super) branch: i32,
    /// The y coordinate from which the wires between the endpoints of a sandbox run.
    pub(super) gutter: i32,
}

/// All shelves and cards with their positions.
pub(super) struct PlacedShelves {
    pub(super) shelves: Vec<PlacedShelf>,
    /// The cards, in the order of the networks.
    pub(super) cards: Vec<Placed>,
    pub(super) bottom: i32,
}
