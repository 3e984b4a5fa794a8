//! Maps and sets in the order of their keys.

/// A map or a set of these. `collect` would sort them first, and the sort is compiled anew for each type: kilobytes, for a few
/// names.
pub(crate) fn inserted<C: Default + Extend<T>, T>(items: impl IntoIterator<Item = T>) -> C {
    let mut all = C::default();
    all.extend(items);
    all
}
