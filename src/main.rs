//! The `updates-bridge` executable.

fn main() -> std::process::ExitCode {
    updates_bridge::cli::main()
}
