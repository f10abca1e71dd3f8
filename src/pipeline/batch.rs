//! [`Batch`]: several pipelines of one source, which is decoded once for all that need the same decode. Results equal those
//! of [`Pipeline::run`] to the byte. Decodes that differ (a JPEG shrunk to a half for one output and to an eighth for
//! another) are not merged: a result must not depend on the other outputs.
//!
//! ```text
//! Batch::plan -> for each group: decode once -> for each output of it: finish (operations, encoding)
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::codec::{Codec, Header};
use super::plan::{Headers, RenderPlan};
use super::run::{decoded, finished};
use super::{Deadline, Error, Images, Limits, Output, Picture, Pipeline};

/// Pipelines of one source, checked against the limits.
pub struct Batch {
    pub(super) codec: &'static Codec,
    pub(super) header: Header,
    pub(super) headers: Headers,
    pub(super) pipelines: Vec<Pipeline>,
    groups: Vec<Group>,
    refused: Vec<(usize, Error)>,
}

/// Pipelines of a batch that share a decode.
pub struct Group {
    members: Vec<Member>,
}

/// One pipeline of a group.
pub struct Member {
    /// The place of its pipeline.
    pub index: usize,
    pub(super) plan: RenderPlan,
}

/// The upright picture of a group. Each output takes a copy, and the last one the picture itself.
pub struct Decoded {
    picture: Option<Picture>,
    outputs_left: usize,
    elapsed: Duration,
}

impl Batch {
    /// Plans every pipeline, and groups those that share a decode. An output starts a group of its own if sharing would take
    /// more than `memory_bytes_max`: the picture is held while its copies are processed.
    pub fn plan(
        pipelines: Vec<Pipeline>,
        source: (&'static Codec, &Header),
        headers: Headers,
        limits: &Limits,
        memory_bytes_max: u64,
    ) -> Batch {
        let (mut groups, mut refused) = (Vec::<Group>::new(), Vec::new());
        for (index, pipeline) in pipelines.iter().enumerate() {
            match RenderPlan::new(pipeline, source, &headers, limits) {
                Ok(plan) => match groups.iter_mut().find(|group| group.takes(&plan, memory_bytes_max)) {
                    Some(group) => group.members.push(Member { index, plan }),
                    None => groups.push(Group { members: vec![Member { index, plan }] }),
                },
                Err(error) => refused.push((index, error)),
            }
        }
        Batch { codec: source.0, header: source.1.clone(), headers, pipelines, groups, refused }
    }

    /// The pipelines, in their given order.
    pub fn pipelines(&self) -> &[Pipeline] {
        &self.pipelines
    }

    /// Format and header of the source.
    pub fn source(&self) -> (&'static Codec, &Header) {
        (self.codec, &self.header)
    }

    /// Format and header of the images that the pipelines name.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Pipelines that cannot be run, by their place.
    pub fn refused(&self) -> &[(usize, Error)] {
        &self.refused
    }

    /// Pipelines that can be run.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Bytes held at the peak, without the source: groups follow each other, and results stay. The result of a single output
    /// is part of its own peak.
    pub fn memory_bytes(&self) -> u64 {
        let group = self.groups.iter().map(Group::memory_bytes).max().unwrap_or(0);
        if let [Group { members }] = &self.groups[..]
            && members.len() == 1
        {
            return group;
        }
        let members = self.groups.iter().flat_map(|group| &group.members);
        members.map(|member| member.plan.result_bytes).fold(group, u64::saturating_add)
    }

    /// Bytes of the largest result.
    pub fn result_bytes_max(&self) -> u64 {
        let members = self.groups.iter().flat_map(|group| &group.members);
        members.map(|member| member.plan.result_bytes).max().unwrap_or_default()
    }

    /// Renders the first pipeline.
    pub(super) fn run_first(
        &self,
        (source, images): (&Bytes, &Images),
        limits: &Limits,
        deadline: &Deadline,
    ) -> Result<Output, Error> {
        if let Some((0, error)) = self.refused.first() {
            return Err(error.clone());
        }
        let group = &self.groups[0];
        let mut decoded = self.decode(group, source, limits, deadline)?;
        self.finish(&group.members[0], &mut decoded, (source, images), limits, deadline)
    }

    /// Decodes the source for a group, unless it passes through.
    pub fn decode(
        &self,
        group: &Group,
        source: &Bytes,
        limits: &Limits,
        deadline: &Deadline,
    ) -> Result<Decoded, Error> {
        deadline.check()?;
        let started = Instant::now();
        let plan = &group.members[0].plan;
        let decode = || decoded((self.codec, &self.header), source, plan, limits, deadline);
        let picture = if plan.summary.passes_through { None } else { Some(decode()?) };
        Ok(Decoded { picture, outputs_left: group.members.len(), elapsed: started.elapsed() })
    }

    /// Finishes one output of a group, whose picture is `shared`.
    pub fn finish(
        &self,
        member: &Member,
        shared: &mut Decoded,
        (source, images): (&Bytes, &Images),
        limits: &Limits,
        deadline: &Deadline,
    ) -> Result<Output, Error> {
        deadline.check()?;
        let Some(picture) = shared.next() else { return Ok(Output::passed_through(source)) };
        let output = finished(self, member, picture, (source, images), limits, deadline)?;
        Ok(Output { decode: output.decode + shared.elapsed, ..output })
    }
}

impl Group {
    /// The members, in the order in which they are finished.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether the source's own bytes are the result of every member: there is nothing to render.
    pub fn passes_through(&self) -> bool {
        self.members.iter().all(|member| member.plan.summary.passes_through)
    }

    fn takes(&self, plan: &RenderPlan, memory_bytes_max: u64) -> bool {
        let alike = self.members.iter().all(|member| member.plan.decodes_like(plan));
        alike && self.shared_bytes().max(shared_bytes(plan)) <= memory_bytes_max
    }

    fn memory_bytes(&self) -> u64 {
        match &self.members[..] {
            [alone] => alone.plan.summary.memory_bytes,
            _ => self.shared_bytes(),
        }
    }

    fn shared_bytes(&self) -> u64 {
        self.members.iter().map(|member| shared_bytes(&member.plan)).max().unwrap_or(0)
    }
}

/// Bytes of the shared picture and of one output: outputs run one after the other, so that the largest one counts.
fn shared_bytes(plan: &RenderPlan) -> u64 {
    plan.picture_bytes.saturating_add(plan.summary.memory_bytes)
}

impl Decoded {
    fn next(&mut self) -> Option<Picture> {
        self.outputs_left -= 1;
        if self.outputs_left == 0 { self.picture.take() } else { self.picture.clone() }
    }
}
