//! What is different on small machines: all sizes, side by side. What each is for stands where it is used.
//!
//! Without a heap there are no indexes either; what they save is read again (`cfg(feature = "alloc")` where they are).

/// Whether there is room for code that is there for speed alone: not on small machines.
pub(crate) const IS_ROOMY: bool = cfg!(any(target_pointer_width = "64", feature = "alloc"));

/// How many kilobytes of tables a checksum has.
pub(crate) const CHECKSUM_TABLES: usize = if cfg!(feature = "std") { 16 } else { 1 };

/// So much with a heap, and so much without: there it lies in the courier itself, or on the stack.
macro_rules! sizes {
    ($($name:ident: $with:literal, $without:literal;)*) => {
        $(pub(crate) const $name: usize = if cfg!(feature = "alloc") { $with } else { $without };)*
    };
}

sizes! {
    // courier/aside.rs
    SUSPECTS: 5, 3;
    TRIED: 1024, 3;
    JOB_SET_WORDS: 128, 16;
    // courier/engine.rs
    KEPT_FOR_CANARIES: 8, 2;
    HELD: 32, 4;
    BURIED: 5, 1;
    // courier/engine/round.rs
    TURNS: 64, 1;
    // courier/reason.rs
    REASON_TEXT: 120, 40;
    // courier/log/ahead.rs, segments.rs
    RANGES: 64, 8;
    CHUNK: 512, 64;
    FRONT: 512, 192;
}
