//! Operations done on the table between packets, in the words of the tools that did them: `conntrack -F`,
//! `conntrack -D …`, `sysctl name=value`, `nft add rule …` (one form) and `ctupdate sport=N …` (a ctnetlink update).

use std::net::IpAddr;

use super::case::{NatKind, NatRule, Side};
use super::settings::{self, Setting};

/// One operation.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Delete every entry.
    Flush,
    /// Delete the entries that match.
    Delete(Filter),
    /// Change a setting.
    Sysctl(Setting),
    /// Add a translation rule after those there are.
    AddNat(NatRule),
    /// Change the entries whose original source port is `sport`.
    Update {
        sport: u16,
        mark: Option<u32>,
        timeout: Option<u32>,
    },
}

/// What `conntrack -D` is told: every field given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) proto: Option<u8>,
    pub(crate) orig_src: Option<IpAddr>,
    pub(crate) orig_dst: Option<IpAddr>,
    pub(crate) reply_src: Option<IpAddr>,
    pub(crate) reply_dst: Option<IpAddr>,
    pub(crate) orig_sport: Option<u16>,
    pub(crate) orig_dport: Option<u16>,
    pub(crate) reply_sport: Option<u16>,
    pub(crate) reply_dport: Option<u16>,
    pub(crate) mark: Option<u32>,
    pub(crate) zone: Option<u16>,
}

impl Op {
    /// Parses the words of an operation.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["conntrack", "-F"] => Ok(Self::Flush),
            ["conntrack", "-D", rest @ ..] => filter(rest).map(Self::Delete),
            ["sysctl", assignment] => settings::assignment(assignment).map(Self::Sysctl),
            ["nft", rule] => nft(rule).map(Self::AddNat),
            ["ctupdate", rest @ ..] => update(rest),
            _ => Err(format!("unknown operation `{}`", words.join(" "))),
        }
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("`{word}` is not a valid value"))
}

fn filter(words: &[&str]) -> Result<Filter, String> {
    let mut f = Filter::default();
    let mut words = words.iter();
    while let Some(option) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("`{option}` lacks its value"))?;
        match *option {
            "-p" | "--proto" => f.proto = Some(protocol(value)?),
            "-s" | "--src" | "--orig-src" => f.orig_src = Some(number(value)?),
            "-d" | "--dst" | "--orig-dst" => f.orig_dst = Some(number(value)?),
            "-r" | "--reply-src" => f.reply_src = Some(number(value)?),
            "-q" | "--reply-dst" => f.reply_dst = Some(number(value)?),
            "--sport" | "--orig-port-src" => f.orig_sport = Some(number(value)?),
            "--dport" | "--orig-port-dst" => f.orig_dport = Some(number(value)?),
            "--reply-port-src" => f.reply_sport = Some(number(value)?),
            "--reply-port-dst" => f.reply_dport = Some(number(value)?),
            "-m" | "--mark" => f.mark = Some(number(value)?),
            "-w" | "--zone" => f.zone = Some(number(value)?),
            _ => return Err(format!("unknown option `{option}` of conntrack -D")),
        }
    }
    Ok(f)
}

fn protocol(word: &str) -> Result<u8, String> {
    Ok(match word {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "dccp" => 33,
        "gre" => 47,
        "icmpv6" | "ipv6-icmp" => 58,
        "sctp" => 132,
        "udplite" => 136,
        other => number(other)?,
    })
}

/// `add rule FAMILY TABLE CHAIN oifname DEVICE snat to ADDRESS`.
fn nft(rule: &str) -> Result<NatRule, String> {
    let words: Vec<&str> = rule.split_whitespace().collect();
    let [
        "add",
        "rule",
        _,
        _,
        _,
        "oifname",
        device,
        "snat",
        "to",
        address,
    ] = words.as_slice()
    else {
        return Err(format!("cannot interpret the rule `{rule}`"));
    };
    let oif = match device.trim_matches('"') {
        "cl0" => Side::Client,
        "sv0" => Side::Server,
        other => return Err(format!("unknown interface `{other}`")),
    };
    let _: IpAddr = number(address)?;
    Ok(NatRule {
        kind: NatKind::Snat,
        iif: None,
        oif: Some(oif),
        proto: None,
        dport: None,
        src: None,
        from: None,
        to: Some((*address).to_owned()),
        to_port: None,
        flags: Vec::new(),
        address: None,
    })
}

fn update(words: &[&str]) -> Result<Op, String> {
    let (mut sport, mut mark, mut timeout) = (None, None, None);
    for word in words {
        match word.split_once('=') {
            Some(("sport", v)) => sport = Some(number(v)?),
            Some(("mark", v)) => mark = Some(number(v)?),
            Some(("timeout", v)) => timeout = Some(number(v)?),
            _ => return Err(format!("unknown part `{word}` of an update")),
        }
    }
    let sport = sport.ok_or("an update needs sport=")?;
    Ok(Op::Update {
        sport,
        mark,
        timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[&str]) -> Result<Op, String> {
        Op::parse(&text.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn deletions_by_protocol_and_port() {
        let Ok(Op::Delete(f)) = parse(&["conntrack", "-D", "-p", "udp", "--orig-port-src", "102"])
        else {
            panic!()
        };
        assert_eq!(
            f,
            Filter {
                proto: Some(17),
                orig_sport: Some(102),
                ..Filter::default()
            }
        );
    }

    #[test]
    fn updates_and_rules() {
        let Ok(Op::Update {
            sport: 5,
            mark: Some(7),
            timeout: None,
        }) = parse(&["ctupdate", "sport=5", "mark=7"])
        else {
            panic!()
        };
        let Ok(Op::AddNat(rule)) =
            parse(&["nft", "add rule ip n p oifname sv0 snat to 203.0.113.5"])
        else {
            panic!()
        };
        assert_eq!(
            (rule.oif, rule.to.as_deref()),
            (Some(Side::Server), Some("203.0.113.5"))
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for words in [
            &["conntrack", "-D", "--nat"][..],
            &["conntrack", "-D", "-p"],
            &["conntrack", "-D", "--orig-port-src", "70000"],
            &["nft", "add rule ip n p masquerade"],
            &["ctupdate", "mark=1"],
            &["ip", "link"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
