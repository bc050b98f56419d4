//! `pinmesh status` and `pinmesh sync peers`.

use serde_json::Value;

use super::table::{Table, age, clean, count, duration, several, short, size};
use super::{list, number, text};

/// The table of `sync/status`.
pub(in crate::cli) fn render(status: &Value) -> String {
    let members = list(status, "Members");
    let is_in_sync = status.get("InSync").and_then(Value::as_bool) == Some(true);
    let online = members.iter().filter(|member| text(member, "State") == "online").count() + 1;
    let mut out = String::new();
    out.push_str(if is_in_sync { "In sync: " } else { "Not in sync: " });
    let (pins, size) = (number(status, "Pins"), members.len().max(1) as u64);
    out.push_str(&several(pins, "pin"));
    out.push_str(&format!(", {online} of {} online\n", several(size, "member")));
    out.push_str(&format!("Root:    {}\n", clean(text(status, "LiveRoot"))));
    let queue = status.get("Queue").unwrap_or(&Value::Null);
    let of = |name| count(number(queue, name));
    let (queued, fetching, failing) = (of("Queued"), of("Fetching"), of("Failing"));
    out.push_str(&format!("Queue:   {queued} queued, {fetching} fetching, {failing} failing\n"));
    let unrecorded = number(status, "Unrecorded");
    let waiting = text(status, "Waiting");
    if unrecorded > 0 || !waiting.is_empty() {
        let why = if waiting.is_empty() { "they are recorded soon" } else { waiting };
        out.push_str(&format!("Waiting: {}: {}\n", several(unrecorded, "change"), clean(why)));
    }
    out.push('\n');
    out.push_str(&members_table(members));
    if let Some(next) = next(status) {
        out.push_str(&format!("\nNext: {next}\n"));
    }
    out
}

fn members_table(members: &[Value]) -> String {
    let heads = ["MEMBER", "NAME", "STATE", "#PINS", "#BEHIND", "#FREE", "SEEN", "ADDRESS"];
    let mut table = Table::new(&heads);
    for member in members {
        let is_own = text(member, "State") == "self";
        let is_known = !text(member, "LiveRoot").is_empty();
        let number_of = |name| if is_known { count(number(member, name)) } else { "?".to_owned() };
        let free = number(member, "FreeBytes");
        table.push(vec![
            short(text(member, "ID")).to_owned(),
            text(member, "Name").to_owned(),
            text(member, "State").to_owned(),
            number_of("Pins"),
            number_of("LagPins"),
            if free == 0 { String::new() } else { size(free) },
            if is_own { "now".to_owned() } else { age(text(member, "LastSeen")) },
            address(member),
        ]);
    }
    table.take()
}

/// Where a member is: the first address that leads to another machine, or the first.
fn address(member: &Value) -> String {
    let texts: Vec<&str> = list(member, "Addrs").iter().filter_map(Value::as_str).collect();
    let is_far = |text: &&&str| !text.starts_with("/ip4/127.") && !text.starts_with("/ip6/::1/");
    let found = texts.iter().find(is_far).or(texts.first());
    let found = found.copied().unwrap_or_default();
    found.split("/p2p/").next().unwrap_or_default().to_owned()
}

/// What to type when something is not as it should be.
fn next(status: &Value) -> Option<String> {
    let members = list(status, "Members");
    let queue = status.get("Queue").unwrap_or(&Value::Null);
    let root = text(status, "LiveRoot");
    let differs = members
        .iter()
        .find(|member| text(member, "State") == "online" && text(member, "LiveRoot") != root);
    if number(queue, "Failing") > 0 {
        return Some("pinmesh pins errors".to_owned());
    }
    if members.len() < 2 {
        return Some(
            "pinmesh swarm invite    (its line lets another node join: pinmesh init --join)"
                .to_owned(),
        );
    }
    if number(queue, "Queued") + number(queue, "Fetching") > 0 {
        return Some("pinmesh pins pending".to_owned());
    }
    differs.map(|member| format!("pinmesh sync diff {}", short(text(member, "ID"))))
}

/// The members one below the other.
pub(super) fn render_peers(answer: &Value) -> String {
    let mut out = String::new();
    for peer in list(answer, "Peers") {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&render_peer(peer));
    }
    out
}

