//! Entry points for fuzzing: every decoder of network input, both session machines included. None may panic.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::Duration;

use crate::codec::{
    Datagram, LanMessage, OpenSessionRequest, OpenSessionResponse, Rakp1, Rakp2, Rakp3, Rakp4,
};
use crate::command::{
    AuthCapabilities, BootOptionResponse, ChassisControl, ChassisIdentify, ChassisStatus, CipherSuiteChunk,
    CloseSession, CompletionCode, DeviceId, GetBootOption, GetChannelAuthCapabilities,
    GetChannelCipherSuites, GetLanConfig, GetUserAccess, GetUserName, LanConfig, NetFn, RestartCause,
    SetBootOption, SetSessionPrivilegeLevel, SetUserAccess, SetUserName, SetUserPassword, SystemGuid,
    UserAccess, Wire, suites_in_records,
};
use crate::session::bmc::{Bmc, BmcConfig, Event};
use crate::session::console::{Delivery, Machine, Opening, Session, Step, Timing};
use crate::session::loopback::{Counter, PEER, bmc, converse, credentials};
use crate::types::{CipherSuite, Privilege, UserName};

/// Datagrams, messages and the payloads of the login; what decodes must survive encoding.
pub fn codec(data: &[u8]) {
    let _ = Datagram::decode(data);
    survives(LanMessage::decode(data).ok(), LanMessage::encode, |bytes| {
        LanMessage::decode(bytes).ok()
    });
    survives(
        OpenSessionRequest::decode(data).ok(),
        OpenSessionRequest::encode,
        |bytes| OpenSessionRequest::decode(bytes).ok(),
    );
    survives(
        OpenSessionResponse::decode(data).ok(),
        OpenSessionResponse::encode,
        |bytes| OpenSessionResponse::decode(bytes).ok(),
    );
    survives(Rakp1::decode(data).ok(), Rakp1::encode, |bytes| {
        Rakp1::decode(bytes).ok()
    });
    survives(Rakp2::decode(data).ok(), Rakp2::encode, |bytes| {
        Rakp2::decode(bytes).ok()
    });
    survives(Rakp3::decode(data).ok(), Rakp3::encode, |bytes| {
        Rakp3::decode(bytes).ok()
    });
    survives(Rakp4::decode(data).ok(), Rakp4::encode, |bytes| {
        Rakp4::decode(bytes).ok()
    });
}

/// Data of every request and response; what decodes must survive encoding.
pub fn commands(data: &[u8]) {
    fn wire<T: Wire + PartialEq + Debug>(data: &[u8]) {
        survives(T::decode(data).ok(), T::encode, |bytes| T::decode(bytes).ok());
    }
    let _ = suites_in_records(data);
    wire::<GetChannelAuthCapabilities>(data);
    wire::<AuthCapabilities>(data);
    wire::<GetChannelCipherSuites>(data);
    wire::<CipherSuiteChunk>(data);
    wire::<DeviceId>(data);
    wire::<SystemGuid>(data);
    wire::<SetSessionPrivilegeLevel>(data);
    wire::<Privilege>(data);
    wire::<CloseSession>(data);
    wire::<ChassisStatus>(data);
    wire::<ChassisControl>(data);
    wire::<ChassisIdentify>(data);
    wire::<RestartCause>(data);
    wire::<SetBootOption>(data);
    wire::<GetBootOption>(data);
    wire::<BootOptionResponse>(data);
    wire::<GetUserAccess>(data);
    wire::<UserAccess>(data);
    wire::<SetUserAccess>(data);
    wire::<GetUserName>(data);
    wire::<UserName>(data);
    wire::<SetUserName>(data);
    wire::<SetUserPassword>(data);
    wire::<GetLanConfig>(data);
    wire::<LanConfig>(data);
}

fn survives<T: PartialEq + Debug>(
    value: Option<T>,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Option<T>,
) {
    if let Some(value) = value {
        assert_eq!(decode(&encode(&value)).as_ref(), Some(&value));
    }
}

/// The BMC's machine. The first byte chooses where it stands: fresh, or with an open session; then whether the rest
/// is a datagram, or a message that is put under the session's keys.
pub fn bmc_machine(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let mut counter = Counter(0);
    let Some((mut bmc, session)) = stage(mode & 1 == 1) else {
        return;
    };
    let datagram = match session {
        Some(mut session) if mode & 2 == 2 => session.seal_message(rest),
        _ => rest.to_vec(),
    };
    let output = bmc.receive(&datagram, PEER, Duration::ZERO, &mut counter.source());
    if let Some(Event::Command(request)) = output.event {
        let _ = bmc.respond(&request, CompletionCode::OK, rest, &mut counter.source());
    }
}

