//! Runs the DHCP proxy and TFTP by themselves: `boot_services ENDPOINT-ADDRESS API-PORT TFTP-FOLDER`. Prints what it sees.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use boot_protocols::dhcp::Site;
use boot_services::sightings::{Sighting, Sightings};
use boot_services::{dhcp, tftp};
use tokio_util::sync::CancellationToken;

struct Print;

impl Sightings for Print {
    #[expect(clippy::print_stdout, reason = "its whole purpose")]
    fn seen(&self, sighting: &Sighting<'_>) {
        println!("{sighting:?}");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &str| {
        arguments
            .next()
            .ok_or_else(|| format!("argument {name} is missing"))
    };
    let site = Site {
        endpoint: next("ENDPOINT-ADDRESS")?.parse::<Ipv4Addr>()?,
        api_port: next("API-PORT")?.parse()?,
    };
    let files = tftp::Files::of(Path::new(&next("TFTP-FOLDER")?))?;
    let stop = CancellationToken::new();
    let proxy = dhcp::serve(
        dhcp::Sockets::bind(site.endpoint)?,
        site,
        dhcp::Quotas::default(),
        dhcp::Metrics::default(),
        Arc::new(Print),
        stop.clone(),
    );
    let loaders = tftp::serve(
        tftp::bind(site.endpoint)?,
        files,
        tftp::Metrics::default(),
        Arc::new(Print),
        stop,
    );
    tokio::join!(proxy, loaders);
    Ok(())
}
