//! The binary: `weir <subcommand>`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Where huge pages are the host's default, each stretch of the heap that is used at all would take 2 MiB: an idle
    // proxy 18 MiB instead of 7. Where they are not, the allocator's feature `no_thp` keeps it from asking for them.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    weir::cli::main()
}
