//! The command line as argh reads it, after [`super::argv`]. The doc comments here are the texts of `--help`.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

/// Keeps the linked device of a Signal account online and wakes Molly over UnifiedPush.
/// Options may stand before or after a command, and commands may be shortened.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(help_triggers("-h", "--help", "help"))]
pub(super) struct Args {
    /// configuration file
    #[argh(option, short = 'c', arg_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// log more; -vv and -vvv log even more
    #[argh(switch, short = 'v')]
    pub(super) verbose: u8,
    /// print the version
    #[argh(switch, short = 'V')]
    pub(super) version: bool,
    #[argh(subcommand)]
    pub(super) verb: Option<Verb>,
}

#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand)]
pub(super) enum Verb {
    Server(Server),
    Vapid(Vapid),
    QrCode(QrCode),
    Connection(Connection),
    Test(Test),
    Status(Status),
    Health(Health),
    Doctor(Doctor),
    CheckConfig(CheckConfig),
}

/// check everything between Signal and the phone, step by step, and say what to do
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "doctor")]
pub(super) struct Doctor {
    /// print JSON
    #[argh(switch, short = 'j')]
    pub(super) json: bool,
    /// print a report without names and addresses, to paste into an issue
    #[argh(switch)]
    pub(super) report: bool,
    /// check only this account; its phone shows a test notification
    #[argh(positional, arg_name = "UUID")]
    pub(super) uuid: Option<String>,
}

/// check a configuration file as the server reads it, without variables and the files it names
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "check-config")]
pub(super) struct CheckConfig {
    /// configuration file
    #[argh(positional, arg_name = "FILE")]
    pub(super) file: PathBuf,
}

/// show the state of the server and each account; exits with 1 when something needs attention
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "status")]
pub(super) struct Status {
    /// print JSON
    #[argh(switch, short = 'j')]
    pub(super) json: bool,
}

/// say in one line whether the server works; exits with 1 when it does not
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "health")]
pub(super) struct Health {
    /// only whether its process answers: an outage of Signal or of the database is no reason to restart it
    #[argh(switch)]
    pub(super) live: bool,
}

/// run the daemon
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "server")]
#[argh(note = "Everything else is set in the configuration file or by variables: -c FILE, else MOLLY_CONF, \
               mollysocket/config.toml in $XDG_CONFIG_HOME or \
               ~/.config, ./mollysocket.toml, /etc/mollysocket/config.toml or \
               /etc/mollysocket/conf.toml; each key is also a variable, such as MOLLY_PORT for port.")]
pub(super) struct Server {
    /// listen at this address, in place of the host that is configured
    #[argh(option, arg_name = "HOST")]
    pub(super) host: Option<String>,
    /// listen at this port, in place of the one that is configured
    #[argh(option, arg_name = "PORT")]
    pub(super) port: Option<String>,
}

/// make and test VAPID keys
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "vapid")]
pub(super) struct Vapid {
    #[argh(subcommand)]
    pub(super) verb: VapidVerb,
}

#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand)]
pub(super) enum VapidVerb {
    Generate(VapidGenerate),
    Test(VapidTest),
}

/// print a new private key
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "generate")]
pub(super) struct VapidGenerate {}

/// print the Authorization header for a push endpoint
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "test")]
pub(super) struct VapidTest {
    /// push endpoint
    #[argh(positional, arg_name = "ENDPOINT")]
    pub(super) endpoint: String,
}

/// show the QR code and the link for the phone
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "qrcode")]
pub(super) struct QrCode {
    #[argh(subcommand)]
    pub(super) verb: QrCodeVerb,
}

#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand)]
pub(super) enum QrCodeVerb {
    Url(QrCodeUrl),
    Airgapped(QrCodeAirgapped),
}

/// for a phone that reaches this server
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "url")]
pub(super) struct QrCodeUrl {
    /// no colours
    #[argh(switch)]
    pub(super) plain: bool,
    /// write the code as an SVG picture to FILE instead, - for standard output
    #[argh(option, arg_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    /// https URL of this server, as phones reach it
    #[argh(positional, arg_name = "URL")]
    pub(super) url: String,
}

