//! Pushes that wait for the results of their groups. Owns what several results come to together (P4); knows no
//! partition.

use std::sync::Arc;

use hashbrown::HashMap;

use super::act::PushId;
use crate::bus::{Position, PublishError};

/// How one record ended.
pub(super) type Ended = Result<Position, PublishError>;

/// One push: how its records ended, `None` while they have not.
type Records = Vec<Option<Ended>>;

/// Pushes without a result, bounded by the records that may wait: each has one at least.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    waiting: HashMap<PushId, Records>,
    next: u64,
}

impl Pushes {
    /// A push of this many records.
    pub(super) fn open(&mut self, records: usize) -> PushId {
        let id = PushId(self.next);
        self.next += 1;
        self.waiting.insert(id, vec![None; records]);
        id
    }

    /// One record of a push has ended; the push's own result if it was the last.
    pub(super) fn end(
        &mut self,
        push: PushId,
        index: usize,
        ended: Ended,
    ) -> Option<Result<Vec<Position>, PublishError>> {
        let records = self.waiting.get_mut(&push)?;
        *records.get_mut(index)? = Some(ended);
        if records.iter().any(Option::is_none) {
            return None;
        }
        Some(together(self.waiting.remove(&push)?.into_iter().flatten()))
    }

    /// Pushes without a result.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// All in the log: their positions. All refused for certain: the first refusal. Else nobody can say.
fn together(ended: impl Iterator<Item = Ended>) -> Result<Vec<Position>, PublishError> {
    let mut positions = Vec::new();
    let (mut refused, mut unknown, mut records) = (None, None, 0);
    for ended in ended {
        records += 1;
        match ended {
            Ok(position) => positions.push(position),
            Err(why @ PublishError::Unknown(_)) => unknown = unknown.or(Some(why)),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    match (positions.len(), refused, unknown) {
        (_, None, None) => Ok(positions),
        (0, Some(refused), None) => Err(refused),
        (0, None, Some(unknown)) if records == 1 => Err(unknown),
        (_, refused, unknown) => {
            let why = unknown.or(refused).map(|why| why.to_string()).unwrap_or_default();
            Err(PublishError::Unknown(Arc::from(format!("part of it may appear: {why}"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Ended {
        Ok(Position { partition: 0, offset })
    }

    fn refused(why: &str) -> Ended {
        Err(PublishError::Unavailable(why.into()))
    }

    fn unknown(why: &str) -> Ended {
        Err(PublishError::Unknown(why.into()))
    }

    fn result_of(ended: &[Ended]) -> Result<Vec<Position>, PublishError> {
        together(ended.iter().cloned())
    }

    /// P4: all in the log is success; all refused is refused; anything else is unknown, and says so.
    #[test]
    fn p4_groups_come_to_one_result() {
        assert_eq!(result_of(&[at(7), at(3)]).unwrap().iter().map(|at| at.offset).collect::<Vec<_>>(), [7, 3]);
        assert_eq!(result_of(&[refused("a"), refused("b")]), Err(PublishError::Unavailable("a".into())));
        assert_eq!(result_of(&[unknown("c")]), Err(PublishError::Unknown("c".into())));
        for mixed in [
            [at(1), refused("x")],
            [refused("x"), at(1)],
            [at(1), unknown("x")],
            [refused("y"), unknown("x")],
            [unknown("x"), unknown("y")],
        ] {
            let Err(PublishError::Unknown(why)) = result_of(&mixed) else { panic!("{mixed:?} is unknown") };
            assert!(why.starts_with("part of it may appear: "), "{why}");
            assert!(why.contains('x'), "{why}");
        }
    }

    /// P4: a push has its result when its last record has one, in the order in which they were handed in.
    #[test]
    fn p4_a_push_ends_with_its_last_record() {
        let mut pushes = Pushes::default();
        let push = pushes.open(2);
        assert_eq!(pushes.end(push, 1, at(5)), None);
        assert_eq!(pushes.len(), 1);
        let positions = pushes.end(push, 0, at(9)).unwrap().unwrap();
        assert_eq!(positions.iter().map(|at| at.offset).collect::<Vec<_>>(), [9, 5]);
        assert_eq!((pushes.len(), pushes.end(push, 0, at(1))), (0, None));
    }
}
