//! End-to-end tests on real parts: a module per behaviour, one test bed for all of them.
//!
//! Run them through `cargo xtask test e2e [FILTER]`, which builds what they need.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they looked at"
)]

mod api;
mod by_hand;
mod claims;
mod classes;
mod clusters;
mod discovery;
mod docs;
mod environments;
mod faults;
mod joining;
mod lab;
mod leases;
mod observer;
mod played;
mod power;
mod registration;
mod releases;
mod runs;
mod strangers;
mod waits;
mod wipe;
mod world;
mod writers;

use libtest_mimic::{Arguments, Trial};

use crate::world::World;

/// Trials named `module::function`. *Beside* others: they share the bed. *Alone*: they break parts of it, or time it closely.
macro_rules! trials {
    ($world:expr; $($how:ident $module:ident: $($function:ident),+;)+) => {
        vec![$($({
            let world = $world.clone();
            Trial::test(concat!(stringify!($module), "::", stringify!($function)), move || {
                world.$how(async |bed| $module::$function(bed).await)
            })
        },)+)+]
    };
}

fn main() {
    let arguments = Arguments::from_args();
    let world = World::new();
    let trials = trials![world;
        beside api: definitions_apply_without_a_warning, bad_values_are_refused_by_name,
            older_versions_are_listed_but_not_served, a_server_without_spec_is_not_accepted, every_kind_explains_itself,
            templates_are_immutable_but_for_a_dry_run_of_cluster_class;
        beside clusters: a_cluster_waits_for_its_metal_cluster, bad_objects_are_refused_by_the_real_webhooks;
        beside docs: every_command_in_readme_and_docs_works, every_page_is_in_the_summary;
        alone leases: a_follower_takes_over_from_a_leader_that_is_cut_off, a_stopped_leader_hands_over_at_once;
        beside power: credentials_show_power_driver_and_firmware, a_cycle_is_exactly_off_and_on,
            a_request_that_was_claimed_is_carried_out_once,
            a_wrong_password_is_shown_once_whoever_leads, nothing_is_sent_to_a_machine_that_is_not_ours_to_power,
            a_dead_bmc_is_named_and_its_neighbour_is_not_delayed,
            a_killed_manager_finishes_a_cycle_without_doubling_it,
            a_boot_that_never_asks_ends_off_and_the_second_try_is_wiped;
        alone registration: an_unknown_machine_gets_the_agent_once_and_becomes_a_server,
            a_report_changes_nothing_about_machines_that_are_not_its_own,
            a_machine_of_a_cluster_gets_its_disk_whatever_else_is_known_of_it,
            no_more_strangers_are_registered_than_allowed;
        alone observer: each_planted_violation_is_reported_by_its_name;
        alone environments: the_default_is_there_and_comes_back, a_file_is_served_once_it_is_what_was_asked_for,
            every_replica_downloads_and_none_does_so_twice;
        alone classes: a_class_lists_the_servers_that_match_and_can_be_taken,
            the_class_any_comes_back_and_has_no_qualifiers, a_selector_without_meaning_is_named_and_changes_nothing;
        alone claims: a_machine_that_is_taken_is_switched_on_and_given_back_off,
            of_two_metal_machines_one_gets_the_server_and_the_other_says_why_not,
            a_binding_that_was_lost_is_made_again,
            a_server_whose_metal_machine_vanished_is_left_alone_until_a_human_releases_it,
            a_pause_stops_taking_and_giving_back;
        alone releases: what_nothing_confirms_ends_at_the_deadline_and_off_arrives_once_the_bmc_is_back,
            a_binding_that_is_deleted_by_hand_changes_nothing_until_its_machine_is_deleted,
            a_machine_that_never_had_a_server_goes_at_once_unless_its_cluster_is_paused,
            a_server_is_given_back_though_its_machine_object_is_gone,
            a_marked_binding_whose_metal_machine_is_gone_is_deleted_and_a_boot_ends_the_release,
            what_is_given_back_of_a_server_that_does_not_exist_is_let_go;
        alone faults: an_intent_that_was_stored_and_not_sent_is_sent_once,
            a_command_whose_reply_was_lost_with_its_manager_is_not_sent_again,
            a_follower_goes_on_with_a_cycle_and_doubles_nothing,
            a_claim_that_was_not_finished_takes_the_server_it_bound,
            a_wipe_that_goes_on_is_not_begun_anew, a_release_that_was_not_finished_is_finished_once,
            what_is_missing_is_named;
        alone by_hand: without_a_bmc_a_machine_lives_its_whole_life_by_the_buttons_that_it_names;
        alone strangers: malformed_packets_are_counted_and_dropped,
            a_bmc_that_talks_nonsense_is_named_and_its_neighbour_is_not_delayed;
        alone lab: a_machine_gets_an_address_from_the_site, a_lab_belongs_to_its_run_and_can_be_made_again;
        beside runs: a_killed_run_is_cleaned_up_by_the_next, a_demo_that_is_sabotaged_fails_by_name_and_ends_without_a_trace;
        beside waits: a_failed_wait_shows_objects_conditions_and_logs, the_written_kubeconfigs_work_from_a_terminal;
        beside writers: a_status_is_written_once_and_others_keep_theirs, a_stale_transition_is_refused;
        alone discovery: two_machines_that_are_switched_on_become_servers, a_machine_that_nobody_accepts_goes_on_to_its_disk;
        alone wipe: a_disk_that_vanished_fails_the_wipe_until_it_is_waived, a_machine_that_somebody_has_is_not_wiped,
            an_accepted_machine_is_wiped_switched_off_and_available;
        alone joining: machines_go_from_plugged_in_to_nodes_and_back_to_the_pool;
        alone api: documented_samples_apply;
        alone strangers: no_text_of_ours_has_a_secret_in_it;
        alone clusters: a_killed_manager_goes_on_where_it_was, the_api_server_and_etcd_come_back_with_their_data;
    ];
    let conclusion = libtest_mimic::run(&arguments, trials);
    // `exit` runs no destructors: stop the bed first.
    if let Err(error) = world.stop(conclusion.has_failed()) {
        eprintln!("the run failed: {error:#}");
        std::process::exit(101);
    }
    conclusion.exit();
}
