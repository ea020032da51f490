//! ctnetlink messages: what can be read is written again and read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nulls_conntrack::ctnetlink::{Message, stats};

fuzz_target!(|input: &[u8]| {
    let _ = stats::decode_cpu(input);
    let _ = stats::decode_global(input);
    let mut rest = input;
    while let Ok((message, len)) = Message::decode(rest) {
        let bytes = message.encode();
        let (again, all) = Message::decode(&bytes).expect("what was written can be read");
        assert_eq!(all, bytes.len());
        assert_eq!(again.encode(), bytes);
        if len == 0 || len > rest.len() {
            break;
        }
        rest = &rest[len..];
    }
});
