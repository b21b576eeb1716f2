//! The key file: author, peer and EVM keys, made with independent randomness, readable by their owner alone.

use std::{
    fmt, fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, aead::Aead as _};
use concurrence_crdt::{AuthorKey, Digest, OpId, Signature, SigningKey};
use concurrence_net::PeerId;
use concurrence_oracle::{Address, EvmSignature};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The three secret keys of a node. Their `Debug` shows public halves only.
#[derive(Clone)]
pub struct Keys {
    author: SigningKey,
    peer: libp2p::identity::Keypair,
    evm: k256::ecdsa::SigningKey,
}

/// The three public halves: what a registry lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKeys {
    /// Ed25519 key of the logs, 64 hex digits.
    pub author: String,
    /// libp2p peer id, `12D3Koo...`.
    pub peer: String,
    /// EVM address that signs price groups, 0x and 40 hex digits.
    pub evm: String,
}

/// Why a key file could not be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(getrandom::Error),
    /// A file is there already.
    #[error("{0} exists already; keygen never overwrites a key: choose another name or move it away")]
    Exists(PathBuf),
    /// There is no such file.
    #[error(
        "key file {0} does not exist: restore it from its backup, or make one with `oracle-node keygen --output {0}`"
    )]
    Missing(PathBuf),
    /// The file could not be read or written.
    #[error("key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Others may read the file.
    #[error("key file {path} can be read by others (mode {mode:o}); run: chmod 600 {path}")]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is no key file: truncated, edited, or another file.
    #[error("key file {path} is damaged or not a key file: {detail}; restore it from its backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file is encrypted and no passphrase was given.
    #[error("key file {0} is encrypted; set ORACLE_KEY_PASSPHRASE or oracle.key_passphrase")]
    PassphraseMissing(PathBuf),
    /// The passphrase is wrong, or the file was changed.
    #[error("key file {0} does not open with this passphrase")]
    PassphraseWrong(PathBuf),
    /// Encryption failed.
    #[error("key file cannot be encrypted: {0}")]
    Encryption(String),
}

/// Longest key file read: an encrypted one has below 1 kB.
const KEY_FILE_LEN_MAX: u64 = 16 * 1024;

/// Argon2id, RFC 9106 section 4's second recommended option: 64 MiB, 3 passes, 4 lanes.
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;
const ARGON2_LANES: u32 = 4;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    public: StoredPublic,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted: Option<Encrypted>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPublic {
    author: String,
    peer: String,
    evm: String,
}

/// Three times 32 bytes, hex: author, peer, EVM.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Secret(Zeroizing<String>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encrypted {
    kdf: String,
    salt: String,
    nonce: String,
    ciphertext: String,
}

const KDF: &str = "argon2id-64MiB-3-4+xchacha20poly1305";

impl Keys {
    /// New keys, each from randomness of its own.
    pub fn generate() -> Result<Self, KeyFileError> {
        loop {
            let mut bytes = Zeroizing::new([0u8; 96]);
            getrandom::fill(&mut bytes[..]).map_err(KeyFileError::Randomness)?;
            // One in 2^128 draws is no scalar of secp256k1: draw again.
            if let Some(keys) = Self::from_bytes(&bytes) {
                return Ok(keys);
            }
        }
    }

    /// Keys from 96 bytes: author, peer, EVM. `None` if one of them is no key.
    pub fn from_bytes(bytes: &[u8; 96]) -> Option<Self> {
        let part = |at: usize| <[u8; 32]>::try_from(&bytes[at..at + 32]).ok();
        let author = SigningKey::from(part(0)?);
        let peer = libp2p::identity::Keypair::ed25519_from_bytes(part(32)?).ok()?;
        let evm = k256::ecdsa::SigningKey::from_slice(&part(64)?).ok()?;
        AuthorKey::register(*AuthorKey::of(&author).as_bytes()).ok()?;
        Some(Self { author, peer, evm })
    }

    /// The public halves.
    pub fn public(&self) -> PublicKeys {
        PublicKeys {
            author: self.author_key().to_string(),
            peer: self.peer_id().to_string(),
            evm: self.address().to_string(),
        }
    }

    /// The author key.
    pub fn author_key(&self) -> AuthorKey {
        AuthorKey::of(&self.author)
    }

