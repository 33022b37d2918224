//! The pool of a platform without fork servers.

use crate::batch::{Batch, LaunchId};
use crate::config::LauncherConfig;
use crate::rscript::ByRscript;
use crossbeam_channel::Sender;
use std::sync::Arc;
use std::time::Instant;

/// Has no servers, so none reports anything.
pub(crate) enum News {}

pub(crate) struct Pool {
    by_rscript: ByRscript,
}

impl Pool {
    pub(crate) fn new(config: Arc<LauncherConfig>, _news: Sender<News>) -> Self {
        Self {
            by_rscript: ByRscript::new(config),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        true
    }

    /// There is no server to answer late.
    pub(crate) fn next_late(&self) -> Option<Instant> {
        None
    }

    pub(crate) fn report_late(&mut self) {}

    pub(crate) fn launch(&mut self, batch: Batch) {
        self.by_rscript.start(&batch);
    }

    pub(crate) fn withdraw(&mut self, launch: LaunchId, has_joined: &dyn Fn(u32) -> bool) {
        self.by_rscript.withdraw(launch, has_joined);
    }

    pub(crate) fn handle(&mut self, news: News) {
        match news {}
    }

    pub(crate) fn close(&mut self) {}
}
