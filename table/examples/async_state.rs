//! The shared state of an asynchronous service: references held across `.await`.
//!
//! `cargo run -p nulls --release --example async_state`

use nulls::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

struct Room {
    name: String,
    messages: AtomicU64,
}

#[derive(Default)]
struct Service {
    rooms: HashMap<u32, Room>,
}

impl Service {
    /// Handles a request. An ordinary view (`pin`) belongs to its thread, and a task that holds one over an `.await` does not compile
    /// with `tokio::spawn`; one with a guard of its own does.
    async fn post(&self, room: u32) -> Option<u64> {
        let rooms = self.rooms.pin_owned();
        let room = rooms.get(&room)?;
        deliver(&room.name).await; // nothing is locked meanwhile: others may remove the room
        Some(room.messages.fetch_add(1, Relaxed) + 1)
    }

    /// What needs no reference over an `.await` is cheaper with `pin`, in a block of its own.
    async fn rename(&self, room: u32, name: String) -> bool {
        let known = {
            let rooms = self.rooms.pin();
            let renamed = |old: &Room| Room {
                name: name.clone(),
                messages: AtomicU64::new(old.messages.load(Relaxed)),
            };
            rooms.update(&room, renamed).is_some()
        };
        deliver("renamed").await;
        known
    }
}

async fn deliver(_: &str) {
    tokio::time::sleep(Duration::from_micros(50)).await;
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() {
    let service = Arc::new(Service::default());
    for id in 0..10 {
        let room = Room {
            name: format!("room {id}"),
            messages: AtomicU64::new(0),
        };
        service.rooms.pin().insert(id, room);
    }
    let tasks: Vec<_> = (0..200u32)
        .map(|i| {
            let service = service.clone();
            tokio::spawn(async move {
                match i {
                    50 => u64::from(service.rename(3, "the third".into()).await),
                    100 => u64::from(service.rooms.pin().remove(&4).is_some()),
                    _ => service.post(i % 10).await.unwrap_or(0),
                }
            })
        })
        .collect();
    let mut answered = 0;
    for task in tasks {
        answered += u64::from(task.await.expect("no task fails") > 0);
    }
    service.rooms.maintain().expect("memory");
    println!(
        "{answered} of 200 requests answered, {} rooms left",
        service.rooms.len()
    );
    assert_eq!(service.rooms.len(), 9);
    assert!(answered >= 180);
}