    /// The peer id.
    pub fn peer_id(&self) -> PeerId {
        self.peer.public().to_peer_id()
    }

    /// The EVM address.
    pub fn address(&self) -> Address {
        Address::of(self.evm.verifying_key())
    }

    /// The transport's key pair.
    pub fn peer_keypair(&self) -> libp2p::identity::Keypair {
        self.peer.clone()
    }

    /// Signs an operation's id.
    pub fn sign_op(&self, id: OpId) -> Signature {
        Signature::sign(&self.author, id.as_bytes())
    }

    /// Signs the digest of a head.
    pub fn sign_head(&self, digest: &Digest) -> Signature {
        Signature::sign(&self.author, digest.as_bytes())
    }

    /// Signs the EIP-712 digest of a price group.
    pub fn sign_group(&self, digest: &[u8; 32]) -> EvmSignature {
        concurrence_oracle::sign(digest, &self.evm)
    }

    /// The secret keys behind the signatures, for actors that sign by themselves in demonstrations.
    pub fn signing_keys(&self) -> (SigningKey, k256::ecdsa::SigningKey) {
        (self.author, self.evm.clone())
    }

    /// Writes a new key file, mode 0600, encrypted if a passphrase is given. Never overwrites.
    pub fn create(&self, path: &Path, passphrase: Option<&str>) -> Result<(), KeyFileError> {
        let secret = self.secret_hex();
        let encrypted = passphrase.map(|p| encrypt(p, &secret)).transpose()?;
        let PublicKeys { author, peer, evm } = self.public();
        let public = StoredPublic { author, peer, evm };
        let secret = encrypted.is_none().then_some(Secret(secret));
        let file = KeyFile { version: 1, public, secret, encrypted };
        let text = serde_json::to_string_pretty(&file).map_err(|e| KeyFileError::Encryption(e.to_string()))?;
        let text = Zeroizing::new(text + "\n");
        let io = |source| KeyFileError::Io { path: path.to_owned(), source };
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut out = opened.map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
            _ => io(source),
        })?;
        out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(io)
    }

    /// Reads a key file. One that others can read is refused.
    pub fn load(path: &Path, passphrase: Option<&str>) -> Result<Self, KeyFileError> {
        let file = read(path)?;
        let damaged = |detail: &str| KeyFileError::Damaged { path: path.to_owned(), detail: detail.to_owned() };
        let secret = match (file.secret, file.encrypted) {
            (Some(secret), None) => secret.0,
            (None, Some(sealed)) => {
                let passphrase = passphrase.ok_or_else(|| KeyFileError::PassphraseMissing(path.to_owned()))?;
                decrypt(passphrase, &sealed).ok_or_else(|| KeyFileError::PassphraseWrong(path.to_owned()))?
            }
            _ => return Err(damaged("exactly one of secret and encrypted must be there")),
        };
        let mut bytes = Zeroizing::new([0u8; 96]);
        hex::decode_to_slice(secret.as_bytes(), &mut bytes[..]).map_err(|_| damaged("secret is not 192 hex digits"))?;
        let keys = Self::from_bytes(&bytes).ok_or_else(|| damaged("secret holds no keys"))?;
        let PublicKeys { author, peer, evm } = keys.public();
        if (author, peer, evm) != (file.public.author, file.public.peer, file.public.evm) {
            return Err(damaged("public keys do not belong to the secret ones"));
        }
        Ok(keys)
    }

    fn secret_hex(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0u8; 96]);
        bytes[..32].copy_from_slice(self.author.as_bytes());
        // The peer key is Ed25519 by construction; an empty secret would fail when it is read back.
        if let Ok(peer) = self.peer.clone().try_into_ed25519() {
            bytes[32..64].copy_from_slice(peer.secret().as_ref());
        }
        bytes[64..].copy_from_slice(&self.evm.to_bytes());
        Zeroizing::new(hex::encode(&bytes[..]))
    }
}

impl PublicKeys {
    /// Reads the public halves of a key file without opening its secrets.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let StoredPublic { author, peer, evm } = read(path)?.public;
        Ok(Self { author, peer, evm })
    }
}

