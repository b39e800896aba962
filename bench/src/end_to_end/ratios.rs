//! This project's gateways beside plain forwarding and the best of the peers.

use super::results::{EndToEnd, Results, SystemResults};
use super::statistics::Figure;
use super::system::Kind;

/// Something that can be compared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measure {
    /// As the table shows it.
    pub(crate) name: String,
    /// Whether more is better.
    pub(crate) more_is_better: bool,
}

/// One of this project's systems at one measure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) system: String,
    pub(crate) measure: Measure,
    /// Its median over plain forwarding's.
    pub(crate) to_plain: Option<f64>,
    /// The best peer at this measure, and the ratio of medians.
    pub(crate) to_best_peer: Option<(String, f64)>,
}

/// Every measure of every system of this project that has something to be compared with.
pub(crate) fn ratios(run: &EndToEnd) -> Vec<Ratio> {
    let of_kind = |kind| run.systems.iter().filter(move |system| system.kind == kind);
    let plain = run.systems.iter().find(|system| system.name == "plain");
    let mut ratios = Vec::new();
    for own in of_kind(Kind::Own) {
        for (measure, figure) in figures(&own.results) {
            let of = |system: &SystemResults| find(&system.results, &measure);
            let to_plain = plain.and_then(of).and_then(|plain| figure.ratio_to(&plain));
            let peers = of_kind(Kind::Peer).filter_map(|peer| {
                let value = of(peer)?;
                Some((peer.name.clone(), figure.ratio_to(&value)?))
            });
            // The best peer is the one that leaves the least of the advantage.
            let to_best_peer = if measure.more_is_better {
                peers.min_by(|(_, one), (_, other)| one.total_cmp(other))
            } else {
                peers.max_by(|(_, one), (_, other)| one.total_cmp(other))
            };
            if to_plain.is_some() || to_best_peer.is_some() {
                ratios.push(Ratio { system: own.name.clone(), measure, to_plain, to_best_peer });
            }
        }
    }
    ratios
}

fn find(results: &Results, wanted: &Measure) -> Option<Figure> {
    figures(results).into_iter().find(|(measure, _)| measure == wanted).map(|(_, figure)| figure)
}

fn figures(results: &Results) -> Vec<(Measure, Figure)> {
    let more = |name: String| Measure { name, more_is_better: true };
    let less = |name: &str| Measure { name: name.to_owned(), more_is_better: false };
    let mut figures = Vec::new();
    for (size, result) in &results.sizes {
        figures.push((more(format!("UDP {size}, best rate")), result.received.clone()));
        if let Some(rate) = result.zero_loss {
            figures.push((more(format!("UDP {size}, rate without loss")), Figure { rounds: vec![rate] }));
        }
    }
    for (count, figure) in &results.tcp {
        figures.push((more(format!("TCP, streams: {count}")), figure.clone()));
    }
    figures.push((less("round trip, idle, p50"), results.idle.p50.clone()));
    figures.push((less("round trip, idle, p99"), results.idle.p99.clone()));
    figures.push((less("round trip, loaded, p50"), results.loaded.p50.clone()));
    figures.push((less("round trip, loaded, p99"), results.loaded.p99.clone()));
    figures.push((less("processor time per byte"), results.usage.busy.clone()));
    for (size, figure) in &results.alone {
        figures.push((more(format!("one gateway alone, {size}")), figure.clone()));
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::end_to_end::settings::Settings;

    fn system(name: &str, kind: Kind, tcp: f64, p50: f64) -> SystemResults {
        let mut results = Results::default();
        results.tcp.insert(1, Figure { rounds: vec![tcp] });
        results.idle.p50.push(p50);
        SystemResults {
            name: name.to_owned(),
            description: String::new(),
            kind,
            not_installed: None,
            results,
        }
    }

    #[test]
    fn the_best_peer_is_the_best_at_each_measure() {
        let run = EndToEnd {
            settings: Settings::quick(),
            systems: vec![
                system("plain", Kind::Reference, 8.0, 20.0),
                system("own", Kind::Own, 4.0, 40.0),
                system("fast", Kind::Peer, 2.0, 400.0),
                system("quick", Kind::Peer, 1.0, 80.0),
            ],
        };
        let ratios = ratios(&run);
        let at = |name: &str| ratios.iter().find(|ratio| ratio.measure.name == name).unwrap();
        let tcp = at("TCP, streams: 1");
        assert_eq!((tcp.to_plain, tcp.to_best_peer.clone()), (Some(0.5), Some(("fast".to_owned(), 2.0))));
        let delay = at("round trip, idle, p50");
        assert_eq!(
            (delay.to_plain, delay.to_best_peer.clone()),
            (Some(2.0), Some(("quick".to_owned(), 0.5)))
        );
        assert!(ratios.iter().all(|ratio| ratio.system == "own"));
    }
}
