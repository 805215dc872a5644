//! What a user asks for by annotation, and how far it got.
//!
//! A request is claimed first: its value is rewritten to `<verb> <id>`. Then the intent of that id is stored, then the
//! annotation is removed. Wherever a process dies in between, its successor finds the id and does the rest, once.

use crd_types::metal::Server;
use crd_types::names::annotations::request::{POWER, REBOOT};
use hardware_types::PowerAction;
use kube::ResourceExt as _;

/// The first request that a Server carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Nobody took it up.
    Asked {
        /// The annotation.
        key: &'static str,
        /// What is asked for.
        action: PowerAction,
    },
    /// Its intent has this id, whether or not it is stored yet.
    Claimed {
        /// The annotation.
        key: &'static str,
        /// What is asked for.
        action: PowerAction,
        /// Id of the intent.
        id: String,
    },
    /// Nothing that can be done.
    Unknown {
        /// What is wrong with it, for the user.
        why: String,
    },
}

/// One that was claimed goes first: two claims at a time would each take the other's intent for missing.
pub(crate) fn find(server: &Server) -> Option<Request> {
    let read = |key: &'static str, parse: fn(&str) -> Option<PowerAction>| {
        let value = server.annotations().get(key)?;
        Some(one(key, value, parse))
    };
    let all = [read(POWER, power), read(REBOOT, |_| Some(PowerAction::Reset))];
    let mut requests: Vec<_> = all.into_iter().flatten().collect();
    requests.sort_by_key(|request| match request {
        Request::Claimed { .. } => 0,
        Request::Asked { .. } => 1,
        Request::Unknown { .. } => 2,
    });
    requests.into_iter().next()
}

fn power(word: &str) -> Option<PowerAction> {
    let action = word.parse().ok()?;
    [PowerAction::On, PowerAction::Off, PowerAction::Cycle]
        .contains(&action)
        .then_some(action)
}

fn one(key: &'static str, value: &str, parse: fn(&str) -> Option<PowerAction>) -> Request {
    if let Some((word, id)) = value.split_once(' ')
        && is_id(id)
        && let Ok(action) = word.parse()
    {
        return Request::Claimed {
            key,
            action,
            id: id.into(),
        };
    }
    parse(value).map_or_else(
        || Request::Unknown {
            why: format!("annotation {key}: {value:?} is none of on, off, cycle; correct or remove it"),
        },
        |action| Request::Asked { key, action },
    )
}

/// A fresh id.
pub(crate) fn new_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The value of a claimed request.
pub(crate) fn claimed(action: PowerAction, id: &str) -> String {
    format!("{action} {id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(annotations: &[(&str, &str)]) -> Server {
        let mut server = Server::default();
        for (key, value) in annotations {
            server.annotations_mut().insert((*key).into(), (*value).into());
        }
        server
    }

    #[test]
    fn a_word_is_a_request_and_a_claimed_one_is_recognised() {
        let asked = |key, action| Some(Request::Asked { key, action });
        assert_eq!(find(&server(&[])), None);
        assert_eq!(
            find(&server(&[(POWER, "cycle")])),
            asked(POWER, PowerAction::Cycle)
        );
        for value in ["", "true", "please do"] {
            assert_eq!(
                find(&server(&[(REBOOT, value)])),
                asked(REBOOT, PowerAction::Reset)
            );
        }
        for (key, action) in [(POWER, PowerAction::Cycle), (REBOOT, PowerAction::Reset)] {
            let id = new_id();
            let found = find(&server(&[(key, &claimed(action, &id))]));
            assert_eq!(found, Some(Request::Claimed { key, action, id }));
        }
    }

    #[test]
    fn a_claimed_request_goes_before_one_that_was_only_asked_for() {
        let reset = claimed(PowerAction::Reset, "0123456789abcdef");
        let both = server(&[(POWER, "off"), (REBOOT, &reset)]);
        assert!(matches!(find(&both), Some(Request::Claimed { key: REBOOT, .. })));
    }

    #[test]
    fn a_value_that_is_no_verb_is_named() {
        for value in ["explode", "", "reset", "soft-off", "cycle 12", "on off"] {
            let Some(Request::Unknown { why }) = find(&server(&[(POWER, value)])) else {
                panic!("{value:?} was taken");
            };
            assert!(why.contains(&format!("{value:?}")), "{why}");
        }
    }
}
