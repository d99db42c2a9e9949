//! What is different on small machines.

/// Whether there is room for code that is there for speed alone: not on small machines.
pub(crate) const IS_ROOMY: bool = cfg!(any(target_pointer_width = "64", feature = "alloc"));