fn read(path: &Path) -> Result<KeyFile, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source };
    let meta = fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => KeyFileError::Missing(path.to_owned()),
        _ => io(source),
    })?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Readable { path: path.to_owned(), mode });
    }
    let damaged = |detail: String| KeyFileError::Damaged { path: path.to_owned(), detail };
    if meta.len() > KEY_FILE_LEN_MAX {
        return Err(damaged(format!("it has {} bytes", meta.len())));
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(io)?);
    // The parser's message may quote the file, so only the position is told.
    let file: KeyFile =
        serde_json::from_str(&text).map_err(|e| damaged(format!("line {}, column {}", e.line(), e.column())))?;
    if file.version != 1 {
        return Err(damaged(format!("version {} is not known", file.version)));
    }
    Ok(file)
}

fn derive(passphrase: &str, salt: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, Some(32)).ok()?;
    let mut key = Zeroizing::new([0u8; 32]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(passphrase.as_bytes(), salt, &mut key[..]).ok()?;
    Some(key)
}

fn encrypt(passphrase: &str, secret: &str) -> Result<Encrypted, KeyFileError> {
    let (mut salt, mut nonce) = ([0u8; 16], [0u8; 24]);
    getrandom::fill(&mut salt).map_err(KeyFileError::Randomness)?;
    getrandom::fill(&mut nonce).map_err(KeyFileError::Randomness)?;
    let failed = || KeyFileError::Encryption("argon2id or xchacha20poly1305 refused its input".to_owned());
    let key = derive(passphrase, &salt).ok_or_else(failed)?;
    let cipher = XChaCha20Poly1305::new((&*key).into());
    let ciphertext = cipher.encrypt((&nonce).into(), secret.as_bytes()).map_err(|_| failed())?;
    Ok(Encrypted {
        kdf: KDF.into(),
        salt: hex::encode(salt),
        nonce: hex::encode(nonce),
        ciphertext: hex::encode(ciphertext),
    })
}

fn decrypt(passphrase: &str, sealed: &Encrypted) -> Option<Zeroizing<String>> {
    let nonce: [u8; 24] = hex::decode(&sealed.nonce).ok()?.try_into().ok()?;
    let key = derive(passphrase, &hex::decode(&sealed.salt).ok()?).filter(|_| sealed.kdf == KDF)?;
    let cipher = XChaCha20Poly1305::new((&*key).into());
    let secret = cipher.decrypt((&nonce).into(), hex::decode(&sealed.ciphertext).ok()?.as_slice()).ok()?;
    String::from_utf8(secret).ok().map(Zeroizing::new)
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.public().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_keys_read_back_and_are_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("oracle-key.json");
        let keys = Keys::generate().unwrap();
        keys.create(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Keys::load(&path, None).unwrap().public(), keys.public());
        assert_eq!(PublicKeys::load(&path).unwrap(), keys.public());
        assert!(matches!(keys.create(&path, None), Err(KeyFileError::Exists(_))));
        let secret = keys.secret_hex();
        assert!(!format!("{keys:?}").contains(&secret[..16]), "Debug shows a secret");
    }

    #[test]
    fn an_encrypted_file_needs_its_passphrase() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.json");
        let keys = Keys::generate().unwrap();
        keys.create(&path, Some("correct horse")).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains(&keys.secret_hex()[..16]));
        assert_eq!(Keys::load(&path, Some("correct horse")).unwrap().public(), keys.public());
        assert!(matches!(Keys::load(&path, None), Err(KeyFileError::PassphraseMissing(_))));
        assert!(matches!(Keys::load(&path, Some("wrong")), Err(KeyFileError::PassphraseWrong(_))));
    }

    #[test]
    fn damaged_and_readable_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.json");
        Keys::generate().unwrap().create(&path, None).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 3] {
            fs::write(&path, &whole[..cut]).unwrap();
            let error = Keys::load(&path, None).unwrap_err();
            assert!(matches!(error, KeyFileError::Damaged { .. }), "{error}");
        }
        fs::write(&path, whole.replacen("\"author\": \"", "\"author\": \"00", 1)).unwrap();
        assert!(matches!(Keys::load(&path, None), Err(KeyFileError::Damaged { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Keys::load(&path, None), Err(KeyFileError::Readable { mode: 0o644, .. })));
    }
}
