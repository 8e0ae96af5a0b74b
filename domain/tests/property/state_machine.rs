//! The state machine of a listing period, walked completely.

use std::collections::BTreeSet;

use freehold_domain::property::ListingStatus::*;
use freehold_domain::property::*;

use crate::samples::*;

/// Every arrow, as the domain's table has them. The row of `ChangesRequested` follows from the
/// commands: its owner submits it again or makes it a draft.
pub(crate) const ARROWS: &[(ListingStatus, &[ListingStatus])] = &[
    (Draft, &[InReview, ComingSoon, Active, Voided]),
    (InReview, &[ChangesRequested, ComingSoon, Active, Draft]),
    (ChangesRequested, &[InReview, Draft]),
    (ComingSoon, &[Active, OnHold, Withdrawn, Cancelled, Expired]),
    (Active, &[UnderApplication, Pending, OnHold, Withdrawn, Cancelled, Expired]),
    (UnderApplication, &[Active, Pending, OnHold, Withdrawn, Cancelled]),
    (Pending, &[Leased, Active, Cancelled]),
    (OnHold, &[Active, Withdrawn, Cancelled, Expired]),
    (Withdrawn, &[Active, Cancelled, Expired]),
    (Leased, &[]),
    (Cancelled, &[]),
    (Expired, &[]),
    (Voided, &[]),
];

/// Every command that moves a listing, with where it takes it.
fn moves() -> Vec<(PropertyCommand, ListingStatus)> {
    let listing = LISTING;
    let (application, reason) = (APPLICATION, "the owner moves in".to_owned());
    let on_market_date = scheduled().on_market_date;
    vec![
        (SubmitForReview { listing }.into(), InReview),
        (RequestChanges { listing, reasons: vec![reason.clone()] }.into(), ChangesRequested),
        (ReturnToDraft { listing }.into(), Draft),
        (ScheduleListing { listing, on_market_date, expires_at: None }.into(), ComingSoon),
        (PublishListing { listing, expires_at: None }.into(), Active),
        (MarkUnderApplication { listing, application }.into(), UnderApplication),
        (
            ReleaseApplicationHold {
                listing,
                application,
                cause: BackOnMarketCause::ApplicationWithdrawn,
            }
            .into(),
            Active,
        ),
        (MarkPending { listing, application: None }.into(), Pending),
        (
            CloseAsLeased { listing, lease: LEASE, rent_at_close: None, close_date: today() }
                .into(),
            Leased,
        ),
        (HoldListing { listing }.into(), OnHold),
        (ResumeListing { listing }.into(), Active),
        (WithdrawListing { listing, reason }.into(), Withdrawn),
        (CancelListing { listing }.into(), Cancelled),
        (ExpireListing { listing }.into(), Expired),
        (VoidListing { listing }.into(), Voided),
    ]
}

/// A listing at a status, able to walk each of its arrows: approved when in review, out of time
/// when the command is to expire it.
fn ready(from: ListingStatus) -> History {
    if from == InReview { an_approved_listing() } else { a_listing(from) }
}

#[test]
fn a_listing_is_moved_along_every_arrow_and_along_no_other() {
    let mut walked = BTreeSet::new();
    for from in ListingStatus::ALL {
        for (command, to) in moves() {
            let mut circumstances = circumstances();
            if to == Expired {
                circumstances.now = in_days(91);
            }
            let mut property = fold(ready(*from));
            let Ok(events) = property.decide(command, &circumstances) else { continue };
            if events.is_empty() {
                continue;
            }
            events.into_iter().for_each(|event| cqrs_es::Aggregate::apply(&mut property, event));
            assert_eq!(property.listing(), Some((LISTING, to)), "from {from:?}");
            walked.insert((*from, to));
        }
    }
    let arrows = ARROWS.iter().flat_map(|(from, to)| to.iter().map(|to| (*from, *to)));
    assert_eq!(walked, arrows.collect());
}

#[test]
fn the_arrows_that_clients_may_ask_for_are_those_of_the_table() {
    assert_eq!(ARROWS.len(), ListingStatus::ALL.len());
    for (from, to) in ARROWS {
        assert_eq!(from.may_become(), *to, "{from:?}");
        assert_eq!(from.is_final(), to.is_empty(), "{from:?}");
    }
}

#[test]
fn a_final_listing_is_refused_every_move_with_where_it_stands_and_where_it_should_go() {
    for from in [Leased, Cancelled, Expired, Voided] {
        for (command, to) in moves() {
            if let PropertyCommand::ReleaseApplicationHold(_) = command {
                continue; // Its refusal names the listing's end instead.
            }
            let refused = fold(a_listing(from)).decide(command, &circumstances());
            assert_eq!(refused, Err(PropertyRefused::InvalidTransition { from, to }));
        }
    }
}

#[test]
fn a_listing_that_ended_stays_ended_when_a_new_one_is_drafted() {
    for from in [Leased, Cancelled, Expired, Voided] {
        let relisted = after(a_listing(from), drafted(NEXT_LISTING));
        let refused =
            fold(relisted).decide(ResumeListing { listing: LISTING }.into(), &circumstances());
        assert_eq!(refused, Err(PropertyRefused::InvalidTransition { from, to: Active }));
    }
}
