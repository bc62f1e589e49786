//! Networks on shelves, so that the whole fits a screen.

use super::card::{Card, Placed};
use super::drawing::Area;
use super::placed::{PlacedShelf, PlacedShelves};
use super::wiring::Wiring;

/// Between two cards, and below a shelf.
const GAP: i32 = 18;
/// The width that a picture should have for its height.
const RATIO: f64 = 1.5;
/// Widths that are tried, each so many times the one before.
const WIDTHS: (f64, f64, usize) = (480.0, 1.13, 40);
/// Heights of cards that are tried, as parts of the width.
const HEIGHTS: [f64; 8] = [0.1, 0.16, 0.22, 0.3, 0.4, 0.55, 0.75, 1.1];

/// Which networks are on which shelf, in how many columns each.
pub(super) struct Shelves<'a> {
    wiring: &'a Wiring,
    rows: Vec<Vec<usize>>,
    columns: Vec<usize>,
    width: i32,
}

/// The columns that a card needs so that it is not higher than that, as far as it is not wider than that.
fn columns(card: &Card<'_>, width: i32, height: i32) -> usize {
    let fits = |columns: &usize| card.size(*columns).0 <= width;
    let most = card.most_columns();
    // Both the width grows and the height shrinks with the columns.
    let (mut low, mut high) = (card.free_columns(), most);
    while low < high {
        let middle = low.midpoint(high);
        match card.size(middle).1 <= height {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    while low > 1 && !fits(&low) {
        low -= 1;
    }
    low
}

impl<'a> Shelves<'a> {
    /// Tries widths, and takes the one that fills a screen best. `least` is the smallest width.
    pub(super) fn choose(cards: &[Card<'_>], wiring: &'a Wiring, least: i32) -> Self {
        let (first, factor, count) = WIDTHS;
        let mut best: Option<(f64, Self)> = None;
        let widths = (0..count).map(|number| first * factor.powi(number as i32));
        for width in widths {
            for part in HEIGHTS {
                let height = (width * part) as i32;
                let found = Self::pack(cards, wiring, width as i32, height);
                let cost = found.cost(cards, least);
                if best.as_ref().is_none_or(|(lowest, _)| cost < *lowest) {
                    best = Some((cost, found));
                }
            }
            // One shelf is as wide as it gets.
            if best.as_ref().is_some_and(|(_, it)| it.rows.len() <= 1 && f64::from(it.width) * 2.0 < width) {
                break;
            }
        }
        match best {
            Some((_, best)) => best,
            None => Self { wiring, rows: Vec::new(), columns: Vec::new(), width: 0 },
        }
    }

    fn pack(cards: &[Card<'_>], wiring: &'a Wiring, width: i32, height: i32) -> Self {
        let columns: Vec<usize> = cards.iter().map(|card| columns(card, width, height)).collect();
        let mut rows: Vec<Vec<usize>> = Vec::new();
        let (mut x, mut widest) = (0, 0);
        for (number, card) in cards.iter().enumerate() {
            let wide = card.size(columns[number]).0;
            match rows.last_mut() {
                Some(row) if x + GAP + wide <= width => {
                    row.push(number);
                    x += GAP + wide;
                }
                _ => {
                    rows.push(vec![number]);
                    x = wide;
                }
            }
            widest = widest.max(x);
        }
        Self { wiring, rows, columns, width: widest }
    }

    /// How much wider each card of a shelf becomes, so that the shelf is as wide as the widest one. One that is half
    /// empty stays so.
    fn wider(&self, cards: &[Card<'_>], row: &[usize]) -> i32 {
        let widths = row.iter().map(|network| cards[*network].size(self.columns[*network]).0);
        let used = widths.sum::<i32>() + (row.len() as i32 - 1) * GAP;
        if used * 4 >= self.width * 3 { (self.width - used) / row.len() as i32 } else { 0 }
    }

    fn height_of(&self, cards: &[Card<'_>], row: &[usize]) -> i32 {
        row.iter().map(|network| cards[*network].size(self.columns[*network]).1).max().unwrap_or_default()
    }

    /// How far it is from a screen that is filled.
    fn cost(&self, cards: &[Card<'_>], least: i32) -> f64 {
        const ABOVE: i32 = 260;
        let height: i32 = self.rows.iter().map(|row| self.height_of(cards, row) + 40).sum();
        let (width, height) = (f64::from(self.width.max(least)), f64::from(height + ABOVE));
        let covered: f64 = cards
            .iter()
            .zip(&self.columns)
            .map(|(card, columns)| card.size(*columns))
            .map(|(width, height)| f64::from(width) * f64::from(height))
            .sum();
        (width / height / RATIO).ln().abs() + 0.8 * (width * height / covered.max(1.0)).ln()
    }

    /// The numbers of the networks on each shelf.
    pub(super) fn rows(&self) -> &[Vec<usize>] {
        &self.rows
    }

    pub(super) fn width(&self) -> i32 {
        self.width
    }

    pub(super) fn place(&self, cards: &[Card<'_>], left: i32, top: i32) -> PlacedShelves {
        let nowhere = Placed { area: Area::default(), columns: 1 };
        let mut placed =
            PlacedShelves { shelves: Vec::new(), cards: vec![nowhere; cards.len()], bottom: top };
        let mut y = top;
        for row in &self.rows {
            let branch = y + 12;
            y += self.wiring.above(row) + 4;
            let height = self.height_of(cards, row);
            let mut x = left;
            let wider = self.wider(cards, row);
            for network in row {
                let columns = self.columns[*network];
                let (width, own) = cards[*network].size(columns);
                let width = width + wider;
                // Cards that are nearly as high as their shelf are as high.
                let height = if own * 4 >= height * 3 { height } else { own };
                let area = Area { x, y, width, height };
                placed.cards[*network] = Placed { area, columns };
                x += width + GAP;
            }
            let gutter = y + height;
            y = gutter + self.wiring.below(row) + GAP;
            placed.shelves.push(PlacedShelf { networks: row.clone(), branch, gutter });
        }
        placed.bottom = y;
        placed
    }
}
