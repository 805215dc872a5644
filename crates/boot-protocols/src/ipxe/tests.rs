use proptest::prelude::*;

use super::*;

fn endpoint() -> Endpoint {
    Endpoint::new("10.77.0.3", 8081).unwrap()
}

#[test]
fn the_first_script_asks_over_its_own_nic_then_over_each_and_then_reboots() {
    let golden = include_str!("../../testdata/boot.ipxe");
    assert_eq!(boot(&endpoint()).to_string(), golden);
}

#[test]
fn endpoints_print_as_a_url_has_them() {
    for (host, printed) in [
        ("10.77.0.3", "10.77.0.3:8081"),
        ("fd77::3", "[fd77::3]:8081"),
        ("[fd77::3]", "[fd77::3]:8081"),
        ("metal.example.com", "metal.example.com:8081"),
    ] {
        assert_eq!(Endpoint::new(host, 8081).unwrap().to_string(), printed);
    }
    for host in ["", "a b", "a/b", "${uuid}", "a..b", "::g", "a\nb", "10.77.0.3:80"] {
        let error = Endpoint::new(host, 8081).unwrap_err().to_string();
        assert!(error.contains(&format!("{host:?}")), "{error}");
    }
}

#[test]
fn a_kernel_gets_its_arguments_as_they_are() {
    let arguments = [
        "console=tty0 console=ttyS0",
        "talos.config=http://10.77.0.3:8081/configdata?uuid=${uuid}",
        "a=b&&c",
    ];
    let script = kernel("default", arguments).unwrap().to_string();
    assert_eq!(
        script,
        "#!ipxe\nkernel /env/default/vmlinuz console=tty0 console=ttyS0 \
         talos.config=http://10.77.0.3:8081/configdata?uuid=${uuid} a=b&&c\n\
         initrd /env/default/initramfs.xz\nboot\n"
    );
}

#[test]
fn arguments_that_ipxe_would_change_are_refused_by_name() {
    for argument in [
        "a=${serial}",
        "a=${net0/${uuid}}",
        "a=$${uuid}{serial}",
        "a=1 || reboot",
        "a=1 && shell",
        "a=1 # rest",
        "#",
        "a=1\nreboot",
        "a=1\rreboot",
        "a=1\0",
        "a=1\\",
    ] {
        let error = kernel("default", [argument]).unwrap_err().to_string();
        assert!(error.contains(&format!("{argument:?}")), "{error}");
    }
}

#[test]
fn an_environment_is_one_path_segment() {
    for name in ["", "..", "a/b", "A", "a b", "${uuid}", "a\n"] {
        let error = kernel(name, []).unwrap_err().to_string();
        assert!(error.contains(&format!("{name:?}")), "{error}");
    }
}

#[test]
fn the_disk_is_reached_in_three_ways() {
    assert_eq!(disk(DiskMethod::IpxeExit).unwrap().to_string(), "#!ipxe\nexit\n");
    assert_eq!(disk(DiskMethod::Http404), None);
    assert_eq!(
        disk(DiskMethod::IpxeSanboot).unwrap().to_string(),
        "#!ipxe\niseq ${platform} efi && goto exit ||\nsanboot --no-describe --drive 0x80\n:exit\nexit\n"
    );
}

#[test]
fn who_waits_says_why_and_asks_again_with_the_same_query() {
    let script = wait(
        "wipe of generation 3 is due\nsee the Server",
        15,
        "uuid=1&mac=52-54-00-77-00-01",
    );
    assert_eq!(
        script.to_string(),
        "#!ipxe\necho metal: wipe of generation 3 is due\necho metal: see the Server\n:wait\nsleep 15\n\
         chain --replace /ipxe?uuid=1&mac=52-54-00-77-00-01 || goto wait\n"
    );
}

#[test]
fn an_explanation_is_read_and_not_run() {
    let script =
        explanation("environment \u{201e}x\u{201c} ${serial} || reboot && shell # $${x}{y} \\\n-n\\")
            .to_string();
    assert_eq!(
        script,
        "#!ipxe\necho metal: environment ?x? $ {serial} or reboot and shell no. $$ {x}{y}\necho metal: -n\nsleep 10\nexit\n"
    );
}

/// Whether iPXE would see a command, a setting or a joined line in the rest of an `echo` or `chain` line.
fn inert(rest: &str) -> bool {
    !rest.contains("${")
        && !rest.ends_with('\\')
        && rest.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && !rest
            .split_whitespace()
            .any(|word| matches!(word, "&&" | "||" | "#"))
}

proptest! {
    #[test]
    fn foreign_text_never_becomes_a_command(why in any::<String>(), tricky in "[$&|#{}\\\\ \n\r\tab]{0,80}", asked in any::<String>()) {
        for text in [why, tricky] {
            let script = wait(&text, 5, &asked).to_string();
            let lines: Vec<_> = script.lines().collect();
            let (head, tail) = lines.split_at(lines.len() - 3);
            prop_assert_eq!(head[0], "#!ipxe");
            for line in &head[1..] {
                let rest = line.strip_prefix("echo metal: ").unwrap();
                prop_assert!(inert(rest), "{}", line);
            }
            prop_assert_eq!(&tail[..2], [":wait", "sleep 5"]);
            let url = tail[2].strip_prefix("chain --replace ").unwrap().strip_suffix(" || goto wait").unwrap();
            prop_assert!(inert(url) && !url.contains(' '), "{}", url);
        }
    }

    #[test]
    fn an_accepted_argument_stays_on_its_line(argument in "[$&|#{}\\\\ \n\r\tab=]{0,40}") {
        if let Ok(script) = kernel("e", [argument.as_str()]) {
            let script = script.to_string();
            prop_assert_eq!(script.lines().count(), 4);
            let line = script.lines().nth(1).unwrap();
            prop_assert!(inert(line.strip_prefix("kernel /env/e/vmlinuz ").unwrap()), "{}", line);
        }
    }
}
