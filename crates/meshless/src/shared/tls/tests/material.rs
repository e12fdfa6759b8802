//! TLS material as users have it: what is accepted, and the errors for the rest.

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

use super::*;

/// Returns the error for this text as authorities.
fn authorities(text: impl Into<Pem>) -> String {
    TlsConfig::trusting(text).unwrap_err().to_string()
}

/// Returns the error for these texts as certificate and key.
fn identity(chain: &str, key: &str) -> String {
    let tls = TlsConfig::trusting(AUTHORITY.pem()).unwrap();
    tls.identity(chain, key).unwrap_err().to_string()
}

fn labelled(label: &str) -> String {
    format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
}

#[test]
fn what_stands_in_place_of_a_certificate_is_named() {
    let der = AUTHORITY.der().to_vec();
    let utf16: Vec<u8> =
        [0xFF, 0xFE].into_iter().chain(AUTHORITY.pem().bytes().flat_map(|byte| [byte, 0])).collect();
    let pkcs12 = [&[0x30, 0x82, 0x09, 0x00, 0x02, 0x01, 0x03][..], &[0; 16]].concat();
    let no_end = AUTHORITY.pem().replace("-----END CERTIFICATE-----", "");
    let damaged = AUTHORITY.pem().replacen('M', "*", 1);
    for (given, expected) in [
        (Vec::new(), "no certificate found: it is empty"),
        (b" \r\n".to_vec(), "no certificate found: it is empty"),
        (b"hello".to_vec(), "no certificate found: it is not PEM"),
        (der, "it is DER; convert it: `openssl x509 -inform der -in FILE -out tls.crt`"),
        (pkcs12, "it is PKCS #12; convert it: `openssl pkcs12 -in"),
        (b"\xFE\xED\xFE\xED\0\0\0\x02".to_vec(), "it is a Java key store"),
        (utf16, "it is UTF-16"),
        (
            b"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==".to_vec(),
            "it is PEM in Base64, as in a Secret's `data`",
        ),
        (AUTHORITY.pem().replace('\n', "\\n").into_bytes(), "its lines have run together"),
        (issue("client").1.into_bytes(), "it holds a private key; are certificate and key swapped?"),
        (labelled("CERTIFICATE REQUEST").into_bytes(), "it holds a request for a certificate"),
        (labelled("TRUSTED CERTIFICATE").into_bytes(), "`openssl x509 -in"),
        (labelled("PKCS7").into_bytes(), "`openssl pkcs7 -print_certs -in"),
        (labelled("X509 CRL").into_bytes(), "a list of revoked certificates"),
        (labelled("SOMETHING").into_bytes(), "its PEM is of another kind: SOMETHING"),
        (labelled("CERTIFICATE").into_bytes(), "certificate 1 (line 1): it is no certificate"),
        (no_end.into_bytes(), "certificate 1 (line 1): the line -----END CERTIFICATE----- is missing"),
        (damaged.into_bytes(), "certificate 1 (line 1): its text is damaged"),
    ] {
        let said = authorities(given);
        assert!(said.starts_with("the PEM text: ") && said.contains(expected), "{said}");
    }
}

#[test]
fn what_stands_in_place_of_a_key_is_named() {
    let (certificate, key) = issue("client");
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                  -----END RSA PRIVATE KEY-----\n";
    for (given, expected) in [
        ("", "no private key found: it is empty"),
        (certificate.as_str(), "it holds a certificate; are certificate and key swapped?"),
        (legacy, "the private key is encrypted with a pass phrase; write it without: `openssl pkey -in"),
        (&labelled("ENCRYPTED PRIVATE KEY"), "the private key is encrypted with a pass phrase"),
        (&labelled("OPENSSH PRIVATE KEY"), "a key of SSH"),
        (&labelled("DSA PRIVATE KEY"), "a DSA key"),
        (&labelled("PUBLIC KEY"), "a public key alone"),
        (&labelled("PRIVATE KEY"), "the private key is of a kind that is not supported"),
    ] {
        let said = identity(&certificate, given);
        assert!(said.contains(expected), "{said}");
    }
    assert!(identity(&key, &certificate).contains("are certificate and key swapped?"));
}

