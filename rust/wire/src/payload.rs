//! The bytes that a frame carries.

/// Opaque bytes of a frame, which hub and daemon pass on unread.
///
/// A clone refers to the same bytes. They are those of a vector (`Payload::from(vec)`, without a copy), or of anything
/// else that lends bytes for as long as it is held ([`Bytes::from_owner`](bytes::Bytes::from_owner)), such as a mapping of
/// memory that came as a descriptor.
pub type Payload = bytes::Bytes;
