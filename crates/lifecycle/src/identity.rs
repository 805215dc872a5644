//! Whether the BMC behind an address belongs to the machine that we mean.

use hardware_types::ServerId;
use uuid::Uuid;

/// How a BMC names its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BmcIdentity {
    /// Redfish `ComputerSystem.UUID` (DSP0268).
    RedfishSystem(Uuid),
    /// IPMI Get System GUID or Get Device GUID (IPMI 2.0 §22.14, §20.8), bytes as received.
    IpmiGuid([u8; 16]),
}

/// What a BMC's identity says of the Server that points at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentityVerdict {
    /// It says nothing: absent, all zeros, all ones, or repeated by many BMCs.
    Unknown,
    /// It is this machine.
    Same,
    /// An IPMI GUID that is nobody's we know: a human decides once.
    Different,
    /// It is another machine.
    Contradicts,
}

/// Compares what a BMC says with the Server it is configured for (invariant I-13).
///
/// `others` are the other Servers; an IPMI GUID contradicts only when it is one of theirs, since many BMCs invent one.
/// A UUID is compared in RFC 4122, SMBIOS (first three fields little-endian) and fully reversed byte order.
pub fn compare_identity<'a>(
    server: ServerId,
    identity: Option<BmcIdentity>,
    others: impl IntoIterator<Item = &'a ServerId>,
) -> IdentityVerdict {
    let (uuid, is_redfish) = match identity {
        None => return IdentityVerdict::Unknown,
        Some(BmcIdentity::RedfishSystem(uuid)) => (uuid, true),
        Some(BmcIdentity::IpmiGuid(bytes)) => (Uuid::from_bytes(bytes), false),
    };
    if uuid.is_nil() || uuid.is_max() {
        return IdentityVerdict::Unknown;
    }
    let orders = byte_orders(uuid);
    let is = |id: &ServerId| orders.contains(&id.uuid());
    if is(&server) {
        IdentityVerdict::Same
    } else if is_redfish || others.into_iter().any(is) {
        IdentityVerdict::Contradicts
    } else {
        IdentityVerdict::Different
    }
}

/// The orders in which firmware is known to write the same sixteen bytes.
fn byte_orders(uuid: Uuid) -> [Uuid; 3] {
    let mut reversed = *uuid.as_bytes();
    reversed.reverse();
    [
        uuid,
        Uuid::from_bytes_le(*uuid.as_bytes()),
        Uuid::from_bytes(reversed),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> ServerId {
        text.parse().unwrap()
    }

    const OURS: &str = "4c4c4544-0039-3010-8048-b7c04f384432";
    const THEIRS: &str = "4c4c4544-0039-3010-8048-b7c04f384433";

    #[test]
    fn a_guid_is_ours_in_any_byte_order_that_firmware_writes() {
        for uuid in byte_orders(server(OURS).uuid()) {
            for identity in [
                BmcIdentity::IpmiGuid(uuid.into_bytes()),
                BmcIdentity::RedfishSystem(uuid),
            ] {
                assert_eq!(
                    compare_identity(server(OURS), Some(identity), &[server(THEIRS)]),
                    IdentityVerdict::Same
                );
            }
        }
    }

    #[test]
    fn nothing_zeros_and_ones_are_no_identity() {
        for identity in [
            None,
            Some(BmcIdentity::IpmiGuid([0; 16])),
            Some(BmcIdentity::RedfishSystem(Uuid::max())),
        ] {
            assert_eq!(
                compare_identity(server(OURS), identity, &[]),
                IdentityVerdict::Unknown
            );
        }
    }

    #[test]
    fn a_redfish_uuid_that_differs_contradicts_and_a_guid_only_when_it_is_anothers() {
        let theirs = server(THEIRS).uuid();
        let redfish = Some(BmcIdentity::RedfishSystem(theirs));
        let ipmi = Some(BmcIdentity::IpmiGuid(theirs.to_bytes_le()));
        assert_eq!(
            compare_identity(server(OURS), redfish, &[]),
            IdentityVerdict::Contradicts
        );
        assert_eq!(
            compare_identity(server(OURS), ipmi, &[]),
            IdentityVerdict::Different
        );
        assert_eq!(
            compare_identity(server(OURS), ipmi, &[server(THEIRS)]),
            IdentityVerdict::Contradicts
        );
    }
}
