//! Several typed extension slots in each connection, as the kernel's `nf_ct_ext` has them for its own use.
//!
//! The user type of the store is [`Extensions`]; a [`Registry`] knows the slots. Each slot has a type, and may have a hook that makes its value (when it is
//! first asked for, or as soon as a connection begins), one that is called when the connection's memory is given back, and a formatter for dumps.
//!
//! ```
//! use nulls_conntrack::ext::{Extensions, Registry};
//! use nulls_conntrack::{Config, NullsStore, Tracker};
//! use std::sync::atomic::{AtomicU64, Ordering};
//! let mut registry = Registry::new();
//! let bytes = registry.add::<AtomicU64>("payload").made_by(|_| AtomicU64::new(0)).shown_by(|n| n.load(Ordering::Relaxed).to_string()).done();
//! let note = registry.add::<String>("note").done();
//! let registry = registry.finish();
//! let ct = Tracker::new(NullsStore::<Extensions>::new(1000, 64)?, Config::default());
//! registry.attach(&ct);
//! // In a hook, with the packet's connection `c`:
//! # let mut p = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
//! # p.extend([0, 9, 0, 53, 0, 8, 0, 0]);
//! # let mut pkt = nulls_conntrack::Packet::new(&p, nulls_conntrack::Family::Ipv4, 0);
//! # ct.track(&mut pkt, nulls_conntrack::Hook::PreRouting);
//! # let c = pkt.conn().unwrap();
//! registry.get_or_make(c, bytes).unwrap().fetch_add(28, Ordering::Relaxed);
//! registry.set(c, note, "first seen on eth1".to_owned()).unwrap();
//! # ct.confirm(&mut pkt, nulls_conntrack::Hook::PostRouting);
//! # drop(pkt);
//! assert!(ct.proc_net_nf_conntrack(0).contains(" payload=28 use=2\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::conn::Conn;
use crate::store::Store;
use crate::tracker::Tracker;
use std::any::{Any, TypeId};
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// A value of any slot.
type Value = Box<dyn Any + Send + Sync>;
type Make = Box<dyn Fn(&Conn<Extensions>) -> Value + Send + Sync>;
type Gone = Box<dyn Fn(Value) + Send + Sync>;
type Show = Box<dyn Fn(&dyn Any) -> String + Send + Sync>;

/// What is known of a slot.
struct Info {
    name: String,
    kind: TypeId,
    make: Option<Make>,
    at_birth: bool,
    gone: Option<Gone>,
    show: Option<Show>,
}

/// The slots. Filled once, then shared.
pub struct Registry {
    number: u32,
    slots: Vec<Info>,
}

/// A slot for values of type `T`.
pub struct Slot<T> {
    registry: u32,
    index: usize,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slot<T> {}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.index).finish()
    }
}

/// A slot being described; [`Builder::done`] adds it.
pub struct Builder<'a, T> {
    registry: &'a mut Registry,
    info: Info,
    kind: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Builder<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Builder").field(&self.info.name).finish()
    }
}

