//! What each fault does to a world.

use std::io::ErrorKind;

use concurrence_store::StoreId;

use crate::{Role, World, disk::End, scenario::Fault, world::Happening};

/// Least time between a disk's loss and the next start, in milliseconds. By then its peers have told one another what it had told
/// any of them, and its clock is past all that it wrote. An author that comes back earlier, and asks those that did not hear of it, forks
/// itself; one whose clock was set back meanwhile takes its own past for another process: see the threat model.
pub(crate) const LOSS_DOWN_MS: u64 = 60_000;

impl World {
    pub(crate) fn fault(&mut self, fault: Fault) {
        let now_ms = self.now_ms();
        match fault {
            Fault::Start(node) => self.start(node),
            Fault::Kill(node) => self.end(node, End::Kill),
            Fault::PowerCut(node) => self.end(node, End::PowerCut),
            Fault::KillAfter(node, inputs) => {
                if self.nodes[node].is_running() {
                    self.nodes[node].dies_in = Some(inputs.max(1));
                    self.evidence.fault("kill_after");
                }
            }
            Fault::Partition(groups, cut) => {
                self.links.partition(&groups, cut);
                self.evidence.fault("partition");
            }
            Fault::Heal => self.links.heal(),
            Fault::StepClock(node, offset_ms) => {
                self.nodes[node].clock.set(now_ms, offset_ms);
                self.evidence.fault("step_clock");
            }
            Fault::Backup(node) => self.nodes[node].backup = Some(self.nodes[node].disk.backup()),
            Fault::RestoreBackup(node) => self.restore_backup(node),
            Fault::BreakDisk(node, calls) => self.nodes[node].disk.fail_after(calls, ErrorKind::Other),
            Fault::FillDisk(node, calls) => self.nodes[node].disk.fail_after(calls, ErrorKind::StorageFull),
            Fault::HealDisk(node) => self.nodes[node].disk.heal(),
            Fault::Rot(node) => self.rot(node),
            Fault::ReplaceDisk(node) => {
                if self.nodes[node].engine.is_none() {
                    self.replace_disk(node);
                }
            }
        }
        self.reconnect();
    }

    /// Starts a process. A store that cannot be opened any more is replaced by an empty one, as an operator would; a device that
    /// fails is left for another start.
    fn start(&mut self, node: usize) {
        let is_absent = self.nodes[node].role == Role::Absent;
        let is_down = self.now_ms() < self.nodes[node].down_until_ms;
        if is_absent || is_down || self.nodes[node].engine.is_some() || self.nodes[node].halted.is_some() {
            return;
        }
        self.watch.restarted(node);
        let now_ms = self.now_ms();
        match self.nodes[node].start(now_ms) {
            Ok(()) => self.set_alarm(node),
            Err(error) => {
                self.evidence.fault("failed_start");
                self.nodes[node].end(End::Kill, &mut self.dice);
                if matches!(error, concurrence_store::StoreError::Corrupt { .. }) {
                    self.replace_disk(node);
                    let again_ms = self.now_ms() + LOSS_DOWN_MS;
                    self.nodes[node].down_until_ms = again_ms;
                    self.schedule(again_ms, Happening::Fault(Fault::Start(node)));
                }
            }
        }
    }

    fn end(&mut self, node: usize, how: End) {
        if self.nodes[node].is_running() {
            self.nodes[node].end(how, &mut self.dice);
            self.evidence.fault(if how == End::Kill { "kill" } else { "power_cut" });
        }
    }

    fn restore_backup(&mut self, node: usize) {
        if self.nodes[node].engine.is_some() {
            return;
        }
        if let Some(backup) = self.nodes[node].backup.take() {
            self.nodes[node].disk.restore_backup(&backup);
            self.disk_changed(node);
            self.evidence.fault("restore_backup");
        }
    }

    fn replace_disk(&mut self, node: usize) {
        let id = StoreId::from_bytes(self.dice.bytes32()[..16].try_into().unwrap_or_default());
        self.nodes[node].disk.replace(id);
        self.disk_changed(node);
        self.evidence.fault("replace_disk");
    }

    /// What stood on the old disk is gone: what rotted there, and what nobody else heard of.
    fn disk_changed(&mut self, node: usize) {
        self.nodes[node].has_rotten = false;
        self.evidence.forget_unheard(self.author(node));
    }

    /// Own operations are spared: an own one that rots is a rolled-back log, which [`Fault::RestoreBackup`] covers.
    fn rot(&mut self, node: usize) {
        let own = self.author(node);
        let network = self.registry.network_id();
        let foreign = |bytes: &&std::sync::Arc<[u8]>| {
            concurrence_crdt::Op::decode(bytes, network).is_ok_and(|op| op.header().log.author != own)
        };
        let candidates: Vec<_> = self.evidence.ops.values().filter(foreign).cloned().collect();
        if candidates.is_empty() {
            return;
        }
        let stored = &candidates[self.dice.below(candidates.len())];
        if self.nodes[node].disk.rot(stored, &mut self.dice) {
            self.nodes[node].has_rotten = true;
            self.evidence.fault("rot");
        }
    }
}
