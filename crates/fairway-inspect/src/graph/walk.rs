//! The walk of a connection as it is drawn: legs of stops, each at one place of a picture.

/// A place in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spot {
    /// A sandbox's place on a network, by the numbers of the network and of the member.
    Member(usize, usize),
    /// What joins a network's members, by the network's number.
    Network(usize),
    /// The host's own stack: its routes, its firewall, its programs.
    Host,
    /// An interface that leads out, by its number.
    Uplink(usize),
    /// What is behind it.
    Beyond(usize),
    /// Nothing that is drawn.
    Elsewhere,
}

/// What happens at a stop that is worth seeing at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Badge {
    /// The packet passes.
    Passes,
    /// Its addresses change.
    Rewritten,
    /// A socket gets it.
    Delivered,
    /// It comes no further.
    Lost,
    /// It leaves for where nothing is known, or what happens is not known.
    Unknown,
}

/// What happens to a packet at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Its number within the walk, from 1.
    pub number: usize,
    /// Where.
    pub spot: Spot,
    /// What, in short.
    pub badge: Badge,
    /// Where, in words.
    pub place: String,
    /// What, in words.
    pub lines: Vec<String>,
}

impl Stop {
    /// What happens, in a line.
    pub fn in_short(&self) -> String {
        if let (Badge::Passes, [_, _, ..]) = (self.badge, &self.lines[..]) {
            let mut places: Vec<&str> =
                self.lines.iter().map(|line| line.split(": ").next().unwrap_or_default()).collect();
            places.dedup();
            return places.join(", ");
        }
        self.lines.last().cloned().unwrap_or_default()
    }
}

/// Which of a connection's packets it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LegKind {
    /// One that asks.
    Asks,
    /// One that answers.
    Answers,
}

/// The way of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Which packet it is.
    pub kind: LegKind,
    /// The same in words.
    pub title: String,
    /// Where it comes.
    pub stops: Vec<Stop>,
}

/// What is drawn over a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// What was asked.
    pub question: String,
    /// The packets, in the order in which they go.
    pub legs: Vec<Leg>,
    /// What comes of it.
    pub sentence: String,
    /// What would help.
    pub advice: Option<String>,
    /// Whether it is answered, where that is known.
    pub answered: Option<bool>,
}
