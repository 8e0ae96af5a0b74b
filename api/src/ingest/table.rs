//! What the columns of a table mean, for those who read items from one.

use super::names::{ENVELOPE_FIELDS, EnvelopeField, PROPERTY_FIELDS};
use super::property::family_of;

/// The columns of a table of properties, in their order.
pub(crate) struct Columns {
    names: Vec<String>,
    /// Where references stand, those that count first.
    references: Vec<usize>,
    sources: Vec<usize>,
    /// Whether its rows say what happened, rather than how things are.
    pub(crate) of_events: bool,
}

impl Columns {
    /// Columns by their names; nothing without one for the reference.
    pub(crate) fn of(names: Vec<String>) -> Option<Self> {
        let places = |field| {
            let found = names.iter().enumerate();
            let found = found.filter(|(_, name)| ENVELOPE_FIELDS.find(name) == Some(field));
            let mut found: Vec<usize> = found.map(|(place, _)| place).collect();
            found.sort_by_key(|place| ENVELOPE_FIELDS.rank(&names[*place]));
            found
        };
        let references = places(EnvelopeField::Property);
        let sources = places(EnvelopeField::Source);
        let of_events = !places(EnvelopeField::EventType).is_empty();
        (!references.is_empty()).then_some(Self { names, references, sources, of_events })
    }

    /// Their names.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The source, if the row says one, and the reference of the property that a row is about.
    pub(crate) fn property_of<'r>(
        &self,
        cell: impl Fn(usize) -> Option<&'r str>,
    ) -> Option<(Option<&'r str>, &'r str)> {
        let said = |places: &[usize]| {
            let cells = places.iter().filter_map(|place| cell(*place)).map(str::trim);
            cells.into_iter().find(|cell| !cell.is_empty())
        };
        Some((said(&self.sources), said(&self.references)?))
    }

    /// The column that a notice is about, by the path of its field.
    pub(crate) fn named<'p>(&'p self, path: &'p str) -> &'p str {
        let field = path.strip_prefix("data.").unwrap_or(path);
        if self.names.iter().any(|name| name == field) {
            return field;
        }
        let meant = |name: &&String| match ENVELOPE_FIELDS.find(field) {
            Some(around) => ENVELOPE_FIELDS.find(name) == Some(around),
            None => PROPERTY_FIELDS.find(name).is_some_and(|of_name| {
                family_of(field).contains(&of_name) || PROPERTY_FIELDS.find(field) == Some(of_name)
            }),
        };
        self.names.iter().find(meant).map_or(field, String::as_str)
    }
}
