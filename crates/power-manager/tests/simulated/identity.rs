//! What BMCs say of themselves, and what they speak.

use std::net::SocketAddr;
use std::time::Duration;

use bmc_sim::fault::{Fault, Spec};
use hardware_types::{BootMode, BootTarget};
use lifecycle::power::{BootOrder, OverrideSeen};
use lifecycle::{IdentityVerdict, Trouble, compare_identity};
use power_manager::driver::{Choice, Undecided, probe};
use power_manager::{Bmc, BootSetting};
use redfish_client::{Credentials, Options, Secret, TlsPolicy, Transport};

use crate::world::{Driver, IPMI_TIMING, World, told, with_each_driver};

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_says_who_made_it_and_which_machine_it_belongs_to() {
    let world = World::new().await;
    let server = world.member("one").bmc.config().machine.uuid;
    with_each_driver(async |driver| {
        let handle = world.start("one", driver);
        let report = told(&handle, |report| report.info.is_some()).await;
        let info = report.info.unwrap();
        assert_eq!(
            compare_identity(server, info.identity, &[]),
            IdentityVerdict::Same,
            "{driver:?}"
        );
        assert!(info.firmware.is_some() && info.vendor.is_some(), "{info:?}");
        if driver == Driver::Redfish {
            assert_eq!(info.vendor.as_deref(), Some("Metal Corp"));
        }
    })
    .await;
}

async fn probed(
    world: &World,
    redfish: redfish_client::Endpoint,
    ipmi: SocketAddr,
    policy: &TlsPolicy,
) -> Result<Choice, Undecided> {
    let transport = Transport::new(policy).unwrap();
    let options = Options {
        request_timeout: Duration::from_secs(2),
        ..Options::default()
    };
    let gate = world.gate();
    probe("127.0.0.1", redfish, ipmi, transport, options, IPMI_TIMING, &gate).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_a_trusted_redfish_service_is_redfish_and_an_untrusted_one_shows_its_fingerprint() {
    let world = World::new().await;
    let ipmi = world.member("one").ipmi.unwrap();
    let trusted = probed(&world, world.redfish(), ipmi, &TlsPolicy::Insecure).await;
    assert_eq!(trusted, Ok(Choice::Redfish(world.redfish())));
    let untrusted = probed(&world, world.redfish(), ipmi, &TlsPolicy::Undecided)
        .await
        .unwrap_err();
    let Undecided::NotTrusted { fingerprint, .. } = &untrusted else {
        panic!("{untrusted}")
    };
    assert_eq!(fingerprint.len(), 95);
    assert!(
        untrusted
            .to_string()
            .contains(&format!("bmc.tls.fingerprint: {fingerprint}"))
    );
    // the line that the text shows is the one that works
    let pinned = TlsPolicy::Pinned(fingerprint.parse().unwrap());
    assert!(probed(&world, world.redfish(), ipmi, &pinned).await.is_ok());
    assert_eq!(
        world.member("one").bmc.counters().logins_started,
        0,
        "probing shows no password"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_redfish_is_ipmi_if_it_answers_a_ping_and_undecided_if_not() {
    let world = World::new().await;
    let nothing: redfish_client::Endpoint = "redfish://127.0.0.1:1".parse().unwrap();
    let ipmi = world.member("two").ipmi.unwrap();
    let found = probed(&world, nothing.clone(), ipmi, &TlsPolicy::Undecided).await;
    assert_eq!(found, Ok(Choice::Ipmi));
    world.fault("two", Fault::Hang, Spec::default());
    let silent = probed(&world, nothing, ipmi, &TlsPolicy::Undecided)
        .await
        .unwrap_err();
    assert!(
        matches!(&silent, Undecided::Failed { error, .. } if error.trouble() == Some(Trouble::Unreachable)),
        "{silent}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_trusts_is_its_own_trouble_and_no_password_is_shown() {
    let world = World::new().await;
    let gate = world.gate();
    let mut bmc = world.redfish_bmc("admin-secret", &TlsPolicy::Undecided, gate);
    let error = bmc.read(false).await.unwrap_err();
    assert_eq!(error.trouble(), Some(Trouble::Certificate));
    assert!(error.to_string().contains("fingerprint"), "{error}");
    assert_eq!(world.member("one").bmc.counters().logins_started, 0);
}

async fn override_comes_and_goes(mut bmc: impl Bmc) {
    let order = BootOrder {
        target: BootTarget::Pxe,
        mode: Some(BootMode::Uefi),
    };
    assert_eq!(bmc.read_boot().await.unwrap(), BootSetting::None);
    assert_eq!(bmc.set_boot(order).await.unwrap(), OverrideSeen::AsSet);
    assert!(
        matches!(bmc.read_boot().await.unwrap(), BootSetting::Once(read) if read.target == BootTarget::Pxe)
    );
    bmc.clear_boot().await.unwrap();
    assert_eq!(bmc.read_boot().await.unwrap(), BootSetting::None);
    bmc.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_override_is_set_read_and_cleared() {
    let world = World::new().await;
    override_comes_and_goes(world.ipmi_bmc("one", "admin-secret", world.gate())).await;
    override_comes_and_goes(world.redfish_bmc("admin-secret", &TlsPolicy::Insecure, world.gate())).await;
    let unreadable = Spec {
        next: Some(1),
        ..Spec::default()
    };
    world.fault("one", Fault::UnreadableOverride, unreadable);
    let mut bmc = world.ipmi_bmc("one", "admin-secret", world.gate());
    assert_eq!(bmc.read_boot().await.unwrap(), BootSetting::Unreadable);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_that_the_bmc_refuses_is_an_error_and_not_unsupported() {
    let world = World::new().await;
    let viewer = Credentials {
        username: "viewer".into(),
        password: Secret::new("viewer-secret"),
    };
    let mut bmc = World::redfish_bmc_at(world.redfish(), viewer, &TlsPolicy::Insecure, world.gate());
    let order = BootOrder {
        target: BootTarget::Pxe,
        mode: None,
    };
    let error = bmc.set_boot(order).await.unwrap_err();
    assert!(error.to_string().contains("not permitted"), "{error}");
    bmc.close().await;
}
