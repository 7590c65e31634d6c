//! Ceph: a CRUSH map as `crushtool -d` prints it, with the placement of one pool.

use std::collections::BTreeMap;

use clap::Args;
use quorate_consistent_hash::compat::{CephPool, CrushBucket, CrushError, CrushMap, CrushStep};

use super::file::File;
use crate::algorithm::Built;
use crate::error::Failure;

/// What the map does not have: the pool, and the reweights of devices.
#[derive(Debug, Args)]
pub(crate) struct PoolOptions {
    /// Number of the pool (Ceph).
    #[arg(long = "pool", value_name = "N", default_value_t = 1)]
    number: u32,

    /// Number of placement groups of the pool (Ceph).
    #[arg(long, value_name = "N", default_value_t = 128)]
    pg_num: u32,

    /// Number of devices of a placement group (Ceph).
    #[arg(long = "pool-size", value_name = "N", default_value_t = 3)]
    size: usize,

    /// Name of the pool's CRUSH rule, if the map has several (Ceph).
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,

    /// Reweights of devices, such as `osd.4=0.5,osd.7=0` (Ceph).
    #[arg(long, value_name = "NAME=W,...", value_delimiter = ',')]
    reweights: Vec<String>,
}

/// A pool with all that places it.
pub(crate) struct CephCluster {
    pub(crate) pool: CephPool,
    pub(crate) map: CrushMap,
    pub(crate) rule: Vec<CrushStep>,
    /// Number of the pool.
    pub(crate) number: u32,
    pub(crate) pg_num: u32,
    /// Number of devices of a placement group.
    pub(crate) size: usize,
    /// Reweights of devices in steps of 1/65536. All others have 1.
    pub(crate) reweights: BTreeMap<i32, u32>,
    /// The names of devices and buckets, and of bucket types.
    pub(crate) items: BTreeMap<i32, String>,
    pub(crate) kinds: BTreeMap<u16, String>,
}

impl CephCluster {
    pub(crate) fn reweight(&self, device: i32) -> u32 {
        self.reweights.get(&device).copied().unwrap_or(ONE)
    }
}

/// The names of a map and what stands behind them.
#[derive(Default)]
struct Names {
    /// Devices and buckets. The class of a device stands behind its number.
    items: BTreeMap<String, i32>,
    classes: BTreeMap<i32, String>,
    kinds: BTreeMap<String, u16>,
    tunables: BTreeMap<String, u32>,
    buckets: BTreeMap<i32, CrushBucket>,
    /// The sum of the weights in each bucket.
    weights: BTreeMap<i32, u32>,
    /// The id of the copy of a bucket that has only the devices of a class.
    shadows: BTreeMap<(i32, String), i32>,
    rules: Vec<(String, Vec<CrushStep>)>,
    /// Number of items looked at for classes.
    sorted_by_class: usize,
}

pub(super) fn read(file: &File<'_>, options: &PoolOptions) -> Result<Built, Failure> {
    let mut names = Names::default();
    let mut lines = file.lines()?.into_iter().map(|(number, text)| (number, words(text)));
    while let Some((number, words)) = lines.next() {
        let fail = |reason| file.fail(number, reason);
        match &words[..] {
            [] => {}
            [.., "{"] => {
                let mut block = Vec::new();
                loop {
                    let (number, words) = lines.next().ok_or_else(|| fail("the block has no end".into()))?;
                    match words[..] {
                        ["}"] => break,
                        [] => {}
                        _ => block.push((number, words)),
                    }
                }
                names.block(file, number, &words, &block)?;
            }
            _ => names.line(&words).map_err(fail)?,
        }
    }
    names.check_tunables().map_err(|reason| file.refuse(reason))?;
    let mut rule = vec![CrushStep::SetChooseTries(names.tunables["choose_total_tries"].saturating_add(1))];
    rule.extend(file.only_rule(options.rule.as_deref(), std::mem::take(&mut names.rules))?);
    let mut reweights = BTreeMap::new();
    for text in &options.reweights {
        let (device, weight) = reweight(text, &names.items).map_err(Failure::Usage)?;
        reweights.insert(device, weight);
    }
    names
        .cluster(options, rule, reweights)
        .map(|cluster| Built::Ceph(Box::new(cluster)))
        .map_err(|error| file.refuse(error.to_string()))
}

/// The words of a line, without its comment.
fn words(text: &str) -> Vec<&str> {
    text.split('#').next().unwrap_or_default().split_whitespace().collect()
}

