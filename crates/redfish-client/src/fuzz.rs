//! One entry for fuzzers: every decoder of what a BMC sends.

use hardware_types::BootTarget;
use serde_json::Value;

use crate::messages::Messages;
use crate::resources::{
    Account, ActionInfo, Manager, Page, Service, ServiceRoot, System, TaskProgress, decode,
};

/// Gives `data`, as the body of an answer, to every decoder.
///
/// # Panics
///
/// When a decoder has a defect: it panics itself, or lets a secret through.
pub fn fuzz(data: &[u8]) {
    let messages = Messages::read(data, &["secret"]);
    assert!(
        messages
            .as_slice()
            .iter()
            .all(|message| !message.text.contains("secret"))
    );
    let Ok(json) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let (system, warnings) = decode::<System>(&json);
    assert!(
        system
            .boot
            .is_none_or(|boot| boot.next_boot() != Some(BootTarget::Disk) || boot.target.is_some())
    );
    assert!(
        warnings
            .iter()
            .all(|warning| warning.to_string().contains("want"))
    );
    drop((
        decode::<ServiceRoot>(&json),
        decode::<Page>(&json),
        decode::<Service>(&json),
    ));
    drop((decode::<Manager>(&json), decode::<Account>(&json)));
    drop((decode::<ActionInfo>(&json), decode::<TaskProgress>(&json)));
}
