//! The colours and fonts of pictures.

use std::fmt::Write;

use crate::graph::element::text_class;
use crate::graph::text::Style;

/// The heads of the lines of walks.
pub(super) const ARROWS: &str = r#"<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="4.5" markerHeight="4.5" orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>
"#;

/// The colours by what they mean, for light and for dark.
const COLOURS: [(&str, &str, &str); 19] = [
    ("ground", "#ffffff", "#12161c"),
    ("host", "#f6f7f9", "#171c24"),
    ("card", "#ffffff", "#1e2530"),
    ("box", "#f1f4f8", "#29323f"),
    ("edge", "#cdd3db", "#3c4757"),
    ("line", "#8a94a3", "#77839a"),
    ("ink", "#1d232b", "#e9edf3"),
    ("quiet", "#59636f", "#a5b0bf"),
    ("nat", "#2364b8", "#71aaf5"),
    ("natbox", "#e4eefb", "#1d3350"),
    ("open", "#0e7a61", "#4fcbaa"),
    ("openbox", "#dff4ee", "#163d35"),
    ("apart", "#8d5200", "#eab264"),
    ("apartbox", "#fbefdb", "#42311a"),
    ("port", "#9c3d12", "#f39a6b"),
    ("trail", "#7a35c2", "#c9a0ff"),
    ("good", "#1a7f37", "#3fb950"),
    ("bad", "#c62835", "#ff6b66"),
    ("badge", "#ffffff", "#12161c"),
];

const RULES: &str = "\
text{fill:var(--ink);font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\
.address,.port,.step{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono','DejaVu Sans Mono',monospace}\
.note,.address,.word{fill:var(--quiet)}\
.port{fill:var(--port)}.answered{fill:var(--good)}.failed{fill:var(--bad)}\
.ground{fill:var(--ground)}\
rect{stroke-width:1}\
.host{fill:var(--host);stroke:var(--line);stroke-width:1.5}\
.stack,.uplink{fill:var(--card);stroke:var(--line)}\
.beyond{fill:none;stroke:var(--line);stroke-dasharray:2 3}\
.card{fill:var(--card);stroke:var(--edge)}\
.bridge{fill:var(--box);stroke:var(--edge)}\
.sandbox{fill:var(--box);stroke:var(--line)}\
.stopped{fill:none;stroke:var(--edge)}\
.again{fill:var(--card);stroke:var(--line);stroke-dasharray:4 3}\
.collapsed{fill:var(--box);stroke:var(--line);stroke-width:3}\
.mark{fill:var(--box);stroke:none}\
.mark.apart{fill:var(--apartbox)}\
.mark.open{fill:var(--openbox)}\
.wire{fill:none;stroke:var(--line);stroke-width:1.5}\
.wire.nat{stroke:var(--nat);stroke-width:2}\
.wire.open{stroke:var(--open);stroke-width:2}.wire.link{stroke:var(--open);stroke-width:4}\
.wire.only{stroke:var(--apart);stroke-width:2;stroke-dasharray:5 3}\
.wire.cut{stroke:var(--apart);stroke-dasharray:2 3}\
.wire.joins{stroke-dasharray:4 3}\
.trail{fill:none;stroke:var(--trail);stroke-width:3;stroke-linejoin:round;marker-end:url(#tip)}\
.trail.back{stroke-dasharray:6 4}\
.tip{fill:var(--trail)}\
.badge circle{stroke:var(--ground);stroke-width:1.5}\
.badge text{fill:var(--badge);font-size:10px;font-weight:700;text-anchor:middle}\
.passes circle{fill:var(--trail)}\
.rewritten circle{fill:var(--port)}\
.delivered circle{fill:var(--good)}\
.lost circle{fill:var(--bad)}\
.unknown circle{fill:var(--quiet)}\
";

/// The rules with the colors in place of their names. Many programs that show SVG (librsvg, and with it ImageMagick and
/// file managers) know no variables of CSS.
fn with_colors(rules: &str, dark: bool) -> String {
    COLOURS.iter().fold(rules.to_owned(), |rules, (name, light, night)| {
        rules.replace(&format!("var(--{name})"), if dark { night } else { light })
    })
}

/// The declarations of the rules that have colors, and nothing else.
fn colors_alone() -> String {
    let mut colors = String::new();
    for rule in RULES.split_inclusive('}') {
        let Some((selector, declarations)) = rule.trim_end_matches('}').split_once('{') else { continue };
        let colored: Vec<&str> = declarations.split(';').filter(|it| it.contains("var(")).collect();
        if !colored.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(colors, "{selector}{{{}}}", colored.join(";"));
        }
    }
    colors
}

/// The style sheet of a light picture.
pub(super) fn sheet() -> String {
    let mut sheet = String::from("svg{color-scheme:light dark}");
    for style in Style::ALL {
        let weight = if style.bold() { ";font-weight:600" } else { "" };
        sheet.push_str(&format!(".{}{{font-size:{}px{weight}}}", text_class(style), style.size()));
    }
    sheet.push_str(&with_colors(RULES, false));
    sheet
}

/// The style sheet that makes it dark for readers who prefer that. It is one of its own: a program that cannot read it
/// still has the other one.
pub(super) fn dark_sheet() -> String {
    format!("@media(prefers-color-scheme:dark){{{}}}", with_colors(&colors_alone(), true))
}

/// The style sheet of both themes, for pages that draw pictures in themselves.
pub(in crate::graph) fn both() -> String {
    format!("{}{}", sheet(), dark_sheet())
}
