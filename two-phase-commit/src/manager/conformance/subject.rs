//! The resource in memory as a subject.

use async_trait::async_trait;

use super::Subject;
use crate::manager::memory::{Memory, MemorySession};
use crate::manager::{BranchId, ResourceManager, Sessions};

/// A [`Memory`] under test, or with [`MemorySubject::new`] a resource that is built on one.
#[derive(Debug)]
pub struct MemorySubject<R> {
    memory: Memory<u64>,
    resource: R,
}

impl<R> MemorySubject<R> {
    /// A resource under test whose work is done in `memory`.
    pub fn new(memory: Memory<u64>, resource: R) -> Self {
        Self { memory, resource }
    }

    async fn session(&self, branch: BranchId) -> Result<MemorySession<u64>, String> {
        match self.memory.resume(branch) {
            Some(session) => Ok(session),
            None => self.memory.begin(branch).await.map_err(|error| error.to_string()),
        }
    }
}

#[async_trait]
impl<R: ResourceManager> Subject for MemorySubject<R> {
    type Resource = R;

    fn resource(&self) -> &R {
        &self.resource
    }

    async fn write(&self, branch: BranchId, key: &str, value: u64) -> Result<(), String> {
        let session = self.session(branch).await?;
        let written = session.put(key, value).map_err(|error| error.to_string());
        self.memory.suspend(branch, session);
        written
    }

    async fn read(&self, branch: BranchId, key: &str) -> Result<(), String> {
        let session = self.session(branch).await?;
        let read = session.get(key).map(|_| ()).map_err(|error| error.to_string());
        self.memory.suspend(branch, session);
        read
    }

    async fn value(&self, key: &str) -> Option<u64> {
        self.memory.value(key)
    }

    async fn crash(&self) {
        self.memory.crash();
    }
}
