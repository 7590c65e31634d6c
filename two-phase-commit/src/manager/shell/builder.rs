//! Describes a manager and opens it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::calls::Calls;
use super::error::OpenError;
use super::handle::Manager;
use super::log::{LogOpening, listen, publish};
use super::resource::Resource;
use super::shared::{Described, Shared};
use crate::manager::core::{ManagerSettings, NAME_BYTES_MAX};
use crate::manager::{ResourceId, ResourceManager};

/// Description of a [`Manager`].
pub struct ManagerBuilder {
    name: String,
    directory: PathBuf,
    description: Description,
}

/// The resources and the settings of a manager.
#[derive(Default)]
pub(super) struct Description {
    pub(super) resources: BTreeMap<ResourceId, Described>,
    pub(super) settings: ManagerSettings,
    /// The first mistake.
    wrong: Option<OpenError>,
}

impl Description {
    pub(super) fn resource<R: ResourceManager>(&mut self, resource: &Resource<R>) {
        let name = resource.name();
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
            self.wrong.get_or_insert(OpenError::Name(name.to_owned()));
        }
        let described = Described { name: name.into(), resource: resource.shared() };
        if self.resources.insert(resource.id(), described).is_some() {
            self.wrong.get_or_insert(OpenError::Repeated(name.to_owned()));
        }
    }

    /// The description, if there is no mistake in it.
    pub(super) fn checked(mut self) -> Result<Self, OpenError> {
        match self.wrong.take() {
            Some(wrong) => Err(wrong),
            None => Ok(self),
        }
    }
}

/// The names of resources.
pub(super) fn names(resources: &BTreeMap<ResourceId, Described>) -> BTreeMap<ResourceId, String> {
    resources.iter().map(|(id, described)| (*id, described.name.to_string())).collect()
}

impl ManagerBuilder {
    pub(super) fn new(name: &str, directory: PathBuf) -> Self {
        Self { name: name.to_owned(), directory, description: Description::default() }
    }

    /// Adds a resource. The manager asks each of its resources for the branches of earlier starts, so a resource must
    /// be described as long as it may have any.
    pub fn resource<R: ResourceManager>(mut self, resource: &Resource<R>) -> Self {
        self.description.resource(resource);
        self
    }

    /// Replaces times and bounds.
    pub fn settings(mut self, settings: ManagerSettings) -> Self {
        self.description.settings = settings;
        self
    }

    /// Opens the log, or makes it, and begins to recover. It waits for no resource. Calls to resources run in the
    /// current tokio runtime.
    ///
    /// # Errors
    /// When the description is wrong, or the log is in use, damaged, or of another manager.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time.
    pub async fn open(self) -> Result<Manager, OpenError> {
        let Description { resources, settings, .. } = self.description.checked()?;
        let calls = Calls::new(Handle::current());
        let names = names(&resources);
        let (name, directory) = (self.name, self.directory);
        let opening = LogOpening { name, directory, resources: names, settings: settings.clone() };
        let log = opening.open().await?;
        let shared = Shared::new(log.manager, (log.node, log.group), None, resources, &settings, calls);
        tokio::spawn(listen(log.news, Arc::downgrade(&shared)));
        tokio::spawn(publish(Arc::downgrade(&shared)));
        Ok(Manager::new(shared))
    }
}

impl fmt::Debug for ManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.description.resources.values().map(|described| &*described.name).collect();
        f.debug_struct("ManagerBuilder").field("name", &self.name).field("resources", &names).finish_non_exhaustive()
    }
}
