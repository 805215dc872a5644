use std::time::Duration;

use super::*;
use crate::backend::InMemory;
use crate::config::FleetConfig;
use crate::machine::Origin;
use crate::power_log::EventKind;
use crate::verb::PowerVerb;

const FLEET: &str = "\
version: 1
users:
  - {name: admin, password: admin-secret, role: administrator}
bmcs:
  - name: one
    ipmi: {listen: 127.0.0.1:0}
    machine:
      uuid: 4c4c4544-0039-3010-8048-b7c04f384432
      manufacturer: Metal Corp
      model: Model-X
      serial: SN-1
      firmware: bios
      boot-order: [disk, network]
";

struct Bench {
    bmc: Arc<Bmc>,
    log: Arc<PowerLog>,
    clock: Arc<Clock>,
}

/// The BMC of [`FLEET`], its log, its clock and what its host does.
#[allow(clippy::type_complexity)]
pub(crate) fn bmc() -> (
    Bmc,
    Arc<PowerLog>,
    Arc<Clock>,
    UnboundedReceiver<(Run, HostEvent)>,
) {
    let fleet: FleetConfig = FLEET.parse().unwrap();
    let config = fleet.bmcs[0].clone();
    let (clock, log) = (Arc::new(Clock::start()), Arc::new(PowerLog::new(None)));
    let (events, received) = tokio::sync::mpsc::unbounded_channel();
    let backend = Box::new(InMemory::new(clock.clone(), Duration::from_secs(5), events));
    let users = config.user_table(&fleet.users).unwrap();
    let bmc = Bmc::new(config, users, 0, backend, clock.clone(), log.clone());
    (bmc, log, clock, received)
}

impl Bench {
    fn new() -> Self {
        let (bmc, log, clock, received) = bmc();
        let bmc = Arc::new(bmc);
        let running = bmc.clone();
        tokio::spawn(async move { running.run(received, CancellationToken::new()).await });
        Self { bmc, log, clock }
    }

    fn power(&self, verb: PowerVerb) -> Result<(), CommandError> {
        self.bmc.power(
            verb,
            &Origin::new("admin", "ipmi://127.0.0.1:1"),
            Some(Protocol::Ipmi),
        )
    }

    fn fault(&self, fault: Fault, json: &str) {
        self.bmc
            .set_fault(fault, serde_json::from_str(json).unwrap())
            .unwrap();
    }

    fn bites(&self, fault: Fault) -> u64 {
        self.bmc
            .faults()
            .into_iter()
            .find(|(listed, ..)| *listed == fault)
            .unwrap()
            .2
    }

    fn receive(&self, verb: Verb, protocol: Protocol) -> Fate {
        self.bmc
            .stopped(protocol)
            .unwrap_or_else(|| self.bmc.receive(verb, protocol))
    }

    fn reported(&self) -> PowerState {
        self.bmc.reported_power(Protocol::Ipmi)
    }

