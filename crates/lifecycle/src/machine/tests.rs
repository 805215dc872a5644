use proptest::prelude::*;

use super::*;

const S: &str = "s-1";

/// With all that it needs to take a Server of a class.
fn wanting() -> Observed {
    Observed {
        paused: false,
        deleted: false,
        moving: false,
        lacks: None,
        held: true,
        allocation: Some("a-1".into()),
        server: None,
        wants: Wants::Class("any".into()),
        missing: false,
        binding: None,
        candidates: vec![S.into()],
    }
}

fn having() -> Observed {
    Observed {
        server: Some(S.into()),
        wants: Wants::Server(S.into()),
        binding: binding(true, false, false),
        ..wanting()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what is observed is optional")]
fn binding(is_ours: bool, marked: bool, deleted: bool) -> Option<Binding> {
    Some(Binding {
        server: S.into(),
        is_ours,
        marked,
        deleted,
    })
}

fn does(seen: &Observed) -> Option<Act> {
    plan(seen).act
}

#[test]
fn it_holds_claims_binds_and_looks_in_this_order() {
    let mut seen = Observed {
        held: false,
        allocation: None,
        ..wanting()
    };
    assert_eq!(does(&seen), Some(Act::Hold));
    seen.held = true;
    assert_eq!(does(&seen), Some(Act::Claim));
    seen.allocation = Some("a-1".into());
    assert_eq!(does(&seen), Some(Act::Bind(S.into())));
    seen.binding = binding(true, false, false);
    assert_eq!(does(&seen), Some(Act::Look(S.into())));
}

#[test]
fn what_it_lacks_is_said_and_nothing_is_taken_meanwhile() {
    for lack in [
        Lack::Machine,
        Lack::Cluster,
        Lack::Infrastructure,
        Lack::Bootstrap,
    ] {
        let seen = Observed {
            lacks: Some(lack),
            held: false,
            ..wanting()
        };
        assert_eq!(plan(&seen), wait(Why::Lacks(lack)));
    }
    for (wants, why) in [
        (Wants::Nothing, Why::WantsNothing),
        (Wants::Class("any".into()), Why::NoServer("any".into())),
        (Wants::Server(S.into()), Why::ServerTaken(S.into())),
    ] {
        let seen = Observed {
            wants,
            candidates: Vec::new(),
            ..wanting()
        };
        assert_eq!(plan(&seen), wait(why));
    }
    for (wants, says) in [
        (Wants::Class("any".into()), "ServerClass any does not exist"),
        (Wants::Server("s-9".into()), "Server s-9 does not exist"),
    ] {
        let missing = Observed {
            wants,
            missing: true,
            candidates: Vec::new(),
            ..wanting()
        };
        let text = plan(&missing).why.to_string();
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn what_was_rolled_back_goes_before_another_server_is_tried() {
    let mut seen = Observed {
        binding: binding(true, true, false),
        lacks: Some(Lack::Bootstrap),
        ..wanting()
    };
    assert_eq!(does(&seen), Some(Act::Release(S.into())));
    seen.binding = binding(true, true, true);
    assert_eq!(plan(&seen), wait(Why::RollsBack(S.into())));
    seen.binding = binding(true, false, true);
    assert_eq!(does(&seen), Some(Act::Mark(S.into())));
}

#[test]
fn what_it_has_is_kept_and_a_lost_binding_is_made_again() {
    assert_eq!(plan(&having()), wait(Why::Has(S.into())));
    let lost = Observed {
        binding: None,
        ..having()
    };
    assert_eq!(does(&lost), Some(Act::Rebuild(S.into())));
    for disagrees in [
        Observed {
            allocation: None,
            ..lost.clone()
        },
        Observed {
            wants: Wants::Class("any".into()),
            ..lost
        },
    ] {
        assert_eq!(plan(&disagrees), wait(Why::BindingMissing(S.into())));
    }
    let another = Observed {
        binding: binding(false, false, false),
        ..having()
    };
    assert_eq!(plan(&another), wait(Why::BindingOfAnother(S.into())));
    let deleted = Observed {
        binding: binding(true, false, true),
        ..having()
    };
    assert_eq!(plan(&deleted), wait(Why::BindingDeleted(S.into())));
}

#[test]
fn a_deletion_marks_releases_and_then_lets_go_whatever_it_lacks() {
    let mut seen = Observed {
        deleted: true,
        lacks: Some(Lack::Machine),
        ..having()
    };
    assert_eq!(does(&seen), Some(Act::Mark(S.into())));
    // somebody deleted it before: the mark releases it all the same
    seen.binding = binding(true, false, true);
    assert_eq!(does(&seen), Some(Act::Mark(S.into())));
    seen.binding = binding(true, true, false);
    assert_eq!(does(&seen), Some(Act::Release(S.into())));
    seen.binding = binding(true, true, true);
    assert_eq!(plan(&seen), wait(Why::Releases(S.into())));
    for gone in [None, binding(false, false, false)] {
        seen.binding = gone;
        assert_eq!(does(&seen), Some(Act::LetGo));
    }
    seen.held = false;
    assert_eq!(does(&seen), None);
}

#[test]
fn neither_a_pause_nor_a_move_releases_anything() {
    let mut seen = Observed {
        deleted: true,
        moving: true,
        ..having()
    };
    assert_eq!(plan(&seen), wait(Why::Moving));
    seen.paused = true;
    assert_eq!(plan(&seen), wait(Why::Paused));
}

#[test]
fn a_server_is_taken_only_if_it_is_free_and_nobody_else_names_it() {
    let good = Found {
        exists: true,
        available: true,
        in_class: true,
        rival: false,
        due_for_another: false,
    };
    assert!(may_take(&good) && may_rebuild(&good));
    let change = |change: fn(&mut Found)| {
        let mut found = good.clone();
        change(&mut found);
        (may_take(&found), may_rebuild(&found))
    };
    assert_eq!(change(|found| found.exists = false), (false, false));
    assert_eq!(change(|found| found.rival = true), (false, false));
    assert_eq!(change(|found| found.due_for_another = true), (false, false));
    assert_eq!(change(|found| found.available = false), (false, true));
    assert_eq!(change(|found| found.in_class = false), (false, true));
}

/// What the API server has, as far as it matters for two MetalMachines and one Server.
#[derive(Debug, Clone, Default)]
struct World {
    machines: [Machine; 2],
    /// The ServerBinding of the Server: whose, marked, deleted.
    binding: Option<(usize, bool, bool)>,
    available: bool,
}

#[derive(Debug, Clone, Default)]
struct Machine {
    held: bool,
    claimed: bool,
    has: bool,
    deleted: bool,
    gone: bool,
}

impl World {
    fn observed(&self, at: usize) -> Observed {
        let machine = &self.machines[at];
        Observed {
            deleted: machine.deleted,
            held: machine.held,
            allocation: machine.claimed.then(|| format!("a-{at}")),
            server: machine.has.then(|| S.into()),
            wants: if machine.has {
                Wants::Server(S.into())
            } else {
                wanting().wants
            },
            binding: self.binding.and_then(|(owner, marked, deleted)| {
                // one that is not its own is seen only where it stands in its place
                let is_ours = owner == at;
                (is_ours || machine.has)
                    .then(|| binding(is_ours, marked, deleted))
                    .flatten()
            }),
            ..wanting()
        }
    }

    fn found(&self, at: usize) -> Found {
        Found {
            exists: true,
            available: self.available,
            in_class: true,
            rival: self.machines[1 - at].has,
            due_for_another: false,
        }
    }

    /// One step of a MetalMachine that was decided on `seen`, which may be old: what is unsafe then is refused by the
    /// API server, since a write of a binding or a MetalMachine carries its version.
    fn carry_out(&mut self, at: usize, act: &Act) {
        match act {
            Act::Hold => self.machines[at].held = true,
            Act::Claim => self.machines[at].claimed = true,
            Act::Bind(_) if self.binding.is_none() => self.binding = Some((at, false, false)),
            Act::Look(_) if may_take(&self.found(at)) => {
                if matches!(self.binding, Some((owner, false, false)) if owner == at) {
                    self.machines[at].has = true;
                }
            }
            Act::Look(_) | Act::Mark(_) => {
                if let Some((owner, marked, _)) = &mut self.binding
                    && *owner == at
                {
                    *marked = true;
                }
            }
            Act::Release(_) => {
                if let Some((owner, true, deleted)) = &mut self.binding
                    && *owner == at
                {
                    *deleted = true;
                }
            }
            Act::Rebuild(_) if may_rebuild(&self.found(at)) && self.binding.is_none() => {
                self.binding = Some((at, false, false));
            }
            Act::LetGo => {
                self.machines[at] = Machine {
                    gone: true,
                    ..Machine::default()
                };
            }
            Act::Bind(_) | Act::Rebuild(_) => {}
        }
    }

    /// The Server controller drops a binding that is marked and deleted, of a machine that lets it go.
    fn drop_released(&mut self) {
        if let Some((owner, true, true)) = self.binding
            && (self.machines[owner].deleted || !self.machines[owner].has)
        {
            self.binding = None;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// I-3, under every order of steps of two MetalMachines, each stopped anywhere and started again, with the Server
    /// offered or not, and either deleted at any time.
    #[test]
    fn two_metal_machines_never_have_one_server(steps in prop::collection::vec((0..2_usize, 0..8_u8), 1..60)) {
        let mut world = World { available: true, ..World::default() };
        for (at, what) in steps {
            match what {
                0 => world.drop_released(),
                1 => world.available = !world.available,
                2 if world.machines[at].held => world.machines[at].deleted = true,
                _ if world.machines[at].gone => {}
                _ => {
                    if let Some(act) = plan(&world.observed(at)).act {
                        world.carry_out(at, &act);
                    }
                }
            }
            let have: Vec<_> = world.machines.iter().filter(|machine| machine.has).collect();
            prop_assert!(have.len() <= 1, "{world:?}");
            for (at, machine) in world.machines.iter().enumerate() {
                // what has it has the binding, until it lets go
                let bound = matches!(world.binding, Some((owner, ..)) if owner == at);
                prop_assert!(!machine.has || bound || machine.deleted, "{world:?}");
            }
        }
    }
}
