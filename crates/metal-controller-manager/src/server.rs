//! The Server controller: asks `lifecycle` what may be done, hands power commands to the actors, says what was seen.

pub(crate) mod act;
mod approach;
pub(crate) mod facts;
pub(crate) mod login;
pub(crate) mod observed;
pub(crate) mod request;
pub(crate) mod status;

use std::sync::Arc;
use std::time::Duration;

use controller_runtime::backoff::Backoff;
use controller_runtime::controller::Reconciler;
use controller_runtime::events::Events;
use controller_runtime::writer::{WriteError, Writer};
use crd_types::metal::{Server, ServerStatus};
use crd_types::names::annotations::server::POWERED;
use crd_types::names::{annotations, conditions, events};
use crd_types::{Condition, ConditionStatus};
use hardware_types::PowerAction;
use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt as _};
use lifecycle::power::Intent;
use lifecycle::server::{Act, Phase, Plan, plan};
use lifecycle::{HandsOff, IdentityVerdict, Refusal, Time, hands_off, may_command};
use power_manager::{Info, Report};

use self::approach::Target;
use self::facts::{guid, identify, observe};
use self::login::LoginError;
use self::request::Request;
use self::status::{Contact, Seen};
use crate::bmcs::Bmcs;
use crate::claim::{self, Look};
use crate::intents::{self, Intents};

/// Pause before another look at a Server whose cache lags behind what an actor stored.
const CACHE_LAG: Duration = Duration::from_millis(100);

/// Pause before another look at who has a machine that waits for them to let it go.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The least time that firmware needs from a reset to its first DHCP message. What was seen earlier belongs to the boot
/// before, seen by a replica whose clock may be ahead and rounded to seconds.
const SELF_TEST: Duration = Duration::from_secs(2);

/// Why a Server was not brought further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error("cannot look who has the Server: {0}")]
    Look(#[from] kube::Error),
}

/// The controller's own part, of one term of leadership.
pub(crate) struct Servers {
    pub(crate) client: Client,
    pub(crate) writer: Writer,
    pub(crate) backoff: Backoff,
    pub(crate) events: Events,
    pub(crate) intents: Arc<Intents>,
    pub(crate) bmcs: Bmcs,
    /// When this term began: what was not heard before says nothing.
    pub(crate) since: Time,
}

impl Reconciler for Servers {
    type Object = Server;
    type Error = ServerError;
    const NAME: &'static str = "server";

    fn writer(&self) -> &Writer {
        &self.writer
    }

    fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    async fn reconcile(&self, server: Arc<Server>) -> Result<Action, ServerError> {
        if self.intents.is_behind(&server) {
            return Ok(Action::requeue(CACHE_LAG));
        }
        let view = self.view(&server).await?;
        // another installation's is another one's to hold
        if view.hands_off != Some(HandsOff::Foreign) && self.hold(&server, view.look.claim.is_bound()).await?
        {
            return Ok(Action::await_change());
        }
        let target = if view.leave_alone {
            self.bmcs.stop_asking(&server);
            Target::Not(Contact::Silent)
        } else {
            self.target(&server).await?
        };
        let approach = match &target {
            Target::Approach(approach, _) => Some(&**approach),
            _ => None,
        };
        if self.bmcs.stop_unless(&server, approach).await {
            // What it stored last has to be seen before another one goes on with it.
            return Ok(Action::requeue(CACHE_LAG));
        }
        let (contact, actor) = self.contact(&server, target);
        let request = request::find(&server);
        let intent = intents::stored(&server);
        // A BMC that has not said yet whose it is gets no command (I-13).
        let commands = view.refusal.is_none() && view.info.is_some();
        if let (Some(request), Some(_), true) = (&request, &actor, commands)
            && self.take_up(&server, request, intent.as_ref()).await?
        {
            return Ok(Action::await_change());
        }
        let now = self.bmcs.clock().now();
        let report = actor.as_ref().map(|actor| actor.report());
        let driver = observed::driver(&server, report.as_ref());
        if !view.leave_alone && self.take_word(&server, view.hands_off, driver).await? {
            return Ok(Action::await_change());
        }
        let mut plan = self.plan(&server, &view, report.as_ref(), intent.as_ref(), now);
        let asked = matches!(request, Some(Request::Asked { .. } | Request::Claimed { .. }));
        if let Some(act) = plan.act.take().filter(|act| may_act(act, &view, asked)) {
            match self.carry_out(&server, &act, intent.as_ref()).await? {
                None => return Ok(Action::await_change()),
                Some(why) => {
                    plan.why = why;
                    plan.again = Some(now.after(LOOK_AGAIN));
                }
            }
        }
        if let (Some(actor), true) = (&actor, view.refusal.is_none())
            && let Some(open) = intent.as_ref().filter(|intent| intent.outcome.is_none())
        {
            actor.carry_out(open.clone()).await;
            if shows_reset(&server, open) {
                actor.booted().await;
            }
        }
        // who has it is seen by watches, but for a Cluster's pause, and what the boot services write at its binding
        let look = view.look.claim.is_bound() && plan.phase != Phase::Provisioned;
        let look_again = look.then(|| now.after(LOOK_AGAIN));
        let again = [plan.again, look_again].into_iter().flatten().min();
        self.say(&server, &view, plan, contact, intent.as_ref(), request.as_ref())
            .await?;
        Ok(again.map_or_else(Action::await_change, |again| {
            Action::requeue(again.since(now).max(CACHE_LAG))
        }))
    }
}

