//! Pictures as PNG and PDF, made from SVG with the fonts of the host.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, Family, Query};
use resvg::usvg::{self, Options, Tree};
use svg2pdf::{ConversionOptions, PageOptions};
use thiserror::Error;

/// The families that texts are drawn with, the first of them that the host has. Widths of texts are estimated for these.
const SANS_SERIF: [&str; 5] = ["DejaVu Sans", "Liberation Sans", "Noto Sans", "Roboto", "Arial"];
const MONOSPACE: [&str; 5] =
    ["DejaVu Sans Mono", "Liberation Mono", "Noto Sans Mono", "Roboto Mono", "Consolas"];
/// The pixels of a PNG for each one of the picture, as on screens of high density.
const SCALE: u32 = 2;
/// A picture of more pixels is drawn at its own size.
const MOST_PIXELS: u64 = 40_000_000;

/// Why a picture cannot be drawn as PNG or PDF.
#[derive(Debug, Error)]
pub(super) enum ImageError {
    /// A server has often no fonts.
    #[error("the host has no font: install one, such as the package fonts-dejavu-core, or use .svg")]
    NoFont,
    /// The SVG is too large for the reader, or is none.
    #[error("{0}: use .svg")]
    Svg(#[from] usvg::Error),
    /// There is no memory for so many pixels.
    #[error(
        "{width}x{height} pixels are too many: use .svg or .pdf, or draw some networks alone with --network"
    )]
    Size {
        /// The width in pixels.
        width: u32,
        /// The height in pixels.
        height: u32,
    },
    /// The pixels cannot be compressed.
    #[error("{0}: use .svg")]
    Png(String),
    /// The document cannot be written, by the reason of `svg2pdf`.
    #[error("{0}: use .svg")]
    Pdf(svg2pdf::ConversionError),
}

/// The fonts of the host.
pub(super) fn host_fonts() -> Database {
    let mut fonts = Database::new();
    fonts.load_system_fonts();
    fonts
}

/// The first of some families that is there, or else any family with letters of that kind.
fn family(fonts: &Database, names: &[&str], monospaced: bool) -> Option<String> {
    let has =
        |name: &&&str| fonts.query(&Query { families: &[Family::Name(name)], ..Query::default() }).is_some();
    if let Some(name) = names.iter().find(has) {
        return Some((*name).to_owned());
    }
    let face = fonts.faces().find(|face| face.monospaced == monospaced)?;
    face.families.first().map(|(name, _)| name.clone())
}

/// Reads an SVG, and gives its texts fonts of the host.
fn tree(svg: &str, mut fonts: Database) -> Result<Tree, ImageError> {
    let monospace = family(&fonts, &MONOSPACE, true);
    let sans_serif = family(&fonts, &SANS_SERIF, false).or_else(|| monospace.clone());
    let Some(sans_serif) = sans_serif else { return Err(ImageError::NoFont) };
    fonts.set_monospace_family(monospace.unwrap_or_else(|| sans_serif.clone()));
    fonts.set_sans_serif_family(sans_serif);
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    Ok(Tree::from_str(svg, &options)?)
}

/// Draws an SVG as PNG.
pub(super) fn png(svg: &str, fonts: Database) -> Result<Vec<u8>, ImageError> {
    let tree = tree(svg, fonts)?;
    let size = tree.size().to_int_size();
    let (width, height) = (size.width(), size.height());
    let pixels = u64::from(width) * u64::from(height) * u64::from(SCALE * SCALE);
    let scale = if pixels > MOST_PIXELS { 1 } else { SCALE };
    let (width, height) = (width.saturating_mul(scale), height.saturating_mul(scale));
    let mut pixmap = Pixmap::new(width, height).ok_or(ImageError::Size { width, height })?;
    resvg::render(&tree, Transform::from_scale(scale as f32, scale as f32), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|error| ImageError::Png(error.to_string()))
}

/// Draws an SVG as a PDF of one page, whose texts can be searched.
pub(super) fn pdf(svg: &str, fonts: Database) -> Result<Vec<u8>, ImageError> {
    let (conversion, page) = (ConversionOptions::default(), PageOptions::default());
    svg2pdf::to_pdf(&tree(svg, fonts)?, conversion, page).map_err(ImageError::Pdf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairway_inspect::graph::{Format, Picture, draw};

    const EMPTY: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"/>"#;

    fn word(family: &str) -> String {
        let text = format!(r#"<text x="2" y="15" font-family="{family}">web</text></svg>"#);
        EMPTY.replace("/>", &format!(">{text}"))
    }

    fn size(png: &[u8]) -> (u32, u32) {
        let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
        (number(16), number(20))
    }

    #[test]
    fn a_png_has_the_texts_and_twice_the_size() {
        let empty = png(EMPTY, host_fonts()).unwrap();
        assert!(empty.starts_with(b"\x89PNG"));
        assert_eq!(size(&empty), (80, 40));
        for family in ["system-ui, sans-serif", "ui-monospace, monospace"] {
            assert_ne!(png(&word(family), host_fonts()).unwrap(), empty, "{family}");
        }
    }

    #[test]
    fn a_large_png_keeps_the_size_of_the_picture() {
        let large = EMPTY.replace("\"40\"", "\"40000\"").replace("\"20\"", "\"300\"");
        assert_eq!(size(&png(&large, host_fonts()).unwrap()), (40_000, 300));
    }

    #[test]
    fn a_pdf_has_fonts_for_its_texts() {
        let drawn = pdf(&word("sans-serif"), host_fonts()).unwrap();
        assert!(drawn.starts_with(b"%PDF-"));
        assert!(String::from_utf8_lossy(&drawn).contains("/FontFile"), "the font is in the document");
    }

    #[test]
    fn without_a_font_nothing_is_drawn() {
        for drawn in [png(&word("sans-serif"), Database::new()), pdf(EMPTY, Database::new())] {
            assert!(matches!(drawn, Err(ImageError::NoFont)));
        }
    }

    #[test]
    fn pictures_are_read() {
        let svg = draw(&Picture::default(), Format::Svg);
        assert!(png(&svg, host_fonts()).unwrap().len() > png(EMPTY, host_fonts()).unwrap().len());
    }
}
