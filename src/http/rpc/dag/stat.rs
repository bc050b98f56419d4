//! `dag/stat`: kubo `core/commands/dag/stat.go`.

use serde::Serialize;

use super::super::value::{Int, Omit};
use super::super::{Error, Reply, Request, Value};
use super::EVENTS_AHEAD;
use crate::config::humanize_bytes;
use crate::node::produce::produce;

/// `DagStat`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename = "DagStat", rename_all = "PascalCase")]
struct DagStat {
    cid: String,
    size: Omit<u64>,
    num_blocks: Omit<i64>,
}

/// `DagStatSummary`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename = "DagStatSummary", rename_all = "PascalCase")]
struct Summary {
    unique_blocks: Omit<Int>,
    total_size: Omit<u64>,
    shared_size: Omit<u64>,
    ratio: Omit<f64>,
    #[serde(rename = "DagStats>DagStatsArray")]
    dags: Omit<Vec<DagStat>>,
    /// Bytes, with those that DAGs share counted for each.
    #[serde(skip)]
    redundant_size: u64,
}

impl Value for Summary {
    fn text(&self) -> Option<Result<String, Error>> {
        let width = self.dags.0.first().map_or(0, |dag| dag.cid.len());
        let mut text = format!("\n{:width$}\t{:15}\tSize\n", "CID", "Blocks");
        for DagStat { cid, size, num_blocks } in &self.dags.0 {
            text.push_str(&format!("{cid}\t{:<15}\t{}\n", num_blocks.0, size.0));
        }
        text.push_str(&format!("\nSummary\n{}\n\n\n", self.display()?));
        Some(Ok(text))
    }

    fn display(&self) -> Option<String> {
        let (total, shared) = (self.total_size.0, self.shared_size.0);
        Some(format!(
            "Total Size: {total} ({})\nUnique Blocks: {}\nShared Size: {shared} ({})\nRatio: {:.6}",
            humanize_bytes(total),
            self.unique_blocks.0.0,
            humanize_bytes(shared),
            self.ratio.0,
        ))
    }
}

impl Summary {
    fn begin(&mut self, cid: String) {
        self.dags.0.push(DagStat { cid, size: Omit(0), num_blocks: Omit(0) });
    }

    fn count(&mut self, size: u64, is_new: bool) {
        if let Some(dag) = self.dags.0.last_mut() {
            dag.size.0 += size;
            dag.num_blocks.0 += 1;
        }
        self.redundant_size += size;
        if is_new {
            self.total_size.0 += size;
        }
    }

    /// What only the last event has.
    fn finish(&mut self, unique_blocks: i64) {
        self.unique_blocks.0 = Int(unique_blocks);
        self.shared_size.0 = self.redundant_size - self.total_size.0;
        self.ratio.0 = ratio(self.redundant_size, self.total_size.0);
    }
}

/// A quotient of single precision, with the digits that it is shown with.
#[expect(clippy::cast_precision_loss, reason = "Kubo computes it so")]
fn ratio(redundant: u64, total: u64) -> f64 {
    let ratio = redundant as f32 / total as f32;
    ratio.to_string().parse().unwrap_or(f64::from(ratio))
}

/// `dag/stat`.
pub(in super::super) async fn stat(mut request: Request) -> Result<Reply, Error> {
    let roots = request.all_args().await?;
    let encoder = request.cid_encoder()?;
    let shows_progress = request.options.opt_bool("progress").unwrap_or(true);
    let reach = request.reach();
    let Request { node, deadline, .. } = request;
    Ok(Reply::many(produce(EVENTS_AHEAD, move |events| async move {
        let mut summary = Summary::default();
        let mut count = node.dag_stat(roots.len() > 1, reach);
        let mut unique_blocks = 0;
        for root in &roots {
            deadline.set("");
            let root = node.resolve_text(root).await?;
            if !root.remainder.is_empty() {
                let text = "cannot return size for anything other than a DAG with a root CID";
                return Err(Error::new(text));
            }
            count.begin(&root.cid).await?;
            summary.begin(encoder.encode(&root.cid));
            deadline.set("error traversing DAG: ");
            loop {
                let next = count.next().await;
                let next =
                    next.map_err(|error| Error::new(format!("error traversing DAG: {error}")))?;
                let Some(block) = next else { break };
                unique_blocks += i64::from(block.is_new);
                summary.count(block.size, block.is_new);
                if shows_progress {
                    events.send(summary.clone()).await;
                }
            }
        }
        summary.finish(unique_blocks);
        events.send(summary).await;
        Ok(())
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_blocks_count_once_in_the_total_and_twice_in_the_ratio() {
        let mut summary = Summary::default();
        summary.begin("a".to_owned());
        summary.count(250, true);
        summary.begin("b".to_owned());
        summary.count(115, false);
        summary.finish(1);
        assert_eq!(summary.total_size.0, 250);
        assert_eq!(summary.shared_size.0, 115);
        assert!((summary.ratio.0 - 1.46).abs() < f64::EPSILON);
        let want = "Total Size: 250 (250 B)\nUnique Blocks: 1\nShared Size: 115 (115 B)\n\
                    Ratio: 1.460000";
        assert_eq!(summary.display().unwrap(), want);
    }
}
