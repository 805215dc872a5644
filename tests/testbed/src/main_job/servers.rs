//! What a user applies to have machines of the lab accepted: a Secret, and each Server with its BMC.

use std::net::Ipv4Addr;

use crate::lab::Machine;

const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata: {namespace: default, name: rack1-bmc}
stringData: {user: admin, pass: admin-secret}
";

const SERVER: &str = "\
---
apiVersion: metal.sidero.dev/v1alpha2
kind: Server
metadata: {name: NAME}
spec:
  accepted: true
  bmc:
    endpoint: ENDPOINT
    userFrom: {secretKeyRef: {namespace: default, name: rack1-bmc, key: user}}
    passFrom: {secretKeyRef: {namespace: default, name: rack1-bmc, key: pass}}
";
/// The simulator's certificate is new at each start. A real BMC's fingerprint goes into `tls.fingerprint`.
const REDFISH: &str = "    tls: {insecureSkipVerify: true}\n";
/// Its class says otherwise, for the other ones.
const BIOS: &str = "  configPatches: [{op: add, path: /machine/install, value: {disk: DEVICE}}]\n";

/// The YAML of it, for a run with this address.
pub fn servers(machines: &[Machine], address: Ipv4Addr) -> String {
    let mut yaml = SECRET.to_owned();
    for machine in machines {
        let own = if machine.has_bios() { BIOS } else { REDFISH };
        let server = [SERVER, own].concat();
        yaml.push_str(
            &server
                .replace("NAME", machine.name())
                .replace("ENDPOINT", &machine.bmc_endpoint(address))
                .replace("DEVICE", machine.disk_device()),
        );
    }
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_is_accepted_with_its_own_bmc() {
        let yaml = servers(&Machine::BOTH, Ipv4Addr::LOCALHOST);
        let objects = crate::objects::parse(&yaml).unwrap();
        assert_eq!(objects.len(), 3);
        for (machine, server) in Machine::BOTH.into_iter().zip(&objects[1..]) {
            assert_eq!(server.metadata.name.as_deref(), Some(machine.name()));
            let bmc = &server.data["spec"]["bmc"];
            assert_eq!(bmc["endpoint"], machine.bmc_endpoint(Ipv4Addr::LOCALHOST));
            assert_eq!(bmc["tls"].is_null(), machine.has_bios());
        }
    }
}
