//! What a machine boots that somebody has: a live look at all who say so, and the Environment that they name.

use boot_services::{Environment as Booted, NoEnvironment, Unavailable};
use controller_runtime::telemetry::causes;
use crd_types::infrastructure::ServerBinding;
use crd_types::metal::{Environment, Server, ServerClass};
use crd_types::names::ENVIRONMENT_DEFAULT;
use hardware_types::ServerId;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Api, Client};
use lifecycle::boot::{Answer, Why, environment as permit};
use lifecycle::facts::Purpose;

use super::directory::Machines;
use crate::claim::{Look, look};
use crate::environment::is_ready;
use crate::server::facts::boot_view;

/// Why no environment is given: it is not to be, or the API server cannot be asked.
enum Not {
    Given(NoEnvironment),
    Known(Unavailable),
}

impl From<NoEnvironment> for Not {
    fn from(why: NoEnvironment) -> Self {
        Self::Given(why)
    }
}

impl From<kube::Error> for Not {
    fn from(error: kube::Error) -> Self {
        Self::Known(Unavailable(causes(&error)))
    }
}

impl Machines {
    /// See [`boot_services::Directory::environment`].
    pub(super) async fn live_environment(
        &self,
        id: ServerId,
    ) -> Result<Result<Booted, NoEnvironment>, Unavailable> {
        match self.permitted(id).await {
            Ok(booted) => Ok(Ok(booted)),
            Err(Not::Given(why)) => Ok(Err(why)),
            Err(Not::Known(unavailable)) => Err(unavailable),
        }
    }

    async fn permitted(&self, id: ServerId) -> Result<Booted, Not> {
        let name = id.to_string();
        let server = Api::<Server>::all(self.client.clone()).get_opt(&name).await?;
        let Some(server) = server else {
            return Err(NoEnvironment::Instead(Answer::Disk(Why::Bound)).into());
        };
        let look = look(&self.client, &name).await?;
        let mut view = boot_view(&server, &self.site, look.claim.is_bound().into());
        view.observed.paused |= look.paused;
        view.observed.orphaned = look.is_orphaned();
        permit(&view, &look.claim, look.config_boots()).map_err(NoEnvironment::Instead)?;
        let environment = chosen(&self.client, &server, &look).await?;
        let name = environment.metadata.name.clone().unwrap_or_default();
        if !is_ready(&environment, &self.data_dir) {
            return Err(NoEnvironment::NotReady(name).into());
        }
        let window = view
            .window
            .filter(|window| window.purpose == Purpose::Environment);
        Ok(Booted {
            name,
            arguments: environment.spec.kernel.unwrap_or_default().args,
            token: window.and_then(|window| self.keys.make(id, &window)),
        })
    }
}

/// The Environment of the Server, else that of the class by which it was taken, else the default one.
async fn chosen(client: &Client, server: &Server, look: &Look) -> Result<Environment, Not> {
    let of_class = match server.spec.environment_ref {
        None => class(client, look.binding.as_ref()).await?,
        Some(_) => None,
    };
    let of_class = of_class.and_then(|class| class.spec.environment_ref);
    let reference = server.spec.environment_ref.as_ref().or(of_class.as_ref());
    let name = reference.and_then(named).unwrap_or(ENVIRONMENT_DEFAULT);
    let environment = Api::<Environment>::all(client.clone()).get_opt(name).await?;
    environment.ok_or_else(|| missing("Environment", name))
}

/// The class by which the Server was taken; none if it was named.
async fn class(client: &Client, binding: Option<&ServerBinding>) -> Result<Option<ServerClass>, Not> {
    let reference = binding.and_then(|binding| binding.spec.server_class_ref.as_ref());
    let Some(name) = reference.and_then(named) else {
        return Ok(None);
    };
    let class = Api::<ServerClass>::all(client.clone()).get_opt(name).await?;
    class.map(Some).ok_or_else(|| missing("ServerClass", name))
}

fn named(reference: &ObjectReference) -> Option<&str> {
    reference.name.as_deref()
}

fn missing(kind: &str, name: &str) -> Not {
    NoEnvironment::Missing(format!("there is no {kind} {name:?}")).into()
}
