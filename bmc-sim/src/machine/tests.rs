mod boot;

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn settings() -> Settings {
    Settings {
        timings: Timings {
            on: secs(1),
            off: secs(2),
            cycle_pause: secs(1),
            post: secs(10),
            flag_lapse: secs(60),
        },
        boot_order: vec![BootDevice::Disk, BootDevice::Network],
        firmware: BootMode::Bios,
        policy: PowerPolicy::AlwaysOff,
        plugged_in: true,
    }
}

fn admin() -> Origin {
    Origin::new("admin", "ipmi://127.0.0.1:1")
}

/// A machine with the edges it has shown, for tests that read like a log.
struct Bench {
    machine: Machine,
    edges: Vec<String>,
    actions: Vec<Action>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Self {
            machine: Machine::new(settings),
            edges: vec![],
            actions: vec![],
        }
    }

    fn running() -> Self {
        let mut bench = Self::new(settings());
        bench.power(0, PowerVerb::On).unwrap();
        bench.at(20, Event::Tick).unwrap();
        bench.edges.clear();
        bench.actions.clear();
        bench
    }

    fn at(&mut self, now: u64, event: Event) -> Result<(), Refusal> {
        self.with(now, event, &mut Faithful)
    }

    fn with(&mut self, now: u64, event: Event, firmware: &mut impl Firmware) -> Result<(), Refusal> {
        let (outputs, result) = self.machine.handle(event, secs(now), firmware);
        for output in outputs {
            match output {
                Output::Edge(Edge {
                    at,
                    verb,
                    before,
                    after,
                    cause,
                    origin,
                }) => self.edges.push(format!(
                    "{} {} {verb}: {before} -> {after} ({cause})",
                    at.as_secs(),
                    origin.actor
                )),
                Output::Action(action) => self.actions.push(action),
            }
        }
        result
    }

    fn power(&mut self, now: u64, verb: PowerVerb) -> Result<(), Refusal> {
        self.at(now, Event::Power(verb, admin()))
    }

    fn pxe(&mut self, now: u64) {
        self.set_boot(now, BootDevice::Network, false, true);
    }

    fn set_boot(&mut self, now: u64, device: BootDevice, persistent: bool, lapses: bool) {
        let boot = Some(Override {
            device,
            persistent,
            mode: BootMode::Bios,
        });
        self.at(
            now,
            Event::SetBoot {
                boot,
                lapses,
                origin: admin(),
            },
        )
        .unwrap();
    }

    /// Switches on, waits out the self test, tells what booted, switches off.
    fn boot(&mut self, now: u64) -> Option<BootDevice> {
        self.power(now, PowerVerb::On).unwrap();
        self.at(now + 20, Event::Tick).unwrap();
        let booted = self.machine.booted();
        self.power(now + 21, PowerVerb::Off).unwrap();
        self.at(now + 30, Event::Tick).unwrap();
        booted
    }
}

#[test]
fn power_on_passes_through_powering_on_and_post_to_a_boot_from_the_first_device() {
    let mut bench = Bench::new(settings());
    bench.power(0, PowerVerb::On).unwrap();
    assert_eq!(bench.machine.power(), PowerState::PoweringOn);
    bench.at(1, Event::Tick).unwrap();
    assert_eq!(bench.machine.power(), PowerState::On);
    assert!(bench.machine.in_post());
    bench.at(11, Event::Tick).unwrap();
    assert_eq!(bench.machine.booted(), Some(BootDevice::Disk));
    assert_eq!(
        bench.edges,
        [
            "1 admin on: off -> on (command)",
            "11 machine boot: post -> disk (boot order)"
        ]
    );
    assert_eq!(
        bench.actions,
        [Action::PowerOn {
            order: vec![BootDevice::Disk, BootDevice::Network]
        }]
    );
    assert_eq!(bench.machine.restart_cause(), RestartCause::ChassisControl);
}

