//! One HTTP request and its answer: over TLS where the URL says so, with a limit on time and on length.
//!
//! [`Request::send`] blocks; whoever must not be held up calls it on a thread of their own. Nothing is kept between requests, as
//! they are few and far between. An answer of any status is an answer; redirects are not followed.
//!
//! ```no_run
//! use std::time::Duration;
//! use mirai_http::Request;
//!
//! # fn main() -> Result<(), mirai_http::HttpError> {
//! let response = Request::new("GET", "https://example.org/").timeout(Duration::from_secs(5)).send()?;
//! println!("{}: {}", response.status, response.text());
//! # Ok(())
//! # }
//! ```

mod error;
mod request;
mod response;

pub use error::HttpError;
pub use request::{Request, Trust};
pub use response::Response;