impl Names {
    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["tunable", name, value] => {
                self.tunables.insert((*name).to_owned(), number(value)?);
            }
            ["device", id, name, class @ ..] => {
                let id: i32 = number(id)?;
                self.name(name, id)?;
                match class {
                    [] => {}
                    ["class", class] => _ = self.classes.insert(id, (*class).to_owned()),
                    _ => return Err(format!("{:?} is not understood", class.join(" "))),
                }
            }
            ["type", id, name] => _ = self.kinds.insert((*name).to_owned(), number(id)?),
            _ => return Err(format!("{:?} is not understood", words.join(" "))),
        }
        Ok(())
    }

    fn block(
        &mut self,
        file: &File<'_>,
        line: usize,
        head: &[&str],
        block: &[(usize, Vec<&str>)],
    ) -> Result<(), Failure> {
        match head {
            ["rule", name, "{"] => {
                let mut steps = Vec::new();
                for (line, words) in block {
                    let step = self.step(words).map_err(|reason| file.fail(*line, reason))?;
                    steps.extend(step);
                }
                self.rules.push(((*name).to_owned(), steps));
                Ok(())
            }
            ["choose_args", ..] => Err(file.fail(line, "weight sets (choose_args) are not read")),
            [kind, name, "{"] => {
                let Some(&kind) = self.kinds.get(*kind) else {
                    return Err(file.fail(line, format!("{kind:?} is no type")));
                };
                self.bucket(file, line, kind, name, block)
            }
            _ => Err(file.fail(line, format!("{:?} is not understood", head.join(" ")))),
        }
    }

    fn bucket(
        &mut self,
        file: &File<'_>,
        line: usize,
        kind: u16,
        name: &str,
        block: &[(usize, Vec<&str>)],
    ) -> Result<(), Failure> {
        let (mut id, mut is_straw2, mut items) = (None, false, Vec::new());
        let mut shadows: BTreeMap<String, i32> = BTreeMap::new();
        for (line, words) in block {
            let fail = |reason| file.fail(*line, reason);
            match words[..] {
                ["id", text] => id = Some(number(text).map_err(fail)?),
                ["id", text, "class", class] => {
                    if shadows.insert(class.to_owned(), number(text).map_err(fail)?).is_some() {
                        return Err(fail(format!("the bucket has two ids for the class {class}")));
                    }
                }
                ["alg", "straw2"] => is_straw2 = true,
                ["hash", "0" | "rjenkins1"] => {}
                ["alg", other] => return Err(fail(format!("buckets of the kind {other} are not read, only straw2"))),
                ["item", item, ref more @ ..] => {
                    let &item = self.items.get(item).ok_or_else(|| fail(format!("{item:?} is not known")))?;
                    items.push((item, self.weight(item, more).map_err(fail)?));
                }
                _ => return Err(fail(format!("{:?} is not understood", words.join(" ")))),
            }
        }
        let id: i32 = id.ok_or_else(|| file.fail(line, "the bucket has no id"))?;
        if !is_straw2 {
            return Err(file.fail(line, "the bucket has no algorithm"));
        }
        self.sorted_by_class = self.sorted_by_class.saturating_add(items.len().saturating_mul(shadows.len()));
        if self.sorted_by_class > SORTED_BY_CLASS_MAX {
            return Err(file.fail(line, "the buckets have too many items for their number of classes"));
        }
        let fail = |reason| file.fail(line, reason);
        self.name(name, id).map_err(fail)?;
        for (class, shadow) in shadows {
            let items = self.of_class(&items, &class);
            self.shadows.insert((id, class), shadow);
            self.add_bucket(shadow, CrushBucket { kind, items }).map_err(fail)?;
        }
        self.add_bucket(id, CrushBucket { kind, items }).map_err(fail)
    }

    /// Names a device or a bucket, which no other may be named.
    fn name(&mut self, name: &str, id: i32) -> Result<(), String> {
        match self.items.insert(name.to_owned(), id) {
            Some(_) => Err(format!("there are two devices or buckets named {name}")),
            None => Ok(()),
        }
    }

    fn add_bucket(&mut self, id: i32, bucket: CrushBucket) -> Result<(), String> {
        let weight = bucket.items.iter().fold(0, |sum: u32, (_, weight)| sum.saturating_add(*weight));
        self.weights.insert(id, weight);
        match self.buckets.insert(id, bucket) {
            Some(_) => Err(format!("there are two buckets with the id {id}")),
            None => Ok(()),
        }
    }

    /// The weight of an item, in words that follow it, or else the sum of what is in it.
    fn weight(&self, item: i32, words: &[&str]) -> Result<u32, String> {
        match words {
            ["weight", weight, ..] => units(weight),
            _ => Ok(self.weights.get(&item).copied().unwrap_or(ONE)),
        }
    }

    /// Those items that are of a class, with the copies of buckets in the place of these.
    fn of_class(&self, items: &[(i32, u32)], class: &str) -> Vec<(i32, u32)> {
        let of_class = |&(item, weight): &(i32, u32)| {
            if item >= 0 {
                return self.classes.get(&item).is_some_and(|of| of == class).then_some((item, weight));
            }
            let shadow = *self.shadows.get(&(item, class.to_owned()))?;
            Some((shadow, self.weights[&shadow]))
        };
        items.iter().filter_map(of_class).collect()
    }

    fn step(&self, words: &[&str]) -> Result<Option<CrushStep>, String> {
        let take = |name: &str| self.items.get(name).copied().ok_or_else(|| format!("{name:?} is not known"));
        let step = match *words {
            ["id" | "ruleset" | "type" | "min_size" | "max_size", _] => return Ok(None),
            ["step", "take", name] => CrushStep::Take(take(name)?),
            ["step", "take", name, "class", class] => {
                let shadow = self.shadows.get(&(take(name)?, class.to_owned()));
                CrushStep::Take(*shadow.ok_or_else(|| format!("{name:?} has no id for the class {class:?}"))?)
            }
            ["step", "set_choose_tries", tries] => CrushStep::SetChooseTries(number(tries)?),
            ["step", "set_chooseleaf_tries", tries] => CrushStep::SetChooseleafTries(number(tries)?),
            ["step", choose @ ("choose" | "chooseleaf"), mode, count, "type", kind] => {
                let (count, leaf) = (number(count)?, choose == "chooseleaf");
                let kind = *self.kinds.get(kind).ok_or_else(|| format!("{kind:?} is no type"))?;
                // The device below a device is that device.
                let leaf = leaf && kind > 0;
                match mode {
                    "firstn" => CrushStep::ChooseFirstn { count, kind, leaf },
                    "indep" => CrushStep::ChooseIndep { count, kind, leaf },
                    _ => return Err(format!("{mode:?} is neither firstn nor indep")),
                }
            }
            ["step", "emit"] => CrushStep::Emit,
            _ => return Err(format!("{:?} is not understood", words.join(" "))),
        };
        Ok(Some(step))
    }

    /// The pool under this rule.
    fn cluster(
        self,
        options: &PoolOptions,
        rule: Vec<CrushStep>,
        reweights: BTreeMap<i32, u32>,
    ) -> Result<CephCluster, CrushError> {
        let mut items: BTreeMap<i32, String> = self.items.into_iter().map(|(name, id)| (id, name)).collect();
        for ((id, class), shadow) in self.shadows {
            // As Ceph's tools name them.
            let name = format!("{}~{class}", items.get(&id).map_or("", String::as_str));
            items.insert(shadow, name);
        }
        let kinds = self.kinds.into_iter().map(|(name, kind)| (kind, name)).collect();
        let map = CrushMap::new(self.buckets)?;
        let reweight = |device| reweights.get(&device).copied().unwrap_or(ONE);
        let &PoolOptions { number, pg_num, size, .. } = options;
        let pool = CephPool::new(&map, &rule, number, pg_num, size, reweight)?;
        Ok(CephCluster { pool, map, rule, number, pg_num, size, reweights, items, kinds })
    }

    /// Other tunables place differently. Those that the map does not have are those before Ceph had tunables.
    fn check_tunables(&self) -> Result<(), String> {
        for (name, wanted, legacy) in TUNABLES {
            let value = self.tunables.get(name).copied().unwrap_or(legacy);
            if wanted.is_some_and(|wanted| value != wanted) {
                return Err(format!("the tunable {name} is {value}; only the profile jewel and later ones are read"));
            }
            if wanted.is_none() && !self.tunables.contains_key(name) {
                return Err(format!("the map has no tunable {name}; only the profile jewel and later ones are read"));
            }
        }
        Ok(())
    }
}