/// The console's machine: the rest after the first byte is a datagram for the login, at the message that the first
/// byte chooses, or one in an open session.
pub fn console_machine(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let mut counter = Counter(0);
    let Some((mut bmc, session)) = stage(mode & 1 == 1) else {
        return;
    };
    if let Some(mut session) = session {
        session.start(NetFn::CHASSIS, 1, &[], Delivery::Retry);
        let _ = session.step(Duration::ZERO, &mut counter.source());
        let datagram = if mode & 2 == 2 {
            session.seal_for_console(rest)
        } else {
            rest.to_vec()
        };
        session.receive(&datagram);
        let _ = session.step(Duration::ZERO, &mut counter.source());
        return;
    }
    let Some(mut opening) = opening() else { return };
    for turn in 0..4 {
        let step = opening.step(Duration::ZERO, &mut counter.source());
        if turn == mode >> 1 & 3 {
            opening.receive(rest);
            let _ = opening.step(Duration::ZERO, &mut counter.source());
            return;
        }
        if let Step::Send(datagram) = step {
            let output = bmc.receive(&datagram, PEER, Duration::ZERO, &mut counter.source());
            opening.receive(&output.reply.unwrap_or_default());
        }
    }
}

fn opening() -> Option<Opening> {
    Some(Opening::new(
        credentials("secret").ok()?,
        &[CipherSuite::Suite17],
        Timing::default(),
    ))
}

/// A fresh BMC, or one with an open session. The login is done once: it takes longer than all the rest.
fn stage(with_session: bool) -> Option<(Bmc, Option<Session>)> {
    static OPEN: OnceLock<Option<(Bmc, Session)>> = OnceLock::new();
    let log_in = || {
        let mut bmc = bmc(BmcConfig::default()).ok()?;
        let login = converse(&mut opening()?, &mut bmc, &mut Counter(0), |_| {
            (CompletionCode::OK, Vec::new())
        });
        Some((bmc, login.ok()?))
    };
    if with_session {
        let (bmc, session) = OPEN.get_or_init(log_in).as_ref()?;
        Some((bmc.copy(), Some(session.copy())))
    } else {
        Some((bmc(BmcConfig::default()).ok()?, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata;

    const MUTATIONS: u32 = 20_000;

    /// xorshift64*: seeded, so that a failure repeats.
    struct Seeded(u64);

    impl Seeded {
        fn next(&mut self) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
        }

        fn mutate(&mut self, data: &mut Vec<u8>) {
            for _ in 0..=self.next() % 3 {
                let at = self.next() % (data.len() + 1);
                match self.next() % 4 {
                    0 => data.truncate(at),
                    1 => data.insert(at, self.next() as u8),
                    _ => {
                        if let Some(byte) = data.get_mut(at) {
                            *byte ^= 1 << (self.next() % 8);
                        }
                    }
                }
            }
        }
    }

    fn replay(name: &str, fuzz: fn(&[u8])) {
        let corpus = testdata::lines(name);
        assert!(!corpus.is_empty());
        for (_, data) in &corpus {
            fuzz(data);
        }
        let mut seeded = Seeded(0x1d_aa11);
        for _ in 0..MUTATIONS {
            let mut data = corpus[seeded.next() % corpus.len()].1.clone();
            seeded.mutate(&mut data);
            fuzz(&data);
        }
    }

    #[test]
    fn the_machines_do_get_a_session_to_fuzz() {
        assert!(stage(true).is_some_and(|(bmc, session)| bmc.sessions().count() == 1 && session.is_some()));
    }

    #[test]
    fn codecs_survive_mutated_datagrams() {
        replay("corpus-codec.hex", codec);
    }

    #[test]
    fn commands_survive_mutated_data() {
        replay("corpus-commands.hex", commands);
    }

    #[test]
    fn the_bmc_survives_mutated_datagrams_and_messages() {
        replay("corpus-bmc.hex", bmc_machine);
    }

    #[test]
    fn the_console_survives_mutated_datagrams_and_messages() {
        replay("corpus-console.hex", console_machine);
    }
}
