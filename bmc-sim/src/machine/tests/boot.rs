//! The boot override and what the firmware makes of it.

use super::*;

#[derive(Default)]
struct Moody {
    ignores: bool,
    forgets: bool,
    post: Option<Post>,
}

impl Firmware for Moody {
    fn post(&mut self, usual: Duration) -> Post {
        self.post.unwrap_or(Post {
            duration: usual,
            resets: 0,
            spends_override: false,
        })
    }
    fn ignores_override(&mut self) -> bool {
        self.ignores
    }
    fn forgets_override_set_while_off(&mut self) -> bool {
        self.forgets
    }
}

#[test]
fn a_one_time_override_is_for_one_boot() {
    let mut bench = Bench::new(settings());
    bench.pxe(0);
    assert_eq!(bench.machine.next_boot(), Some(BootDevice::Network));
    assert_eq!(bench.boot(1), Some(BootDevice::Network));
    assert_eq!(bench.machine.next_boot(), Some(BootDevice::Disk));
    assert_eq!(bench.boot(100), Some(BootDevice::Disk));
}

#[test]
fn a_persistent_override_is_for_every_boot_and_lapses_only_before_the_first() {
    let mut bench = Bench::new(settings());
    bench.set_boot(0, BootDevice::Network, true, true);
    assert_eq!(bench.boot(1), Some(BootDevice::Network));
    assert_eq!(bench.boot(1000), Some(BootDevice::Network));

    let mut bench = Bench::new(settings());
    bench.set_boot(0, BootDevice::Network, true, true);
    assert_eq!(bench.boot(61), Some(BootDevice::Disk));
}

#[test]
fn ipmi_boot_flags_lapse_after_sixty_seconds_and_redfish_overrides_do_not() {
    for (lapses, booted) in [(true, BootDevice::Disk), (false, BootDevice::Network)] {
        let mut bench = Bench::new(settings());
        bench.set_boot(0, BootDevice::Network, false, lapses);
        bench.at(59, Event::Tick).unwrap();
        assert_eq!(bench.machine.next_boot(), Some(BootDevice::Network));
        bench.at(60, Event::Tick).unwrap();
        assert_eq!(bench.boot(61), Some(booted));
    }
}

#[test]
fn a_chassis_control_command_starts_the_sixty_seconds_anew() {
    let mut bench = Bench::running();
    bench.pxe(20);
    bench.power(79, PowerVerb::Off).unwrap();
    bench.at(138, Event::Tick).unwrap();
    assert_eq!(bench.machine.next_boot(), Some(BootDevice::Network));
    bench.at(139, Event::Tick).unwrap();
    assert_eq!(bench.machine.next_boot(), Some(BootDevice::Disk));
}

#[test]
fn a_self_test_of_two_minutes_does_not_outlast_the_flags() {
    let mut settings = settings();
    settings.timings.post = secs(120);
    let mut bench = Bench::new(settings);
    bench.pxe(0);
    bench.power(1, PowerVerb::On).unwrap();
    bench.at(200, Event::Tick).unwrap();
    assert_eq!(bench.machine.booted(), Some(BootDevice::Network));
}

#[test]
fn parameter_3_keeps_flags_past_the_timeout_and_over_the_power_button() {
    let keep = FlagClearing(0x09);
    for (clearing, booted) in [
        (FlagClearing::default(), BootDevice::Disk),
        (keep, BootDevice::Network),
    ] {
        let mut bench = Bench::new(settings());
        bench.at(0, Event::SetFlagClearing(clearing)).unwrap();
        bench.pxe(0);
        bench.at(100, Event::Tick).unwrap();
        assert_eq!(bench.boot(100), Some(booted));

        bench.pxe(200);
        bench.at(201, Event::ButtonShort(admin())).unwrap();
        bench.at(230, Event::Tick).unwrap();
        assert_eq!(bench.machine.booted(), Some(booted));
        assert_eq!(bench.machine.restart_cause(), RestartCause::PowerButton);
    }
}

