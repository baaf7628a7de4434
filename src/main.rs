//! The `updates-bridge` executable.

/// Deliveries are many small allocations on one thread that end on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    updates_bridge::cli::main()
}
