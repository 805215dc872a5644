//! What the agent does, from the first line on the console to the restart.

use std::net::IpAddr;
use std::time::Duration;

use agent_protocol::api::agent_client::AgentClient;
use agent_protocol::api::{
    Address, CreateServerRequest, Order, PollRequest, PollResponse, ReconcileServerAddressesRequest,
};
use agent_protocol::{Registration, Token};
use hardware_types::wipe::Certificate;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

mod wiping;

use crate::Host;
use crate::arguments::ArgumentError;
use crate::inventory::InventoryError;
use crate::network::JoinError;

/// How long one call may take.
const ATTEMPT: Duration = Duration::from_secs(30);
/// When to try again after a refusal.
const AFTER_REFUSAL: Duration = Duration::from_secs(5);
/// Longest pause between attempts to reach the boot services; the first is a second.
const MAX_BACK_OFF: Duration = Duration::from_secs(30);
/// Without a success for so long the machine restarts: it may be told something else by whoever answers its firmware.
const PATIENCE: Duration = Duration::from_mins(10);
/// Pause between polls where the answer names none, and the bounds of what it may name, in seconds.
const POLL: (u32, u32, u32) = (5, 1, 300);
/// Seconds between an error and the restart, for whoever wants to read it.
const COUNTDOWN: u32 = 10;

