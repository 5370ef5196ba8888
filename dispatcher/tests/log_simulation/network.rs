//! What becomes of a question on its way to a broker and back. Owns the weather: how often the network loses, how long
//! it takes; decides each question's fate when it is sent. Knows nothing of what is asked.

use std::time::Duration;

use crate::chance::Chance;

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Not a byte of it was written, which its sender knows after `gives_up`.
    pub is_written: bool,
    /// It arrives after this time, if it does.
    pub arrives: Option<Duration>,
    /// It arrives a second time, later.
    pub again: Option<Duration>,
    /// The answer takes this long, if it comes.
    pub answer: Option<Duration>,
    /// The sender hears that the connection broke, if it does before the answer.
    pub gives_up: Option<Duration>,
}

/// How the network behaves between clients and one broker.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Requests in a thousand that do not go as they should.
    pub troubled: usize,
    /// The longest time that one way usually takes, in microseconds.
    pub delay_us: u64,
}

impl Weather {
    pub const FAIR: Weather = Weather { troubled: 0, delay_us: 2_000 };

    pub fn of(chance: &mut Chance) -> Weather {
        match chance.below(6) {
            0 => Weather { troubled: 300, delay_us: 400_000 },
            1 => Weather { troubled: 100, delay_us: 20_000 },
            2 => Weather { troubled: 20, delay_us: 1_000_000 },
            _ => Weather { troubled: 10, delay_us: 3_000 },
        }
    }

    /// The fate of a request to a broker that is up, or not.
    pub fn fate(self, is_up: bool, chance: &mut Chance) -> Fate {
        let way = |chance: &mut Chance| chance.time(100, self.delay_us);
        let good = Fate {
            is_written: true,
            arrives: Some(way(chance)),
            again: None,
            answer: Some(way(chance)),
            gives_up: None,
        };
        let broken = chance.time(1_000, 3_000_000);
        if !is_up {
            // Refused at once, or nobody says anything.
            let gives_up = chance.in_1000(800).then(|| way(chance));
            return Fate { is_written: chance.in_1000(100), arrives: None, again: None, answer: None, gives_up };
        }
        if !chance.in_1000(self.troubled) {
            return good;
        }
        match chance.below(6) {
            0 => Fate { is_written: false, arrives: None, answer: None, gives_up: Some(way(chance)), ..good },
            1 => Fate { arrives: None, answer: None, gives_up: Some(broken), ..good },
            2 => Fate { answer: None, gives_up: Some(broken), ..good },
            3 => Fate {
                arrives: Some(chance.time(1_000, 6_000_000)),
                gives_up: chance.in_1000(700).then_some(broken),
                ..good
            },
            4 => Fate { answer: None, gives_up: None, ..good },
            _ => Fate { again: Some(chance.time(1_000, 6_000_000)), ..good },
        }
    }
}