/// A Server and its BMC as they are seen at the beginning of a reconcile.
struct View {
    observed: lifecycle::Observed,
    hands_off: Option<HandsOff>,
    refusal: Option<Refusal>,
    /// Who has it.
    look: Look,
    /// Its BMC is not even read.
    leave_alone: bool,
    /// It is being deleted, and nobody has it.
    deleting: bool,
    /// What the BMC says of itself.
    info: Option<Info>,
}

/// What is being deleted is left as it is; a user's request goes before a command of ours, which would replace it.
fn may_act(act: &Act, view: &View, asked: bool) -> bool {
    let waits = asked && matches!(act, Act::Power { .. });
    !view.deleting && !waits
}

/// Whether a human confirms that a BMC with an identity of its own is this machine's.
fn resumed(server: &Server, observed: &lifecycle::Observed) -> bool {
    let asked = server.annotations().get(annotations::request::RESUME);
    asked.is_some_and(|word| word == HandsOff::Conflict.reason())
        && observed.identity == IdentityVerdict::Different
        && hands_off(observed) == Some(HandsOff::Conflict)
}

impl Servers {
    async fn view(&self, server: &Server) -> Result<View, ServerError> {
        let report = self.bmcs.actor(server).map(|actor| actor.report());
        let info = report.as_ref().and_then(|report| report.info.clone());
        let identity = identify(server, info.as_ref(), self.bmcs.servers());
        let look = claim::look(&self.client, &server.name_any()).await?;
        let bound = look.claim.is_bound();
        let alone = observe(server, &self.bmcs.site, identity);
        let observed = lifecycle::Observed {
            paused: alone.paused || look.paused,
            orphaned: look.is_orphaned(),
            unexpectedly_on: observed::is_unexpectedly_on(server, bound, report.as_ref()),
            ..alone
        };
        let hands_off = hands_off(&observed);
        // what somebody has is brought to its release first
        let deleting = server.metadata.deletion_timestamp.is_some() && !bound;
        Ok(View {
            hands_off,
            refusal: may_command(&observed).err(),
            look,
            leave_alone: matches!(hands_off, Some(HandsOff::Paused | HandsOff::Foreign)) || deleting,
            deleting,
            observed,
            info,
        })
    }

    fn plan(
        &self,
        server: &Server,
        view: &View,
        report: Option<&Report>,
        intent: Option<&Intent>,
        now: Time,
    ) -> Plan {
        let gate = view.observed.clone();
        let observed = observed::observed(server, gate, &view.look, report, intent, self.since);
        plan(&observed, now, self.bmcs.timings())
    }

    /// Writes the status, events about what it says anew, and takes in a human's word about an identity.
    async fn say(
        &self,
        server: &Server,
        view: &View,
        plan: Plan,
        contact: Contact,
        intent: Option<&Intent>,
        request: Option<&Request>,
    ) -> Result<(), ServerError> {
        let resumed = resumed(server, &view.observed);
        let identity = view.info.as_ref().and_then(|info| info.identity);
        let seen = Seen {
            server,
            hands_off: view.hands_off,
            plan,
            bound: view.look.claim.is_bound(),
            clean: observed::says_clean(server),
            contact,
            intent,
            request,
            refusal: view.refusal,
            confirmed_guid: identity.filter(|_| resumed).map(guid),
            now: Timestamp::now(),
        };
        let status = status::status(&seen);
        let written = self.writer.status(server, &status).await?;
        if written.is_some() {
            self.tell(server, &status, intent).await;
        }
        if resumed {
            let present = written.as_ref().unwrap_or(server);
            let consumed = [(annotations::request::RESUME, None)];
            self.writer.annotate(present, &consumed).await?;
        }
        Ok(())
    }

