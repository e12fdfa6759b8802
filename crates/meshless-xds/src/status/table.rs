//! The same as text, in columns, for people.

use super::{ClientStatus, ServiceStatus};

/// The services as a table.
pub fn services_table(services: &[ServiceStatus]) -> String {
    let rows = services.iter().map(|service| {
        let note = match (&service.trouble, service.holding_seconds) {
            (Some(trouble), Some(seconds)) => format!("held for {seconds} s: {trouble}"),
            (Some(trouble), None) => trouble.clone(),
            (None, _) => service.source.clone().unwrap_or_default(),
        };
        vec![
            service.name.clone(),
            service.state.to_string(),
            service.endpoints.len().to_string(),
            service.clients.to_string(),
            service.policies.join(" > "),
            note,
        ]
    });
    table(&["SERVICE", "STATE", "ENDPOINTS", "STREAMS", "POLICY", "NOTE"], rows)
}

/// The clients as a table.
pub fn clients_table(clients: &[ClientStatus]) -> String {
    let rows = clients.iter().map(|client| {
        let names = client.types.get("LDS").map(|listeners| listeners.names.join(",")).unwrap_or_default();
        let nacks: u64 = client.types.values().map(|kind| kind.nacks).sum();
        let refusal = client.types.iter().find_map(|(kind, status)| Some((kind, status.refusal.as_ref()?)));
        let note = match refusal {
            Some((kind, refusal)) => format!("{kind} refused: {refusal}"),
            None if !client.unknown.is_empty() => format!("unknown: {}", client.unknown.join(",")),
            None => String::new(),
        };
        let zone = client.zone.clone().unwrap_or_else(|| "-".to_owned());
        let age = format!("{} s", client.seconds);
        vec![client.node.clone(), client.user_agent.clone(), zone, age, names, nacks.to_string(), note]
    });
    table(&["NODE", "CLIENT", "ZONE", "AGE", "SERVICES", "NACKS", "NOTE"], rows)
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut lines = vec![head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let text = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ServiceState;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let service = |name: &str, trouble: Option<&str>| ServiceStatus {
            name: name.to_owned(),
            state: ServiceState::Ok,
            trouble: trouble.map(str::to_owned),
            ..ServiceStatus::default()
        };
        let text = services_table(&[service("echo.shop:50051", None), service("a:1", Some("no such name"))]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("echo.shop:50051  ok"), "{text}");
        assert!(lines[2].starts_with("a:1              ok"), "{text}");
        assert!(lines[2].ends_with("no such name"), "{text}");
    }
}
