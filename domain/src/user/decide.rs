//! What an account answers to a command: which decision, and in which standing it may be taken.

use super::command::UserCommand;
use super::event::UserEvent;
use super::refusal::UserRefused;
use super::state::{Account, Standing, User};
use super::value::ListingPreference;
use crate::Circumstances;

/// At most one event: every command of an account is about one fact.
pub(super) type Decision = Result<Option<UserEvent>, UserRefused>;

impl User {
    /// Decides a command: no event when nothing changes.
    pub fn decide(
        &self,
        command: UserCommand,
        circumstances: &Circumstances,
    ) -> Result<Vec<UserEvent>, UserRefused> {
        self.decide_one(command, circumstances).map(|event| event.into_iter().collect())
    }

    fn decide_one(&self, command: UserCommand, circumstances: &Circumstances) -> Decision {
        let (now, policy) = (circumstances.now, &circumstances.policy);
        match command {
            UserCommand::RegisterUser(command) => self.register(command, now),
            UserCommand::VerifyEmail(command) => self.acting()?.verify_email(&command),
            UserCommand::VerifyPhone(command) => self.acting()?.verify_phone(&command),
            UserCommand::VerifyIdentity(command) => self.acting()?.verify_identity(&command, now),
            UserCommand::UpdateProfile(command) => self.acting()?.update_profile(command),
            UserCommand::ChangePreferences(command) => self.acting()?.change_preferences(command),
            UserCommand::GrantConsent(command) => self.acting()?.grant_consent(command, now),
            UserCommand::WithdrawConsent(command) => {
                self.account()?.withdraw_consent(&command, now)
            }
            UserCommand::FavouriteListing(command) => {
                let preference = ListingPreference::Favorite;
                self.acting()?.prefer_listing(command.listing, preference, policy)
            }
            UserCommand::PossibleListing(command) => {
                let preference = ListingPreference::Possibility;
                self.acting()?.prefer_listing(command.listing, preference, policy)
            }
            UserCommand::DiscardListing(command) => {
                let preference = ListingPreference::Discard;
                self.acting()?.prefer_listing(command.listing, preference, policy)
            }
            UserCommand::ClearPreference(command) => self.acting()?.clear_preference(&command),
            UserCommand::SaveSearch(command) => self.acting()?.save_search(command, policy),
            UserCommand::RenameSearch(command) => self.acting()?.rename_search(&command),
            UserCommand::ChangeSchedule(command) => self.acting()?.change_schedule(&command),
            UserCommand::PauseAlert(command) => self.open()?.pause_alert(&command),
            UserCommand::DeleteSearch(command) => self.acting()?.delete_search(&command),
            UserCommand::SuspendUser(command) => self.open()?.suspend(&command),
            UserCommand::ReinstateUser(_) => self.open()?.reinstate(),
            UserCommand::CloseAccount(command) => self.account()?.close(&command),
            UserCommand::RequestDataExport(command) => self.account()?.request_export(&command),
            UserCommand::RequestErasure(command) => {
                self.account()?.request_erasure(&command, circumstances)
            }
            UserCommand::CancelErasure(_) => self.account()?.cancel_erasure(),
            UserCommand::PlaceLegalHold(command) => self.account()?.place_hold(&command),
            UserCommand::ReleaseLegalHold(command) => self.account()?.release_hold(&command),
            UserCommand::RecordKeyShredded(_) => self.record_key_shredded(),
            UserCommand::CompleteErasure(command) => self.complete_erasure(&command),
        }
    }

    /// The account, whatever its standing: enough for a person's rights to their data.
    pub(super) fn account(&self) -> Result<&Account, UserRefused> {
        match self {
            Self::Unregistered => Err(UserRefused::NotRegistered),
            Self::Registered(account) => Ok(account),
            Self::Shredded(_) | Self::Erased(_) => Err(UserRefused::UserErased),
        }
    }

    /// The account, unless it is closed: enough for operators and alerts.
    fn open(&self) -> Result<&Account, UserRefused> {
        let account = self.account()?;
        match account.standing {
            Standing::Active | Standing::Suspended => Ok(account),
            Standing::Closed => Err(UserRefused::AccountClosed),
        }
    }

    /// The account, if its user may add to it: a person to be forgotten gets no new data.
    fn acting(&self) -> Result<&Account, UserRefused> {
        let account = self.open()?;
        match account.standing {
            Standing::Suspended => Err(UserRefused::UserSuspended),
            _ if account.erasure_deadline.is_some() => Err(UserRefused::ErasurePending),
            Standing::Active | Standing::Closed => Ok(account),
        }
    }
}
