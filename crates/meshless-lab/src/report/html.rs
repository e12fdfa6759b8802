//! The page: one file without outside resources or scripts, for a desktop, a phone, and paper.
//!
//! Order: the verdict, a summary, the figures, how to read them, every number, how it was run.

use std::fmt::Write as _;

use super::summary::summary;
use super::verdict::verdict;
use crate::drawing::figure::{Figure, Pictures, inline, strategy_swatch};
use crate::drawing::format::{count, ms, percent, ratio};
use crate::drawing::palette::{self, Palette};
use crate::drawing::svg::escape;
use crate::experiment;
use crate::results::Results;

/// The whole page.
pub(crate) fn page(results: &Results) -> String {
    let palette = Palette::of(results);
    let figures: Vec<Figure> =
        experiment::ALL.iter().flat_map(|experiment| experiment.figures(results, &palette)).collect();
    let mut out = String::with_capacity(PAGE_BYTES);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"meshless {version}\">\n\
         <title>{TITLE}</title>\n<style>{style}{colours}</style>\n</head>\n<body>\n<main>\n",
        version = env!("CARGO_PKG_VERSION"),
        style = include_str!("style.css"),
        colours = palette::css(),
    );
    out += &header(results);
    out += &summary(results, &palette);
    for (i, figure) in figures.iter().enumerate() {
        out += &section(i + 1, figure);
    }
    out += HOW_TO_READ;
    out += NUMBERS;
    for experiment in experiment::ALL {
        out += &(experiment.tables().page)(results, &palette);
    }
    out += "</section>\n";
    out += &how_it_was_run(results);
    out += "</main>\n</body>\n</html>\n";
    out
}

fn header(results: &Results) -> String {
    let verdict: String =
        verdict(results).iter().map(|said| format!("<p class=\"verdict\">{}</p>\n", inline(said))).collect();
    let interrupted = if results.complete {
        ""
    } else {
        "<p class=\"alert\" role=\"note\"><strong>Interrupted.</strong> This run was stopped before its end; what follows was measured until then.</p>\n"
    };
    format!(
        "<header>\n<p class=\"kicker\">{kicker}</p>\n<h1>{TITLE}</h1>\n{interrupted}{verdict}</header>\n",
        kicker = escape(&format!("meshless compare, {}", day(&results.started_at))),
    )
}

fn section(number: usize, figure: &Figure) -> String {
    let mut out = format!(
        "<section class=\"figure\" id=\"{}\">\n<h2><span class=\"no\">{number}</span>{}</h2>\n",
        figure.id,
        escape(figure.title)
    );
    if !figure.takeaway.is_empty() {
        let _ = writeln!(out, "<p class=\"takeaway\">{}</p>", inline(&figure.takeaway));
    }
    out += "<figure>\n";
    let hidden = if figure.key.iter().all(|key| key.narrow_only) { " narrow" } else { "" };
    let _ = write!(out, "<ul class=\"key{hidden}\">");
    for key in &figure.key {
        let class = if key.narrow_only { " class=\"narrow\"" } else { "" };
        let _ = write!(out, "<li{class}>{}{}</li>", key.swatch, escape(&key.text));
    }
    out += "</ul>\n";
    match &figure.pictures {
        Pictures::One { wide, narrow } => {
            let _ = write!(out, "<div class=\"wide\">{wide}</div>\n<div class=\"narrow\">{narrow}</div>\n");
        }
        Pictures::Several(panels) => {
            out += "<div class=\"panels\">\n";
            for panel in panels {
                let swatch = panel.slot.map_or_else(String::new, strategy_swatch);
                let _ = writeln!(
                    out,
                    "<div class=\"panel\"><h3>{swatch}{}</h3><p class=\"note\">{}</p>{}</div>",
                    escape(&panel.title),
                    escape(&panel.note),
                    panel.svg
                );
            }
            out += "</div>\n";
        }
        Pictures::Table(table) => out += table,
    }
    let _ = write!(out, "<figcaption>{}</figcaption>\n</figure>\n</section>\n", escape(&figure.method));
    out
}

/// Describes the network between the processes.
fn network(name: &str) -> String {
    match name {
        "loopback" => "loopback; the virtual address is a forwarder in user space".into(),
        "kubernetes" => "a Kubernetes cluster's: servers and load are pods of it".into(),
        "kernel" => "the kernel's: a network namespace per pod, the virtual address by nftables as kube-proxy writes it".into(),
        other => escape(other),
    }
}

