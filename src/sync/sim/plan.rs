//! What happens in a run: users, partitions, crashes, clocks.

use super::Fault;
use super::world::World;
use crate::sync::core::Op;
use crate::sync::record::{Live, Mode};
use crate::sync::testing::any_cid;

impl World {
    /// The bad times.
    pub(super) fn live_through(&mut self, _seed: u64) -> Result<(), Fault> {
        let moves = 15 + self.dice.below(30);
        for _ in 0..moves {
            self.one_move()?;
            let pause_ms = match self.dice.below(100) {
                0..60 => self.dice.below(1_500),
                60..90 => self.dice.below(12_000),
                90..99 => 10_000 + self.dice.below(50_000),
                _ => self.lease_ms() + self.dice.below(60_000),
            };
            self.advance(pause_ms)?;
        }
        Ok(())
    }

    fn one_move(&mut self) -> Result<(), Fault> {
        let node = self.dice.below(self.nodes.len() as u64) as usize;
        let move_number = self.dice.below(100);
        self.trace(|| format!("move {move_number} on node {node}, sides {:?}", self.sides));
        match move_number {
            0..57 => self.change_a_pin(node)?,
            57 => {
                let pause_ms = self.dice.below(60_000);
                self.pause(node, pause_ms);
            }
            58 => self.freeze(node),
            59 => {
                let op = self.any_op();
                self.fail_disk(node, &op);
            }
            60 => {
                let other = self.dice.below(self.nodes.len() as u64) as usize;
                self.cut.insert((node, other));
            }
            61 => self.cut.clear(),
            62..66 => self.remove_many(node)?,
            66..76 => {
                let sides = 1 + self.dice.below(3);
                for node in 0..self.nodes.len() {
                    self.sides[node] = self.dice.below(sides);
                }
                self.connect();
            }
            76..82 => {
                self.sides.fill(0);
                self.connect();
            }
            82..87 => self.stop(node),
            87..93 => {
                for node in 0..self.nodes.len() {
                    self.start(node);
                }
            }
            93..95 if self.steps_back => {
                let hours = self.dice.below(48) as i64 - 40;
                self.nodes[node].clock_off_ms += hours * 3_600_000;
            }
            95 => {
                self.damage(node);
                self.start(node);
            }
            96..98 if self.restores => {
                self.nodes[node].backup = Some(self.nodes[node].disk.clone());
            }
            98.. if self.restores => {
                self.restore(node);
                if self.steps_back && self.dice.percent(50) {
                    self.nodes[node].clock_off_ms -= 3_600_000;
                }
                self.start(node);
            }
            _ => {}
        }
        Ok(())
    }

    fn change_a_pin(&mut self, node: usize) -> Result<(), Fault> {
        let op = self.any_op();
        self.author(node, &[op]).map(|_| ())
    }

    fn any_op(&mut self) -> Op {
        let cid = any_cid(self.dice.below(self.keys));
        if self.dice.percent(55) {
            let name = format!("{}", self.dice.below(1_000));
            let mode = if self.dice.percent(10) { Mode::Direct } else { Mode::Recursive };
            Op::Pin(cid, Box::new(Live { name, mode, ..Live::default() }))
        } else {
            Op::Unpin(cid, None)
        }
    }

    fn remove_many(&mut self, node: usize) -> Result<(), Fault> {
        let ops: Vec<Op> = self.pins(node).into_values().map(|cid| Op::Unpin(cid, None)).collect();
        self.author(node, &ops).map(|_| ())
    }
}
