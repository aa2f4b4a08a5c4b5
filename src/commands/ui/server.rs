//! The server: it listens on this machine alone and hands requests to the site, each on a thread that may wait for files.

use std::fmt::Display;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::HOST;
use flow_engine::StopFlag;
use tokio::runtime::{Builder, Runtime};

use super::answers::{Answer, words};
use super::site::{Asked, Site};
use crate::cli::Cli;
use crate::exit::Failure;

/// A server at work; it ends when it is dropped.
pub(crate) struct Served {
    /// Where a browser finds it, with the token.
    pub(crate) address: String,
    runtime: Option<Runtime>,
}

impl Served {
    /// Serves on this machine alone; port 0 is one that is free.
    pub(crate) fn start(cli: &Cli, port: u16) -> Result<Self, Failure> {
        let failed = |why: &dyn Display| Failure::cannot(&format!("serve on 127.0.0.1:{port}"), &why);
        let io = |error: std::io::Error| failed(&error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let found = listener.local_addr().map_err(io)?.port();
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|error| failed(&error))?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let address = format!("http://127.0.0.1:{found}/{token}/");

        let site = Arc::new(Site::new(cli, found, token));
        let first = Arc::clone(&site);
        std::thread::spawn(move || first.warm());
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(io)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(io)?
        };
        let pages = Router::new().fallback(answer).with_state(site);
        runtime.spawn(async move { axum::serve(listener, pages).await });
        Ok(Self {
            address,
            runtime: Some(runtime),
        })
    }
}

/// Waits until it is asked to stop.
pub(crate) fn until(stop: &StopFlag) {
    while !stop.is_requested() {
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Nobody waits for pages that are open.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(State(site): State<Arc<Site>>, request: Request) -> Answer {
    let asked = Asked::of(&request);
    let answered = tokio::task::spawn_blocking(move || site.answer(&asked)).await;
    answered.unwrap_or_else(|error| words(500, &error.to_string()))
}

impl Asked {
    fn of(request: &Request) -> Self {
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        Self {
            method: request.method().clone(),
            address: request.uri().clone(),
            host: header(HOST.as_str()).map(ToOwned::to_owned),
            last_event: header("last-event-id")
                .and_then(|place| place.parse().ok())
                .unwrap_or(0),
        }
    }
}
