//! Automatic collection: now and then, when the repo has grown past its watermark.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::Roots;
use crate::pins::Pins;
use crate::store::{self, Store};

/// When to collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// `Datastore.StorageMax`, in bytes.
    pub storage_max: u64,
    /// `Datastore.StorageGCWatermark`, in percent of it.
    pub watermark_percent: u64,
    /// `Datastore.GCPeriod`; zero: never.
    pub period: Duration,
}

impl Options {
    /// The size above which a collection runs.
    fn watermark(&self) -> u64 {
        let bytes = u128::from(self.storage_max) * u128::from(self.watermark_percent) / 100;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// Says what a collection keeps besides the pins.
type AskRoots = Arc<dyn Fn() -> Roots + Send + Sync>;

/// Collects by itself.
pub struct Service {
    store: Store,
    pins: Pins,
    roots: AskRoots,
    options: Options,
}

impl Service {
    /// A service that keeps what is pinned and what is below the roots that `roots` gives when a
    /// collection begins.
    pub fn new<T: Into<Roots>>(
        store: Store,
        pins: Pins,
        options: Options,
        roots: impl Fn() -> T + Send + Sync + 'static,
    ) -> Self {
        Self { store, pins, roots: Arc::new(move || roots().into()), options }
    }

    /// Works until `shutdown` resolves; a collection that is under way stops then.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = self.work() => {}
        }
    }

    async fn work(&self) {
        if self.options.period.is_zero() {
            return std::future::pending().await;
        }
        let first = Instant::now() + self.options.period;
        let mut ticks = tokio::time::interval_at(first, self.options.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.collect_if_due().await {
                tracing::error!(%error, "automatic collection");
            }
        }
    }

    async fn collect_if_due(&self) -> Result<(), store::Error> {
        let bytes = self.store.stats()?.bytes_on_disk;
        if bytes <= self.options.watermark() {
            return Ok(());
        }
        if bytes > self.options.storage_max {
            tracing::warn!(bytes, "maximum storage limit exceeded. Try to unpin some files");
        }
        tracing::info!(bytes, "watermark exceeded, collecting");
        let roots = Arc::clone(&self.roots);
        let mut run = super::run(&self.store, &self.pins, move || roots());
        let mut removed = 0_u64;
        while let Some(event) = run.next().await {
            match event {
                Ok(_) => removed += 1,
                Err(error) => tracing::error!(%error, "collection"),
            }
        }
        tracing::info!(removed, "collection done");
        Ok(())
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("options", &self.options).finish_non_exhaustive()
    }
}
