//! Reads one BMC: `cargo run -p ipmi --example status -- 127.0.0.1:623 USER PASSWORD [SUITE]`.

use std::io::Write as _;

use ipmi::client::{Client, Options};
use ipmi::command::{BootParameter, GetBootOption, GetChassisStatus, GetDeviceId};
use ipmi::session::console::{Credentials, Delivery};
use ipmi::{CipherSuite, Privilege, Secret, UserName};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, user, password, suite @ ..] = args.as_slice() else {
        return Err("usage: status ADDRESS:PORT USER PASSWORD [SUITE]".into());
    };
    let mut options = Options::default();
    if let Some(number) = suite.first() {
        let suite = CipherSuite::from_number(number.parse()?);
        options.suites =
            vec![suite.ok_or_else(|| format!("cipher suite {number} is not spoken: want 17 or 3"))?];
    }
    let credentials = Credentials {
        user: UserName::new(user)?,
        password: Secret::new(password)?,
        kg: None,
        privilege: Privilege::Operator,
    };
    let mut client = Client::open(address.parse()?, credentials, options).await?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{}, GUID {:02x?}",
        client.session().suite(),
        client.session().guid()
    )?;
    let id = client.send(&GetDeviceId, Delivery::Retry).await?;
    writeln!(
        out,
        "manufacturer {}, product {}, firmware {}",
        id.manufacturer,
        id.product,
        id.firmware()
    )?;
    writeln!(
        out,
        "{:?}",
        client.send(&GetChassisStatus, Delivery::Retry).await?
    )?;
    let flags = client
        .send(&GetBootOption::from(BootParameter::FLAGS), Delivery::Retry)
        .await;
    match flags {
        Ok(flags) => writeln!(out, "{:?}", flags.option)?,
        Err(error) => writeln!(out, "boot flags: {error}")?,
    }
    client.close().await?;
    Ok(())
}
