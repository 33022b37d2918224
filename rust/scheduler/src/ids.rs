//! The names things go by.

use std::fmt;

use crate::slab::{Key, Slot};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) Key);

        impl $name {
            pub(crate) fn slot(self) -> Slot {
                self.0.slot()
            }

            /// Its slot: small, dense, and free for another one once this one is released. Meant as the index of the
            /// caller's own table.
            pub fn index(self) -> usize {
                self.slot() as usize
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, " {}.{}"), self.slot(), self.0.number())
            }
        }
    };
}

id! {
    /// A task. The id of one that was released matches nothing.
    TaskId, "task"
}

id! {
    /// A daemon. The id of one that is gone matches nothing.
    DaemonId, "daemon"
}

id! {
    /// What several tasks have in common. The id of one that was dropped matches nothing.
    PartId, "part"
}

/// One sending of one task to one daemon. Rises at every send; 0 is never used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RunId(pub u64);

/// A point in time, in milliseconds on a clock of the caller's choice that never runs backwards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Tick(pub u64);
