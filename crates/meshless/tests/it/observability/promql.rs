//! As much of PromQL as it takes to see which metrics and labels a query names.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::vec::IntoIter;

/// What a query names.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) text: String,
    pub(super) metrics: Vec<Metric>,
    /// Labels in `by (…)` and the like.
    pub(super) grouped_by: BTreeSet<String>,
}

/// A metric with what is in its braces.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: String,
    /// Each label, and the values that it is compared with; none where a variable is filled in.
    pub(super) labels: Vec<(String, Vec<String>)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Other(char),
}

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let mut query = Self { text: text.to_owned(), ..Self::default() };
        let mut tokens = tokens(text).into_iter().peekable();
        while let Some(token) = tokens.next() {
            let Token::Word(word) = token else { continue };
            let is_called = tokens.peek() == Some(&Token::Other('('));
            if GROUPING.contains(&word.as_str()) && is_called {
                query.grouped_by.extend(words_until(&mut tokens, ')'));
            } else if !is_called && !OPERATORS.contains(&word.as_str()) {
                let has_selector = tokens.peek() == Some(&Token::Other('{'));
                let labels = if has_selector { selector(&mut tokens) } else { Vec::new() };
                query.metrics.push(Metric { name: word, labels });
            }
        }
        query
    }
}

/// The query and the label of Grafana's `label_values(query, label)`.
pub(super) fn queries_label(text: &str) -> (Query, String) {
    let inside = text.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
    let (query, label) = inside.rsplit_once(',').unwrap();
    (Query::parse(query), label.trim().to_owned())
}

/// What is within the braces that come next.
fn selector(tokens: &mut Peekable<IntoIter<Token>>) -> Vec<(String, Vec<String>)> {
    let mut labels = Vec::new();
    for token in tokens.by_ref() {
        match token {
            Token::Word(label) => labels.push((label, Vec::new())),
            // Alternatives of a regular expression; anything beyond these is not looked into.
            Token::Text(text) if !text.contains('$') => {
                let (_, values) = labels.last_mut().expect("a label stands before its value");
                values.extend(text.split('|').map(str::to_owned));
            }
            Token::Other('}') => break,
            _ => {}
        }
    }
    labels
}

fn words_until(tokens: &mut Peekable<IntoIter<Token>>, end: char) -> Vec<String> {
    let inside = tokens.by_ref().take_while(|token| *token != Token::Other(end));
    inside.filter_map(|token| if let Token::Word(word) = token { Some(word) } else { None }).collect()
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let mut rest = |belongs: fn(char) -> bool| {
            let mut word = String::from(c);
            while let Some(next) = chars.next_if(|&next| belongs(next)) {
                word.push(next);
            }
            word
        };
        match c {
            'a'..='z' | 'A'..='Z' | '_' => {
                tokens.push(Token::Word(rest(|c| c.is_ascii_alphanumeric() || c == '_')));
            }
            // Numbers, durations and Grafana's variables name no metric.
            '0'..='9' | '$' => drop(rest(|c| c.is_ascii_alphanumeric() || "._".contains(c))),
            '"' => {
                let inside = chars.by_ref().take_while(|&c| c != '"').collect();
                tokens.push(Token::Text(inside));
            }
            c if c.is_whitespace() => {}
            c => tokens.push(Token::Other(c)),
        }
    }
    tokens
}

const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Words that are no metric, though no parenthesis follows: `sum by (…) (…)` has its own.
const OPERATORS: [&str; 8] = ["and", "or", "unless", "bool", "offset", "sum", "max", "avg"];
