//! What agreement costs, counted: `docs/sync.md` has the figures. Bytes and questions are the same
//! on every machine and held here; times are only printed.

use super::*;

/// Cells of a node's sketch, as it has them.
fn whole_sketch(config: &mut Config) {
    config.sketch_cells = 65_536;
}

/// Counts a difference of `total` records, half on each side, among `common`.
fn count(common: u64, total: u64) -> Cost {
    let cost = differ_among(common, [total.div_ceil(2), total / 2], whole_sketch);
    println!(
        "{total} differences among {common}: {} questions, {} bytes, the longest question {}: {:?}",
        cost.questions.len(),
        cost.bytes,
        cost.question_bytes,
        cost.questions
    );
    cost
}

fn check_budgets(common: u64) {
    assert_eq!(count(common, 0).bytes, 0);
    for total in [1, 10] {
        let cost = count(common, total);
        // Each node may begin a session of its own: neither knows that the other one does.
        let sessions = cost.questions.len();
        assert!(sessions <= 2 && cost.questions.iter().all(|asked| *asked == "sketch"), "{cost:?}");
        assert!(cost.question_bytes <= 1_200 && cost.bytes <= 1_600 * sessions, "{cost:?}");
    }
    let cost = count(common, 100);
    assert!(cost.questions.len() <= 2 * 3 && cost.bytes <= 2 * 12_000, "{cost:?}");
    let cost = count(common, 10_000);
    assert!(cost.bytes <= 2 * 750_000, "{cost:?}");
}

#[test]
fn differences_cost_no_more_than_their_budgets() {
    check_budgets(1_000);
}

#[test]
#[ignore = "a million pins: some minutes and gigabytes without optimisation"]
fn differences_among_a_million_pins_cost_the_same() {
    check_budgets(1_000_000);
}

/// Prints how long a new node takes for the list; `PINS` sets how long that is.
#[test]
#[ignore = "a measurement"]
fn joining_with_an_empty_list() {
    let total: u64 = std::env::var("PINS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let mut nodes = [node(0, whole_sketch), node(1, whole_sketch)];
    nodes[0].pin(10, 0..total);
    let started = std::time::Instant::now();
    let (_, cost) = talk(&mut nodes, 100, true);
    let took = started.elapsed();
    assert!(equal(&nodes) && u64::from(nodes[1].core.roots().live_count) == total);
    println!(
        "{total} pins in {took:?}, {:.0} a second, without the cost of Ed25519: {} questions, {} \
         bytes beside the records; trees and sketch take {} bytes",
        total as f64 / took.as_secs_f64(),
        cost.questions.len(),
        cost.bytes,
        nodes[1].core.memory_bytes()
    );
}
