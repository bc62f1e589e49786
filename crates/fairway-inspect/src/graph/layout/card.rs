//! A network: its name and options above, what joins its members below that, and these in rows.

use super::drawing::{Area, BoxKind, Drawing, Endpoint, Point, WireKind};
use super::trail::{Anchor, Trail};
use crate::explain::shown_name;
use crate::graph::picture::{Member, Network, Picture, Port, Sandbox};
use crate::graph::text::{Style, width};
use crate::graph::walk::Spot;

/// The distance from a card's left edge to its boxes, with and without a wire between.
const LEFT: i32 = 30;
const SIDE: i32 = 16;
/// From a card's left edge to the wire to the stack, and from its right edge to that to an interface.
pub(super) const ATTACH: i32 = 14;
const GAP: i32 = 14;
/// Above the first row, and around the rail above each further one.
const DROP: i32 = 16;
const BAR: i32 = 20;
const MARK: i32 = 16;
const MARK_GAP: i32 = 5;
/// The widest box.
const WIDEST: i32 = 204;
/// Between two badges.
pub(super) const BADGE_STEP: i32 = 20;
/// Of a sandbox's published ports so many are shown, of its notes so many.
const PORTS: usize = 6;
const NOTES: usize = 4;

/// A text of a box: what is shown, and all of it where that is more.
struct Row {
    style: Style,
    text: String,
    whole: Option<String>,
}

impl Row {
    fn new(style: Style, text: impl Into<String>) -> Self {
        Self { style, text: text.into(), whole: None }
    }
}

/// A box of a sandbox.
struct Cell {
    kind: BoxKind,
    rows: Vec<Row>,
    /// Whether wires lead from it to other places of its sandbox.
    joined: bool,
    endpoint: Option<Endpoint>,
    /// The place of its sandbox in the network; none where it is for several.
    member: Option<usize>,
}

impl Cell {
    fn height(&self) -> i32 {
        10 + self.rows.iter().map(|row| row.style.line()).sum::<i32>() + 6
    }
}

/// A network, before it has a place.
pub(super) struct Card<'a> {
    network: &'a Network,
    number: usize,
    cells: Vec<Cell>,
    cell_width: i32,
    /// The least width for its texts.
    least: i32,
    /// How much of the bar badges take.
    badges: i32,
    /// Its width and height in one column, in two, and so on.
    sizes: Vec<(i32, i32)>,
}

/// Where a card is, and in how many columns its sandboxes are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) area: Area,
    pub(super) columns: usize,
}

fn several(style: Style, texts: Vec<String>, most: usize, what: &str) -> Vec<Row> {
    if texts.len() <= most {
        return texts.into_iter().map(|text| Row::new(style, text)).collect();
    }
    let more = texts.len() - (most - 1);
    let whole = Some(texts[most - 1..].join(", "));
    let shown = texts.into_iter().take(most - 1).map(|text| Row::new(style, text));
    shown.chain([Row { style, text: format!("+ {more} {what}"), whole }]).collect()
}

/// A sandbox as an end of a packet's way.
fn endpoint(sandbox: &Sandbox, member: &Member) -> Endpoint {
    let mut label = sandbox.name.clone();
    if !sandbox.running {
        label.push_str(", does not run");
    }
    let ports = sandbox.ports.iter().map(Port::text);
    for text in member.addresses.iter().cloned().chain(ports) {
        label.push_str(", ");
        label.push_str(&text);
    }
    Endpoint { name: shown_name(&sandbox.name), label }
}

/// The box of the sandboxes that a network has collapsed, if there are any.
fn collapsed(picture: &Picture, network: usize) -> Option<Cell> {
    let lines = picture.collapsed_lines(network);
    let (title, remarks) = lines.split_first()?;
    let whole = Some(picture.collapsed_names(network).join(", "));
    let mut rows = vec![Row { style: Style::Name, text: title.clone(), whole }];
    rows.extend(remarks.iter().map(|line| Row::new(Style::Note, line)));
    Some(Cell { kind: BoxKind::Collapsed, rows, joined: false, endpoint: None, member: None })
}

