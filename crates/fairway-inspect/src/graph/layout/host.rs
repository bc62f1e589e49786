//! Places the upper part of a drawing: subnets and routers, the host's interfaces, the host's stack.

use super::drawing::{Area, BoxKind, Drawing, Endpoint, Point, WireKind};
use super::gutter::{COLUMN, Gutter, TEXT};
use super::trail::{Anchor, Trail};
use super::{INSET, MARGIN, widest};
use crate::graph::picture::{Picture, Uplink};
use crate::graph::text::{Style, width, wrap};
use crate::graph::walk::{Spot, Stop};

const GAP: i32 = 26;
/// The line of a stop in the stack.
const STOP: i32 = 22;
/// From the edge of the stack to what is in it.
const PAD: i32 = 14;

/// The upper part, before it has a position.
pub(super) struct Top<'a> {
    picture: &'a Picture,
    columns: Vec<i32>,
    tracks: i32,
}

/// The lower edges of the upper part.
pub(super) struct Below {
    pub(super) frame_top: i32,
    pub(super) stack_bottom: i32,
    /// The lower ends of the interfaces.
    pub(super) uplinks: Vec<Area>,
}

fn beyond(uplink: &Uplink) -> (String, Vec<String>) {
    let routers = uplink.routers.iter().map(|router| format!("router {router}"));
    let title = if uplink.subnets.is_empty() { "behind" } else { "LAN of" };
    (format!("{title} {}", uplink.name), uplink.subnets.iter().cloned().chain(routers).collect())
}

fn own(uplink: &Uplink) -> Vec<(Style, String)> {
    let mut rows = vec![(Style::Name, uplink.name.clone())];
    rows.extend(uplink.addresses.iter().map(|address| (Style::Address, address.clone())));
    if uplink.taken {
        rows.push((Style::Note, "taken over".to_owned()));
    } else if !uplink.up {
        rows.push((Style::Note, "down".to_owned()));
    }
    rows
}

fn height(rows: &[(Style, String)]) -> i32 {
    10 + rows.iter().map(|(style, _)| style.line()).sum::<i32>() + 4
}

impl<'a> Top<'a> {
    pub(super) fn new(picture: &'a Picture, tracks: i32) -> Self {
        let columns = picture.uplinks.iter().map(|uplink| {
            let (title, lines) = beyond(uplink);
            let own = own(uplink).into_iter().map(|(style, text)| width(style, &text)).max();
            let beyond =
                width(Style::Name, &title).max(widest(Style::Address, lines.iter().map(String::as_str)));
            (beyond.max(own.unwrap_or_default()) + 24).clamp(120, 220)
        });
        Self { picture, columns: columns.collect(), tracks }
    }

    /// The least width of the interfaces.
    pub(super) fn width(&self) -> i32 {
        self.columns.iter().sum::<i32>() + self.columns.len() as i32 * GAP
    }

