//! The gate before every datagram and request to one Server's BMC.

use std::sync::{Arc, OnceLock};

use controller_runtime::lease::Leadership;
use crd_types::metal::Server;
use kube::runtime::reflector::{ObjectRef, Store};
use lifecycle::{HandsOff, Observed, may_command};
use power_manager::{Access, Fence, Fenced, Report};
use tokio::sync::watch;

use crate::server::facts::{Site, identify, is_left_alone_for, observe};
use crate::server::observed::is_unexpectedly_on;

/// Asks the lease and, before a write, the latest Server that was seen (invariants I-1, I-5, I-6, I-13).
pub(crate) struct ServerFence {
    pub(crate) leadership: Leadership,
    pub(crate) site: Arc<Site>,
    pub(crate) servers: Store<Server>,
    pub(crate) server: ObjectRef<Server>,
    pub(crate) uid: String,
    /// What the BMC says of itself, once its actor is there.
    pub(crate) report: Arc<OnceLock<watch::Receiver<Report>>>,
}

impl Fence for ServerFence {
    fn check(&self, access: Access) -> Result<(), Fenced> {
        if !self.leadership.holds() {
            return Err(Fenced("this replica does not lead".into()));
        }
        match access {
            Access::Read => Ok(()),
            Access::Write => self.check_write(),
        }
    }
}

impl ServerFence {
    fn check_write(&self) -> Result<(), Fenced> {
        let gone = || Fenced("the Server is gone".into());
        let server = self.servers.get(&self.server).ok_or_else(gone)?;
        // A cluster's machine is bound by its status here: the controller looked live before it stored the command.
        let bound = server.status.as_ref().and_then(|status| status.in_use) == Some(true);
        let deleted = server.metadata.deletion_timestamp.is_some() && !bound;
        if server.metadata.uid.as_ref() != Some(&self.uid) || deleted {
            return Err(gone());
        }
        let report = self.report.get().map(|report| report.borrow().clone());
        let info = report.as_ref().and_then(|report| report.info.as_ref());
        let identity = identify(&server, info, &self.servers);
        let alone = observe(&server, &self.site, identity);
        let observed = Observed {
            orphaned: is_left_alone_for(&server, HandsOff::Orphaned),
            unexpectedly_on: is_unexpectedly_on(&server, bound, report.as_ref()),
            ..alone
        };
        may_command(&observed).map_err(|refusal| Fenced(refusal.to_string()))
    }
}
