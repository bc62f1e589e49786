//! Sizes in bytes, as Docker's `units.RAMInBytes` reads them.

/// Decimal places that count: the part that follows is less than a byte, of the greatest unit too.
const PLACES: usize = 16;
/// A unit in the last of these places.
const SCALE: u128 = 10_u128.pow(16);

/// Parses a number of bytes: `1048576`, `512k`, `1.5g`, `10 MB`, `10MiB`. None for what is no such number, or more than
/// Docker's API has a number for. A part of a byte is left out. Signs and exponents, which Docker reads, are refused.
pub fn size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: u128 = match unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        "p" | "pb" | "pib" => 1 << 50,
        _ => return None,
    };
    let (whole, places) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + places.len() == 0 || places.contains('.') {
        return None;
    }
    let whole: u64 = format!("0{whole}").parse().ok()?;
    let places: u128 = format!("{places:0<PLACES$.PLACES$}").parse().ok()?;
    let bytes = (u128::from(whole) * SCALE + places).checked_mul(unit)? / SCALE;
    i64::try_from(bytes).ok()?.try_into().ok()
}