    fn stops(&self) -> impl Iterator<Item = &'a Stop> {
        let legs = self.picture.walk.iter().flat_map(|walk| &walk.legs);
        legs.flat_map(|leg| &leg.stops).filter(|stop| stop.spot == Spot::Host)
    }

    pub(super) fn place(
        &self,
        drawing: &mut Drawing,
        trail: &mut Trail,
        top: i32,
        left: i32,
        inner: i32,
    ) -> Below {
        let uplinks = &self.picture.uplinks;
        let lines = |it: &Uplink| it.subnets.len() + it.routers.len();
        let behind = uplinks.iter().map(lines).max().unwrap_or_default() as i32 * Style::Address.line()
            + Style::Name.line()
            + 14;
        let tall = uplinks.iter().map(|it| height(&own(it))).max().unwrap_or_default();
        let (uplinks_top, mut x) = match uplinks.is_empty() {
            true => (top, left),
            false => (top + behind + 30, left + (inner - self.width() + GAP) / 2),
        };
        let mut areas = Vec::new();
        for (number, (uplink, wide)) in uplinks.iter().zip(&self.columns).enumerate() {
            let place = Area { x, y: top, width: *wide, height: behind };
            draw_beyond(drawing, uplink, place);
            let area = Area { x, y: uplinks_top, width: *wide, height: tall };
            let wire =
                vec![Point { x: area.middle(), y: place.bottom() }, Point { x: area.middle(), y: area.y }];
            drawing.wire(WireKind::Uplink, wire.clone());
            trail.edge(Spot::Beyond(number), Spot::Uplink(number), wire);
            let first = Point { x: place.x + 10, y: place.y };
            let across = super::card::BADGE_STEP;
            trail.anchor(Spot::Beyond(number), Anchor { first, across, down: 0 });
            draw_uplink(drawing, uplink, area);
            let first = Point { x: area.x + 10, y: area.y };
            trail.anchor(Spot::Uplink(number), Anchor { first, across, down: 0 });
            areas.push(area);
            x += wide + GAP;
        }
        let frame_top = uplinks_top + tall / 2;
        let stack_top = uplinks_top + tall + 22 + self.tracks;
        for (number, (uplink, area)) in uplinks.iter().zip(&areas).enumerate().filter(|(_, it)| !it.0.taken) {
            let wire =
                vec![Point { x: area.middle(), y: area.bottom() }, Point { x: area.middle(), y: stack_top }];
            let kind = if uplink.up { WireKind::Uplink } else { WireKind::Apart };
            drawing.wire(kind, wire.clone());
            trail.edge(Spot::Uplink(number), Spot::Host, wire);
        }
        let stack_bottom = self.stack(drawing, trail, stack_top, inner + left - MARGIN - INSET);
        Below { frame_top, stack_bottom, uplinks: areas }
    }

    /// The stack, with what happens to a packet there.
    fn stack(&self, drawing: &mut Drawing, trail: &mut Trail, top: i32, wide: i32) -> i32 {
        let x = MARGIN + INSET;
        let stops: Vec<&Stop> = self.stops().collect();
        let text = if stops.is_empty() { PAD } else { TEXT };
        let space = wide - text - PAD;
        let wrapped = |style, lines: &[String]| -> Vec<(Style, String)> {
            let lines = lines.iter().flat_map(|line| wrap(style, line, space));
            lines.map(|line| (style, line)).collect()
        };
        let picture = self.picture;
        let notes = [wrapped(Style::Note, &picture.rules), wrapped(Style::Failed, &picture.drift)].concat();
        let height = 10
            + Style::Heading.line()
            + notes.iter().map(|(style, _)| style.line()).sum::<i32>()
            + stops.len() as i32 * STOP
            + if stops.is_empty() { 10 } else { 16 };
        let area = Area { x, y: top, width: wide, height };
        let label = format!("the host {}", self.picture.host);
        drawing.boxed_endpoint(BoxKind::Stack, area, 10, Endpoint { name: "host".to_owned(), label });
        let mut y = top + 10;
        let title = format!("{}: routes and firewall", self.picture.host);
        let at = Point { x: x + text, y: y + Style::Heading.ascent() };
        drawing.text(Style::Heading, at, &title, space);
        y += Style::Heading.line();
        for (style, line) in notes {
            drawing.text(style, Point { x: x + text, y: y + style.ascent() }, &line, space);
            y += style.line();
        }
        y += 4;
        let first = Point { x: x + COLUMN, y: y + STOP / 2 };
        trail.anchor(Spot::Host, Anchor { first, across: 0, down: STOP });
        let below = stops.len().checked_sub(1).map(|more| more as i32 * STOP);
        trail.gutter(Gutter { area, badges: below.map(|below| (first.y, first.y + below)) });
        for stop in stops {
            let at = Point { x: x + text, y: y + STOP / 2 + 4 };
            drawing.text(Style::Step, at, &stop.in_short(), space);
            y += STOP;
        }
        top + height
    }
}

fn draw_beyond(drawing: &mut Drawing, uplink: &Uplink, area: Area) {
    let (title, lines) = beyond(uplink);
    // Of the hosts of a LAN only its router is known.
    match uplink.routers.first() {
        Some(router) => {
            let label = format!("{title}, {}", lines.join(", "));
            let name = format!("lan:{router}");
            drawing.boxed_endpoint(BoxKind::Beyond, area, 6, Endpoint { name, label });
        }
        None => drawing.boxed(BoxKind::Beyond, area, 6, ""),
    }
    let mut y = area.y + 10;
    let space = area.width - 20;
    let at = |y: i32, style: Style| Point { x: area.x + 10, y: y + style.ascent() };
    drawing.text(Style::Name, at(y, Style::Name), &title, space);
    y += Style::Name.line();
    for line in lines {
        drawing.text(Style::Address, at(y, Style::Address), &line, space);
        y += Style::Address.line();
    }
}

fn draw_uplink(drawing: &mut Drawing, uplink: &Uplink, area: Area) {
    drawing.boxed(BoxKind::Uplink, area, 6, "");
    let mut y = area.y + 10;
    for (style, text) in own(uplink) {
        drawing.text(style, Point { x: area.x + 10, y: y + style.ascent() }, &text, area.width - 20);
        y += style.line();
    }
}
