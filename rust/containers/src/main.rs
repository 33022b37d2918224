//! The program in the image of the API: reads its settings from the environment, and serves until SIGTERM or SIGINT.

use std::process::ExitCode;

use mirai_containers::{Api, Settings, serve, tls_with};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mirai-containers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::from_variables(|name| std::env::var(name).ok())?;
    // Before anybody knows of this process: as the first one of a container it has no other way to end.
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let tls = settings.certificate.as_deref().map(tls_with).transpose()?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| format!("cannot listen at {}: {error}", settings.listen))?;
    println!("{}", settings.summary(listener.local_addr()?));
    let asked_to_leave = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    };
    serve(listener, tls, Api::new(settings), asked_to_leave).await;
    Ok(())
}
