//! Finding ranges that overlap.

use ipnet::IpNet;

use super::document::Located;

/// A range and whose it is.
pub(super) struct Owned<'d> {
    pub(super) prefix: &'d Located<IpNet>,
    /// Number of the owner, for comparison.
    pub(super) owner: usize,
}

/// Overlapping pairs among `ranges`: for each range the nearest one around it that `counts`, the one that stands
/// earlier in the file first.
///
/// Prefixes either nest or are disjoint, so after sorting one pass with the stack of enclosing prefixes finds them all
/// without comparing every pair.
pub(super) fn pairs<'r, 'd>(
    ranges: &'r [Owned<'d>],
    counts: impl Fn(&Owned<'d>, &Owned<'d>) -> bool,
) -> Vec<(&'r Owned<'d>, &'r Owned<'d>)> {
    let mut sorted: Vec<_> = ranges.iter().collect();
    sorted.sort_by_key(|range| {
        (range.prefix.value.network(), range.prefix.value.prefix_len(), range.prefix.line)
    });
    let mut around: Vec<&Owned<'d>> = Vec::new();
    let mut found = Vec::new();
    for range in sorted {
        while around.pop_if(|outer| !outer.prefix.value.contains(&range.prefix.value)).is_some() {}
        if let Some(outer) = around.iter().rev().find(|outer| counts(outer, range)) {
            let in_order = outer.prefix.line <= range.prefix.line;
            found.push(if in_order { (*outer, range) } else { (range, *outer) });
        }
        around.push(range);
    }
    found
}
