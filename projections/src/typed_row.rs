//! One declaration for a row: its struct, its table and the way between them.

use std::hash::Hash;

use freehold_ports::{Key, Row, Table};

/// A struct that is a row of a read model; [`read_model!`](crate::read_model) writes the code.
pub trait TypedRow: Clone + PartialEq + Send + Sync + 'static {
    /// The values of the key columns, a tuple.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;

    /// The table it is a row of.
    const TABLE: &'static Table;

    /// Its key.
    fn key(&self) -> Self::Key;

    /// A key as it is stored.
    fn key_values(key: &Self::Key) -> Key;

    /// The key that was stored.
    fn key_from(key: &Key) -> Result<Self::Key, MalformedRow>;

    /// The row as it is stored.
    fn to_row(&self) -> Row;

    /// The row that was stored.
    fn from_row(row: Row) -> Result<Self, MalformedRow>;
}

/// A stored row does not have the shape of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row of table {table} has a wrong value in column {column}; rebuild its projection")]
pub struct MalformedRow {
    /// The table.
    pub table: &'static str,
    /// The first column that does not fit.
    pub column: &'static str,
}

/// Declares a row struct, its table and the conversions between them.
///
/// The key fields come first; every other field may be an `Option`. `indexes`, `text` and
/// `spatial` name columns and may be left out, in that order.
///
/// ```
/// freehold_projections::read_model! {
///     /// A listing as searches see it.
///     pub struct ListingRow in "listing" {
///         key {
///             /// The listing period.
///             listing: uuid::Uuid,
///         }
///         /// Minor units.
///         price_minor: Option<i64>,
///         /// Shown in lists.
///         title: Option<String>,
///     }
///     indexes [["price_minor"]]
///     text ["title"]
/// }
/// ```
#[macro_export]
macro_rules! read_model {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident in $table:literal {
            key { $( $(#[$kdoc:meta])* $key:ident : $ktype:ty ),+ $(,)? }
            $( $(#[$fdoc:meta])* $field:ident : $ftype:ty ),* $(,)?
        }
        $( indexes [ $( [ $($indexed:literal),+ $(,)? ] ),* $(,)? ] )?
        $( text [ $($text:literal),* $(,)? ] )?
        $( spatial ( $latitude:literal, $longitude:literal ) )?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $( $(#[$kdoc])* pub $key: $ktype, )+
            $( $(#[$fdoc])* pub $field: $ftype, )*
        }

        impl $crate::TypedRow for $name {
            type Key = ( $($ktype,)+ );

            const TABLE: &'static $crate::ports::Table = &$crate::ports::Table {
                name: $table,
                columns: &[
                    $( $crate::ports::Column {
                        name: stringify!($key),
                        kind: <$ktype as $crate::ColumnValue>::KIND,
                    }, )+
                    $( $crate::ports::Column {
                        name: stringify!($field),
                        kind: <$ftype as $crate::ColumnValue>::KIND,
                    }, )*
                ],
                key_columns: [ $( stringify!($key) ),+ ].len(),
                indexes: &[ $( $( &[ $($indexed),+ ] ),* )? ],
                text_search: &[ $( $($text),* )? ],
                spatial: {
                    #[allow(unused_mut, unused_assignments, reason = "tables without a place")]
                    let mut spatial = None;
                    $( spatial = Some($crate::ports::Spatial {
                        latitude: $latitude,
                        longitude: $longitude,
                    }); )?
                    spatial
                },
            };

            fn key(&self) -> Self::Key {
                ( $( self.$key.clone(), )+ )
            }

            fn key_values(key: &Self::Key) -> $crate::ports::Key {
                let ( $( $key, )+ ) = key;
                $crate::ports::Key(vec![ $( $crate::ColumnValue::to_value($key) ),+ ])
            }

            fn key_from(key: &$crate::ports::Key) -> Result<Self::Key, $crate::MalformedRow> {
                let mut values = key.0.iter().cloned();
                Ok(( $(
                    values.next().and_then(<$ktype as $crate::ColumnValue>::from_value).ok_or(
                        $crate::MalformedRow { table: $table, column: stringify!($key) },
                    )?,
                )+ ))
            }

            fn to_row(&self) -> $crate::ports::Row {
                $crate::ports::Row(vec![
                    $( $crate::ColumnValue::to_value(&self.$key), )+
                    $( $crate::ColumnValue::to_value(&self.$field), )*
                ])
            }

            fn from_row(row: $crate::ports::Row) -> Result<Self, $crate::MalformedRow> {
                let mut values = row.0.into_iter();
                Ok(Self {
                    $( $key: values.next().and_then($crate::ColumnValue::from_value).ok_or(
                        $crate::MalformedRow { table: $table, column: stringify!($key) },
                    )?, )+
                    $( $field: values.next().and_then($crate::ColumnValue::from_value).ok_or(
                        $crate::MalformedRow { table: $table, column: stringify!($field) },
                    )?, )*
                })
            }
        }
    };
}