/// Why the agent cannot do its work.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
    #[error("cannot join the network: {0}")]
    Network(#[from] JoinError),
    #[error("cannot say what this machine is: {0}")]
    Inventory(#[from] InventoryError),
    #[error("cannot talk to the boot services: {0}")]
    Endpoint(#[from] tonic::transport::Error),
    #[error("the boot services gave no good answer for {} min, the last: {last}", PATIENCE.as_secs() / 60)]
    NoSuccess { last: String },
}

/// Runs the machine until it restarts. Whatever happens, it ends by [`Host::reboot`].
pub async fn run(host: &impl Host) {
    match work(host).await {
        Ok(why) => host.say(&format!("restarting: {why}")),
        Err(error) => {
            host.say(&format!("error: {error}"));
            count_down(host).await;
        }
    }
    host.reboot();
}

async fn count_down(host: &impl Host) {
    for left in (1..=COUNTDOWN).rev() {
        host.say(&format!("restarting in {left} s"));
        sleep(Duration::from_secs(1)).await;
    }
}

/// Does as the boot services say, until they say restart; returns why they did.
async fn work(host: &impl Host) -> Result<String, Fatal> {
    let arguments = host.arguments()?;
    host.load_drivers().await;
    let joined = host.join_network(arguments.mac).await?;
    // disks appear while the network is awaited
    host.load_drivers().await;
    let lease = &joined.lease;
    host.say(&format!(
        "{} has the address {}/{} from the DHCP server {}",
        joined.interface, lease.address, lease.prefix, lease.server
    ));
    for trouble in &joined.troubles {
        host.say(&format!("going on without it: {trouble}"));
    }
    let report = Registration {
        hostname: lease.hostname.clone().unwrap_or_default(),
        boot_mac: Some(arguments.mac),
        ..host.inventory().await?
    };
    host.say(&format!(
        "this machine is {}; the boot services are at {}",
        report.id, arguments.endpoint
    ));
    let session = Session {
        host,
        client: AgentClient::new(host.channel(arguments.endpoint)?),
        report,
        token: arguments.token,
        certificate: None,
        last_success: Instant::now(),
        shown: String::new(),
    };
    session.follow().await
}

/// The machine's conversation with the boot services.
struct Session<'a, H> {
    host: &'a H,
    client: AgentClient<Channel>,
    report: Registration,
    /// Proves that the machine may have orders.
    token: Option<Token>,
    /// What the last wipe came to. It is not done twice in one boot.
    certificate: Option<Certificate>,
    last_success: Instant,
    /// The line that was shown last: it is shown again only when it changes.
    shown: String,
}

impl<H: Host> Session<'_, H> {
    async fn follow(mut self) -> Result<String, Fatal> {
        self.register().await?;
        let registered = Instant::now();
        let mut addresses = None;
        loop {
            self.report_addresses(&mut addresses).await;
            let waited = u32::try_from(registered.elapsed().as_secs()).unwrap_or(u32::MAX);
            let Some(answer) = self.poll(waited).await? else {
                self.register().await?;
                addresses = None;
                // not at once: whoever answers polls may learn of the registration later
                sleep(Duration::from_secs(POLL.0.into())).await;
                continue;
            };
            if self.takes(&answer.token) {
                // with it there is another answer
                sleep(Duration::from_secs(POLL.1.into())).await;
                continue;
            }
            match answer.order() {
                Order::Reboot => return Ok(answer.reason),
                Order::Wait => self.show(format!("waiting: {}", answer.reason)),
                Order::Wipe => match answer.wipe.clone().filter(|wipe| wipe.generation > 0) {
                    Some(wipe) => self.wipe(wipe.into()).await?,
                    None => self.show("told to wipe, and not which wipe: nothing is done".into()),
                },
            }
            let (usual, least, most) = POLL;
            let pause = match answer.poll_seconds {
                0 => usual,
                seconds => seconds.clamp(least, most),
            };
            sleep(Duration::from_secs(pause.into())).await;
        }
    }

    /// Takes a token that it did not have.
    fn takes(&mut self, text: &str) -> bool {
        let token = Token::new(text);
        let is_new = token.is_some() && token != self.token;
        if is_new {
            self.token = token;
        }
        is_new
    }

    /// A call, with the token if there is one.
    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value = self
            .token
            .as_ref()
            .map(|token| token.bearer().parse::<AsciiMetadataValue>());
        if let Some(Ok(mut value)) = value {
            // kept out of debug output and of header compression
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    async fn register(&mut self) -> Result<(), Fatal> {
        let request = CreateServerRequest::from(self.report.clone());
        let registered = self.insist("register", request, async |client, request| {
            client.create_server(request).await
        });
        registered.await?;
        self.show("registered".into());
        Ok(())
    }

    /// What to do now; nothing if the boot services do not know the machine.
    async fn poll(&mut self, waited_seconds: u32) -> Result<Option<PollResponse>, Fatal> {
        let request = PollRequest {
            uuid: self.report.id.to_string(),
            boot_mac: self
                .report
                .boot_mac
                .map(|mac| mac.to_string())
                .unwrap_or_default(),
            waited_seconds,
        };
        let answer = self.insist("ask what to do", request, async |client, request| {
            match client.poll(request).await {
                Ok(answer) => Ok(Some(answer.into_inner())),
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(status),
            }
        });
        answer.await
    }

    /// Reports the addresses if they are not those that were `reported`. An error is only shown: a refusal would come
    /// again, and anything else is tried again with the next poll.
    async fn report_addresses(&mut self, reported: &mut Option<Vec<IpAddr>>) {
        let addresses = self.host.addresses().await;
        if reported.as_ref() == Some(&addresses) {
            return;
        }
        let request = ReconcileServerAddressesRequest {
            uuid: self.report.id.to_string(),
            address: addresses
                .iter()
                .map(|address| Address {
                    r#type: "InternalIP".into(),
                    address: address.to_string(),
                })
                .collect(),
        };
        let request = self.call(request);
        let done = match attempt(self.client.reconcile_server_addresses(request)).await {
            Ok(_) => true,
            Err(status) => {
                self.show(format!("cannot report addresses: {}", words(&status)));
                is_refusal(&status)
            }
        };
        if done {
            *reported = Some(addresses);
        }
    }

    /// Makes a call until it succeeds, or nothing has succeeded for [`PATIENCE`].
    async fn insist<M: Clone, T>(
        &mut self,
        what: &str,
        message: M,
        mut call: impl AsyncFnMut(&mut AgentClient<Channel>, Request<M>) -> Result<T, Status>,
    ) -> Result<T, Fatal> {
        let mut back_off = Duration::from_secs(1);
        loop {
            let request = self.call(message.clone());
            let status = match attempt(call(&mut self.client, request)).await {
                Ok(answer) => {
                    self.last_success = Instant::now();
                    return Ok(answer);
                }
                Err(status) => status,
            };
            let words = words(&status);
            self.show(format!("cannot {what}: {words}"));
            let pause = if is_refusal(&status) {
                AFTER_REFUSAL
            } else {
                let pause = back_off;
                back_off = (back_off * 2).min(MAX_BACK_OFF);
                pause
            };
            if self.last_success.elapsed() + pause > PATIENCE {
                return Err(Fatal::NoSuccess { last: words });
            }
            sleep(pause).await;
        }
    }

    fn show(&mut self, line: String) {
        if self.shown != line {
            self.host.say(&line);
            self.shown = line;
        }
    }
}

async fn attempt<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(ATTEMPT, call).await.unwrap_or_else(|_| {
        let seconds = ATTEMPT.as_secs();
        Err(Status::deadline_exceeded(format!("no answer within {seconds} s")))
    })
}

/// Whether the boot services understood and do not want it; anything else may pass by itself.
fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::PermissionDenied | Code::FailedPrecondition | Code::InvalidArgument | Code::ResourceExhausted
    )
}

/// The server's words, with what the transport says beneath where they are its own.
fn words(status: &Status) -> String {
    let mut words = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        source = error.source();
    }
    words
}

#[cfg(test)]
mod tests;