impl<T: Any + Send + Sync> Builder<'_, T> {
    /// Makes the value when it is first asked for ([`Registry::get_or_make`]).
    #[must_use]
    pub fn made_by(mut self, f: impl Fn(&Conn<Extensions>) -> T + Send + Sync + 'static) -> Self {
        self.info.make = Some(Box::new(move |c| Box::new(f(c))));
        self
    }

    /// Makes the value as soon as a connection begins, before the tracker's own protocol sees its first packet. Needs [`Registry::attach`].
    #[must_use]
    pub fn made_at_birth_by(
        mut self,
        f: impl Fn(&Conn<Extensions>) -> T + Send + Sync + 'static,
    ) -> Self {
        self.info.at_birth = true;
        self.made_by(f)
    }

    /// Is given the value when the connection's last reference is gone: by whichever thread drops that, so it must be quick.
    #[must_use]
    pub fn dropped_by(mut self, f: impl Fn(T) + Send + Sync + 'static) -> Self {
        self.info.gone = Some(Box::new(move |v| {
            if let Ok(v) = v.downcast() {
                f(*v);
            }
        }));
        self
    }

    /// Shows the value in dumps, as `name=text`. Needs [`Registry::attach`].
    #[must_use]
    pub fn shown_by(mut self, f: impl Fn(&T) -> String + Send + Sync + 'static) -> Self {
        self.info.show = Some(Box::new(move |v| {
            v.downcast_ref().map(&f).unwrap_or_default()
        }));
        self
    }

    /// Adds the slot.
    #[must_use]
    pub fn done(self) -> Slot<T> {
        let slot = Slot {
            registry: self.registry.number,
            index: self.registry.slots.len(),
            kind: PhantomData,
        };
        self.registry.slots.push(self.info);
        slot
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// No slots.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self {
            // Relaxed: only that numbers differ matters.
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            slots: Vec::new(),
        }
    }

    /// Describes a slot for values of type `T`, which dumps call `name`.
    pub fn add<T: Any + Send + Sync>(&mut self, name: &str) -> Builder<'_, T> {
        Builder {
            info: Info {
                name: name.to_owned(),
                kind: TypeId::of::<T>(),
                make: None,
                at_birth: false,
                gone: None,
                show: None,
            },
            registry: self,
            kind: PhantomData,
        }
    }

    /// No more slots: connections may have them from now on.
    #[must_use]
    pub fn finish(self) -> Arc<Self> {
        Arc::new(self)
    }

    /// Lets the tracker make values at the beginning of connections, and show values in dumps. (It sets the tracker's birth hook and its formatter.)
    pub fn attach<S: Store<User = Extensions>>(self: &Arc<Self>, ct: &Tracker<S>) {
        if self.slots.iter().any(|s| s.at_birth) {
            let registry = Arc::clone(self);
            ct.set_birth_hook(move |c| registry.birth(c));
        }
        let registry = Arc::clone(self);
        ct.set_formatter(move |c| registry.text(c));
    }

    fn birth(self: &Arc<Self>, c: &Conn<Extensions>) {
        for (i, s) in self.slots.iter().enumerate() {
            if let Some(make) = s.make.as_ref().filter(|_| s.at_birth)
                && let Some(cell) = self.cell(c, i)
            {
                cell.get_or_init(|| make(c));
            }
        }
    }

    /// What dumps show of a connection's values; `None` if that is nothing.
    #[must_use]
    pub fn text(&self, c: &Conn<Extensions>) -> Option<String> {
        let mine = c
            .user()
            .get()
            .filter(|e| e.registry.number == self.number)?;
        let shown = self.slots.iter().zip(&mine.values);
        let words: Vec<String> = shown
            .filter_map(|(s, v)| Some(format!("{}={}", s.name, s.show.as_ref()?(&**v.get()?))))
            .collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// The place of a slot's value, made if the connection has none yet. `None` if it has values of another registry.
    fn cell<'c>(
        self: &Arc<Self>,
        c: &'c Conn<Extensions>,
        index: usize,
    ) -> Option<&'c OnceLock<Value>> {
        let mine = c.user().get_or_set_with(|| Extensions {
            registry: Arc::clone(self),
            values: self.slots.iter().map(|_| OnceLock::new()).collect(),
        });
        (mine.registry.number == self.number).then(|| &mine.values[index])
    }

    /// # Panics
    /// The slot is another registry's.
    fn check<T: Any>(&self, slot: Slot<T>) {
        let mine = slot.registry == self.number && self.slots[slot.index].kind == TypeId::of::<T>();
        assert!(mine, "a slot of another registry");
    }

    /// The connection's value, if it has one.
    ///
    /// # Panics
    /// The slot is another registry's; so for the others below.
    #[must_use]
    pub fn get<'c, T: Any>(&self, c: &'c Conn<Extensions>, slot: Slot<T>) -> Option<&'c T> {
        self.check(slot);
        let mine = c
            .user()
            .get()
            .filter(|e| e.registry.number == self.number)?;
        mine.values[slot.index].get()?.downcast_ref()
    }

    /// Gives the connection a value.
    ///
    /// # Errors
    /// The value, if there is one already, or the connection's slots are those of another registry.
    ///
    /// # Panics
    /// The slot is another registry's.
    pub fn set<'c, T: Any + Send + Sync>(
        self: &Arc<Self>,
        c: &'c Conn<Extensions>,
        slot: Slot<T>,
        value: T,
    ) -> Result<&'c T, T> {
        self.check(slot);
        let Some(cell) = self.cell(c, slot.index) else {
            return Err(value);
        };
        let boxed: Value = Box::new(value);
        match cell.set(boxed) {
            Ok(()) => Ok(cell
                .get()
                .and_then(|v| v.downcast_ref())
                .expect("the value just set")),
            Err(back) => Err(*back.downcast().expect("the value just given")),
        }
    }

    /// The connection's value, made by the slot's hook if there is none. `None` without that hook, or if the connection's slots are those of another
    /// registry.
    ///
    /// # Panics
    /// The slot is another registry's.
    #[must_use]
    pub fn get_or_make<'c, T: Any>(
        self: &Arc<Self>,
        c: &'c Conn<Extensions>,
        slot: Slot<T>,
    ) -> Option<&'c T> {
        self.check(slot);
        let cell = self.cell(c, slot.index)?;
        if let Some(v) = cell.get() {
            return v.downcast_ref();
        }
        let make = self.slots[slot.index].make.as_ref()?;
        cell.get_or_init(|| make(c)).downcast_ref()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.slots.iter().map(|s| &s.name);
        f.debug_list().entries(names).finish()
    }
}

/// A connection's values: the user type of a store whose connections have extension slots.
pub struct Extensions {
    registry: Arc<Registry>,
    values: Box<[OnceLock<Value>]>,
}

impl Drop for Extensions {
    fn drop(&mut self) {
        for (info, cell) in self.registry.slots.iter().zip(&mut self.values) {
            if let (Some(gone), Some(value)) = (&info.gone, cell.take()) {
                gone(value);
            }
        }
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.registry.slots.iter().zip(&self.values);
        let names = set.filter(|(_, v)| v.get().is_some()).map(|(s, _)| &s.name);
        f.debug_list().entries(names).finish()
    }
}
