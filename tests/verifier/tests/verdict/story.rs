//! What happens in a good run.

use serde_json::json;

use crate::run::{A, B, Content, DISK, Host, Run};

impl Run {
    /// Machine A becomes the control plane, B the worker, twice.
    pub(crate) fn good() -> Self {
        let mut run = Self::default();
        for host in [A, B] {
            let Host {
                bmc, server, serial, ..
            } = host;
            run.machines
                .push(json!({"server": server, "bmc": bmc, "disk": {"serial": serial, "bytes": DISK}}));
        }
        run.step(5.0, "plugged-in", [Content::Old; 2]);
        for host in [A, B] {
            let human = ("operator", "control://10.213.0.2:999");
            run.command(6.0, host, human, "on", ("off", "on"));
            run.line(
                7.5,
                host,
                ("machine", "machine"),
                "boot",
                ("post", Some("network")),
                "boot order",
            );
            run.server(15.0, host, "Discovered", None);
        }
        run.step(20.0, "registered", [Content::Old; 2]);
        for host in [A, B] {
            run.server(22.0, host, "Wiping", Some("on"));
            run.wiped(30.0, host);
        }
        run.step(36.0, "available", [Content::Wiped; 2]);
        run.object(
            40.0,
            "Cluster",
            "first",
            "c-first",
            json!({"phase": "Provisioned"}),
        );
        run.take(41.0, A, "control-plane");
        run.take(42.0, B, "worker-1");
        run.step(80.0, "running", [Content::System; 2]);
        run.give_back(90.0, B, "worker-1");
        run.gone(107.5, "Node", B.node, "n-worker-1", json!({"server": B.server}));
        run.step(130.0, "returned", [Content::System, Content::Wiped]);
        run.take(140.0, B, "worker-2");
        run.step(175.0, "running-again", [Content::System; 2]);
        run.object(
            180.0,
            "Cluster",
            "first",
            "c-first",
            json!({"phase": "Deleting", "deleting": true}),
        );
        // the Nodes of a Cluster that is deleted stay
        run.give_back(181.0, A, "control-plane");
        run.give_back(182.0, B, "worker-2");
        run.gone(
            205.0,
            "Cluster",
            "first",
            "c-first",
            json!({"phase": "Deleting", "deleting": true}),
        );
        run.step(225.0, "deleted", [Content::Wiped; 2]);
        // what nobody here knows
        run.object(50.0, "Lease", "leader", "l-1", json!({"holder": "somebody"}));
        run
    }

    fn manager(&mut self, t: f64, host: Host, verb: &str, change: (&str, &str)) {
        self.command(t, host, ("admin", host.source), verb, change);
    }

    fn network_boot(&mut self, t: f64, host: Host) {
        let by = ("admin", host.source);
        self.line(t, host, by, "set-boot", ("off", None), "accepted");
        self.line(
            t,
            host,
            by,
            "set-boot",
            ("none", Some("network once uefi")),
            "command",
        );
        self.manager(t + 0.5, host, "on", ("off", "on"));
        let itself = ("machine", "machine");
        self.line(
            t + 2.0,
            host,
            itself,
            "boot",
            ("post", Some("network")),
            "boot override",
        );
    }

    fn server(&mut self, t: f64, host: Host, phase: &str, power: Option<&str>) {
        let uid = format!("s-{}", host.bmc);
        self.object(
            t,
            "Server",
            host.server,
            &uid,
            json!({"phase": phase, "power": power}),
        );
    }

    /// From the end of a wipe to the pool.
    fn wiped(&mut self, t: f64, host: Host) {
        self.server(t - 0.1, host, "Accepted", Some("on"));
        self.manager(t, host, "off", ("on", "off"));
        self.server(t + 4.0, host, "Available", Some("off"));
    }

    /// A Machine takes a machine, which is a Node after 30 s.
    fn take(&mut self, t: f64, host: Host, name: &str) {
        let uid = |letter: &str| format!("{letter}-{name}");
        let (machine, metal, binding, node) = (uid("m"), uid("mm"), uid("b"), uid("n"));
        let server = host.server;
        self.object(t, "Machine", name, &machine, json!({"phase": "Pending"}));
        self.object(t + 0.2, "MetalMachine", name, &metal, json!({"owner": machine}));
        self.object(
            t + 0.6,
            "ServerBinding",
            server,
            &binding,
            json!({"server": server}),
        );
        self.object(
            t + 0.8,
            "MetalMachine",
            name,
            &metal,
            json!({"owner": machine, "server": server}),
        );
        self.server(t + 1.0, host, "Provisioning", Some("off"));
        self.network_boot(t + 1.5, host);
        self.object(
            t + 5.0,
            "Machine",
            name,
            &machine,
            json!({"phase": "Provisioning", "server": server}),
        );
        let itself = ("machine", "machine");
        self.line(
            t + 15.0,
            host,
            itself,
            "reset",
            ("on", Some("on")),
            "host restarted itself",
        );
        self.object(t + 24.0, "Node", host.node, &node, json!({}));
        self.object(t + 25.0, "Node", host.node, &node, json!({"server": server}));
        self.server(t + 27.0, host, "Provisioned", Some("on"));
        self.object(
            t + 30.0,
            "Machine",
            name,
            &machine,
            json!({"phase": "Running", "server": server, "node": host.node}),
        );
    }

    /// The machine is off after 11 s and free after 15 s; then it is wiped, while its Machine is still there for a moment.
    fn give_back(&mut self, t: f64, host: Host, name: &str) {
        let uid = |letter: &str| format!("{letter}-{name}");
        let (machine, metal, binding) = (uid("m"), uid("mm"), uid("b"));
        let server = host.server;
        let of_machine = json!({"phase": "Deleting", "server": server, "node": host.node, "deleting": true});
        let of_metal = json!({"owner": machine, "server": server, "deleting": true});
        let of_binding = json!({"server": server, "deleting": true});
        self.object(t, "Machine", name, &machine, of_machine.clone());
        self.object(t + 0.3, "MetalMachine", name, &metal, of_metal.clone());
        self.object(t + 0.5, "ServerBinding", server, &binding, of_binding.clone());
        self.server(t + 0.7, host, "Releasing", Some("on"));
        self.manager(t + 10.5, host, "off", ("on", "off"));
        self.gone(t + 15.0, "ServerBinding", server, &binding, of_binding);
        self.server(t + 15.2, host, "Wiping", Some("off"));
        self.gone(t + 15.6, "MetalMachine", name, &metal, of_metal);
        self.network_boot(t + 16.0, host);
        self.gone(t + 18.5, "Machine", name, &machine, of_machine);
        self.wiped(t + 28.0, host);
    }
}
