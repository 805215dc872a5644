//! The QEMU machine protocol, as much of it as power takes: two commands, one event.

use std::io;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::backend::HostEvent;

/// A connection with one QEMU.
pub(super) struct Qmp {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

/// A line of QEMU. The greeting has none of these.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    event: String,
    data: Data,
    #[serde(rename = "return")]
    answer: Option<serde::de::IgnoredAny>,
    error: Option<QmpError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    reason: String,
}

#[derive(Debug, Deserialize)]
struct QmpError {
    desc: String,
}

impl Qmp {
    /// Speaks to a QEMU that has just started and is paused: leaves negotiation and lets it run. It answers when all
    /// its devices are there; an error is its end.
    pub(super) async fn start(stream: UnixStream) -> io::Result<Self> {
        let (reader, writer) = stream.into_split();
        let lines = BufReader::new(reader).lines();
        let mut qmp = Self { lines, writer };
        qmp.execute("qmp_capabilities").await?;
        while parse(&qmp.line().await?)?.answer.is_none() {}
        qmp.execute("cont").await?;
        Ok(qmp)
    }

    /// Presses the machine's ACPI power button.
    pub(super) async fn power_button(&mut self) -> io::Result<()> {
        self.execute("system_powerdown").await
    }

    /// Sends a command; its answer is read by [`Self::host_event`].
    async fn execute(&mut self, command: &str) -> io::Result<()> {
        let line = format!("{{\"execute\": \"{command}\"}}\n");
        self.writer.write_all(line.as_bytes()).await
    }

    /// Waits until the guest shuts down or resets; an error is the end of the connection. May be cancelled at any time.
    pub(super) async fn host_event(&mut self) -> io::Result<HostEvent> {
        loop {
            if let Some(event) = host_event(&self.line().await?)? {
                return Ok(event);
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let line = self.lines.next_line().await?;
        line.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Reads a line; a command that was refused is told in the log.
fn parse(line: &str) -> io::Result<Message> {
    let message: Message = serde_json::from_str(line)?;
    if let Some(QmpError { desc }) = &message.error {
        tracing::warn!(error = desc, "QEMU refused a command");
    }
    Ok(message)
}

/// What a line of QEMU says about the host.
fn host_event(line: &str) -> io::Result<Option<HostEvent>> {
    let message: Message = serde_json::from_str(line)?;
    if let Some(QmpError { desc }) = message.error {
        tracing::warn!(error = desc, "QEMU refused a command");
    }
    Ok(
        (message.event == "SHUTDOWN").then_some(match message.data.reason.as_str() {
            "guest-reset" => HostEvent::Restarted,
            _ => HostEvent::ShutDown,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shutdown_and_reset_of_the_guest_are_told_apart() {
        for (line, wanted) in [
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#,
                Some(HostEvent::Restarted),
            ),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}"#,
                Some(HostEvent::ShutDown),
            ),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-panic"}}"#,
                Some(HostEvent::ShutDown),
            ),
            (
                r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}"#,
                None,
            ),
            (r#"{"return": {}}"#, None),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#,
                None,
            ),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "POWERDOWN"}"#,
                None,
            ),
            (r#"{"error": {"class": "CommandNotFound", "desc": "no"}}"#, None),
        ] {
            assert_eq!(host_event(line).unwrap(), wanted, "{line}");
        }
        assert!(host_event("qemu: hello").is_err());
    }

    #[tokio::test]
    async fn it_lets_a_paused_qemu_run_and_presses_its_button() {
        let (ours, qemu) = UnixStream::pair().unwrap();
        let (reader, mut writer) = qemu.into_split();
        let mut asked = BufReader::new(reader).lines();
        let greeting = "{\"QMP\": {}}\n{\"return\": {}}\n";
        writer.write_all(greeting.as_bytes()).await.unwrap();
        let mut qmp = Qmp::start(ours).await.unwrap();
        qmp.power_button().await.unwrap();
        for command in ["qmp_capabilities", "cont", "system_powerdown"] {
            let line = asked.next_line().await.unwrap().unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line["execute"], command);
        }
        let event =
            "{\"return\": {}}\n{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-shutdown\"}}\n";
        writer.write_all(event.as_bytes()).await.unwrap();
        assert_eq!(qmp.host_event().await.unwrap(), HostEvent::ShutDown);
        drop((writer, asked));
        assert!(qmp.host_event().await.is_err());
    }
}