fn render_peer(peer: &Value) -> String {
    let mut out = format!("{}  {}\n", clean(text(peer, "ID")), clean(text(peer, "State")));
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("  {name:<9} {}\n", clean(&value)));
        }
    };
    line("name", text(peer, "Name").to_owned());
    line("agent", text(peer, "Version").to_owned());
    line("seen", age(text(peer, "LastSeen")));
    let offset = peer.get("ClockOffset").and_then(Value::as_i64);
    line("clock", offset.map(clock).unwrap_or_default());
    line("root", text(peer, "LiveRoot").to_owned());
    if !text(peer, "LiveRoot").is_empty() {
        let behind = number(peer, "LagPins");
        let removed = several(number(peer, "Tombstones"), "removal");
        line(
            "list",
            format!(
                "{}, {removed} remembered, {} behind",
                several(number(peer, "Pins"), "pin"),
                count(behind)
            ),
        );
    }
    let floor = age(text(peer, "Floor"));
    if !floor.is_empty() {
        line("floor", format!("what was removed {floor} ago is seen by all"));
    }
    let held = peer.get("Status").unwrap_or(&Value::Null);
    let of = |name| count(number(held, name));
    line(
        "content",
        format!(
            "{} whole, {} queued, {} fetching, {} failing, {} stalled",
            of("Pinned"),
            of("Queued"),
            of("Fetching"),
            of("Failing"),
            of("Stalled")
        ),
    );
    let (free, used) = (number(held, "FreeBytes"), number(held, "UsedBytes"));
    if free > 0 || used > 0 {
        line("disk", format!("{} used, {} free", size(used), size(free)));
    }
    for address in list(peer, "Addrs").iter().filter_map(Value::as_str) {
        line("address", address.to_owned());
    }
    out
}

/// A difference of clocks.
fn clock(ahead_ms: i64) -> String {
    let ms = ahead_ms.unsigned_abs();
    match ms {
        0..1000 => "as here".to_owned(),
        _ => format!(
            "{} {} of this one",
            duration(ms / 1000),
            if ahead_ms > 0 { "ahead" } else { "behind" }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn member(id: &str, state: &str, root: &str) -> Value {
        json!({"ID": id, "Name": "", "Addrs": ["/ip4/127.0.0.1/tcp/1/p2p/x", "/ip4/10.0.0.2/tcp/1/p2p/x"],
               "Version": "", "State": state, "LiveRoot": root, "Pins": 2, "LagPins": 0,
               "FreeBytes": 0, "LastSeen": ""})
    }

    fn status(members: &[Value], failing: u64) -> Value {
        json!({"InSync": false, "LiveRoot": "0x1", "StateRoot": "0x2", "Pins": 2, "Tombstones": 0,
               "Unrecorded": 0, "Waiting": "", "Members": members,
               "Queue": {"Queued": 0, "Fetching": 0, "Failing": failing}})
    }

    #[test]
    fn a_table_says_it_all() {
        let members = [
            member("12D3KooWaaaaaaaa", "self", "0x1"),
            member("12D3KooWbbbbbbbb", "online", "0x1"),
        ];
        let mut status = status(&members, 0);
        status["InSync"] = json!(true);
        assert_eq!(
            render(&status),
            "In sync: 2 pins, 2 of 2 members online\n\
             Root:    0x1\n\
             Queue:   0 queued, 0 fetching, 0 failing\n\
             \n\
             MEMBER    NAME  STATE   PINS  BEHIND  FREE  SEEN  ADDRESS\n\
             aaaaaaaa        self       2       0        now   /ip4/10.0.0.2/tcp/1\n\
             bbbbbbbb        online     2       0              /ip4/10.0.0.2/tcp/1\n"
        );
    }

    #[test]
    fn the_last_line_says_what_to_type() {
        let own = || member("12D3KooWaaaaaaaa", "self", "0x1");
        let same = || member("12D3KooWbbbbbbbb", "online", "0x1");
        let other = || member("12D3KooWcccccccc", "online", "0x3");
        let last = |members: &[Value], failing| {
            let text = render(&status(members, failing));
            text.lines().last().unwrap().to_owned()
        };
        assert!(last(&[own()], 0).starts_with("Next: pinmesh swarm invite"));
        assert_eq!(last(&[own(), other()], 3), "Next: pinmesh pins errors");
        assert_eq!(last(&[own(), same(), other()], 0), "Next: pinmesh sync diff cccccccc");
        assert!(!render(&status(&[own(), same()], 0)).contains("Next"));
        let mut waiting = status(&[own(), same()], 0);
        waiting["Unrecorded"] = json!(1);
        waiting["Waiting"] = json!("a member is to be heard");
        assert!(render(&waiting).contains("Waiting: 1 change: a member is to be heard\n"));
    }

    #[test]
    fn a_member_is_shown_with_what_is_known_of_it() {
        let peer = json!({"ID": "x", "State": "offline", "LastSeen": "", "ClockOffset": -90_000,
                          "LiveRoot": "0x1", "Pins": 1, "Tombstones": 2, "LagPins": 0,
                          "Status": {"Pinned": 1}});
        let text = render_peers(&json!({"Peers": [peer]}));
        assert!(text.contains("  clock     90 s behind of this one\n"), "{text}");
        assert!(text.contains("1 pin, 2 removals remembered, 0 behind"), "{text}");
    }
}