/// The boxes of a network, those that are joined to others last.
fn cells(picture: &Picture, number: usize) -> Vec<Cell> {
    let members = picture.networks[number].members.iter().enumerate();
    let drawn = members.filter(|(member, _)| picture.is_drawn((number, *member)));
    let mut cells: Vec<Cell> = drawn.map(|(member, it)| cell(picture, it, member)).collect();
    let single = cells.iter().take_while(|cell| !cell.joined).count();
    cells.splice(single..single, collapsed(picture, number));
    cells
}

fn cell(picture: &Picture, member: &Member, number: usize) -> Cell {
    let sandbox: &Sandbox = &picture.sandboxes[member.sandbox];
    let mut rows = vec![Row::new(Style::Name, &sandbox.name)];
    rows.extend(member.addresses.iter().map(|address| Row::new(Style::Address, address)));
    let joined = sandbox.places.iter().filter(|it| picture.is_drawn(**it)).count() > 1;
    let endpoint = Some(endpoint(sandbox, member));
    let place = Some(number);
    if !member.home {
        if let Some((network, _)) = sandbox.places.first() {
            rows.push(Row::new(Style::Note, format!("also on {}", picture.networks[*network].name)));
        }
        return Cell { kind: BoxKind::Again, rows, joined, endpoint, member: place };
    }
    let ports = sandbox.ports.iter().map(|port| port.text()).collect();
    rows.extend(several(Style::Port, ports, PORTS, "more ports"));
    rows.extend(several(Style::Note, sandbox.notes.clone(), NOTES, "more"));
    let kind = if sandbox.running { BoxKind::Sandbox } else { BoxKind::Stopped };
    Cell { kind, rows, joined, endpoint, member: place }
}

impl<'a> Card<'a> {
    pub(super) fn new(picture: &'a Picture, number: usize) -> Self {
        let network = &picture.networks[number];
        let cells = cells(picture, number);
        let rows = cells.iter().flat_map(|cell| &cell.rows);
        let cell_width =
            rows.map(|row| width(row.style, &row.text) + 20).max().unwrap_or(0).clamp(112, WIDEST);
        let stops = picture.walk.iter().flat_map(|walk| &walk.legs).flat_map(|leg| &leg.stops);
        let badges = stops.filter(|stop| stop.spot == Spot::Network(number)).count() as i32 * BADGE_STEP;
        let title = width(Style::Heading, &network.name) + 10 + width(Style::Note, &network.driver);
        let subnets = network.lines().map(|line| width(Style::Address, &line)).max().unwrap_or_default();
        let bar = network
            .bridge
            .as_ref()
            .map_or(0, |name| width(Style::Address, &bar_text(name, &network.gateways)) + 24 + badges);
        let least = title.min(300).max(subnets.min(400)).max(bar.min(400 + badges)).max(130);
        let least = least + LEFT + SIDE + ATTACH;
        let mut card = Self { network, number, cells, cell_width, least, badges, sizes: Vec::new() };
        card.sizes = (1..=card.most_columns()).map(|columns| card.sized(columns)).collect();
        card
    }

    fn left(&self) -> i32 {
        if self.network.bridge.is_some() { LEFT } else { SIDE }
    }

    /// How many boxes are in it, and so the most columns that make sense.
    pub(super) fn most_columns(&self) -> usize {
        self.cells.len().max(1)
    }

    fn width(&self, columns: usize) -> i32 {
        let columns = columns as i32;
        let boxes = self.left() + columns * self.cell_width + (columns - 1) * GAP + SIDE;
        boxes.max(self.least)
    }

    /// How wide each box is: as wide as the card lets it.
    fn box_width(&self, columns: usize, width: i32) -> i32 {
        let (columns, inner) = (columns as i32, width - self.left() - SIDE);
        ((inner + GAP) / columns - GAP).min(WIDEST.max(self.cell_width))
    }

    /// The columns that its words leave space for anyway.
    pub(super) fn free_columns(&self) -> usize {
        (1..=self.most_columns()).take_while(|columns| self.width(*columns) == self.least).count().max(1)
    }

