//! Where expressions leave values for the expressions after them.

/// The first of the 4-byte slots that hold a value; there are sixteen.
///
/// The kernel has two names for some of them (`NFT_REG_1` is slots 0 to 3, `NFT_REG32_00` is slot
/// 0); here each has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register(u8);

const FIRST_WIDE: u32 = 1;
const LAST_WIDE: u32 = 4;
const FIRST_NARROW: u32 = 8;

impl Register {
    /// How many slots there are.
    pub const COUNT: u8 = 16;
    /// How many bytes a slot holds.
    pub const SIZE: usize = 4;
    /// The first slot.
    pub const FIRST: Self = Self(0);

    /// The register that begins at a slot; none beyond the last.
    pub const fn at(slot: u8) -> Option<Self> {
        if slot < Self::COUNT { Some(Self(slot)) } else { None }
    }

    /// The slot that it begins at.
    pub const fn slot(self) -> u8 {
        self.0
    }

    /// The register after a value of `length` bytes in this one; none if no register is left.
    pub const fn after(self, length: usize) -> Option<Self> {
        let slots = length.div_ceil(Self::SIZE);
        if slots < Self::COUNT as usize { Self::at(self.0 + slots as u8) } else { None }
    }

    /// The kernel's number, in the form in which the kernel itself reports it (`nft_dump_register`).
    pub const fn number(self) -> u32 {
        if self.0.is_multiple_of(4) { FIRST_WIDE + self.0 as u32 / 4 } else { FIRST_NARROW + self.0 as u32 }
    }

    /// The register of either of the kernel's numbers; none for the verdict (0) and for others.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            FIRST_WIDE..=LAST_WIDE => Some(Self((number - FIRST_WIDE) as u8 * 4)),
            FIRST_NARROW..24 => Some(Self((number - FIRST_NARROW) as u8)),
            _ => None,
        }
    }
}

/// The registers that hold the least and the greatest value of a translation; often the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RegisterRange {
    /// The least.
    pub first: Register,
    /// The greatest.
    pub last: Register,
}

impl From<Register> for RegisterRange {
    fn from(register: Register) -> Self {
        Self { first: register, last: register }
    }
}
