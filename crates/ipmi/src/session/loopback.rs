//! A console and a BMC that talk without a network and without time passing: for fuzzing and tests.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::bmc::{Bmc, BmcConfig, Event, Request, UserAccount};
use super::console::{Credentials, Machine, Step};
use crate::command::CompletionCode;
use crate::types::{Privilege, Secret, TooLong, UserName};

/// Where every console is.
pub(crate) const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000);

/// Bytes counted up from 1: repeatable.
pub(crate) struct Counter(pub(crate) u8);

impl Counter {
    pub(crate) fn source(&mut self) -> impl FnMut(&mut [u8]) {
        |buffer| {
            for byte in buffer {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
        }
    }
}

/// User `admin` with this password.
pub(crate) fn credentials(password: &str) -> Result<Credentials, TooLong> {
    Ok(Credentials {
        user: UserName::new("admin")?,
        password: Secret::new(password)?,
        kg: None,
        privilege: Privilege::Administrator,
    })
}

/// A BMC with user `admin` in slot 2, password `secret`.
pub(crate) fn bmc(config: BmcConfig) -> Result<Bmc, TooLong> {
    let Credentials {
        user: name,
        password,
        privilege,
        ..
    } = credentials("secret")?;
    let admin = UserAccount {
        name,
        password,
        limit: Some(privilege),
        enabled: true,
    };
    Ok(Bmc::new(config, BTreeMap::from([(2, admin)])))
}

/// Drives `machine` to its end; `answer` carries out the commands.
pub(crate) fn converse<M: Machine>(
    machine: &mut M,
    bmc: &mut Bmc,
    counter: &mut Counter,
    mut answer: impl FnMut(&Request) -> (CompletionCode, Vec<u8>),
) -> M::Output {
    let (mut now, mut random) = (Duration::ZERO, counter.source());
    loop {
        match machine.step(now, &mut random) {
            Step::Done(output) => return output,
            Step::WaitUntil(time) => now = time,
            Step::Send(datagram) => {
                let output = bmc.receive(&datagram, PEER, now, &mut random);
                let reply = match &output.event {
                    Some(Event::Command(request)) => {
                        let (code, data) = answer(request);
                        bmc.respond(request, code, &data, &mut random)
                    }
                    _ => output.reply,
                };
                if let Some(reply) = reply {
                    machine.receive(&reply);
                }
            }
        }
    }
}
