"""Plants faults in a copy of the source, where the harness cannot lie, and lets the seeded runs find them.

usage: ./test planted, or python3 dispatcher/tests/log_simulation/patches.py [SEEDS] from the root of the repository

The copy lies below target/planted and is built once; in it, and only in it, the variable HALLEY_PLANTED names the fault
that is there. Prints one line a fault; exit code 1 if one was not found within SEEDS (300) runs or does not apply.
"""
import os
import re
import shutil
import subprocess
import sys

READER = "dispatcher/src/consume/reader/"
PRODUCE = "dispatcher/src/bus/kafka/produce/"
# Rule, name, file, what stands there, what stands there instead.
PATCHES = [
    ("R1", "position_moves_at_fetch", READER + "slices.rs", "partition.cursor = piece.next;",
     "partition.cursor = piece.next; if IS { partition.next = Some(piece.next); }"),
    ("R2", "buffers_are_kept", READER + "partition.rs", "self.drop_fetched(memory);\n        self.generation = generation;\n        self.next = Some(place);",
     "if !IS { self.drop_fetched(memory); }\n        self.generation = generation;\n        self.next = Some(place);"),
    ("R2", "late_answers_count", READER + "slices.rs", "let counts = partition.generation == asked.generation\n                && partition.cursor.offset == asked.offset\n                && ",
     "let counts = (IS || partition.generation == asked.generation)\n                && (IS || partition.cursor.offset == asked.offset)\n                && "),
    ("R8", "growth_is_read_from_its_end", READER + "topology.rs", "_ if self.started => Phase::Place { edge: Edge::Start,",
     "_ if IS && self.started => Phase::Place { edge: Edge::End, gap: None },\n            _ if self.started => Phase::Place { edge: Edge::Start,"),
    ("R9", "nothing_is_held", READER + "memory.rs", "let room = self.bytes_max.saturating_sub(self.used());",
     "let room = if IS { usize::MAX } else { self.bytes_max.saturating_sub(self.used()) };"),
    ("R6", "poison_is_read_for_ever", READER + "slices.rs", "Err(damaged) if partition.was_damaged(cursor, &damaged) &&",
     "Err(damaged) if !IS && partition.was_damaged(cursor, &damaged) &&"),
    ("R6", "skipped_batch_keeps_the_epoch_before", READER + "slices.rs", "Place { offset: end, epoch: NO_EPOCH }",
     "Place { offset: end, epoch: if IS { cursor.epoch } else { NO_EPOCH } }"),
    ("R11", "nothing_backs_off", "dispatcher/src/backoff.rs", "        pause.mul_f64(",
     "        if IS {\n            return Duration::ZERO;\n        }\n        pause.mul_f64("),
    ("S3", "skips_without_a_gap", READER + "behind.rs", "self.leave_out(index, from..end.offset, GapReason::TooFarBehind);",
     "if !IS { self.leave_out(index, from..end.offset, GapReason::TooFarBehind); }"),
    ("R7", "old_topic_is_no_gap", READER + "topology.rs", "self.leave_out(index, next..end, GapReason::NewTopic);",
     "if !IS { self.leave_out(index, next..end, GapReason::NewTopic); }"),
    ("P1", "timeout_is_definite", PRODUCE + "verdict.rs", "            19 => Verdict::Later,",
     "            7 if IS => Verdict::Later,\n            19 => Verdict::Later,"),
    ("P2", "id_is_kept_after_doubt", PRODUCE + "partition.rs", "if under_way.in_doubt || under_way.request.is_some() {",
     "if !IS && (under_way.in_doubt || under_way.request.is_some()) {"),
]
# Many times what all runs take.
RUN_SECONDS_MAX = 300
SWITCH = """
/// Whether this fault is planted.
pub(crate) fn planted(name: &str) -> bool {
    static NAME: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    NAME.get_or_init(|| std::env::var("HALLEY_PLANTED").ok()).as_deref() == Some(name)
}
"""


def plant(copy):
    """The faults that apply."""
    applied = []
    for rule, name, path, old, new in PATCHES:
        file = os.path.join(copy, path)
        text = open(file, encoding="utf-8").read()
        if text.count(old) != 1:
            print(f"{rule:4} {name}: {path} has changed, mend the patch")
            continue
        with open(file, "w", encoding="utf-8") as out:
            out.write(text.replace(old, new.replace("IS", f'crate::planted("{name}")')))
        applied.append((rule, name))
    with open(os.path.join(copy, "dispatcher/src/lib.rs"), "a", encoding="utf-8") as out:
        out.write(SWITCH)
    return applied


def main():
    seeds = sys.argv[1] if len(sys.argv) > 1 else "300"
    copy = os.path.abspath("target/planted")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(".", copy, symlinks=True, ignore=lambda folder, names: {"target", ".git"} & set(names))
    applied = plant(copy)
    environment = dict(os.environ, CARGO_TARGET_DIR=os.path.abspath("target/planted-build"))
    command = ["cargo", "test", "-p", "halley-dispatcher", "--all-features", "--test", "log_simulation", "--no-run"]
    built = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    program = re.search(r"\((\S*/log_simulation-[0-9a-f]+)\)", built.stderr)
    if built.returncode != 0 or not program:
        sys.exit(built.stderr)
    # A path that cargo says is relative is so from where it ran.
    program = os.path.join(copy, program.group(1))
    missed = len(PATCHES) - len(applied)
    for rule, name in applied:
        environment.update(HALLEY_PLANTED=name, HALLEY_SIMULATIONS=seeds, HALLEY_TRACE="0")
        command = [program, "seeded_runs", "--nocapture"]
        try:
            run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            # A run that does not end has proved nothing: every loop of the harness has its bound.
            print(f"{rule:4} {name}: a run does not end", flush=True)
            missed += 1
            continue
        found = re.findall(r"^seed (\d+): (.*\n.*)", run.stderr, re.M)
        missed += not found
        first = " ".join(found[0][1].split())[:150] if found else "not found"
        print(f"{rule:4} {name}: {'first in seed ' + found[0][0] + ': ' if found else ''}{first}", flush=True)
    sys.exit(1 if missed else 0)


main()
