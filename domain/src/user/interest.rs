//! What someone looks for: opinions on listings, and saved searches.

use super::command::{
    ChangeSchedule, ClearPreference, DeleteSearch, PauseAlert, RenameSearch, SaveSearch,
};
use super::decide::Decision;
use super::event::{
    AlertPaused, AlertScheduleChanged, ListingPreferenceCleared, ListingPreferenceSet,
    SearchDeleted, SearchRenamed, SearchSaved,
};
use super::refusal::{Faults, UserRefused};
use super::search::words;
use super::state::{Account, SavedSearch};
use super::text;
use super::value::ListingPreference;
use crate::{ListingKey, Policy, SavedSearchId};

impl Account {
    pub(super) fn prefer_listing(
        &self,
        listing: ListingKey,
        preference: ListingPreference,
        policy: &Policy,
    ) -> Decision {
        let max = policy.max_listing_preferences;
        match self.listing_preferences.get(&listing) {
            Some(kept) if *kept == preference => Ok(None),
            None if is_full(self.listing_preferences.len(), max) => {
                Err(UserRefused::ListingPreferenceLimit { max })
            }
            _ => Ok(Some(ListingPreferenceSet { listing, preference }.into())),
        }
    }

    pub(super) fn clear_preference(&self, command: &ClearPreference) -> Decision {
        let listing = command.listing;
        let kept = self.listing_preferences.contains_key(&listing);
        Ok(kept.then(|| ListingPreferenceCleared { listing }.into()))
    }

    pub(super) fn save_search(&self, command: SaveSearch, policy: &Policy) -> Decision {
        let SaveSearch { search, name, text, filter, schedule } = command;
        let mut faults = Faults::default();
        let name = faults.check(search_name(&name));
        let text = text.map(|text| faults.check(search_text(&text)));
        if let Err(invalid) = filter.validate() {
            faults.note(UserRefused::SearchInvalid { faults: invalid });
        }
        faults.finish()?;
        let name = self.personal(name?);
        let text = text.transpose()?.map(|text| self.personal(text));
        let max = policy.max_saved_searches;
        match self.saved_searches.get(&search) {
            Some(saved)
                if (&saved.name, &saved.text, &saved.filter, saved.schedule)
                    == (&name, &text, &filter, schedule) =>
            {
                Ok(None)
            }
            Some(_) => Err(UserRefused::SearchAlreadySaved),
            None if is_full(self.saved_searches.len(), max) => {
                Err(UserRefused::SavedSearchLimit { max })
            }
            None => Ok(Some(SearchSaved { search, name, text, filter, schedule }.into())),
        }
    }

    pub(super) fn rename_search(&self, command: &RenameSearch) -> Decision {
        let name = self.personal(search_name(&command.name)?);
        let search = command.search;
        let renamed = self.saved_search(search)?.name != name;
        Ok(renamed.then(|| SearchRenamed { search, name }.into()))
    }

    pub(super) fn change_schedule(&self, command: &ChangeSchedule) -> Decision {
        let ChangeSchedule { search, schedule } = *command;
        let saved = self.saved_search(search)?;
        let changes = saved.schedule != schedule || saved.paused.is_some();
        Ok(changes.then(|| AlertScheduleChanged { search, schedule }.into()))
    }

    pub(super) fn pause_alert(&self, command: &PauseAlert) -> Decision {
        let PauseAlert { search, reason } = *command;
        let running = self.saved_search(search)?.paused.is_none();
        Ok(running.then(|| AlertPaused { search, reason }.into()))
    }

    // Unknown is not an error: a search may be deleted twice from two browser tabs.
    pub(super) fn delete_search(&self, command: &DeleteSearch) -> Decision {
        let search = command.search;
        let kept = self.saved_searches.contains_key(&search);
        Ok(kept.then(|| SearchDeleted { search }.into()))
    }

    fn saved_search(&self, search: SavedSearchId) -> Result<&SavedSearch, UserRefused> {
        self.saved_searches.get(&search).ok_or(UserRefused::SearchUnknown)
    }
}

fn is_full(count: usize, max: u32) -> bool {
    usize::try_from(max).is_ok_and(|max| count >= max)
}

fn search_name(name: &str) -> Result<String, UserRefused> {
    text::line(name, 200).ok_or(UserRefused::SearchNameInvalid)
}

fn search_text(text: &str) -> Result<String, UserRefused> {
    let line = text::line(text, 500).filter(|text| words(text).next().is_some());
    line.ok_or(UserRefused::SearchTextInvalid)
}