#[test]
fn an_override_for_the_other_firmware_mode_is_passed_over_and_used_up() {
    let mut bench = Bench::new(settings());
    let boot = Some(Override {
        device: BootDevice::Network,
        persistent: false,
        mode: BootMode::Uefi,
    });
    bench
        .at(
            0,
            Event::SetBoot {
                boot,
                lapses: false,
                origin: admin(),
            },
        )
        .unwrap();
    assert_eq!(bench.machine.next_boot(), Some(BootDevice::Disk));
    assert_eq!(bench.boot(1), Some(BootDevice::Disk));
    assert_eq!(bench.machine.boot_override(), None);
}

#[test]
fn a_firmware_that_ignores_the_override_uses_it_up() {
    let mut bench = Bench::new(settings());
    let mut firmware = Moody {
        ignores: true,
        ..Moody::default()
    };
    bench.pxe(0);
    bench
        .with(0, Event::Power(PowerVerb::On, admin()), &mut firmware)
        .unwrap();
    bench.with(50, Event::Tick, &mut firmware).unwrap();
    assert_eq!(
        bench.edges[2..],
        [
            "11 machine set-boot: network once bios -> none (used)",
            "11 machine boot: post -> disk (boot order; override ignored)"
        ]
    );
}

#[test]
fn an_override_set_while_off_reads_back_and_is_lost_at_power_on() {
    let mut bench = Bench::new(settings());
    let mut firmware = Moody {
        forgets: true,
        ..Moody::default()
    };
    bench.pxe(0);
    assert!(bench.machine.boot_override().is_some());
    bench
        .with(0, Event::Power(PowerVerb::On, admin()), &mut firmware)
        .unwrap();
    bench.with(1, Event::Tick, &mut firmware).unwrap();
    assert_eq!(bench.machine.boot_override(), None);
    // one set while it is on is kept
    bench.pxe(2);
    bench.with(50, Event::Tick, &mut firmware).unwrap();
    assert_eq!(bench.machine.booted(), Some(BootDevice::Network));
}

#[test]
fn a_double_reset_in_post_spends_a_one_time_override_or_not() {
    for (spends_override, booted) in [(true, BootDevice::Disk), (false, BootDevice::Network)] {
        let mut bench = Bench::new(settings());
        let post = Post {
            duration: secs(30),
            resets: 2,
            spends_override,
        };
        let mut firmware = Moody {
            post: Some(post),
            ..Moody::default()
        };
        bench.pxe(0);
        bench
            .with(0, Event::Power(PowerVerb::On, admin()), &mut firmware)
            .unwrap();
        bench.with(30, Event::Tick, &mut firmware).unwrap();
        assert_eq!(bench.machine.booted(), None);
        bench.with(31, Event::Tick, &mut firmware).unwrap();
        assert_eq!(bench.machine.booted(), Some(booted));
        let resets = bench
            .edges
            .iter()
            .filter(|edge| edge.contains("firmware reset in POST"))
            .count();
        assert_eq!(resets, 2);
    }
}

#[test]
fn an_on_that_starts_nothing_does_not_hold_the_flags() {
    let mut bench = Bench::running();
    bench.pxe(20);
    bench.power(30, PowerVerb::On).unwrap();
    bench.at(90, Event::Tick).unwrap();
    assert_eq!(bench.machine.next_boot(), Some(BootDevice::Disk));
}

#[test]
fn flags_held_for_a_boot_that_is_broken_off_lapse() {
    let mut bench = Bench::new(settings());
    bench.pxe(0);
    bench.power(0, PowerVerb::On).unwrap();
    bench.at(5, Event::ButtonLong(admin())).unwrap();
    bench.at(65, Event::Tick).unwrap();
    assert_eq!(bench.machine.boot_override(), None);
}

#[test]
fn parameter_3_counts_when_the_time_is_up() {
    let mut bench = Bench::new(settings());
    bench.pxe(0);
    bench
        .at(30, Event::SetFlagClearing(FlagClearing::KEEP_AFTER_TIMEOUT))
        .unwrap();
    bench.at(1000, Event::Tick).unwrap();
    assert_eq!(bench.machine.next_boot(), Some(BootDevice::Network));
}