    /// The log as `event verb before->after cause`.
    fn lines(&self) -> Vec<String> {
        let text = |entry: &Entry| {
            let event = if entry.event == EventKind::Effect {
                "effect"
            } else {
                "received"
            };
            let after = entry.after.as_deref().unwrap_or("-");
            format!(
                "{event} {} {}->{after} ({})",
                entry.verb, entry.before, entry.cause
            )
        };
        self.log
            .since(0, None, 1000)
            .entries
            .iter()
            .map(|entry| text(entry))
            .collect()
    }

    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_is_logged_when_it_arrives_and_when_it_takes_effect() {
    let bench = Bench::new();
    bench.power(PowerVerb::On).unwrap();
    bench.pass(10).await;
    assert_eq!(bench.power(PowerVerb::On), Ok(()));
    bench.power(PowerVerb::SoftOff).unwrap();
    bench.pass(10).await;
    bench.power(PowerVerb::Off).unwrap_err();
    assert_eq!(
        bench.lines(),
        [
            "received on off->- (accepted)",
            "effect on off->on (command)",
            "effect boot post->disk (boot order)",
            "received on on->- (accepted)",
            "received soft-off on->- (accepted)",
            "effect soft-off on->off (host shut itself down)",
            "received off off->- (refused: the machine is off)",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn effects_are_logged_at_their_time_without_anybody_asking() {
    let bench = Bench::new();
    bench.power(PowerVerb::On).unwrap();
    bench.log.reached(2).await;
    assert_eq!(bench.lines().len(), 3);
    assert!(bench.clock.now() >= Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn a_host_stopped_while_it_shuts_down_does_not_switch_its_successor_off() {
    let bench = Bench::new();
    bench.power(PowerVerb::On).unwrap();
    bench.pass(10).await;
    bench.power(PowerVerb::SoftOff).unwrap();
    bench.power(PowerVerb::Reset).unwrap();
    bench.clock.advance(Duration::from_secs(5));
    bench.pass(60).await;
    assert_eq!(bench.bmc.status().power, PowerState::On);
}

#[tokio::test(start_paused = true)]
async fn loss_hang_and_delay_decide_the_fate_of_a_request() {
    let bench = Bench::new();
    let receive = || bench.receive(Verb::On, Protocol::Ipmi);
    let answered = Fate::Answered {
        delay: Duration::ZERO,
        reply: true,
    };
    assert_eq!(receive(), answered);
    for (fault, json, fate) in [
        (Fault::RequestLoss, r#"{"next": 1}"#, Fate::Lost),
        (Fault::RequestLoss, r#"{"next": 1, "verbs": ["on"]}"#, Fate::Lost),
        (
            Fault::ReplyLoss,
            r#"{"next": 1}"#,
            Fate::Answered {
                delay: Duration::ZERO,
                reply: false,
            },
        ),
        (
            Fault::Delay,
            r#"{"next": 1, "seconds": 0.5}"#,
            Fate::Answered {
                delay: Duration::from_millis(500),
                reply: true,
            },
        ),
        (Fault::Hang, "{}", Fate::Hung),
    ] {
        bench.fault(fault, json);
        assert_eq!(receive(), fate);
        assert!(bench.bites(fault) >= 1);
        bench.bmc.clear_fault(Some(fault));
        assert_eq!(receive(), answered);
    }
    // lost and hung requests never arrived
    assert_eq!(bench.bmc.counters().commands(Verb::On), 8);
    assert_eq!(bench.bites(Fault::RequestLoss), 2);
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_out_a_hang_goes_on_when_it_ends_or_is_cleared() {
    let bench = Bench::new();
    bench.fault(Fault::Hang, r#"{"seconds": 5}"#);
    bench.bmc.hang_over(Protocol::Redfish).await;
    assert!(bench.clock.now() >= Duration::from_secs(5));
    bench.fault(Fault::Hang, "{}");
    tokio::join!(bench.bmc.hang_over(Protocol::Redfish), async {
        bench.bmc.clear_fault(None);
    });
}

#[tokio::test(start_paused = true)]
async fn stale_power_is_reported_for_its_seconds_after_each_edge() {
    let bench = Bench::new();
    bench.fault(Fault::StalePower, r#"{"seconds": 20}"#);
    bench.power(PowerVerb::On).unwrap();
    bench.pass(10).await;
    assert_eq!(
        (bench.reported(), bench.bmc.status().power),
        (PowerState::Off, PowerState::On)
    );
    bench.pass(15).await;
    assert_eq!(bench.reported(), PowerState::On);
    bench.power(PowerVerb::Off).unwrap();
    bench.pass(2).await;
    assert_eq!(bench.reported(), PowerState::On);
    assert_eq!(bench.bites(Fault::StalePower), 2);
}

#[tokio::test(start_paused = true)]
async fn inverted_power_is_reported_until_it_ends() {
    let bench = Bench::new();
    bench.fault(Fault::InvertedPower, r#"{"seconds": 5}"#);
    assert_eq!(bench.reported(), PowerState::On);
    bench.pass(5).await;
    assert_eq!(bench.reported(), PowerState::Off);
    assert_eq!(bench.bites(Fault::InvertedPower), 1);
}

#[tokio::test(start_paused = true)]
async fn an_ignored_command_is_accepted_logged_and_has_no_effect() {
    let bench = Bench::new();
    bench.fault(Fault::IgnoreCommand, r#"{"verbs": ["on"], "next": 1}"#);
    bench.power(PowerVerb::On).unwrap();
    bench.pass(60).await;
    assert_eq!(
        bench.lines(),
        ["received on off->- (accepted (fault ignore-command))"]
    );
    assert_eq!(bench.bites(Fault::IgnoreCommand), 1);
}

#[tokio::test(start_paused = true)]
async fn on_is_refused_for_some_seconds_after_off() {
    let bench = Bench::new();
    bench.fault(Fault::RefuseOn, r#"{"seconds": 30}"#);
    bench.power(PowerVerb::On).unwrap();
    bench.pass(10).await;
    bench.power(PowerVerb::Off).unwrap();
    bench.pass(10).await;
    assert_eq!(bench.power(PowerVerb::On), Err(CommandError::JustOff));
    bench.pass(30).await;
    assert_eq!(bench.power(PowerVerb::On), Ok(()));
    assert_eq!(bench.bites(Fault::RefuseOn), 1);
}

#[tokio::test(start_paused = true)]
async fn a_right_password_is_refused_where_the_fault_says_so() {
    let bench = Bench::new();
    bench.fault(Fault::RefuseLogin, r#"{"next": 1}"#);
    assert!(bench.bmc.refuses_login(Protocol::Ipmi));
    assert!(!bench.bmc.refuses_login(Protocol::Ipmi));
    assert_eq!(bench.bites(Fault::RefuseLogin), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_restarts_or_lost_mains_is_unreachable_and_forgets_its_sessions() {
    let bench = Bench::new();
    let origin = Origin::new("admin", "redfish://127.0.0.1:1");
    let receive = || bench.receive(Verb::GetPower, Protocol::Redfish);
    bench.bmc.reset_bmc(&origin, Protocol::Redfish).unwrap();
    assert_eq!((receive(), bench.bmc.generation()), (Fate::Unreachable, 1));
    bench.pass(31).await;
    assert!(matches!(receive(), Fate::Answered { .. }));
    bench.bmc.mains(false, &origin).unwrap();
    assert_eq!((receive(), bench.bmc.generation()), (Fate::Unreachable, 2));
    bench.bmc.mains(true, &origin).unwrap();
    assert!(matches!(receive(), Fate::Answered { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_changed_password_is_logged_without_itself() {
    let bench = Bench::new();
    let origin = Origin::new("admin", "redfish://127.0.0.1:1");
    let change = |users: &mut Users| users.set_password(2, "new-secret");
    bench
        .bmc
        .change_user(Verb::SetPassword, 2, &origin, Protocol::Redfish, change)
        .unwrap();
    assert!(bench.bmc.authenticate("admin", "new-secret").is_some());
    let lines = bench.lines().join("\n");
    assert!(
        lines.contains("effect set-password user 2: admin administrator enabled"),
        "{lines}"
    );
    assert!(!lines.contains("secret"), "{lines}");
}