#[test]
fn power_off_takes_its_time_and_stops_the_host() {
    let mut bench = Bench::running();
    bench.power(20, PowerVerb::Off).unwrap();
    assert_eq!(bench.machine.power(), PowerState::PoweringOff);
    assert_eq!(bench.power(21, PowerVerb::On), Err(Refusal::PoweringOff));
    bench.at(22, Event::Tick).unwrap();
    assert_eq!(bench.machine.power(), PowerState::Off);
    assert_eq!(bench.edges, ["22 admin off: on -> off (command)"]);
    assert_eq!(bench.actions, [Action::PowerOff]);
}

#[test]
fn commands_that_ask_for_what_is_so_make_no_edge() {
    let mut bench = Bench::running();
    bench.power(20, PowerVerb::On).unwrap();
    assert_eq!(bench.edges, [""; 0]);
    bench.power(20, PowerVerb::Off).unwrap();
    bench.power(21, PowerVerb::Off).unwrap();
    bench.at(30, Event::Tick).unwrap();
    assert_eq!(bench.edges, ["22 admin off: on -> off (command)"]);
}

#[test]
fn an_off_machine_refuses_off_soft_off_cycle_and_reset() {
    for verb in [
        PowerVerb::Off,
        PowerVerb::SoftOff,
        PowerVerb::Cycle,
        PowerVerb::Reset,
    ] {
        let mut bench = Bench::new(settings());
        assert_eq!(bench.power(0, verb), Err(Refusal::Off), "{verb:?}");
        bench.at(100, Event::Tick).unwrap();
        assert_eq!(bench.edges, [""; 0]);
    }
}

#[test]
fn off_takes_back_an_on_that_has_not_happened_yet() {
    let mut bench = Bench::new(settings());
    bench.power(0, PowerVerb::On).unwrap();
    bench.power(0, PowerVerb::Off).unwrap();
    bench.at(100, Event::Tick).unwrap();
    assert_eq!(bench.edges, [""; 0]);
    assert_eq!(bench.machine.power(), PowerState::Off);
}

#[test]
fn off_stays_the_last_word_when_it_interrupts_a_cycle() {
    let mut bench = Bench::running();
    bench.power(20, PowerVerb::Cycle).unwrap();
    bench.power(21, PowerVerb::Off).unwrap();
    bench.at(100, Event::Tick).unwrap();
    assert_eq!(bench.edges, ["22 admin cycle: on -> off (command)"]);
    assert_eq!(bench.machine.power(), PowerState::Off);
}

#[test]
fn cycle_is_off_and_on() {
    let mut bench = Bench::running();
    bench.power(20, PowerVerb::Cycle).unwrap();
    bench.at(100, Event::Tick).unwrap();
    assert_eq!(
        bench.edges,
        [
            "22 admin cycle: on -> off (command)",
            "24 admin cycle: off -> on (command)",
            "34 machine boot: post -> disk (boot order)"
        ]
    );
}

#[test]
fn each_reset_restarts_the_host_once() {
    let mut bench = Bench::running();
    bench.power(20, PowerVerb::Reset).unwrap();
    bench.power(21, PowerVerb::Reset).unwrap();
    bench.at(100, Event::Tick).unwrap();
    assert_eq!(
        bench.edges,
        [
            "20 admin reset: on -> on (command)",
            "21 admin reset: on -> on (command)",
            "31 machine boot: post -> disk (boot order)"
        ]
    );
}

#[test]
fn soft_off_is_the_hosts_to_carry_out() {
    let mut bench = Bench::running();
    bench.power(20, PowerVerb::SoftOff).unwrap();
    assert_eq!(bench.actions, [Action::ShutDown]);
    assert_eq!(bench.machine.power(), PowerState::On);
    bench.at(25, Event::HostOff).unwrap();
    assert_eq!(
        bench.edges,
        ["25 admin soft-off: on -> off (host shut itself down)"]
    );
}

#[test]
fn soft_off_in_post_is_accepted_and_never_happens() {
    let mut bench = Bench::new(settings());
    bench.power(0, PowerVerb::On).unwrap();
    bench.power(5, PowerVerb::SoftOff).unwrap();
    bench.at(100, Event::Tick).unwrap();
    assert!(!bench.actions.contains(&Action::ShutDown));
    assert_eq!(bench.machine.power(), PowerState::On);
}

