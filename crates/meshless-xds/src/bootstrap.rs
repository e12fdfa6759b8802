//! What a client needs: the bootstrap that tells it where the control plane is, the package that
//! speaks xDS, and the line of code that changes.

use std::fmt;
use std::str::FromStr;

/// The languages whose clients speak xDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Language {
    /// grpc-go.
    Go,
    /// grpc-java.
    Java,
    /// grpcio; Ruby, PHP and C++ are the same library.
    Python,
    /// @grpc/grpc-js.
    Node,
    /// tonic-xds.
    Rust,
}

/// A client's bootstrap, for the variable `GRPC_XDS_BOOTSTRAP_CONFIG`.
///
/// ```
/// let json = meshless_xds::bootstrap::json("dns:///meshless-xds.shop:18000", "$(POD_NAME).$(POD_NAMESPACE)", None);
/// assert!(json.contains("ignore_resource_deletion"));
/// ```
///
/// It has the one feature that keeps clients alive when a resource is deleted by mistake, and a
/// `locality`, without which grpc-js refuses the whole. In a pod, Kubernetes fills in `$(POD_NAME)`,
/// which it does in a variable and not in a file.
pub fn json(server_uri: &str, node_id: &str, zone: Option<&str>) -> String {
    let locality = match zone {
        Some(zone) => serde_json::json!({ "zone": zone }),
        None => serde_json::json!({}),
    };
    let bootstrap = serde_json::json!({
        "xds_servers": [{
            "server_uri": server_uri,
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3", "ignore_resource_deletion"],
        }],
        "node": { "id": node_id, "locality": locality },
    });
    bootstrap.to_string()
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Go, Self::Java, Self::Python, Self::Node, Self::Rust];

    /// How the control plane at `server` is written in this language's bootstrap.
    pub fn server_uri(self, server: &str) -> String {
        let bare = server.trim_start_matches("dns:///").trim_start_matches("http://");
        match self {
            // It hangs on anything but a URL, without a word.
            Self::Rust => format!("http://{bare}"),
            _ if server.contains("://") || server.starts_with("unix:") => server.to_owned(),
            _ if bare.parse::<std::net::SocketAddr>().is_ok() => bare.to_owned(),
            _ => format!("dns:///{bare}"),
        }
    }

    /// What to add to the program.
    pub fn package(self) -> &'static str {
        match self {
            Self::Go => r#"import _ "google.golang.org/grpc/xds" // google.golang.org/grpc, 1.66 or newer"#,
            Self::Java => {
                r#"runtimeOnly("io.grpc:grpc-xds:1.85.0") // the version of your other io.grpc packages"#
            }
            Self::Python => "nothing: grpcio 1.55 or newer has it (as have Ruby, PHP and C++)",
            Self::Node => "npm install @grpc/grpc-js-xds",
            Self::Rust => "cargo add tonic-xds@0.1.0-alpha.4",
        }
    }

    /// The line that changes, for the service dialled as `name`.
    pub fn line(self, name: &str) -> String {
        match self {
            Self::Go => format!(
                r#"conn, err := grpc.NewClient("xds:///{name}", grpc.WithTransportCredentials(insecure.NewCredentials()))"#
            ),
            Self::Java => format!(
                r#"Grpc.newChannelBuilder("xds:///{name}", InsecureChannelCredentials.create()).build()"#
            ),
            Self::Python => format!(r#"channel = grpc.insecure_channel("xds:///{name}")"#),
            Self::Node => format!(
                "require('@grpc/grpc-js-xds').register();\nconst client = new Client('xds:///{name}', grpc.credentials.createInsecure());"
            ),
            Self::Rust => format!(
                r#"let channel = tonic_xds::XdsChannelBuilder::new(tonic_xds::XdsChannelConfig::new("xds:///{name}".parse()?)).build_grpc_channel()?;"#
            ),
        }
    }

    /// What this language does not do; empty if nothing.
    pub fn caveat(self) -> &'static str {
        match self {
            Self::Go => "",
            Self::Java => "no private CA towards the control plane: use its plaintext port",
            Self::Python => "no least_request: it takes the next policy of the list, round_robin",
            Self::Node => {
                "no least_request: it takes round_robin; no TLS towards the control plane; restart it after a deletion that it has applied"
            }
            Self::Rust => {
                "alpha: always least loaded of two, whatever the policy; no zones, no ejection, no maxRequests, no ring_hash"
            }
        }
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|language| language.to_string() == name).ok_or_else(|| {
            format!("write one of {}", Self::ALL.map(|language| language.to_string()).join(", "))
        })
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Go => "go",
            Self::Java => "java",
            Self::Python => "python",
            Self::Node => "node",
            Self::Rust => "rust",
        })
    }
}
