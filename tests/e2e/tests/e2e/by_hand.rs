//! A machine without a BMC: its whole life, in which a human presses the buttons that its Server names. The machine is this
//! test.

use std::time::Duration;

use anyhow::{Context, ensure};
use testbed::Bed;

use crate::claims::site::{METAL_PORT, Site};
use crate::environments::{Mirror, until_ready};
use crate::played::{Played, agent_files};
use crate::registration::mac;

const SERVER: &str = "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c00bb";
const SOON: Duration = Duration::from_mins(1);

pub(crate) async fn without_a_bmc_a_machine_lives_its_whole_life_by_the_buttons_that_it_names(
    bed: &Bed,
) -> anyhow::Result<()> {
    agent_files(bed, METAL_PORT)?;
    let site = Site::start_with_metal(bed, "hand", SERVER).await?;
    let mirror = Mirror::start(bed).await?;
    mirror.environment(bed, "by-hand", "vmlinuz", "").await?;
    until_ready(bed, "by-hand").await?;
    let services = site.services();

    // somebody switches it on: it registers, and is accepted while its agent waits
    let mut machine = Played::registers(&services, SERVER, mac(0xbb), &["sda"]).await?;
    machine.accept(bed)?;
    wipes(&mut machine).await?;
    site.until_reads(SERVER, "Available", "no BMC can say whether it is off")
        .await?;

    // taken: it names the button, and how far it is once that was pressed
    site.label(SERVER)?;
    site.class(Some("by-hand")).await?;
    site.cluster("hand", &["hand"]).await?;
    site.until_taken("hand").await?;
    site.until_reads(
        SERVER,
        "Provisioning",
        "switch the machine on and have it boot from the network",
    )
    .await?;
    let script = site
        .asks_until(SERVER, mac(0xbb), "kernel /env/by-hand/vmlinuz")
        .await?;
    site.until_reads(SERVER, "Provisioning", "loads its cluster's system")
        .await?;
    let config = fetch(&services, &script, SERVER).await?;
    ensure!(
        config.contains("type: controlplane"),
        "no machine config: {config}"
    );
    site.until_reads(SERVER, "Provisioning", "it fetched its machine config")
        .await?;
    site.node(SERVER).await?;
    site.until_running("hand").await?;
    site.until_reads(SERVER, "Provisioned", "its Node was seen")
        .await?;
    site.asks_until(SERVER, mac(0xbb), "exit").await?;

    // given back: a restart ends it, since nobody's system runs then
    site.delete_machine("hand").await?;
    site.until_reads(SERVER, "Releasing", "switch it off and say so by annotation")
        .await?;
    site.asks_until(SERVER, mac(0xbb), "gives it back").await?;
    site.until_gone("hand").await?;
    site.until_reads(
        SERVER,
        "Wiping",
        "switch the machine on and have it boot from the network",
    )
    .await?;
    machine.boots_again(SOON).await?;
    wipes(&mut machine).await?;
    site.until_reads(SERVER, "Available", "no BMC can say whether it is off")
        .await?;
    site.delete_cluster("hand").await?;
    site.end().await
}

async fn wipes(machine: &mut Played) -> anyhow::Result<()> {
    let generation = machine.until_ordered().await?;
    machine.beats(generation).await??;
    let done = machine.reports(generation, &["sda"]).await?;
    ensure!(done.done, "{done:?}");
    Ok(())
}

/// The machine config, as the kernel arguments of a script say where to fetch it.
async fn fetch(services: &str, script: &str, server: &str) -> anyhow::Result<String> {
    let url = script.split("talos.config=").nth(1);
    let url = url.and_then(|rest| rest.split_whitespace().next());
    let url = url.context("the script has no talos.config")?;
    let query = url.split_once("/configdata").context("no /configdata")?.1;
    let answer = reqwest::get(format!("{services}/configdata{query}{server}")).await?;
    Ok(answer.text().await?)
}
