//! The algorithms by name.

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;
use quorate_consistent_hash::{
    BuildError, CompatRing, EnvoyMaglev, EnvoyRing, Jump, JumpBack, Maglev, Memento, Nodes, Partitions, Placement,
    RedisSlots, Rendezvous, Ring,
};

use crate::Placing;
use crate::error::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Algorithm {
    /// Virtual nodes on a ring.
    Ring,
    /// Rendezvous hashing, weighted.
    Rendezvous,
    /// A Maglev table.
    Maglev,
    /// Jump consistent hash; the order of the nodes counts.
    Jump,
    /// JumpBackHash; the order of the nodes counts.
    JumpBack,
    /// MementoHash: JumpBackHash of which any node can be removed.
    Memento,
    /// libmemcached's weighted ketama.
    #[value(alias = "libmemcached")]
    Ketama,
    /// libketama.
    Libketama,
    /// nginx's `hash KEY consistent`.
    Nginx,
    /// Envoy's ring hash.
    #[value(alias = "envoy-ring")]
    Envoy,
    /// Envoy's Maglev.
    EnvoyMaglev,
    /// Redis Cluster's hash slots.
    RedisSlot,
    /// The partitions of Kafka's Java client and kafka-python; the nodes are partitions in their order.
    Kafka,
    /// The partitions of librdkafka's default.
    Librdkafka,
    /// The partitions of Sarama's default.
    Sarama,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => fmt::Debug::fmt(self, f),
        }
    }
}

/// A placement of the kind that was asked for.
pub(crate) enum Built {
    Ring(Ring),
    Compat(CompatRing),
    Memento(Memento),
    Other(Box<dyn Placement>),
}

impl Built {
    pub(crate) fn new(placing: &Placing, nodes: Nodes) -> Result<Self, Failure> {
        let other = |placement: Result<Box<dyn Placement>, BuildError>| placement.map(Self::Other);
        let built = match placing.algorithm {
            Algorithm::Ring => Ring::builder().virtual_nodes(placing.virtual_nodes).build(nodes).map(Self::Ring),
            Algorithm::Memento => Memento::new(nodes).map(Self::Memento),
            Algorithm::Ketama => CompatRing::libmemcached(nodes).map(Self::Compat),
            Algorithm::Libketama => CompatRing::libketama(nodes).map(Self::Compat),
            Algorithm::Nginx => CompatRing::nginx(nodes).map(Self::Compat),
            Algorithm::Envoy => {
                let settings = EnvoyRing { minimum_ring_size: placing.ring_size, ..EnvoyRing::default() };
                CompatRing::envoy(nodes, settings).map(Self::Compat)
            }
            Algorithm::Rendezvous => other(Rendezvous::new(nodes).map(|placement| Box::new(placement) as _)),
            Algorithm::Jump => other(Jump::new(nodes).map(|placement| Box::new(placement) as _)),
            Algorithm::JumpBack => other(JumpBack::new(nodes).map(|placement| Box::new(placement) as _)),
            Algorithm::Maglev => {
                let maglev = Maglev::builder().table_size(placing.table_size).build(nodes);
                other(maglev.map(|placement| Box::new(placement) as _))
            }
            Algorithm::EnvoyMaglev => {
                let maglev = EnvoyMaglev::with_table_size(nodes, placing.table_size);
                other(maglev.map(|placement| Box::new(placement) as _))
            }
            Algorithm::Kafka => other(Partitions::kafka(nodes).map(|placement| Box::new(placement) as _)),
            Algorithm::Librdkafka => other(Partitions::librdkafka(nodes).map(|placement| Box::new(placement) as _)),
            Algorithm::Sarama => other(Partitions::sarama(nodes).map(|placement| Box::new(placement) as _)),
            Algorithm::RedisSlot => other(RedisSlots::even(nodes).map(|placement| Box::new(placement) as _)),
        };
        Ok(built?)
    }

    /// The placement on other nodes: what the algorithm makes of the change, which for Memento depends on what was before.
    pub(crate) fn changed(&self, placing: &Placing, nodes: Nodes) -> Result<Self, Failure> {
        let Self::Memento(before) = self else {
            return Self::new(placing, nodes);
        };
        let mut after = before.clone();
        // Nodes first come, so that the last one never goes; what comes after a removal takes the number of who went.
        let gone: Vec<_> =
            before.nodes().iter().map(|(_, node)| node.name()).filter(|name| nodes.index_of(name).is_none()).collect();
        let mut new = nodes.iter().map(|(_, node)| node).filter(|node| before.nodes().index_of(node.name()).is_none());
        for name in gone {
            if after.nodes().len() == 1 {
                after.add(new.next().ok_or(BuildError::NoNodes)?.clone())?;
            }
            after.remove(name)?;
        }
        for node in new {
            after.add(node.clone())?;
        }
        Ok(Self::Memento(after))
    }

    pub(crate) fn into_shared(self) -> Arc<dyn Placement> {
        match self {
            Self::Ring(placement) => Arc::new(placement),
            Self::Compat(placement) => Arc::new(placement),
            Self::Memento(placement) => Arc::new(placement),
            Self::Other(placement) => placement.into(),
        }
    }

    pub(crate) fn placement(&self) -> &dyn Placement {
        match self {
            Self::Ring(placement) => placement,
            Self::Compat(placement) => placement,
            Self::Memento(placement) => placement,
            Self::Other(placement) => &**placement,
        }
    }
}
