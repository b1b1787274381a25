//! A walk over everything that can happen: breadth first, each configuration once, so the first failing path is a
//! shortest one.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;

/// Something with a set of things that can happen next.
pub trait Model: Eq + Hash + Sized {
    /// Names a thing that can happen.
    type Label: fmt::Display;

    /// Every next thing, named, with what it leads to; none: the end.
    ///
    /// # Errors
    /// What is wrong here, in words.
    fn next(&self) -> Result<Vec<(Self::Label, Self)>, String>;
}

/// What a complete walk saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Different configurations.
    pub configurations: usize,
    /// Steps between them.
    pub steps: usize,
    /// Configurations where it ended.
    pub ends: usize,
    /// Steps of the longest of all shortest paths.
    pub depth: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { configurations, steps, ends, depth } = self;
        write!(f, "{configurations} configurations, {steps} steps, {ends} ends, at most {depth} steps deep")
    }
}

/// A path to something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// What happened, in order.
    pub path: Vec<String>,
    /// What is wrong at its end.
    pub wrong: String,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.path {
            writeln!(f, "{line}")?;
        }
        write!(f, "WRONG: {}", self.wrong)
    }
}

/// Walks everything that can happen from `start`.
///
/// # Errors
/// A shortest path to something wrong, or to more than `limit` configurations.
pub fn explore<M: Model>(start: M, limit: usize) -> Result<Counts, Failing> {
    struct Node<M: Model> {
        model: Rc<M>,
        from: Option<(usize, M::Label)>,
        depth: usize,
    }
    let path = |nodes: &[Node<M>], mut at: usize| {
        let mut path = Vec::new();
        while let Some((from, label)) = nodes.get(at).and_then(|node| node.from.as_ref()) {
            path.push(label.to_string());
            at = *from;
        }
        path.reverse();
        path
    };
    let start = Rc::new(start);
    let mut seen = HashSet::from([Rc::clone(&start)]);
    let mut nodes = vec![Node { model: start, from: None, depth: 0 }];
    let mut counts = Counts::default();
    let mut at = 0;
    while at < nodes.len() {
        let model = Rc::clone(&nodes[at].model);
        let depth = nodes[at].depth;
        let next = model.next().map_err(|wrong| Failing { path: path(&nodes, at), wrong })?;
        counts.depth = counts.depth.max(depth);
        counts.ends += usize::from(next.is_empty());
        for (label, model) in next {
            counts.steps += 1;
            let model = Rc::new(model);
            if seen.insert(Rc::clone(&model)) {
                nodes.push(Node { model, from: Some((at, label)), depth: depth + 1 });
            }
        }
        if nodes.len() > limit {
            return Err(Failing {
                path: path(&nodes, at),
                wrong: format!("more than {limit} configurations"),
            });
        }
        at += 1;
    }
    counts.configurations = nodes.len();
    Ok(counts)
}
