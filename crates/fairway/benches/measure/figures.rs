//! Times, and tables of them.

use std::time::{Duration, Instant};

use crate::Failure;

/// How long something took, time after time.
#[derive(Debug, Default, Clone)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Does something and notes how long it took.
    pub fn note<T, E: Into<Failure>>(&mut self, work: impl FnOnce() -> Result<T, E>) -> Result<T, Failure> {
        let begun = Instant::now();
        let done = work();
        self.0.push(begun.elapsed());
        done.map_err(Into::into)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that `hundredths` of all did not exceed, in milliseconds.
    pub fn percentile(&self, hundredths: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * hundredths).div_ceil(100).saturating_sub(1);
        sorted.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }

    /// p50 and p99 in milliseconds, as two cells.
    pub fn cells(&self) -> [String; 2] {
        [milliseconds(self.percentile(50)), milliseconds(self.percentile(99))]
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        Self(times.into_iter().collect())
    }
}

/// A number of milliseconds with as many places as mean something.
pub fn milliseconds(value: f64) -> String {
    match value {
        value if value < 1.0 => format!("{value:.3}"),
        value if value < 100.0 => format!("{value:.2}"),
        value => format!("{value:.0}"),
    }
}

/// A table in Markdown whose rows are printed as they come.
pub struct Table {
    widths: Vec<usize>,
}

impl Table {
    /// Prints a title and the head. The first column is for words.
    pub fn new(title: &str, columns: &[&str]) -> Self {
        println!("\n### {title}\n");
        let widths =
            columns.iter().enumerate().map(|(place, name)| name.len().max(if place == 0 { 58 } else { 10 }));
        let table = Self { widths: widths.collect() };
        table.row(columns.iter().map(|name| (*name).to_owned()));
        let lines = table.widths.iter().enumerate().map(|(place, width)| match place {
            0 => "-".repeat(*width),
            _ => format!("{}:", "-".repeat(width - 1)),
        });
        table.row(lines);
        table
    }

    /// Prints a row.
    pub fn row(&self, cells: impl IntoIterator<Item = String>) {
        let mut line = String::from("|");
        for (place, (cell, width)) in cells.into_iter().zip(&self.widths).enumerate() {
            let width = *width;
            match place {
                0 => line.push_str(&format!(" {cell:<width$} |")),
                _ => line.push_str(&format!(" {cell:>width$} |")),
            }
        }
        println!("{line}");
    }
}

/// Says on what is measured.
pub fn print_machine() {
    let uname = rustix::system::uname();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    println!("{cores} cores, kernel {}, load before: {load}", uname.release().to_string_lossy());
}