    /// The marks in lines, with their places from the left.
    fn marks(&self, space: i32) -> Vec<Vec<(usize, i32, i32)>> {
        let mut lines: Vec<Vec<(usize, i32, i32)>> = Vec::new();
        let mut x = 0;
        for (number, mark) in self.network.marks.iter().enumerate() {
            let wide = (width(Style::Mark, &mark.word) + 14).min(space);
            if lines.is_empty() || x + wide > space {
                lines.push(Vec::new());
                x = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push((number, x, wide));
            }
            x += wide + MARK_GAP;
        }
        lines
    }

    fn space(&self, width: i32) -> i32 {
        width - self.left() - SIDE - ATTACH
    }

    /// The height of what is above the first row.
    fn head(&self, width: i32) -> i32 {
        let subnets = self.network.lines().count() as i32 * Style::Address.line();
        let marks = self.marks(self.space(width)).len() as i32 * (MARK + MARK_GAP);
        let bar = if self.network.bridge.is_some() { BAR + 6 } else { 0 };
        10 + Style::Heading.line() + 2 + subnets + marks + bar
    }

    /// The cells in rows. Those that are joined to others are in rows of their own at the end, unless they fit there
    /// anyway: wires lead down from them.
    fn rows(&self, columns: usize) -> Vec<std::ops::Range<usize>> {
        let single = self.cells.iter().take_while(|cell| !cell.joined).count();
        let joined = self.cells.len() - single;
        let free = (columns - single % columns) % columns;
        let breaks = joined > free && joined <= columns;
        let first = if breaks { single } else { self.cells.len() };
        let chunk = |from: usize, to: usize| {
            (from..to).step_by(columns).map(move |start| start..(start + columns).min(to))
        };
        chunk(0, first).chain(chunk(first, self.cells.len())).collect()
    }

    fn row_height(&self, row: &std::ops::Range<usize>) -> i32 {
        self.cells[row.clone()].iter().map(Cell::height).max().unwrap_or_default()
    }

