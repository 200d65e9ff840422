//! The binary: `weir <subcommand>`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let config = std::env::args().nth(3).unwrap_or_default();
    let runtime = weir::runtime::worker::local_runtime().expect("runtime");
    runtime.block_on(async {
        let options = weir::app::sidecar::Options { config: config.into(), last_good: None };
        match weir::app::sidecar::Sidecar::start(&options).await {
            Ok(sidecar) => {
                let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("signal");
                sidecar.run(async { term.recv().await; weir::app::sidecar::Leave::Drain }).await;
                ExitCode::SUCCESS
            }
            Err(fault) => {
                eprintln!("{fault}");
                ExitCode::FAILURE
            }
        }
    })
}
