//! [`Batch`]: several pipelines of one source, which is decoded once for all that would decode it alike. Results are those of
//! [`Pipeline::run`], to the byte: decodes that would differ (a JPEG shrunk to a half for one output and to an eighth for
//! another) are not merged, for a result must not depend on what else was asked for.
//!
//! ```text
//! Batch::plan -> for each group: decode once -> for each output of it: finish (operations, encoding)
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::codec::{Codec, Header};
use super::plan::{Headers, RenderPlan};
use super::run::{Input, decoded, finished};
use super::{Deadline, Error, Images, Limits, Output, Picture, Pipeline};

/// Pipelines of one source that were held against the limits.
pub struct Batch {
    codec: &'static Codec,
    header: Header,
    headers: Headers,
    pipelines: Vec<Pipeline>,
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
    plan: RenderPlan,
}

/// The upright picture of a group, of which each output takes a copy, and the last one the picture itself.
pub struct Decoded {
    picture: Option<Picture>,
    outputs_left: usize,
    elapsed: Duration,
}

impl Batch {
    /// Plans every pipeline, and puts those together that share a decode. An output starts a group of its own where sharing
    /// would take more than `memory_bytes_max`: the picture is held while its copies are worked on.
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

    /// The pipelines, as they were given.
    pub fn pipelines(&self) -> &[Pipeline] {
        &self.pipelines
    }

    /// Pipelines that cannot be run, by their place.
    pub fn refused(&self) -> &[(usize, Error)] {
        &self.refused
    }

    /// Pipelines that can be run.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Bytes held at the peak, sources excluded: groups follow each other, and results stay. The result of one alone is part of
    /// its own peak.
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

    /// The result of the first pipeline, or why there is none.
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

    /// The decode of a group; none where the source passes through.
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

    /// One output of a group, whose picture is `shared`.
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
        let (codec, header, headers) = (self.codec, &self.header, &self.headers);
        let input = Input { codec, header, bytes: source, images, headers, limits };
        let output = finished(&self.pipelines[member.index], &member.plan, picture, &input, deadline)?;
        Ok(Output { decode: output.decode + shared.elapsed, ..output })
    }
}

impl Group {
    /// Its pipelines, in the order in which they are finished.
    pub fn members(&self) -> &[Member] {
        &self.members
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

/// The picture, and in addition the output: outputs run one after the other, so that the one that holds most counts.
fn shared_bytes(plan: &RenderPlan) -> u64 {
    plan.picture_bytes.saturating_add(plan.summary.memory_bytes)
}

impl Decoded {
    fn next(&mut self) -> Option<Picture> {
        self.outputs_left -= 1;
        if self.outputs_left == 0 { self.picture.take() } else { self.picture.clone() }
    }
}
