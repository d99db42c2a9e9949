//! Another Rust static library, with its own copy of std, of the panic machinery and of `rust_eh_personality`.

/// The sum of `1..=n`; 0 for a panic, which is caught, so that unwinding in this copy of std is used.
#[unsafe(no_mangle)]
pub extern "C" fn second_sum(n: u32) -> u32 {
    std::panic::set_hook(Box::new(|_| ()));
    std::panic::catch_unwind(|| {
        let numbers: Vec<u32> = (1..=n).collect();
        assert!(!numbers.is_empty(), "nothing to add up");
        numbers.iter().sum()
    })
    .unwrap_or(0)
}