#[test]
fn a_host_that_ends_by_itself_is_logged_as_the_machine() {
    let mut bench = Bench::running();
    bench.at(30, Event::HostReset).unwrap();
    assert_eq!(bench.machine.restart_cause(), RestartCause::SoftReset);
    bench.at(50, Event::HostOff).unwrap();
    assert_eq!(
        bench.edges,
        [
            "30 machine reset: on -> on (host restarted itself)",
            "40 machine boot: post -> disk (boot order)",
            "50 machine off: on -> off (host shut itself down)"
        ]
    );
}

#[test]
fn the_last_reset_is_the_last_time_the_host_began_anew() {
    let mut bench = Bench::new(settings());
    assert_eq!(bench.machine.last_reset(), None);
    bench.power(0, PowerVerb::On).unwrap();
    bench.at(20, Event::Tick).unwrap();
    assert_eq!(bench.machine.last_reset(), Some(secs(1)));
    bench.power(30, PowerVerb::Reset).unwrap();
    assert_eq!(bench.machine.last_reset(), Some(secs(30)));
    bench.at(50, Event::HostReset).unwrap();
    assert_eq!(bench.machine.last_reset(), Some(secs(50)));
    bench.at(70, Event::HostOff).unwrap();
    assert_eq!(bench.machine.last_reset(), Some(secs(50)));
}

#[test]
fn the_power_button_asks_a_running_host_and_forces_it_when_held() {
    let mut bench = Bench::running();
    bench.at(20, Event::ButtonShort(admin())).unwrap();
    assert_eq!(bench.actions, [Action::ShutDown]);
    bench.at(30, Event::ButtonLong(admin())).unwrap();
    bench.at(40, Event::Tick).unwrap();
    assert_eq!(bench.edges, ["32 admin button-long: on -> off (power button)"]);
    assert_eq!(bench.at(41, Event::ButtonLong(admin())), Err(Refusal::Off));
}

#[test]
fn mains_power_that_returns_restores_what_the_policy_says() {
    for (policy, power) in [
        (PowerPolicy::AlwaysOff, PowerState::Off),
        (PowerPolicy::Previous, PowerState::On),
        (PowerPolicy::AlwaysOn, PowerState::On),
    ] {
        let mut bench = Bench::running();
        bench.at(20, Event::SetPolicy(policy, admin())).unwrap();
        bench.pxe(20);
        bench.at(21, Event::Unplug(admin())).unwrap();
        assert_eq!(bench.power(22, PowerVerb::On), Err(Refusal::Unplugged));
        assert_eq!(bench.at(22, Event::ButtonShort(admin())), Err(Refusal::Unplugged));
        assert_eq!(
            bench.machine.boot_override(),
            None,
            "IPMI boot flags are in the BMC's memory"
        );
        bench.at(23, Event::PlugIn(admin())).unwrap();
        bench.at(50, Event::Tick).unwrap();
        assert_eq!(bench.machine.power(), power, "{policy:?}");
    }
}

#[test]
fn a_machine_that_was_off_stays_off_under_previous() {
    let mut bench = Bench::new(Settings {
        policy: PowerPolicy::Previous,
        plugged_in: false,
        ..settings()
    });
    bench.at(1, Event::PlugIn(admin())).unwrap();
    bench.at(50, Event::Tick).unwrap();
    assert_eq!(bench.edges, ["1 admin plug-in: unplugged -> off (mains)"]);
}

#[test]
fn what_fell_due_in_one_long_step_happens_in_order_at_its_own_times() {
    let mut bench = Bench::running();
    bench.pxe(20);
    bench.power(30, PowerVerb::Off).unwrap();
    bench.at(10_000, Event::Tick).unwrap();
    assert_eq!(
        bench.edges[1..],
        [
            "32 admin off: on -> off (command)",
            "90 machine set-boot: network once bios -> none (boot flags lapsed)"
        ]
    );
}