impl File<'_> {
    fn only_rule(&self, name: Option<&str>, rules: Vec<(String, Vec<CrushStep>)>) -> Result<Vec<CrushStep>, Failure> {
        let names = rules.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let mut wanted: Vec<_> = rules.into_iter().filter(|(rule, _)| name.is_none_or(|name| name == rule)).collect();
        match (wanted.pop(), wanted.is_empty()) {
            (Some((_, steps)), true) => Ok(steps),
            (None, _) => Err(self.refuse(format!("there is no such rule; there are: {names}"))),
            _ => Err(self.refuse(format!("there is more than one rule, name one by --rule: {names}"))),
        }
    }
}

fn reweight(text: &str, items: &BTreeMap<String, i32>) -> Result<(i32, u32), String> {
    let (name, weight) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=WEIGHT"))?;
    let device = *items.get(name).filter(|item| **item >= 0).ok_or_else(|| format!("there is no device {name:?}"))?;
    Ok((device, units(weight)?.min(ONE)))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no such number"))
}

/// A weight in steps of 1/65536. As in Ceph it is a number of single precision, and truncated.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn units(text: &str) -> Result<u32, String> {
    let weight: f32 = text
        .parse()
        .ok()
        .filter(|weight| (0.0..65536.0).contains(weight))
        .ok_or_else(|| format!("{text:?} is not a weight below 65536"))?;
    Ok((weight * 65536.0) as u32)
}

/// Each tunable with the only value that is read, if there is only one, and the value of maps that do not have it.
const TUNABLES: [(&str, Option<u32>, u32); 6] = [
    ("choose_local_tries", Some(0), 2),
    ("choose_local_fallback_tries", Some(0), 5),
    ("choose_total_tries", None, 19),
    ("chooseleaf_descend_once", Some(1), 0),
    ("chooseleaf_vary_r", Some(1), 0),
    ("chooseleaf_stable", Some(1), 0),
];
/// Number of items looked at for classes; a cluster of 100,000 devices has some 300,000.
const SORTED_BY_CLASS_MAX: usize = 1 << 24;
/// A weight of one.
const ONE: u32 = 1 << 16;
