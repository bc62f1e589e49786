//! Enumerations whose members have a number in the kernel and a word in `nft`.

/// Declares an enumeration with `number`, `from_number` and `Display` (the word of `nft`).
macro_rules! numbered {
    ($(#[$meta:meta])* pub enum $name:ident: $repr:ty {
        $($(#[$doc:meta])* $variant:ident = $number:literal, $word:literal;)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every member.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The kernel's number for it.
            pub const fn number(self) -> $repr {
                match self { $(Self::$variant => $number,)* }
            }

            /// The member with that number, if it is one we know.
            pub const fn from_number(number: $repr) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self { $(Self::$variant => $word,)* })
            }
        }
    };
}

pub(super) use numbered;
