//! The bytes of keys and room names. Owns cells of fixed size classes, four bytes apart, in segments of 4 KiB: a
//! 36-byte key takes 36 bytes, nothing ever moves, and a freed cell is the next of its class to be used. Whoever stores
//! a name keeps its [`Name`] and gives it back once.

/// Bytes from one size class to the next; a free cell holds the number of the next free one.
const CLASS_BYTES: usize = 4;
const SEGMENT_BYTES: usize = 4096;
const NO_CELL: u32 = u32::MAX;

/// A stored name: where its bytes are. Given back once, with [`Names::release`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Name {
    /// Number of the cell in its size class.
    pub(super) cell: u32,
    /// Length, which names the size class.
    pub(super) bytes: u16,
}

/// Every stored name, by size class.
#[derive(Debug, Default)]
pub(super) struct Names {
    classes: Vec<Class>,
}

/// Cells of one size.
#[derive(Debug)]
struct Class {
    segments: Vec<Box<[u8]>>,
    /// Cells used once, from the first.
    touched: u32,
    /// Head of the list that runs through the free cells.
    free: u32,
}

impl Names {
    /// Store a name; `None` when it has more than 65,535 bytes.
    ///
    /// # Panics
    /// Beyond 2³² - 1 names of one size.
    pub(super) fn store(&mut self, name: &str) -> Option<Name> {
        let bytes = u16::try_from(name.len()).ok()?;
        let class = class_of(bytes);
        if self.classes.len() <= class {
            self.classes.resize_with(class + 1, Class::default);
        }
        let class = &mut self.classes[class];
        let cell = class.take(cell_bytes(bytes));
        class.cell(cell, cell_bytes(bytes))[..name.len()].copy_from_slice(name.as_bytes());
        Some(Name { cell, bytes })
    }

    /// The bytes of a stored name.
    pub(super) fn bytes(&self, name: Name) -> &[u8] {
        let size = cell_bytes(name.bytes);
        let (segment, at) = position(name.cell, size);
        &self.classes[class_of(name.bytes)].segments[segment][at..at + usize::from(name.bytes)]
    }

    /// A stored name as text.
    pub(super) fn text(&self, name: Name) -> String {
        String::from_utf8_lossy(self.bytes(name)).into_owned()
    }

    /// Memory held, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let class = |class: &Class| {
            let cells: usize = class.segments.iter().map(|segment| segment.len()).sum();
            cells + class.segments.capacity() * size_of::<Box<[u8]>>()
        };
        self.classes.iter().map(class).sum::<usize>() + self.classes.capacity() * size_of::<Class>()
    }

    /// Give a stored name back.
    pub(super) fn release(&mut self, name: Name) {
        let class = &mut self.classes[class_of(name.bytes)];
        let next = class.free;
        class.cell(name.cell, cell_bytes(name.bytes))[..CLASS_BYTES].copy_from_slice(&next.to_le_bytes());
        class.free = name.cell;
    }
}

impl Default for Class {
    fn default() -> Self {
        Class { segments: Vec::new(), touched: 0, free: NO_CELL }
    }
}

impl Class {
    fn cell(&mut self, cell: u32, size: usize) -> &mut [u8] {
        let (segment, at) = position(cell, size);
        &mut self.segments[segment][at..at + size]
    }

    fn take(&mut self, size: usize) -> u32 {
        if self.free != NO_CELL {
            let cell = self.free;
            let next = self.cell(cell, size)[..CLASS_BYTES].try_into();
            self.free = u32::from_le_bytes(next.expect("a cell holds at least four bytes"));
            return cell;
        }
        let cell = self.touched;
        if position(cell, size).0 == self.segments.len() {
            self.segments.push(vec![0; cells_per_segment(size) * size].into_boxed_slice());
        }
        self.touched = cell.checked_add(1).expect("fewer names than connections, which are 32 bits");
        cell
    }
}

/// The size class of a name; empty names share the class of the shortest.
fn class_of(bytes: u16) -> usize {
    cell_bytes(bytes) / CLASS_BYTES - 1
}

fn cell_bytes(bytes: u16) -> usize {
    usize::from(bytes).next_multiple_of(CLASS_BYTES).max(CLASS_BYTES)
}

fn cells_per_segment(size: usize) -> usize {
    (SEGMENT_BYTES / size).max(1)
}

/// Segment, and byte in it.
fn position(cell: u32, size: usize) -> (usize, usize) {
    let per_segment = cells_per_segment(size);
    (cell as usize / per_segment, cell as usize % per_segment * size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Names of every length survive their neighbours' coming and going.
        #[test]
        fn names_keep_their_bytes(
            steps in proptest::collection::vec((any::<bool>(), 0usize..5_000, any::<u8>()), 1..200),
        ) {
            let mut names = Names::default();
            let mut model: Vec<(Name, String)> = Vec::new();
            for (store, number, letter) in steps {
                if store || model.is_empty() {
                    let text = char::from(letter % 128).to_string().repeat(number);
                    let name = names.store(&text).expect("short enough");
                    model.push((name, text));
                } else {
                    let (name, text) = model.swap_remove(number % model.len());
                    prop_assert_eq!(names.bytes(name), text.as_bytes());
                    names.release(name);
                }
                for (name, text) in &model {
                    prop_assert_eq!(names.bytes(*name), text.as_bytes());
                }
            }
        }
    }

    #[test]
    fn a_released_cell_is_used_again() {
        let mut names = Names::default();
        let key = "k".repeat(36);
        for _ in 0..10_000 {
            let name = names.store(&key).expect("short enough");
            names.release(name);
        }
        assert_eq!(names.classes[class_of(36)].touched, 1);
    }

    #[test]
    fn a_name_beyond_the_length_field_is_refused() {
        let mut names = Names::default();
        assert!(names.store(&"x".repeat(65_535)).is_some());
        assert_eq!(names.store(&"x".repeat(65_536)), None);
    }
}
