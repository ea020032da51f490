//! Entries that are [`Arc`](std::sync::Arc)s: what stores that leave memory to the allocator have in common.

/// The items of a [`Store`](crate::Store) whose entries and references are [`Arc`](std::sync::Arc)s: its types, how entries are made, and how a reference
/// is packed into a word. What is left for the store is the table.
///
/// To be put into the implementation, with the type of the application's slot. It fulfils what the trait asks of words: a [`Conn`](crate::Conn) begins with
/// 64-bit atomics, so that its address is not null and has its low three bits clear.
///
/// ```text
/// unsafe impl Store for MyStore {
///     nulls_conntrack::arc_entries!(());
///     // count, find, insert, …
/// }
/// ```
#[macro_export]
macro_rules! arc_entries {
    ($user:ty) => {
        type User = $user;
        type Ref<'a>
            = ::std::sync::Arc<$crate::Conn<$user>>
        where
            Self: 'a;
        type New<'a>
            = ::std::sync::Arc<$crate::Conn<$user>>
        where
            Self: 'a;

        fn alloc(&self) -> ::core::option::Option<Self::New<'_>> {
            ::core::option::Option::Some(::std::sync::Arc::new($crate::Conn::blank()))
        }

        fn publish<'a>(&'a self, new: Self::New<'a>) -> Self::Ref<'a> {
            new
        }

        fn into_word(r: Self::Ref<'_>) -> usize {
            ::std::sync::Arc::into_raw(r) as usize
        }

        unsafe fn from_word(&self, word: usize) -> Self::Ref<'_> {
            // SAFETY: the caller vouches that `word` came from `into_word` and that its count is still owned by it.
            unsafe { ::std::sync::Arc::from_raw(word as *const $crate::Conn<$user>) }
        }

        unsafe fn peek_word(&self, word: usize) -> &$crate::Conn<$user> {
            // SAFETY: the caller vouches that `word` keeps its reference while the result is used.
            unsafe { &*(word as *const $crate::Conn<$user>) }
        }
    };
}