#[test]
fn transitions_that_take_no_time_are_over_at_once() {
    let zero = Duration::ZERO;
    let timings = Timings {
        on: zero,
        off: zero,
        cycle_pause: zero,
        post: zero,
        flag_lapse: secs(60),
    };
    let mut bench = Bench::new(Settings {
        timings,
        ..settings()
    });
    bench.power(0, PowerVerb::On).unwrap();
    assert_eq!(bench.machine.booted(), Some(BootDevice::Disk));
    bench.power(0, PowerVerb::Cycle).unwrap();
    assert_eq!(bench.machine.booted(), Some(BootDevice::Disk));
    assert_eq!(bench.edges.len(), 5);
}

fn event() -> impl Strategy<Value = Event> {
    let verb = prop_oneof![
        Just(PowerVerb::On),
        Just(PowerVerb::Off),
        Just(PowerVerb::SoftOff),
        Just(PowerVerb::Cycle),
        Just(PowerVerb::Reset)
    ];
    let device = prop_oneof![
        Just(BootDevice::Network),
        Just(BootDevice::Disk),
        Just(BootDevice::Setup)
    ];
    let mode = prop_oneof![Just(BootMode::Bios), Just(BootMode::Uefi)];
    let boot = (device, any::<bool>(), mode).prop_map(|(device, persistent, mode)| Override {
        device,
        persistent,
        mode,
    });
    prop_oneof![
        4 => verb.prop_map(|verb| Event::Power(verb, admin())),
        2 => (proptest::option::of(boot), any::<bool>())
            .prop_map(|(boot, lapses)| Event::SetBoot { boot, lapses, origin: admin() }),
        1 => Just(Event::ButtonShort(admin())),
        1 => Just(Event::ButtonLong(admin())),
        1 => Just(Event::PlugIn(admin())),
        1 => Just(Event::Unplug(admin())),
        1 => Just(Event::HostOff),
        1 => Just(Event::HostReset),
        1 => Just(Event::BmcReset),
        3 => Just(Event::Tick),
    ]
}

proptest! {
    /// Power edges tell the whole story: replayed, they give the state; time never goes back; the machine never
    /// stays behind its deadlines; the host runs exactly when the back end was told so; a used override is gone.
    #[test]
    fn edges_tell_the_whole_story(steps in proptest::collection::vec((0u64..40, event()), 1..60)) {
        let mut machine = Machine::new(settings());
        let (mut now, mut last_edge) = (Duration::ZERO, Duration::ZERO);
        let (mut told, mut host_runs) = ("off".to_owned(), false);
        let mut overridden = "none".to_owned();
        for (step, event) in steps {
            now += secs(step);
            let host_ended = matches!(event, Event::HostOff | Event::HostReset);
            let (outputs, _) = machine.handle(event, now, &mut Faithful);
            for output in outputs {
                match output {
                    Output::Edge(edge) => {
                        prop_assert!(edge.at >= last_edge && edge.at <= now);
                        last_edge = edge.at;
                        match edge.verb {
                            Verb::SetBoot => {
                                prop_assert_eq!(&edge.before, &overridden);
                                overridden = edge.after;
                            }
                            Verb::Boot => prop_assert_eq!(told.as_str(), "on"),
                            _ => {
                                prop_assert_eq!(&edge.before, &told);
                                told = edge.after;
                            }
                        }
                    }
                    Output::Action(Action::PowerOn { order }) => {
                        prop_assert!(!host_runs && !order.is_empty());
                        host_runs = true;
                    }
                    Output::Action(Action::PowerOff) => host_runs = false,
                    Output::Action(Action::ShutDown) => prop_assert!(host_runs),
                }
            }
            if host_ended {
                host_runs = machine.booted().is_some();
            }
            prop_assert_eq!(host_runs, machine.booted().is_some());
            prop_assert!(machine.next_deadline().is_none_or(|due| due > now));
            prop_assert_eq!(&overridden, &machine.boot_override().map_or("none".to_owned(), |b| b.to_string()));
            let on = machine.booted().is_some() || machine.in_post() || machine.power() == PowerState::PoweringOff;
            prop_assert_eq!(told.as_str(), if on { "on" } else if machine.plugged_in() { "off" } else { "unplugged" });
        }
    }
}