    /// Takes a request one step further: claimed, its intent stored, removed. Returns whether something was written.
    async fn take_up(
        &self,
        server: &Server,
        request: &Request,
        previous: Option<&Intent>,
    ) -> Result<bool, ServerError> {
        match request {
            Request::Unknown { .. } => return Ok(false),
            Request::Asked { key, action } => {
                let value = request::claimed(*action, &request::new_id());
                self.writer.annotate(server, &[(key, Some(&value))]).await?;
            }
            Request::Claimed { key, action, id } => {
                let is_stored = previous.is_some_and(|intent| intent.id == *id);
                let powers_on = matches!(action, PowerAction::On | PowerAction::Cycle);
                if is_stored {
                    self.writer.annotate(server, &[(key, None)]).await?;
                } else if powers_on && !server.annotations().contains_key(POWERED) {
                    // Before anything is sent: whoever finds the machine on knows that it is by our will.
                    self.writer.annotate(server, &[(POWERED, Some(id))]).await?;
                } else {
                    let now = self.bmcs.clock().now();
                    let intent = Intent::new(id, *action, None, now, previous);
                    self.intents.begin(server, &intent).await?;
                }
            }
        }
        Ok(true)
    }

    /// Events about what the status says anew.
    async fn tell(&self, server: &Server, status: &ServerStatus, intent: Option<&Intent>) {
        let news = |kind: &str| {
            let now = status::condition(Some(status), kind)?;
            let before = status::condition(server.status.as_ref(), kind);
            let same = |before: &Condition| before.status == now.status && before.reason == now.reason;
            (!before.is_some_and(same)).then_some(now)
        };
        let text = |condition: &Condition| condition.message.clone().unwrap_or_default();
        if let Some(now) = news(conditions::BMC_REACHABLE)
            && now.status == ConditionStatus::False
            && now.reason.as_deref() != Some(conditions::CONNECTING)
        {
            let note = format!("Failed to determine power status: {}", text(now));
            self.events
                .warning(server, events::SERVER_MANAGEMENT, "ReadPower", &note)
                .await;
        }
        let Some(now) = news(conditions::POWER_COMMAND) else {
            return;
        };
        match now.reason.as_deref() {
            Some(conditions::DONE) => {
                let note = match intent.map(|intent| intent.action) {
                    Some(PowerAction::On) => "Server powered on.".to_owned(),
                    Some(PowerAction::Off | PowerAction::SoftOff) => "Server powered off.".to_owned(),
                    Some(PowerAction::Cycle) => "Server power cycled.".to_owned(),
                    Some(PowerAction::Reset) => "Server reset.".to_owned(),
                    None => text(now),
                };
                self.events
                    .normal(server, events::SERVER_MANAGEMENT, "Power", &note)
                    .await;
            }
            Some(conditions::UNCONFIRMED | conditions::INVALID_REQUEST) => {
                self.events
                    .warning(server, events::SERVER_MANAGEMENT, "Power", &text(now))
                    .await;
            }
            _ => {}
        }
    }
}

/// Whether the machine was seen to boot after a reset was sent. DHCP only: iPXE asks again what to boot without a boot.
fn shows_reset(server: &Server, intent: &Intent) -> bool {
    let boot = server.status.as_ref().and_then(|status| status.boot.as_ref());
    let seen = boot.and_then(|boot| boot.dhcp.as_ref());
    let (Some(seen), Some(sent)) = (seen, intent.last_sent) else {
        return false;
    };
    intent.action == PowerAction::Reset && observed::time(&seen.at).since(sent) > SELF_TEST
}

/// Whether credentials of `server` are in `secret`, given as `namespace/name`.
pub(crate) fn refers_to(server: &Server, secret: &str) -> bool {
    let bmc = server.spec.bmc.iter();
    bmc.flat_map(login::references)
        .any(|reference| format!("{}/{}", reference.namespace, reference.name) == secret)
}