#[test]
fn a_pair_that_does_not_belong_together_is_named_with_what_to_compare() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let (certificate, key) = issue("client");
    let (other, _) = issue("other");
    let key = write("tls.key", &key);
    let tls = || TlsConfig::trusting(AUTHORITY.pem()).unwrap();
    let chain = write("tls.crt", &other);
    let said = tls().identity(Pem::file(&chain), Pem::file(&key)).unwrap_err().to_string();
    assert!(
        said.starts_with(&format!("{}: its certificate does not belong to the key", chain.display())),
        "{said}"
    );
    assert!(said.contains(&format!("openssl pkey -pubout -in {}", key.display())), "{said}");
    // The intermediate first: the order of many authorities' bundles.
    let chain = write("tls.crt", &(AUTHORITY.pem() + &certificate));
    let said = tls().identity(Pem::file(&chain), Pem::file(&key)).unwrap_err().to_string();
    assert!(
        said.contains("the key belongs to certificate 2 of the file; move that one to the top"),
        "{said}"
    );
    write("tls.crt", &(certificate + &AUTHORITY.pem()));
    tls().identity(Pem::file(&chain), Pem::file(&key)).unwrap();
}

#[test]
fn pem_is_read_however_it_was_saved() {
    let (certificate, key) = issue("client");
    let saved: [&dyn Fn(&str) -> String; 5] = [
        &|pem| format!("\u{FEFF}{pem}"),
        &|pem| pem.replace('\n', "\r\n"),
        &|pem| pem.lines().map(|line| format!("    {line}  \n")).collect(),
        &|pem| format!("subject=CN = client\nBag Attributes\n    friendlyName: x\n{pem}\nand more\n"),
        &|pem| pem.trim_end().to_owned(),
    ];
    for save in saved {
        let tls = TlsConfig::trusting(save(&AUTHORITY.pem())).unwrap();
        tls.identity(save(&certificate), save(&key)).unwrap();
    }
    // Certificate and key in one file, as HAProxy has them.
    let both = key + &certificate;
    TlsConfig::trusting(AUTHORITY.pem()).unwrap().identity(&both, &both).unwrap();
}

#[tokio::test]
async fn one_bad_certificate_does_not_spoil_a_bundle() {
    let bundle = labelled("CERTIFICATE")
        + "-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n"
        + &AUTHORITY.pem();
    let text = Pem::from(bundle.as_str()).read().unwrap();
    let read = crate::shared::tls::material::authorities(&text).unwrap();
    let [first, second] = &read.warnings[..] else { panic!("{:?}", read.warnings) };
    assert!(first.starts_with("the PEM text: certificate 1 (line 1): it is no certificate"), "{first}");
    assert_eq!(
        second,
        "the PEM text: certificate 2 (line 4): its text is damaged: it is not Base64; copy it again, whole; the other \
         authorities are used"
    );
    let tls = TlsConfig::trusting(bundle).unwrap();
    handshake(&tls, "backend.test", server("backend.test", &[b"h2"])).await.unwrap();
}

/// Returns a client's error for a server whose certificate and trust are made by `make`.
async fn refused(make: impl FnOnce(&mut CertificateParams), own_authority: bool) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["backend.test".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "backend.test");
    make(&mut params);
    let certificate = match own_authority {
        true => params.self_signed(&key).unwrap().pem(),
        false => params.signed_by(&key, &*AUTHORITY).unwrap().pem(),
    };
    let trusted = if own_authority { certificate.clone() } else { AUTHORITY.pem() };
    let pair = (certificate, key.serialize_pem());
    let server = serve_with(WebPkiClientVerifier::no_client_auth(), &pair, &[b"h2"]);
    let tls = TlsConfig::trusting(trusted).unwrap();
    handshake(&tls, "backend.test", server).await.err().unwrap_or_else(|| "accepted".into())
}

#[tokio::test]
async fn certificates_of_servers_are_refused_in_words() {
    let said = refused(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), true).await;
    assert!(said.contains("is an authority's (CA:TRUE)") && said.contains("CA:FALSE"), "{said}");
    assert_eq!(refused(|_| {}, true).await, "accepted", "self-signed, and no authority");
    let said = refused(|params| params.not_after = date_time_ymd(2020, 1, 1), false).await;
    assert!(
        said.contains("the server's certificate expired ") && said.contains(" days ago; renew it"),
        "{said}"
    );
    let said = refused(|params| params.not_before = date_time_ymd(3000, 1, 1), false).await;
    assert!(said.contains("becomes valid in") && said.contains("clocks"), "{said}");
    let said = refused(|params| params.subject_alt_names.clear(), false).await;
    assert!(said.contains("has no subjectAltName") && said.contains("DNS:backend.test"), "{said}");
    let client_alone = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let said = refused(client_alone, false).await;
    assert!(said.contains("extendedKeyUsage lacks serverAuth"), "{said}");
}
