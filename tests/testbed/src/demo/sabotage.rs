//! Spoils a run of the main job at its source, so that what was promised is not true of it. The verifier must find it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;

use crate::main_job::{Job, Step, server};
use crate::objects::Object;

/// How long the rest of the job may take to get over it.
const SOON: Duration = Duration::from_mins(2);

/// What is spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Sabotage {
    /// A disk that was wiped has old data on it again.
    Wipe,
    /// Somebody switches an available machine on and off.
    Power,
    /// A Node vanishes while its machine runs.
    Node,
    /// A ServerBinding vanishes while its machine runs.
    Release,
}

impl Sabotage {
    /// The step after which it is committed.
    pub(super) const fn when(self) -> Step {
        match self {
            Self::Wipe | Self::Power => Step::Available,
            Self::Node | Self::Release => Step::Running,
        }
    }

    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Wipe => "old data is put back on a disk that was wiped",
            Self::Power => "somebody switches an available machine on and off",
            Self::Node => "a Node is deleted by hand while its machine runs",
            Self::Release => "a ServerBinding is taken away by force while its machine runs",
        }
    }

    pub(super) async fn commit(self, job: &Job<'_>) -> anyhow::Result<()> {
        let (first, last) = (job.all[0], job.all[job.all.len() - 1]);
        match self {
            Self::Wipe => {
                let mark = job.marks[0][0];
                let disk = File::options().write(true).open(job.machines.disk(first))?;
                disk.write_all_at(&mark.bytes(), mark.offset)?;
                Ok(())
            }
            Self::Power => {
                job.machines.power(last, "on").await?;
                job.machines.power(last, "off").await?;
                job.until_each("it is available again", &[last], |_, server| {
                    let (phase, power) = (&server["status"]["phase"], &server["status"]["power"]);
                    ensure!(
                        phase == "Available" && power == "off",
                        "phase {phase}, power {power}"
                    );
                    Ok(())
                })
                .await
            }
            Self::Node => {
                let node = format!("--selector=metal.sidero.dev/uuid={}", last.name());
                job.bed.workload_kubectl(&["delete", "node", &node]).map(drop)
            }
            Self::Release => {
                let infrastructure = "infrastructure.cluster.x-k8s.io/v1alpha3";
                let binding = Object::cluster(infrastructure, "ServerBinding", first.name());
                let uid = async || {
                    let found = binding.get(job.bed.client()).await?;
                    anyhow::Ok(found.and_then(|binding| binding.metadata.uid))
                };
                let before = uid().await?.context("it is not bound")?;
                let free = r#"{"metadata":{"finalizers":null}}"#;
                let patch = ["patch", "serverbinding", first.name(), "--type=merge", "-p", free];
                job.bed.kubectl(&patch)?;
                binding.delete(job.bed.client()).await?;
                let concerned = [binding.clone(), server(first)];
                job.bed
                    .wait_for("its ServerBinding is made again", SOON, &concerned, || async {
                        Ok(uid().await?.filter(|now| *now != before).map(drop))
                    })
                    .await
            }
        }
    }
}