    /// Its width and height in so many columns.
    pub(super) fn size(&self, columns: usize) -> (i32, i32) {
        self.sizes.get(columns.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn sized(&self, columns: usize) -> (i32, i32) {
        let width = self.width(columns);
        let rows = self.rows(columns);
        let boxes: i32 = rows.iter().map(|row| DROP + self.row_height(row)).sum();
        let rails = (rows.len() as i32 - 1).max(0) * 8;
        (width, self.head(width) + boxes + rails + 14)
    }

    pub(super) fn place(&self, drawing: &mut Drawing, trail: &mut Trail, placed: &Placed) {
        let (network, area) = (self.network, placed.area);
        let kind = BoxKind::Card;
        drawing.boxed(kind, area, 10, "");
        let x = area.x + self.left();
        let space = self.space(area.width);
        let mut y = area.y + 10;
        let baseline = y + Style::Heading.ascent();
        let driver = width(Style::Note, &network.driver) + 10;
        let named = drawing.text(Style::Heading, Point { x, y: baseline }, &network.name, space - driver);
        if !network.driver.is_empty() {
            drawing.text(Style::Note, Point { x: x + named + 10, y: baseline }, &network.driver, driver);
        }
        y += Style::Heading.line() + 2;
        for line in network.lines() {
            let style = if network.driver.is_empty() { Style::Note } else { Style::Address };
            drawing.text(style, Point { x, y: y + style.ascent() }, &line, space);
            y += Style::Address.line();
        }
        for line in self.marks(space) {
            for (number, from, wide) in line {
                let mark = &network.marks[number];
                let place = Area { x: x + from, y: y + 2, width: wide, height: MARK };
                drawing.boxed(BoxKind::Mark(mark.meaning), place, 8, &mark.sentence);
                let at = Point { x: place.x + 7, y: place.y + 12 };
                drawing.text(Style::Mark, at, &mark.word, wide - 14);
            }
            y += MARK + MARK_GAP;
        }
        let bar = self.bar(area);
        if let (Some(bridge), Some(place)) = (&network.bridge, bar) {
            self.attach(drawing, area, place);
            drawing.boxed(BoxKind::Bridge, place, 6, "");
            let at = Point { x, y: place.y + 14 };
            let text = bar_text(bridge, &network.gateways);
            drawing.text(Style::Address, at, &text, place.right() - 8 - self.badges - x);
            let first = Point { x: place.right() - 12, y: place.y + BAR / 2 };
            trail.anchor(Spot::Network(self.number), Anchor { first, across: -BADGE_STEP, down: 0 });
            y += BAR + 6;
        }
        self.members(drawing, trail, placed, bar, y);
    }

    /// The place of what joins its members, in a card of that place.
    pub(super) fn bar(&self, area: Area) -> Option<Area> {
        let y = area.y + self.head(area.width) - BAR;
        let (x, width) = (area.x + ATTACH - 4, area.width - 2 * ATTACH + 8);
        self.network.bridge.as_ref().map(|_| Area { x, y, width, height: BAR })
    }

    /// The ends of the wires that lead to it.
    fn attach(&self, drawing: &mut Drawing, area: Area, bar: Area) {
        let at = |x| vec![Point { x, y: area.y }, Point { x, y: bar.y }];
        if let Some(way) = self.network.way {
            drawing.wire(WireKind::Way(way), at(area.x + ATTACH));
        }
        if self.network.uplink.is_some() {
            drawing.wire(WireKind::Link, at(area.right() - ATTACH));
        }
    }

    fn members(
        &self,
        drawing: &mut Drawing,
        trail: &mut Trail,
        placed: &Placed,
        bar: Option<Area>,
        top: i32,
    ) {
        let rail_kind = if self.network.together { WireKind::Rail } else { WireKind::Apart };
        let spine = placed.area.x + ATTACH;
        let rows = self.rows(placed.columns);
        let wide = self.box_width(placed.columns, placed.area.width);
        let last = rows.len().saturating_sub(1);
        let mut y = top;
        for (number, row) in rows.into_iter().enumerate() {
            let rail = if number == 0 { y } else { y + 8 };
            let below = rail + DROP;
            let height = self.row_height(&row);
            let centre =
                |column: usize| placed.area.x + self.left() + column as i32 * (wide + GAP) + wide / 2;
            if let (Some(bar), true) = (bar, number > 0) {
                let end = Point { x: centre(row.len() - 1), y: rail };
                let points = vec![Point { x: spine, y: bar.bottom() }, Point { x: spine, y: rail }, end];
                drawing.wire(rail_kind, points);
            }
            for (column, place) in row.clone().enumerate() {
                let cell = &self.cells[place];
                let middle = centre(column);
                let area = Area { x: middle - wide / 2, y: below, width: wide, height };
                let (from, to) = (Point { x: middle, y: rail }, Point { x: middle, y: below });
                if bar.is_some() {
                    drawing.wire(rail_kind, vec![from, to]);
                }
                draw_cell(drawing, cell, area);
                let Some(member) = cell.member else { continue };
                let spot = Spot::Member(self.number, member);
                if let Some(bar) = bar {
                    let way = match number {
                        0 => vec![to, Point { x: middle, y: bar.bottom() }],
                        _ => vec![to, from, Point { x: spine, y: rail }, Point { x: spine, y: bar.bottom() }],
                    };
                    trail.edge(spot, Spot::Network(self.number), way);
                }
                let first = Point { x: area.x + 10, y: area.y };
                trail.anchor(spot, Anchor { first, across: BADGE_STEP, down: 0 });
                if number == last && cell.joined {
                    trail.foot(spot, Point { x: area.middle(), y: area.bottom() });
                }
            }
            y = below + height;
        }
    }
}

fn bar_text(name: &str, gateways: &[String]) -> String {
    let gateways: Vec<String> = gateways.iter().map(|gateway| format!(" · {gateway}")).collect();
    format!("{name}{}", gateways.concat())
}

fn draw_cell(drawing: &mut Drawing, cell: &Cell, area: Area) {
    match &cell.endpoint {
        Some(endpoint) => drawing.boxed_endpoint(cell.kind, area, 6, endpoint.clone()),
        None => drawing.boxed(cell.kind, area, 6, ""),
    }
    let mut y = area.y + 10;
    for row in &cell.rows {
        let at = Point { x: area.x + 10, y: y + row.style.ascent() };
        match &row.whole {
            Some(whole) => drawing.text_with_tooltip(row.style, at, &row.text, whole),
            None => drop(drawing.text(row.style, at, &row.text, area.width - 20)),
        }
        y += row.style.line();
    }
}
