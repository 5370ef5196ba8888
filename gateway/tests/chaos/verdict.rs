//! What a round came to: sums, and a few examples of what was wrong. Owns their table; the ledger fills it.

/// Of what was wrong so many examples are kept.
const EXAMPLES_MAX: usize = 10;

/// What was found, summed over rounds.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Rounds that were summed up.
    pub rounds: usize,
    /// Pushes answered with success.
    pub accepted: usize,
    /// Pushes of which nothing may appear.
    pub refused: usize,
    /// Pushes that may appear once.
    pub unknown: usize,
    /// What came to all sessions.
    pub received: usize,
    /// Sessions that were open from a round's begin to its end.
    pub stayed: usize,
    /// Accepted pushes that did not come to somebody.
    pub lost: usize,
    /// Pushes that came once more.
    pub doubled: usize,
    /// Pushes that came behind later ones.
    pub reordered: usize,
    /// Pushes that were refused and came.
    pub appeared: usize,
    /// A few of what was wrong.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Above the rows.
    pub const HEAD: &'static str = "fault              rounds  accepted  refused  unknown  received  stayed up  \
         lost  doubled  out of order  refused but came";

    /// An accepted push did not come.
    pub fn lost(&mut self, example: String) {
        self.lost += 1;
        self.example(example);
    }

    /// A push came once more.
    pub fn doubled(&mut self, example: String) {
        self.doubled += 1;
        self.example(example);
    }

    /// A push came behind a later one.
    pub fn reordered(&mut self, example: String) {
        self.reordered += 1;
        self.example(example);
    }

    /// A refused push came.
    pub fn appeared(&mut self, example: String) {
        self.appeared += 1;
        self.example(example);
    }

    fn example(&mut self, example: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example);
        }
    }

    /// Sums up.
    pub fn add(&mut self, other: &Verdict) {
        let pairs: [(&mut usize, usize); 10] = [
            (&mut self.rounds, other.rounds),
            (&mut self.accepted, other.accepted),
            (&mut self.refused, other.refused),
            (&mut self.unknown, other.unknown),
            (&mut self.received, other.received),
            (&mut self.stayed, other.stayed),
            (&mut self.lost, other.lost),
            (&mut self.doubled, other.doubled),
            (&mut self.reordered, other.reordered),
            (&mut self.appeared, other.appeared),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum += more);
        self.examples.extend(other.examples.iter().take(EXAMPLES_MAX.saturating_sub(self.examples.len())).cloned());
    }

    /// Whether it could have shown a fault: pushes were accepted and came, and somebody stayed.
    pub fn proves_something(&self) -> bool {
        self.accepted > 0 && self.received > 0 && self.stayed > 0
    }

    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.appeared == 0
    }

    /// A line of the table.
    pub fn row(&self, name: &str) -> String {
        let Verdict {
            rounds, accepted, refused, unknown, received, stayed, lost, doubled, reordered, appeared, ..
        } = self;
        format!(
            "{name:<18} {rounds:>6}  {accepted:>8}  {refused:>7}  {unknown:>7}  {received:>8}  {stayed:>9}  {lost:>4}  \
             {doubled:>7}  {reordered:>12}  {appeared:>16}"
        )
    }
}
