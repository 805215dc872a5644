//! What is done with Managers and their accounts.

use std::collections::BTreeMap;

use crate::client::{Client, Delivery, json_body};
use crate::endpoint::Link;
use crate::error::Error;
use crate::resources::{Account, Manager, Resource, Service};
use crate::secret::Secret;
use crate::write::{Accepted, Patch};

impl Client {
    /// The links of all Managers. Those of one System are its `managed_by`.
    pub async fn managers(&self) -> Result<Vec<Link>, Error> {
        self.root_members("Managers", |root| root.managers).await
    }

    /// A Manager: firmware version and the resets that it offers.
    pub async fn manager(&self, link: &Link) -> Result<Resource<Manager>, Error> {
        self.read(link).await
    }

    /// The links of all accounts, empty slots included.
    pub async fn accounts(&self) -> Result<Vec<Link>, Error> {
        let root = self.service_root().await?;
        let missing = || self.unsupported(&root.link, "the service has no accounts");
        let service = root.value.account_service.as_ref().ok_or_else(missing)?;
        let service: Resource<Service> = self.read(service).await?;
        self.members(&service.value.accounts.ok_or_else(missing)?).await
    }

    /// An account.
    pub async fn account(&self, link: &Link) -> Result<Resource<Account>, Error> {
        self.read(link).await
    }

    /// Changes an account's password, sent exactly once. After a failure with `maybe_sent` either password may
    /// be the right one. This client goes on with its own credentials: when the account is its own, make a new client.
    pub async fn change_password(&self, account: &Link, password: &Secret) -> Result<Accepted, Error> {
        let now: Resource<Account> = self.read(account).await?;
        let body = json_body(
            &BTreeMap::from([("Password", password.expose())]),
            password.expose().len(),
        );
        let etag = now.etag.as_deref();
        let patch = Patch {
            link: &now.link,
            etag,
            body,
            delivery: Delivery::Once,
            secret: Some(password),
        };
        self.finish(self.patch(patch).await?).await
    }
}
