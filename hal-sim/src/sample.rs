//! The artifacts the scenarios install: small, uncompressed, unsigned.

use std::sync::Arc;

use crate::artifact_writer::ArtifactWriter;
use crate::sim::DEVICE_TYPE;
use crate::world::{NEW, PAYLOAD};

/// The new artifact, with or without a payload, for this type of device.
#[must_use]
pub fn artifact(payload: bool, device_type: &str) -> Arc<[u8]> {
    named(NEW, payload, device_type)
}

/// Another one.
#[must_use]
pub fn named(name: &str, payload: bool, device_type: &str) -> Arc<[u8]> {
    let writer = if payload {
        ArtifactWriter::new(name, "simulated", &[device_type])
            .script("ArtifactInstall_Enter_00", b"#!/bin/sh\n")
            .file("file", PAYLOAD)
    } else {
        ArtifactWriter::empty(name, &[device_type])
    };
    writer.build().into()
}

/// The new artifact for this device.
#[must_use]
pub fn fitting(payload: bool) -> Arc<[u8]> {
    artifact(payload, DEVICE_TYPE)
}
