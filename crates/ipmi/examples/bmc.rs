//! The smallest BMC: `cargo run -p ipmi --example bmc -- 127.0.0.1:6230 [RECORD]`, then
//! `ipmitool -I lanplus -H 127.0.0.1 -p 6230 -U admin -P secret -C 17 chassis status`.
//!
//! With RECORD every datagram is appended to that file in hex (`>` received, `<` sent), and all random numbers are
//! repeatable up from 1, so that a recording can be replayed. Never use it so outside tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::UdpSocket;
use std::time::Instant;

use ipmi::command::{
    BootFlags, BootOption, BootOptionResponse, BootParameter, ChassisControl, ChassisStatus, CompletionCode,
    DeviceId, GetBootOption, GetChassisStatus, GetDeviceId, LastPowerEvent, RestorePolicy, SetBootOption,
    Wire,
};
use ipmi::session::bmc::{Bmc, BmcConfig, Event, Request, UserAccount};
use ipmi::{Privilege, Secret, UserName};

type Answer = Result<Vec<u8>, CompletionCode>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let socket = UdpSocket::bind(args.next().ok_or("usage: bmc ADDRESS:PORT [RECORD]")?)?;
    let mut record = match args.next() {
        Some(path) => Some(std::fs::File::options().create(true).append(true).open(path)?),
        None => None,
    };
    let mut counter = 0u8;
    let repeatable = record.is_some();
    let mut random = |buffer: &mut [u8]| {
        if repeatable {
            buffer.fill_with(|| {
                counter = counter.wrapping_add(1);
                counter
            });
        } else {
            rand::fill(buffer);
        }
    };

    let admin = UserAccount {
        name: UserName::new("admin")?,
        password: Secret::new("secret")?,
        limit: Some(Privilege::Administrator),
        enabled: true,
    };
    let mut bmc = Bmc::new(BmcConfig::default(), BTreeMap::from([(2, admin)]));
    let mut machine = Machine::default();
    let start = Instant::now();
    let mut buffer = [0; 1024];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        log(record.as_mut(), '>', &buffer[..length])?;
        let mut output = bmc.receive(&buffer[..length], peer, start.elapsed(), &mut random);
        if let Some(Event::Command(request)) = &output.event {
            let (code, data) = match machine.answer(request) {
                Ok(data) => (CompletionCode::OK, data),
                Err(code) => (code, Vec::new()),
            };
            output.reply = bmc.respond(request, code, &data, &mut random);
        }
        if let Some(event) = &output.event {
            writeln!(std::io::stderr(), "{event:?}")?;
        }
        if let Some(reply) = &output.reply {
            log(record.as_mut(), '<', reply)?;
            socket.send_to(reply, peer)?;
        }
    }
}

fn log(record: Option<&mut std::fs::File>, direction: char, datagram: &[u8]) -> std::io::Result<()> {
    let Some(file) = record else { return Ok(()) };
    let mut line = String::from(direction);
    line.push(' ');
    for byte in datagram {
        let _ = write!(line, "{byte:02x}");
    }
    writeln!(file, "{line}")
}

#[derive(Default)]
struct Machine {
    on: bool,
    flags: BootFlags,
}

impl Machine {
    fn answer(&mut self, request: &Request) -> Answer {
        if request.parse::<GetDeviceId>().is_some() {
            return Ok(device_id().encode());
        }
        if request.parse::<GetChassisStatus>().is_some() {
            return Ok(self.status().encode());
        }
        if let Some(control) = request.parse::<ChassisControl>() {
            self.on = match control.map_err(|_| CompletionCode::INVALID_FIELD)? {
                ChassisControl::PowerDown | ChassisControl::SoftShutdown => false,
                ChassisControl::PowerUp | ChassisControl::PowerCycle => true,
                ChassisControl::HardReset | ChassisControl::DiagnosticInterrupt => self.on,
            };
            return Ok(Vec::new());
        }
        if let Some(set) = request.parse::<SetBootOption>() {
            if let BootOption::Flags(flags) = set.map_err(|_| CompletionCode::INVALID_FIELD)?.option {
                self.flags = flags;
            }
            return Ok(Vec::new());
        }
        if let Some(get) = request.parse::<GetBootOption>() {
            let get = get.map_err(|_| CompletionCode::INVALID_FIELD)?;
            let option = BootOption::Flags(self.flags);
            return match get.parameter {
                BootParameter::FLAGS => Ok(BootOptionResponse {
                    invalid: false,
                    option,
                }
                .encode()),
                _ => Err(CompletionCode::SPECIFIC_80),
            };
        }
        Err(CompletionCode::INVALID_COMMAND)
    }

    fn status(&self) -> ChassisStatus {
        ChassisStatus {
            power_on: self.on,
            overload: false,
            interlock: false,
            fault: false,
            control_fault: false,
            restore_policy: RestorePolicy::StayOff,
            last_event: LastPowerEvent::default(),
            misc: 0,
            front_panel: None,
        }
    }
}

fn device_id() -> DeviceId {
    DeviceId {
        device_id: 0x20,
        device_revision: 1,
        provides_sdrs: false,
        initializing: false,
        firmware_major: 2,
        firmware_minor: 0x15,
        ipmi_version: 0x02,
        support: 0x80,
        manufacturer: 0,
        product: 1,
        auxiliary: None,
    }
}
