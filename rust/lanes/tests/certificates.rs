//! Certificates and keys as other programs make them: OpenSSL here, until 2126.

mod common;

use common::*;
use mirai_lanes::{Access, Credentials, HubTls, LaneError};

const URL: &str = "tls+tcp://127.0.0.1:0";

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("certificates/", $name))
    };
}

/// Whether a daemon that trusts `trusted` connects to a hub with this certificate and key.
fn meet(certificate: &str, key: &str, trusted: &str, revoked: &str) -> Result<(), LaneError> {
    let access = Access {
        tls: Some(HubTls::own(certificate, key, Some("secret"))),
        token: None,
    };
    let credentials = Credentials::parse(trusted, revoked);
    in_runtime(async {
        let mut listener = listen(&address(URL), &access)?;
        let at = listener.address().clone();
        let daemon = tokio::task::spawn_blocking(move || dial(&at, &credentials).map(drop));
        let hub = listener.accept().await;
        let daemon = daemon.await.expect("no panic");
        assert_eq!(hub.is_ok(), daemon.is_ok());
        daemon
    })
}

/// RSA, an authority's, and with its host as the common name only.
#[test]
fn a_certificate_that_is_trusted_itself_may_be_an_authoritys_with_a_common_name() {
    for key in [
        file!("self.key"),
        file!("self-old.key"),
        file!("self-3des.key"),
        file!("self-new.key"),
    ] {
        meet(file!("self.pem"), key, file!("self.pem"), "").unwrap();
    }
}

#[test]
fn a_chain_goes_by_what_the_hub_shows_or_the_daemon_trusts() {
    let chain = [file!("hub.pem"), file!("mid.pem")].concat();
    meet(&chain, file!("hub.key"), file!("root.pem"), "").unwrap();
    meet(file!("hub.pem"), file!("hub.key"), file!("mid.pem"), "").unwrap();
    let error = meet(file!("hub.pem"), file!("hub.key"), file!("root.pem"), "").unwrap_err();
    assert!(
        error.to_string().contains("not signed by what was given"),
        "{error}"
    );
}

#[test]
fn a_revoked_certificate_is_told() {
    let chain = [file!("hub.pem"), file!("mid.pem")].concat();
    meet(
        &chain,
        file!("hub.key"),
        file!("root.pem"),
        file!("empty.crl"),
    )
    .unwrap();
    for trusted in [file!("root.pem"), file!("hub.pem")] {
        let error = meet(&chain, file!("hub.key"), trusted, file!("revoked.crl")).unwrap_err();
        assert_eq!(error.code().number(), 27);
        assert!(error.to_string().contains("has been revoked"), "{error}");
    }
}

#[test]
fn a_list_of_revoked_certificates_that_cannot_be_read_is_no_empty_one() {
    let at = address("tls+tcp://127.0.0.1:1");
    for list in [
        "nonsense",
        file!("root.pem"),
        &file!("empty.crl").replace("MIH", "AAA"),
    ] {
        let error = dial(&at, &Credentials::parse(file!("root.pem"), list)).unwrap_err();
        assert_eq!(error.code().number(), 26, "{error}");
        assert!(
            error.to_string().contains("list of revoked ones"),
            "{error}"
        );
    }
}

#[test]
fn an_old_version_is_of_no_use() {
    let error = meet(file!("v1.pem"), file!("hub.key"), file!("root.pem"), "").unwrap_err();
    assert_eq!(error.code().number(), 26, "{error}");
}