/// for a phone that does not reach this server
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "airgapped")]
pub(super) struct QrCodeAirgapped {
    /// no colours
    #[argh(switch)]
    pub(super) plain: bool,
    /// write the code as an SVG picture to FILE instead, - for standard output
    #[argh(option, arg_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
}

/// manage the accounts in the database
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "connection")]
pub(super) struct Connection {
    #[argh(subcommand)]
    pub(super) verb: ConnectionVerb,
}

#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand)]
pub(super) enum ConnectionVerb {
    Add(ConnectionAdd),
    List(ConnectionList),
    Remove(ConnectionRemove),
    Ping(ConnectionPing),
    Pause(ConnectionPause),
    Resume(ConnectionResume),
    Export(ConnectionExport),
    Import(ConnectionImport),
}

/// add or replace an account and send a test push; takes the line Molly copies. With - instead of the arguments it
/// reads that line from standard input, where no other user of the machine sees the password
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "add")]
pub(super) struct ConnectionAdd {
    /// account
    #[argh(positional, arg_name = "UUID")]
    pub(super) uuid: String,
    /// number of the linked device
    #[argh(positional, arg_name = "DEVICE")]
    pub(super) device: String,
    /// password of the linked device
    #[argh(positional, arg_name = "PASSWORD")]
    pub(super) password: String,
    /// push endpoint; quote it, it may hold ? and &
    #[argh(positional, arg_name = "ENDPOINT")]
    pub(super) endpoint: String,
}

/// list the accounts; passwords are never shown
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "list")]
pub(super) struct ConnectionList {
    /// shorten accounts and endpoints, to share the list
    #[argh(switch, short = 'a')]
    pub(super) anonymized: bool,
    /// print JSON
    #[argh(switch, short = 'j')]
    pub(super) json: bool,
}

/// remove an account
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "remove")]
pub(super) struct ConnectionRemove {
    /// account; of a row that is no account, its id or row-N as list shows them
    #[argh(positional, arg_name = "UUID")]
    pub(super) uuid: String,
}

/// send a test push to an account's phone
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "ping")]
pub(super) struct ConnectionPing {
    /// account
    #[argh(positional, arg_name = "UUID")]
    pub(super) uuid: String,
}

/// stop serving an account until it is resumed; Signal keeps its messages
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "pause")]
pub(super) struct ConnectionPause {
    /// account
    #[argh(positional, arg_name = "UUID")]
    pub(super) uuid: String,
}

/// serve a paused account again
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "resume")]
pub(super) struct ConnectionResume {
    /// account
    #[argh(positional, arg_name = "UUID")]
    pub(super) uuid: String,
}

/// write accounts as JSON to standard output, for another server
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "export")]
pub(super) struct ConnectionExport {
    /// include passwords and endpoints; import needs them
    #[argh(switch)]
    pub(super) secrets: bool,
    /// only these accounts
    #[argh(positional, arg_name = "UUID")]
    pub(super) uuids: Vec<String>,
}

/// store the accounts that export wrote, read from standard input: all of them or none
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "import")]
pub(super) struct ConnectionImport {
    /// replace accounts that are here already and differ
    #[argh(switch)]
    pub(super) replace: bool,
    /// import even if the endpoints were made for another VAPID key
    #[argh(switch)]
    pub(super) other_key: bool,
}

/// check whether an account or endpoint is allowed
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "test")]
pub(super) struct Test {
    #[argh(subcommand)]
    pub(super) verb: TestVerb,
}

#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand)]
pub(super) enum TestVerb {
    Endpoint(TestEndpoint),
    Uuid(TestUuid),
}

/// whether a push endpoint may be used
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "endpoint")]
pub(super) struct TestEndpoint {
    /// push endpoint
    #[argh(positional, arg_name = "ENDPOINT")]
    pub(super) endpoint: String,
}

/// whether an account may register
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
#[argh(subcommand, name = "uuid")]
pub(super) struct TestUuid {
    /// account
    #[argh(positional, arg_name = "UUID")]
    pub(super) uuid: String,
}
