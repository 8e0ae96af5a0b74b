//! What a document may cost, checked before anything executes or validates it.
//!
//! Fragments are counted as often as they are spread, and the library walks them as often: a few
//! lines of fragments that spread each other twice would stand for billions of them.

use std::collections::HashMap;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql::{Name, Pos, Positioned, ServerError};

use super::request::Parameters;
use crate::config::Graphql;

/// The parser and the executor recurse as deep as brackets nest.
const MAX_NESTING: usize = 100;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Mutation,
    Subscription,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

/// Parses a document within limits and finds the operation that is asked for.
pub(super) fn parse(
    parameters: &Parameters,
    limits: &Graphql,
) -> Result<(ExecutableDocument, Kind), ServerError> {
    count_tokens(&parameters.query, limits.max_tokens)?;
    let document = parse_query(&parameters.query)
        .map_err(|error| coded(error.into(), "GRAPHQL_PARSE_FAILED"))?;
    let operation = find_operation(&document, parameters.operation_name.as_deref())?;
    require_variables(operation, parameters)?;
    let kind = match operation.node.ty {
        OperationType::Query => Kind::Query,
        OperationType::Mutation => Kind::Mutation,
        OperationType::Subscription => Kind::Subscription,
    };
    check_cost(&document, limits)?;
    Ok((document, kind))
}

fn find_operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Result<&'a Positioned<OperationDefinition>, ServerError> {
    let found = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(operation),
        (DocumentOperations::Single(_), Some(_)) => None,
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => {
            operations.values().next()
        }
        (DocumentOperations::Multiple(operations), name) => {
            name.and_then(|name| operations.get(name))
        }
    };
    found.ok_or_else(|| {
        let message = match name {
            Some(name) => format!("the document has no operation {name}"),
            None => "the document has several operations; name one in operationName".to_owned(),
        };
        coded(ServerError::new(message, None), "OPERATION_UNKNOWN")
    })
}

/// A missing variable is the caller's mistake; the library would find it in the middle of a run.
fn require_variables(
    operation: &Positioned<OperationDefinition>,
    parameters: &Parameters,
) -> Result<(), ServerError> {
    for definition in &operation.node.variable_definitions {
        let variable = &definition.node;
        let required = !variable.var_type.node.nullable && variable.default_value.is_none();
        if required && !parameters.gives(&variable.name.node) {
            let message = format!("the variable ${} needs a value", variable.name.node);
            let error = ServerError::new(message, Some(definition.pos));
            return Err(coded(error, "GRAPHQL_VALIDATION_FAILED"));
        }
    }
    Ok(())
}

/// Counts tokens and nesting without building anything. What is not a token counts as one each
/// byte; the parser will say what is wrong with it.
fn count_tokens(text: &str, max_tokens: usize) -> Result<(), ServerError> {
    let bytes = text.as_bytes();
    let (mut at, mut tokens, mut nesting) = (0, 0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        let length = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' | 0xef | 0xbb | 0xbf => {
                at += 1;
                continue;
            }
            b'#' => {
                at += span(&bytes[at..], |byte| !matches!(byte, b'\n' | b'\r'));
                continue;
            }
            b'"' => string_length(&bytes[at..]),
            b'.' => span(&bytes[at..], |byte| byte == b'.'),
            b'{' | b'[' | b'(' => {
                nesting += 1;
                1
            }
            b'}' | b']' | b')' => {
                nesting = nesting.saturating_sub(1);
                1
            }
            b'-' | b'0'..=b'9' => span(&bytes[at..], |byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
            }),
            byte if is_word(*byte) => span(&bytes[at..], is_word),
            _ => 1,
        };
        at += length;
        tokens += 1;
        if tokens > max_tokens {
            return Err(too_much("tokens", max_tokens));
        }
        if nesting > MAX_NESTING {
            return Err(too_much("levels of brackets", MAX_NESTING));
        }
    }
    Ok(())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn span(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !belongs(*byte)).unwrap_or(bytes.len())
}

