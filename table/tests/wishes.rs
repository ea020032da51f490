//! What becomes of resizes that are asked for while another one runs, of both maps.

/// The same tests for a map that says by `buckets` how many buckets it has.
macro_rules! tests_of {
    ($name:ident, $map:ty, $buckets:expr) => {
        mod $name {
            type Map = $map;

            fn buckets(map: &Map) -> usize {
                let buckets: fn(&Map) -> usize = $buckets;
                buckets(map)
            }

            /// A map in which a resize to `len` buckets runs, and goes on through many writes.
            fn resizing_to(len: usize) -> Map {
                let map = Map::with_capacity(100_000);
                map.resize(len).unwrap();
                map
            }

            fn insert(map: &Map, entries: u64) {
                (0..entries).for_each(|k| _ = map.pin().insert(k, k));
            }

            /// That the table it goes to is too small is no reason to forget what the user asked for.
            #[test]
            fn growth_leaves_a_queued_wish_alone() {
                let map = resizing_to(10);
                map.resize(20_000).unwrap();
                insert(&map, 200);
                assert!(map.is_resizing());
                map.maintain().unwrap();
                assert_eq!(buckets(&map), 20_000);
                assert!((0..200).all(|k| map.pin().get(&k).is_some()));
            }

            /// Nor that it is too large. Afterwards the table grows as its entries need it.
            #[test]
            fn shrinking_leaves_a_queued_wish_alone() {
                let map = resizing_to(10_000);
                map.resize(5).unwrap();
                insert(&map, 200);
                map.maintain().unwrap();
                assert_eq!(buckets(&map), 5);
                insert(&map, 2000);
                map.maintain().unwrap();
                assert!(map.capacity() >= 2000, "{}", buckets(&map));
            }

            /// Room is there in the end, and no table gets smaller by asking for it: not the one that a running resize goes to...
            #[test]
            fn reserving_leaves_a_running_resize_alone() {
                let map = Map::new();
                map.resize(10_000).unwrap();
                map.reserve(100).unwrap();
                map.maintain().unwrap();
                assert_eq!(buckets(&map), 10_000);
            }

            /// ...nor one that is queued.
            #[test]
            fn reserving_leaves_a_larger_queued_wish_alone() {
                let map = resizing_to(10);
                map.resize(50_000).unwrap();
                // More than the table holds now.
                map.reserve(130_000).unwrap();
                map.maintain().unwrap();
                assert_eq!(buckets(&map), 50_000);
            }

            /// A table that is going to be too small has no room, however large it still is.
            #[test]
            fn reserving_while_the_table_shrinks() {
                let map = resizing_to(10);
                map.reserve(50_000).unwrap();
                map.maintain().unwrap();
                assert!(map.capacity() >= 50_000, "{}", buckets(&map));

                let map = resizing_to(20_000);
                map.resize(5).unwrap();
                map.reserve(1000).unwrap();
                map.reserve(500).unwrap();
                map.maintain().unwrap();
                assert_eq!(buckets(&map), 250, "four entries a bucket");
            }

            /// Room that is there, or is coming, is no reason for another resize, and the larger of two wishes for room counts.
            #[test]
            fn reserving_what_is_there() {
                let map = resizing_to(1000);
                map.reserve(5000).unwrap();
                map.maintain().unwrap();
                assert_eq!(buckets(&map), 1000);
                map.reserve(5000).unwrap();
                assert!(!map.is_resizing());

                let map = resizing_to(1000);
                map.reserve(8000).unwrap();
                map.reserve(6000).unwrap();
                map.maintain().unwrap();
                assert_eq!(buckets(&map), 2000);
            }

            /// Room that was asked for stays.
            #[test]
            fn what_was_reserved_stays() {
                let map = resizing_to(10);
                map.reserve(1000).unwrap();
                map.maintain().unwrap();
                insert(&map, 1000);
                (0..1000).for_each(|k| _ = map.pin().remove(&k));
                map.maintain().unwrap();
                assert_eq!(buckets(&map), 250);
            }
        }
    };
}

tests_of!(hash_map, nulls::HashMap<u64, u64>, |m| m.stats().table.buckets);
tests_of!(inline_map, nulls::InlineMap<u64, u64>, |m| m.buckets());
