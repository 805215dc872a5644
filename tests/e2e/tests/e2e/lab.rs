//! The provisioning network that the test bed makes when asked to.

use std::time::Duration;

use testbed::{Bed, Lab, Program, leftovers};

/// SeaBIOS, iPXE and a lease take 3 s on a quiet machine.
const BOOTS: Duration = Duration::from_mins(1);
const MAC: &str = "52:54:00:77:00:f1";

pub(crate) async fn a_machine_gets_an_address_from_the_site(bed: &Bed) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    lab.tap("smoke")?;
    let capture = lab.capture("smoke").await?;
    let nic = format!("virtio-net-pci,netdev=n0,mac={MAC},bootindex=1");
    let qemu = Program::new("qemu-system-x86_64")
        .args([
            "-M",
            "pc,graphics=off",
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            "128",
        ])
        .args([
            "-display",
            "none",
            "-nodefaults",
            "-no-reboot",
            "-serial",
            "stdio",
        ])
        .args(["-netdev", "tap,id=n0,ifname=smoke,script=no,downscript=no"])
        .args(["-device", &nic]);
    let machine = bed.start_part("smoke-machine", qemu)?;
    let leased = || async {
        let log = lab.site().log()?;
        let mut lines = log.lines().filter(|line| line.contains("DHCPACK(eth0) 10.77.0."));
        Ok(lines.any(|line| line.contains(MAC)).then_some(()))
    };
    bed.wait_for("the machine has an address", BOOTS, &[], leased)
        .await?;
    drop(machine);

    capture.finish()?;
    let from_site = format!("udp and src host {} and src port 67 and dst port 68", Lab::SITE);
    let seen = capture.lines(&from_site)?;
    assert!(seen.len() >= 2, "an offer and an ack of {:?}", capture.lines("")?);
    let other = capture.lines("udp and src port 67 and not src host 10.77.0.2")?;
    assert!(other.is_empty(), "nobody else answers: {other:?}");
    Ok(())
}

pub(crate) async fn a_lab_belongs_to_its_run_and_can_be_made_again(bed: &Bed) -> anyhow::Result<()> {
    let site = format!("network namespace {}", bed.run().network().site_namespace());
    let belongs = || anyhow::Ok(leftovers::find(bed.run().slot())?.contains(&site));
    assert!(!belongs()?, "there is none before it is asked for");
    for _ in 0..2 {
        let lab = Lab::start(bed).await?;
        lab.tap("again")?;
        assert!(belongs()?);
        drop(lab);
        assert!(!belongs()?);
    }
    Ok(())
}