/// The length of the string that starts here, quotes included; to the end if it never ends.
fn string_length(bytes: &[u8]) -> usize {
    let (quote, escape): (&[u8], &[u8]) = match bytes {
        [b'"', b'"', b'"', ..] => (b"\"\"\"", b"\\\"\"\""),
        _ => (b"\"", b"\\"),
    };
    let mut at = quote.len();
    while at < bytes.len() {
        if bytes[at..].starts_with(escape) {
            // A backslash of a plain string takes the next byte with it.
            at += escape.len().max(2);
        } else if bytes[at..].starts_with(quote) {
            return at + quote.len();
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// What a selection set amounts to with every fragment in its place.
#[derive(Clone, Copy, Default)]
struct Cost {
    selections: usize,
    aliases: usize,
    directives: usize,
    depth: usize,
}

impl Cost {
    fn add(&mut self, other: Cost) {
        self.selections = self.selections.saturating_add(other.selections);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
        self.depth = self.depth.max(other.depth);
    }
}

struct Costs<'a> {
    document: &'a ExecutableDocument,
    /// Costs of fragments; none while one is being counted, so that a circle is noticed.
    fragments: HashMap<&'a Name, Option<Cost>>,
}

/// Every operation is checked, as every one is validated, whichever of them is to run.
fn check_cost(document: &ExecutableDocument, limits: &Graphql) -> Result<(), ServerError> {
    let mut costs = Costs { document, fragments: HashMap::new() };
    for (_, operation) in document.operations.iter() {
        let mut cost = costs.of(&operation.node.selection_set.node)?;
        cost.directives = cost.directives.saturating_add(operation.node.directives.len());
        let is_introspection = is_introspection(&operation.node.selection_set.node);
        // The introspection query of GraphiQL nests 13 levels of `ofType`; it reads no data.
        let max_depth = if is_introspection { MAX_NESTING } else { limits.max_depth };
        for (what, found, most) in [
            ("levels", cost.depth, max_depth),
            ("selections", cost.selections, limits.max_complexity),
            ("aliases", cost.aliases, limits.max_aliases),
            ("directives", cost.directives, limits.max_directives),
        ] {
            if found > most {
                return Err(too_much(what, most));
            }
        }
        check_roots(document, operation)?;
    }
    Ok(())
}

/// A subscription has one root field, as the specification demands.
fn check_roots(
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
) -> Result<(), ServerError> {
    let roots = root_fields(document, &operation.node.selection_set.node);
    if operation.node.ty != OperationType::Subscription || roots <= 1 {
        return Ok(());
    }
    let message = format!("a subscription has one root field, not {roots}; subscribe to each");
    let error = ServerError::new(message, Some(operation.pos));
    Err(coded(error, "GRAPHQL_VALIDATION_FAILED"))
}

/// How many fields stand here with fragments in their place; there is no circle any more.
fn root_fields(document: &ExecutableDocument, selections: &SelectionSet) -> usize {
    let of = |selection: &Positioned<Selection>| match &selection.node {
        Selection::Field(_) => 1,
        Selection::InlineFragment(fragment) => {
            root_fields(document, &fragment.node.selection_set.node)
        }
        Selection::FragmentSpread(spread) => {
            let fragment = document.fragments.get(&spread.node.fragment_name.node);
            fragment.map_or(0, |fragment| root_fields(document, &fragment.node.selection_set.node))
        }
    };
    selections.items.iter().map(of).sum()
}

fn is_introspection(selections: &SelectionSet) -> bool {
    selections.items.iter().all(|selection| match &selection.node {
        Selection::Field(field) => field.node.name.node.starts_with("__"),
        Selection::FragmentSpread(_) | Selection::InlineFragment(_) => false,
    })
}

impl<'a> Costs<'a> {
    fn of(&mut self, selections: &'a SelectionSet) -> Result<Cost, ServerError> {
        let mut sum = Cost::default();
        for selection in &selections.items {
            let cost = match &selection.node {
                Selection::Field(field) => {
                    let mut cost = self.of(&field.node.selection_set.node)?;
                    cost.add(Cost {
                        selections: 1,
                        aliases: usize::from(field.node.alias.is_some()),
                        directives: field.node.directives.len(),
                        depth: cost.depth + 1,
                    });
                    cost
                }
                Selection::InlineFragment(fragment) => {
                    let mut cost = self.of(&fragment.node.selection_set.node)?;
                    cost.add(Cost {
                        selections: 1,
                        directives: fragment.node.directives.len(),
                        ..Cost::default()
                    });
                    cost
                }
                Selection::FragmentSpread(spread) => {
                    let mut cost = self.of_fragment(&spread.node.fragment_name)?;
                    cost.add(Cost {
                        selections: 1,
                        directives: spread.node.directives.len(),
                        ..Cost::default()
                    });
                    cost
                }
            };
            sum.add(cost);
        }
        Ok(sum)
    }

    fn of_fragment(&mut self, name: &'a Positioned<Name>) -> Result<Cost, ServerError> {
        match self.fragments.get(&name.node) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => return Err(circle(name.pos, &name.node)),
            None => {}
        }
        // The validator says which fragments are missing.
        let Some(fragment) = self.document.fragments.get(&name.node) else {
            return Ok(Cost::default());
        };
        self.fragments.insert(&name.node, None);
        let mut cost = self.of(&fragment.node.selection_set.node)?;
        cost.directives = cost.directives.saturating_add(fragment.node.directives.len());
        self.fragments.insert(&name.node, Some(cost));
        Ok(cost)
    }
}

fn circle(position: Pos, name: &Name) -> ServerError {
    let message = format!("the fragment {name} contains itself");
    coded(ServerError::new(message, Some(position)), "GRAPHQL_VALIDATION_FAILED")
}

fn too_much(what: &str, most: usize) -> ServerError {
    let message = format!("the document has more than {most} {what}; ask for less at a time");
    coded(ServerError::new(message, None), "OPERATION_TOO_LARGE")
}

pub(super) fn coded(mut error: ServerError, code: &str) -> ServerError {
    error.extensions.get_or_insert_default().set("code", code);
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn limits() -> Graphql {
        Sources::default().load().unwrap().config.graphql
    }

    fn asked(text: &str, operation_name: Option<&str>) -> Result<Kind, ServerError> {
        let body = serde_json::json!({ "query": text, "operationName": operation_name });
        let parameters = Parameters::from_json(body.to_string().as_bytes()).unwrap();
        parse(&parameters, &limits()).map(|(_, kind)| kind)
    }

    fn refusal(text: &str) -> String {
        asked(text, None).unwrap_err().message
    }

    #[test]
    fn tokens_are_counted_as_the_specification_has_them() {
        let counted = |text: &str| (0..100).find(|most| count_tokens(text, *most).is_ok()).unwrap();
        assert_eq!(counted("{ a, b }\u{feff} # comment { { {"), 4);
        assert_eq!(counted("query Q($x: Int! = -1.5e3) { f(x: $x) @skip(if: true) }"), 27);
        assert_eq!(counted(r#"{ f(s: "a \" } { b") ...g }"#), 10);
        assert_eq!(counted("{ f(s: \"\"\"block \" \\\"\"\" still\"\"\") }"), 8);
        assert_eq!(counted("{ f(s: \"never ends } } }"), 6);
    }

    #[test]
    fn a_document_of_too_many_tokens_is_refused_before_it_is_parsed() {
        assert_eq!(
            refusal(&"a ".repeat(5_001)),
            "the document has more than 5000 tokens; ask for less at a time"
        );
    }

    #[test]
    fn brackets_that_would_exhaust_the_stack_are_refused() {
        for text in [format!("{{ f(x: {}", "[".repeat(4_000)), "{a".repeat(2_000)] {
            assert!(refusal(&text).contains("levels of brackets"), "{text}");
        }
    }

    #[test]
    fn brackets_within_the_limit_do_not_exhaust_the_stack() {
        let (open, close) = ("[".repeat(98), "]".repeat(98));
        asked(&format!("{{ a(x: {open}{close}) }}"), None).unwrap();
        asked(&format!("query($x: {open}Int{close}) {{ a(x: $x) }}"), None).unwrap();
        let objects = format!("{}1{}", "{a: ".repeat(98), "}".repeat(98));
        asked(&format!("{{ a(x: {objects}) }}"), None).unwrap();
        let fields = format!("{}{}", "{ a ".repeat(100), "}".repeat(100));
        assert!(!refusal(&fields).contains("levels of brackets"));
    }

    #[test]
    fn fragments_that_spread_each_other_count_in_full() {
        let mut text = "{ ...f0 }".to_owned();
        for number in 0..60 {
            let next = number + 1;
            text += &format!(" fragment f{number} on Query {{ ...f{next} ...f{next} }}");
        }
        for last in ["fragment f60 on Query { a }", ""] {
            assert!(refusal(&format!("{text} {last}")).contains("more than 5000 selections"));
        }
    }

    #[test]
    fn a_fragment_that_contains_itself_is_refused() {
        let circle = "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }";
        assert_eq!(refusal(circle), "the fragment a contains itself");
    }

    #[test]
    fn depth_aliases_and_directives_have_limits() {
        let deep = format!("{}{}", "{ a ".repeat(16), "}".repeat(16));
        assert!(refusal(&deep).contains("more than 15 levels"));
        let aliases: Vec<String> = (0..31).map(|n| format!("a{n}: a")).collect();
        assert!(refusal(&format!("{{ {} }}", aliases.join(" "))).contains("more than 30 aliases"));
        let directives = "@skip(if: false) ".repeat(51);
        assert!(refusal(&format!("{{ a {directives} }}")).contains("more than 50 directives"));
    }

    #[test]
    fn a_subscription_has_one_root_field() {
        for one in [
            "subscription { a { b c } }",
            "subscription { ...f } fragment f on Subscription { ... { a } }",
        ] {
            assert_eq!(asked(one, None).unwrap(), Kind::Subscription, "{one}");
        }
        asked("query { a b }", None).unwrap();
        for two in [
            "subscription { a b }",
            "subscription { x: a y: a }",
            "subscription { a ...f } fragment f on Subscription { ... { b } }",
        ] {
            let error = asked(two, None).unwrap_err();
            assert!(error.message.contains("one root field, not 2"), "{two}: {}", error.message);
            let code = error.extensions.unwrap().get("code").cloned();
            assert_eq!(code, Some("GRAPHQL_VALIDATION_FAILED".into()));
        }
    }

    #[test]
    fn several_operations_need_a_name() {
        let two = "query A { a } mutation B { b }";
        assert!(refusal(two).contains("operationName"));
        assert_eq!(asked(two, Some("B")).unwrap(), Kind::Mutation);
        assert!(asked(two, Some("C")).is_err());
    }
}