fn how_it_was_run(results: &Results) -> String {
    let s = &results.settings;
    let m = &results.machine;
    let versions: Vec<String> =
        results.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let steal = m
        .steal_fraction
        .map_or_else(String::new, |f| format!(", {} of its time given to other guests", percent(f)));
    let facts = [
        ("Command", format!("<code>{}</code>", escape(&results.command))),
        ("Seed", results.seed.to_string()),
        ("Began", escape(&results.started_at)),
        ("Took", ms(results.took_s * 1000.0)),
        ("Versions", escape(&versions.join(", "))),
        (
            "Machine",
            escape(&format!(
                "{}; {}, {} cores{steal}; {} MiB of memory; {} file descriptors",
                m.os,
                m.cpu,
                m.cores,
                count(m.memory_mib),
                count(m.file_descriptors)
            )),
        ),
        ("Network", network(&results.network)),
        (
            "Call",
            format!(
                "the server works {}, the client waits at most {}",
                ms(s.service_time_ms),
                ms(s.deadline_ms)
            ),
        ),
        ("Burst", format!("{} rounds of each size", s.rounds)),
        (
            "Spread",
            format!(
                "{} backends, {} calls a second for {}",
                s.backends,
                ratio_or_whole(s.rate),
                ms(s.seconds * 1000.0)
            ),
        ),
        (
            "Churn",
            format!(
                "{} calls a second for each strategy, the server works {}, the client waits at most {}, most events are watched for {}",
                ratio_or_whole(s.churn.rate),
                ms(s.churn.service_time_ms),
                ms(s.churn.deadline_ms),
                ms(s.churn.seconds * 1000.0)
            ),
        ),
        (
            "Ageing",
            format!(
                "maximum connection age {} ± 10 % for each connection, grace {}",
                ms(s.max_connection_age_ms),
                ms(s.max_connection_age_grace_ms)
            ),
        ),
    ];
    let mut out = String::from("<section id=\"run\"><h2>How it was run</h2>\n<dl>");
    for (name, value) in facts {
        let _ = write!(out, "<dt>{name}</dt><dd>{value}</dd>");
    }
    out += "</dl>\n";
    if !results.notes.is_empty() {
        out += "<h3>Notes</h3>\n<ul>";
        for note in &results.notes {
            let _ = write!(out, "<li>{}</li>", inline(note));
        }
        out += "</ul>\n";
    }
    out += "<p class=\"files\">Beside this page: ";
    let tables = experiment::ALL.iter().flat_map(|experiment| (experiment.tables().csv)(results));
    let files = ["results.json"].into_iter().chain(tables.map(|(file, _)| file));
    let links: Vec<String> = files.map(|file| format!("<a href=\"{file}\">{file}</a>")).collect();
    out += &links.join(", ");
    out += ".</p>\n</section>\n";
    out
}

fn ratio_or_whole(rate: f64) -> String {
    if rate.fract() == 0.0 && rate >= 0.0 { count(rate as u64) } else { ratio(rate) }
}

/// Returns the date of an RFC 3339 instant.
fn day(instant: &str) -> &str {
    instant.split_once('T').map_or(instant, |(day, _)| day)
}

/// The tables are wider than paper; on paper a sentence replaces them.
const NUMBERS: &str = "<section id=\"numbers\"><h2>Every number</h2>\n\
<p class=\"paper\">The full tables do not fit on paper; they are in the CSV files beside the page.</p>\n";

const TITLE: &str = "How gRPC calls reach their backends";

/// A typical page, so that the string grows once.
const PAGE_BYTES: usize = 256 * 1024;

const HOW_TO_READ: &str = "<section id=\"reading\"><h2>How to read this</h2>\n\
<dl class=\"reading\">\
<dt>Strategies</dt><dd><code>connection-per-call</code>: a new connection for each call. <code>single-connection</code>: one for all, \
which is what a gRPC client does by itself. <code>max-age-l4</code>, <code>max-age-dns</code>: the server ends the connection at its age, and the \
client comes back through a virtual address or a DNS name. <code>tonic-balance</code>: tonic’s own balancing over all addresses that DNS gives, asked \
every second. <code>l7-proxy</code>: a proxy that balances calls, as a mesh does. \
<code>pick_first</code>, <code>round_robin</code>, <code>least_request</code>, <code>peak_ewma</code>: the channel of meshless, with servers that age; <code>+retry</code>: with a retry policy; \
<code>+kubernetes</code>: told of its backends by a watch of EndpointSlices and not by DNS. \
<code>grpc-go</code>, if it took part: <code>round_robin</code> of grpc-go with nothing else set (it asks DNS at most every 30 s), and servers that age. \
All the others are today’s tonic client.</dd>\
<dt>Failed</dt><dd>Not answered within the deadline, or ended with an error. Failed calls never enter a latency.</dd>\
<dt>Latency</dt><dd>From the moment a call was due, not from when it was sent: a client that falls behind cannot hide it.</dd>\
<dt>Busiest ×</dt><dd>Calls of the busiest backend over the mean of all. 1 is even; with three backends 3 is one backend doing everything. \
Over the whole run it tells about fairness, within a second about the load that a backend must be able to carry.</dd>\
<dt>Never executed</dt><dd>No server began to work on the call, so sending it again is safe. Servers count the ids of calls to know.</dd>\
<dt>Zero</dt><dd>None of <i>n</i> calls failed bounds the rate below 3/<i>n</i> with 95 % confidence, no further.</dd>\
<dt>Comparing</dt><dd>Strategies of one run share machine, seed and settings. Numbers from different machines do not compare.</dd>\
</dl></section>\n";
