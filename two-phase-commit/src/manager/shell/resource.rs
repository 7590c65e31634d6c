//! A resource under the name that a manager knows it by.

use std::fmt;
use std::sync::Arc;

use crate::manager::ResourceId;

/// A resource and its name. Clones are handles of the same resource.
pub struct Resource<R: ?Sized> {
    name: Arc<str>,
    id: ResourceId,
    shared: Arc<R>,
}

impl<R> Resource<R> {
    /// Gives a resource its name. The name is in the log of the manager and in the names of branches: give a resource
    /// the same name for ever, and no other resource that name. It has 1 to 64 bytes.
    pub fn new(name: &str, resource: R) -> Self {
        Self { name: name.into(), id: ResourceId::of_name(name), shared: Arc::new(resource) }
    }
}

impl<R: ?Sized> Resource<R> {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id, made from the name.
    pub fn id(&self) -> ResourceId {
        self.id
    }

    /// The resource.
    pub fn get(&self) -> &R {
        &self.shared
    }

    pub(super) fn shared(&self) -> Arc<R> {
        self.shared.clone()
    }
}

impl<R: ?Sized> Clone for Resource<R> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), id: self.id, shared: self.shared.clone() }
    }
}

impl<R: ?Sized> fmt::Debug for Resource<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}
